#include "src/calibrate.h"

#include "src/error.h"
#include "src/model.h"
#include "src/options.h"

#include <math.h>
#include <string.h>

const char *dynq_calibration_method_name(dynq_calibration_method method)
{
    switch (method) {
    case DYNQ_METHOD_MAX: return "max";
    case DYNQ_METHOD_ENTROPY: return "entropy";
    case DYNQ_METHOD_PERCENTILE: return "percentile";
    case DYNQ_METHOD_MSE: return "mse";
    case DYNQ_METHOD_AVERAGE: return "average";
    }
    return NULL;
}

dynq_calibration *dynq_calibration_new(const dynq_allocator *allocator, size_t capacity)
{
    const dynq_allocator from = dynq_allocator_or_default(allocator);
    dynq_calibration *calibration = dynq_alloc(&from, 1, sizeof *calibration);
    if (calibration == NULL) {
        return NULL;
    }
    calibration->allocator = from;
    calibration->values = dynq_alloc(&from, capacity, sizeof *calibration->values);
    if (calibration->values == NULL) {
        dynq_release(&from, calibration);
        return NULL;
    }
    return calibration;
}

void dynq_calibration_free(dynq_calibration *calibration)
{
    if (calibration == NULL) {
        return;
    }
    const dynq_allocator allocator = calibration->allocator;
    for (size_t i = 0; i < calibration->count; i++) {
        dynq_release(&allocator, calibration->values[i].name);
    }
    dynq_release(&allocator, calibration->values);
    dynq_release(&allocator, calibration);
}

/* Adds node `index` unless a layer before read it too. false when memory is out. */
static bool add_value(dynq_calibration *calibration, const dynq_model *model, uint32_t index,
                      bool *known)
{
    if (known[index]) {
        return true;
    }
    char *name = dynq_alloc_string(&calibration->allocator, model->nodes[index].name);
    if (name == NULL) {
        return false;
    }
    known[index] = true;
    calibration->values[calibration->count++] =
        (dynq_value_statistics){.name = name, .columns = model->nodes[index].n};
    return true;
}

dynq_status dynq_calibration_create(const dynq_model *model, const dynq_allocator *allocator,
                                    dynq_calibration **result, dynq_error *error)
{
    if (model == NULL || result == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: model or result is NULL");
    }
    dynq_calibration *calibration = dynq_calibration_new(allocator, model->node_count);
    bool *known = calibration == NULL
                      ? NULL
                      : dynq_alloc(&calibration->allocator, model->node_count, sizeof *known);
    bool complete = known != NULL;
    for (size_t i = 0; complete && i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_LINEAR) {
            complete = add_value(calibration, model, model->nodes[i].inputs[0], known);
        }
    }
    if (calibration != NULL) {
        dynq_release(&calibration->allocator, known);
    }
    if (!complete) {
        dynq_calibration_free(calibration);
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibration");
    }
    *result = calibration;
    return DYNQ_OK;
}

static dynq_value_statistics *find_value(const dynq_calibration *calibration, const char *name)
{
    for (size_t i = 0; i < calibration->count; i++) {
        if (strcmp(calibration->values[i].name, name) == 0) {
            return &calibration->values[i];
        }
    }
    return NULL;
}

/* The value of `other` with the name of value `index`: nearly always at the same place. */
static const dynq_value_statistics *counterpart(const dynq_calibration *calibration, size_t index,
                                                const dynq_calibration *other)
{
    const char *name = calibration->values[index].name;
    if (index < other->count && strcmp(other->values[index].name, name) == 0) {
        return &other->values[index];
    }
    return find_value(other, name);
}

