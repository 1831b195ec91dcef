/* The rules that every node obeys, whether a builder or a file made it. */
#include "src/error.h"
#include "src/model.h"

#include <math.h>

static uint32_t operands(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_INPUT:
    case DYNQ_OP_IDS: return 0;
    case DYNQ_OP_ADD:
    case DYNQ_OP_MUL: return 2;
    case DYNQ_OP_ATTENTION: return 3;
    default: return 1;
    }
}

static dynq_status check_range(const dynq_node *node, dynq_error *error)
{
    const dynq_range_rule *range = &node->range;
    if (dynq_range_kind_name(range->kind) == NULL || dynq_scope_name(range->scope) == NULL ||
        dynq_scheme_name(range->scheme) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s': its range rule is incomplete",
                         node->name);
    }
    if (node->precision == DYNQ_PRECISION_INT16 && range->scheme != DYNQ_SCHEME_SYMMETRIC) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': activations in INT16 are symmetric, not %s", node->name,
                         dynq_scheme_name(range->scheme));
    }
    const bool is_static = range->kind == DYNQ_RANGE_STATIC;
    const char *kind = is_static ? "static" : "limited";
    if (is_static && range->scope != DYNQ_SCOPE_TENSOR) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': a static range is per tensor, not per %s", node->name,
                         dynq_scope_name(range->scope));
    }
    if (!isfinite(range->lo) || !isfinite(range->hi)) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': its %s range is not finite",
                         node->name, kind);
    }
    if (range->lo > 0 || range->hi < 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': its %s range [%g, %g] does not contain 0", node->name, kind,
                         (double)range->lo, (double)range->hi);
    }
    return DYNQ_OK;
}

static bool format_fits(dynq_precision precision, dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP32:
    case DYNQ_FORMAT_FP16:
    case DYNQ_FORMAT_BF16: return precision == DYNQ_PRECISION_FP32;
    case DYNQ_FORMAT_INT16: return precision == DYNQ_PRECISION_INT16;
    case DYNQ_FORMAT_INT8:
    case DYNQ_FORMAT_INT4:
    case DYNQ_FORMAT_INT2: return precision == DYNQ_PRECISION_INT8;
    case DYNQ_FORMAT_FP64: break;
    }
    return false;
}

static dynq_status check_group(const dynq_node *node, dynq_error *error)
{
    const size_t group = node->weight_group;
    if (group == 0) {
        return DYNQ_OK;
    }
    if (node->precision != DYNQ_PRECISION_INT8) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': weights in %s have no groups; INT8, INT4 and INT2 can",
                         node->name, dynq_format_name(node->weight_format));
    }
    if (group != 32 && group != 64 && group != 128) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': groups of %zu inputs; 32, 64 and 128 are possible", node->name,
                         group);
    }
    if (group > node->k) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "node '%s': groups of %zu inputs, but K is %zu; choose smaller groups, or "
                         "none",
                         node->name, group, node->k);
    }
    return DYNQ_OK;
}

/* How weights are stored: a format of the precision, groups and levels that it can have. */
static dynq_status check_format(dynq_node *node, dynq_error *error)
{
    if (node->weight_format == 0) {
        node->weight_format = dynq_format_of(node->precision);
    }
    if (!format_fits(node->precision, node->weight_format)) {
        const char *format = dynq_format_name(node->weight_format);
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': its weights are in %s, which nodes in %s cannot have",
                         node->name, format == NULL ? "no known format" : format,
                         dynq_precision_name(node->precision));
    }
    const bool coded = dynq_node_table_levels(node) > 0;
    const bool known = node->weight_levels != DYNQ_LEVELS_AFFINE &&
                       dynq_levels_name(node->weight_levels) != NULL &&
                       dynq_table_scope_name(node->table_scope) != NULL;
    const bool none = node->weight_levels == 0 && node->table_scope == 0;
    if (coded ? !known : !none) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': tables of levels are for weights in int4 and int2, which need "
                         "one",
                         node->name);
    }
    return check_group(node, error);
}

