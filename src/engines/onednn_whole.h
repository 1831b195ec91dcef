/* An INT8 layer as one primitive with FP32 results. oneDNN's zero points would make inner product
 * fall back to slower code, so the zero point goes into the biases, and both come with the call. */
#ifndef DYNQ_SRC_ENGINES_ONEDNN_WHOLE_H
#define DYNQ_SRC_ENGINES_ONEDNN_WHOLE_H

#include "src/engines/onednn_api.h"

#include <dynq/engine.h>

typedef struct dynq_onednn_whole {
    dnnl_primitive_attr_t attributes; /* NULL: this layer is not called so */
    float *scales, *shifts;           /* [n], for one scale and zero point at a time */
    dnnl_memory_t scales_memory, shifts_memory;
    float least, most; /* of the columns' scales */
} dynq_onednn_whole;

/* Readies *whole for *desc, with attributes like these; leaves it empty where *desc has no scales
 * or biases are too large. */
dnnl_status_t dynq_onednn_whole_create(dynq_onednn_whole *whole, const dynq_engine_layer_desc *desc,
                                       dnnl_engine_t engine,
                                       const_dnnl_primitive_attr_t attributes);
void dynq_onednn_whole_free(dynq_onednn_whole *whole);

/* Makes the vectors for rows of this scale and zero point: DYNQ_ERR_UNSUPPORTED where a result
 * might not be finite or lose digits. */
dynq_status dynq_onednn_whole_set(dynq_onednn_whole *whole, const dynq_engine_layer_desc *desc,
                                  float scale, int32_t zero);

#endif
