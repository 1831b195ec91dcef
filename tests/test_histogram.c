/* Histograms and moments: one pass over all data, or parts of it merged in any way. */
#include "src/histogram.h"
#include "src/moments.h"

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static dynq_histogram *empty(void)
{
    dynq_histogram *histogram = calloc(1, sizeof *histogram);
    cr_assert_not_null(histogram);
    return histogram;
}

static dynq_histogram *of(const float *values, size_t count)
{
    dynq_histogram *histogram = empty();
    dynq_histogram_add(histogram, values, count);
    return histogram;
}

static uint64_t total(const dynq_histogram *histogram)
{
    uint64_t sum = histogram->zeros;
    for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
        sum += histogram->negative[i] + histogram->positive[i];
    }
    return sum;
}

/* Any bits that are finite: all magnitudes from subnormal to FLT_MAX are equally likely. */
static void fill_bits(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        do {
            seed = seed * 1664525u + 1013904223u;
            const uint32_t bits = seed ^ seed >> 15;
            memcpy(&values[i], &bits, sizeof bits);
        } while (!isfinite(values[i]));
    }
}

/* The contract, word by word, in long double. */
static void expect_right(const dynq_histogram *h, const float *values, size_t count)
{
    dynq_histogram *expected = empty();
    long double largest = 0.0L;
    for (size_t i = 0; i < count; i++) {
        largest = fmaxl(largest, fabsl((long double)values[i]));
    }
    if (largest > 0.0L) {
        long double limit = 0x1p-160L;
        while (limit <= largest) {
            limit *= 2.0L;
        }
        expected->limit = (double)limit;
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i] == 0.0f) {
            expected->zeros++;
            continue;
        }
        const long double width = (long double)expected->limit / DYNQ_HISTOGRAM_BINS;
        const size_t bin = (size_t)floorl(fabsl((long double)values[i]) / width);
        (values[i] < 0.0f ? expected->negative : expected->positive)[bin]++;
    }
    cr_assert_eq(memcmp(h, expected, sizeof *h), 0);
    free(expected);
}

Test(histogram, counts_are_what_the_contract_says)
{
    enum { VALUES = 1000 };
    float values[VALUES];
    for (uint32_t seed = 0; seed < 30; seed++) {
        fill_bits(values, VALUES, seed);
        for (size_t i = 0; seed % 3 == 0 && i < VALUES; i++) {
            values[i] = ldexpf(values[i], -200); /* subnormals and zeros */
        }
        if (seed % 3 == 1) {
            samples_fill(values, VALUES, seed);
            values[7] = 0.0f;
            values[9] = -0.0f;
        }
        dynq_histogram *h = of(values, VALUES);
        expect_right(h, values, VALUES);
        free(h);
    }
}

Test(histogram, limits_at_powers_of_two)
{
    static const float ends[] = {1.0f,     0.5f,      2.0f,        FLT_MIN, FLT_MAX,
                                 0x1p127f, 0x1p-149f, 0x1.8p-148f, 3.0f,    0x1.fffffep-127f};
    for (size_t i = 0; i < COUNT(ends); i++) {
        const float values[] = {ends[i], -nextafterf(ends[i], 0.0f)};
        dynq_histogram *h = of(values, 2);
        expect_right(h, values, 2);
        cr_assert_gt(h->limit, (double)ends[i]);
        cr_assert_leq(h->limit / 2.0, (double)ends[i]);
        free(h);
    }
}

Test(histogram, zeros_are_in_no_bin)
{
    const float values[] = {0.0f, -0.0f, 0.0f, 1e-45f, -1e-45f, 1.0f};
    dynq_histogram *h = of(values, 3), *none = of(values, 0);
    cr_assert(h->zeros == 3 && h->limit == 0.0 && total(h) == 3);
    dynq_histogram_add(h, values + 3, 3);
    cr_assert(h->zeros == 3 && h->limit == 2.0 && total(h) == 6);
    cr_assert(h->positive[0] == 1 && h->negative[0] == 1 && h->positive[1024] == 1);
    dynq_histogram_merge(none, h);
    cr_assert_eq(memcmp(none, h, sizeof *h), 0);
    free(h);
    free(none);
}

