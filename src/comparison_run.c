/* One batch through all variants of a comparison. */
#include "src/comparison.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/options.h"

/* Rows that begin at multiples of 64 bytes are written fastest. */
#define SCRATCH_STEP 16

size_t dynq_comparison_rows(const dynq_comparison *comparison, const dynq_node *node)
{
    return node->domain == DYNQ_DOMAIN_SEGMENTS ? comparison->options.max_segments
                                                : comparison->options.max_rows;
}

size_t dynq_comparison_batch_rows(const dynq_comparison *self, const dynq_node *node)
{
    const size_t segments = self->batch.segments == 0 ? 1 : self->batch.segments;
    return node->domain == DYNQ_DOMAIN_SEGMENTS ? segments : self->batch.rows;
}

/* The next part of the memory that sessions share, as they run one after the other. */
static float *take(float **scratch, size_t floats)
{
    float *taken = *scratch;
    *scratch += dynq_round_up(floats, SCRATCH_STEP);
    return taken;
}

/* Results of a group of isolated nodes and inputs that are scaled for them. */
static size_t group_floats(const dynq_comparison *all, const dynq_isolated_group *group)
{
    size_t floats = 0;
    for (size_t i = 0; i < group->model->node_count; i++) {
        const dynq_node *node = &group->model->nodes[i];
        if (i >= group->input_count || group->inputs[i].scale != NULL) {
            floats += dynq_round_up(dynq_comparison_rows(all, node) * node->n, SCRATCH_STEP);
        }
    }
    return floats;
}

/* What a variant needs at one time: outputs that are not compared, or a group of isolated nodes. */
static size_t scratch_floats(const dynq_compared *variant)
{
    const dynq_comparison *all = variant->comparison;
    size_t most = 0;
    for (size_t i = 0; i < variant->model->output_count; i++) {
        const dynq_node *node = &variant->model->nodes[variant->model->outputs[i].node];
        most += dynq_round_up(dynq_comparison_rows(all, node) * node->n, SCRATCH_STEP);
    }
    for (size_t i = 0; i < variant->group_count; i++) {
        const size_t floats = group_floats(all, &variant->groups[i]);
        most = floats > most ? floats : most;
    }
    return most;
}

dynq_status dynq_comparison_take_memory(dynq_comparison *self, dynq_error *error)
{
    const dynq_model *reference = self->variants[0].model;
    size_t scratch = 0, widest = 0;
    for (size_t v = 0; v < self->count; v++) {
        const size_t floats = scratch_floats(&self->variants[v]);
        scratch = floats > scratch ? floats : scratch;
        for (size_t i = 0; i < self->variants[v].model->node_count; i++) {
            const size_t n = self->variants[v].model->nodes[i].n;
            widest = n > widest ? n : widest;
        }
    }
    self->scratch = dynq_alloc(&self->allocator, scratch, sizeof *self->scratch);
    self->row = dynq_alloc(&self->allocator, widest, sizeof *self->row);
    self->values = dynq_alloc(&self->allocator, reference->node_count, sizeof *self->values);
    bool complete = self->scratch != NULL && self->row != NULL && self->values != NULL;
    for (size_t i = 0; complete && i < reference->node_count; i++) {
        const dynq_node *node = &reference->nodes[i];
        if (node->input_count > 0) {
            self->values[i] =
                dynq_alloc(&self->allocator, dynq_comparison_rows(self, node) * node->n,
                           sizeof *self->values[i]);
            complete = self->values[i] != NULL;
        }
    }
    return complete ? DYNQ_OK : dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a comparison");
}

/* ---- runs ---- */

static dynq_status run_together(dynq_compared *variant, const dynq_binding *const *inputs,
                                dynq_error *error)
{
    dynq_comparison *all = variant->comparison;
    const dynq_model *model = variant->model;
    float *scratch = all->scratch;
    for (size_t i = 0; i < all->input_count; i++) {
        const int slot = variant->bindings[i].slot;
        variant->bindings[i] = *inputs[i];
        variant->bindings[i].slot = slot;
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const dynq_node *node = &model->nodes[model->outputs[i].node];
        const size_t floats = dynq_comparison_batch_rows(all, node) * node->n;
        dynq_binding *binding = &variant->bindings[all->input_count + i];
        binding->data = i == variant->output ? variant->result : take(&scratch, floats);
        binding->bytes = floats * sizeof(float);
    }
    const dynq_status status = dynq_session_run(variant->session, &all->batch, variant->bindings,
                                                all->input_count + model->output_count, error);
    return status == DYNQ_OK ? all->status : status;
}

static void add_output(dynq_compared *variant)
{
    const dynq_comparison *all = variant->comparison;
    const dynq_node *node = &variant->model->nodes[variant->model->outputs[variant->output].node];
    const size_t rows = dynq_comparison_batch_rows(all, node);
    const float *expected = all->variants[0].result;
    dynq_metrics_add_with(all->kernel, &variant->metrics, rows, node->n, expected, 0,
                          variant->result, 0);
    dynq_metrics_add_classes(&variant->metrics, all->options.scores, rows, node->n, expected, 0,
                             variant->result, 0);
}

