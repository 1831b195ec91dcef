/* The functions of ref_math.h over sixteen lanes: the same operations in the same order, so the
 * same bits. Include after a lanes header. */
#ifndef DYNQ_KERNELS_MATH_LANES_H
#define DYNQ_KERNELS_MATH_LANES_H

#include "kernels/kernel.h"
#include "kernels/polynomials.h"

LANES_INLINE lanes_f32 lanes_horner(const float *terms, const int count, lanes_f32 x)
{
    lanes_f32 p = lanes_set(terms[0]);
#pragma GCC unroll 16
    for (int i = 1; i < count; i++) {
        p = lanes_fma(p, x, lanes_set(terms[i]));
    }
    return p;
}

LANES_INLINE lanes_f32 lanes_absolute(lanes_f32 x)
{
    return lanes_from_bits(lanes_and(lanes_bits(x), lanes_set_s32(INT32_MAX)));
}

/* 2^n for -126 <= n <= 127. */
LANES_INLINE lanes_f32 lanes_power_of_two(lanes_s32 n)
{
    return lanes_from_bits(lanes_shift_left_23(lanes_add_s32(n, lanes_set_s32(127))));
}

/* exp(x) for x <= 0; NaN and -Inf give 0. */
LANES_INLINE lanes_f32 lanes_exp(lanes_f32 x)
{
    const lanes_f32 clamped = lanes_max(x, lanes_set(DYNQ_EXP_LOWEST));
    const lanes_s32 whole = lanes_round_s32(lanes_mul(clamped, lanes_set(DYNQ_LOG2_E)));
    const lanes_f32 n = lanes_from_s32(whole);
    const lanes_f32 high = lanes_fma(n, lanes_set(-DYNQ_LN2_HIGH), clamped);
    const lanes_f32 r = lanes_fma(n, lanes_set(-DYNQ_LN2_LOW), high);
    const lanes_f32 p = lanes_horner(dynq_exp_terms, DYNQ_EXP_TERMS, r);
    const lanes_s32 half = lanes_halve_s32(whole);
    return lanes_mul(lanes_mul(p, lanes_power_of_two(half)),
                     lanes_power_of_two(lanes_sub_s32(whole, half)));
}

/* 1 - erf(t) for t >= 0; NaN and Inf give 0. */
LANES_INLINE lanes_f32 lanes_erfc(lanes_f32 t)
{
    return lanes_exp(lanes_mul(t, lanes_horner(dynq_erfc_terms, DYNQ_ERFC_TERMS, t)));
}

/* +0 for a finite x, else NaN. */
LANES_INLINE lanes_f32 lanes_taint(lanes_f32 x)
{
    return lanes_sub(x, x);
}

LANES_INLINE lanes_f32 lanes_relu(lanes_f32 x)
{
    const lanes_f32 zero = lanes_set(0.0f);
    return lanes_select(lanes_less(x, zero), zero, x);
}

LANES_INLINE lanes_f32 lanes_gelu(lanes_f32 x)
{
    const lanes_f32 e = lanes_erfc(lanes_mul(lanes_absolute(x), lanes_set(DYNQ_SQRT_HALF)));
    const lanes_f32 bracket =
        lanes_select(lanes_less(x, lanes_set(0.0f)), e, lanes_sub(lanes_set(2.0f), e));
    return lanes_mul(lanes_mul(lanes_set(0.5f), x), bracket);
}

LANES_INLINE lanes_f32 lanes_tanh(lanes_f32 x)
{
    const lanes_f32 one = lanes_set(1.0f), magnitude = lanes_absolute(x);
    const lanes_f32 u = lanes_mul(x, x);
    const lanes_f32 small =
        lanes_fma(lanes_mul(x, u), lanes_horner(dynq_tanh_terms, DYNQ_TANH_TERMS, u), x);
    const lanes_f32 e = lanes_exp(lanes_mul(lanes_set(-2.0f), magnitude));
    const lanes_f32 large = lanes_div(lanes_sub(one, e), lanes_add(one, e));
    const lanes_s32 sign = lanes_and(lanes_bits(x), lanes_set_s32(INT32_MIN));
    return lanes_select(lanes_less(magnitude, lanes_set(DYNQ_TANH_SMALL)), small,
                        lanes_from_bits(lanes_or(lanes_bits(large), sign)));
}

LANES_INLINE lanes_f32 lanes_sigmoid(lanes_f32 x)
{
    const lanes_f32 one = lanes_set(1.0f);
    const lanes_f32 e = lanes_exp(lanes_sub(lanes_set(0.0f), lanes_absolute(x)));
    return lanes_div(lanes_select(lanes_less(x, lanes_set(0.0f)), e, one), lanes_add(one, e));
}

/* `activation` is a constant where it is called. */
LANES_INLINE lanes_f32 lanes_activate(const dynq_activation activation, lanes_f32 x)
{
    switch (activation) {
    case DYNQ_ACTIVATION_RELU: return lanes_add(lanes_relu(x), lanes_taint(x));
    case DYNQ_ACTIVATION_GELU: return lanes_add(lanes_gelu(x), lanes_taint(x));
    case DYNQ_ACTIVATION_TANH: return lanes_add(lanes_tanh(x), lanes_taint(x));
    case DYNQ_ACTIVATION_SIGMOID: return lanes_add(lanes_sigmoid(x), lanes_taint(x));
    case DYNQ_ACTIVATION_NONE: break;
    }
    return x;
}

#endif
