#include "src/histogram.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define BINS DYNQ_HISTOGRAM_BINS

/* Everything below works with |x| in bins: bin i is [i, i + 1), a range ends at an edge. */

static uint64_t sum_of(const uint64_t *counts)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < BINS; i++) {
        sum += counts[i];
    }
    return sum;
}

/* The edge above the last bin that is not empty. */
static size_t used_bins(const uint64_t *counts)
{
    size_t used = BINS;
    while (used > 0 && counts[used - 1] == 0) {
        used--;
    }
    return used;
}

/* Counts of |x|. */
static void fold(const dynq_histogram *histogram, uint64_t *counts)
{
    for (size_t i = 0; i < BINS; i++) {
        counts[i] = histogram->negative[i] + histogram->positive[i];
    }
}

/* How many of `count` elements make up `percent`, rounded down. Percentages such as 99.9 are no
 * exact doubles: what is nearly the next whole number is that. */
static uint64_t elements_of(double percent, uint64_t count)
{
    const double elements = percent / 100.0 * (double)count;
    return (uint64_t)(elements + elements * 1e-9);
}

/* The lowest edge with no more than `allowed` elements above it: a bin is kept as a whole, so that
 * never more is left out than was asked for. */
static size_t edge_leaving_out(const uint64_t *counts, uint64_t allowed)
{
    size_t edge = BINS;
    while (edge > 0 && counts[edge - 1] <= allowed) {
        allowed -= counts[edge - 1];
        edge--;
    }
    return edge;
}

typedef struct edges {
    size_t low, high;
} edges;

static edges percentile_edges(const dynq_histogram *histogram, double percentile, bool symmetric)
{
    uint64_t folded[BINS];
    fold(histogram, folded);
    const uint64_t count = histogram->zeros + sum_of(folded);
    const double outside = 100.0 - (percentile == 0.0 ? 99.99 : percentile);
    edges found;
    if (symmetric) {
        found.low = found.high = edge_leaving_out(folded, elements_of(outside, count));
    } else {
        const uint64_t allowed = elements_of(outside / 2.0, count);
        found.low = edge_leaving_out(histogram->negative, allowed);
        found.high = edge_leaving_out(histogram->positive, allowed);
    }
    if (found.low == 0 && found.high == 0) {
        /* Almost everything is zero: no range at all would lose the rest. */
        found.low = found.high = BINS;
    }
    return found;
}

/* The method of TensorRT (Migacz, "8-bit inference with TensorRT", 2017). For every threshold from
 * LEVELS bins to all: P is the histogram up to there with everything above it added to the last
 * bin; Q is the same without what is above, merged into LEVELS levels of as many bins as possible
 * alike, each spread evenly over those of its bins that P has, and scaled to the sum of P. The
 * least divergence of Q from P wins, among equals the widest threshold. What the talk leaves open:
 * - Bin 0 would hold all exact zeros, half of what a ReLU gives, which every range represents;
 *   spread over a level they would make wide thresholds look bad. It gets the count of bin 1, as in
 *   NVIDIA's own pytorch-quantization.
 * - Where P's last bin holds only what is above and its level is empty, the divergence would be
 *   infinite and one far outlier could never be cut off. Q has NEARLY_NONE elements there, the
 *   constant of MXNet and ONNX Runtime.
 * - Bins that do not divide evenly are spread over all levels, not put into the last one (or, as in
 *   ONNX Runtime, left without any Q), which would favour multiples of LEVELS.
 * - A threshold below nearly everything would be perfect: all of P is in its last bin, and so is
 *   all of Q. Where that bin has more than half of P, the threshold cuts more than outliers. */
#define LEVELS      128
#define NEARLY_NONE 1e-4
/* Divergences (in nats) that differ by less are equal but for rounding. */
#define SAME_DIVERGENCE 1e-9

/* Sums over the bins below each edge. */
typedef struct sums {
    double count[BINS + 1];
    double entropy[BINS + 1]; /* of count * log(count) */
    uint16_t filled[BINS + 1];
} sums;

static double times_log(double factor, double of)
{
    return factor > 0.0 ? factor * log(of) : 0.0;
}

static void sum_up(const uint64_t *counts, sums *below)
{
    below->count[0] = below->entropy[0] = 0.0;
    below->filled[0] = 0;
    for (size_t i = 0; i < BINS; i++) {
        const double count = (double)counts[i];
        below->count[i + 1] = below->count[i] + count;
        below->entropy[i + 1] = below->entropy[i] + times_log(count, count);
        below->filled[i + 1] = (uint16_t)(below->filled[i] + (counts[i] != 0));
    }
}

/* Sum of P * log(P / Q), written out for counts: Q is the same in all filled bins of a level. */
static double divergence(const sums *below, size_t edge)
{
    const double total = below->count[BINS];
    const double inside = below->count[edge];
    const double outside = total - inside;
    const double last = inside - below->count[edge - 1];
    if (outside > 0.0 && (last + outside) * 2.0 > total) {
        return INFINITY;
    }
    double sum = below->entropy[edge - 1] + times_log(last + outside, last + outside);
    double quantized = NEARLY_NONE; /* Q in the last bin */
    for (size_t level = 0, begin = 0; level < LEVELS; level++) {
        const size_t end = ((level + 1) * edge + LEVELS - 1) / LEVELS;
        const double count = below->count[end] - below->count[begin];
        size_t filled = (size_t)below->filled[end] - below->filled[begin];
        if (end == edge && last == 0.0 && outside > 0.0) {
            filled++;
        }
        if (count > 0.0) {
            quantized = count / (double)filled;
            sum -= count * log(quantized);
        } else {
            quantized = NEARLY_NONE;
        }
        begin = end;
    }
    sum -= times_log(outside, quantized);
    return sum / total + log(inside / total);
}

