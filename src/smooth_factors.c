/* By how much the columns of a value are divided. */
#include "src/smooth.h"

#include "src/memory.h"

#include <math.h>
#include <string.h>

/* Limits are searched in steps of half an octave: twelve for the range, eight for weights. */
#define STEP         0x1.6a09e6p-1 /* 1 / sqrt(2) */
#define RANGE_STEPS  12
#define WEIGHT_STEPS 8
#define MOST_FACTOR  0x1p20
#define STEPS_OF_X   255.0
#define STEPS_OF_W   127.0

/* What choosing works with, all by column. */
typedef struct chooser {
    const dynq_smooth_site *site;
    double *low, *high; /* min(0, x), max(0, x) */
    double *square;     /* mean of x^2 */
    double *weights;    /* sum of w^2 */
    double *most;       /* largest |w| */
    double *base;       /* the best factor where no limit is reached */
    double *factors;    /* a candidate */
    float *rounded;     /* it, as floats */
    float *largest;     /* |w s| of each output */
    double error;       /* with all factors 1 */
} chooser;

static bool reserve(chooser *c, const dynq_allocator *allocator)
{
    double **const vectors[] = {&c->low,  &c->high, &c->square, &c->weights,
                                &c->most, &c->base, &c->factors};
    const size_t count = sizeof vectors / sizeof vectors[0], columns = c->site->columns;
    double *memory = dynq_alloc(allocator, columns, count * sizeof *memory);
    c->low = memory;
    c->rounded = dynq_alloc(allocator, columns, sizeof *c->rounded);
    c->largest = dynq_alloc(allocator, c->site->outputs, sizeof *c->largest);
    for (size_t i = 0; memory != NULL && i < count; i++) {
        *vectors[i] = memory + i * columns;
    }
    return memory != NULL && c->rounded != NULL && c->largest != NULL;
}

static void release(chooser *c, const dynq_allocator *allocator)
{
    dynq_release(allocator, c->low);
    dynq_release(allocator, c->rounded);
    dynq_release(allocator, c->largest);
}

static double magnitude(const chooser *c, size_t column)
{
    return fmax(c->high[column], -c->low[column]);
}

static void fill_columns(chooser *c)
{
    const dynq_column_view *view = c->site->view;
    for (size_t j = 0; j < c->site->columns; j++) {
        const float *w = c->site->magnitudes + j * c->site->outputs;
        for (size_t n = 0; n < c->site->outputs; n++) {
            c->weights[j] += (double)w[n] * (double)w[n];
            c->most[j] = fmax(c->most[j], (double)w[n]);
        }
        c->low[j] = fmin(0.0, (double)view->min[j]);
        c->high[j] = fmax(0.0, (double)view->max[j]);
        c->square[j] = view->sum_of_squares[j] / (double)view->rows;
        c->base[j] = c->weights[j] > 0.0 ? sqrt(sqrt(c->square[j] / c->weights[j])) : 0.0;
    }
}

static double range_of(const chooser *c)
{
    double low = 0.0, high = 0.0;
    for (size_t j = 0; j < c->site->columns; j++) {
        low = fmin(low, c->low[j] / c->factors[j]);
        high = fmax(high, c->high[j] / c->factors[j]);
    }
    return high - low;
}

/* Sum over the outputs of the squares of their largest |w s|. */
static double largest_weights(const chooser *c)
{
    const size_t outputs = c->site->outputs;
    memset(c->largest, 0, outputs * sizeof *c->largest);
    for (size_t j = 0; j < c->site->columns; j++) {
        const float *w = c->site->magnitudes + j * outputs;
        for (size_t n = 0; n < outputs; n++) {
            const float product = w[n] * c->rounded[j];
            c->largest[n] = product > c->largest[n] ? product : c->largest[n];
        }
    }
    double sum = 0.0;
    for (size_t n = 0; n < outputs; n++) {
        sum += (double)c->largest[n] * (double)c->largest[n];
    }
    return sum;
}

