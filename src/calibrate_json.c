#include "src/calibrate.h"

#include "src/error.h"
#include "src/file.h"
#include "src/model.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define FORMAT  "dynq-calibration"
#define VERSION 1 /* a file with a higher one is refused */

/* Nine significant digits bring every float back exactly. */
#define JSON_FLAGS (JSON_INDENT(2) | JSON_REAL_PRECISION(9))

/* The smallest number that rounds to an infinite float: half a step above FLT_MAX, which itself is
 * written with nine digits and thus as a little more than it is. */
#define FLOAT_OVERFLOW 0x1.ffffffp127

/* ---- writing ---- */

static json_t *write_value(const dynq_value_statistics *statistics)
{
    return json_pack("{s:s,s:o,s:o,s:I,s:I}", "name", statistics->name, "min",
                     json_real((double)statistics->min), "max", json_real((double)statistics->max),
                     "rows", (json_int_t)statistics->rows, "elements",
                     (json_int_t)statistics->elements);
}

/* The rows of data behind a calibration: every value has seen them, unless a caller's taps differ.
 */
static uint64_t count_samples(const dynq_calibration *calibration)
{
    uint64_t samples = 0;
    for (size_t i = 0; i < calibration->count; i++) {
        const uint64_t rows = calibration->values[i].rows;
        samples = rows > samples ? rows : samples;
    }
    return samples;
}

/* NULL when memory is out. */
static json_t *write_calibration(const dynq_calibration *calibration)
{
    json_t *tensors = json_array();
    bool complete = tensors != NULL;
    for (size_t i = 0; complete && i < calibration->count; i++) {
        complete = json_array_append_new(tensors, write_value(&calibration->values[i])) == 0;
    }
    if (!complete) {
        json_decref(tensors);
        return NULL;
    }
    return json_pack("{s:s,s:i,s:I,s:o}", "format", FORMAT, "version", VERSION, "samples",
                     (json_int_t)count_samples(calibration), "tensors", tensors);
}

dynq_status dynq_calibration_save(const dynq_calibration *calibration, const char *path,
                                  dynq_error *error)
{
    if (calibration == NULL || path == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: it or its path is NULL");
    }
    json_t *root = write_calibration(calibration);
    if (root == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory for writing it", path);
    }
    dynq_replacement replacement;
    dynq_status status = dynq_replacement_begin(path, &replacement, error);
    if (status == DYNQ_OK) {
        const bool dumped = json_dumpf(root, replacement.stream, JSON_FLAGS) == 0;
        if (dumped || ferror(replacement.stream)) {
            fputc('\n', replacement.stream);
            status = dynq_replacement_commit(&replacement, error);
        } else {
            dynq_replacement_abandon(&replacement);
            status = dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory for writing it", path);
        }
    }
    json_decref(root);
    return status;
}

/* ---- reading ---- */

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

static bool get_float(const json_t *object, const char *key, float *value)
{
    const json_t *field = json_object_get(object, key);
    const double number = json_number_value(field);
    if (!json_is_number(field) || !(fabs(number) < FLOAT_OVERFLOW)) {
        return false;
    }
    *value = number == 0.0 ? 0.0f : (float)number; /* -0 becomes 0 */
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

static dynq_status check_numbers(const reader *r, size_t index, const dynq_value_statistics *value)
{
    if (value->min > value->max) {
        return bad_value(r, index, "\"min\" is larger than \"max\"");
    }
    if (value->rows == 0) {
        const bool empty = value->elements == 0 && value->min == 0.0f && value->max == 0.0f;
        return empty ? DYNQ_OK : bad_value(r, index, "it has numbers, but no rows");
    }
    if (value->elements == 0 || value->elements % value->rows != 0) {
        return bad_value(r, index, "\"elements\" is not a multiple of \"rows\"");
    }
    return DYNQ_OK;
}

/* Appends one entry of the file; the calibration has room. */
static dynq_status read_value(const reader *r, size_t index, const json_t *json,
                              dynq_calibration *calibration)
{
    dynq_value_statistics value = {0};
    const char *name = json_string_value(json_object_get(json, "name"));
    dynq_status status = check_name(r, index, name);
    if (status != DYNQ_OK) {
        return status;
    }
    if (!get_float(json, "min", &value.min) || !get_float(json, "max", &value.max)) {
        return bad_value(r, index, "\"min\" and \"max\" must be finite FP32 numbers");
    }
    if (!get_count(json, "rows", &value.rows) || !get_count(json, "elements", &value.elements)) {
        return bad_value(r, index, "\"rows\" and \"elements\" must be counts");
    }
    status = check_numbers(r, index, &value);
    if (status != DYNQ_OK) {
        return status;
    }
    value.columns = value.rows == 0 ? 0 : (size_t)(value.elements / value.rows);
    value.name = dynq_alloc_string(&calibration->allocator, name);
    if (value.name == NULL) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    calibration->values[calibration->count++] = value;
    return DYNQ_OK;
}

/* What stands around the tensors. */
static dynq_status check_frame(const reader *r, const json_t *root, uint64_t *samples)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (format == NULL || strcmp(format, FORMAT) != 0) {
        return bad(r, "\"format\" is not \"" FORMAT "\"");
    }
    uint64_t version = 0;
    if (!get_count(root, "version", &version) || version == 0) {
        return bad(r, "\"version\" is missing or not a version");
    }
    if (version > VERSION) {
        return dynq_fail(r->error, DYNQ_ERR_VERSION,
                         "%s: calibration of version %llu; this library reads up to %d: update it",
                         r->path, (unsigned long long)version, VERSION);
    }
    if (!get_count(root, "samples", samples)) {
        return bad(r, "\"samples\" is missing or not a count");
    }
    return json_is_array(json_object_get(root, "tensors"))
               ? DYNQ_OK
               : bad(r, "\"tensors\" is missing or not an array");
}

static dynq_status read_calibration(const reader *r, const json_t *root,
                                    const dynq_allocator *allocator, dynq_calibration **result)
{
    uint64_t samples = 0;
    dynq_status status = check_frame(r, root, &samples);
    if (status != DYNQ_OK) {
        return status;
    }
    const json_t *tensors = json_object_get(root, "tensors");
    const size_t count = json_array_size(tensors);
    dynq_calibration *calibration = dynq_calibration_new(allocator, count);
    if (calibration == NULL) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->path);
    }
    for (size_t i = 0; status == DYNQ_OK && i < count; i++) {
        status = read_value(r, i, json_array_get(tensors, i), calibration);
    }
    if (status == DYNQ_OK && samples != count_samples(calibration)) {
        status = bad(r, "\"samples\" is not the largest number of rows");
    }
    if (status != DYNQ_OK) {
        dynq_calibration_free(calibration);
        return status;
    }
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
