/* oneDNN 2: a memory description is a struct, an operation is described before its primitive. */
#include "src/engines/onednn_api.h"

static dnnl_status_t describe_matrix(dnnl_memory_desc_t *matrix, dnnl_data_type_t type,
                                     dnnl_dim_t rows, dnnl_dim_t columns, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, columns};
    return dnnl_memory_desc_init_by_tag(matrix, 2, dims, type, tag);
}

static dnnl_status_t describe_vector(dnnl_memory_desc_t *vector, dnnl_dim_t count)
{
    const dnnl_dims_t dims = {count};
    return dnnl_memory_desc_init_by_tag(vector, 1, dims, dnnl_f32, dnnl_a);
}

dnnl_status_t dynq_onednn_describe(const dynq_onednn_product *product, dnnl_engine_t engine,
                                   dnnl_primitive_attr_t attributes,
                                   dnnl_primitive_desc_t *description)
{
    const int int8 = product->precision == DYNQ_PRECISION_INT8;
    dnnl_memory_desc_t x, weights, y, bias;
    dnnl_inner_product_desc_t operation;
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
    if (status == dnnl_success) {
        status = describe_vector(&bias, product->n);
    }
    if (status == dnnl_success) {
        status = dnnl_inner_product_forward_desc_init(&operation, dnnl_forward_inference, &x,
                                                      &weights, product->whole ? &bias : NULL, &y);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(description, &operation, attributes, engine, NULL);
    }
    return status;
}

dnnl_status_t dynq_onednn_wrap_matrix(dnnl_engine_t engine, dnnl_data_type_t type, dnnl_dim_t rows,
                                      dnnl_dim_t columns, void *data, dnnl_memory_t *memory)
{
    dnnl_memory_desc_t matrix;
    const dnnl_status_t status = describe_matrix(&matrix, type, rows, columns, dnnl_ab);
    return status == dnnl_success ? dnnl_memory_create(memory, &matrix, engine, data) : status;
}

dnnl_status_t dynq_onednn_wrap_vector(dnnl_engine_t engine, dnnl_dim_t count, float *data,
                                      dnnl_memory_t *memory)
{
    dnnl_memory_desc_t vector;
    const dnnl_status_t status = describe_vector(&vector, count);
    return status == dnnl_success ? dnnl_memory_create(memory, &vector, engine, data) : status;
}

dnnl_status_t dynq_onednn_scale_columns(dnnl_primitive_attr_t attributes)
{
    const float later = DNNL_RUNTIME_F32_VAL;
    return dnnl_primitive_attr_set_output_scales(attributes, 1, 1 << 1, &later);
}
