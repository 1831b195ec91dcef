#include "src/histogram.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 20000 };

typedef struct filled {
    dynq_histogram histogram;
    float min, max;
} filled;

typedef struct range {
    float lo, hi;
} range;

static const dynq_calibration_method methods[] = {DYNQ_METHOD_ENTROPY, DYNQ_METHOD_PERCENTILE,
                                                  DYNQ_METHOD_MSE};
static const dynq_scheme schemes[] = {DYNQ_SCHEME_AFFINE, DYNQ_SCHEME_SYMMETRIC};
enum { METHODS = sizeof methods / sizeof methods[0], SCHEMES = sizeof schemes / sizeof schemes[0] };

/* Written apart from dynq_histogram_add(). */
static void fill(filled *out, const float *values, size_t count)
{
    memset(out, 0, sizeof *out);
    double largest = 0.0;
    out->min = out->max = values[0];
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)values[i]));
        out->min = fminf(out->min, values[i]);
        out->max = fmaxf(out->max, values[i]);
    }
    if (largest > 0.0) {
        out->histogram.limit = 0x1p-150;
        while (out->histogram.limit <= largest) {
            out->histogram.limit *= 2.0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const double x = values[i];
        uint64_t *side = x < 0.0 ? out->histogram.negative : out->histogram.positive;
        if (x == 0.0) {
            out->histogram.zeros++;
        } else {
            side[(size_t)(fabs(x) / out->histogram.limit * DYNQ_HISTOGRAM_BINS)]++;
        }
    }
}

static range chosen(const filled *of, dynq_calibration_method method, dynq_scheme scheme,
                    double percentile)
{
    const dynq_range_choice choice = {
        .size = sizeof choice, .method = method, .scheme = scheme, .percentile = percentile};
    range found = {NAN, NAN};
    dynq_histogram_range(&of->histogram, of->min, of->max, &choice, &found.lo, &found.hi);
    cr_assert(found.lo <= 0.0f && found.hi >= 0.0f, "%g %g", (double)found.lo, (double)found.hi);
    cr_assert(found.lo >= fminf(0.0f, of->min) && found.hi <= fmaxf(0.0f, of->max));
    cr_assert_not(found.lo == 0.0f && signbit(found.lo));
    return found;
}

static range of_values(const float *values, size_t count, dynq_calibration_method method,
                       dynq_scheme scheme, double percentile)
{
    filled *of = malloc(sizeof *of);
    fill(of, values, count);
    const range found = chosen(of, method, scheme, percentile);
    free(of);
    return found;
}

/* Every method with every scheme keeps the seen range. */
static void expect_whole(const float *values, size_t count)
{
    float lo = 0.0f, hi = 0.0f;
    for (size_t i = 0; i < count; i++) {
        lo = fminf(lo, values[i]);
        hi = fmaxf(hi, values[i]);
    }
    for (size_t m = 0; m < METHODS * SCHEMES; m++) {
        const range found =
            of_values(values, count, methods[m / SCHEMES], schemes[m % SCHEMES], 99.99);
        cr_assert(found.lo == lo && found.hi == hi, "method %d: %g %g, not %g %g",
                  methods[m / SCHEMES], (double)found.lo, (double)found.hi, (double)lo, (double)hi);
    }
}

static double uniform(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t x = *state;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return ((double)((x ^ x >> 31) >> 11) + 0.5) * 0x1p-53;
}

static float gaussian(uint64_t *state)
{
    const double radius = sqrt(-2.0 * log(uniform(state)));
    return (float)(radius * cos(6.283185307179586 * uniform(state)));
}

/* Mean squared error of the codes of a range. */
static double actual_error(const float *values, size_t count, range r, dynq_scheme scheme)
{
    const bool symmetric = scheme == DYNQ_SCHEME_SYMMETRIC;
    const double largest = fmax(-(double)r.lo, r.hi);
    const double step = symmetric ? largest / 127.0 : ((double)r.hi - (double)r.lo) / 255.0;
    const double zero = symmetric ? 128.0 : rint(-(double)r.lo / step);
    double error = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double code = rint((double)values[i] / step) + zero;
        const double kept = fmin(fmax(code, symmetric ? 1.0 : 0.0), 255.0);
        const double off = (kept - zero) * step - (double)values[i];
        error += off * off;
    }
    return error / (double)count;
}

