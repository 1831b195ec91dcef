/* The functions of ref_math.h over sixteen lanes: the same operations in the same order, so the
 * same bits. Include after a lanes header. */
#ifndef DYNQ_KERNELS_MATH_LANES_H
#define DYNQ_KERNELS_MATH_LANES_H

#include "kernels/kernel.h"
#include "kernels/polynomials.h"

/* Without a pragma: compilers unroll this completely, and clang 14 does not if told to. */
LANES_INLINE lanes_f32 lanes_horner(const float *terms, const int count, lanes_f32 x)
{
    lanes_f32 p = lanes_set(terms[0]);
    for (int i = 1; i < count; i++) {
        p = lanes_fma(p, x, lanes_set(terms[i]));
    }
    return p;
}

LANES_INLINE lanes_f32 lanes_absolute(lanes_f32 x)
{
    return lanes_from_bits(lanes_and(lanes_bits(x), lanes_set_s32(INT32_MAX)));
}

/* -|x| */
LANES_INLINE lanes_f32 lanes_below_zero(lanes_f32 x)
{
    return lanes_from_bits(lanes_or(lanes_bits(x), lanes_set_s32(INT32_MIN)));
}

/* exp(x) = (2 + r * rise) * scale */
typedef struct lanes_exp_parts {
    lanes_f32 r, rise, scale;
} lanes_exp_parts;

LANES_INLINE lanes_exp_parts lanes_exp_split(lanes_f32 x)
{
    const lanes_f32 shift = lanes_set(DYNQ_EXP_SHIFT);
    const lanes_f32 c = lanes_max(x, lanes_set(DYNQ_EXP_LOWEST));
    const lanes_f32 shifted = lanes_fma(c, lanes_set(DYNQ_LOG2_E), shift);
    const lanes_f32 n = lanes_sub(shifted, shift);
    const lanes_f32 high = lanes_fma(n, lanes_set(-DYNQ_LN2_HIGH), c);
    const lanes_f32 r = lanes_fma(n, lanes_set(-DYNQ_LN2_LOW), high);
    return (lanes_exp_parts){.r = r,
                             .rise = lanes_horner(dynq_exp_terms, DYNQ_EXP_TERMS, r),
                             .scale = lanes_from_bits(lanes_shift_left_23(lanes_bits(shifted)))};
}

/* exp(x) for x <= 3; 0 for NaN, -Inf and what is not above DYNQ_EXP_LOWEST. */
LANES_INLINE lanes_f32 lanes_exp(lanes_f32 x)
{
    const lanes_exp_parts e = lanes_exp_split(x);
    return lanes_mul(lanes_fma(e.r, e.rise, lanes_set(2.0f)), e.scale);
}

/* y where x is finite, else NaN. */
LANES_INLINE lanes_f32 lanes_taint(lanes_f32 y, lanes_f32 x)
{
    return lanes_fma(x, lanes_set(0.0f), y);
}

LANES_INLINE lanes_f32 lanes_relu(lanes_f32 x)
{
    return lanes_taint(lanes_max(x, lanes_set(0.0f)), x);
}

LANES_INLINE lanes_f32 lanes_gelu(lanes_f32 x)
{
    const lanes_f32 below = lanes_below_zero(x), zero = lanes_set(0.0f);
    const lanes_f32 p = lanes_horner(dynq_tail_terms, DYNQ_TAIL_TERMS, below);
    const lanes_f32 root = lanes_max(p, zero), square = lanes_mul(root, root);
    return lanes_fma(below, lanes_mul(square, square), lanes_max(x, zero));
}

LANES_INLINE lanes_f32 lanes_tanh(lanes_f32 x)
{
    const lanes_f32 magnitude = lanes_absolute(x);
    const lanes_exp_parts e = lanes_exp_split(lanes_mul(lanes_set(-2.0f), magnitude));
    const lanes_f32 less_one = lanes_fma(e.scale, lanes_set(2.0f), lanes_set(-1.0f));
    const lanes_f32 fall = lanes_fma(lanes_mul(e.r, e.rise), e.scale, less_one);
    const lanes_f32 y = lanes_div(fall, lanes_sub(lanes_set(-2.0f), fall));
    const lanes_s32 sign = lanes_and(lanes_bits(x), lanes_set_s32(INT32_MIN));
    return lanes_taint(lanes_from_bits(lanes_or(lanes_bits(y), sign)), magnitude);
}

LANES_INLINE lanes_f32 lanes_sigmoid(lanes_f32 x)
{
    const lanes_f32 one = lanes_set(1.0f), e = lanes_exp(lanes_below_zero(x));
    const lanes_f32 part = lanes_select(lanes_less(x, lanes_set(0.0f)), e, one);
    return lanes_taint(lanes_div(part, lanes_add(one, e)), x);
}

LANES_INLINE lanes_f32 lanes_gelu_tanh(lanes_f32 x)
{
    const lanes_f32 below = lanes_below_zero(x);
    const lanes_f32 cubic = lanes_mul(below, lanes_set(DYNQ_GELU_TANH_CUBIC));
    const lanes_f32 slope = lanes_fma(cubic, below, lanes_set(DYNQ_GELU_TANH_LINEAR));
    const lanes_f32 e = lanes_exp(lanes_mul(below, slope));
    const lanes_f32 part = lanes_div(e, lanes_add(lanes_set(1.0f), e));
    return lanes_fma(below, part, lanes_max(x, lanes_set(0.0f)));
}

/* `activation` is a constant where it is called. */
LANES_INLINE lanes_f32 lanes_activate(const dynq_activation activation, lanes_f32 x)
{
    switch (activation) {
    case DYNQ_ACTIVATION_RELU: return lanes_relu(x);
    case DYNQ_ACTIVATION_GELU: return lanes_gelu(x);
    case DYNQ_ACTIVATION_TANH: return lanes_tanh(x);
    case DYNQ_ACTIVATION_SIGMOID: return lanes_sigmoid(x);
    case DYNQ_ACTIVATION_GELU_TANH: return lanes_gelu_tanh(x);
    case DYNQ_ACTIVATION_NONE: break;
    }
    return x;
}

#endif
