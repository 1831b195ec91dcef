/* The rules that every model obeys, whether a builder or a file made it. */
#include "src/error.h"
#include "src/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The length of the printable UTF-8 character at s (terminated), or 0 if there is none. */
static size_t printable_length(const unsigned char *s)
{
    if (s[0] >= 0x20 && s[0] < 0x7f) {
        return 1;
    }
    const size_t length = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                          : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                          : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                        : 0;
    if (length == 0) {
        return 0;
    }
    uint32_t code = s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) { /* also the terminator */
            return 0;
        }
        code = code << 6 | (s[i] & 0x3f);
    }
    const uint32_t smallest[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f are controls */
    if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
        code == 0x2028 || code == 0x2029) { /* line and paragraph separators */
        return 0;
    }
    return length;
}

dynq_status dynq_model_check_name(const char *what, size_t index, const char *name,
                                  dynq_error *error)
{
    if (name == NULL || name[0] == '\0') {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "%s %zu has no name; give it one", what, index);
    }
    if (strlen(name) > DYNQ_MAX_NAME) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%s %zu: its name '%.40s...' has over %d bytes",
                         what, index, name, DYNQ_MAX_NAME);
    }
    const unsigned char *s = (const unsigned char *)name;
    while (*s != '\0') {
        const size_t length = printable_length(s);
        if (length == 0) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "%s %zu: byte %zu of its name is not part of printable UTF-8", what,
                             index, (size_t)(s - (const unsigned char *)name));
        }
        s += length;
    }
    return DYNQ_OK;
}

static uint32_t operands(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_INPUT: return 0;
    case DYNQ_OP_ADD:
    case DYNQ_OP_MUL: return 2;
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
    if (range->kind == DYNQ_RANGE_DYNAMIC) {
        return DYNQ_OK;
    }
    if (range->scope != DYNQ_SCOPE_TENSOR) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': a static range is per tensor, not per %s", node->name,
                         dynq_scope_name(range->scope));
    }
    if (!isfinite(range->lo) || !isfinite(range->hi)) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': its static range is not finite",
                         node->name);
    }
    if (range->lo > 0 || range->hi < 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': its static range [%g, %g] does not contain 0", node->name,
                         (double)range->lo, (double)range->hi);
    }
    return DYNQ_OK;
}

static dynq_status check_linear(const dynq_model *model, const dynq_node *node, dynq_error *error)
{
    const dynq_node *x = &model->nodes[node->inputs[0]];
    if (node->k != x->n) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s': its weight takes %zu inputs, but '%s' has %zu columns",
                         node->name, node->k, x->name, x->n);
    }
    if (node->precision == DYNQ_PRECISION_FP32) {
        return DYNQ_OK;
    }
    if (node->precision != DYNQ_PRECISION_INT8) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "node '%s' has no precision", node->name);
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
    }
    return DYNQ_OK;
}

dynq_status dynq_model_check_node(dynq_model *model, size_t index, dynq_error *error)
{
    dynq_status status = check_operands(model, index, error);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_node *node = &model->nodes[index];
    if (node->op == DYNQ_OP_LINEAR) {
        status = check_linear(model, node, error);
    } else if (node->op == DYNQ_OP_INPUT) {
        node->k = node->n;
    } else {
        const dynq_node *x = &model->nodes[node->inputs[0]];
        const dynq_node *y = &model->nodes[node->inputs[node->input_count - 1]];
        if (x->n != y->n) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "node '%s': '%s' has %zu columns, but '%s' has %zu", node->name,
                             x->name, x->n, y->name, y->n);
        }
        node->k = node->n = x->n;
        if (node->op == DYNQ_OP_LAYER_NORM) {
            status = check_layer_norm(node, error);
        }
    }
    if (status == DYNQ_OK && (node->n == 0 || node->n > DYNQ_MAX_COLUMNS)) {
        return dynq_fail(error, node->n == 0 ? DYNQ_ERR_SHAPE : DYNQ_ERR_LIMIT,
                         "node '%s' has %zu columns; 1 to %d are possible", node->name, node->n,
                         DYNQ_MAX_COLUMNS);
    }
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dynq_status check_unique(const char *what, const char **names, size_t count,
                                dynq_error *error)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "two %ss are named '%s'; names are unique",
                             what, names[i]);
        }
    }
    return DYNQ_OK;
}

static dynq_status check_names(const dynq_model *model, dynq_error *error)
{
    const size_t nodes = model->node_count, outputs = model->output_count;
    const char **names =
        dynq_alloc(&model->allocator, nodes > outputs ? nodes : outputs, sizeof *names);
    if (names == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory while checking a model");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < nodes; i++) {
        names[i] = model->nodes[i].name;
        status = dynq_model_check_name("node", i, names[i], error);
    }
    if (status == DYNQ_OK) {
        status = check_unique("node", names, nodes, error);
    }
    for (size_t i = 0; status == DYNQ_OK && i < outputs; i++) {
        names[i] = model->outputs[i].name;
        status = dynq_model_check_name("output", i, names[i], error);
    }
    if (status == DYNQ_OK) {
        status = check_unique("output", names, outputs, error);
    }
    dynq_release(&model->allocator, names);
    return status;
}

/* Nodes only read earlier ones, so one pass from the back finds all that an output needs. */
static dynq_status check_used(const dynq_model *model, dynq_error *error)
{
    unsigned char *used = dynq_alloc(&model->allocator, model->node_count, 1);
    if (used == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory while checking a model");
    }
    for (size_t i = 0; i < model->output_count; i++) {
        used[model->outputs[i].node] = 1;
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = model->node_count; status == DYNQ_OK && i-- > 0;) {
        const dynq_node *node = &model->nodes[i];
        if (!used[i]) {
            status = dynq_fail(error, DYNQ_ERR_ARGUMENT,
                               "node '%s' is not needed by any output; use it or leave it out",
                               node->name);
        }
        for (uint32_t j = 0; j < node->input_count; j++) {
            used[node->inputs[j]] = 1;
        }
    }
    dynq_release(&model->allocator, used);
    return status;
}

dynq_status dynq_model_check(dynq_model *model, dynq_error *error)
{
    dynq_status status = check_names(model, error);
    size_t inputs = 0;
    for (size_t i = 0; status == DYNQ_OK && i < model->node_count; i++) {
        status = dynq_model_check_node(model, i, error);
        inputs += model->nodes[i].op == DYNQ_OP_INPUT;
    }
    if (status != DYNQ_OK) {
        return status;
    }
    if (inputs == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "the model has no input");
    }
    if (model->output_count == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "the model has no output");
    }
    for (size_t i = 0; i < model->output_count; i++) {
        if (model->outputs[i].node >= model->node_count) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "output '%s' is not the result of a node",
                             model->outputs[i].name);
        }
    }
    return check_used(model, error);
}
