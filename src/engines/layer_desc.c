#include "src/engines/layer_desc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

dynq_status dynq_engine_fail(dynq_error *error, dynq_status status, const dynq_engine *engine,
                             const dynq_engine_layer_desc *desc, const char *reason)
{
    if (error == NULL) {
        return status;
    }
    error->status = status;
    error->offset = DYNQ_NO_OFFSET;
    snprintf(error->message, sizeof error->message, "node '%s': %s: %s",
             desc->name == NULL ? "" : desc->name, engine->name, reason);
    for (char *c = error->message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return status;
}

dynq_status dynq_engine_check_layer(const dynq_engine *engine, const dynq_engine_layer_desc *desc,
                                    dynq_error *error)
{
    const int fp32 = desc->precision == DYNQ_PRECISION_FP32;
    const int int8 = desc->precision == DYNQ_PRECISION_INT8;
    if ((fp32 && !engine->has_fp32) || (int8 && !engine->has_int8)) {
        return dynq_engine_fail(error, DYNQ_ERR_UNSUPPORTED, engine, desc,
                                fp32 ? "has no FP32 product" : "has no INT8 product");
    }
    if ((!fp32 && !int8) || fp32 != (desc->weights_f32 != NULL) ||
        int8 != (desc->weights_s8 != NULL)) {
        return dynq_engine_fail(error, DYNQ_ERR_ARGUMENT, engine, desc,
                                "weights and precision do not match");
    }
    if (desc->k == 0 || desc->n == 0 || desc->max_rows == 0) {
        return dynq_engine_fail(error, DYNQ_ERR_ARGUMENT, engine, desc, "an empty layer");
    }
    if (desc->k > INT32_MAX || desc->n > INT32_MAX || desc->max_rows > INT32_MAX) {
        return dynq_engine_fail(error, DYNQ_ERR_LIMIT, engine, desc,
                                "a dimension is over 2147483647");
    }
    return DYNQ_OK;
}

dynq_status dynq_engine_check_call(const dynq_engine_layer_desc *desc, dynq_precision precision,
                                   size_t rows, size_t x_stride, size_t y_stride)
{
    if (desc->precision != precision) {
        return DYNQ_ERR_ARGUMENT;
    }
    if (rows > desc->max_rows) {
        return DYNQ_ERR_LIMIT;
    }
    if (rows > 1 && (x_stride < desc->k || y_stride < desc->n)) {
        return DYNQ_ERR_ARGUMENT;
    }
    return rows > 1 && (x_stride > INT32_MAX || y_stride > INT32_MAX) ? DYNQ_ERR_LIMIT : DYNQ_OK;
}

void *dynq_engine_alloc_weights(size_t bytes)
{
    enum { CACHE_LINE = 64 };
    const int huge = bytes >= DYNQ_HUGE_BYTES;
    void *pointer = NULL;
    if (posix_memalign(&pointer, huge ? DYNQ_HUGE_BYTES : CACHE_LINE, bytes == 0 ? 1 : bytes) !=
        0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (huge) {
        madvise(pointer, bytes / DYNQ_HUGE_BYTES * DYNQ_HUGE_BYTES,
                MADV_HUGEPAGE); /* only advice */
    }
#endif
    return memset(pointer, 0, bytes);
}
