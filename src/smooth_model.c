/* The smoothed model: parameters that divide and multiply, and scale nodes. */
#include "src/smooth.h"

#include "src/error.h"
#include "src/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct maker {
    const dynq_model *from;
    const dynq_smoothing *smoothings;
    dynq_model *model;
    uint32_t *values; /* where the nodes of `from` are in `model`, */
    uint32_t *scaled; /* and what its linear layers read in their place */
    dynq_error *error;
} maker;

static dynq_status out_of_memory(const maker *m)
{
    return dynq_fail(m->error, DYNQ_ERR_MEMORY, "out of memory for a smoothed model");
}

/* Gives the new model element [r][c] of [rows][columns] parameters, divided by divide[r] and
 * multiplied by multiply[c] where these are not NULL. NULL stays NULL. */
static dynq_status copy(const maker *m, const dynq_node *node, const float *data, size_t rows,
                        size_t columns, const float *divide, const float *multiply,
                        const float **copied)
{
    if (data == NULL) {
        return DYNQ_OK;
    }
    float *to = dynq_model_own(m->model, rows * columns, sizeof *to);
    if (to == NULL) {
        return out_of_memory(m);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            float *x = &to[r * columns + c];
            *x = data[r * columns + c];
            *x = divide == NULL ? *x : *x / divide[r];
            *x = multiply == NULL ? *x : *x * multiply[c];
            if (!isfinite(*x)) {
                return dynq_fail(m->error, DYNQ_ERR_NOT_FINITE,
                                 "node '%s': element %zu of its smoothed parameters is not finite",
                                 node->name, r * columns + c);
            }
        }
    }
    *copied = to;
    return DYNQ_OK;
}

static dynq_status copy_column_scale(const maker *m, dynq_node *node, const float *before,
                                     const float *divide)
{
    if (before != NULL && divide != NULL) {
        return copy(m, node, before, 1, node->n, NULL, divide, &node->column_scale);
    }
    return copy(m, node, before != NULL ? before : divide, 1, node->n, NULL, NULL,
                &node->column_scale);
}

static dynq_status copy_parameters(const maker *m, dynq_node *node, const dynq_node *source,
                                   const dynq_smoothing *smoothing)
{
    const bool table = dynq_op_has_table(source->op);
    dynq_status status =
        copy(m, node, source->weight, table ? source->table_rows : source->n,
             table ? source->n : source->k, smoothing->divide, smoothing->multiply, &node->weight);
    if (status == DYNQ_OK) {
        status = copy(m, node, source->bias, source->n, 1, smoothing->divide, NULL, &node->bias);
    }
    if (status == DYNQ_OK) {
        status = copy(m, node, source->gain, source->n, 1, smoothing->divide, NULL, &node->gain);
    }
    return status == DYNQ_OK ? copy_column_scale(m, node, source->column_scale, smoothing->divide)
                             : status;
}

static dynq_status add_node(const maker *m, size_t index)
{
    const dynq_node *source = &m->from->nodes[index];
    dynq_node *node = dynq_model_add_node(m->model, source->name, source->op);
    if (node == NULL) {
        return out_of_memory(m);
    }
    char *name = node->name;
    *node = *source;
    node->name = name;
    node->weight = node->bias = node->gain = node->column_scale = NULL;
    const bool linear = source->op == DYNQ_OP_LINEAR;
    for (uint32_t i = 0; i < source->input_count; i++) {
        node->inputs[i] = (linear ? m->scaled : m->values)[source->inputs[i]];
    }
    m->values[index] = m->scaled[index] = (uint32_t)(m->model->node_count - 1);
    const dynq_status status = dynq_model_check_node(m->model, m->values[index], m->error);
    return status == DYNQ_OK ? copy_parameters(m, node, source, &m->smoothings[index]) : status;
}

/* The scale node behind node `index`. */
static dynq_status add_scale(const maker *m, size_t index)
{
    const float *divide = m->smoothings[index].insert;
    char name[DYNQ_MAX_NAME + 16];
    snprintf(name, sizeof name, "%s.smooth", m->from->nodes[index].name);
    const dynq_status named = dynq_model_check_name("node", m->model->node_count, name, m->error);
    if (named != DYNQ_OK) {
        return named;
    }
    if (dynq_model_find(m->from, name) >= 0) {
        return dynq_fail(m->error, DYNQ_ERR_ARGUMENT,
                         "smoothing adds a node '%s', but the model has one", name);
    }
    dynq_node *node = dynq_model_add_node(m->model, name, DYNQ_OP_SCALE);
    if (node == NULL) {
        return out_of_memory(m);
    }
    node->input_count = 1;
    node->inputs[0] = m->values[index];
    m->scaled[index] = (uint32_t)(m->model->node_count - 1);
    const dynq_status status = dynq_model_check_node(m->model, m->scaled[index], m->error);
    if (status != DYNQ_OK) {
        return status;
    }
    float *gain = dynq_model_own(m->model, node->n, sizeof *gain);
    if (gain == NULL) {
        return out_of_memory(m);
    }
    for (size_t c = 0; c < node->n; c++) {
        gain[c] = 1.0f / divide[c];
    }
    node->gain = gain;
    return copy_column_scale(m, node, m->model->nodes[m->values[index]].column_scale, divide);
}

static dynq_status add_rest(const maker *m)
{
    for (size_t i = 0; i < m->from->output_count; i++) {
        const dynq_model_output_entry *output = &m->from->outputs[i];
        if (dynq_model_add_output(m->model, output->name, m->values[output->node]) != DYNQ_OK) {
            return out_of_memory(m);
        }
    }
    for (size_t i = 0; i < m->from->attachment_count; i++) {
        const dynq_model_attachment_entry *entry = &m->from->attachments[i];
        if (dynq_model_attach_copy(m->model, entry->name, entry->bytes, entry->size) != DYNQ_OK) {
            return out_of_memory(m);
        }
    }
    return DYNQ_OK;
}

static dynq_status fill(maker *m)
{
    m->values = dynq_alloc(&m->model->allocator, m->from->node_count, sizeof *m->values);
    m->scaled = dynq_alloc(&m->model->allocator, m->from->node_count, sizeof *m->scaled);
    if (m->values == NULL || m->scaled == NULL) {
        return out_of_memory(m);
    }
    for (size_t i = 0; i < m->from->node_count; i++) {
        dynq_status status = add_node(m, i);
        if (status == DYNQ_OK && m->smoothings[i].insert != NULL) {
            status = add_scale(m, i);
        }
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return add_rest(m);
}

dynq_status dynq_smooth_make(const dynq_model *from, const dynq_smoothing *smoothings,
                             const dynq_allocator *allocator, dynq_model **smoothed,
                             dynq_error *error)
{
    maker m = {.from = from, .smoothings = smoothings, .error = error};
    m.model = dynq_model_new(allocator);
    if (m.model == NULL) {
        return out_of_memory(&m);
    }
    const dynq_status status = fill(&m);
    dynq_release(&m.model->allocator, m.values);
    dynq_release(&m.model->allocator, m.scaled);
    if (status == DYNQ_OK) {
        *smoothed = m.model;
    } else {
        dynq_model_free(m.model);
    }
    return status;
}