Test(histogram_range, nothing_but_zeros)
{
    const float zeros[] = {0.0f, -0.0f, 0.0f};
    expect_whole(zeros, 3);
}

Test(histogram_range, single_constant_and_two_valued)
{
    for (int exponent = -149; exponent < 128; exponent += 3) {
        const float x = ldexpf(exponent > -140 ? 1.7f : 1.0f, exponent);
        expect_whole(&x, 1);
        const float negative = -x;
        expect_whole(&negative, 1);
        float values[3000];
        for (size_t i = 0; i < 3000; i++) {
            values[i] = x;
        }
        expect_whole(values, 3000);
        for (size_t i = 0; i < 3000; i += 3) {
            values[i] = -x;
        }
        expect_whole(values, 3000);
        for (size_t i = 0; i < 3000; i += 3) {
            values[i] = x / 5.0f;
        }
        expect_whole(values, 3000);
        for (size_t i = 0; i < 3000; i += 3) {
            values[i] = 0.0f;
        }
        expect_whole(values, 3000);
    }
}

Test(histogram_range, extremes_of_float)
{
    const float widest[] = {FLT_MAX, -FLT_MAX, 1.0f, FLT_TRUE_MIN};
    expect_whole(widest, 2);
    expect_whole(widest + 3, 1);
    for (size_t m = 0; m < METHODS * SCHEMES; m++) {
        const range found = of_values(widest, 4, methods[m / SCHEMES], schemes[m % SCHEMES], 99.99);
        cr_assert(isfinite(found.lo) && isfinite(found.hi));
    }
}

Test(histogram_range, percentile_counts_elements_at_each_end)
{
    /* -100 .. 100: bins of limit 128 / 2048 = 1 / 16, so that x lies at the lower edge of one. */
    float values[201];
    for (int i = 0; i <= 200; i++) {
        values[i] = (float)(i - 100);
    }
    const float bin = 1.0f / 16.0f;
    const struct {
        double percentile;
        float affine, symmetric;
    } expected[] = {
        {100.0, 100.0f, 100.0f},           {99.5, 100.0f, 100.0f},
        {99.0, 99 + bin, 99 + bin},        {98.0, 98 + bin, 98 + bin},
        {0.0 /* 99.99 */, 100.0f, 100.0f}, {50.0, 50 + bin, 50 + bin},
        {2.0, 2 + bin, 2 + bin},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const double p = expected[i].percentile;
        const range affine = of_values(values, 201, DYNQ_METHOD_PERCENTILE, 0, p);
        cr_assert(affine.hi == expected[i].affine && affine.lo == -affine.hi, "%g: %g %g", p,
                  (double)affine.lo, (double)affine.hi);
        const range symmetric =
            of_values(values, 201, DYNQ_METHOD_PERCENTILE, DYNQ_SCHEME_SYMMETRIC, p);
        cr_assert(symmetric.hi == expected[i].symmetric && symmetric.lo == -symmetric.hi,
                  "%g: %g %g", p, (double)symmetric.lo, (double)symmetric.hi);
    }
}

Test(histogram_range, percentile_takes_decimal_percentages_as_meant)
{
    /* 99.9 as a double is more than 99.9: one element of a thousand must go all the same. */
    float values[2000];
    for (size_t i = 0; i < 2000; i++) {
        values[i] = (float)(i + 1);
    }
    const range affine = of_values(values, 2000, DYNQ_METHOD_PERCENTILE, 0, 99.9);
    cr_assert(affine.lo == 0.0f && affine.hi == 2000.0f, "%g", (double)affine.hi);
    const range symmetric =
        of_values(values, 2000, DYNQ_METHOD_PERCENTILE, DYNQ_SCHEME_SYMMETRIC, 99.9);
    cr_assert(symmetric.lo == 0.0f && symmetric.hi == 1999.0f, "%g", (double)symmetric.hi);
}

