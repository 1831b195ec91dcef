/* Variants of one model beside a reference. */
#include "src/comparison.h"

#include "src/error.h"
#include "src/kernel_choice.h"
#include "src/options.h"

#include <string.h>

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a comparison");
}

static dynq_status take_variant(dynq_comparison *self, const dynq_variant *given, size_t index,
                                dynq_error *error)
{
    dynq_variant variant;
    dynq_compared *compared = &self->variants[index];
    if (!dynq_options_copy(&variant, sizeof variant, given) || variant.model == NULL) {
        return dynq_fail(
            error, DYNQ_ERR_ARGUMENT,
            "comparison: variant %zu has no model, no size, or a field that is unknown "
            "to this version",
            index);
    }
    const dynq_model *model = variant.model;
    size_t output = 0;
    while (variant.output != NULL && output < model->output_count &&
           strcmp(model->outputs[output].name, variant.output) != 0) {
        output++;
    }
    if (output == model->output_count) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND, "comparison: variant %zu has no output '%s'",
                         index, variant.output);
    }
    *compared = (dynq_compared){.comparison = self,
                                .model = dynq_model_retain(variant.model),
                                .engine = variant.engine,
                                .scope = variant.scope,
                                .output = output};
    self->count++;
    return DYNQ_OK;
}

static dynq_status take_variants(dynq_comparison *self, const dynq_variant *variants, size_t count,
                                 dynq_error *error)
{
    self->variants = dynq_alloc(&self->allocator, count, sizeof *self->variants);
    if (self->variants == NULL) {
        return out_of_memory(error);
    }
    dynq_status status = DYNQ_OK;
    for (size_t v = 0; v < count && status == DYNQ_OK; v++) {
        status = take_variant(self, &variants[v], v, error);
    }
    return status;
}

static dynq_status list_inputs(dynq_comparison *self, dynq_error *error)
{
    const dynq_model *reference = self->variants[0].model;
    self->inputs = dynq_alloc(&self->allocator, reference->node_count, sizeof *self->inputs);
    self->bound = dynq_alloc(&self->allocator, reference->node_count, sizeof *self->bound);
    if (self->inputs == NULL || self->bound == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < reference->node_count; i++) {
        if (reference->nodes[i].input_count == 0) {
            self->inputs[self->input_count++] = i;
        }
    }
    return DYNQ_OK;
}

static dynq_status start(dynq_comparison *self, dynq_error *error)
{
    dynq_status status = dynq_kernel_choose(self->options.kernel, &self->kernel, error);
    if (status == DYNQ_OK && self->options.threads > 1) {
        const dynq_thread_pool_options pool = {
            .size = sizeof pool, .threads = self->options.threads, .allocator = &self->allocator};
        status = dynq_thread_pool_create(&pool, &self->pool, error);
    }
    if (status == DYNQ_OK) {
        status =
            dynq_calibration_create(self->variants[0].model, &self->allocator, &self->seen, error);
    }
    for (size_t v = 0; v < self->count && status == DYNQ_OK; v++) {
        status = dynq_compared_start(&self->variants[v], error);
    }
    return status == DYNQ_OK ? dynq_comparison_take_memory(self, error) : status;
}

/* Rows, segments and what the output holds, where the caller left them open. */
static void complete_options(dynq_comparison *self)
{
    dynq_comparison_options *o = &self->options;
    const dynq_compared *reference = self->variants;
    o->max_rows = o->max_rows == 0 ? 1 : o->max_rows;
    if (o->max_segments == 0 || o->max_segments > o->max_rows) {
        o->max_segments = o->max_rows;
    }
    if (o->scores == 0) {
        const uint32_t output = reference->model->outputs[reference->output].node;
        o->scores = reference->model->nodes[output].op == DYNQ_OP_SOFTMAX
                        ? DYNQ_SCORES_PROBABILITIES
                        : DYNQ_SCORES_LOGITS;
    }
}

