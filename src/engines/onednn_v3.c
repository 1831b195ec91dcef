/* oneDNN 3: a memory description is an object, a primitive is described in one call. */
#include "src/engines/onednn_api.h"

static dnnl_status_t describe_matrix(dnnl_memory_desc_t *matrix, dnnl_data_type_t type,
                                     dnnl_dim_t rows, dnnl_dim_t columns, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, columns};
    return dnnl_memory_desc_create_with_tag(matrix, 2, dims, type, tag);
}

static dnnl_status_t describe_vector(dnnl_memory_desc_t *vector, dnnl_dim_t count)
{
    const dnnl_dims_t dims = {count};
    return dnnl_memory_desc_create_with_tag(vector, 1, dims, dnnl_f32, dnnl_a);
}

dnnl_status_t dynq_onednn_describe(const dynq_onednn_product *product, dnnl_engine_t engine,
                                   dnnl_primitive_attr_t attributes,
                                   dnnl_primitive_desc_t *description)
{
    const int int8 = product->precision == DYNQ_PRECISION_INT8;
    dnnl_memory_desc_t x = NULL, weights = NULL, y = NULL, bias = NULL;
    dnnl_status_t status =
        describe_matrix(&x, int8 ? dnnl_u8 : dnnl_f32, product->rows, product->k, dnnl_ab);
    if (status == dnnl_success) {
        status = describe_matrix(&weights, int8 ? dnnl_s8 : dnnl_f32, product->n, product->k,
                                 dnnl_format_tag_any);
    }
    if (status == dnnl_success) {
        status = describe_matrix(&y, int8 && !product->whole ? dnnl_s32 : dnnl_f32, product->rows,
                                 product->n, dnnl_ab);
    }
    if (status == dnnl_success && product->whole) {
        status = describe_vector(&bias, product->n);
    }
    if (status == dnnl_success) {
        status = dnnl_inner_product_forward_primitive_desc_create(
            description, engine, dnnl_forward_inference, x, weights, bias, y, attributes);
    }
    dnnl_memory_desc_destroy(x);
    dnnl_memory_desc_destroy(weights);
    dnnl_memory_desc_destroy(y);
    dnnl_memory_desc_destroy(bias);
    return status;
}

dnnl_status_t dynq_onednn_wrap_matrix(dnnl_engine_t engine, dnnl_data_type_t type, dnnl_dim_t rows,
                                      dnnl_dim_t columns, void *data, dnnl_memory_t *memory)
{
    dnnl_memory_desc_t matrix = NULL;
    dnnl_status_t status = describe_matrix(&matrix, type, rows, columns, dnnl_ab);
    if (status == dnnl_success) {
        status = dnnl_memory_create(memory, matrix, engine, data);
    }
    dnnl_memory_desc_destroy(matrix);
    return status;
}

dnnl_status_t dynq_onednn_wrap_vector(dnnl_engine_t engine, dnnl_dim_t count, float *data,
                                      dnnl_memory_t *memory)
{
    dnnl_memory_desc_t vector = NULL;
    dnnl_status_t status = describe_vector(&vector, count);
    if (status == dnnl_success) {
        status = dnnl_memory_create(memory, vector, engine, data);
    }
    dnnl_memory_desc_destroy(vector);
    return status;
}

dnnl_status_t dynq_onednn_scale_columns(dnnl_primitive_attr_t attributes)
{
    return dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, 1 << 0);
}