static dynq_status check_linear(const dynq_model *model, dynq_node *node, dynq_error *error)
{
    const dynq_node *x = &model->nodes[node->inputs[0]];
    if (node->k != x->n) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s': its weight takes %zu inputs, but '%s' has %zu columns",
                         node->name, node->k, x->name, x->n);
    }
    const dynq_status status = check_format(node, error);
    if (status != DYNQ_OK || node->precision == DYNQ_PRECISION_FP32) {
        return status;
    }
    if (node->precision == DYNQ_PRECISION_INT16) {
        return check_range(node, error);
    }
    if (node->k > DYNQ_MAX_INT8_K) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "node '%s': K = %zu is over the limit of %d for INT8; leave it in FP32",
                         node->name, node->k, DYNQ_MAX_INT8_K);
    }
    return check_range(node, error);
}

static dynq_status check_layer_norm(const dynq_node *node, dynq_error *error)
{
    if (!isfinite(node->epsilon)) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': epsilon is not finite",
                         node->name);
    }
    if (node->epsilon < 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s': epsilon %g is negative", node->name,
                         (double)node->epsilon);
    }
    return DYNQ_OK;
}

static dynq_status check_table(const dynq_node *node, dynq_error *error)
{
    if (node->table_rows == 0 || node->table_rows > INT32_MAX) {
        return dynq_fail(error, node->table_rows == 0 ? DYNQ_ERR_SHAPE : DYNQ_ERR_LIMIT,
                         "node '%s': its table has %zu rows; 1 to %d are possible", node->name,
                         node->table_rows, INT32_MAX);
    }
    if (node->first >= node->table_rows) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s': its first row is %zu, but its table has %zu rows", node->name,
                         node->first, node->table_rows);
    }
    return DYNQ_OK;
}

static dynq_status check_attention(const dynq_node *node, dynq_error *error)
{
    if (node->heads == 0 || node->n % node->heads != 0) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s': %zu columns cannot be divided into %zu heads", node->name,
                         node->n, node->heads);
    }
    if (node->n / node->heads > DYNQ_MAX_HEAD) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "node '%s': a head has %zu columns; 1 to %d are possible", node->name,
                         node->n / node->heads, DYNQ_MAX_HEAD);
    }
    if (!isfinite(node->scale)) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': its scale is not finite",
                         node->name);
    }
    if (!(node->scale > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s': its scale is %g; it is above 0",
                         node->name, (double)node->scale);
    }
    return DYNQ_OK;
}

static dynq_status check_pool(const dynq_node *node, dynq_error *error)
{
    if (dynq_pooling_name(node->pooling) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s': there is no pooling %d", node->name,
                         (int)node->pooling);
    }
    return DYNQ_OK;
}

/* Ids are no floats: embeddings read them, and only ids are what an embedding reads. Of what a
 * position embedding reads, only the rows count. */
static dynq_status check_ids(const dynq_node *node, const dynq_node *x, dynq_error *error)
{
    if (node->op == DYNQ_OP_EMBEDDING && x->op != DYNQ_OP_IDS) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s' is an embedding, but '%s' does not hold ids", node->name,
                         x->name);
    }
    if (x->op == DYNQ_OP_IDS && !dynq_op_has_table(node->op)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s' reads '%s', which holds ids; only embeddings read these",
                         node->name, x->name);
    }
    return DYNQ_OK;
}

static dynq_status check_operands(const dynq_model *model, size_t index, dynq_error *error)
{
    const dynq_node *node = &model->nodes[index];
    if (dynq_op_name(node->op) == NULL || node->input_count != operands(node->op)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s' has a wrong number of inputs (%u)",
                         node->name, node->input_count);
    }
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= index) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "node '%s': input %u is not the result of an earlier node", node->name,
                             i);
        }
        const dynq_status status = check_ids(node, &model->nodes[node->inputs[i]], error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return DYNQ_OK;
}