dynq_status dynq_comparison_create(const dynq_variant *variants, size_t count,
                                   const dynq_comparison_options *options,
                                   dynq_comparison **comparison, dynq_error *error)
{
    dynq_comparison_options given;
    if (variants == NULL || count == 0 || comparison == NULL ||
        !dynq_options_copy(&given, sizeof given, options) ||
        given.scores > DYNQ_SCORES_PROBABILITIES) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "comparison: no variants, no place for the result, or bad options");
    }
    const dynq_allocator allocator = dynq_allocator_or_default(given.allocator);
    dynq_comparison *self = dynq_alloc(&allocator, 1, sizeof *self);
    if (self == NULL) {
        return out_of_memory(error);
    }
    self->allocator = allocator;
    self->options = given;
    dynq_status status = take_variants(self, variants, count, error);
    if (status == DYNQ_OK) {
        status = list_inputs(self, error);
    }
    if (status == DYNQ_OK) {
        complete_options(self);
        status = start(self, error);
    }
    if (status != DYNQ_OK) {
        dynq_comparison_free(self);
        return status;
    }
    *comparison = self;
    return DYNQ_OK;
}

void dynq_comparison_free(dynq_comparison *self)
{
    if (self == NULL) {
        return;
    }
    const dynq_allocator allocator = self->allocator;
    for (size_t i = 0; self->values != NULL && i < self->variants[0].model->node_count; i++) {
        dynq_release(&allocator, self->values[i]);
    }
    for (size_t v = 0; v < self->count; v++) {
        dynq_compared_stop(&self->variants[v]);
    }
    dynq_thread_pool_free(self->pool);
    dynq_calibration_free(self->seen);
    dynq_release(&allocator, self->values);
    dynq_release(&allocator, self->scratch);
    dynq_release(&allocator, self->row);
    dynq_release(&allocator, self->inputs);
    dynq_release(&allocator, self->bound);
    dynq_release(&allocator, self->variants);
    dynq_release(&allocator, self);
}

int dynq_comparison_slot(const dynq_comparison *self, const char *input)
{
    for (size_t i = 0; input != NULL && i < self->input_count; i++) {
        if (strcmp(self->variants[0].model->nodes[self->inputs[i]].name, input) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- results ---- */

const float *dynq_comparison_output(const dynq_comparison *self, size_t variant, size_t *rows,
                                    size_t *columns)
{
    if (variant >= self->count) {
        return NULL;
    }
    const dynq_compared *compared = &self->variants[variant];
    const dynq_node *node =
        &compared->model->nodes[compared->model->outputs[compared->output].node];
    if (rows != NULL) {
        *rows = dynq_comparison_batch_rows(self, node);
    }
    if (columns != NULL) {
        *columns = node->n;
    }
    return compared->result;
}

dynq_metrics dynq_comparison_metrics(const dynq_comparison *self, size_t variant)
{
    return variant < self->count ? self->variants[variant].metrics : (dynq_metrics){0};
}

size_t dynq_comparison_node_count(const dynq_comparison *self, size_t variant)
{
    return variant < self->count ? self->variants[variant].node_count : 0;
}

dynq_status dynq_comparison_get(const dynq_comparison *self, size_t variant, size_t index,
                                dynq_comparison_node *node)
{
    if (variant >= self->count || index >= self->variants[variant].node_count || node == NULL ||
        node->size < sizeof node->size) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_compared *compared = &self->variants[variant];
    const dynq_compared_node *entry = &compared->nodes[index];
    const bool own_is_chain = variant > 0 && entry->own_is_chain;
    const dynq_comparison_node full = {.name = compared->model->nodes[entry->node].name,
                                       .node = entry->node,
                                       .reference = entry->reference,
                                       .chain = entry->chain,
                                       .own = own_is_chain ? entry->chain : entry->own,
                                       .inputs = entry->inputs,
                                       .outside = entry->outside};
    dynq_result_copy(node, &full, sizeof full);
    return DYNQ_OK;
}

const dynq_calibration *dynq_comparison_seen(const dynq_comparison *self)
{
    return self->seen;
}
