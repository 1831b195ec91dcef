/* Mean and central moments of numbers that come piecewise. */
#ifndef DYNQ_SRC_MOMENTS_H
#define DYNQ_SRC_MOMENTS_H

#include <stddef.h>

/* Starts as all zero. Central sums, not sums of powers: these would lose all digits of the
 * deviation where the mean is large beside it. */
typedef struct dynq_moments {
    double count, mean;
    double second, third, fourth; /* sums of (x - mean)^2, ^3, ^4 */
} dynq_moments;

/* The moments of `count` values with the sum `sum`, in a fixed order. */
dynq_moments dynq_moments_of(const float *values, size_t count, double sum);
/* Adds those of other values (Pebay, 2008). */
void dynq_moments_merge(dynq_moments *moments, const dynq_moments *other);

#endif