/* The values of the reference as the variant has them: its columns may be scaled. */
static float *scaled(const float *values, size_t rows, size_t columns, const float *scale,
                     float *to)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            to[r * columns + c] = values[r * columns + c] / scale[c];
        }
    }
    return to;
}

static void bind_group(dynq_comparison *all, dynq_isolated_group *group,
                       const dynq_binding *const *inputs)
{
    const dynq_model *model = group->model;
    float *scratch = all->scratch;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        const size_t rows = dynq_comparison_batch_rows(all, node);
        const int slot = group->bindings[i].slot;
        dynq_binding binding = {.bytes = rows * node->n * sizeof(float)};
        if (i >= group->input_count) {
            binding.data = take(&scratch, rows * node->n);
        } else if (group->inputs[i].slot >= 0) {
            binding = *inputs[group->inputs[i].slot];
        } else {
            const dynq_isolated_input *input = &group->inputs[i];
            binding.data = all->values[input->reference];
            if (input->scale != NULL) {
                binding.data = scaled(binding.data, rows, node->n, input->scale,
                                      take(&scratch, rows * node->n));
            }
        }
        binding.slot = slot;
        group->bindings[i] = binding;
    }
}

static void add_group(dynq_compared *variant, size_t index)
{
    const dynq_comparison *all = variant->comparison;
    const dynq_isolated_group *group = &variant->groups[index];
    for (size_t i = 0; i < variant->node_count; i++) {
        dynq_compared_node *entry = &variant->nodes[i];
        if (entry->group == (long)index) {
            const dynq_node *node = &variant->model->nodes[entry->node];
            dynq_compared_add(variant, entry, &entry->own, dynq_comparison_batch_rows(all, node),
                              group->bindings[group->input_count + entry->isolated].data, node->n);
        }
    }
}

static dynq_status run_alone(dynq_compared *variant, const dynq_binding *const *inputs,
                             dynq_error *error)
{
    dynq_comparison *all = variant->comparison;
    dynq_status status = DYNQ_OK;
    for (size_t g = 0; g < variant->group_count && status == DYNQ_OK; g++) {
        dynq_isolated_group *group = &variant->groups[g];
        status = dynq_compared_open_group(variant, group, error);
        if (status == DYNQ_OK) {
            bind_group(all, group, inputs);
            status = dynq_session_run(group->session, &all->batch, group->bindings,
                                      group->model->node_count, error);
        }
        dynq_compared_close(&group->session);
        if (status == DYNQ_OK) {
            add_group(variant, g);
        }
    }
    return status;
}

/* ---- a batch ---- */

/* The binding of every input, by slot. */
static dynq_status sort_bindings(const dynq_comparison *self, const dynq_binding *bindings,
                                 size_t count, const dynq_binding **inputs, dynq_error *error)
{
    for (size_t i = 0; i < self->input_count; i++) {
        inputs[i] = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        const int slot = bindings[i].slot;
        if (slot < 0 || (size_t)slot >= self->input_count || inputs[slot] != NULL) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "comparison: slot %d is bound twice, or there is none", slot);
        }
        inputs[slot] = &bindings[i];
    }
    for (size_t i = 0; i < self->input_count; i++) {
        if (inputs[i] == NULL) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "comparison: input '%s' is not bound",
                             self->variants[0].model->nodes[self->inputs[i]].name);
        }
    }
    return DYNQ_OK;
}

static dynq_status run_all(dynq_comparison *self, const dynq_binding *const *inputs,
                           dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    for (size_t v = 0; v < self->count && status == DYNQ_OK; v++) {
        dynq_compared *variant = &self->variants[v];
        status = dynq_compared_open(variant, error);
        if (status == DYNQ_OK) {
            status = run_together(variant, inputs, error);
        }
        dynq_compared_close(&variant->session);
        if (status == DYNQ_OK) {
            add_output(variant);
            status = run_alone(variant, inputs, error);
        }
    }
    return status;
}

dynq_status dynq_comparison_run(dynq_comparison *self, const dynq_batch *batch,
                                const dynq_binding *bindings, size_t binding_count,
                                dynq_error *error)
{
    if (self == NULL || batch == NULL || (bindings == NULL && binding_count > 0) ||
        !dynq_options_copy(&self->batch, sizeof self->batch, batch)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "comparison: NULL, or a batch of another version");
    }
    if (self->batch.rows > self->options.max_rows ||
        self->batch.segments > self->options.max_segments) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "comparison: %zu rows and %zu segments; it was made for %zu and %zu",
                         self->batch.rows, self->batch.segments, self->options.max_rows,
                         self->options.max_segments);
    }
    const dynq_status status = sort_bindings(self, bindings, binding_count, self->bound, error);
    if (status != DYNQ_OK) {
        return status;
    }
    self->status = DYNQ_OK;
    self->error = error;
    /* Sums are the same whatever the caller's rounding is. */
    const dynq_float_state state = dynq_float_state_set_default();
    const dynq_status ran = run_all(self, self->bound, error);
    dynq_float_state_restore(state);
    return ran;
}
