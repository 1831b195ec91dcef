/* Calibrations from files, which may hold anything. */
#include "src/calibrate_json.h"

#include "src/error.h"
#include "src/file.h"
#include "src/model.h"

#include <math.h>
#include <string.h>

/* The smallest number that rounds to an infinite float: half a step above FLT_MAX, which itself is
 * written with nine digits and thus as a little more than it is. */
#define FLOAT_OVERFLOW 0x1.ffffffp127

typedef struct reader {
    const char *path;
    json_t *seen; /* an object whose keys are the names so far */
    dynq_error *error;
} reader;

static dynq_status bad(const reader *r, const char *what)
{
    return dynq_fail(r->error, DYNQ_ERR_FORMAT, "%s: not a dynq calibration: %s", r->path, what);
}

static dynq_status bad_value(const reader *r, size_t index, const char *what)
{
    return dynq_fail(r->error, DYNQ_ERR_FORMAT, "%s: tensor %zu: %s", r->path, index, what);
}

/* A count, 0 to 2^63 - 1. */
static bool get_count(const json_t *object, const char *key, uint64_t *count)
{
    const json_t *field = json_object_get(object, key);
    if (!json_is_integer(field) || json_integer_value(field) < 0) {
        return false;
    }
    *count = (uint64_t)json_integer_value(field);
    return true;
}

static bool get_float(const json_t *field, float *value)
{
    const double number = json_number_value(field);
    if (!json_is_number(field) || !(fabs(number) < FLOAT_OVERFLOW)) {
        return false;
    }
    *value = (float)number + 0.0f; /* -0, and what rounds to it, becomes 0 */
    return true;
}

static dynq_status check_name(const reader *r, size_t index, const char *name)
{
    if (name == NULL) {
        return bad_value(r, index, "\"name\" is missing or not a string");
    }
    dynq_error why = {0};
    if (dynq_model_check_name("tensor", index, name, &why) != DYNQ_OK) {
        return dynq_fail(r->error, DYNQ_ERR_FORMAT, "%s: %s", r->path, why.message);
    }
    if (json_object_get(r->seen, name) != NULL) {
        return dynq_fail(r->error, DYNQ_ERR_FORMAT, "%s: two tensors are named '%s'", r->path,
                         name);
    }
    if (json_object_set_new(r->seen, name, json_true()) != 0) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    return DYNQ_OK;
}

/* Integers and reals; false for what is not finite. */
static bool get_double(const json_t *field, double *value)
{
    *value = json_number_value(field);
    return json_is_number(field) && isfinite(*value);
}

/* ---- arrays ---- */

static bool get_floats(const json_t *array, float *values, size_t count)
{
    bool complete = json_array_size(array) == count;
    for (size_t i = 0; complete && i < count; i++) {
        complete = get_float(json_array_get(array, i), &values[i]);
    }
    return complete;
}

static bool get_doubles(const json_t *array, double *values, size_t count)
{
    bool complete = json_array_size(array) == count;
    for (size_t i = 0; complete && i < count; i++) {
        complete = get_double(json_array_get(array, i), &values[i]);
    }
    return complete;
}

static bool get_bins(const json_t *array, uint64_t *counts)
{
    const size_t entries = json_array_size(array);
    size_t bin = 0;
    for (size_t i = 0; i < entries; i++) {
        const json_t *entry = json_array_get(array, i);
        const json_int_t number = json_integer_value(entry);
        if (!json_is_integer(entry) || number == 0 || bin >= DYNQ_HISTOGRAM_BINS ||
            number < -(json_int_t)(DYNQ_HISTOGRAM_BINS - bin)) {
            return false;
        }
        if (number > 0) {
            counts[bin++] = (uint64_t)number;
        } else {
            bin += (size_t)-number;
        }
    }
    return json_is_array(array);
}

/* ---- values ---- */

static dynq_status read_head(const reader *r, size_t index, const json_t *json,
                             dynq_value_statistics *value)
{
    uint64_t columns = 0;
    if (!get_float(json_object_get(json, DYNQ_KEY_MIN), &value->min) ||
        !get_float(json_object_get(json, DYNQ_KEY_MAX), &value->max)) {
        return bad_value(r, index, "\"min\" and \"max\" must be finite FP32 numbers");
    }
    if (value->min > value->max) {
        return bad_value(r, index, "\"min\" is larger than \"max\"");
    }
    if (!get_count(json, DYNQ_KEY_COLUMNS, &columns) || columns == 0 ||
        columns > DYNQ_MAX_COLUMNS) {
        return bad_value(r, index, "\"columns\" is not a number of columns");
    }
    if (!get_count(json, DYNQ_KEY_ROWS, &value->rows) ||
        !get_count(json, DYNQ_KEY_ELEMENTS, &value->elements)) {
        return bad_value(r, index, "\"rows\" and \"elements\" must be counts");
    }
    if (value->rows > INT64_MAX / columns || value->elements != value->rows * columns) {
        return bad_value(r, index, "\"elements\" is not \"rows\" times \"columns\"");
    }
    if (value->rows == 0 && (value->min != 0.0f || value->max != 0.0f)) {
        return bad_value(r, index, "it has numbers, but no rows");
    }
    value->columns = (size_t)columns;
    return DYNQ_OK;
}

