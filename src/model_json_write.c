/* The graph of a model as JSON: writing. */
#include "src/model_json.h"

#include <jansson.h>

/* Nine significant digits bring every float back exactly. */
#define JSON_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(9))

static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *write_range(const dynq_range_rule *range)
{
    json_t *json = json_object();
    bool good = set(json, "kind", json_string(dynq_range_kind_name(range->kind))) &&
                set(json, "granularity", json_string(dynq_scope_name(range->scope))) &&
                set(json, "scheme", json_string(dynq_scheme_name(range->scheme)));
    if (good && (range->kind == DYNQ_RANGE_STATIC || range->lo != 0.0f || range->hi != 0.0f)) {
        good = set(json, "lo", json_real((double)range->lo)) &&
               set(json, "hi", json_real((double)range->hi));
    }
    if (!good) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* How weights are stored, as far as the precision does not say so. */
static bool write_format(const dynq_node *node, json_t *json)
{
    bool good = true;
    if (node->weight_format != dynq_format_of(node->precision)) {
        good = set(json, "weights", json_string(dynq_format_name(node->weight_format)));
    }
    if (good && node->weight_group != 0) {
        good = set(json, "group", json_integer((json_int_t)node->weight_group));
    }
    if (good && dynq_node_tables(node) > 0) {
        good = set(json, "levels", json_string(dynq_levels_name(node->weight_levels))) &&
               set(json, "table", json_string(dynq_table_scope_name(node->table_scope)));
    }
    return good;
}

static bool write_linear(const dynq_node *node, json_t *json)
{
    bool good = set(json, "k", json_integer((json_int_t)node->k)) &&
                set(json, "n", json_integer((json_int_t)node->n)) &&
                set(json, "bias", json_boolean(node->bias != NULL)) &&
                set(json, "precision", json_string(dynq_precision_name(node->precision))) &&
                write_format(node, json);
    if (!good || node->precision == DYNQ_PRECISION_FP32) {
        return good;
    }
    if (dynq_node_is_p16x4(node)) {
        good = set(json, "layout", json_string(DYNQ_LAYOUT_P16X4));
    }
    return good && set(json, "range", write_range(&node->range));
}

static bool write_table(const dynq_node *node, json_t *json)
{
    const bool good = set(json, "rows", json_integer((json_int_t)node->table_rows)) &&
                      set(json, "columns", json_integer((json_int_t)node->n)) &&
                      set(json, "precision", json_string(dynq_precision_name(node->precision)));
    if (!good || node->op == DYNQ_OP_EMBEDDING) {
        return good;
    }
    return set(json, "first", json_integer((json_int_t)node->first));
}

static bool write_attention(const dynq_node *node, json_t *json)
{
    return set(json, "heads", json_integer((json_int_t)node->heads)) &&
           set(json, "scale", json_real((double)node->scale)) &&
           set(json, "causal", json_boolean(node->causal)) &&
           set(json, "precision", json_string(dynq_precision_name(node->precision)));
}

/* What only nodes of its operation have. */
static bool write_operation(const dynq_node *node, json_t *json)
{
    switch (node->op) {
    case DYNQ_OP_INPUT: return set(json, "columns", json_integer((json_int_t)node->n));
    case DYNQ_OP_LINEAR: return write_linear(node, json);
    case DYNQ_OP_LAYER_NORM: return set(json, "epsilon", json_real((double)node->epsilon));
    case DYNQ_OP_EMBEDDING:
    case DYNQ_OP_POSITION: return write_table(node, json);
    case DYNQ_OP_ATTENTION: return write_attention(node, json);
    case DYNQ_OP_POOL: return set(json, "pooling", json_string(dynq_pooling_name(node->pooling)));
    default: return true;
    }
}

static json_t *write_node(const dynq_model *model, const dynq_node *node)
{
    json_t *json = json_object();
    bool good = set(json, "name", json_string(node->name)) &&
                set(json, "op", json_string(dynq_op_name(node->op)));
    if (good && node->input_count > 0) {
        json_t *inputs = json_array();
        for (uint32_t i = 0; i < node->input_count; i++) {
            const char *name = model->nodes[node->inputs[i]].name;
            good = json_array_append_new(inputs, json_string(name)) == 0 && good;
        }
        good = set(json, "inputs", inputs) && good;
    }
    if (!good || !write_operation(node, json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* The names; a model without attachments has no list. */
static bool write_attachments(const dynq_model *model, json_t *root)
{
    if (model->attachment_count == 0) {
        return true;
    }
    json_t *names = json_array();
    bool good = true;
    for (size_t i = 0; good && i < model->attachment_count; i++) {
        good = json_array_append_new(names, json_string(model->attachments[i].name)) == 0;
    }
    return set(root, "attachments", names) && good;
}

static json_t *write_graph(const dynq_model *model)
{
    json_t *root = json_object(), *nodes = json_array(), *outputs = json_array();
    bool good = root != NULL && nodes != NULL && outputs != NULL;
    for (size_t i = 0; good && i < model->node_count; i++) {
        good = json_array_append_new(nodes, write_node(model, &model->nodes[i])) == 0;
    }
    for (size_t i = 0; good && i < model->output_count; i++) {
        const dynq_model_output_entry *output = &model->outputs[i];
        json_t *json =
            json_pack("{s:s,s:s}", "name", output->name, "node", model->nodes[output->node].name);
        good = json_array_append_new(outputs, json) == 0;
    }
    good = set(root, "nodes", nodes) && good; /* takes `nodes` over, even when it fails */
    good = set(root, "outputs", outputs) && good;
    if (!good || !write_attachments(model, root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

char *dynq_model_json_write(const dynq_model *model)
{
    json_t *root = write_graph(model);
    const size_t length = root == NULL ? 0 : json_dumpb(root, NULL, 0, JSON_FLAGS);
    char *text = length == 0 ? NULL : dynq_alloc(&model->allocator, length + 1, 1);
    if (text != NULL) {
        json_dumpb(root, text, length, JSON_FLAGS);
    }
    json_decref(root);
    return text;
}
