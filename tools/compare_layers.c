#include "tools/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

double compare_error_pct(const evaluate_node *node)
{
    const double signal = node->metrics.signal;
    const double noise = node->metrics.noise;
    return signal > 0 ? 100 * sqrt(noise / signal) : NAN;
}

/* The largest error of one layer over the variants. */
static double worst_error(const comparison *self, size_t layer)
{
    double worst = 0;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_node *node =
            compare_node(&self->variants[v], self->results.inputs[layer].layer);
        if (node != NULL) {
            worst = fmax(worst, compare_error_pct(node));
        }
    }
    return worst;
}

static int compare_indices(const void *left, const void *right)
{
    const size_t a = *(const size_t *)left;
    const size_t b = *(const size_t *)right;
    return (a > b) - (a < b);
}

size_t compare_worst_layers(const comparison *self, size_t *layers, size_t limit)
{
    const size_t total = self->results.input_count;
    const size_t count = total < limit ? total : limit;
    double *errors = allocate(total, sizeof *errors);
    for (size_t i = 0; i < total; i++) {
        errors[i] = worst_error(self, i);
    }
    for (size_t taken = 0; taken < count; taken++) {
        size_t best = 0;
        for (size_t i = 1; i < total; i++) {
            best = errors[i] > errors[best] ? i : best;
        }
        layers[taken] = best;
        errors[best] = -1 - (double)taken; /* below what any layer has, and never chosen again */
    }
    free(errors);
    qsort(layers, count, sizeof *layers, compare_indices);
    return count;
}

/* The largest number over the smallest that is not 0. */
static double spread_of(const float *sizes, size_t count)
{
    float least = INFINITY, most = 0;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > 0) {
            least = fminf(least, sizes[i]);
            most = fmaxf(most, sizes[i]);
        }
    }
    return most > 0 ? (double)most / (double)least : 1;
}

static void measure_spreads(const dynq_model *model, size_t index, const dynq_node_info *node,
                            compare_layer *layer)
{
    float *weights = allocate(node->n * node->k, sizeof *weights);
    float *outputs = allocate(node->n, sizeof *outputs);
    float *inputs = allocate(node->k, sizeof *inputs);
    layer->output_spread = layer->input_spread = 1;
    if (dynq_model_weights(model, index, weights, node->n * node->k) == DYNQ_OK) {
        for (size_t n = 0; n < node->n; n++) {
            for (size_t k = 0; k < node->k; k++) {
                const float size = fabsf(weights[n * node->k + k]);
                outputs[n] = fmaxf(outputs[n], size);
                inputs[k] = fmaxf(inputs[k], size);
            }
        }
        layer->output_spread = spread_of(outputs, node->n);
        layer->input_spread = spread_of(inputs, node->k);
    }
    free(inputs);
    free(outputs);
    free(weights);
}

/* The linear layer that makes the value at `index`, seen through functions of single elements. */
static const char *find_producer(const dynq_model *model, size_t index)
{
    dynq_node_info node = {.size = sizeof node};
    while (dynq_model_node(model, index, &node) == DYNQ_OK) {
        switch (node.op) {
        case DYNQ_OP_LINEAR: return node.name;
        case DYNQ_OP_RELU:
        case DYNQ_OP_GELU:
        case DYNQ_OP_GELU_TANH:
        case DYNQ_OP_TANH:
        case DYNQ_OP_SIGMOID: index = node.inputs[0]; break;
        default: return NULL;
        }
    }
    return NULL;
}

size_t compare_list_layers(const comparison *self, compare_layer **layers)
{
    const dynq_model *model = self->variants[0].model;
    const evaluate_results *results = &self->results;
    compare_layer *all = allocate(results->input_count + 1, sizeof *all);
    for (size_t i = 0; i < results->input_count; i++) {
        dynq_node_info node = {.size = sizeof node};
        const long index = dynq_model_find(model, results->inputs[i].layer);
        all[i] = (compare_layer){.name = results->inputs[i].layer,
                                 .value = results->inputs[i].value,
                                 .output_spread = 1,
                                 .input_spread = 1,
                                 .seen = {.size = sizeof all[i].seen}};
        if (index >= 0 && dynq_model_node(model, (size_t)index, &node) == DYNQ_OK) {
            measure_spreads(model, (size_t)index, &node, &all[i]);
            all[i].producer = find_producer(model, node.inputs[0]);
        }
        if (results->seen == NULL ||
            dynq_calibration_summary(results->seen, all[i].value, &all[i].seen) != DYNQ_OK) {
            all[i].seen = (dynq_value_summary){.deviation = NAN,
                                               .kurtosis = NAN,
                                               .outlier_index = NAN,
                                               .zero_rows = NAN,
                                               .row_low = NAN,
                                               .row_high = NAN};
        }
    }
    *layers = all;
    return results->input_count;
}
