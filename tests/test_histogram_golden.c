/* The ranges that golden/histogram_range.py found with other implementations. */
#include "src/histogram.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINS DYNQ_HISTOGRAM_BINS

typedef struct golden {
    char name[64];
    dynq_histogram histogram;
    float min, max;
} golden;

typedef struct range {
    double lo, hi;
} range;

/* Counts from bin 0 on; -n are n bins of 0, 0 is the end. */
static void read_counts(FILE *file, const char *label, uint64_t *counts)
{
    char word[64];
    cr_assert_eq(fscanf(file, "%63s", word), 1);
    cr_assert_str_eq(word, label);
    size_t bin = 0;
    for (long long count = 1; count != 0;) {
        cr_assert_eq(fscanf(file, "%lld", &count), 1);
        if (count < 0) {
            bin += (size_t)-count;
        } else if (count > 0) {
            cr_assert_lt(bin, BINS);
            counts[bin++] = (uint64_t)count;
        }
    }
}

static double real(const char *word)
{
    char *end = NULL;
    const double value = strtod(word, &end);
    cr_assert(end != word && *end == '\0', "%s", word);
    return value;
}

/* How many ranges follow. 0 at the end of the file. */
static int read_case(FILE *file, golden *out)
{
    char limit[64], min[64], max[64];
    unsigned long long zeros = 0;
    int ranges = 0;
    memset(out, 0, sizeof *out);
    if (fscanf(file, " case %63s limit %63s zeros %llu seen %63s %63s", out->name, limit, &zeros,
               min, max) != 5) {
        return 0;
    }
    out->histogram.limit = real(limit);
    out->histogram.zeros = zeros;
    out->min = (float)real(min);
    out->max = (float)real(max);
    read_counts(file, "negative", out->histogram.negative);
    read_counts(file, "positive", out->histogram.positive);
    cr_assert_eq(fscanf(file, " ranges %d", &ranges), 1);
    return ranges;
}

static double error_of_one(double x, range r, dynq_scheme scheme)
{
    const bool symmetric = scheme == DYNQ_SCHEME_SYMMETRIC;
    const double step = symmetric ? fmax(-r.lo, r.hi) / 127.0 : (r.hi - r.lo) / 255.0;
    const double zero = symmetric ? 128.0 : rint(-r.lo / step);
    const double code = fmin(fmax(rint(x / step) + zero, symmetric ? 1.0 : 0.0), 255.0);
    const double off = (code - zero) * step - x;
    return off * off;
}

/* Sum of squared errors of codes, the elements of a bin put on points in it. */
static double error_of_side(const golden *of, double sign, range r, dynq_scheme scheme)
{
    enum { POINTS = 8 };
    const uint64_t *counts = sign < 0.0 ? of->histogram.negative : of->histogram.positive;
    const double extreme = fmax(0.0, sign < 0.0 ? -of->min : of->max);
    const double width = of->histogram.limit / BINS;
    double error = 0.0;
    for (size_t i = 0; i < BINS; i++) {
        if (counts[i] == 0) {
            continue;
        }
        const double bottom = (double)i * width;
        const double top = fmin(bottom + width, extreme);
        for (int p = 0; p < POINTS; p++) {
            const double x = bottom + (top - bottom) * (p + 0.5) / POINTS;
            error += (double)counts[i] / POINTS * error_of_one(sign * x, r, scheme);
        }
    }
    return error;
}

static double error_of(const golden *of, range r, dynq_scheme scheme)
{
    return error_of_side(of, -1.0, r, scheme) + error_of_side(of, 1.0, r, scheme);
}

static void expect_range(const golden *of, const dynq_range_choice *choice, range wanted)
{
    float lo = NAN, hi = NAN;
    dynq_histogram_range(&of->histogram, of->min, of->max, choice, &lo, &hi);
    const range found = {lo, hi};
    if (choice->method == DYNQ_METHOD_MSE) {
        const double error = error_of(of, found, choice->scheme);
        const double least = error_of(of, wanted, choice->scheme);
        cr_assert_leq(error, 1.02 * least, "%s, scheme %d: %g %g has %g, %g %g has %g", of->name,
                      choice->scheme, found.lo, found.hi, error, wanted.lo, wanted.hi, least);
        return;
    }
    const double bin = of->histogram.limit / BINS * (1.0 + 1e-6);
    cr_assert(fabs(found.lo - wanted.lo) <= bin && fabs(found.hi - wanted.hi) <= bin,
              "%s, method %d, percentile %g, scheme %d: %g %g, not %g %g", of->name, choice->method,
              choice->percentile, choice->scheme, found.lo, found.hi, wanted.lo, wanted.hi);
}

