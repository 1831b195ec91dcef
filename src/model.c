#include "src/model.h"

#include "src/error.h"
#include "src/options.h"
#include "src/pack.h"

#include <string.h>

const char *dynq_op_name(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_INPUT: return "input";
    case DYNQ_OP_LINEAR: return "linear";
    case DYNQ_OP_RELU: return "relu";
    case DYNQ_OP_GELU: return "gelu";
    case DYNQ_OP_TANH: return "tanh";
    case DYNQ_OP_SIGMOID: return "sigmoid";
    case DYNQ_OP_ADD: return "add";
    case DYNQ_OP_MUL: return "mul";
    case DYNQ_OP_SOFTMAX: return "softmax";
    case DYNQ_OP_LAYER_NORM: return "layer_norm";
    }
    return NULL;
}

const char *dynq_precision_name(dynq_precision precision)
{
    switch (precision) {
    case DYNQ_PRECISION_FP32: return "fp32";
    case DYNQ_PRECISION_INT8: return "int8";
    }
    return NULL;
}

const char *dynq_range_kind_name(dynq_range_kind kind)
{
    switch (kind) {
    case DYNQ_RANGE_DYNAMIC: return "dynamic";
    case DYNQ_RANGE_STATIC: return "static";
    }
    return NULL;
}

const char *dynq_scope_name(dynq_scope scope)
{
    switch (scope) {
    case DYNQ_SCOPE_SEGMENT: return "segment";
    case DYNQ_SCOPE_TENSOR: return "tensor";
    case DYNQ_SCOPE_ROW: return "row";
    }
    return NULL;
}

const char *dynq_scheme_name(dynq_scheme scheme)
{
    switch (scheme) {
    case DYNQ_SCHEME_AFFINE: return "affine";
    case DYNQ_SCHEME_SYMMETRIC: return "symmetric";
    }
    return NULL;
}

dynq_model *dynq_model_new(const dynq_allocator *allocator)
{
    const dynq_allocator from = dynq_allocator_or_default(allocator);
    dynq_model *model = dynq_alloc(&from, 1, sizeof *model);
    if (model == NULL) {
        return NULL;
    }
    model->allocator = from;
    atomic_init(&model->references, 1);
    return model;
}

dynq_node *dynq_model_add_node(dynq_model *model, const char *name, dynq_op op)
{
    dynq_node *nodes = dynq_grow(&model->allocator, model->nodes, model->node_count,
                                 model->node_count + 1, sizeof *nodes, &model->node_capacity);
    if (nodes == NULL) {
        return NULL;
    }
    model->nodes = nodes;
    char *copy = dynq_alloc_string(&model->allocator, name);
    if (copy == NULL) {
        return NULL;
    }
    dynq_node *node = &nodes[model->node_count++];
    *node = (dynq_node){.name = copy, .op = op};
    return node;
}

