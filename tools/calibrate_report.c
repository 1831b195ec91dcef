#include "tools/calibrate.h"

#include "tools/output.h"

#include <math.h>

/* What is not there is NaN. */
static dynq_value_summary summary_of(const dynq_calibration *calibration, const char *value)
{
    dynq_value_summary summary = {.size = sizeof summary,
                                  .mean = (double)NAN,
                                  .deviation = (double)NAN,
                                  .kurtosis = (double)NAN,
                                  .outlier_index = (double)NAN,
                                  .zero_rows = (double)NAN,
                                  .row_low = (double)NAN,
                                  .row_high = (double)NAN,
                                  .batch_low = (double)NAN,
                                  .batch_high = (double)NAN};
    dynq_calibration_summary(calibration, value, &summary);
    return summary;
}

static json_t *pair(double lo, double hi)
{
    json_t *array = command_json_array();
    command_json_append(array, command_json_number(lo));
    command_json_append(array, command_json_number(hi));
    return array;
}

/* What each method would choose; null where it cannot. */
static json_t *ranges_of(const dynq_calibration *calibration, const char *value)
{
    json_t *ranges = command_json_object();
    for (int method = DYNQ_METHOD_MAX; method <= DYNQ_METHOD_AVERAGE; method++) {
        const dynq_range_choice choice = {.size = sizeof choice,
                                          .method = (dynq_calibration_method)method};
        float lo = NAN, hi = NAN;
        const dynq_status status =
            dynq_calibration_range(calibration, value, &choice, &lo, &hi, NULL);
        command_json_set(ranges, dynq_calibration_method_name(choice.method),
                         status == DYNQ_OK ? pair((double)lo, (double)hi)
                                           : command_json_number((double)NAN));
    }
    return ranges;
}

static json_t *tensor_of(const dynq_calibration *calibration, const dynq_calibration_entry *entry)
{
    const dynq_value_summary s = summary_of(calibration, entry->value);
    json_t *tensor = command_json_object();
    command_json_set(tensor, "name", command_json_string(entry->value));
    command_json_set(tensor, "min", command_json_number((double)entry->min));
    command_json_set(tensor, "max", command_json_number((double)entry->max));
    command_json_set(tensor, "rows", command_json_integer(entry->rows));
    command_json_set(tensor, "elements", command_json_integer(entry->elements));
    command_json_set(tensor, "mean", command_json_number(s.mean));
    command_json_set(tensor, "deviation", command_json_number(s.deviation));
    command_json_set(tensor, "outlier_index", command_json_number(s.outlier_index));
    command_json_set(tensor, "kurtosis", command_json_number(s.kurtosis));
    command_json_set(tensor, "zero_rows_pct", command_json_number(100.0 * s.zero_rows));
    command_json_set(tensor, "row_range", pair(s.row_low, s.row_high));
    command_json_set(tensor, "batch_range", pair(s.batch_low, s.batch_high));
    command_json_set(tensor, "batches", command_json_integer(s.batches));
    command_json_set(tensor, "ranges", ranges_of(calibration, entry->value));
    return tensor;
}

void calibrate_print_json(const dynq_calibration *calibration, const char *path)
{
    json_t *object = command_json_new("calibrate");
    json_t *tensors = command_json_array();
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        command_json_append(tensors, tensor_of(calibration, &entry));
    }
    command_json_set(object, "tensors", tensors);
    command_json_set(object, "samples",
                     command_json_integer(dynq_calibration_requests(calibration)));
    command_json_set(object, "file", command_json_string(path));
    command_json_print(object);
}

void calibrate_print_table(const dynq_calibration *calibration, table_format format)
{
    table *rows = table_create();
    table_column(rows, "tensor", TABLE_NAME);
    table_column(rows, "min", TABLE_RIGHT);
    table_column(rows, "max", TABLE_RIGHT);
    table_column(rows, "deviation", TABLE_RIGHT);
    table_column(rows, "outlier", TABLE_RIGHT);
    table_column(rows, "kurtosis", TABLE_RIGHT);
    table_column(rows, "zero rows", TABLE_RIGHT);
    table_column(rows, "rows", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        const dynq_value_summary s = summary_of(calibration, entry.value);
        table_text(rows, entry.value);
        table_number(rows, (double)entry.min, 3);
        table_number(rows, (double)entry.max, 3);
        table_number(rows, s.deviation, 4);
        table_number(rows, s.outlier_index, 1);
        table_number(rows, s.kurtosis, 1);
        table_number(rows, 100.0 * s.zero_rows, 1);
        table_integer(rows, entry.rows);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}
