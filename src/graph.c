#include "src/graph.h"

#include "src/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

dynq_graph *dynq_graph_create(const dynq_allocator *allocator)
{
    const dynq_allocator from = dynq_allocator_or_default(allocator);
    dynq_graph *graph = dynq_alloc(&from, 1, sizeof *graph);
    if (graph == NULL) {
        return NULL;
    }
    graph->model = dynq_model_new(&from);
    if (graph->model == NULL) {
        dynq_release(&from, graph);
        return NULL;
    }
    return graph;
}

void dynq_graph_free(dynq_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    const dynq_allocator allocator = graph->model->allocator;
    dynq_model_free(graph->model);
    dynq_release(&allocator, graph);
}

static void out_of_memory(dynq_graph *graph, const char *name)
{
    dynq_fail(&graph->error, DYNQ_ERR_MEMORY, "node '%s': out of memory", name);
}

dynq_node *dynq_graph_add_node(dynq_graph *graph, const char *name, dynq_op op,
                               const dynq_value *inputs, uint32_t input_count)
{
    if (!dynq_graph_usable(graph)) {
        return NULL;
    }
    dynq_model *model = graph->model;
    if (dynq_model_check_name("node", model->node_count, name, &graph->error) != DYNQ_OK) {
        return NULL;
    }
    if (dynq_model_find(model, name) >= 0) {
        dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT, "two nodes are named '%s'; names are unique",
                  name);
        return NULL;
    }
    for (uint32_t i = 0; i < input_count; i++) {
        if (inputs[i].node >= model->node_count) {
            dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT,
                      "node '%s': input %u is not a value of this builder", name, i);
            return NULL;
        }
    }
    dynq_node *node = dynq_model_add_node(model, name, op);
    if (node == NULL) {
        out_of_memory(graph, name);
        return NULL;
    }
    node->input_count = input_count;
    for (uint32_t i = 0; i < input_count; i++) {
        node->inputs[i] = inputs[i].node;
    }
    return node;
}

dynq_value dynq_graph_finish_node(dynq_graph *graph)
{
    if (!dynq_graph_usable(graph)) {
        return (dynq_value){DYNQ_NO_NODE};
    }
    const size_t index = graph->model->node_count - 1;
    if (dynq_model_check_node(graph->model, index, &graph->error) != DYNQ_OK) {
        return (dynq_value){DYNQ_NO_NODE};
    }
    return (dynq_value){(uint32_t)index};
}

/* The position of element `i` of a matrix or vector, as text. */
static const char *position(const dynq_tensor *tensor, size_t i, char *text, size_t size)
{
    if (tensor->rank == 2) {
        snprintf(text, size, "[%zu][%zu]", i / tensor->shape[1], i % tensor->shape[1]);
    } else {
        snprintf(text, size, "[%zu]", i);
    }
    return text;
}

bool dynq_graph_check_tensor(dynq_graph *graph, const char *name, const char *what,
                             const dynq_tensor *tensor, uint32_t rank)
{
    if (tensor == NULL || tensor->data == NULL) {
        dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT, "node '%s': its %s is NULL", name, what);
    } else if (tensor->dtype != DYNQ_F32) {
        dynq_fail(&graph->error, DYNQ_ERR_TYPE, "node '%s': its %s is not F32", name, what);
    } else if (tensor->rank != rank) {
        dynq_fail(&graph->error, DYNQ_ERR_SHAPE, "node '%s': its %s has rank %u instead of %u",
                  name, what, tensor->rank, rank);
    }
    return dynq_graph_usable(graph);
}

const float *dynq_graph_copy_tensor(dynq_graph *graph, const char *name, const char *what,
                                    const dynq_tensor *tensor)
{
    size_t count = tensor->shape[0];
    if (tensor->rank == 2 && !dynq_size_multiply(count, tensor->shape[1], &count)) {
        dynq_fail(&graph->error, DYNQ_ERR_LIMIT, "node '%s': its %s is too large", name, what);
        return NULL;
    }
    float *copy = dynq_model_own(graph->model, count, sizeof *copy);
    if (copy == NULL) {
        out_of_memory(graph, name);
        return NULL;
    }
    memcpy(copy, tensor->data, count * sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(copy[i])) {
            char text[48];
            dynq_fail(&graph->error, DYNQ_ERR_NOT_FINITE, "node '%s': %s%s is %s", name, what,
                      position(tensor, i, text, sizeof text), isnan(copy[i]) ? "NaN" : "Inf");
            return NULL;
        }
    }
    return copy;
}

/* Checks and copies a vector of `columns`. */
static const float *copy_vector(dynq_graph *graph, const char *name, const char *what,
                                const dynq_tensor *tensor, size_t columns)
{
    if (!dynq_graph_check_tensor(graph, name, what, tensor, 1)) {
        return NULL;
    }
    if (tensor->shape[0] != columns) {
        dynq_fail(&graph->error, DYNQ_ERR_SHAPE, "node '%s': its %s has %zu elements, not %zu",
                  name, what, tensor->shape[0], columns);
        return NULL;
    }
    return dynq_graph_copy_tensor(graph, name, what, tensor);
}

