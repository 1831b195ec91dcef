#include "tools/compare_advice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Trained layers have spreads up to a hundred or so; of each model most layers are alike. */
#define LEAST_SPREAD        300.0
#define TIMES_OTHER_SPREADS 10.0

const evaluate_node *compare_node(const evaluate_variant *variant, const char *name)
{
    for (size_t i = 0; i < variant->node_count; i++) {
        if (strcmp(variant->nodes[i].info.name, name) == 0) {
            return &variant->nodes[i];
        }
    }
    return NULL;
}

const evaluate_node *compare_first_below(const evaluate_variant *variant, double limit_db)
{
    for (size_t i = 0; i < variant->node_count; i++) {
        if (dynq_metrics_result(&variant->nodes[i].metrics).sqnr_db < limit_db) {
            return &variant->nodes[i];
        }
    }
    return NULL;
}

/* Noise over signal of the node alone. */
static double own_noise(const evaluate_node *node)
{
    return node->own.rows > 0 && node->own.signal > 0 ? node->own.noise / node->own.signal : 0;
}

static double spread_of(const compare_layer *layer, compare_cause cause)
{
    return cause == COMPARE_CAUSE_OUTPUTS ? layer->output_spread : layer->input_spread;
}

/* How many of the other layers have less than a tenth of a layer's spread. */
static int stands_out(const compare_layer *layers, size_t count, size_t index, compare_cause cause)
{
    const double spread = spread_of(&layers[index], cause);
    size_t smaller = 0;
    for (size_t i = 0; i < count; i++) {
        smaller += i != index && spread_of(&layers[i], cause) * TIMES_OTHER_SPREADS < spread;
    }
    return spread > LEAST_SPREAD && 2 * smaller + 1 >= count;
}

/* The layer with the largest own error of those that read the result of `name`. */
static const char *worst_reader(const evaluate_variant *variant, const compare_layer *layers,
                                size_t count, const char *name)
{
    const char *worst = NULL;
    double most = -1;
    for (size_t i = 0; i < count; i++) {
        const evaluate_node *node = compare_node(variant, layers[i].name);
        if (layers[i].producer != NULL && strcmp(layers[i].producer, name) == 0 && node != NULL &&
            own_noise(node) > most) {
            most = own_noise(node);
            worst = layers[i].name;
        }
    }
    return worst;
}

static void find_cause(const evaluate_variant *variant, const compare_layer *layers, size_t count,
                       compare_guilt *guilt)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(layers[i].name, guilt->node->info.name) != 0) {
            continue;
        }
        if (stands_out(layers, count, i, COMPARE_CAUSE_OUTPUTS)) {
            guilt->cause = COMPARE_CAUSE_OUTPUTS;
            guilt->spread = layers[i].output_spread;
            guilt->reader = worst_reader(variant, layers, count, layers[i].name);
        } else if (stands_out(layers, count, i, COMPARE_CAUSE_INPUTS)) {
            guilt->cause = COMPARE_CAUSE_INPUTS;
            guilt->spread = layers[i].input_spread;
        }
    }
}

/* Where an output of one layer is undone by the input of the next, the first is what was done. */
static int rank(const compare_guilt *guilt)
{
    return guilt->cause == COMPARE_CAUSE_OUTPUTS ? 2 : guilt->cause == COMPARE_CAUSE_INPUTS ? 1 : 0;
}

static int compare_guilts(const void *left, const void *right)
{
    const compare_guilt *a = left;
    const compare_guilt *b = right;
    if (rank(a) != rank(b)) {
        return rank(b) - rank(a);
    }
    if (a->share != b->share) {
        return a->share < b->share ? 1 : -1;
    }
    return (a->node > b->node) - (a->node < b->node);
}

size_t compare_find_guilty(const evaluate_variant *variant, const compare_layer *layers,
                           size_t layer_count, compare_guilt *guilty)
{
    size_t count = 0;
    double sum = 0;
    for (size_t i = 0; i < variant->node_count; i++) {
        const evaluate_node *node = &variant->nodes[i];
        if (node->own.rows > 0) {
            guilty[count] = (compare_guilt){.node = node, .cause = COMPARE_CAUSE_ERROR};
            find_cause(variant, layers, layer_count, &guilty[count++]);
            sum += own_noise(node);
        }
    }
    for (size_t i = 0; i < count; i++) {
        guilty[i].share = sum > 0 ? own_noise(guilty[i].node) / sum : 0;
    }
    if (count > 0) {
        qsort(guilty, count, sizeof *guilty, compare_guilts);
    }
    return count;
}

void compare_guilt_text(const compare_guilt *guilt, char *text, size_t size)
{
    const char *name = guilt->node->info.name;
    char error[80], why[700] = "";
    snprintf(error, sizeof error, "(own error %.1f dB, %.0f %% of the noise)",
             dynq_metrics_result(&guilt->node->own).sqnr_db, 100 * guilt->share);
    if (guilt->cause == COMPARE_CAUSE_OUTPUTS && guilt->reader != NULL) {
        snprintf(why, sizeof why,
                 ": the weights of its outputs differ %.2g times in size, and %s, which reads them "
                 "with one range, loses the small ones",
                 guilt->spread, guilt->reader);
    } else if (guilt->cause == COMPARE_CAUSE_OUTPUTS) {
        snprintf(why, sizeof why, ": the weights of its outputs differ %.2g times in size",
                 guilt->spread);
    } else if (guilt->cause == COMPARE_CAUSE_INPUTS) {
        snprintf(why, sizeof why,
                 ": the weights of its inputs differ %.2g times in size, and each output has one "
                 "scale for all of them",
                 guilt->spread);
    }
    snprintf(text, size, "%s %s%s", name, error, why);
}
