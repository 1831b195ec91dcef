/* Where an epilogue that is done piece by piece goes on. */
#ifndef DYNQ_KERNELS_EPILOGUE_H
#define DYNQ_KERNELS_EPILOGUE_H

#include "kernels/kernel.h"

/* The part of an epilogue that begins at (row, column). */
static inline dynq_epilogue epilogue_at(const dynq_epilogue *whole, size_t row, size_t column)
{
    dynq_epilogue part = *whole;
    part.y += row * whole->y_stride + column;
    if (whole->bias != NULL) {
        part.bias += column;
    }
    if (whole->residual != NULL) {
        part.residual += row * whole->residual_stride + column;
    }
    if (whole->range != NULL) {
        part.range += row * whole->range_step;
    }
    return part;
}

#endif
