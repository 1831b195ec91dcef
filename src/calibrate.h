/* The inside of a calibration, shared by the files that make one up: calibrate.c (values),
 * calibrate_value.c (statistics of one), calibrate_range.c (what they say), calibrator.c and
 * calibrate_run.c (running a model), calibrate_write.c and calibrate_read.c (files). */
#ifndef DYNQ_SRC_CALIBRATE_H
#define DYNQ_SRC_CALIBRATE_H

#include "src/histogram.h"
#include "src/memory.h"
#include "src/moments.h"

#include <dynq/calibration.h>
#include <stdbool.h>

/* The weight of a new batch in the moving averages: the constant of PyTorch's observer. */
#define DYNQ_AVERAGING 0.01

/* Exponential moving averages of the smallest and largest value of batches, both from 0 on, and of
 * the constant 1. What the averages still lack of the beginning the weight lacks as well, so that
 * average / weight is right from the first batch on (the bias correction of Adam). */
typedef struct dynq_moving_average {
    double lo, hi, weight;
} dynq_moving_average;

/* By column, each [columns]. */
typedef struct dynq_column_statistics {
    float *min, *max;
    double *sum, *sum_of_squares;
} dynq_column_statistics;

/* What was seen of one value. -0 is stored as 0, so that the order of observations leaves no trace.
 */
typedef struct dynq_value_statistics {
    char *name;
    size_t columns;
    float min, max;
    uint64_t rows, elements; /* below 2^63, so that JSON can hold them */
    uint64_t zero_rows, batches;
    double row_low, row_high, batch_low, batch_high; /* sums of min(0, ...) and max(0, ...) */
    dynq_moments moments;
    dynq_moving_average average;
    bool unordered;            /* parts were merged, and so nobody knows which batch came last */
    dynq_histogram *histogram; /* NULL before the first row, as are the columns */
    dynq_column_statistics by_column;
} dynq_value_statistics;

struct dynq_calibration {
    dynq_allocator allocator;
    uint64_t model;    /* dynq_model_fingerprint() */
    uint64_t requests; /* that calibrators ran; below 2^63 */
    dynq_value_statistics *values;
    dynq_value_statistics **by_name; /* sorted, once all values are there */
    size_t count;
};

/* ---- one value ---- */

/* Takes the memory that the first row needs. false when memory is out. */
bool dynq_value_statistics_reserve(dynq_value_statistics *statistics,
                                   const dynq_allocator *allocator);
void dynq_value_statistics_release(dynq_value_statistics *statistics,
                                   const dynq_allocator *allocator);
/* Forgets all rows and keeps name, columns and memory. */
void dynq_value_statistics_clear(dynq_value_statistics *statistics);

/* dynq_calibration_observe() for a known value, which has its memory; rows are counted from
 * `first_row` in messages. */
dynq_status dynq_value_statistics_add(dynq_value_statistics *statistics, size_t first_row,
                                      size_t rows, size_t columns, const float *data,
                                      size_t row_stride, dynq_error *error);
/* Whether `more` can be added to `statistics`. */
dynq_status dynq_value_statistics_check(const dynq_value_statistics *statistics,
                                        const dynq_value_statistics *more, dynq_error *error);
/* Adds `more`, which came after all that `statistics` has seen; with memory, and checked. */
void dynq_value_statistics_append(dynq_value_statistics *statistics,
                                  const dynq_value_statistics *more);

/* ---- a calibration ---- */

/* A calibration with room for `capacity` values and a count of 0; NULL when memory is out. */
dynq_calibration *dynq_calibration_new(const dynq_allocator *allocator, size_t capacity);
/* An empty one with the values of `other`; NULL when memory is out. */
dynq_calibration *dynq_calibration_new_like(const dynq_calibration *other,
                                            const dynq_allocator *allocator);
/* Makes the values known to dynq_calibration_find(); after the last one was added. */
void dynq_calibration_sort(dynq_calibration *calibration);
/* Forgets all rows and requests. */
void dynq_calibration_clear(dynq_calibration *calibration);
/* The value with that name, or NULL. */
dynq_value_statistics *dynq_calibration_find(const dynq_calibration *calibration, const char *name);

/* Whether dynq_calibration_merge() could add `other`. */
dynq_status dynq_calibration_check_same(const dynq_calibration *calibration,
                                        const dynq_calibration *other, dynq_error *error);
/* Merging where `other` came after all that `calibration` has seen: moving averages go on. */
dynq_status dynq_calibration_append(dynq_calibration *calibration, const dynq_calibration *other,
                                    dynq_error *error);

#endif
