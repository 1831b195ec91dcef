/* From the range of some activations to the parameters of their quantization. */
#ifndef DYNQ_SRC_RANGE_H
#define DYNQ_SRC_RANGE_H

#include "kernels/kernel.h"

#include <dynq/model.h>
#include <stdbool.h>

typedef struct dynq_range_params {
    float scale, inverse;
    int32_t zero;
} dynq_range_params;

/* The smallest code: 0 affine, 1 symmetric. */
static inline int32_t dynq_scheme_qmin(dynq_scheme scheme)
{
    return scheme == DYNQ_SCHEME_SYMMETRIC ? 1 : 0;
}

/* lo <= 0 <= hi, finite: the formulas of the specification. A range below 2^-100 counts as zero. */
dynq_range_params dynq_range_params_of(float lo, float hi, dynq_scheme scheme);

/* Bit patterns as kernels collect them. */
bool dynq_range_finite(dynq_range_bits bits);
float dynq_range_low(dynq_range_bits bits);
float dynq_range_high(dynq_range_bits bits);
dynq_range_bits dynq_range_join(dynq_range_bits a, dynq_range_bits b);

/* Joins *shared with `bits` while other threads may do the same. */
void dynq_range_join_shared(dynq_range_bits *shared, dynq_range_bits bits);

#endif
