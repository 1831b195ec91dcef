/* A histogram that grows with what it sees, and the ranges that dynamic quantization would take. */
#ifndef DYNQ_TOOLS_HISTOGRAM_H
#define DYNQ_TOOLS_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BINS 2048

/* Counts over [-width, width); width is a power of two that doubles when a value lies outside, by
 * merging pairs of bins. Starts as all zero. */
typedef struct histogram {
    double width;
    double min, max;           /* seen so far */
    double row_lo, row_hi;     /* sums over rows of min(0, row) and max(0, row) */
    double batch_lo, batch_hi; /* the same over calls */
    uint64_t rows, batches;
    uint64_t bins[HISTOGRAM_BINS];
} histogram;

/* Adds rows x columns finite values; stride in floats. */
void histogram_add(histogram *self, size_t rows, size_t columns, const float *values,
                   size_t stride);

/* Counts in `count` equal parts of [min, max]; a bin of the histogram counts where its centre is.
 */
void histogram_view(const histogram *self, uint64_t *counts, size_t count);

#endif
