/* Errors of a row, over as many lanes of double as a register has (LANES_DOUBLES). All sums of
 * these lanes stay in registers while a row passes; then the next lanes, for which the row is read
 * again, from L1. */
#ifndef DYNQ_KERNELS_ERROR_LANES_H
#define DYNQ_KERNELS_ERROR_LANES_H

#include "kernels/errors.h"

#include <string.h>

typedef double errors_f64 __attribute__((vector_size(8 * LANES_DOUBLES)));
typedef int64_t errors_s64 __attribute__((vector_size(8 * LANES_DOUBLES)));
typedef float errors_f32 __attribute__((vector_size(4 * LANES_DOUBLES)));

LANES_INLINE errors_f64 errors_load(const float *p)
{
    errors_f32 floats;
    memcpy(&floats, p, sizeof floats);
    return __builtin_convertvector(floats, errors_f64);
}

LANES_INLINE errors_f64 errors_magnitude(errors_f64 a)
{
    const errors_s64 without_sign = (errors_s64){0} + INT64_MAX;
    return (errors_f64)((errors_s64)a & without_sign);
}

LANES_INLINE errors_f64 errors_select(errors_s64 mask, errors_f64 yes, errors_f64 no)
{
    return (errors_f64)((mask & (errors_s64)yes) | (~mask & (errors_s64)no));
}

/* Lanes [first, first + LANES_DOUBLES) of so many whole groups of DYNQ_ERROR_LANES columns. */
static void errors_of_lanes(const dynq_error_block *block, size_t groups, size_t first)
{
    const errors_f64 zero = {0}, infinite = zero + (double)INFINITY;
    errors_f64 xx = zero, yy = zero, xy = zero, squares = zero;
    errors_f64 sum = zero, relative = zero, largest = zero;
    errors_s64 zeros = {0};
    for (size_t g = 0; g < groups; g++) {
        const size_t c = g * DYNQ_ERROR_LANES + first;
        const errors_f64 x = errors_load(block->reference + c);
        const errors_f64 y = errors_load(block->value + c);
        const errors_f64 difference = y - x;
        const errors_f64 error = errors_magnitude(difference);
        const errors_s64 is_zero = (errors_s64)(x == zero);
        xx += x * x;
        yy += y * y;
        xy += x * y;
        squares += difference * difference;
        sum += error;
        relative += error / errors_select(is_zero, infinite, errors_magnitude(x));
        largest = errors_select((errors_s64)(error > largest), error, largest);
        zeros -= is_zero;
    }
    dynq_error_sums *s = block->sums;
    memcpy(s->reference_square + first, &xx, sizeof xx);
    memcpy(s->value_square + first, &yy, sizeof yy);
    memcpy(s->product + first, &xy, sizeof xy);
    memcpy(s->error_square + first, &squares, sizeof squares);
    memcpy(s->error + first, &sum, sizeof sum);
    memcpy(s->relative_error + first, &relative, sizeof relative);
    memcpy(s->largest_error + first, &largest, sizeof largest);
    memcpy(s->zeros + first, &zeros, sizeof zeros);
}

static void errors(const dynq_error_block *block)
{
    const size_t groups = block->columns / DYNQ_ERROR_LANES;
    const size_t whole = groups * DYNQ_ERROR_LANES;
    for (size_t first = 0; first < DYNQ_ERROR_LANES; first += LANES_DOUBLES) {
        errors_of_lanes(block, groups, first);
    }
    errors_add(block->sums, block->columns - whole, block->reference + whole, block->value + whole);
}

#endif
