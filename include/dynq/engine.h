/* Foreign engines: other libraries doing the matrix products of a session.
 *
 * An engine is a table of functions over linear layers. The session keeps everything else: the
 * graph, ranges, quantization, threads, and, unless the engine offers to do a plain INT8 layer as a
 * whole, the epilogue (scale, bias, activation, residual). An engine computes one block of rows by
 * one block of columns, single-threaded, on the thread that calls; the session splits the work.
 * dynq-openblas and dynq-onednn are two; a host can hand in its own. */
#ifndef DYNQ_ENGINE_H
#define DYNQ_ENGINE_H

#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A block of columns of one linear layer, for the life of a session. Weights are borrowed and
 * outlive the layer. Exactly one of the two weight pointers is set. */
typedef struct dynq_engine_layer_desc {
    size_t size;              /* sizeof(dynq_engine_layer_desc) */
    const char *name;         /* of the node, for messages */
    dynq_precision precision; /* which functions are going to be called: FP32 or INT8 */
    size_t k, n;              /* the block's columns */
    size_t max_rows;          /* M of a call never exceeds it */
    const float *weights_f32; /* FP32: [n][k] row-major, row stride k */
    const int8_t *weights_s8; /* INT8: [n][k] row-major, row stride k, in [-127, 127]; borrowed for
                               * the call of layer_create only */
    /* INT8, all of them [n] and valid until layer_free; NULL if linear_s8 is not going to be
     * called: a column's scale, the sum of its weights, its bias (NULL also for zeros). */
    const float *column_scale;
    const int32_t *column_sum;
    const float *bias;
} dynq_engine_layer_desc;

typedef struct dynq_engine {
    size_t size;         /* sizeof(dynq_engine) */
    const char *name;    /* "openblas" */
    const char *version; /* of the library behind it */
    int has_fp32, has_int8;

    /* Prepares a layer (reorders weights, say). `*layer` is then passed to the calls below. Weights
     * in weights_f32 stay valid until layer_free. */
    dynq_status (*layer_create)(const dynq_engine_layer_desc *desc, void **layer,
                                dynq_error *error);
    void (*layer_free)(void *layer);

    /* y[m][n] = sum_k x[m][k] * w[n][k] for m < rows; strides in elements. Overwrites y. */
    dynq_status (*product_f32)(void *layer, size_t rows, const float *x, size_t x_stride, float *y,
                               size_t y_stride);
    /* acc[m][n] = sum_k q[m][k] * w[n][k] in int32, without any zero point. A session asks for many
     * rows in several calls, so that the sums are still in a cache when it reads them. */
    dynq_status (*product_s32)(void *layer, size_t rows, const uint8_t *q, size_t q_stride,
                               int32_t *acc, size_t acc_stride);

    /* Optional: a whole layer without activation and residual, whose rows share one scale and zero
     * point, in a session that does not divide its columns among threads:
     * y[m][n] = scale * column_scale[n] * sum_k (q[m][k] - zero) * w[n][k] + bias[n], rounded as
     * the engine likes. DYNQ_OK promises that all of y is finite. DYNQ_ERR_UNSUPPORTED: not with
     * these scales; the session then calls product_s32, as it does below linear_s8_rows rows. */
    size_t linear_s8_rows;
    dynq_status (*linear_s8)(void *layer, size_t rows, float scale, int32_t zero, const uint8_t *q,
                             size_t q_stride, float *y, size_t y_stride);
} dynq_engine;

#ifdef __cplusplus
}
#endif

#endif
