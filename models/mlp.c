#include "models/mlp.h"

#include <dynq/graph.h>
#include <stdio.h>
#include <string.h>

dynq_status mlp_build(size_t layers, const size_t *widths, const float *const *weights,
                      const float *const *biases, dynq_model **model, dynq_error *error)
{
    dynq_graph *graph = dynq_graph_create(NULL);
    if (graph == NULL) {
        if (error != NULL) {
            *error = (dynq_error){.status = DYNQ_ERR_MEMORY, .offset = DYNQ_NO_OFFSET};
            strcpy(error->message, "out of memory");
        }
        return DYNQ_ERR_MEMORY;
    }
    dynq_value value = dynq_input(graph, "image", widths[0]);
    for (size_t l = 0; l < layers; l++) {
        const size_t inputs = widths[l], outputs = widths[l + 1];
        const dynq_tensor weight = {
            .dtype = DYNQ_F32, .rank = 2, .shape = {outputs, inputs}, .data = weights[l]};
        const dynq_tensor bias = {
            .dtype = DYNQ_F32, .rank = 1, .shape = {outputs}, .data = biases[l]};
        char name[32];
        snprintf(name, sizeof name, "fc%zu", l + 1);
        value = dynq_linear(graph, name, value, &weight, &bias);
        if (l + 1 < layers) {
            snprintf(name, sizeof name, "act%zu", l + 1);
            value = dynq_relu(graph, name, value);
        }
    }
    dynq_output(graph, "logits", value);
    return dynq_graph_finish(graph, model, error);
}
