/* From the range of some activations to the parameters of their quantization. */
#ifndef DYNQ_SRC_RANGE_H
#define DYNQ_SRC_RANGE_H

#include "kernels/kernel.h"

#include <dynq/model.h>
#include <stdbool.h>
#include <string.h>

typedef struct dynq_range_params {
    float scale, inverse;
    int32_t zero;
} dynq_range_params;

/* The smallest code: 0 affine, 1 symmetric. */
static inline int32_t dynq_scheme_qmin(dynq_scheme scheme)
{
    return scheme == DYNQ_SCHEME_SYMMETRIC ? 1 : 0;
}

/* A dynamic range with limits: values may lie outside of it. */
static inline bool dynq_range_limited(const dynq_range_rule *rule)
{
    return rule->kind == DYNQ_RANGE_DYNAMIC && (rule->lo != 0.0f || rule->hi != 0.0f);
}

#define DYNQ_SMALLEST_RANGE 0x1p-100
#define DYNQ_ROUNDING       0x1.8p23f

static inline dynq_range_params dynq_range_affine(float lo, float hi)
{
    const double width = (double)hi - (double)lo;
    if (width < DYNQ_SMALLEST_RANGE) {
        return (dynq_range_params){.scale = 1.0f, .inverse = 0.0f, .zero = 0};
    }
    const float inverse = (float)(255.0 / width);
    /* Below 2^22, adding and taking away rounds to the nearest integer, ties to even. */
    const float zero = (-lo * inverse + DYNQ_ROUNDING) - DYNQ_ROUNDING;
    return (dynq_range_params){
        .scale = (float)(width / 255.0),
        .inverse = inverse,
        .zero = zero > 255.0f ? 255 : (int32_t)zero,
    };
}

static inline dynq_range_params dynq_range_symmetric(float lo, float hi)
{
    const float largest = -lo > hi ? -lo : hi;
    if ((double)largest < DYNQ_SMALLEST_RANGE) {
        return (dynq_range_params){.scale = 1.0f, .inverse = 0.0f, .zero = 128};
    }
    return (dynq_range_params){.scale = largest / 127.0f, .inverse = 127.0f / largest, .zero = 128};
}

/* The same for s16 codes, which are always symmetric and have no zero point. */
static inline dynq_range_params dynq_range_s16(float lo, float hi)
{
    const float largest = -lo > hi ? -lo : hi;
    if ((double)largest < DYNQ_SMALLEST_RANGE) {
        return (dynq_range_params){.scale = 1.0f, .inverse = 0.0f};
    }
    return (dynq_range_params){.scale = largest / 32767.0f, .inverse = 32767.0f / largest};
}

/* lo <= 0 <= hi, finite: the formulas of the specification. A range below 2^-100 counts as zero. */
static inline dynq_range_params dynq_range_params_of(float lo, float hi, dynq_scheme scheme)
{
    return scheme == DYNQ_SCHEME_SYMMETRIC ? dynq_range_symmetric(lo, hi)
                                           : dynq_range_affine(lo, hi);
}

/* The largest magnitude within the limits of a rule. */
static inline float dynq_range_limit(float lo, float hi, const dynq_range_rule *rule)
{
    const float limit = -rule->lo > rule->hi ? -rule->lo : rule->hi;
    const float largest = -lo > hi ? -lo : hi;
    return largest < limit ? largest : limit;
}

/* The same of a range that was found while running, cut to the limits of its rule (both 0: none).
 * Symmetric ranges know one limit, on magnitudes. */
static inline dynq_range_params dynq_range_params_within(float lo, float hi,
                                                         const dynq_range_rule *rule)
{
    if (!dynq_range_limited(rule)) {
        return dynq_range_params_of(lo, hi, rule->scheme);
    }
    if (rule->scheme == DYNQ_SCHEME_SYMMETRIC) {
        return dynq_range_symmetric(0.0f, dynq_range_limit(lo, hi, rule));
    }
    return dynq_range_affine(lo > rule->lo ? lo : rule->lo, hi < rule->hi ? hi : rule->hi);
}

static inline dynq_range_params dynq_range_s16_within(float lo, float hi,
                                                      const dynq_range_rule *rule)
{
    return dynq_range_limited(rule) ? dynq_range_s16(0.0f, dynq_range_limit(lo, hi, rule))
                                    : dynq_range_s16(lo, hi);
}

/* Bit patterns as kernels collect them. */
static inline bool dynq_range_finite(dynq_range_bits bits)
{
    return bits.high < 0x7F800000 && bits.low < 0xFF800000u;
}

static inline float dynq_range_low(dynq_range_bits bits)
{
    float low = 0.0f;
    if (bits.low >> 31 != 0) {
        memcpy(&low, &bits.low, sizeof low);
    }
    return low;
}

static inline float dynq_range_high(dynq_range_bits bits)
{
    float high = 0.0f;
    memcpy(&high, &bits.high, sizeof high);
    return high;
}

static inline dynq_range_bits dynq_range_join(dynq_range_bits a, dynq_range_bits b)
{
    return (dynq_range_bits){.high = a.high > b.high ? a.high : b.high,
                             .low = a.low > b.low ? a.low : b.low};
}

/* Joins *shared with `bits` while other threads may do the same. */
void dynq_range_join_shared(dynq_range_bits *shared, dynq_range_bits bits);

#endif
