/* The numbers behind exp, gelu and lengths, and the order of operations that every kernel keeps, so
 * that all give the same bits. tests/golden/fit_polynomials.py derives the coefficients; ref_math.h
 * is the executable form of the formulas in README.md.
 *
 * Polynomials stand highest power first and are evaluated by Horner's rule with fused
 * multiply-adds: p = c[0]; then p = fma(p, x, c[i]) for i = 1, 2, ... */
#ifndef DYNQ_KERNELS_POLYNOMIALS_H
#define DYNQ_KERNELS_POLYNOMIALS_H

/* 2 (exp(r) - 1) / r for |r| <= ln(2) / 2. */
#define DYNQ_EXP_TERMS 6
static const float dynq_exp_terms[DYNQ_EXP_TERMS] = {0x1.6a524ep-9f, 0x1.12396ep-6f, 0x1.5558aap-4f,
                                                     0x1.555492p-2f, 0x1.fffffcp-1f, 0x1p+1f};

/* exp of this is 0. A subnormal result, which takes a CPU a hundred times longer, does not occur.
 */
#define DYNQ_EXP_LOWEST (-87.0f)
#define DYNQ_LOG2_E     0x1.715476p+0f
/* 1.5 * 2^23 + 126: added to a number from -126 to 0, it leaves n + 126 in the low bits, n being
 * the number rounded. That is the exponent of 2^(n - 1), and of 0 if n is -126. */
#define DYNQ_EXP_SHIFT 0x1.8000fcp+23f
/* ln(2) in two parts; the first has 15 bits, so that its product with n is exact. */
#define DYNQ_LN2_HIGH 0x1.62e4p-1f
#define DYNQ_LN2_LOW  0x1.7f7d1cp-20f

/* The argument of gelu_tanh, u = x (a + b x^2): a = 2 sqrt(2 / pi), b = 0.044715 a. */
#define DYNQ_GELU_TANH_LINEAR 0x1.988454p+0f
#define DYNQ_GELU_TANH_CUBIC  0x1.2444f2p-4f

/* max(p(y), 0)^4 is Phi(y) = (1 + erf(y / sqrt(2))) / 2 for y <= 0. p falls for ever, so that Phi
 * of anything below -5.68 is 0. */
#define DYNQ_TAIL_TERMS 9
static const float dynq_tail_terms[DYNQ_TAIL_TERMS] = {
    -0x1.b7d96p-19f, -0x1.da0ad8p-15f, -0x1.3600fcp-12f, 0x1.3067a8p-14f, 0x1.f9fd04p-9f,
    -0x1.2cc6f2p-8f, -0x1.9aff42p-5f,  0x1.578758p-3f,   0x1.ae89fep-1f};

/* What a shorter row is divided by, instead of its length, to have the length 1. */
#define DYNQ_SHORTEST 1e-12f

/* 2^(t - 1) / t for 1 <= t < 2: makes an exponential function of the line that a float is between
 * two powers of two when its bits are a fixed-point number. Relative error 7e-4. */
#define DYNQ_BEND_TERMS 4
static const float dynq_bend_terms[DYNQ_BEND_TERMS] = {-0x1.b4004ep-4f, 0x1.6a3a38p-1f,
                                                       -0x1.609732p+0f, 0x1.c68eacp+0f};

#endif
