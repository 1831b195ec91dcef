/* A model of some of the nodes of another one. */
#include "src/error.h"
#include "src/model.h"

#include <dynq/comparison.h>

/* Not in the part yet. */
#define NOWHERE UINT32_MAX

/* The input that stands for a value of the model; where it is in the part goes to *place. */
static dynq_status add_input(dynq_model *part, const dynq_node *value, uint32_t *place)
{
    const dynq_op op = value->op == DYNQ_OP_IDS ? DYNQ_OP_IDS : DYNQ_OP_INPUT;
    dynq_node *node = dynq_model_add_node(part, value->name, op);
    if (node == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    node->n = value->n;
    node->domain = value->domain;
    *place = (uint32_t)(part->node_count - 1);
    return DYNQ_OK;
}

static dynq_status add_inputs(const dynq_model *model, const size_t *nodes, size_t count,
                              dynq_model *part, uint32_t *places)
{
    dynq_status status = DYNQ_OK;
    bool *const wanted = dynq_alloc(&model->allocator, model->node_count, sizeof *wanted);
    if (wanted == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        wanted[nodes[i]] = true;
    }
    for (size_t i = 0; i < count; i++) {
        const dynq_node *node = &model->nodes[nodes[i]];
        for (uint32_t j = 0; j < node->input_count && status == DYNQ_OK; j++) {
            const uint32_t value = node->inputs[j];
            if (!wanted[value] && places[value] == NOWHERE) {
                status = add_input(part, &model->nodes[value], &places[value]);
            }
        }
    }
    dynq_release(&model->allocator, wanted);
    return status;
}

static dynq_status add_node(const dynq_model *model, size_t index, dynq_model *part,
                            uint32_t *places, bool *read)
{
    const dynq_node *source = &model->nodes[index];
    dynq_node *node = dynq_model_add_node(part, source->name, source->op);
    if (node == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    char *const name = node->name;
    *node = *source;
    node->name = name;
    for (uint32_t i = 0; i < source->input_count; i++) {
        node->inputs[i] = places[source->inputs[i]];
        read[source->inputs[i]] = true;
    }
    places[index] = (uint32_t)(part->node_count - 1);
    return DYNQ_OK;
}

static dynq_status fill(const dynq_model *model, const size_t *nodes, size_t count,
                        dynq_model *part, dynq_error *error)
{
    const dynq_allocator *allocator = &model->allocator;
    uint32_t *places = dynq_alloc(allocator, model->node_count, sizeof *places);
    bool *read = dynq_alloc(allocator, model->node_count, sizeof *read);
    dynq_status status = places == NULL || read == NULL ? DYNQ_ERR_MEMORY : DYNQ_OK;
    for (size_t i = 0; i < model->node_count && status == DYNQ_OK; i++) {
        places[i] = NOWHERE;
    }
    if (status == DYNQ_OK) {
        status = add_inputs(model, nodes, count, part, places);
    }
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        status = add_node(model, nodes[i], part, places, read);
    }
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        if (!read[nodes[i]]) {
            status = dynq_model_add_output(part, model->nodes[nodes[i]].name, places[nodes[i]]);
        }
    }
    dynq_release(allocator, places);
    dynq_release(allocator, read);
    return status == DYNQ_OK ? dynq_model_check(part, error)
                             : dynq_fail(error, status, "out of memory for a part of a model");
}

static bool can_be_extracted(const dynq_model *model, const size_t *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] >= model->node_count || model->nodes[nodes[i]].input_count == 0 ||
            (i > 0 && nodes[i] <= nodes[i - 1])) {
            return false;
        }
    }
    return count > 0;
}

dynq_status dynq_model_extract(dynq_model *model, const size_t *nodes, size_t count,
                               dynq_model **part, dynq_error *error)
{
    if (model == NULL || nodes == NULL || part == NULL || !can_be_extracted(model, nodes, count)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "extract: model, nodes or result is NULL, or the nodes are none, not in "
                         "ascending order, or an input is among them");
    }
    dynq_model *result = dynq_model_new(&model->allocator);
    if (result == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a part of a model");
    }
    result->parent = dynq_model_retain(model);
    const dynq_status status = fill(model, nodes, count, result, error);
    if (status != DYNQ_OK) {
        dynq_model_free(result);
        return status;
    }
    *part = result;
    return DYNQ_OK;
}