static dynq_status read_numbers(const reader *r, size_t index, const json_t *json,
                                dynq_value_statistics *value)
{
    const struct {
        const char *key;
        double *number;
    } fields[] = {
        {DYNQ_KEY_ROW_LOW, &value->row_low},        {DYNQ_KEY_ROW_HIGH, &value->row_high},
        {DYNQ_KEY_BATCH_LOW, &value->batch_low},    {DYNQ_KEY_BATCH_HIGH, &value->batch_high},
        {DYNQ_KEY_MEAN, &value->moments.mean},      {DYNQ_KEY_SECOND, &value->moments.second},
        {DYNQ_KEY_THIRD, &value->moments.third},    {DYNQ_KEY_FOURTH, &value->moments.fourth},
        {DYNQ_KEY_LIMIT, &value->histogram->limit},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!get_double(json_object_get(json, fields[i].key), fields[i].number)) {
            return dynq_fail(r->error, DYNQ_ERR_FORMAT,
                             "%s: tensor %zu: \"%s\" is missing or not a finite number", r->path,
                             index, fields[i].key);
        }
    }
    const json_t *average = json_object_get(json, DYNQ_KEY_AVERAGE);
    double numbers[3] = {0.0};
    value->unordered = json_is_null(average);
    if (!value->unordered && !get_doubles(average, numbers, 3)) {
        return bad_value(r, index, "\"average\" is neither three finite numbers nor null");
    }
    value->average =
        (dynq_moving_average){.lo = numbers[0], .hi = numbers[1], .weight = numbers[2]};
    value->moments.count = (double)value->elements;
    return DYNQ_OK;
}

/* The rest of a value that saw rows, and that has its memory. */
static dynq_status read_seen(const reader *r, size_t index, const json_t *json,
                             dynq_value_statistics *value)
{
    const size_t columns = value->columns;
    dynq_column_statistics *by_column = &value->by_column;
    if (!get_count(json, DYNQ_KEY_ZERO_ROWS, &value->zero_rows) ||
        !get_count(json, DYNQ_KEY_BATCHES, &value->batches) ||
        !get_count(json, DYNQ_KEY_ZEROS, &value->histogram->zeros)) {
        return bad_value(r, index, "\"zero_rows\", \"batches\" and \"zeros\" must be counts");
    }
    const dynq_status status = read_numbers(r, index, json, value);
    if (status != DYNQ_OK) {
        return status;
    }
    if (!get_bins(json_object_get(json, DYNQ_KEY_NEGATIVE), value->histogram->negative) ||
        !get_bins(json_object_get(json, DYNQ_KEY_POSITIVE), value->histogram->positive)) {
        return bad_value(r, index, "\"negative\" and \"positive\" are not 2048 bins");
    }
    if (!get_floats(json_object_get(json, DYNQ_KEY_COLUMN_MIN), by_column->min, columns) ||
        !get_floats(json_object_get(json, DYNQ_KEY_COLUMN_MAX), by_column->max, columns) ||
        !get_doubles(json_object_get(json, DYNQ_KEY_COLUMN_SUM), by_column->sum, columns) ||
        !get_doubles(json_object_get(json, DYNQ_KEY_COLUMN_SQUARES), by_column->sum_of_squares,
                     columns)) {
        return bad_value(r, index, "an array of columns is not one finite number for each");
    }
    const char *fault = dynq_value_statistics_fault(value);
    return fault == NULL ? DYNQ_OK : bad_value(r, index, fault);
}