static edges entropy_edges(const dynq_histogram *histogram)
{
    uint64_t folded[BINS];
    fold(histogram, folded);
    folded[0] = folded[1];
    sums below;
    sum_up(folded, &below);
    const size_t used = used_bins(folded);
    size_t best = used;
    double least = INFINITY;
    for (size_t edge = used; edge >= LEVELS; edge--) {
        const double found = divergence(&below, edge);
        if (found < least - SAME_DIVERGENCE) {
            least = found;
            best = edge;
        }
    }
    return (edges){best, best};
}

/* One side of a range, for the squared error in squared bins. */
typedef struct side {
    const uint64_t *counts;
    double count;
    size_t used;
    double clipped[BINS + 1]; /* by clipping at each edge */
} side;

/* Elements are even in their bin; those of the outermost bin end at the extreme. */
static void measure_clipping(side *out, const uint64_t *counts, double extreme)
{
    out->counts = counts;
    out->count = (double)sum_of(counts);
    out->used = used_bins(counts);
    double above = 0.0, distance = 0.0, square = 0.0;
    memset(out->clipped, 0, sizeof out->clipped);
    for (size_t i = out->used; i-- > 0;) {
        const double rest = extreme - (double)i;
        const double width = rest < 0.0 ? 0.0 : (rest > 1.0 ? 1.0 : rest);
        const double count = (double)counts[i];
        square += 2.0 * distance + above + count * width * width / 3.0;
        distance += above + count * width / 2.0;
        above += count;
        out->clipped[i] = square;
    }
}

/* Of rounding to steps of 2 * half: x itself is lost below half a step, step^2 / 12 above. What is
 * clipped is charged, too: the ends of a range are off the grid as much as anything between, and a
 * peak at the largest value must not be cut to escape this. */
static double rounding_error(const side *of, double half)
{
    double below = 0.0, error = 0.0;
    for (size_t i = 0; i < BINS && (double)i < half; i++) {
        const double bottom = (double)i;
        const double top = bottom + 1.0 < half ? bottom + 1.0 : half;
        const double count = (double)of->counts[i];
        below += count * (top - bottom);
        error += count * (top * top * top - bottom * bottom * bottom) / 3.0;
    }
    return error + (of->count - below) * half * half / 3.0;
}

static double squared_error(const side *low, const side *high, edges at, double steps)
{
    const double half = (double)(at.low + at.high) / (2.0 * steps);
    return low->clipped[at.low] + high->clipped[at.high] + rounding_error(low, half) +
           rounding_error(high, half);
}

/* Both sides are made narrower, step by step, and the best edges met on the way are taken. The
 * error of clipping is convex in the edge: taking away, each time, the bin that costs less leaves
 * the best division of every width; the error of rounding depends on the width alone. */
static edges least_error_edges(const side *low, const side *high, double steps)
{
    edges at = {low->used, high->used};
    edges best = at;
    double least = squared_error(low, high, at, steps);
    while (at.low > 0 || at.high > 0) {
        bool take_low = at.high == 0;
        if (at.low > 0 && at.high > 0) {
            take_low = low->clipped[at.low - 1] - low->clipped[at.low] <
                       high->clipped[at.high - 1] - high->clipped[at.high];
        }
        at.low -= take_low;
        at.high -= !take_low;
        const double error = squared_error(low, high, at, steps);
        if (error < least) {
            least = error;
            best = at;
        }
    }
    return best;
}

static edges mse_edges(const dynq_histogram *histogram, double low, double high, bool symmetric)
{
    side sides[2];
    if (!symmetric) {
        measure_clipping(&sides[0], histogram->negative, low);
        measure_clipping(&sides[1], histogram->positive, high);
        return least_error_edges(&sides[0], &sides[1], 255.0);
    }
    static const uint64_t none[BINS];
    uint64_t folded[BINS];
    fold(histogram, folded);
    measure_clipping(&sides[0], none, 0.0);
    measure_clipping(&sides[1], folded, low > high ? low : high);
    const size_t edge = least_error_edges(&sides[0], &sides[1], 127.0).high;
    return (edges){edge, edge};
}

static float reach(size_t edge, double width, double extreme)
{
    const double end = (double)edge * width;
    return (float)(end < extreme ? end : extreme);
}

void dynq_histogram_range(const dynq_histogram *histogram, float min, float max,
                          const dynq_range_choice *choice, float *lo, float *hi)
{
    const double low = min < 0.0f ? -(double)min : 0.0;
    const double high = max > 0.0f ? (double)max : 0.0;
    const double width = histogram->limit / BINS;
    const bool symmetric = choice->scheme == DYNQ_SCHEME_SYMMETRIC;
    edges found = {BINS, BINS};
    if (histogram->limit > 0.0) {
        if (choice->method == DYNQ_METHOD_PERCENTILE) {
            found = percentile_edges(histogram, choice->percentile, symmetric);
        } else if (choice->method == DYNQ_METHOD_ENTROPY) {
            found = entropy_edges(histogram);
        } else if (choice->method == DYNQ_METHOD_MSE) {
            found = mse_edges(histogram, low / width, high / width, symmetric);
        }
    }
    *lo = low > 0.0 && found.low > 0 ? -reach(found.low, width, low) : 0.0f;
    *hi = reach(found.high, width, high);
}