Test(histogram_range, percentile_counts_zeros_at_zero)
{
    float values[1000] = {0};
    for (size_t i = 0; i < 20; i++) {
        values[i] = (float)(i + 1);
    }
    const range some = of_values(values, 1000, DYNQ_METHOD_PERCENTILE, 0, 98.0);
    cr_assert(some.lo == 0.0f && some.hi == 10.0f + 32.0f / 2048.0f, "%g", (double)some.hi);
    /* All that is not zero would be left out. */
    const range all = of_values(values, 1000, DYNQ_METHOD_PERCENTILE, DYNQ_SCHEME_SYMMETRIC, 90.0);
    cr_assert(all.lo == 0.0f && all.hi == 20.0f);
}

/* Many enough for the outlier's own error not to outweigh that of all others. */
Test(histogram_range, a_planted_outlier_is_cut_where_that_helps)
{
    enum { MANY = 1 << 21 };
    float *values = malloc(MANY * sizeof *values);
    uint64_t state = 7;
    float lo = 0.0f;
    for (size_t i = 0; i < MANY; i++) {
        values[i] = gaussian(&state);
        lo = fminf(lo, values[i]);
    }
    values[MANY / 2] = 100.0f;
    filled *of = malloc(sizeof *of);
    fill(of, values, MANY);
    for (size_t s = 0; s < SCHEMES; s++) {
        const range max = {lo, 100.0f};
        const double max_error = actual_error(values, MANY, max, schemes[s]);
        const double max_others = actual_error(values, MANY / 2, max, schemes[s]);
        for (size_t m = 0; m < METHODS; m++) {
            const range found = chosen(of, methods[m], schemes[s], 0.0);
            const double error = actual_error(values, MANY, found, schemes[s]);
            const double others = actual_error(values, MANY / 2, found, schemes[s]);
            cr_assert_lt(error, max_error / 2.0, "method %d: %g, max %g", methods[m], error,
                         max_error);
            cr_assert_lt(others, max_others / 5.0, "method %d: %g, max %g", methods[m], others,
                         max_others);
            if (methods[m] != DYNQ_METHOD_MSE) {
                cr_assert(found.hi > 3.0f && found.hi < 10.0f, "method %d: %g", methods[m],
                          (double)found.hi);
            }
        }
    }
    free(of);
    free(values);
}

Test(histogram_range, what_a_relu_gives_is_not_cut_short)
{
    float *values = malloc(COUNT * sizeof *values);
    uint64_t state = 3;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = fmaxf(gaussian(&state), 0.0f);
    }
    for (size_t m = 0; m < METHODS * SCHEMES; m++) {
        const range found =
            of_values(values, COUNT, methods[m / SCHEMES], schemes[m % SCHEMES], 99.99);
        cr_assert(found.lo == 0.0f && found.hi > 2.5f, "method %d: %g", methods[m / SCHEMES],
                  (double)found.hi);
    }
    free(values);
}

Test(histogram_range, hostile_counts_give_ranges_all_the_same)
{
    filled *of = calloc(1, sizeof *of);
    of->min = -1.0f;
    of->max = 1.0f;
    uint64_t state = 11;
    for (int round = 0; round < 60; round++) {
        memset(&of->histogram, 0, sizeof of->histogram);
        of->histogram.limit = ldexp(1.0, round * 4 - 120);
        for (int i = 0; i < round; i++) {
            uint64_t *side = i % 3 == 0 ? of->histogram.negative : of->histogram.positive;
            const size_t bin = (size_t)(uniform(&state) * (round % 2 == 0 ? 40 : 2048));
            side[bin] = UINT64_MAX >> (8 + (round + i) % 50);
        }
        for (size_t m = 0; m < METHODS * SCHEMES; m++) {
            chosen(of, methods[m / SCHEMES], schemes[m % SCHEMES], 99.0);
        }
    }
    free(of);
}
