#include "src/calibrate.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/fingerprint.h"
#include "src/model.h"
#include "src/options.h"

#include <stdlib.h>
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
    calibration->by_name = dynq_alloc(&from, capacity, sizeof(dynq_value_statistics *));
    if (calibration->values == NULL || calibration->by_name == NULL) {
        dynq_calibration_free(calibration);
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
        dynq_value_statistics_release(&calibration->values[i], &allocator);
        dynq_release(&allocator, calibration->values[i].name);
    }
    dynq_release(&allocator, calibration->values);
    dynq_release(&allocator, calibration->by_name);
    dynq_release(&allocator, calibration);
}

/* Adds a value without rows. false when memory is out. */
static bool add_empty(dynq_calibration *calibration, const char *name, size_t columns)
{
    char *copy = dynq_alloc_string(&calibration->allocator, name);
    if (copy == NULL) {
        return false;
    }
    dynq_value_statistics *value = &calibration->values[calibration->count++];
    *value = (dynq_value_statistics){.name = copy, .columns = columns};
    return dynq_value_statistics_reserve(value, &calibration->allocator);
}

dynq_calibration *dynq_calibration_new_like(const dynq_calibration *other,
                                            const dynq_allocator *allocator)
{
    dynq_calibration *calibration = dynq_calibration_new(allocator, other->count);
    bool complete = calibration != NULL;
    for (size_t i = 0; complete && i < other->count; i++) {
        complete = add_empty(calibration, other->values[i].name, other->values[i].columns);
    }
    if (!complete) {
        dynq_calibration_free(calibration);
        return NULL;
    }
    calibration->model = other->model;
    dynq_calibration_sort(calibration);
    return calibration;
}

void dynq_calibration_clear(dynq_calibration *calibration)
{
    calibration->requests = 0;
    for (size_t i = 0; i < calibration->count; i++) {
        dynq_value_statistics_clear(&calibration->values[i]);
    }
}

/* Adds what node `index` computes, unless a layer before reads it too. false when memory is out. */
static bool add_value(dynq_calibration *calibration, const dynq_model *model, uint32_t index,
                      bool *known)
{
    if (known[index]) {
        return true;
    }
    known[index] = true;
    return add_empty(calibration, model->nodes[index].name, model->nodes[index].n);
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
    calibration->model = dynq_model_fingerprint(model);
    dynq_calibration_sort(calibration);
    *result = calibration;
    return DYNQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    const dynq_value_statistics *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

static int compare_with_name(const void *name, const void *element)
{
    const dynq_value_statistics *const *value = element;
    return strcmp(name, (*value)->name);
}

void dynq_calibration_sort(dynq_calibration *calibration)
{
    for (size_t i = 0; i < calibration->count; i++) {
        calibration->by_name[i] = &calibration->values[i];
    }
    qsort(calibration->by_name, calibration->count, sizeof(dynq_value_statistics *), compare_names);
}

dynq_value_statistics *dynq_calibration_find(const dynq_calibration *calibration, const char *name)
{
    dynq_value_statistics *const *found =
        bsearch(name, calibration->by_name, calibration->count, sizeof(dynq_value_statistics *),
                compare_with_name);
    return found == NULL ? NULL : *found;
}

/* The value of `other` with the name of value `index`: nearly always at the same place. */
static const dynq_value_statistics *counterpart(const dynq_calibration *calibration, size_t index,
                                                const dynq_calibration *other)
{
    const char *name = calibration->values[index].name;
    if (index < other->count && strcmp(other->values[index].name, name) == 0) {
        return &other->values[index];
    }
    return dynq_calibration_find(other, name);
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
    dynq_value_statistics *statistics = dynq_calibration_find(calibration, value);
    if (statistics == NULL) {
        return DYNQ_OK;
    }
    if (!dynq_value_statistics_reserve(statistics, &calibration->allocator)) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibration");
    }
    const dynq_float_state before = dynq_float_state_set_default();
    const dynq_status status =
        dynq_value_statistics_add(statistics, 0, rows, columns, data, row_stride, error);
    dynq_float_state_restore(before);
    return status;
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
        const dynq_status status =
            dynq_value_statistics_check(&calibration->values[i], more, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    if (calibration->model != other->model) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibrations of different models: their values have the same names, but "
                         "the weights are others");
    }
    return other->requests <= INT64_MAX - calibration->requests
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_LIMIT, "calibration of 2^63 requests or more");
}

static dynq_status join(dynq_calibration *calibration, const dynq_calibration *other, bool ordered,
                        dynq_error *error)
{
    const dynq_status status = dynq_calibration_check_same(calibration, other, error);
    bool complete = true;
    for (size_t i = 0; status == DYNQ_OK && complete && i < calibration->count; i++) {
        complete = counterpart(calibration, i, other)->rows == 0 ||
                   dynq_value_statistics_reserve(&calibration->values[i], &calibration->allocator);
    }
    if (!complete) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibration");
    }
    const dynq_float_state before = dynq_float_state_set_default();
    for (size_t i = 0; status == DYNQ_OK && i < calibration->count; i++) {
        dynq_value_statistics *value = &calibration->values[i];
        const dynq_value_statistics *more = counterpart(calibration, i, other);
        dynq_value_statistics_append(value, more);
        value->unordered = value->unordered || (more->rows > 0 && !ordered);
    }
    dynq_float_state_restore(before);
    calibration->requests += status == DYNQ_OK ? other->requests : 0;
    return status;
}

dynq_status dynq_calibration_append(dynq_calibration *calibration, const dynq_calibration *other,
                                    dynq_error *error)
{
    return join(calibration, other, true, error);
}

dynq_status dynq_calibration_merge(dynq_calibration *calibration, const dynq_calibration *other,
                                   dynq_error *error)
{
    if (calibration == NULL || other == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: nothing to merge, it is NULL");
    }
    return join(calibration, other, false, error);
}

uint64_t dynq_calibration_requests(const dynq_calibration *calibration)
{
    return calibration == NULL ? 0 : calibration->requests;
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

dynq_status dynq_calibration_check_model(const dynq_calibration *calibration,
                                         const dynq_model *model, dynq_error *error)
{
    if (calibration == NULL || model == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: it or the model is NULL");
    }
    for (size_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].op != DYNQ_OP_LINEAR) {
            continue;
        }
        const dynq_node *input = &model->nodes[model->nodes[i].inputs[0]];
        const dynq_value_statistics *value = dynq_calibration_find(calibration, input->name);
        if (value == NULL || value->columns != input->n) {
            return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                             value == NULL ? "the calibration has no value '%s', which '%s' reads; "
                                             "calibrate with this model"
                                           : "the calibration's value '%s', which '%s' reads, has "
                                             "other columns; calibrate with this model",
                             input->name, model->nodes[i].name);
        }
    }
    if (calibration->model != dynq_model_fingerprint(model)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "the calibration was taken from another model: names are the same, but "
                         "weights or settings are others; calibrate with this model");
    }
    return DYNQ_OK;
}