/* Operands have the same kind of rows, and as many columns where each element meets another. */
static dynq_status check_rows(const dynq_model *model, const dynq_node *node, dynq_error *error)
{
    const dynq_node *x = &model->nodes[node->inputs[0]];
    for (uint32_t i = 1; i < node->input_count; i++) {
        const dynq_node *y = &model->nodes[node->inputs[i]];
        if (x->n != y->n) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "node '%s': '%s' has %zu columns, but '%s' has %zu", node->name,
                             x->name, x->n, y->name, y->n);
        }
        if (x->domain != y->domain) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "node '%s': '%s' has rows for %s, but '%s' for %s", node->name,
                             x->name, dynq_domain_name(x->domain), y->name,
                             dynq_domain_name(y->domain));
        }
    }
    const bool of_tokens =
        node->op == DYNQ_OP_POSITION || node->op == DYNQ_OP_ATTENTION || node->op == DYNQ_OP_POOL;
    if (of_tokens && x->domain != DYNQ_DOMAIN_TOKENS) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s' needs a row for each token, but '%s' has one for each segment",
                         node->name, x->name);
    }
    return DYNQ_OK;
}

/* What only nodes of its operation obey. */
static dynq_status check_operation(const dynq_model *model, dynq_node *node, dynq_error *error)
{
    if (dynq_op_has_precision(node->op) && dynq_precision_name(node->precision) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s' has no precision", node->name);
    }
    if (node->op != DYNQ_OP_LINEAR && dynq_op_has_precision(node->op) &&
        node->precision == DYNQ_PRECISION_INT16) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s': only linear layers can be in INT16",
                         node->name);
    }
    switch (node->op) {
    case DYNQ_OP_LINEAR: return check_linear(model, node, error);
    case DYNQ_OP_LAYER_NORM: return check_layer_norm(node, error);
    case DYNQ_OP_EMBEDDING:
    case DYNQ_OP_POSITION: return check_table(node, error);
    case DYNQ_OP_ATTENTION: return check_attention(node, error);
    case DYNQ_OP_POOL: return check_pool(node, error);
    default: return DYNQ_OK;
    }
}

static void fill_shape(const dynq_model *model, dynq_node *node)
{
    if (node->op == DYNQ_OP_IDS) {
        node->n = 1;
    }
    if (node->input_count == 0) {
        node->k = node->n;
        if (node->domain == 0) { /* inputs of isolated nodes bring their own */
            node->domain = DYNQ_DOMAIN_TOKENS;
        }
        return;
    }
    const dynq_node *x = &model->nodes[node->inputs[0]];
    if (node->op != DYNQ_OP_LINEAR) { /* which brings both, to be compared */
        node->k = x->n;
        node->n = dynq_op_has_table(node->op) ? node->n : x->n;
    }
    node->domain = node->op == DYNQ_OP_POOL ? DYNQ_DOMAIN_SEGMENTS : x->domain;
}

dynq_status dynq_model_check_node(dynq_model *model, size_t index, dynq_error *error)
{
    dynq_node *node = &model->nodes[index];
    dynq_status status = check_operands(model, index, error);
    if (status == DYNQ_OK && node->input_count > 0) {
        status = check_rows(model, node, error);
    }
    if (status == DYNQ_OK) {
        fill_shape(model, node);
        status = check_operation(model, node, error);
    }
    if (status == DYNQ_OK && (node->n == 0 || node->n > DYNQ_MAX_COLUMNS)) {
        return dynq_fail(error, node->n == 0 ? DYNQ_ERR_SHAPE : DYNQ_ERR_LIMIT,
                         "node '%s' has %zu columns; 1 to %d are possible", node->name, node->n,
                         DYNQ_MAX_COLUMNS);
    }
    return status;
}
