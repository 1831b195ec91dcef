/* Whether statistics from a file can be those of any data at all: what works with them later may
 * then rely on it. */
#include "src/calibrate_json.h"

#include <math.h>

/* Sums in double differ from the real ones by far less. */
#define TOLERANCE 1e-6

/* Whether x is within [low, high], up to rounding of numbers of the size `size`. */
static bool within(double x, double low, double high, double size)
{
    const double slack = size * TOLERANCE;
    return x >= low - slack && x <= high + slack;
}

/* The least sum of squares of `count` numbers with the sum `sum`, up to rounding. */
static double at_least(double sum, double count)
{
    return sum * (sum / count) * (1.0 - TOLERANCE);
}

static double magnitude(const dynq_value_statistics *s)
{
    return (double)fmaxf(fabsf(s->min), fabsf(s->max));
}

/* The number of the last bin that counts something, plus 1. */
static size_t filled(const uint64_t *bins)
{
    size_t count = DYNQ_HISTOGRAM_BINS;
    while (count > 0 && bins[count - 1] == 0) {
        count--;
    }
    return count;
}

static bool histogram_fits(const dynq_value_statistics *s)
{
    const dynq_histogram *h = s->histogram;
    if (h->limit != dynq_histogram_limit(magnitude(s)) ||
        (h->zeros > 0 && (s->min > 0.0f || s->max < 0.0f)) ||
        s->zero_rows * s->columns > h->zeros) {
        return false;
    }
    const size_t lowest = s->min < 0.0f ? dynq_histogram_bin(h, s->min) + 1 : 0;
    const size_t highest = s->max > 0.0f ? dynq_histogram_bin(h, s->max) + 1 : 0;
    uint64_t left = s->elements;
    const uint64_t *const sides[] = {h->negative, h->positive};
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
            if (sides[side][i] > left) {
                return false;
            }
            left -= sides[side][i];
        }
    }
    return left == h->zeros && filled(h->negative) == lowest && filled(h->positive) == highest;
}

static bool moments_fit(const dynq_value_statistics *s)
{
    const double elements = (double)s->elements, size = magnitude(s);
    const double width = (double)s->max - (double)s->min, square = width * width;
    const dynq_moments *m = &s->moments;
    const double second = elements * square, third = second * width, fourth = second * square;
    /* The smallest and the largest alone make square / 2, of which half is left to rounding; and no
     * kurtosis is below 1 (Cauchy-Schwarz). Deviation and kurtosis are thus finite. */
    return within(m->mean, (double)s->min, (double)s->max, size) && m->second >= square / 4.0 &&
           within(m->second, 0.0, second, second) && within(fabs(m->third), 0.0, third, third) &&
           m->fourth >= at_least(m->second, elements) && within(m->fourth, 0.0, fourth, fourth);
}

/* A sum over `count` of numbers from `low` to 0, or from 0 to `high`. */
static bool sum_fits(double sum, double low, double high, uint64_t count)
{
    const double most = (double)count * fmax(-low, high);
    return within(sum, (double)count * low, (double)count * high, most) &&
           sum * (low + high) >= 0.0;
}

static bool sums_fit(const dynq_value_statistics *s)
{
    const double low = fmin((double)s->min, 0.0), high = fmax((double)s->max, 0.0);
    return sum_fits(s->row_low, low, 0.0, s->rows) && sum_fits(s->row_high, 0.0, high, s->rows) &&
           sum_fits(s->batch_low, low, 0.0, s->batches) &&
           sum_fits(s->batch_high, 0.0, high, s->batches);
}

static bool average_fits(const dynq_value_statistics *s)
{
    const dynq_moving_average *a = &s->average;
    const double size = magnitude(s);
    if (s->unordered) {
        return true;
    }
    return a->weight >= DYNQ_AVERAGING * (1.0 - TOLERANCE) && a->weight <= 1.0 &&
           within(a->lo / a->weight, (double)s->min, (double)s->max, size) &&
           within(a->hi / a->weight, (double)s->min, (double)s->max, size);
}

static bool columns_fit(const dynq_value_statistics *s)
{
    const dynq_column_statistics *by_column = &s->by_column;
    const double rows = (double)s->rows;
    float min = by_column->min[0], max = by_column->max[0];
    for (size_t c = 0; c < s->columns; c++) {
        const double low = (double)by_column->min[c], high = (double)by_column->max[c];
        const double size = fmax(fabs(low), fabs(high)), most = rows * size * size;
        if (low > high || !within(by_column->sum[c], rows * low, rows * high, rows * size) ||
            !(by_column->sum_of_squares[c] >= at_least(by_column->sum[c], rows)) ||
            !within(by_column->sum_of_squares[c], 0.0, most, most)) {
            return false;
        }
        min = fminf(min, by_column->min[c]);
        max = fmaxf(max, by_column->max[c]);
    }
    return min == s->min && max == s->max;
}

const char *dynq_value_statistics_fault(const dynq_value_statistics *s)
{
    if (s->zero_rows > s->rows || s->batches == 0 || s->batches > s->rows) {
        return "\"zero_rows\" or \"batches\" do not fit \"rows\"";
    }
    if (!histogram_fits(s)) {
        return "its histogram does not fit \"min\", \"max\", \"elements\" and \"zero_rows\"";
    }
    if (!moments_fit(s)) {
        return "its moments cannot be those of numbers from \"min\" to \"max\"";
    }
    if (!sums_fit(s) || !average_fits(s)) {
        return "its averages of rows and batches cannot be those of numbers from \"min\" to "
               "\"max\"";
    }
    return columns_fit(s) ? NULL : "its columns do not fit \"min\", \"max\" and \"rows\"";
}
