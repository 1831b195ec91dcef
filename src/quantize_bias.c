/* Bias correction (Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
 * Correction"): errors of weights times the mean input are in every row, so the bias can take them
 * away. Where they are the mean of a few large errors and of nothing elsewhere, as with inputs that
 * are outliers in some rows, that would put an error into all other rows. So the mean counts by its
 * share in the squared error. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/memory.h"

#include <math.h>

/* What the bias of one output takes away of the error that `restored` in the place of w makes over
 * the inputs of the calibration: mean * mean^2 / (mean^2 + variance), as if columns of inputs did
 * not depend on each other. One fixed order of sums. */
static double correction(size_t k, const float *w, const float *restored,
                         const dynq_column_view *inputs)
{
    const double rows = (double)inputs->rows;
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < k; i++) {
        const double error = (double)restored[i] - (double)w[i], input = inputs->sum[i] / rows;
        mean += error * input;
        variance += error * error * fmax(0.0, inputs->sum_of_squares[i] / rows - input * input);
    }
    const double square = mean * mean;
    return square > 0.0 ? mean * (square / (square + variance)) : 0.0;
}

/* The inputs of the layer, as the calibration has them. */
static dynq_status find_inputs(const dynq_weights_job *job, dynq_column_view *view,
                               dynq_error *error)
{
    const dynq_calibration *calibration = job->options->calibration;
    const dynq_node *node = job->node;
    if (calibration == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': correcting its bias needs a calibration; calibrate the model "
                         "on example data first",
                         node->name);
    }
    if (dynq_calibration_columns(calibration, job->input, view) != DYNQ_OK || view->rows == 0) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         "the calibration saw no row of value '%s'; calibrate this model with data",
                         job->input);
    }
    if (view->columns != node->k) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s' reads %zu columns, but the calibration has %zu of '%s': it is "
                         "of another model",
                         node->name, node->k, view->columns, job->input);
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize_correct_bias(const dynq_weights_job *job, dynq_error *error)
{
    dynq_node *node = job->node;
    dynq_column_view view = {.size = sizeof view};
    dynq_status status = find_inputs(job, &view, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_allocator *allocator = &job->model->allocator;
    float *bias = dynq_model_own(job->model, node->n, sizeof *bias);
    float *restored = dynq_alloc(allocator, node->k, sizeof *restored);
    if (bias == NULL || restored == NULL) {
        dynq_release(allocator, restored);
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a quantized model");
    }
    for (size_t n = 0; n < node->n && status == DYNQ_OK; n++) {
        const double before = node->bias == NULL ? 0.0 : (double)node->bias[n];
        dynq_node_dequantize(node, n, 1, restored);
        bias[n] = (float)(before - correction(node->k, job->weight + n * node->k, restored, &view));
        if (!isfinite(bias[n])) {
            status =
                dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                          "node '%s': its corrected bias overflows at column %zu", node->name, n);
        }
    }
    dynq_release(allocator, restored);
    node->bias = status == DYNQ_OK ? bias : node->bias;
    return status;
}
