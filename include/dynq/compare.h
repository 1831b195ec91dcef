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
    uint64_t rows, elements, pct_elements, cosine_rows, class_rows, top1_equal;
    double signal, noise; /* sum of reference^2, of (value - reference)^2 */
    double abs_error, pct_error, cosine_sum, cosine_min, divergence_sum, divergence_max;
    double max_abs_error;
    uint64_t max_abs_row, max_abs_column;
} dynq_metrics;

/* Adds rows x columns pairs; strides in floats, 0 meaning `columns`. Nothing may be NaN or Inf.
 * Without columns nothing is added. Rows added in the same order, in one call or in many, give the
 * same bits. One thread at a time for one *metrics. */
DYNQ_API void dynq_metrics_add(dynq_metrics *metrics, size_t rows, size_t columns,
                               const float *reference, size_t reference_stride, const float *value,
                               size_t value_stride);

/* What the rows of a classifier are. */
typedef enum dynq_scores {
    DYNQ_SCORES_LOGITS = 1,   /* any numbers; the probabilities of the classes are their softmax */
    DYNQ_SCORES_PROBABILITIES /* the results of a softmax, not below 0 */
} dynq_scores;

/* Adds what only rows of class scores have, the agreement on the largest and the divergence, to
 * metrics that may have the other measures of the same rows from dynq_metrics_add(). Parameters as
 * there. Probabilities below the smallest normal float count as that, so that nothing is infinite.
 */
DYNQ_API void dynq_metrics_add_classes(dynq_metrics *metrics, dynq_scores scores, size_t rows,
                                       size_t columns, const float *reference,
                                       size_t reference_stride, const float *value,
                                       size_t value_stride);

typedef struct dynq_metrics_summary {
    double sqnr_db;        /* 10 log10(signal / noise); +Inf without noise, NaN without signal */
    double cosine_mean;    /* of the cosines of rows; rows that are all zero on one side are left */
    double cosine_min;     /* out; both NaN if none is left */
    double max_abs_error;  /* over all elements; 0 without any */
    double mean_abs_error; /* NaN without elements */
    double mean_abs_pct_error; /* in percent of |reference|, over elements whose reference is not 0
                                * (the others have no percentage, however large their error); NaN if
                                * there is none */
    double top1_agreement;  /* of dynq_metrics_add_classes(), as are the divergences: share of rows
                             * whose largest element (the first of equals) is at the same column; NaN
                             * without rows */
    double divergence_mean; /* Kullback-Leibler divergence of a row's probabilities p of the
                             * reference and q of the value: sum p ln(p / q), in nats, never below
                             * 0; over rows, both NaN without any */
    double divergence_max;
    uint64_t max_abs_row, max_abs_column; /* the first place of max_abs_error; rows count from the
                                           * first one added; both 0 without errors */
} dynq_metrics_summary;

DYNQ_API dynq_metrics_summary dynq_metrics_result(const dynq_metrics *metrics);

#ifdef __cplusplus
}
#endif

#endif