/* Twelve times the expected squared error of a row of products. */
static double error_with(chooser *c)
{
    double weights = 0.0, inputs = 0.0;
    for (size_t j = 0; j < c->site->columns; j++) {
        const double s = c->factors[j];
        weights += c->weights[j] * s * s;
        inputs += c->square[j] / (s * s);
    }
    const double step = c->site->share * range_of(c) / STEPS_OF_X;
    return step * step * weights + largest_weights(c) / (STEPS_OF_W * STEPS_OF_W) * inputs;
}

/* Finishes a candidate: columns that are always 0 have 1, all weights together stay as large as
 * they were, so that this 1 is neither large nor small beside other factors, and factors are
 * floats. */
static void settle(chooser *c)
{
    double before = 0.0, after = 0.0;
    for (size_t j = 0; j < c->site->columns; j++) {
        const bool used = magnitude(c, j) > 0.0 && c->factors[j] > 0.0;
        c->factors[j] = used ? c->factors[j] : 1.0;
        before += used ? c->weights[j] : 0.0;
        after += used ? c->weights[j] * c->factors[j] * c->factors[j] : 0.0;
    }
    const double scale = after > 0.0 ? sqrt(before / after) : 1.0;
    for (size_t j = 0; j < c->site->columns; j++) {
        const double factor = magnitude(c, j) > 0.0 ? c->factors[j] * scale : 1.0;
        c->rounded[j] = (float)fmin(fmax(factor, 1.0 / MOST_FACTOR), MOST_FACTOR);
        c->factors[j] = (double)c->rounded[j];
    }
}

static void keep_if_better(chooser *c, float *best, double *least)
{
    settle(c);
    const double error = error_with(c);
    if (error < *least) {
        *least = error;
        memcpy(best, c->rounded, c->site->columns * sizeof *best);
    }
}

/* Limits `range` (of |x| / s) and `weight` (of |w| s); 0: none. */
static void set_limited(chooser *c, double range, double weight)
{
    for (size_t j = 0; j < c->site->columns; j++) {
        const double least = magnitude(c, j) / range;
        double s = c->base[j] > least ? c->base[j] : least;
        if (weight > 0.0 && c->most[j] * s > weight) {
            s = weight / c->most[j];
        }
        c->factors[j] = s;
    }
}

static void search(chooser *c, float *best, double *least)
{
    double range = 0.0;
    for (size_t j = 0; j < c->site->columns; j++) {
        range = c->base[j] > 0.0 ? fmax(range, magnitude(c, j) / c->base[j]) : range;
    }
    for (int i = 0; range > 0.0 && i < RANGE_STEPS; i++, range *= STEP) {
        set_limited(c, range, 0.0);
        double weight = 0.0;
        for (size_t j = 0; j < c->site->columns; j++) {
            weight = fmax(weight, c->most[j] * c->factors[j]);
        }
        for (int k = 0; k < WEIGHT_STEPS; k++, weight *= STEP) {
            set_limited(c, range, weight);
            keep_if_better(c, best, least);
        }
    }
}

static void set_alpha(chooser *c, double alpha)
{
    for (size_t j = 0; j < c->site->columns; j++) {
        c->factors[j] =
            c->most[j] > 0.0 ? pow(magnitude(c, j), alpha) / pow(c->most[j], 1.0 - alpha) : 0.0;
    }
}

static void choose(chooser *c, double alpha, float *factors, double *gain)
{
    fill_columns(c);
    for (size_t j = 0; j < c->site->columns; j++) {
        factors[j] = c->rounded[j] = 1.0f;
        c->factors[j] = 1.0;
    }
    *gain = 1.0;
    c->error = error_with(c);
    if (!(c->error > 0.0)) {
        return;
    }
    double least = alpha > 0.0 ? INFINITY : c->error;
    if (alpha > 0.0) {
        set_alpha(c, alpha);
        keep_if_better(c, factors, &least);
    } else {
        search(c, factors, &least);
    }
    *gain = c->error / least;
}

bool dynq_smooth_choose(const dynq_smooth_site *site, double alpha, const dynq_allocator *allocator,
                        float *factors, double *gain)
{
    chooser c = {.site = site};
    const bool good = reserve(&c, allocator);
    if (good) {
        choose(&c, alpha, factors, gain);
    }
    release(&c, allocator);
    return good;
}