Test(histogram_range, golden)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/histogram_range.txt", "r");
    cr_assert_not_null(file);
    golden *of = malloc(sizeof *of);
    int cases = 0;
    for (int ranges = read_case(file, of); ranges > 0; ranges = read_case(file, of)) {
        for (int i = 0; i < ranges; i++) {
            int method = 0, scheme = 0;
            char percentile[64], lo[64], hi[64];
            cr_assert_eq(fscanf(file, "%d %63s %d %63s %63s", &method, percentile, &scheme, lo, hi),
                         5);
            const dynq_range_choice choice = {.size = sizeof choice,
                                              .method = (dynq_calibration_method)method,
                                              .percentile = real(percentile),
                                              .scheme = (dynq_scheme)scheme};
            expect_range(of, &choice, (range){real(lo), real(hi)});
        }
        cases++;
    }
    cr_assert(feof(file));
    cr_assert_geq(cases, 20);
    free(of);
    fclose(file);
}

/* What is expected of one side: clipping at each edge, rounding for each width. */
typedef struct oracle {
    double clipping[BINS + 1], rounding[2 * BINS + 1];
    size_t used;
} oracle;

/* The mean of (x - at)^2 for x even in [bottom, top]. */
static double mean_square(double bottom, double top, double at)
{
    const double middle = (bottom + top) / 2.0 - at;
    return middle * middle + (top - bottom) * (top - bottom) / 12.0;
}

static void predict(oracle *out, const uint64_t *counts, double extreme, double steps)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < BINS; i++) {
        if (counts[i] == 0) {
            continue;
        }
        out->used = i + 1;
        const double bottom = (double)i, count = (double)counts[i];
        for (size_t edge = 0; edge <= i; edge++) {
            out->clipping[edge] +=
                count * mean_square(bottom, fmin(bottom + 1.0, extreme), (double)edge);
        }
        for (size_t width = 1; width <= 2 * BINS; width++) {
            const double step = (double)width / steps;
            const double cut = fmin(fmax(step / 2.0, bottom), bottom + 1.0);
            out->rounding[width] += count * (cut - bottom) * mean_square(bottom, cut, 0.0) +
                                    count * (bottom + 1.0 - cut) * step * step / 12.0;
        }
    }
}

/* The least error that any pair of edges promises, and that of one pair. */
static double least_error(const oracle *low, const oracle *high, size_t low_edge, size_t high_edge,
                          double *of_pair)
{
    double least = INFINITY;
    for (size_t a = 0; a <= low->used; a++) {
        for (size_t b = 0; b <= high->used; b++) {
            const double error =
                low->clipping[a] + high->clipping[b] + low->rounding[a + b] + high->rounding[a + b];
            least = fmin(least, error);
            if (a == low_edge && b == high_edge) {
                *of_pair = error;
            }
        }
    }
    return least;
}

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Some counts, fewer the further out, and the largest |x|, in bins. */
static double scatter(uint64_t *counts, size_t filled, uint64_t *state)
{
    memset(counts, 0, BINS * sizeof *counts);
    size_t last = 0;
    for (size_t i = 0; i < filled; i++) {
        const size_t bin = (size_t)(next(state) % (1u << (1 + next(state) % 11)));
        counts[bin] +=
            next(state) % (1 + (UINT64_C(1) << 40) / ((bin + 1) * (bin + 1) * (bin + 1)));
        last = counts[bin] > 0 && bin > last ? bin : last;
    }
    counts[last] += 1 + next(state) % 256;
    return (double)last + (double)(next(state) % 1024) / 1024.0;
}

Test(histogram_range, mse_finds_what_trying_every_pair_of_edges_finds)
{
    golden *of = calloc(1, sizeof *of);
    oracle *sides = malloc(2 * sizeof *sides);
    uint64_t state = 5;
    size_t cut = 0;
    for (size_t round = 0; round < 48; round++) {
        const bool symmetric = round % 3 == 2;
        const double low = scatter(of->histogram.negative, 1 + round * 2, &state);
        const double high = scatter(of->histogram.positive, 1 + next(&state) % 80, &state);
        of->histogram.limit = BINS;
        of->min = (float)-low;
        of->max = (float)high;
        const dynq_range_choice choice = {.size = sizeof choice,
                                          .method = DYNQ_METHOD_MSE,
                                          .scheme = symmetric ? DYNQ_SCHEME_SYMMETRIC
                                                              : DYNQ_SCHEME_AFFINE};
        float lo = NAN, hi = NAN;
        dynq_histogram_range(&of->histogram, of->min, of->max, &choice, &lo, &hi);
        uint64_t *negative = of->histogram.negative, *positive = of->histogram.positive;
        for (size_t i = 0; i < BINS && symmetric; i++) {
            positive[i] += negative[i];
            negative[i] = 0;
        }
        predict(&sides[0], negative, low, 255.0);
        predict(&sides[1], positive, symmetric ? fmax(low, high) : high, symmetric ? 127.0 : 255.0);
        const double largest = symmetric ? fmax(-(double)lo, hi) : hi;
        double found = NAN;
        const double least = least_error(&sides[0], &sides[1], symmetric ? 0 : (size_t)ceil(-lo),
                                         (size_t)ceil(largest), &found);
        cr_assert_leq(found, least * (1.0 + 1e-9), "round %zu: %g %g", round, (double)lo,
                      (double)hi);
        cut += (double)lo > -low || (double)hi < high;
    }
    cr_assert_geq(cut, 10);
    free(sides);
    free(of);
}
