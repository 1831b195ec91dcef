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

/* How a static range is chosen. lo and hi are never outside what was seen, and 0 is always inside.
 */
typedef enum dynq_calibration_method {
    DYNQ_METHOD_MAX = 1,    /* the smallest and largest value seen */
    DYNQ_METHOD_ENTROPY,    /* the threshold T on |x| whose 128 levels lose the least information
                             * (least Kullback-Leibler divergence, the method of TensorRT):
                             * [max(min, -T), min(max, T)] */
    DYNQ_METHOD_PERCENTILE, /* leaves out (100 - percentile) / 2 percent of the elements at each
                             * end; symmetric: 100 - percentile percent of the largest |x| */
    DYNQ_METHOD_MSE,        /* least expected squared error of 8-bit codes, rounding and clipping */
    DYNQ_METHOD_AVERAGE     /* moving average of the smallest and largest values of batches: a new
                             * batch weighs 0.01, and the first ones more (bias correction) */
} dynq_calibration_method;

/* "max", "entropy", "percentile", "mse", "average". Static storage; NULL for a value outside the
 * enumeration. */
DYNQ_API const char *dynq_calibration_method_name(dynq_calibration_method method);

typedef struct dynq_range_choice {
    size_t size;                    /* sizeof(dynq_range_choice) */
    dynq_calibration_method method; /* 0: max */
    double percentile;              /* of DYNQ_METHOD_PERCENTILE, above 0 up to 100; 0: 99.99 */
    dynq_scheme scheme;             /* that the range is for; 0: affine */
} dynq_range_choice;

/* Empty statistics for the linear layers of `model`. */
DYNQ_API dynq_status dynq_calibration_create(const dynq_model *model,
                                             const dynq_allocator *allocator,
                                             dynq_calibration **calibration, dynq_error *error);
DYNQ_API void dynq_calibration_free(dynq_calibration *calibration);

/* Runs `model` in FP32 on `rows` rows of its only input and adds what the layers saw: x is
 * [rows][columns of the input] with `row_stride` floats between rows (0: columns). Each row is a
 * request, and 256 are a batch; any number of rows is fine. Statistics have the same bits for any
 * number of threads. On an error nothing is added. For other inputs, or data that comes piecewise,
 * see dynq/calibrator.h. Errors: DYNQ_ERR_ARGUMENT (more than one input, or ids; a model with other
 * weights), DYNQ_ERR_SHAPE (a model of other values), DYNQ_ERR_NOT_FINITE (naming value, row and
 * column), DYNQ_ERR_LIMIT, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_calibration_run(dynq_calibration *calibration, dynq_model *model,
                                          const float *x, size_t rows, size_t row_stride,
                                          uint32_t threads, dynq_error *error);

/* Adds rows of the value named `value` (the node that a linear layer reads), for instance from a
 * tap; `row_stride` as above. A value that no linear layer reads is ignored. On an error nothing is
 * added. Errors: DYNQ_ERR_ARGUMENT, DYNQ_ERR_SHAPE (another number of columns than the value has),
 * DYNQ_ERR_NOT_FINITE on NaN or Inf, DYNQ_ERR_LIMIT (2^63 elements or more), DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_calibration_observe(dynq_calibration *calibration, const char *value,
                                              size_t rows, size_t columns, const float *data,
                                              size_t row_stride, dynq_error *error);

/* Adds the statistics of `other`, taken on other data with the same model. Counts, ranges and
 * histograms do not depend on the order of merging, and sums by no more than 1e-9; a value of which
 * `other` has seen rows has no moving average any more, for which nobody knows what came last. On
 * an error nothing is added. Errors: DYNQ_ERR_ARGUMENT (also a model with other weights),
 * DYNQ_ERR_SHAPE if the values differ, DYNQ_ERR_LIMIT (2^63 elements or more), DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_calibration_merge(dynq_calibration *calibration,
                                            const dynq_calibration *other, dynq_error *error);

/* The requests that calibrators ran for it: where to go on after an interruption. */
DYNQ_API uint64_t dynq_calibration_requests(const dynq_calibration *calibration);

