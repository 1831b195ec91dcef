/* Histograms of values, and the ranges that are chosen from one. */
#ifndef DYNQ_SRC_HISTOGRAM_H
#define DYNQ_SRC_HISTOGRAM_H

#include <dynq/calibration.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as all zero. Bin i of a side counts |x| in [i, i + 1) * limit / DYNQ_HISTOGRAM_BINS. */
typedef struct dynq_histogram {
    double limit; /* the smallest power of two above every |x| seen; 0: nothing but zeros */
    uint64_t zeros;
    uint64_t negative[DYNQ_HISTOGRAM_BINS], positive[DYNQ_HISTOGRAM_BINS];
} dynq_histogram;

/* Adds `count` finite values. */
void dynq_histogram_add(dynq_histogram *histogram, const float *values, size_t count);
/* Adds the counts of `other`: the result is that of one pass over the values of both. */
void dynq_histogram_merge(dynq_histogram *histogram, const dynq_histogram *other);

/* The limit for values up to `largest`: the smallest power of two above it; 0 for 0. */
double dynq_histogram_limit(double largest);
/* The bin of a value that is not 0, within the limit. */
size_t dynq_histogram_bin(const dynq_histogram *histogram, float value);

/* The range of entropy, percentile or MSE for values between `min` and `max`, the smallest and
 * largest that `histogram` counts. lo <= 0 <= hi, within [min(0, min), max(0, max)]; not [0, 0]
 * unless nothing but zeros was seen. */
void dynq_histogram_range(const dynq_histogram *histogram, float min, float max,
                          const dynq_range_choice *choice, float *lo, float *hi);

#endif