/* Whether `more` can be added to `statistics`. */
static dynq_status check_join(const dynq_value_statistics *statistics,
                              const dynq_value_statistics *more, dynq_error *error)
{
    if (statistics->columns != 0 && more->columns != 0 && statistics->columns != more->columns) {
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

static void join(dynq_value_statistics *statistics, const dynq_value_statistics *more)
{
    if (statistics->columns == 0) {
        statistics->columns = more->columns;
    }
    if (more->rows == 0) {
        return;
    }
    const bool first = statistics->rows == 0;
    statistics->min = first ? more->min : fminf(statistics->min, more->min);
    statistics->max = first ? more->max : fmaxf(statistics->max, more->max);
    statistics->rows += more->rows;
    statistics->elements += more->elements;
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
    const dynq_status status = check_join(statistics, &seen, error);
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    seen.min = INFINITY;
    seen.max = -INFINITY;
    for (size_t r = 0; r < rows; r++) {
        const float *row = data + r * row_stride;
        for (size_t c = 0; c < columns; c++) {
            if (!isfinite(row[c])) {
                return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                                 "calibration: value '%s' is %s at row %zu, column %zu",
                                 statistics->name, isnan(row[c]) ? "NaN" : "Inf", first_row + r, c);
            }
            seen.min = row[c] < seen.min ? row[c] : seen.min;
            seen.max = row[c] > seen.max ? row[c] : seen.max;
        }
    }
    seen.min = seen.min == 0.0f ? 0.0f : seen.min; /* -0 becomes 0 */
    seen.max = seen.max == 0.0f ? 0.0f : seen.max;
    join(statistics, &seen);
    return DYNQ_OK;
}

dynq_status dynq_calibration_observe(dynq_calibration *calibration, const char *value, size_t rows,
                                     size_t columns, const float *data, size_t row_stride,
                                     dynq_error *error)
{
    if (calibration == NULL || value == NULL || (data == NULL && rows > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: value or data is NULL");
    }
    row_stride = row_stride == 0 ? columns : row_stride;
    if (row_stride < columns) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: rows of %zu columns cannot be %zu floats apart", columns,
                         row_stride);
    }
    dynq_value_statistics *statistics = find_value(calibration, value);
    if (statistics == NULL) {
        return DYNQ_OK;
    }
    return dynq_value_statistics_add(statistics, 0, rows, columns, data, row_stride, error);
}

dynq_status dynq_calibration_check_same(const dynq_calibration *calibration,
                                        const dynq_calibration *other, dynq_error *error)
{
    if (calibration->count != other->count) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "calibrations of different models: %zu values here, %zu there",
                         calibration->count, other->count);
    }
    for (size_t i = 0; i < calibration->count; i++) {
        const dynq_value_statistics *more = counterpart(calibration, i, other);
        if (more == NULL) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "calibrations of different models: value '%s' is in one of them only",
                             calibration->values[i].name);
        }
        const dynq_status status = check_join(&calibration->values[i], more, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_calibration_merge(dynq_calibration *calibration, const dynq_calibration *other,
                                   dynq_error *error)
{
    if (calibration == NULL || other == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: nothing to merge, it is NULL");
    }
    const dynq_status status = dynq_calibration_check_same(calibration, other, error);
    for (size_t i = 0; status == DYNQ_OK && i < calibration->count; i++) {
        join(&calibration->values[i], counterpart(calibration, i, other));
    }
    return status;
}

size_t dynq_calibration_count(const dynq_calibration *calibration)
{
    return calibration == NULL ? 0 : calibration->count;
}

dynq_status dynq_calibration_get(const dynq_calibration *calibration, size_t index,
                                 dynq_calibration_entry *entry)
{
    if (calibration == NULL || entry == NULL || entry->size < sizeof entry->size ||
        index >= calibration->count) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_value_statistics *statistics = &calibration->values[index];
    const dynq_calibration_entry result = {.value = statistics->name,
                                           .min = statistics->min,
                                           .max = statistics->max,
                                           .rows = statistics->rows,
                                           .elements = statistics->elements};
    dynq_result_copy(entry, &result, sizeof result);
    return DYNQ_OK;
}

dynq_status dynq_calibration_range(const dynq_calibration *calibration, const char *value,
                                   const dynq_range_choice *choice, float *lo, float *hi,
                                   dynq_error *error)
{
    if (calibration == NULL || value == NULL || lo == NULL || hi == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: value or result is NULL");
    }
    const dynq_calibration_method method =
        choice == NULL || choice->method == 0 ? DYNQ_METHOD_MAX : choice->method;
    if (dynq_calibration_method_name(method) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: there is no method %d",
                         (int)method);
    }
    const dynq_value_statistics *statistics = find_value(calibration, value);
    if (statistics == NULL || statistics->rows == 0) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         statistics == NULL
                             ? "the calibration has no value '%s'; calibrate with this model"
                             : "the calibration saw no row of value '%s'; calibrate with data",
                         value);
    }
    if (method != DYNQ_METHOD_MAX) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED, "calibration: method '%s'",
                         dynq_calibration_method_name(method));
    }
    *lo = fminf(0.0f, statistics->min);
    *hi = fmaxf(0.0f, statistics->max);
    return DYNQ_OK;
}