Test(histogram, any_split_is_one_pass)
{
    enum { VALUES = 600 };
    float values[VALUES];
    for (uint32_t seed = 0; seed < 40; seed++) {
        fill_bits(values, VALUES, seed);
        if (seed % 2 == 0) {
            samples_fill(values, VALUES, seed);
        }
        const size_t a = seed * 7 % VALUES, b = a + (VALUES - a) / 3;
        dynq_histogram *whole = of(values, VALUES), *piecewise = empty();
        dynq_histogram *first = of(values, a), *second = of(values + a, b - a);
        dynq_histogram *third = of(values + b, VALUES - b);
        for (size_t i = 0; i < VALUES; i += 1 + i % 5) {
            const size_t part = 1 + i % 5;
            dynq_histogram_add(piecewise, values + i, part < VALUES - i ? part : VALUES - i);
        }
        dynq_histogram_merge(third, first);
        dynq_histogram_merge(second, third);
        cr_assert_eq(memcmp(piecewise, whole, sizeof *whole), 0, "seed %u", seed);
        cr_assert_eq(memcmp(second, whole, sizeof *whole), 0, "seed %u", seed);
        cr_assert_eq(total(whole), VALUES);
        free(whole);
        free(piecewise);
        free(first);
        free(second);
        free(third);
    }
}

/* ---- moments ---- */

static dynq_moments moments_of(const float *values, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
    }
    return dynq_moments_of(values, count, sum);
}

static void expect_moments(dynq_moments m, const float *values, size_t count, double tolerance)
{
    long double mean = 0.0L, sums[5] = {0};
    for (size_t i = 0; i < count; i++) {
        mean += (long double)values[i] / (long double)count;
    }
    for (size_t i = 0; i < count; i++) {
        for (int power = 2; power <= 4; power++) {
            sums[power] += powl((long double)values[i] - mean, power);
        }
    }
    const double deviation = sqrt((double)sums[2] / (double)count);
    const double size = pow(deviation, 3) * (double)count; /* the third may be near 0 */
    cr_assert_eq(m.count, (double)count);
    cr_assert_float_eq(m.mean, (double)mean, tolerance * (fabs((double)mean) + deviation));
    cr_assert_float_eq(m.second, (double)sums[2], tolerance * (double)sums[2]);
    cr_assert_float_eq(m.third, (double)sums[3], tolerance * size);
    cr_assert_float_eq(m.fourth, (double)sums[4], tolerance * (double)sums[4]);
}

Test(histogram, moments_of_parts_are_those_of_all)
{
    enum { VALUES = 4001 };
    static const float shifts[] = {0.0f, 3.0f, -1e4f};
    float values[VALUES];
    for (size_t s = 0; s < COUNT(shifts); s++) {
        samples_fill(values, VALUES, (uint32_t)s);
        for (size_t i = 0; i < VALUES; i++) {
            values[i] = values[i] * (i % 50 == 0 ? 9.0f : 1.0f) + shifts[s];
        }
        const double tolerance = shifts[s] < -1.0f ? 1e-7 : 1e-9;
        expect_moments(moments_of(values, VALUES), values, VALUES, tolerance);
        for (size_t part = 1; part < VALUES; part = part * 5 + 1) {
            dynq_moments merged = {0};
            for (size_t i = 0; i < VALUES; i += part) {
                const dynq_moments more =
                    moments_of(values + i, part < VALUES - i ? part : VALUES - i);
                dynq_moments_merge(&merged, &more);
            }
            expect_moments(merged, values, VALUES, tolerance);
        }
    }
}

Test(histogram, moments_of_a_constant_and_of_the_largest)
{
    float values[100];
    dynq_moments merged = {0};
    for (size_t i = 0; i < COUNT(values); i++) {
        values[i] = 0.1f;
    }
    for (size_t i = 0; i < COUNT(values); i += 10) {
        const dynq_moments more = moments_of(values + i, 10);
        dynq_moments_merge(&merged, &more);
    }
    cr_assert(merged.mean == (double)0.1f && merged.second == 0.0 && merged.fourth == 0.0);
    const float ends[] = {FLT_MAX, -FLT_MAX, FLT_MAX, 0x1p-149f};
    const dynq_moments a = moments_of(ends, 1), b = moments_of(ends + 1, 3);
    dynq_moments_merge(&merged, &a);
    dynq_moments_merge(&merged, &b);
    cr_assert(isfinite(merged.mean) && isfinite(merged.fourth) && merged.fourth > 0.0);
}
