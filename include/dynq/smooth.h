/* Smoothing: outliers of activations moved into weights, before quantizing. */
#ifndef DYNQ_SMOOTH_H
#define DYNQ_SMOOTH_H

#include <dynq/calibration.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dynq_smooth_options {
    size_t size;  /* sizeof(dynq_smooth_options) */
    double alpha; /* how much of an outlier moves into the weights, above 0 and below 1; 0: the best
                   * for each group of layers, searched */
    const dynq_allocator *allocator; /* of the new model */
} dynq_smooth_options;

/* Makes an FP32 model with the same answers whose linear layers read values without outliers:
 * column j of what they read is divided by s_j = max|x_j|^alpha / max|w_j|^(1 - alpha), their
 * weights are multiplied by it, and the division is folded into the node that makes the value, so
 * that it costs nothing when the model runs (SmoothQuant: Xiao et al., 2022). `options` may be
 * NULL. `model` is not changed and may be freed afterwards. Errors: DYNQ_ERR_ARGUMENT (quantized
 * already, alpha), DYNQ_ERR_NOT_FOUND (a value without calibration data), DYNQ_ERR_NOT_FINITE,
 * DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_smooth(const dynq_model *model, const dynq_calibration *calibration,
                                 const dynq_smooth_options *options, dynq_model **smoothed,
                                 dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