/* JSON, written like a model file: temporary name, synced, renamed. Numbers come back exactly.
 * Errors: DYNQ_ERR_IO, DYNQ_ERR_MEMORY; opening also DYNQ_ERR_FORMAT and DYNQ_ERR_VERSION. */
DYNQ_API dynq_status dynq_calibration_save(const dynq_calibration *calibration, const char *path,
                                           dynq_error *error);
DYNQ_API dynq_status dynq_calibration_open(const char *path, const dynq_allocator *allocator,
                                           dynq_calibration **calibration, dynq_error *error);

/* Whether the calibration was taken from this model: DYNQ_ERR_NOT_FOUND names a value that it
 * lacks, DYNQ_ERR_ARGUMENT says that it has other weights. */
DYNQ_API dynq_status dynq_calibration_check_model(const dynq_calibration *calibration,
                                                  const dynq_model *model, dynq_error *error);

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
/* The range a method chooses for a value: lo <= 0 <= hi. `choice` may be NULL. Errors:
 * DYNQ_ERR_NOT_FOUND for an unknown value or one without any row; DYNQ_ERR_UNSUPPORTED for a moving
 * average after merging, which has no order; DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_calibration_range(const dynq_calibration *calibration, const char *value,
                                            const dynq_range_choice *choice, float *lo, float *hi,
                                            dynq_error *error);

#define DYNQ_HISTOGRAM_BINS 2048

/* How often what was seen of one value. Bin i of a side counts |x| in [i, i + 1) * limit /
 * DYNQ_HISTOGRAM_BINS; the limit is the smallest power of two above every |x| seen, so that counts
 * depend neither on the order of the data nor on how it was divided. */
typedef struct dynq_histogram_view {
    size_t size;                         /* sizeof(dynq_histogram_view), set by the caller */
    double limit;                        /* 0: nothing but zeros was seen */
    uint64_t zeros;                      /* elements that are exactly 0, in no bin */
    const uint64_t *negative, *positive; /* [DYNQ_HISTOGRAM_BINS]; belong to the calibration, valid
                                          * until it changes */
} dynq_histogram_view;

/* DYNQ_ERR_NOT_FOUND, DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_calibration_histogram(const dynq_calibration *calibration,
                                                const char *value, dynq_histogram_view *view);

/* Moments and what they tell of how hard a value is to quantize. Sums are taken in double in a
 * fixed order: the same for any number of threads; merged parts agree with one pass to 1e-9. */
typedef struct dynq_value_summary {
    size_t size;            /* sizeof(dynq_value_summary), set by the caller */
    double mean, deviation; /* of all elements; the root of the mean squared distance to the mean */
    double kurtosis;      /* 4th central moment / deviation^4: 3 for a Gaussian; NaN if constant */
    double outlier_index; /* largest |x| / deviation; NaN if constant */
    double zero_rows;     /* share of rows that are all 0 */
    double row_low, row_high;     /* means over rows of min(0, row) and max(0, row) */
    double batch_low, batch_high; /* the same over batches (calls that added rows) */
    uint64_t batches;
} dynq_value_summary;

/* DYNQ_ERR_NOT_FOUND (also without any row), DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_calibration_summary(const dynq_calibration *calibration,
                                              const char *value, dynq_value_summary *summary);

/* The same by column: what smoothing and bias correction need. Arrays of `columns` elements that
 * belong to the calibration, valid until it changes. */
typedef struct dynq_column_view {
    size_t size; /* sizeof(dynq_column_view), set by the caller */
    size_t columns;
    uint64_t rows;
    const float *min, *max;
    const double *sum, *sum_of_squares; /* over rows */
} dynq_column_view;

/* DYNQ_ERR_NOT_FOUND (also without any row), DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_calibration_columns(const dynq_calibration *calibration,
                                              const char *value, dynq_column_view *view);

#ifdef __cplusplus
}
#endif

#endif
