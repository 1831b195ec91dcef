/* What the reference does with a result of a linear layer. */
#ifndef DYNQ_KERNELS_REF_EPILOGUE_H
#define DYNQ_KERNELS_REF_EPILOGUE_H

#include "kernels/ref_math.h"

#include <stddef.h>

static inline float dynq_ref_bias(const dynq_epilogue *epilogue, size_t column)
{
    return epilogue->bias != NULL ? epilogue->bias[column] : 0.0f;
}

/* Activation, residual, store and range of one result; v has its bias already. */
static inline void dynq_ref_emit(const dynq_epilogue *epilogue, size_t row, size_t column, float v)
{
    float y = dynq_ref_activate(epilogue->activation, v);
    if (epilogue->residual != NULL) {
        y += epilogue->residual[row * epilogue->residual_stride + column];
    }
    epilogue->y[row * epilogue->y_stride + column] = y;
    if (epilogue->range != NULL) {
        dynq_ref_join(&epilogue->range[row * epilogue->range_step], &y, 1);
    }
}

#endif
