/* Statistics of one value. */
#include "src/calibrate.h"

#include "src/error.h"

#include <math.h>
#include <string.h>

#define LANES 8 /* side by side, which the compiler turns into vectors */

/* ---- memory ---- */

bool dynq_value_statistics_reserve(dynq_value_statistics *statistics,
                                   const dynq_allocator *allocator)
{
    if (statistics->histogram != NULL) {
        return true;
    }
    const size_t columns = statistics->columns;
    dynq_column_statistics *by_column = &statistics->by_column;
    by_column->min = dynq_alloc(allocator, columns, sizeof *by_column->min);
    by_column->max = dynq_alloc(allocator, columns, sizeof *by_column->max);
    by_column->sum = dynq_alloc(allocator, columns, sizeof *by_column->sum);
    by_column->sum_of_squares = dynq_alloc(allocator, columns, sizeof *by_column->sum_of_squares);
    statistics->histogram = dynq_alloc(allocator, 1, sizeof *statistics->histogram);
    if (by_column->min != NULL && by_column->max != NULL && by_column->sum != NULL &&
        by_column->sum_of_squares != NULL && statistics->histogram != NULL) {
        return true;
    }
    dynq_value_statistics_release(statistics, allocator);
    return false;
}

void dynq_value_statistics_release(dynq_value_statistics *statistics,
                                   const dynq_allocator *allocator)
{
    dynq_column_statistics *by_column = &statistics->by_column;
    dynq_release(allocator, by_column->min);
    dynq_release(allocator, by_column->max);
    dynq_release(allocator, by_column->sum);
    dynq_release(allocator, by_column->sum_of_squares);
    dynq_release(allocator, statistics->histogram);
    *by_column = (dynq_column_statistics){0};
    statistics->histogram = NULL;
}

void dynq_value_statistics_clear(dynq_value_statistics *statistics)
{
    const dynq_value_statistics empty = {.name = statistics->name,
                                         .columns = statistics->columns,
                                         .histogram = statistics->histogram,
                                         .by_column = statistics->by_column};
    *statistics = empty;
    if (statistics->histogram != NULL) {
        memset(statistics->histogram, 0, sizeof *statistics->histogram);
        memset(statistics->by_column.sum, 0, statistics->columns * sizeof(double));
        memset(statistics->by_column.sum_of_squares, 0, statistics->columns * sizeof(double));
    }
}

/* ---- adding ---- */

dynq_status dynq_value_statistics_check(const dynq_value_statistics *statistics,
                                        const dynq_value_statistics *more, dynq_error *error)
{
    if (statistics->columns != more->columns) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "calibration: value '%s' has %zu columns here and %zu there",
                         statistics->name, statistics->columns, more->columns);
    }
    if (more->rows > INT64_MAX - statistics->rows ||
        more->elements > INT64_MAX - statistics->elements) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "calibration: value '%s' has been seen 2^63 times or more",
                         statistics->name);
    }
    return DYNQ_OK;
}

static dynq_status check_finite(const char *name, size_t first_row, size_t rows, size_t columns,
                                const float *data, size_t row_stride, dynq_error *error)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = data + r * row_stride;
        size_t bad = 0;
        for (size_t c = 0; c < columns; c++) {
            bad += !isfinite(row[c]);
        }
        for (size_t c = 0; bad > 0 && c < columns; c++) {
            if (!isfinite(row[c])) {
                return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                                 "calibration: value '%s' is %s at row %zu, column %zu", name,
                                 isnan(row[c]) ? "NaN" : "Inf", first_row + r, c);
            }
        }
    }
    return DYNQ_OK;
}

typedef struct row_summary {
    float min, max;
    double sum;
} row_summary;

/* In the order of the lanes, whatever the compiler makes of it. -0 becomes 0. */
static row_summary summarize(const float *row, size_t columns)
{
    float low[LANES], high[LANES];
    double sum[LANES] = {0};
    for (size_t lane = 0; lane < LANES; lane++) {
        low[lane] = INFINITY;
        high[lane] = -INFINITY;
    }
    const size_t whole = columns - columns % LANES;
    for (size_t first = 0; first < whole; first += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const float x = row[first + lane] + 0.0f;
            low[lane] = x < low[lane] ? x : low[lane];
            high[lane] = x > high[lane] ? x : high[lane];
            sum[lane] += (double)x;
        }
    }
    for (size_t c = whole; c < columns; c++) {
        const size_t lane = c - whole;
        const float x = row[c] + 0.0f;
        low[lane] = x < low[lane] ? x : low[lane];
        high[lane] = x > high[lane] ? x : high[lane];
        sum[lane] += (double)x;
    }
    row_summary result = {.min = low[0], .max = high[0]};
    for (size_t lane = 0; lane < LANES; lane++) {
        result.min = low[lane] < result.min ? low[lane] : result.min;
        result.max = high[lane] > result.max ? high[lane] : result.max;
        result.sum += sum[lane];
    }
    return result;
}

