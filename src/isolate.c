/* A model whose nodes do not read each other: each has inputs of its own. */
#include "src/isolate.h"

#include "src/error.h"
#include "src/pack.h"
#include "src/range.h"

#include <dynq/comparison.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NO_INPUT UINT32_MAX

bool dynq_node_can_be_isolated(const dynq_node *node)
{
    return node->op != DYNQ_OP_POSITION && dynq_node_is_quantized(node);
}

/* An input with the name and the rows of a value, unless there is one. */
static dynq_status add_input(dynq_model *isolated, const dynq_node *value, uint32_t *input)
{
    if (*input != NO_INPUT) {
        return DYNQ_OK;
    }
    const dynq_op op = value->op == DYNQ_OP_IDS ? DYNQ_OP_IDS : DYNQ_OP_INPUT;
    dynq_node *node = dynq_model_add_node(isolated, value->name, op);
    if (node == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    node->n = value->n;
    node->domain = value->domain;
    *input = (uint32_t)(isolated->node_count - 1);
    return DYNQ_OK;
}

/* The inputs of all wanted nodes; inputs[value] is its number in the isolated model. */
static dynq_status add_inputs(const dynq_model *model, const bool *wanted, dynq_model *isolated,
                              uint32_t *inputs)
{
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < model->node_count; i++) {
        inputs[i] = NO_INPUT;
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        for (uint32_t j = 0; wanted[i] && status == DYNQ_OK && j < node->input_count; j++) {
            const uint32_t value = node->inputs[j];
            status = add_input(isolated, &model->nodes[value], &inputs[value]);
        }
    }
    return status;
}

/* A name that no node of the isolated model has: that of the node may be an input's. */
static void choose_name(const dynq_model *isolated, const dynq_model *model, size_t index,
                        char name[DYNQ_MAX_NAME + 1])
{
    const char *const own = model->nodes[index].name;
    snprintf(name, DYNQ_MAX_NAME + 1, "%s", own);
    for (size_t number = index; dynq_model_find(isolated, name) >= 0; number += model->node_count) {
        snprintf(name, DYNQ_MAX_NAME + 1, "node %zu alone", number);
    }
}

static dynq_status add_node(const dynq_model *model, size_t index, dynq_model *isolated,
                            const uint32_t *inputs)
{
    char name[DYNQ_MAX_NAME + 1];
    const dynq_node *node = &model->nodes[index];
    choose_name(isolated, model, index, name);
    dynq_node *alone = dynq_model_add_node(isolated, name, node->op);
    if (alone == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    char *const own_name = alone->name;
    *alone = *node;
    alone->name = own_name;
    for (uint32_t i = 0; i < node->input_count; i++) {
        alone->inputs[i] = inputs[node->inputs[i]];
    }
    return dynq_model_add_output(isolated, node->name, (uint32_t)(isolated->node_count - 1));
}

static dynq_status fill(const dynq_model *model, const bool *wanted, dynq_model *isolated,
                        dynq_error *error)
{
    uint32_t *inputs = dynq_alloc(&model->allocator, model->node_count, sizeof *inputs);
    dynq_status status = inputs == NULL ? DYNQ_ERR_MEMORY : DYNQ_OK;
    if (status == DYNQ_OK) {
        status = add_inputs(model, wanted, isolated, inputs);
    }
    for (size_t i = 0; status == DYNQ_OK && i < model->node_count; i++) {
        status = wanted[i] ? add_node(model, i, isolated, inputs) : DYNQ_OK;
    }
    dynq_release(&model->allocator, inputs);
    return status == DYNQ_OK ? dynq_model_check(isolated, error)
                             : dynq_fail(error, status, "out of memory for isolated nodes");
}

dynq_status dynq_model_isolate_nodes(dynq_model *model, const bool *wanted, dynq_model **isolated,
                                     dynq_error *error)
{
    dynq_model *result = dynq_model_new(&model->allocator);
    if (result == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for isolated nodes");
    }
    result->parent = dynq_model_retain(model);
    const dynq_status status = fill(model, wanted, result, error);
    if (status != DYNQ_OK) {
        dynq_model_free(result);
        return status;
    }
    *isolated = result;
    return DYNQ_OK;
}

dynq_status dynq_model_isolate(dynq_model *model, dynq_model **isolated, dynq_error *error)
{
    if (model == NULL || isolated == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "isolate: model or result is NULL");
    }
    bool *wanted = dynq_alloc(&model->allocator, model->node_count, sizeof *wanted);
    if (wanted == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for isolated nodes");
    }
    bool any = false;
    for (size_t i = 0; i < model->node_count; i++) {
        wanted[i] = dynq_node_can_be_isolated(&model->nodes[i]);
        any = any || wanted[i];
    }
    const dynq_status status =
        any ? dynq_model_isolate_nodes(model, wanted, isolated, error)
            : dynq_fail(error, DYNQ_ERR_NOT_FOUND, "isolate: the model has no INT8 node");
    dynq_release(&model->allocator, wanted);
    return status;
}

/* The largest |sum| of a column: sums of its positive codes and, without sign, its negative ones.
 */
static uint64_t largest_sum(const dynq_node *node, uint64_t positive, uint64_t negative)
{
    const dynq_range_rule *rule = &node->range;
    if (rule->scheme == DYNQ_SCHEME_SYMMETRIC) {
        return 127 * (positive + negative);
    }
    if (rule->kind == DYNQ_RANGE_STATIC) {
        const uint64_t z = (uint64_t)dynq_range_affine(rule->lo, rule->hi).zero;
        const uint64_t above = (255 - z) * positive + z * negative;
        const uint64_t below = z * positive + (255 - z) * negative;
        return above > below ? above : below;
    }
    return 255 * (positive > negative ? positive : negative);
}

/* The largest |sum| over inputs [first, end) of a column. */
static uint64_t sum_of_part(const dynq_node *node, size_t column, size_t first, size_t end)
{
    const dynq_weight_codes codes = dynq_node_codes(node, column / DYNQ_PANEL);
    const int8_t *panel = dynq_node_panel(node, column);
    uint64_t positive = 0, negative = 0;
    for (size_t i = first; i < end; i++) {
        const int code = dynq_panel_weight(&codes, panel, column % DYNQ_PANEL, i);
        positive += code > 0 ? (uint64_t)code : 0;
        negative += code < 0 ? (uint64_t)-code : 0;
    }
    return largest_sum(node, positive, negative);
}

dynq_status dynq_model_headroom(const dynq_model *model, size_t index, uint64_t *largest,
                                double *bits)
{
    if (model == NULL || index >= model->node_count || model->nodes[index].packed == NULL ||
        model->nodes[index].precision != DYNQ_PRECISION_INT8) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_node *node = &model->nodes[index];
    const size_t step = node->weight_group == 0 ? node->k : node->weight_group;
    uint64_t most = 0;
    for (size_t n = 0; n < node->n; n++) {
        for (size_t k = 0; k < node->k; k += step) {
            const uint64_t sum = sum_of_part(node, n, k, k + step < node->k ? k + step : node->k);
            most = sum > most ? sum : most;
        }
    }
    if (largest != NULL) {
        *largest = most;
    }
    if (bits != NULL) {
        *bits = most > 0 ? log2(0x1p31 / (double)most) : (double)INFINITY;
    }
    return DYNQ_OK;
}
