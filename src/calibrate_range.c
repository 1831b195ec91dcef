/* What a calibration says of one value: ranges, histogram, moments, columns. */
#include "src/calibrate.h"

#include "src/error.h"
#include "src/options.h"

#include <math.h>

#define DEFAULT_PERCENTILE 99.99

/* Fills in what the caller left to the library. */
static dynq_status complete_choice(const dynq_range_choice *given, dynq_range_choice *choice,
                                   dynq_error *error)
{
    if (!dynq_options_copy(choice, sizeof *choice, given)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: the size of the choice is not set, or it asks for what this "
                         "library does not know");
    }
    choice->method = choice->method == 0 ? DYNQ_METHOD_MAX : choice->method;
    choice->percentile = choice->percentile == 0.0 ? DEFAULT_PERCENTILE : choice->percentile;
    choice->scheme = choice->scheme == 0 ? DYNQ_SCHEME_AFFINE : choice->scheme;
    if (dynq_calibration_method_name(choice->method) == NULL ||
        dynq_scheme_name(choice->scheme) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: there is no %s %d",
                         dynq_scheme_name(choice->scheme) == NULL ? "scheme" : "method",
                         dynq_scheme_name(choice->scheme) == NULL ? (int)choice->scheme
                                                                  : (int)choice->method);
    }
    if (!(choice->percentile > 0.0 && choice->percentile <= 100.0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: a percentile of %g; it is above 0, up to 100",
                         choice->percentile);
    }
    return DYNQ_OK;
}

static dynq_status find_seen(const dynq_calibration *calibration, const char *value,
                             const dynq_value_statistics **result, dynq_error *error)
{
    const dynq_value_statistics *statistics = dynq_calibration_find(calibration, value);
    if (statistics == NULL || statistics->rows == 0) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         statistics == NULL
                             ? "the calibration has no value '%s'; calibrate with this model"
                             : "the calibration saw no row of value '%s'; calibrate with data",
                         value);
    }
    *result = statistics;
    return DYNQ_OK;
}

static dynq_status average_range(const dynq_value_statistics *statistics, float *lo, float *hi,
                                 dynq_error *error)
{
    if (statistics->unordered) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                         "calibration: value '%s' has no moving average, because parts were "
                         "merged, which have no order; calibrate in one run, or take another "
                         "method",
                         statistics->name);
    }
    /* Within what was seen, whatever rounding makes of it. */
    const dynq_moving_average *average = &statistics->average;
    *lo = fmaxf((float)(average->lo / average->weight), statistics->min);
    *hi = fminf((float)(average->hi / average->weight), statistics->max);
    *lo = fminf(*lo, 0.0f);
    *hi = fmaxf(*hi, 0.0f);
    return DYNQ_OK;
}

dynq_status dynq_calibration_range(const dynq_calibration *calibration, const char *value,
                                   const dynq_range_choice *choice, float *lo, float *hi,
                                   dynq_error *error)
{
    if (calibration == NULL || value == NULL || lo == NULL || hi == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: value or result is NULL");
    }
    dynq_range_choice complete;
    const dynq_value_statistics *statistics = NULL;
    dynq_status status = complete_choice(choice, &complete, error);
    if (status == DYNQ_OK) {
        status = find_seen(calibration, value, &statistics, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    switch (complete.method) {
    case DYNQ_METHOD_MAX:
        *lo = fminf(0.0f, statistics->min);
        *hi = fmaxf(0.0f, statistics->max);
        return DYNQ_OK;
    case DYNQ_METHOD_AVERAGE: return average_range(statistics, lo, hi, error);
    default:
        dynq_histogram_range(statistics->histogram, statistics->min, statistics->max, &complete, lo,
                             hi);
        return DYNQ_OK;
    }
}

dynq_status dynq_calibration_histogram(const dynq_calibration *calibration, const char *value,
                                       dynq_histogram_view *view)
{
    const dynq_value_statistics *statistics = NULL;
    if (calibration == NULL || value == NULL || view == NULL || view->size < sizeof view->size) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_status status = find_seen(calibration, value, &statistics, NULL);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_histogram_view result = {.limit = statistics->histogram->limit,
                                        .zeros = statistics->histogram->zeros,
                                        .negative = statistics->histogram->negative,
                                        .positive = statistics->histogram->positive};
    dynq_result_copy(view, &result, sizeof result);
    return DYNQ_OK;
}

dynq_status dynq_calibration_summary(const dynq_calibration *calibration, const char *value,
                                     dynq_value_summary *summary)
{
    const dynq_value_statistics *s = NULL;
    if (calibration == NULL || value == NULL || summary == NULL ||
        summary->size < sizeof summary->size) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_status status = find_seen(calibration, value, &s, NULL);
    if (status != DYNQ_OK) {
        return status;
    }
    const double elements = (double)s->elements, rows = (double)s->rows;
    const double variance = s->moments.second / elements, deviation = sqrt(variance);
    const double largest = (double)fmaxf(-s->min, s->max);
    const bool constant = s->min == s->max || !(variance > 0.0);
    const dynq_value_summary result = {
        .mean = s->moments.mean,
        .deviation = deviation,
        .kurtosis = constant ? (double)NAN : s->moments.fourth / elements / (variance * variance),
        .outlier_index = constant ? (double)NAN : largest / deviation,
        .zero_rows = (double)s->zero_rows / rows,
        .row_low = s->row_low / rows,
        .row_high = s->row_high / rows,
        .batch_low = s->batch_low / (double)s->batches,
        .batch_high = s->batch_high / (double)s->batches,
        .batches = s->batches,
    };
    dynq_result_copy(summary, &result, sizeof result);
    return DYNQ_OK;
}

dynq_status dynq_calibration_columns(const dynq_calibration *calibration, const char *value,
                                     dynq_column_view *view)
{
    const dynq_value_statistics *statistics = NULL;
    if (calibration == NULL || value == NULL || view == NULL || view->size < sizeof view->size) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_status status = find_seen(calibration, value, &statistics, NULL);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_column_view result = {.columns = statistics->columns,
                                     .rows = statistics->rows,
                                     .min = statistics->by_column.min,
                                     .max = statistics->by_column.max,
                                     .sum = statistics->by_column.sum,
                                     .sum_of_squares = statistics->by_column.sum_of_squares};
    dynq_result_copy(view, &result, sizeof result);
    return DYNQ_OK;
}