static void add_columns(dynq_column_statistics *by_column, const float *row, size_t columns,
                        bool first)
{
    float *min = by_column->min, *max = by_column->max;
    double *sum = by_column->sum, *sum_of_squares = by_column->sum_of_squares;
    for (size_t c = 0; first && c < columns; c++) {
        min[c] = INFINITY;
        max[c] = -INFINITY;
    }
    for (size_t c = 0; c < columns; c++) {
        const float x = row[c] + 0.0f;
        min[c] = x < min[c] ? x : min[c];
        max[c] = x > max[c] ? x : max[c];
    }
    for (size_t c = 0; c < columns; c++) {
        const double x = (double)row[c];
        sum[c] += x;
        sum_of_squares[c] += x * x;
    }
}

static float below_zero(float x)
{
    return x < 0.0f ? x : 0.0f;
}

static float above_zero(float x)
{
    return x > 0.0f ? x : 0.0f;
}

static void add_row(dynq_value_statistics *s, const float *row, row_summary summary)
{
    const dynq_moments moments = dynq_moments_of(row, s->columns, summary.sum);
    dynq_moments_merge(&s->moments, &moments);
    dynq_histogram_add(s->histogram, row, s->columns);
    add_columns(&s->by_column, row, s->columns, s->rows == 0);
    s->zero_rows += summary.min == 0.0f && summary.max == 0.0f;
    s->row_low += (double)below_zero(summary.min);
    s->row_high += (double)above_zero(summary.max);
    s->min = s->rows == 0 || summary.min < s->min ? summary.min : s->min;
    s->max = s->rows == 0 || summary.max > s->max ? summary.max : s->max;
    s->rows++;
    s->elements += s->columns;
}

static void average_batch(dynq_moving_average *average, float min, float max)
{
    const double keep = 1.0 - DYNQ_AVERAGING;
    average->lo = average->lo * keep + (double)min * DYNQ_AVERAGING;
    average->hi = average->hi * keep + (double)max * DYNQ_AVERAGING;
    average->weight = average->weight * keep + DYNQ_AVERAGING;
}

dynq_status dynq_value_statistics_add(dynq_value_statistics *statistics, size_t first_row,
                                      size_t rows, size_t columns, const float *data,
                                      size_t row_stride, dynq_error *error)
{
    dynq_value_statistics seen = {.columns = columns, .rows = rows};
    size_t elements = 0;
    if (columns == 0 || !dynq_size_multiply(rows, columns, &elements)) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "calibration: value '%s' cannot have %zu rows of %zu columns",
                         statistics->name, rows, columns);
    }
    seen.elements = elements;
    dynq_status status = dynq_value_statistics_check(statistics, &seen, error);
    if (status == DYNQ_OK) {
        status = check_finite(statistics->name, first_row, rows, columns, data, row_stride, error);
    }
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    float min = INFINITY, max = -INFINITY;
    for (size_t r = 0; r < rows; r++) {
        const float *row = data + r * row_stride;
        const row_summary summary = summarize(row, columns);
        add_row(statistics, row, summary);
        min = summary.min < min ? summary.min : min;
        max = summary.max > max ? summary.max : max;
    }
    statistics->batches++;
    statistics->batch_low += (double)below_zero(min);
    statistics->batch_high += (double)above_zero(max);
    average_batch(&statistics->average, min, max);
    return DYNQ_OK;
}

/* ---- appending ---- */

static void append_columns(dynq_value_statistics *statistics, const dynq_value_statistics *more)
{
    const dynq_column_statistics *to = &statistics->by_column, *from = &more->by_column;
    const bool first = statistics->rows == 0;
    for (size_t c = 0; c < statistics->columns; c++) {
        to->min[c] = first || from->min[c] < to->min[c] ? from->min[c] : to->min[c];
        to->max[c] = first || from->max[c] > to->max[c] ? from->max[c] : to->max[c];
        to->sum[c] += from->sum[c];
        to->sum_of_squares[c] += from->sum_of_squares[c];
    }
}

static void append_average(dynq_moving_average *average, const dynq_moving_average *more)
{
    /* What the batches of `more` leave of those before. */
    const double keep = 1.0 - more->weight;
    average->lo = average->lo * keep + more->lo;
    average->hi = average->hi * keep + more->hi;
    average->weight = average->weight * keep + more->weight;
}

void dynq_value_statistics_append(dynq_value_statistics *statistics,
                                  const dynq_value_statistics *more)
{
    if (more->rows == 0) {
        return;
    }
    const bool first = statistics->rows == 0;
    append_columns(statistics, more);
    append_average(&statistics->average, &more->average);
    dynq_moments_merge(&statistics->moments, &more->moments);
    dynq_histogram_merge(statistics->histogram, more->histogram);
    statistics->min = first ? more->min : fminf(statistics->min, more->min);
    statistics->max = first ? more->max : fmaxf(statistics->max, more->max);
    statistics->rows += more->rows;
    statistics->elements += more->elements;
    statistics->zero_rows += more->zero_rows;
    statistics->batches += more->batches;
    statistics->row_low += more->row_low;
    statistics->row_high += more->row_high;
    statistics->batch_low += more->batch_low;
    statistics->batch_high += more->batch_high;
    statistics->unordered = statistics->unordered || more->unordered;
}
