#include "src/compare.h"

#include "src/cpu.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

/* With so many elements, asking the CPU which kernel it runs pays. All give the same bits. */
#define MANY_ELEMENTS 16384

/* Into lane 0. */
static void fold(dynq_error_sums *sums, size_t columns)
{
    const size_t lanes = columns < DYNQ_ERROR_LANES ? columns : DYNQ_ERROR_LANES;
    for (size_t i = 1; i < lanes; i++) {
        sums->reference_square[0] += sums->reference_square[i];
        sums->value_square[0] += sums->value_square[i];
        sums->product[0] += sums->product[i];
        sums->error_square[0] += sums->error_square[i];
        sums->error[0] += sums->error[i];
        sums->relative_error[0] += sums->relative_error[i];
        sums->zeros[0] += sums->zeros[i];
        sums->largest_error[0] = fmax(sums->largest_error[0], sums->largest_error[i]);
    }
}

static void add_cosine(dynq_metrics *metrics, const dynq_error_sums *sums)
{
    const double squares = sums->reference_square[0] * sums->value_square[0];
    if (sums->reference_square[0] == 0.0 || sums->value_square[0] == 0.0) {
        return;
    }
    /* One root of the product, so that the cosine of a row with itself is exactly 1. */
    const double cosine = fmin(fmax(sums->product[0] / sqrt(squares), -1.0), 1.0);
    if (metrics->cosine_rows == 0 || cosine < metrics->cosine_min) {
        metrics->cosine_min = cosine;
    }
    metrics->cosine_sum += cosine;
    metrics->cosine_rows++;
}

/* The first column whose error is the largest of the row. */
static size_t column_of_error(double error, size_t columns, const float *reference,
                              const float *value)
{
    size_t c = 0;
    while (c + 1 < columns && fabs((double)value[c] - (double)reference[c]) != error) {
        c++;
    }
    return c;
}

void dynq_metrics_add_with(const dynq_kernel *kernel, dynq_metrics *metrics, size_t rows,
                           size_t columns, const float *reference, size_t reference_stride,
                           const float *value, size_t value_stride)
{
    if (columns == 0) {
        return;
    }
    reference_stride = reference_stride == 0 ? columns : reference_stride;
    value_stride = value_stride == 0 ? columns : value_stride;
    for (size_t r = 0; r < rows; r++) {
        const float *expected = reference + r * reference_stride;
        const float *actual = value + r * value_stride;
        dynq_error_sums sums;
        kernel->errors(&(dynq_error_block){columns, expected, actual, &sums});
        fold(&sums, columns);
        add_cosine(metrics, &sums);
        metrics->signal += sums.reference_square[0];
        metrics->noise += sums.error_square[0];
        metrics->abs_error += sums.error[0];
        metrics->pct_error += 100.0 * sums.relative_error[0];
        metrics->pct_elements += (uint64_t)columns - sums.zeros[0];
        if (sums.largest_error[0] > metrics->max_abs_error) {
            metrics->max_abs_error = sums.largest_error[0];
            metrics->max_abs_row = metrics->rows;
            metrics->max_abs_column =
                column_of_error(sums.largest_error[0], columns, expected, actual);
        }
        metrics->rows++;
    }
    metrics->elements += (uint64_t)rows * columns;
}

void dynq_metrics_add(dynq_metrics *metrics, size_t rows, size_t columns, const float *reference,
                      size_t reference_stride, const float *value, size_t value_stride)
{
    const bool many = columns > 0 && rows >= MANY_ELEMENTS / columns;
    dynq_metrics_add_with(dynq_kernel_best(many ? dynq_cpu_features() : 0), metrics, rows, columns,
                          reference, reference_stride, value, value_stride);
}

/* The column of the largest element, the first of equals. */
static size_t largest_column(const float *row, size_t columns)
{
    size_t largest = 0;
    for (size_t c = 1; c < columns; c++) {
        if (row[c] > row[largest]) {
            largest = c;
        }
    }
    return largest;
}

static double logit(float score, dynq_scores scores)
{
    return scores == DYNQ_SCORES_PROBABILITIES ? log(fmax((double)score, (double)FLT_MIN))
                                               : (double)score;
}

/* ln sum exp: what is taken from logits to make them logarithms of probabilities. The largest
 * logit is taken out first, so that nothing overflows. */
static double log_of_sum(const float *row, size_t columns, double largest, dynq_scores scores)
{
    double sum = 0.0;
    for (size_t c = 0; c < columns; c++) {
        sum += exp(logit(row[c], scores) - largest);
    }
    return largest + log(sum);
}

void dynq_metrics_add_classes(dynq_metrics *metrics, dynq_scores scores, size_t rows,
                              size_t columns, const float *reference, size_t reference_stride,
                              const float *value, size_t value_stride)
{
    if (columns == 0) {
        return;
    }
    reference_stride = reference_stride == 0 ? columns : reference_stride;
    value_stride = value_stride == 0 ? columns : value_stride;
    for (size_t r = 0; r < rows; r++) {
        const float *expected = reference + r * reference_stride;
        const float *actual = value + r * value_stride;
        const size_t right = largest_column(expected, columns);
        const size_t answer = largest_column(actual, columns);
        const double expected_sum =
            log_of_sum(expected, columns, logit(expected[right], scores), scores);
        const double actual_sum =
            log_of_sum(actual, columns, logit(actual[answer], scores), scores);
        double divergence = 0.0;
        for (size_t c = 0; c < columns; c++) {
            const double p = logit(expected[c], scores) - expected_sum;
            divergence += exp(p) * (p - (logit(actual[c], scores) - actual_sum));
        }
        divergence = fmax(divergence, 0.0); /* only rounding makes it less */
        metrics->top1_equal += right == answer;
        metrics->divergence_sum += divergence;
        metrics->divergence_max = fmax(metrics->divergence_max, divergence);
    }
    metrics->class_rows += rows;
}

static double mean(double sum, uint64_t count)
{
    return count > 0 ? sum / (double)count : (double)NAN;
}

static double signal_to_noise_db(const dynq_metrics *metrics)
{
    if (metrics->signal == 0.0) {
        return (double)NAN;
    }
    return metrics->noise == 0.0 ? (double)INFINITY
                                 : 10.0 * log10(metrics->signal / metrics->noise);
}

dynq_metrics_summary dynq_metrics_result(const dynq_metrics *metrics)
{
    return (dynq_metrics_summary){
        .sqnr_db = signal_to_noise_db(metrics),
        .cosine_mean = mean(metrics->cosine_sum, metrics->cosine_rows),
        .cosine_min = metrics->cosine_rows > 0 ? metrics->cosine_min : (double)NAN,
        .max_abs_error = metrics->max_abs_error,
        .mean_abs_error = mean(metrics->abs_error, metrics->elements),
        .mean_abs_pct_error = mean(metrics->pct_error, metrics->pct_elements),
        .top1_agreement = mean((double)metrics->top1_equal, metrics->class_rows),
        .divergence_mean = mean(metrics->divergence_sum, metrics->class_rows),
        .divergence_max = metrics->class_rows > 0 ? metrics->divergence_max : (double)NAN,
        .max_abs_row = metrics->max_abs_row,
        .max_abs_column = metrics->max_abs_column,
    };
}
