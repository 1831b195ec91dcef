/* The inside of a calibration, shared by the files that make one up: calibrate.c (statistics),
 * calibrate_run.c (running a model), calibrate_json.c (files). */
#ifndef DYNQ_SRC_CALIBRATE_H
#define DYNQ_SRC_CALIBRATE_H

#include "src/memory.h"

#include <dynq/calibration.h>

/* What was seen of one value. -0 is stored as 0, so that the order of observations leaves no trace.
 */
typedef struct dynq_value_statistics {
    char *name;
    size_t columns; /* 0: not known, after reading a file in which no row was seen */
    float min, max;
    uint64_t rows, elements; /* below 2^63, so that JSON can hold them */
} dynq_value_statistics;

struct dynq_calibration {
    dynq_allocator allocator;
    dynq_value_statistics *values;
    size_t count;
};

/* A calibration with room for `capacity` values and a count of 0; NULL when memory is out. */
dynq_calibration *dynq_calibration_new(const dynq_allocator *allocator, size_t capacity);

/* dynq_calibration_observe() for a known value; rows are counted from `first_row` in messages. */
dynq_status dynq_value_statistics_add(dynq_value_statistics *statistics, size_t first_row,
                                      size_t rows, size_t columns, const float *data,
                                      size_t row_stride, dynq_error *error);

/* Whether dynq_calibration_merge() could add the values of `other`. */
dynq_status dynq_calibration_check_same(const dynq_calibration *calibration,
                                        const dynq_calibration *other, dynq_error *error);

#endif
