/* What a comparison sees of the nodes of one variant. */
#include "src/comparison.h"

#include <string.h>

void dynq_compared_add(const dynq_compared *variant, const dynq_compared_node *entry,
                       dynq_metrics *metrics, size_t rows, const float *values, size_t stride)
{
    const dynq_comparison *all = variant->comparison;
    const size_t columns = variant->model->nodes[entry->node].n;
    const float *expected = all->values[entry->reference];
    if (entry->scale == NULL) {
        dynq_metrics_add_with(all->kernel, metrics, rows, columns, expected, 0, values, stride);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            all->row[c] = values[r * stride + c] * entry->scale[c];
        }
        dynq_metrics_add_with(all->kernel, metrics, 1, columns, expected + r * columns, 0, all->row,
                              0);
    }
}

/* Static ranges and clipped dynamic ones have limits. */
static bool has_limits(const dynq_node *node)
{
    return node->op == DYNQ_OP_LINEAR && node->precision != DYNQ_PRECISION_FP32 &&
           node->range.hi > node->range.lo;
}

static uint64_t count_outside(size_t rows, size_t columns, const float *values, size_t stride,
                              float lo, float hi)
{
    uint64_t outside = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *row = values + r * stride;
        uint32_t count = 0;
        for (size_t c = 0; c < columns; c++) {
            count += (uint32_t)((row[c] < lo) | (row[c] > hi));
        }
        outside += count;
    }
    return outside;
}

static void add_outside(dynq_compared *variant, size_t value, size_t rows, const float *values,
                        size_t stride)
{
    const size_t columns = variant->model->nodes[value].n;
    for (size_t i = 0; i < variant->node_count; i++) {
        dynq_compared_node *entry = &variant->nodes[i];
        const dynq_node *node = &variant->model->nodes[entry->node];
        if (!has_limits(node) || node->inputs[0] != value) {
            continue;
        }
        entry->inputs += (uint64_t)rows * columns;
        if (entry->twin < 0) {
            entry->outside +=
                count_outside(rows, columns, values, stride, node->range.lo, node->range.hi);
        } else {
            entry->outside = variant->nodes[entry->twin].outside;
        }
    }
}

/* Keeps what the reference computes, for the variants and for statistics. */
static void keep(dynq_comparison *all, size_t index, size_t rows, const float *values,
                 size_t stride)
{
    const dynq_node *node = &all->variants[0].model->nodes[index];
    float *copy = all->values[index];
    for (size_t r = 0; r < rows && copy != NULL; r++) {
        memcpy(copy + r * node->n, values + r * stride, node->n * sizeof *copy);
    }
    if (all->status == DYNQ_OK) {
        all->status = dynq_calibration_observe(all->seen, node->name, rows, node->n, values, stride,
                                               all->error);
    }
}

static void observe(void *context, size_t index, size_t rows, size_t columns, const float *values,
                    size_t stride)
{
    dynq_compared *variant = context;
    dynq_comparison *all = variant->comparison;
    (void)columns;
    if (variant == all->variants) {
        keep(all, index, rows, values, stride);
    }
    if (variant->entry[index] >= 0) {
        dynq_compared_node *entry = &variant->nodes[variant->entry[index]];
        dynq_compared_add(variant, entry, &entry->chain, rows, values, stride);
    }
    add_outside(variant, index, rows, values, stride);
}

/* The node that smoothing inserted this one behind, or the node itself. */
static const dynq_node *before_smoothing(const dynq_model *model, const dynq_node *node)
{
    while (node->op == DYNQ_OP_SCALE && node->column_scale != NULL) {
        node = &model->nodes[node->inputs[0]];
    }
    return node;
}

/* Whether the node reads nothing but inputs of the model, so that no error reaches it. */
static bool reads_inputs_only(const dynq_model *model, const dynq_node *node)
{
    bool only = true;
    for (uint32_t i = 0; i < node->input_count; i++) {
        only = only && before_smoothing(model, &model->nodes[node->inputs[i]])->input_count == 0;
    }
    return only || node->op == DYNQ_OP_POSITION;
}

static long find_twin(const dynq_compared *variant, const dynq_node *node)
{
    for (size_t i = 0; i < variant->node_count && has_limits(node); i++) {
        const dynq_node *other = &variant->model->nodes[variant->nodes[i].node];
        if (has_limits(other) && other->inputs[0] == node->inputs[0] &&
            other->range.lo == node->range.lo && other->range.hi == node->range.hi) {
            return (long)i;
        }
    }
    return -1;
}

/* The node of the reference that is compared with this one, or -1. What smoothing inserted is
 * compared with what it reads. */
static long counterpart(const dynq_compared *variant, const dynq_node *node)
{
    const dynq_model *reference = variant->comparison->variants[0].model;
    const long twin = dynq_model_find(reference, before_smoothing(variant->model, node)->name);
    return twin >= 0 && reference->nodes[twin].input_count > 0 &&
                   reference->nodes[twin].n == node->n &&
                   reference->nodes[twin].domain == node->domain
               ? twin
               : -1;
}

dynq_status dynq_compared_list_nodes(dynq_compared *variant)
{
    const dynq_model *model = variant->model;
    const dynq_allocator *allocator = &variant->comparison->allocator;
    variant->entry = dynq_alloc(allocator, model->node_count, sizeof *variant->entry);
    variant->nodes = dynq_alloc(allocator, model->node_count, sizeof *variant->nodes);
    variant->taps = dynq_alloc(allocator, model->node_count, sizeof *variant->taps);
    if (variant->entry == NULL || variant->nodes == NULL || variant->taps == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        variant->entry[i] = -1;
        if (node->op != DYNQ_OP_IDS) {
            variant->taps[variant->tap_count++] =
                (dynq_tap){.node = node->name, .function = observe, .context = variant};
        }
        const long reference = node->input_count > 0 ? counterpart(variant, node) : -1;
        if (reference >= 0) {
            variant->entry[i] = (long)variant->node_count;
            variant->nodes[variant->node_count] = (dynq_compared_node){
                .node = i,
                .reference = (size_t)reference,
                .scale = model->nodes[i].column_scale,
                .own_is_chain = dynq_node_is_quantized(node) && reads_inputs_only(model, node),
                .twin = find_twin(variant, node),
                .group = -1};
            variant->node_count++;
        }
    }
    return DYNQ_OK;
}