dynq_status dynq_model_add_output(dynq_model *model, const char *name, uint32_t node)
{
    dynq_model_output_entry *outputs =
        dynq_grow(&model->allocator, model->outputs, model->output_count, model->output_count + 1,
                  sizeof *outputs, &model->output_capacity);
    if (outputs == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    model->outputs = outputs;
    char *copy = dynq_alloc_string(&model->allocator, name);
    if (copy == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    outputs[model->output_count++] = (dynq_model_output_entry){.name = copy, .node = node};
    return DYNQ_OK;
}

void *dynq_model_own(dynq_model *model, size_t count, size_t size)
{
    void **owned = dynq_grow(&model->allocator, model->owned, model->owned_count,
                             model->owned_count + 1, sizeof *owned, &model->owned_capacity);
    if (owned == NULL) {
        return NULL;
    }
    model->owned = owned;
    void *block = dynq_alloc(&model->allocator, count, size);
    if (block != NULL) {
        owned[model->owned_count++] = block;
    }
    return block;
}

dynq_model *dynq_model_retain(dynq_model *model)
{
    if (model != NULL) {
        atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    }
    return model;
}

void dynq_model_free(dynq_model *model)
{
    if (model == NULL ||
        atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    const dynq_allocator allocator = model->allocator;
    for (size_t i = 0; i < model->node_count; i++) {
        dynq_release(&allocator, model->nodes[i].name);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        dynq_release(&allocator, model->outputs[i].name);
    }
    for (size_t i = 0; i < model->owned_count; i++) {
        dynq_release(&allocator, model->owned[i]);
    }
    dynq_release(&allocator, model->nodes);
    dynq_release(&allocator, model->outputs);
    dynq_release(&allocator, model->owned);
    dynq_file_close(&model->file, &allocator);
    dynq_release(&allocator, model);
}

size_t dynq_model_node_count(const dynq_model *model)
{
    return model->node_count;
}

static uint64_t node_parameters(const dynq_node *node)
{
    switch (node->op) {
    case DYNQ_OP_LINEAR: return (uint64_t)node->n * (node->k + (node->bias != NULL ? 1 : 0));
    case DYNQ_OP_LAYER_NORM: return 2 * (uint64_t)node->n;
    default: return 0;
    }
}

static uint64_t node_bytes(const dynq_node *node)
{
    if (node->packed == NULL) {
        return sizeof(float) * node_parameters(node);
    }
    const size_t per_column = sizeof *node->weight_scale + sizeof *node->weight_sum +
                              (node->bias != NULL ? sizeof *node->bias : 0);
    return (uint64_t)dynq_packed_s8_bytes(node->k, node->n) + (uint64_t)node->n * per_column;
}

dynq_status dynq_model_node(const dynq_model *model, size_t index, dynq_node_info *info)
{
    if (model == NULL || index >= model->node_count || info == NULL ||
        info->size < sizeof info->size) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_node *node = &model->nodes[index];
    const dynq_node_info full = {
        .name = node->name,
        .op = node->op,
        .input_count = node->input_count,
        .inputs = {node->inputs[0], node->inputs[1]},
        .k = node->k,
        .n = node->n,
        .has_bias = node->op == DYNQ_OP_LINEAR && node->bias != NULL,
        .precision = node->op == DYNQ_OP_LINEAR ? node->precision : DYNQ_PRECISION_FP32,
        .range = node->range,
        .parameters = node_parameters(node),
        .weight_bytes = node_bytes(node),
        .epsilon = node->epsilon,
    };
    dynq_result_copy(info, &full, sizeof full);
    return DYNQ_OK;
}

long dynq_model_find(const dynq_model *model, const char *name)
{
    for (size_t i = 0; name != NULL && i < model->node_count; i++) {
        if (strcmp(model->nodes[i].name, name) == 0) {
            return (long)i;
        }
    }
    return -1;
}

size_t dynq_model_output_count(const dynq_model *model)
{
    return model->output_count;
}

dynq_status dynq_model_output(const dynq_model *model, size_t index, const char **name,
                              size_t *node)
{
    if (model == NULL || index >= model->output_count) {
        return DYNQ_ERR_ARGUMENT;
    }
    if (name != NULL) {
        *name = model->outputs[index].name;
    }
    if (node != NULL) {
        *node = model->outputs[index].node;
    }
    return DYNQ_OK;
}

dynq_status dynq_model_weights(const dynq_model *model, size_t index, float *weights,
                               size_t capacity)
{
    if (model == NULL || weights == NULL || index >= model->node_count ||
        model->nodes[index].op != DYNQ_OP_LINEAR) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_node *node = &model->nodes[index];
    const size_t count = node->n * node->k;
    if (capacity < count) {
        return DYNQ_ERR_LIMIT;
    }
    if (node->precision == DYNQ_PRECISION_INT8) {
        dynq_dequantize_s8(node->packed, node->weight_scale, node->k, 0, node->n, weights);
    } else {
        memcpy(weights, node->weight, count * sizeof *weights);
    }
    return DYNQ_OK;
}
