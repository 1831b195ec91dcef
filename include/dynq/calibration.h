/* Calibration: which range the inputs of linear layers had on example data. */
#ifndef DYNQ_CALIBRATION_H
#define DYNQ_CALIBRATION_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Statistics of every value that a linear layer of one model reads. One thread at a time. */
typedef struct dynq_calibration dynq_calibration;

typedef enum dynq_calibration_method {
    DYNQ_METHOD_MAX = 1 /* the smallest and largest value seen */
} dynq_calibration_method;

/* "max". Static storage; NULL for a value outside the enumeration. */
DYNQ_API const char *dynq_calibration_method_name(dynq_calibration_method method);

/* Empty statistics for the linear layers of `model`. */
DYNQ_API dynq_status dynq_calibration_create(const dynq_model *model,
                                             const dynq_allocator *allocator,
                                             dynq_calibration **calibration, dynq_error *error);
DYNQ_API void dynq_calibration_free(dynq_calibration *calibration);

/* Runs `model` in FP32 on `rows` rows of its only input and adds what the layers saw: x is
 * [rows][columns of the input] with `row_stride` floats between rows (0: columns). Works in
 * batches, so any number of rows is fine. On an error nothing is added. Errors: DYNQ_ERR_ARGUMENT
 * (more than one input: use taps and dynq_calibration_observe()), DYNQ_ERR_SHAPE (a model of other
 * values), DYNQ_ERR_NOT_FINITE (naming value, row and column), DYNQ_ERR_LIMIT, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_calibration_run(dynq_calibration *calibration, dynq_model *model,
                                          const float *x, size_t rows, size_t row_stride,
                                          uint32_t threads, dynq_error *error);

/* Adds rows of the value named `value` (the node that a linear layer reads), for instance from a
 * tap; `row_stride` as above. A value that no linear layer reads is ignored. On an error nothing is
 * added. Errors: DYNQ_ERR_ARGUMENT, DYNQ_ERR_SHAPE (another number of columns than the value has),
 * DYNQ_ERR_NOT_FINITE on NaN or Inf, DYNQ_ERR_LIMIT (2^63 elements or more). */
DYNQ_API dynq_status dynq_calibration_observe(dynq_calibration *calibration, const char *value,
                                              size_t rows, size_t columns, const float *data,
                                              size_t row_stride, dynq_error *error);

/* Adds the statistics of `other`, taken on other data with a model of the same values. The result
 * does not depend on the order of merging. On an error nothing is added. Errors: DYNQ_ERR_ARGUMENT,
 * DYNQ_ERR_SHAPE if the values differ, DYNQ_ERR_LIMIT (2^63 elements or more). */
DYNQ_API dynq_status dynq_calibration_merge(dynq_calibration *calibration,
                                            const dynq_calibration *other, dynq_error *error);

/* JSON, written like a model file: temporary name, synced, renamed. Floats come back exactly.
 * Errors: DYNQ_ERR_IO, DYNQ_ERR_MEMORY; opening also DYNQ_ERR_FORMAT and DYNQ_ERR_VERSION. */
DYNQ_API dynq_status dynq_calibration_save(const dynq_calibration *calibration, const char *path,
                                           dynq_error *error);
DYNQ_API dynq_status dynq_calibration_open(const char *path, const dynq_allocator *allocator,
                                           dynq_calibration **calibration, dynq_error *error);

typedef struct dynq_calibration_entry {
    size_t size;       /* sizeof(dynq_calibration_entry), set by the caller */
    const char *value; /* name of the node; belongs to the calibration */
    float min, max;    /* of all elements seen; both 0 before the first */
    uint64_t rows;     /* rows seen */
    uint64_t elements;
} dynq_calibration_entry;

DYNQ_API size_t dynq_calibration_count(const dynq_calibration *calibration);
DYNQ_API dynq_status dynq_calibration_get(const dynq_calibration *calibration, size_t index,
                                          dynq_calibration_entry *entry);
/* The range a method chooses for a value: lo = min(0, ...), hi = max(0, ...).
 * DYNQ_ERR_NOT_FOUND for an unknown value or one without any row. */
DYNQ_API dynq_status dynq_calibration_range(const dynq_calibration *calibration, const char *value,
                                            dynq_calibration_method method, float *lo, float *hi,
                                            dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
