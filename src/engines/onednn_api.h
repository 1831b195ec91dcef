/* What differs between the C APIs of oneDNN 2 (onednn_v2.c) and 3 (onednn_v3.c); the build takes
 * the file that fits DNNL_VERSION_MAJOR. All else is the same source for both. */
#ifndef DYNQ_SRC_ENGINES_ONEDNN_API_H
#define DYNQ_SRC_ENGINES_ONEDNN_API_H

#include <dynq/model.h>
#include <oneapi/dnnl/dnnl.h>

/* A description of memory that oneDNN owns and lends. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t dynq_onednn_layout;
#else
typedef const dnnl_memory_desc_t *dynq_onednn_layout;
#endif

/* Columns' scales that come with a call: the argument, and whether they scale the bias, too. */
#if DNNL_VERSION_MAJOR >= 3
enum { DYNQ_ONEDNN_ARG_SCALES = DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS };
enum { DYNQ_ONEDNN_SCALES_BIAS = 0 };
#else
enum { DYNQ_ONEDNN_ARG_SCALES = DNNL_ARG_ATTR_OUTPUT_SCALES };
enum { DYNQ_ONEDNN_SCALES_BIAS = 1 };
#endif

/* y [rows][n] = x [rows][k] * transpose(weights [n][k]): FP32, or u8 * s8 to s32, or `whole`, u8 *
 * s8 with columns' scales and biases to FP32. */
typedef struct dynq_onednn_product {
    dynq_precision precision;
    int whole;
    dnnl_dim_t rows, k, n;
} dynq_onednn_product;

/* Describes the primitive: x and y dense and row-major, weights in the layout it likes best. */
dnnl_status_t dynq_onednn_describe(const dynq_onednn_product *product, dnnl_engine_t engine,
                                   dnnl_primitive_attr_t attributes,
                                   dnnl_primitive_desc_t *description);

/* A memory object over the caller's dense row-major matrix. */
dnnl_status_t dynq_onednn_wrap_matrix(dnnl_engine_t engine, dnnl_data_type_t type, dnnl_dim_t rows,
                                      dnnl_dim_t columns, void *data, dnnl_memory_t *memory);
/* The same over `count` floats. */
dnnl_status_t dynq_onednn_wrap_vector(dnnl_engine_t engine, dnnl_dim_t count, float *data,
                                      dnnl_memory_t *memory);

/* Columns of results get scales with the call. */
dnnl_status_t dynq_onednn_scale_columns(dnnl_primitive_attr_t attributes);

#endif
