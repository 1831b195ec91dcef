/* Files of calibrations, version 2: a JSON object with "format", "version", "model" (the
 * fingerprint, 16 hexadecimal digits), "requests", "samples" (the largest number of rows) and
 * "tensors", each of them an object with the keys below, of which those from "zero_rows" on are
 * there only if it saw rows. A side of the histogram is an array of counts, in which -k stands for
 * k empty bins; empty bins at the end are left out. "average" is [lo, hi, weight], or null after
 * merging. */
#ifndef DYNQ_SRC_CALIBRATE_JSON_H
#define DYNQ_SRC_CALIBRATE_JSON_H

#include "src/calibrate.h"

#include <jansson.h>

#define DYNQ_CALIBRATION_FORMAT  "dynq-calibration"
#define DYNQ_CALIBRATION_VERSION 2

#define DYNQ_KEY_NAME           "name"
#define DYNQ_KEY_COLUMNS        "columns"
#define DYNQ_KEY_MIN            "min"
#define DYNQ_KEY_MAX            "max"
#define DYNQ_KEY_ROWS           "rows"
#define DYNQ_KEY_ELEMENTS       "elements"
#define DYNQ_KEY_ZERO_ROWS      "zero_rows"
#define DYNQ_KEY_BATCHES        "batches"
#define DYNQ_KEY_ROW_LOW        "row_low"
#define DYNQ_KEY_ROW_HIGH       "row_high"
#define DYNQ_KEY_BATCH_LOW      "batch_low"
#define DYNQ_KEY_BATCH_HIGH     "batch_high"
#define DYNQ_KEY_MEAN           "mean"
#define DYNQ_KEY_SECOND         "m2"
#define DYNQ_KEY_THIRD          "m3"
#define DYNQ_KEY_FOURTH         "m4"
#define DYNQ_KEY_AVERAGE        "average"
#define DYNQ_KEY_LIMIT          "limit"
#define DYNQ_KEY_ZEROS          "zeros"
#define DYNQ_KEY_NEGATIVE       "negative"
#define DYNQ_KEY_POSITIVE       "positive"
#define DYNQ_KEY_COLUMN_MIN     "column_min"
#define DYNQ_KEY_COLUMN_MAX     "column_max"
#define DYNQ_KEY_COLUMN_SUM     "column_sum"
#define DYNQ_KEY_COLUMN_SQUARES "column_squares"

/* The rows of data behind a calibration: every value has seen them, unless a caller's taps differ.
 */
uint64_t dynq_calibration_samples(const dynq_calibration *calibration);

/* What is wrong with the statistics of a value that saw rows, and whose arrays are complete; NULL
 * if they are possible. */
const char *dynq_value_statistics_fault(const dynq_value_statistics *statistics);

#endif
