/* Multilayer perceptrons, with the public API only. */
#ifndef DYNQ_MODELS_MLP_H
#define DYNQ_MODELS_MLP_H

#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>

/* Makes the FP32 model image -> fc1 -> act1 (relu) -> fc2 -> ... -> fcN, output "logits": `layers`
 * (1 or more) linear layers with ReLU between them. Layer l, from 0, has weights[l]
 * [widths[l + 1]][widths[l]] and biases[l] [widths[l + 1]], borrowed for the call. On success
 * *model holds one reference, the caller's. Errors: those of dynq_graph_finish(). */
dynq_status mlp_build(size_t layers, const size_t *widths, const float *const *weights,
                      const float *const *biases, dynq_model **model, dynq_error *error);

#endif
