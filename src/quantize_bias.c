/* Bias correction (Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
 * Correction"): errors of weights times the mean input are in every row, so the bias can take them
 * away. Where they are the mean of a few large errors and of nothing elsewhere, as with inputs that
 * are outliers in some rows, that would put an error into all other rows. So the mean counts by its
 * share in the squared error. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/pack.h"

#include <math.h>

/* What the bias of one output takes away of the error that (code * scale - w) makes over the inputs
 * of the calibration: mean * mean^2 / (mean^2 + variance), as if columns of inputs did not depend
 * on each other. One fixed order of sums. */
static double correction(const dynq_node *node, size_t column, const float *w,
                         const dynq_column_view *inputs)
{
    const size_t kpad = dynq_packed_k(node->k);
    const double scale = (double)node->weight_scale[column], rows = (double)inputs->rows;
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < node->k; i++) {
        const double restored = scale * dynq_packed_code(node->packed, kpad, column, i);
        const double error = restored - (double)w[i], input = inputs->sum[i] / rows;
        mean += error * input;
        variance += error * error * fmax(0.0, inputs->sum_of_squares[i] / rows - input * input);
    }
    const double square = mean * mean;
    return square > 0.0 ? mean * (square / (square + variance)) : 0.0;
}

dynq_status dynq_quantize_correct_bias(dynq_model *model, dynq_node *node, const float *weight,
                                       const dynq_calibration *calibration, const char *input,
                                       dynq_error *error)
{
    if (calibration == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': correcting its bias needs a calibration; calibrate the model "
                         "on example data first",
                         node->name);
    }
    dynq_column_view view = {.size = sizeof view};
    if (dynq_calibration_columns(calibration, input, &view) != DYNQ_OK || view.rows == 0) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         "the calibration saw no row of value '%s'; calibrate this model with data",
                         input);
    }
    if (view.columns != node->k) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s' reads %zu columns, but the calibration has %zu of '%s': it is "
                         "of another model",
                         node->name, node->k, view.columns, input);
    }
    float *bias = dynq_model_own(model, node->n, sizeof *bias);
    if (bias == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a quantized model");
    }
    for (size_t n = 0; n < node->n; n++) {
        const double before = node->bias == NULL ? 0.0 : (double)node->bias[n];
        bias[n] = (float)(before - correction(node, n, weight + n * node->k, &view));
        if (!isfinite(bias[n])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                             "node '%s': its corrected bias overflows at column %zu", node->name,
                             n);
        }
    }
    node->bias = bias;
    return DYNQ_OK;
}
