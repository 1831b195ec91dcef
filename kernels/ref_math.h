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

#define DYNQ_LANES 64 /* of every sum over a row, whatever the width of a vector register */

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

/* Half the size, the same value: a product with 2^112 corrects the exponent and makes subnormals
 * normal, Inf and NaN get all bits of theirs. */
static inline float dynq_ref_from_fp16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7FFFu;
    const uint32_t finite = dynq_ref_bits(dynq_ref_from_bits(magnitude << 13) * 0x1p112f);
    const uint32_t bits = magnitude < 0x7C00 ? finite : magnitude << 13 | 0x7F800000;
    return dynq_ref_from_bits(sign | bits);
}

static inline float dynq_ref_from_bf16(uint16_t half)
{
    return dynq_ref_from_bits((uint32_t)half << 16);
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

/* exp(x) = (2 + r * rise) * scale, the parts of exp for x <= 3; NaN is taken for the lowest x. */
typedef struct dynq_ref_exp_parts {
    float r, rise, scale;
} dynq_ref_exp_parts;

static inline dynq_ref_exp_parts dynq_ref_exp_split(float x)
{
    const float c = dynq_ref_max(x, DYNQ_EXP_LOWEST);
    const float shifted = fmaf(c, DYNQ_LOG2_E, DYNQ_EXP_SHIFT);
    const float n = shifted - DYNQ_EXP_SHIFT;
    const float r = fmaf(-n, DYNQ_LN2_LOW, fmaf(-n, DYNQ_LN2_HIGH, c));
    return (dynq_ref_exp_parts){.r = r,
                                .rise = dynq_ref_horner(dynq_exp_terms, DYNQ_EXP_TERMS, r),
                                .scale = dynq_ref_from_bits(dynq_ref_bits(shifted) << 23)};
}

/* exp(x) for x <= 3; 0 for NaN, -Inf and what is not above DYNQ_EXP_LOWEST. */
static inline float dynq_ref_exp(float x)
{
    const dynq_ref_exp_parts e = dynq_ref_exp_split(x);
    return fmaf(e.r, e.rise, 2.0f) * e.scale;
}

/* y, if x is finite, else NaN, so that a function of x hides nothing; y = -0 becomes +0 if x has no
 * sign. */
static inline float dynq_ref_taint(float y, float x)
{
    return fmaf(x, 0.0f, y);
}

static inline float dynq_ref_relu(float x)
{
    return dynq_ref_taint(dynq_ref_max(x, 0.0f), x);
}

/* x * Phi(x) as max(x, 0) - |x| * Phi(-|x|): exactly x or 0 where Phi ends, and NaN for NaN and Inf
 * by itself. */
static inline float dynq_ref_gelu(float x)
{
    const float below = -fabsf(x);
    const float p = dynq_ref_horner(dynq_tail_terms, DYNQ_TAIL_TERMS, below);
    const float root = dynq_ref_max(p, 0.0f), square = root * root;
    return fmaf(below, square * square, dynq_ref_max(x, 0.0f));
}

/* (1 - e) / (1 + e), e = exp(-2 |x|), with the sign of x. e - 1 is made of its parts, as it would
 * cancel near 0. */
static inline float dynq_ref_tanh(float x)
{
    const float magnitude = fabsf(x);
    const dynq_ref_exp_parts e = dynq_ref_exp_split(-2.0f * magnitude);
    const float fall = fmaf(e.r * e.rise, e.scale, fmaf(e.scale, 2.0f, -1.0f));
    const float y = fall / (-2.0f - fall);
    return dynq_ref_taint(copysignf(y, x), magnitude);
}

/* 1 / (1 + exp(-x)), as e / (1 + e), e = exp(-|x|), for a negative x: no overflow, no loss. */
static inline float dynq_ref_sigmoid(float x)
{
    const float e = dynq_ref_exp(-fabsf(x));
    return dynq_ref_taint((x < 0.0f ? e : 1.0f) / (1.0f + e), x);
}

/* x / 2 * (1 + tanh(u / 2)) = x * sigmoid(u), u = x (a + b x^2), as max(x, 0) - |x| *
 * sigmoid(-|u|): the tail does not cancel, and NaN and Inf give NaN by themselves. */
static inline float dynq_ref_gelu_tanh(float x)
{
    const float below = -fabsf(x);
    const float slope = fmaf(below * DYNQ_GELU_TANH_CUBIC, below, DYNQ_GELU_TANH_LINEAR);
    const float e = dynq_ref_exp(below * slope);
    return fmaf(below, e / (1.0f + e), dynq_ref_max(x, 0.0f));
}

static inline float dynq_ref_activate(dynq_activation activation, float x)
{
    switch (activation) {
    case DYNQ_ACTIVATION_RELU: return dynq_ref_relu(x);
    case DYNQ_ACTIVATION_GELU: return dynq_ref_gelu(x);
    case DYNQ_ACTIVATION_TANH: return dynq_ref_tanh(x);
    case DYNQ_ACTIVATION_SIGMOID: return dynq_ref_sigmoid(x);
    case DYNQ_ACTIVATION_GELU_TANH: return dynq_ref_gelu_tanh(x);
    case DYNQ_ACTIVATION_NONE: break;
    }
    return x;
}

/* The range of a row joins what is there. */
static inline void dynq_ref_join(dynq_range_bits *range, const float *x, size_t columns)
{
    int32_t high = range->high;
    uint32_t low = range->low;
    for (size_t c = 0; c < columns; c++) {
        const uint32_t bits = dynq_ref_bits(x[c]);
        high = (int32_t)bits > high ? (int32_t)bits : high;
        low = bits > low ? bits : low;
    }
    *range = (dynq_range_bits){high, low};
}

/* The sum of 64 lanes: the upper half is added to the lower one, six times. */
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
