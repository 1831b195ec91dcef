/* What a model tells about itself. */
#include "src/model.h"

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
    case DYNQ_OP_IDS: return "ids";
    case DYNQ_OP_EMBEDDING: return "embedding";
    case DYNQ_OP_POSITION: return "position_embedding";
    case DYNQ_OP_GELU_TANH: return "gelu_tanh";
    case DYNQ_OP_ATTENTION: return "attention";
    case DYNQ_OP_POOL: return "pool";
    case DYNQ_OP_NORMALIZE: return "normalize";
    case DYNQ_OP_SCALE: return "scale";
    }
    return NULL;
}

const char *dynq_precision_name(dynq_precision precision)
{
    switch (precision) {
    case DYNQ_PRECISION_FP32: return "fp32";
    case DYNQ_PRECISION_INT8: return "int8";
    case DYNQ_PRECISION_INT16: return "int16";
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

const char *dynq_domain_name(dynq_domain domain)
{
    switch (domain) {
    case DYNQ_DOMAIN_TOKENS: return "tokens";
    case DYNQ_DOMAIN_SEGMENTS: return "segments";
    }
    return NULL;
}

const char *dynq_pooling_name(dynq_pooling pooling)
{
    switch (pooling) {
    case DYNQ_POOL_MEAN: return "mean";
    case DYNQ_POOL_CLS: return "cls";
    case DYNQ_POOL_MAX: return "max";
    }
    return NULL;
}

const char *dynq_levels_name(dynq_levels levels)
{
    switch (levels) {
    case DYNQ_LEVELS_UNIFORM: return "uniform";
    case DYNQ_LEVELS_LOG: return "log";
    case DYNQ_LEVELS_CLUSTERS: return "clusters";
    case DYNQ_LEVELS_AFFINE: return "affine";
    }
    return NULL;
}

const char *dynq_table_scope_name(dynq_table_scope scope)
{
    switch (scope) {
    case DYNQ_TABLE_PER_TENSOR: return "tensor";
    case DYNQ_TABLE_PER_PANEL: return "panel";
    }
    return NULL;
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
    case DYNQ_OP_SCALE: return node->n;
    case DYNQ_OP_EMBEDDING:
    case DYNQ_OP_POSITION: return (uint64_t)node->table_rows * node->n;
    default: return 0;
    }
}

static uint64_t node_bytes(const dynq_node *node)
{
    if (node->table_codes != NULL) {
        return (uint64_t)node->table_rows * (node->n + sizeof *node->weight_scale);
    }
    if (node->packed == NULL) {
        return sizeof(float) * node_parameters(node);
    }
    const size_t per_column = (node->weight_scale != NULL ? sizeof *node->weight_scale : 0) +
                              (node->weight_sum != NULL ? sizeof *node->weight_sum : 0) +
                              (node->bias != NULL ? sizeof *node->bias : 0);
    return (uint64_t)dynq_node_packed_bytes(node) + (uint64_t)node->n * per_column +
           (uint64_t)dynq_node_tables(node) * dynq_node_table_levels(node);
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
        .inputs = {node->inputs[0], node->inputs[1], node->inputs[2]},
        .k = node->k,
        .n = node->n,
        .has_bias = node->op == DYNQ_OP_LINEAR && node->bias != NULL,
        .precision = dynq_op_has_precision(node->op) ? node->precision : DYNQ_PRECISION_FP32,
        .range = node->range,
        .parameters = node_parameters(node),
        .weight_bytes = node_bytes(node),
        .epsilon = node->epsilon,
        .domain = node->domain,
        .table_rows = node->table_rows,
        .first = node->first,
        .heads = node->heads,
        .causal = node->causal,
        .scale = node->scale,
        .pooling = node->pooling,
        .weight_format = node->weight_format,
        .weight_group = node->weight_group,
        .weight_levels = node->weight_levels,
        .table_scope = node->table_scope,
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
    if (model == NULL || weights == NULL || index >= model->node_count) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_node *node = &model->nodes[index];
    const bool table = dynq_op_has_table(node->op);
    if (!table && node->op != DYNQ_OP_LINEAR) {
        return DYNQ_ERR_ARGUMENT;
    }
    const size_t count = node->n * (table ? node->table_rows : node->k);
    if (capacity < count) {
        return DYNQ_ERR_LIMIT;
    }
    if (!table) {
        dynq_node_dequantize(node, 0, node->n, weights);
    } else if (node->precision == DYNQ_PRECISION_FP32) {
        memcpy(weights, node->weight, count * sizeof *weights);
    } else {
        dynq_dequantize_rows_s8(node->table_codes, node->weight_scale, node->n, 0, node->table_rows,
                                weights);
    }
    return DYNQ_OK;
}

const float *dynq_model_column_scale(const dynq_model *model, size_t index)
{
    return model != NULL && index < model->node_count ? model->nodes[index].column_scale : NULL;
}

dynq_status dynq_model_attachment(const dynq_model *model, const char *name, const void **bytes,
                                  size_t *size)
{
    for (size_t i = 0; model != NULL && name != NULL && i < model->attachment_count; i++) {
        const dynq_model_attachment_entry *attachment = &model->attachments[i];
        if (strcmp(attachment->name, name) == 0) {
            if (bytes != NULL) {
                *bytes = attachment->bytes;
            }
            if (size != NULL) {
                *size = attachment->size;
            }
            return DYNQ_OK;
        }
    }
    return DYNQ_ERR_NOT_FOUND;
}

const char *dynq_model_attachment_name(const dynq_model *model, size_t index)
{
    return model != NULL && index < model->attachment_count ? model->attachments[index].name : NULL;
}
