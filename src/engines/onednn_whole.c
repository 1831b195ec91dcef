#include "src/engines/onednn_whole.h"

#include <math.h>
#include <stdlib.h>

/* With sums below 2^31 these keep results finite and biases over scales from overflowing. */
#define LEAST_SCALE  0x1p-60f
#define MOST_SCALE   0x1p60f
#define LARGEST_BIAS 0x1p60f

static int fits(const dynq_engine_layer_desc *desc)
{
    for (size_t i = 0; desc->bias != NULL && i < desc->n; i++) {
        if (!(fabsf(desc->bias[i]) <= LARGEST_BIAS)) {
            return 0;
        }
    }
    return desc->column_scale != NULL && desc->column_sum != NULL;
}

dnnl_status_t dynq_onednn_whole_create(dynq_onednn_whole *whole, const dynq_engine_layer_desc *desc,
                                       dnnl_engine_t engine, const_dnnl_primitive_attr_t attributes)
{
    if (!fits(desc)) {
        return dnnl_success;
    }
    whole->least = whole->most = desc->column_scale[0];
    for (size_t i = 1; i < desc->n; i++) {
        const float scale = desc->column_scale[i];
        whole->least = scale < whole->least ? scale : whole->least;
        whole->most = scale > whole->most ? scale : whole->most;
    }
    whole->scales = calloc(desc->n, sizeof *whole->scales);
    whole->shifts = calloc(desc->n, sizeof *whole->shifts);
    if (whole->scales == NULL || whole->shifts == NULL) {
        return dnnl_out_of_memory;
    }
    dnnl_status_t status =
        dynq_onednn_wrap_vector(engine, (dnnl_dim_t)desc->n, whole->scales, &whole->scales_memory);
    if (status == dnnl_success) {
        status = dynq_onednn_wrap_vector(engine, (dnnl_dim_t)desc->n, whole->shifts,
                                         &whole->shifts_memory);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_clone(&whole->attributes, attributes);
    }
    return status == dnnl_success ? dynq_onednn_scale_columns(whole->attributes) : status;
}

void dynq_onednn_whole_free(dynq_onednn_whole *whole)
{
    dnnl_primitive_attr_destroy(whole->attributes);
    dnnl_memory_destroy(whole->scales_memory);
    dnnl_memory_destroy(whole->shifts_memory);
    free(whole->scales);
    free(whole->shifts);
    *whole = (dynq_onednn_whole){0};
}

dynq_status dynq_onednn_whole_set(dynq_onednn_whole *whole, const dynq_engine_layer_desc *desc,
                                  float scale, int32_t zero)
{
    if (whole->attributes == NULL || !(scale * whole->least >= LEAST_SCALE) ||
        !(scale * whole->most <= MOST_SCALE)) {
        return DYNQ_ERR_UNSUPPORTED;
    }
    const float *bias = desc->bias;
    float *restrict scales = whole->scales, *restrict shifts = whole->shifts;
    for (size_t i = 0; i < desc->n; i++) {
        scales[i] = scale * desc->column_scale[i];
        shifts[i] = -(float)(int32_t)((uint32_t)zero * (uint32_t)desc->column_sum[i]);
    }
    for (size_t i = 0; DYNQ_ONEDNN_SCALES_BIAS && bias != NULL && i < desc->n; i++) {
        shifts[i] += bias[i] / scales[i];
    }
    for (size_t i = 0; !DYNQ_ONEDNN_SCALES_BIAS && i < desc->n; i++) {
        shifts[i] = scales[i] * shifts[i] + (bias == NULL ? 0.0f : bias[i]);
    }
    return DYNQ_OK;
}
