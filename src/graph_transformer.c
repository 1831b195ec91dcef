/* The builder's operations on ids and segments, and attachments. */
#include "src/graph.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/options.h"

#include <math.h>
#include <string.h>

static const dynq_value no_value = {DYNQ_NO_NODE};

dynq_value dynq_ids(dynq_graph *graph, const char *name)
{
    dynq_graph_add_node(graph, name, DYNQ_OP_IDS, NULL, 0);
    return dynq_graph_finish_node(graph);
}

/* Either embedding: one row of `table` for each row of x. */
static dynq_value look_up(dynq_graph *graph, const char *name, dynq_op op, dynq_value x,
                          const dynq_tensor *table, size_t first)
{
    dynq_node *node = dynq_graph_add_node(graph, name, op, &x, 1);
    if (node == NULL || !dynq_graph_check_tensor(graph, name, "table", table, 2)) {
        return no_value;
    }
    node->table_rows = table->shape[0];
    node->n = table->shape[1];
    node->first = first;
    node->precision = DYNQ_PRECISION_FP32;
    const dynq_value result = dynq_graph_finish_node(graph);
    if (result.node == DYNQ_NO_NODE) {
        return result;
    }
    node->weight = dynq_graph_copy_tensor(graph, name, "table", table);
    return dynq_graph_usable(graph) ? result : no_value;
}

dynq_value dynq_embedding(dynq_graph *graph, const char *name, dynq_value ids,
                          const dynq_tensor *table)
{
    return look_up(graph, name, DYNQ_OP_EMBEDDING, ids, table, 0);
}

dynq_value dynq_position_embedding(dynq_graph *graph, const char *name, dynq_value rows,
                                   const dynq_tensor *table, size_t first)
{
    return look_up(graph, name, DYNQ_OP_POSITION, rows, table, first);
}

/* 1 / sqrt(columns), the same whatever the caller's rounding mode. */
static float default_scale(size_t columns)
{
    const dynq_float_state state = dynq_float_state_set_default();
    const float scale = 1.0f / sqrtf((float)columns);
    dynq_float_state_restore(state);
    return scale;
}

dynq_value dynq_attention(dynq_graph *graph, const char *name, dynq_value q, dynq_value k,
                          dynq_value v, const dynq_attention_options *options)
{
    const dynq_value inputs[] = {q, k, v};
    dynq_attention_options o;
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_ATTENTION, inputs, 3);
    if (node == NULL) {
        return no_value;
    }
    if (!dynq_options_copy(&o, sizeof o, options)) {
        dynq_fail(&graph->error, DYNQ_ERR_ARGUMENT,
                  "node '%s': attention options: size is not set, or a field is unknown to this "
                  "version",
                  name);
        return no_value;
    }
    node->heads = o.heads == 0 ? 1 : o.heads;
    node->scale =
        o.scale != 0 ? o.scale : default_scale(graph->model->nodes[q.node].n / node->heads);
    node->causal = o.causal != 0;
    node->precision = DYNQ_PRECISION_FP32;
    return dynq_graph_finish_node(graph);
}

dynq_value dynq_pool(dynq_graph *graph, const char *name, dynq_value x, dynq_pooling pooling)
{
    dynq_node *node = dynq_graph_add_node(graph, name, DYNQ_OP_POOL, &x, 1);
    if (node != NULL) {
        node->pooling = pooling;
    }
    return dynq_graph_finish_node(graph);
}

dynq_value dynq_normalize(dynq_graph *graph, const char *name, dynq_value x)
{
    return dynq_graph_unary(graph, name, DYNQ_OP_NORMALIZE, x);
}

void dynq_attach(dynq_graph *graph, const char *name, const void *bytes, size_t size)
{
    if (!dynq_graph_usable(graph)) {
        return;
    }
    dynq_model *model = graph->model;
    dynq_error *error = &graph->error;
    if (dynq_model_check_attachment_name(name, error) != DYNQ_OK) {
        return;
    }
    if (bytes == NULL || size == 0) {
        dynq_fail(error, DYNQ_ERR_ARGUMENT, "attachment '%s' is empty", name);
    } else if (dynq_model_attachment(model, name, NULL, NULL) == DYNQ_OK) {
        dynq_fail(error, DYNQ_ERR_ARGUMENT, "two attachments are named '%s'; names are unique",
                  name);
    } else if (dynq_model_attach_copy(model, name, bytes, size) != DYNQ_OK) {
        dynq_fail(error, DYNQ_ERR_MEMORY, "attachment '%s': out of memory", name);
    }
}