dynq_value dynq_input(dynq_graph *graph, const char *name, size_t columns)
{
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_INPUT, NULL, 0);
    if (node != NULL) {
        node->n = columns;
    }
    return dynq_graph_finish_node(graph);
}

dynq_value dynq_linear(dynq_graph *graph, const char *name, dynq_value x, const dynq_tensor *weight,
                       const dynq_tensor *bias)
{
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_LINEAR, &x, 1);
    if (node == NULL || !dynq_graph_check_tensor(graph, name, "weight", weight, 2)) {
        return (dynq_value){DYNQ_NO_NODE};
    }
    node->n = weight->shape[0];
    node->k = weight->shape[1];
    node->precision = DYNQ_PRECISION_FP32;
    const dynq_value result = dynq_graph_finish_node(graph);
    if (result.node == DYNQ_NO_NODE) {
        return result;
    }
    node->weight = dynq_graph_copy_tensor(graph, name, "weight", weight);
    if (node->weight != NULL && bias != NULL) {
        node->bias = copy_vector(graph, name, "bias", bias, node->n);
    }
    return dynq_graph_usable(graph) ? result : (dynq_value){DYNQ_NO_NODE};
}

dynq_value dynq_graph_unary(dynq_graph *graph, const char *name, dynq_op op, dynq_value x)
{
    dynq_graph_add_node(graph, name, op, &x, 1);
    return dynq_graph_finish_node(graph);
}

static dynq_value binary(dynq_graph *graph, const char *name, dynq_op op, dynq_value a,
                         dynq_value b)
{
    const dynq_value inputs[] = {a, b};
    dynq_graph_add_node(graph, name, op, inputs, 2);
    return dynq_graph_finish_node(graph);
}

dynq_value dynq_relu(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_RELU, x);
}

dynq_value dynq_gelu(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_GELU, x);
}

dynq_value dynq_gelu_tanh(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_GELU_TANH, x);
}

dynq_value dynq_tanh(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_TANH, x);
}

dynq_value dynq_sigmoid(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_SIGMOID, x);
}

dynq_value dynq_add(dynq_graph *graph, const char *name, dynq_value a, dynq_value b)
{
    return binary(graph, name, DYNQ_OP_ADD, a, b);
}

dynq_value dynq_mul(dynq_graph *graph, const char *name, dynq_value a, dynq_value b)
{
    return binary(graph, name, DYNQ_OP_MUL, a, b);
}

dynq_value dynq_softmax(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_SOFTMAX, x);
}

dynq_value dynq_layer_norm(dynq_graph *graph, const char *name, dynq_value x,
                           const dynq_tensor *weight, const dynq_tensor *bias, float epsilon)
{
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_LAYER_NORM, &x, 1);
    if (node == NULL) {
        return (dynq_value){DYNQ_NO_NODE};
    }
    node->epsilon = epsilon;
    const dynq_value result = dynq_graph_finish_node(graph);
    if (result.node == DYNQ_NO_NODE) {
        return result;
    }
    node->gain = copy_vector(graph, name, "weight", weight, node->n);
    if (node->gain != NULL) {
        node->bias = copy_vector(graph, name, "bias", bias, node->n);
    }
    return dynq_graph_usable(graph) ? result : (dynq_value){DYNQ_NO_NODE};
}

dynq_value dynq_scale(dynq_graph *graph, const char *name, dynq_value x, const dynq_tensor *weight)
{
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_SCALE, &x, 1);
    const dynq_value result = dynq_graph_finish_node(graph);
    if (result.node != DYNQ_NO_NODE) {
        node->gain = copy_vector(graph, name, "weight", weight, node->n);
    }
    return dynq_graph_usable(graph) ? result : (dynq_value){DYNQ_NO_NODE};
}

void dynq_output(dynq_graph *graph, const char *name, dynq_value value)
{
    if (!dynq_graph_usable(graph)) {
        return;
    }
    dynq_model *model = graph->model;
    if (dynq_model_check_name("output", model->output_count, name, &graph->error) != DYNQ_OK) {
        return;
    }
    for (size_t i = 0; i < model->output_count; i++) {
        if (strcmp(model->outputs[i].name, name) == 0) {
            dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT,
                      "two outputs are named '%s'; names are unique", name);
            return;
        }
    }
    if (value.node >= model->node_count) {
        dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT, "output '%s' is not a value of this builder",
                  name);
        return;
    }
    if (dynq_model_add_output(model, name, value.node) != DYNQ_OK) {
        dynq_fail(&graph->error, DYNQ_ERR_MEMORY, "output '%s': out of memory", name);
    }
}

dynq_status dynq_graph_finish(dynq_graph *graph, dynq_model **model, dynq_error *error)
{
    if (graph == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "there is no builder: out of memory");
    }
    if (model == NULL) {
        dynq_graph_free(graph);
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "there is no place for the model");
    }
    if (dynq_graph_usable(graph)) {
        dynq_model_check(graph->model, &graph->error);
    }
    const dynq_status status = graph->error.status;
    if (status == DYNQ_OK) {
        *model = dynq_model_retain(graph->model);
    } else if (error != NULL) {
        *error = graph->error;
    }
    dynq_graph_free(graph);
    return status;
}
