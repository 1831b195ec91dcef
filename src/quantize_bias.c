/* Bias correction (Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
 * Correction"): errors of weights times the mean input are the same in every row, so the bias can
 * take them away. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/pack.h"

#include <math.h>

/* The mean error of one output: of (code * scale - w) times the inputs whose sums over `rows` rows
 * are sum[k]. One fixed order of sums. */
static double mean_error(const dynq_node *node, size_t column, const float *w, const double *sum,
                         uint64_t rows)
{
    const size_t kpad = dynq_packed_k(node->k);
    const double scale = (double)node->weight_scale[column];
    double error = 0.0;
    for (size_t i = 0; i < node->k; i++) {
        const double restored = scale * dynq_packed_code(node->packed, kpad, column, i);
        error += (restored - (double)w[i]) * sum[i];
    }
    return error / (double)rows;
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
        bias[n] = (float)(before - mean_error(node, n, weight + n * node->k, view.sum, view.rows));
        if (!isfinite(bias[n])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                             "node '%s': its corrected bias overflows at column %zu", node->name,
                             n);
        }
    }
    node->bias = bias;
    return DYNQ_OK;
}
