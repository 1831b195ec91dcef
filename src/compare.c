#include <dynq/compare.h>

#include <math.h>

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

static void add_errors(dynq_metrics *metrics, size_t columns, const float *reference,
                       const float *value)
{
    for (size_t c = 0; c < columns; c++) {
        const double expected = (double)reference[c];
        const double error = fabs((double)value[c] - expected);
        metrics->signal += expected * expected;
        metrics->noise += error * error;
        metrics->abs_error += error;
        metrics->max_abs_error = fmax(metrics->max_abs_error, error);
        if (expected != 0.0) {
            metrics->pct_error += 100.0 * error / fabs(expected);
            metrics->pct_elements++;
        }
    }
}

static void add_cosine(dynq_metrics *metrics, size_t columns, const float *reference,
                       const float *value)
{
    double product = 0.0, reference_square = 0.0, value_square = 0.0;
    for (size_t c = 0; c < columns; c++) {
        product += (double)reference[c] * (double)value[c];
        reference_square += (double)reference[c] * (double)reference[c];
        value_square += (double)value[c] * (double)value[c];
    }
    if (reference_square == 0.0 || value_square == 0.0) {
        return;
    }
    /* One root of the product, so that the cosine of a row with itself is exactly 1. */
    const double cosine = fmin(fmax(product / sqrt(reference_square * value_square), -1.0), 1.0);
    if (metrics->cosine_rows == 0 || cosine < metrics->cosine_min) {
        metrics->cosine_min = cosine;
    }
    metrics->cosine_sum += cosine;
    metrics->cosine_rows++;
}

void dynq_metrics_add(dynq_metrics *metrics, size_t rows, size_t columns, const float *reference,
                      size_t reference_stride, const float *value, size_t value_stride)
{
    if (columns == 0) {
        return;
    }
    reference_stride = reference_stride == 0 ? columns : reference_stride;
    value_stride = value_stride == 0 ? columns : value_stride;
    for (size_t r = 0; r < rows; r++) {
        const float *expected = reference + r * reference_stride,
                    *actual = value + r * value_stride;
        add_errors(metrics, columns, expected, actual);
        add_cosine(metrics, columns, expected, actual);
        metrics->top1_equal += largest_column(expected, columns) == largest_column(actual, columns);
    }
    metrics->rows += rows;
    metrics->elements += (uint64_t)rows * columns;
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
        .top1_agreement = mean((double)metrics->top1_equal, metrics->rows),
    };
}
