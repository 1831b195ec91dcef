#include "src/histogram.h"

#include <math.h>
#include <string.h>

#define MAGNITUDE_BITS 0x7fffffffu

/* The bits of |x|, which as integers are in the order of the magnitudes. */
static uint32_t magnitude(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & MAGNITUDE_BITS;
}

static double largest_magnitude(const float *values, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = magnitude(values[i]);
        largest = bits > largest ? bits : largest;
    }
    float value;
    memcpy(&value, &largest, sizeof value);
    return (double)value;
}

double dynq_histogram_limit(double largest)
{
    int exponent = 0;
    frexp(largest, &exponent); /* largest = m * 2^exponent, m in [0.5, 1) */
    return largest > 0.0 ? ldexp(1.0, exponent) : 0.0;
}

/* How many bins of a histogram with limit `from` make one of a histogram with the limit `to`, as
 * the logarithm to base 2. */
static unsigned coarsening(double from, double to)
{
    int low = 0, high = 0;
    frexp(from, &low);
    frexp(to, &high);
    return (unsigned)(high - low);
}

static size_t coarse_bin(size_t bin, unsigned shift)
{
    return shift < 32 ? bin >> shift : 0;
}

/* Joins neighbouring bins until the limit is `limit`: no count moves to another value. */
static void grow(dynq_histogram *histogram, double limit)
{
    if (histogram->limit > 0.0) {
        const unsigned shift = coarsening(histogram->limit, limit);
        uint64_t *const sides[] = {histogram->negative, histogram->positive};
        for (size_t s = 0; s < 2; s++) {
            for (size_t i = 1; i < DYNQ_HISTOGRAM_BINS; i++) {
                const uint64_t moved = sides[s][i];
                sides[s][i] = 0;
                sides[s][coarse_bin(i, shift)] += moved;
            }
        }
    }
    histogram->limit = limit;
}

size_t dynq_histogram_bin(const dynq_histogram *histogram, float value)
{
    return (size_t)(fabs((double)value) * ((double)DYNQ_HISTOGRAM_BINS / histogram->limit));
}

void dynq_histogram_add(dynq_histogram *histogram, const float *values, size_t count)
{
    const double largest = largest_magnitude(values, count);
    if (largest == 0.0) {
        histogram->zeros += count;
        return;
    }
    if (largest >= histogram->limit) {
        grow(histogram, dynq_histogram_limit(largest));
    }
    /* A power of two: the products are exact, and no magnitude reaches the limit. */
    const double scale = (double)DYNQ_HISTOGRAM_BINS / histogram->limit;
    uint64_t *const sides[] = {histogram->positive, histogram->negative};
    uint64_t zeros = 0;
    for (size_t i = 0; i < count; i++) {
        const int32_t bin = (int32_t)(fabs((double)values[i]) * scale);
        const uint64_t counted = values[i] != 0.0f;
        sides[values[i] < 0.0f][bin] += counted;
        zeros += 1 - counted;
    }
    histogram->zeros += zeros;
}

void dynq_histogram_merge(dynq_histogram *histogram, const dynq_histogram *other)
{
    histogram->zeros += other->zeros;
    if (other->limit == 0.0) {
        return;
    }
    if (other->limit > histogram->limit) {
        grow(histogram, other->limit);
    }
    const unsigned shift = coarsening(other->limit, histogram->limit);
    for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
        histogram->negative[coarse_bin(i, shift)] += other->negative[i];
        histogram->positive[coarse_bin(i, shift)] += other->positive[i];
    }
}
