/* Calibrations into files. Each key stands on a line of its own, with all of its array; see
 * calibrate_json.h for the format. */
#include "src/calibrate_json.h"

#include "src/error.h"
#include "src/file.h"

#include <inttypes.h>
#include <stdio.h>

/* Nine digits bring every float back exactly, seventeen every double. */
#define FLOAT_FLAGS  (JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9))
#define DOUBLE_FLAGS (JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17))

typedef struct writer {
    FILE *stream;
    bool complete; /* memory was enough so far */
    bool first;    /* no key was written into the object under way */
} writer;

/* ---- keys ---- */

/* Writes `key` with the value, which it takes. */
static void write_key(writer *w, const char *indent, const char *key, json_t *value, size_t flags)
{
    fprintf(w->stream, "%s\n%s\"%s\": ", w->first ? "" : ",", indent, key);
    w->first = false;
    /* The stream's own errors are noticed when the file is committed. */
    if (value == NULL || (json_dumpf(value, w->stream, flags) != 0 && !ferror(w->stream))) {
        w->complete = false;
    }
    json_decref(value);
}

static void write_count(writer *w, const char *key, uint64_t count)
{
    write_key(w, "      ", key, json_integer((json_int_t)count), DOUBLE_FLAGS);
}

static void write_float(writer *w, const char *key, float value)
{
    write_key(w, "      ", key, json_real((double)value), FLOAT_FLAGS);
}

static void write_double(writer *w, const char *key, double value)
{
    write_key(w, "      ", key, json_real(value), DOUBLE_FLAGS);
}

/* ---- arrays ---- */

static void append(json_t **array, json_t *value)
{
    if (*array == NULL || json_array_append_new(*array, value) != 0) {
        json_decref(*array);
        *array = NULL;
    }
}

static json_t *floats(const float *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        append(&array, json_real((double)values[i]));
    }
    return array;
}

static json_t *doubles(const double *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        append(&array, json_real(values[i]));
    }
    return array;
}

/* A run of k empty bins is written as -k, and the last one not at all. */
static json_t *bins(const uint64_t *counts)
{
    json_t *array = json_array();
    json_int_t empty = 0;
    for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
        if (counts[i] == 0) {
            empty++;
            continue;
        }
        if (empty > 0) {
            append(&array, json_integer(-empty));
        }
        append(&array, json_integer((json_int_t)counts[i]));
        empty = 0;
    }
    return array;
}

/* ---- values ---- */

static void write_seen(writer *w, const dynq_value_statistics *s)
{
    const double average[] = {s->average.lo, s->average.hi, s->average.weight};
    const dynq_column_statistics *by_column = &s->by_column;
    write_count(w, DYNQ_KEY_ZERO_ROWS, s->zero_rows);
    write_count(w, DYNQ_KEY_BATCHES, s->batches);
    write_double(w, DYNQ_KEY_ROW_LOW, s->row_low);
    write_double(w, DYNQ_KEY_ROW_HIGH, s->row_high);
    write_double(w, DYNQ_KEY_BATCH_LOW, s->batch_low);
    write_double(w, DYNQ_KEY_BATCH_HIGH, s->batch_high);
    write_double(w, DYNQ_KEY_MEAN, s->moments.mean);
    write_double(w, DYNQ_KEY_SECOND, s->moments.second);
    write_double(w, DYNQ_KEY_THIRD, s->moments.third);
    write_double(w, DYNQ_KEY_FOURTH, s->moments.fourth);
    write_key(w, "      ", DYNQ_KEY_AVERAGE, s->unordered ? json_null() : doubles(average, 3),
              DOUBLE_FLAGS);
    write_double(w, DYNQ_KEY_LIMIT, s->histogram->limit);
    write_count(w, DYNQ_KEY_ZEROS, s->histogram->zeros);
    write_key(w, "      ", DYNQ_KEY_NEGATIVE, bins(s->histogram->negative), DOUBLE_FLAGS);
    write_key(w, "      ", DYNQ_KEY_POSITIVE, bins(s->histogram->positive), DOUBLE_FLAGS);
    write_key(w, "      ", DYNQ_KEY_COLUMN_MIN, floats(by_column->min, s->columns), FLOAT_FLAGS);
    write_key(w, "      ", DYNQ_KEY_COLUMN_MAX, floats(by_column->max, s->columns), FLOAT_FLAGS);
    write_key(w, "      ", DYNQ_KEY_COLUMN_SUM, doubles(by_column->sum, s->columns), DOUBLE_FLAGS);
    write_key(w, "      ", DYNQ_KEY_COLUMN_SQUARES, doubles(by_column->sum_of_squares, s->columns),
              DOUBLE_FLAGS);
}

static void write_value(writer *w, const dynq_value_statistics *s, bool last)
{
    fputs("    {", w->stream);
    w->first = true;
    write_key(w, "      ", DYNQ_KEY_NAME, json_string(s->name), DOUBLE_FLAGS);
    write_count(w, DYNQ_KEY_COLUMNS, s->columns);
    write_float(w, DYNQ_KEY_MIN, s->min);
    write_float(w, DYNQ_KEY_MAX, s->max);
    write_count(w, DYNQ_KEY_ROWS, s->rows);
    write_count(w, DYNQ_KEY_ELEMENTS, s->elements);
    if (s->rows > 0) {
        write_seen(w, s);
    }
    fprintf(w->stream, "\n    }%s\n", last ? "" : ",");
}

/* ---- files ---- */

uint64_t dynq_calibration_samples(const dynq_calibration *calibration)
{
    uint64_t samples = 0;
    for (size_t i = 0; i < calibration->count; i++) {
        const uint64_t rows = calibration->values[i].rows;
        samples = rows > samples ? rows : samples;
    }
    return samples;
}

/* false when memory is out. */
static bool write_calibration(FILE *stream, const dynq_calibration *calibration)
{
    writer w = {.stream = stream, .complete = true, .first = true};
    char model[17];
    snprintf(model, sizeof model, "%016" PRIx64, calibration->model);
    fputc('{', stream);
    write_key(&w, "  ", "format", json_string(DYNQ_CALIBRATION_FORMAT), DOUBLE_FLAGS);
    write_key(&w, "  ", "version", json_integer(DYNQ_CALIBRATION_VERSION), DOUBLE_FLAGS);
    write_key(&w, "  ", "model", json_string(model), DOUBLE_FLAGS);
    write_key(&w, "  ", "requests", json_integer((json_int_t)calibration->requests), DOUBLE_FLAGS);
    write_key(&w, "  ", "samples", json_integer((json_int_t)dynq_calibration_samples(calibration)),
              DOUBLE_FLAGS);
    fputs(",\n  \"tensors\": [\n", stream);
    for (size_t i = 0; i < calibration->count; i++) {
        write_value(&w, &calibration->values[i], i + 1 == calibration->count);
    }
    fputs("  ]\n}\n", stream);
    return w.complete;
}

dynq_status dynq_calibration_save(const dynq_calibration *calibration, const char *path,
                                  dynq_error *error)
{
    if (calibration == NULL || path == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: it or its path is NULL");
    }
    dynq_replacement replacement;
    const dynq_status status = dynq_replacement_begin(path, &replacement, error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (write_calibration(replacement.stream, calibration)) {
        return dynq_replacement_commit(&replacement, error);
    }
    dynq_replacement_abandon(&replacement);
    return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory for writing it", path);
}
