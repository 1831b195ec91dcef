#include "tools/histogram.h"

#include <math.h>
#include <string.h>

/* Doubles the width: bins 2i and 2i + 1 become one, around the middle. */
static void widen(histogram *self)
{
    uint64_t merged[HISTOGRAM_BINS] = {0};
    for (size_t i = 0; i < HISTOGRAM_BINS; i++) {
        merged[HISTOGRAM_BINS / 4 + i / 2] += self->bins[i];
    }
    memcpy(self->bins, merged, sizeof merged);
    self->width *= 2;
}

static void make_room(histogram *self, double largest)
{
    if (self->width == 0) {
        int exponent = 0;
        (void)frexp(largest, &exponent);
        self->width = largest > 0 ? ldexp(1, exponent) : 1;
    }
    while (largest >= self->width) {
        widen(self);
    }
}

void histogram_add(histogram *self, size_t rows, size_t columns, const float *values, size_t stride)
{
    double batch_lo = 0, batch_hi = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *row = values + r * stride;
        double low = row[0], high = row[0];
        for (size_t c = 1; c < columns; c++) {
            low = row[c] < low ? row[c] : low;
            high = row[c] > high ? row[c] : high;
        }
        self->min = self->rows == 0 ? low : fmin(self->min, low);
        self->max = self->rows == 0 ? high : fmax(self->max, high);
        self->rows++;
        self->row_lo += fmin(low, 0);
        self->row_hi += fmax(high, 0);
        batch_lo = fmin(batch_lo, low);
        batch_hi = fmax(batch_hi, high);
        make_room(self, fmax(fabs(low), fabs(high)));
        const double scale = HISTOGRAM_BINS / (2 * self->width);
        for (size_t c = 0; c < columns; c++) {
            self->bins[(size_t)((row[c] + self->width) * scale)]++;
        }
    }
    self->batch_lo += batch_lo;
    self->batch_hi += batch_hi;
    self->batches++;
}

void histogram_view(const histogram *self, uint64_t *counts, size_t count)
{
    memset(counts, 0, count * sizeof *counts);
    const double bin = 2 * self->width / HISTOGRAM_BINS;
    for (size_t i = 0; i < HISTOGRAM_BINS; i++) {
        if (self->bins[i] == 0) {
            continue;
        }
        const double centre = -self->width + ((double)i + 0.5) * bin;
        const double share =
            self->max > self->min ? (centre - self->min) / (self->max - self->min) : 0;
        const double place = fmin(fmax(share, 0) * (double)count, (double)count - 1);
        counts[(size_t)place] += self->bins[i];
    }
}
