#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

const evaluate_node *compare_node(const evaluate_variant *variant, const char *name)
{
    for (size_t i = 0; i < variant->node_count; i++) {
        if (strcmp(variant->nodes[i].info.name, name) == 0) {
            return &variant->nodes[i];
        }
    }
    return NULL;
}

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

/* Noise over signal: what adds up from layer to layer. */
static double noise_share(const evaluate_node *node)
{
    const double percent = compare_error_pct(node);
    return isnan(percent) ? 0 : percent * percent;
}

int compare_blame(const evaluate_variant *variant, char *text, size_t size)
{
    const evaluate_node *worst = NULL, *grows = NULL;
    double growth = 0;
    for (size_t i = 0; i < variant->node_count; i++) {
        const evaluate_node *node = &variant->nodes[i];
        if (node->info.op != DYNQ_OP_LINEAR || !(noise_share(node) > 0)) {
            continue;
        }
        if (worst == NULL || noise_share(node) > noise_share(worst)) {
            worst = node;
        }
        const double before = node->input < 0 ? 0 : noise_share(&variant->nodes[node->input]);
        if (grows == NULL || noise_share(node) - before > growth) {
            growth = noise_share(node) - before;
            grows = node;
        }
    }
    if (worst == NULL) {
        return 0;
    }
    const double before = grows->input < 0 ? 0 : sqrt(noise_share(&variant->nodes[grows->input]));
    snprintf(text, size,
             "%s: largest error in %s (%.2f %%, SQNR %.1f dB); it grows most in %s (from %.2f to "
             "%.2f %%)",
             variant->name, worst->info.name, compare_error_pct(worst),
             dynq_metrics_result(&worst->metrics).sqnr_db, grows->info.name, before,
             compare_error_pct(grows));
    return 1;
}
