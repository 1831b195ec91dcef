/* Error measures between two sets of numbers, accumulated over any number of calls. */
#ifndef DYNQ_COMPARE_H
#define DYNQ_COMPARE_H

#include <dynq/api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sums in double precision. Starts as all zero: `dynq_metrics m = {0};`. The caller owns it; read
 * the measures through dynq_metrics_result(). */
typedef struct dynq_metrics {
    uint64_t rows, elements, pct_elements;
    double signal, noise; /* sum of reference^2, of (value - reference)^2 */
    double abs_error, pct_error, max_abs_error;
    double cosine_sum, cosine_min;
    uint64_t cosine_rows, top1_equal;
} dynq_metrics;

/* Adds rows x columns pairs; strides in floats, 0 meaning `columns`. Nothing may be NaN or Inf.
 * Without columns nothing is added. Rows added in the same order, in one call or in many, give the
 * same bits. One thread at a time for one *metrics. */
DYNQ_API void dynq_metrics_add(dynq_metrics *metrics, size_t rows, size_t columns,
                               const float *reference, size_t reference_stride, const float *value,
                               size_t value_stride);

typedef struct dynq_metrics_summary {
    double sqnr_db;        /* 10 log10(signal / noise); +Inf without noise, NaN without signal */
    double cosine_mean;    /* of the cosines of rows; rows that are all zero on one side are left */
    double cosine_min;     /* out; both NaN if none is left */
    double max_abs_error;  /* over all elements; 0 without any */
    double mean_abs_error; /* NaN without elements */
    double mean_abs_pct_error; /* in percent of |reference|, over elements whose reference is not 0;
                                * NaN if there is none */
    double top1_agreement; /* share of rows whose largest element (the first of equals) is at the
                            * same column; NaN without rows */
} dynq_metrics_summary;

DYNQ_API dynq_metrics_summary dynq_metrics_result(const dynq_metrics *metrics);

#ifdef __cplusplus
}
#endif

#endif