/* Appends one entry of the file; the calibration has room. */
static dynq_status read_value(const reader *r, size_t index, const json_t *json,
                              dynq_calibration *calibration)
{
    const dynq_allocator *allocator = &calibration->allocator;
    dynq_value_statistics read = {0};
    const char *name = json_string_value(json_object_get(json, DYNQ_KEY_NAME));
    dynq_status status = check_name(r, index, name);
    if (status == DYNQ_OK) {
        status = read_head(r, index, json, &read);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    /* The file must hold as much as memory is taken for. */
    if (read.rows > 0 &&
        json_array_size(json_object_get(json, DYNQ_KEY_COLUMN_MIN)) != read.columns) {
        return bad_value(r, index, "\"column_min\" is not one finite number for each column");
    }
    dynq_value_statistics *value = &calibration->values[calibration->count];
    *value = read;
    value->name = dynq_alloc_string(allocator, name);
    if (value->name == NULL) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    calibration->count++;
    if (value->rows == 0) {
        return DYNQ_OK;
    }
    return dynq_value_statistics_reserve(value, allocator)
               ? read_seen(r, index, json, value)
               : dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
}

/* ---- the whole ---- */

static dynq_status check_version(const reader *r, const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (format == NULL || strcmp(format, DYNQ_CALIBRATION_FORMAT) != 0) {
        return bad(r, "\"format\" is not \"" DYNQ_CALIBRATION_FORMAT "\"");
    }
    uint64_t version = 0;
    if (!get_count(root, "version", &version) || version == 0) {
        return bad(r, "\"version\" is missing or not a version");
    }
    if (version < DYNQ_CALIBRATION_VERSION) {
        return dynq_fail(r->error, DYNQ_ERR_VERSION,
                         "%s: calibration of version %llu, which has no histograms: calibrate "
                         "again",
                         r->path, (unsigned long long)version);
    }
    if (version > DYNQ_CALIBRATION_VERSION) {
        return dynq_fail(r->error, DYNQ_ERR_VERSION,
                         "%s: calibration of version %llu; this library reads version %d: update "
                         "it",
                         r->path, (unsigned long long)version, DYNQ_CALIBRATION_VERSION);
    }
    return DYNQ_OK;
}

/* Sixteen hexadecimal digits in small letters. */
static bool get_fingerprint(const json_t *field, uint64_t *fingerprint)
{
    static const char digits[] = "0123456789abcdef";
    const char *text = json_string_value(field);
    if (text == NULL || strlen(text) != 16) {
        return false;
    }
    *fingerprint = 0;
    for (size_t i = 0; i < 16; i++) {
        const char *digit = strchr(digits, text[i]);
        if (digit == NULL) {
            return false;
        }
        *fingerprint = *fingerprint << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

static dynq_status read_tensors(const reader *r, const json_t *root, dynq_calibration *calibration)
{
    const json_t *tensors = json_object_get(root, "tensors");
    uint64_t samples = 0;
    if (!get_fingerprint(json_object_get(root, "model"), &calibration->model)) {
        return bad(r, "\"model\" is not 16 hexadecimal digits");
    }
    if (!get_count(root, "samples", &samples) ||
        !get_count(root, "requests", &calibration->requests)) {
        return bad(r, "\"samples\" or \"requests\" is missing or not a count");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < json_array_size(tensors); i++) {
        status = read_value(r, i, json_array_get(tensors, i), calibration);
    }
    if (status == DYNQ_OK && samples != dynq_calibration_samples(calibration)) {
        status = bad(r, "\"samples\" is not the largest number of rows");
    }
    return status;
}

static dynq_status read_calibration(const reader *r, const json_t *root,
                                    const dynq_allocator *allocator, dynq_calibration **result)
{
    dynq_status status = check_version(r, root);
    if (status != DYNQ_OK) {
        return status;
    }
    const json_t *tensors = json_object_get(root, "tensors");
    if (!json_is_array(tensors)) {
        return bad(r, "\"tensors\" is missing or not an array");
    }
    dynq_calibration *calibration = dynq_calibration_new(allocator, json_array_size(tensors));
    if (calibration == NULL) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    status = read_tensors(r, root, calibration);
    if (status != DYNQ_OK) {
        dynq_calibration_free(calibration);
        return status;
    }
    dynq_calibration_sort(calibration);
    *result = calibration;
    return DYNQ_OK;
}

/* The JSON object in the bytes of a file. */
static dynq_status parse(const reader *r, const dynq_file *file, json_t **root)
{
    json_error_t why;
    *root =
        file->size == 0 ? NULL : json_loadb(file->bytes, file->size, JSON_REJECT_DUPLICATES, &why);
    if (*root != NULL) {
        return DYNQ_OK;
    }
    if (file->size == 0) {
        return bad(r, "the file is empty");
    }
    if (json_error_code(&why) == json_error_out_of_memory) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, why.position < 0 ? 0 : (uint64_t)why.position,
                        "%s: line %d: not JSON as expected: %s", r->path, why.line, why.text);
}

dynq_status dynq_calibration_open(const char *path, const dynq_allocator *allocator,
                                  dynq_calibration **calibration, dynq_error *error)
{
    if (path == NULL || calibration == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: path or result is NULL");
    }
    const dynq_allocator from = dynq_allocator_or_default(allocator);
    dynq_file file = {0};
    json_t *root = NULL;
    dynq_status status = dynq_file_open(path, 1, &from, &file, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const reader r = {.path = path, .seen = json_object(), .error = error};
    status = r.seen == NULL ? dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory", path)
                            : parse(&r, &file, &root);
    if (status == DYNQ_OK) {
        status = read_calibration(&r, root, &from, calibration);
    }
    json_decref(root);
    json_decref(r.seen);
    dynq_file_close(&file, &from);
    return status;
}
