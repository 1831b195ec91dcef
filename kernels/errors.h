/* Errors of a row, one element at a time: what dynq_error_block in kernel.h says. */
#ifndef DYNQ_KERNELS_ERRORS_H
#define DYNQ_KERNELS_ERRORS_H

#include "kernels/kernel.h"

#include <math.h>

/* Up to DYNQ_ERROR_LANES neighbours, the first of them in lane 0. One loop for each kind of sum,
 * none with a branch: compilers take these together into vectors. */
static inline void errors_add(dynq_error_sums *restrict sums, size_t count,
                              const float *restrict reference, const float *restrict value)
{
    for (size_t i = 0; i < count; i++) {
        const double x = (double)reference[i];
        const double y = (double)value[i];
        const double error = y - x;
        sums->reference_square[i] += x * x;
        sums->value_square[i] += y * y;
        sums->product[i] += x * y;
        sums->error_square[i] += error * error;
    }
    for (size_t i = 0; i < count; i++) {
        const double size = fabs((double)reference[i]);
        const double error = fabs((double)value[i] - (double)reference[i]);
        /* Where there is no percentage, an infinite divisor adds 0 without a branch. */
        const double divisor = size == 0.0 ? (double)INFINITY : size;
        sums->error[i] += error;
        sums->relative_error[i] += error / divisor;
        sums->largest_error[i] = error > sums->largest_error[i] ? error : sums->largest_error[i];
    }
    for (size_t i = 0; i < count; i++) {
        sums->zeros[i] += reference[i] == 0.0f;
    }
}

#endif
