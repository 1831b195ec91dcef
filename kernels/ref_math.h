/* The scalar functions of the reference kernel: what one float becomes. Only operations that are
 * exactly rounded everywhere (+ - * / sqrt fma, conversions) or exact (comparisons, bits), without
 * branches that lanes could not take as selects. README.md states them as formulas. */
#ifndef DYNQ_KERNELS_REF_MATH_H
#define DYNQ_KERNELS_REF_MATH_H

#include "kernels/kernel.h"
#include "kernels/polynomials.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define DYNQ_LANES 16 /* of every sum over a row, whatever the width of a vector register */

static inline uint32_t dynq_ref_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float dynq_ref_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* b if a is NaN, like the vector instructions of x86. */
static inline float dynq_ref_max(float a, float b)
{
    return a > b ? a : b;
}

static inline float dynq_ref_min(float a, float b)
{
    return a < b ? a : b;
}

static inline float dynq_ref_horner(const float *terms, int count, float x)
{
    float p = terms[0];
    for (int i = 1; i < count; i++) {
        p = fmaf(p, x, terms[i]);
    }
    return p;
}

/* 2^n for -126 <= n <= 127. */
static inline float dynq_ref_power_of_two(int32_t n)
{
    return dynq_ref_from_bits((uint32_t)(n + 127) << 23);
}

/* exp(x) for x <= 0; NaN and -Inf give 0. 2^n comes in two factors because n goes down to -150: the
 * first product is exact, so the result, subnormal or not, is p * 2^n rounded once. */
static inline float dynq_ref_exp(float x)
{
    const float clamped = dynq_ref_max(x, DYNQ_EXP_LOWEST);
    const float n = rintf(clamped * DYNQ_LOG2_E);
    const float r = fmaf(-n, DYNQ_LN2_LOW, fmaf(-n, DYNQ_LN2_HIGH, clamped));
    const float p = dynq_ref_horner(dynq_exp_terms, DYNQ_EXP_TERMS, r);
    const int32_t whole = (int32_t)n, half = whole / 2;
    return p * dynq_ref_power_of_two(half) * dynq_ref_power_of_two(whole - half);
}

/* 1 - erf(t) for t >= 0; NaN and Inf give 0. */
static inline float dynq_ref_erfc(float t)
{
    return dynq_ref_exp(t * dynq_ref_horner(dynq_erfc_terms, DYNQ_ERFC_TERMS, t));
}

/* What is added to a function of x so that nothing non-finite is hidden: +0 for a finite x, else
 * NaN. */
static inline float dynq_ref_taint(float x)
{
    return x - x;
}

static inline float dynq_ref_relu(float x)
{
    return (x < 0.0f ? 0.0f : x) + dynq_ref_taint(x);
}

/* x / 2 * (1 + erf(x / sqrt(2))), the bracket being erfc(|x| / sqrt(2)) for a negative x: no
 * cancellation. */
static inline float dynq_ref_gelu(float x)
{
    const float e = dynq_ref_erfc(fabsf(x) * DYNQ_SQRT_HALF);
    return 0.5f * x * (x < 0.0f ? e : 2.0f - e) + dynq_ref_taint(x);
}

/* (1 - e) / (1 + e), e = exp(-2 |x|), with the sign of x; near 0 a polynomial, as 1 - e cancels. */
static inline float dynq_ref_tanh(float x)
{
    const float u = x * x;
    const float small = fmaf(x * u, dynq_ref_horner(dynq_tanh_terms, DYNQ_TANH_TERMS, u), x);
    const float e = dynq_ref_exp(-2.0f * fabsf(x));
    const float large = copysignf((1.0f - e) / (1.0f + e), x);
    return (fabsf(x) < DYNQ_TANH_SMALL ? small : large) + dynq_ref_taint(x);
}

/* 1 / (1 + exp(-x)), as e / (1 + e), e = exp(-|x|), for a negative x: no overflow, no loss. */
static inline float dynq_ref_sigmoid(float x)
{
    const float e = dynq_ref_exp(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e) + dynq_ref_taint(x);
}

static inline float dynq_ref_activate(dynq_activation activation, float x)
{
    switch (activation) {
    case DYNQ_ACTIVATION_RELU: return dynq_ref_relu(x);
    case DYNQ_ACTIVATION_GELU: return dynq_ref_gelu(x);
    case DYNQ_ACTIVATION_TANH: return dynq_ref_tanh(x);
    case DYNQ_ACTIVATION_SIGMOID: return dynq_ref_sigmoid(x);
    case DYNQ_ACTIVATION_NONE: break;
    }
    return x;
}

/* The sum of 16 lanes: the upper half is added to the lower one, four times. */
static inline float dynq_ref_fold(float lanes[DYNQ_LANES])
{
    for (int width = DYNQ_LANES / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            lanes[i] += lanes[i + width];
        }
    }
    return lanes[0];
}

/* rne(clamp(x * inverse, qmin - zero, 255 - zero)) + zero; NaN gives qmin. */
static inline uint8_t dynq_ref_quantize(float x, float inverse, int32_t zero, int32_t qmin)
{
    const float floored = dynq_ref_max(x * inverse, (float)(qmin - zero));
    const float clamped = dynq_ref_min(floored, (float)(255 - zero));
    return (uint8_t)((int32_t)rintf(clamped) + zero);
}

#endif
