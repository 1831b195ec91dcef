/* The numbers behind exp, erfc and tanh, and the order of operations that every kernel keeps, so
 * that all give the same bits. tests/golden/fit_polynomials.py derives the coefficients; ref_math.h
 * is the executable form of the formulas in README.md.
 *
 * Polynomials stand highest power first and are evaluated by Horner's rule with fused
 * multiply-adds: p = c[0]; then p = fma(p, x, c[i]) for i = 1, 2, ... */
#ifndef DYNQ_KERNELS_POLYNOMIALS_H
#define DYNQ_KERNELS_POLYNOMIALS_H

/* exp(r) for |r| <= ln(2) / 2. */
#define DYNQ_EXP_TERMS 7
static const float dynq_exp_terms[DYNQ_EXP_TERMS] = {
    0x1.6a524ep-10f, 0x1.12396ep-7f, 0x1.5558aap-5f, 0x1.555492p-3f,
    0x1.fffffcp-2f,  0x1p+0f,        0x1p+0f};

/* exp of anything lower is 0 even as a subnormal. */
#define DYNQ_EXP_LOWEST (-104.0f)
#define DYNQ_LOG2_E     0x1.715476p+0f
/* ln(2) in two parts; the first has 15 bits, so that its product with n is exact. */
#define DYNQ_LN2_HIGH 0x1.62e4p-1f
#define DYNQ_LN2_LOW  0x1.7f7d1cp-20f

/* (tanh(x) / x - 1) / x^2 as a polynomial in x^2, for |x| < DYNQ_TANH_SMALL. */
#define DYNQ_TANH_TERMS 5
static const float dynq_tanh_terms[DYNQ_TANH_TERMS] = {
    -0x1.828776p-8f, 0x1.54c3c2p-6f, -0x1.b89abap-5f, 0x1.1109bep-3f, -0x1.55553ep-2f};
#define DYNQ_TANH_SMALL 0.6f

/* log(erfc(t)) / t for t >= 0. Falls for ever, so that erfc of anything large is 0. */
#define DYNQ_ERFC_TERMS 10
static const float dynq_erfc_terms[DYNQ_ERFC_TERMS] = {
    -0x1.c6d60cp-21f, 0x1.15dc2ap-16f, -0x1.261d4p-13f, 0x1.58e44p-11f,  -0x1.b1121cp-10f,
    0x1.9480b8p-14f,  0x1.3ad2f2p-6f,  -0x1.a5168ep-4f, -0x1.45f252p-1f, -0x1.20dd7ap+0f};
#define DYNQ_SQRT_HALF 0x1.6a09e6p-1f

#endif
