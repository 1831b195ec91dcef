/* The graph of a model as JSON: reading. */
#include "src/model_json.h"

#include "src/error.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers below it round to a finite float, FLT_MAX at most. */
#define FLOAT_LIMIT 0x1.ffffffp127

/* Where the JSON header begins: the position that an error about the graph is given. */
#define HEADER_OFFSET 8

/* A name and where it stands. */
typedef struct name_entry {
    const char *name;
    uint32_t node;
} name_entry;

typedef struct graph_reader {
    const char *file;
    dynq_model *model;
    unsigned char *has_bias;
    name_entry *names; /* of the nodes, sorted */
    dynq_error *error;
} graph_reader;

/* `where` is the name of a node or output, or a part of the graph. */
static dynq_status bad(const graph_reader *r, const char *where, const char *what)
{
    return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET, "%s: graph: '%s': %s", r->file,
                        where, what);
}

static dynq_status bad_field(const graph_reader *r, const char *where, const char *key,
                             const char *what)
{
    return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET, "%s: graph: '%s': \"%s\" %s",
                        r->file, where, key, what);
}

static dynq_status out_of_memory(const graph_reader *r)
{
    return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory for its graph", r->file);
}

static dynq_status get_integer(const graph_reader *r, const char *where, const json_t *json,
                               const char *key, const char *what, int32_t low, int32_t high,
                               size_t *value)
{
    const json_t *field = json_object_get(json, key);
    const json_int_t number = json_integer_value(field);
    if (!json_is_integer(field) || number < low) {
        return bad_field(r, where, key, what);
    }
    if (number > high) {
        return dynq_fail_at(r->error, DYNQ_ERR_LIMIT, HEADER_OFFSET,
                            "%s: graph: '%s': \"%s\" is over the limit of %d", r->file, where, key,
                            high);
    }
    *value = (size_t)number;
    return DYNQ_OK;
}

static dynq_status get_columns(const graph_reader *r, const char *where, const json_t *json,
                               const char *key, size_t *value)
{
    return get_integer(r, where, json, key, "is not a number of columns", 1, DYNQ_MAX_COLUMNS,
                       value);
}

static dynq_status get_boolean(const graph_reader *r, const char *where, const json_t *json,
                               const char *key, bool *value)
{
    const json_t *field = json_object_get(json, key);
    if (!json_is_boolean(field)) {
        return bad_field(r, where, key, "is not true or false");
    }
    *value = json_is_true(field);
    return DYNQ_OK;
}

static dynq_status get_float(const graph_reader *r, const char *where, const json_t *json,
                             const char *key, float *value)
{
    const json_t *field = json_object_get(json, key);
    if (!json_is_number(field)) {
        return bad_field(r, where, key, "is not a number");
    }
    const double number = json_number_value(field);
    if (fabs(number) >= FLOAT_LIMIT) {
        return dynq_fail_at(r->error, DYNQ_ERR_NOT_FINITE, HEADER_OFFSET,
                            "%s: graph: '%s': \"%s\" is not a finite FP32 number", r->file, where,
                            key);
    }
    *value = (float)number;
    return DYNQ_OK;
}

/* Any of the enumerations of model.h: its value by its name, 0 if there is none. */
static int by_name(const char *name, const char *(*name_of)(int value))
{
    int value = 1;
    for (const char *known; name != NULL && (known = name_of(value)) != NULL; value++) {
        if (strcmp(known, name) == 0) {
            return value;
        }
    }
    return 0;
}

static const char *op_name(int value)
{
    return dynq_op_name((dynq_op)value);
}

static const char *precision_name(int value)
{
    return dynq_precision_name((dynq_precision)value);
}

static const char *kind_name(int value)
{
    return dynq_range_kind_name((dynq_range_kind)value);
}

static const char *scope_name(int value)
{
    return dynq_scope_name((dynq_scope)value);
}

static const char *scheme_name(int value)
{
    return dynq_scheme_name((dynq_scheme)value);
}

static const char *format_name(int value)
{
    return dynq_format_name((dynq_format)value);
}

static const char *levels_name(int value)
{
    return dynq_levels_name((dynq_levels)value);
}

static const char *table_scope_name(int value)
{
    return dynq_table_scope_name((dynq_table_scope)value);
}

static const char *pooling_name(int value)
{
    return dynq_pooling_name((dynq_pooling)value);
}

static dynq_status get_choice(const graph_reader *r, const char *where, const json_t *json,
                              const char *key, const char *(*name_of)(int value), int *value)
{
    *value = by_name(json_string_value(json_object_get(json, key)), name_of);
    if (*value == 0) {
        return bad_field(r, where, key, "is missing or has a value that this version cannot read");
    }
    return DYNQ_OK;
}

static dynq_status get_precision(const graph_reader *r, dynq_node *node, const json_t *json)
{
    int precision = 0;
    const dynq_status status =
        get_choice(r, node->name, json, "precision", precision_name, &precision);
    node->precision = (dynq_precision)precision;
    return status;
}

static dynq_status read_range(const graph_reader *r, dynq_node *node, const json_t *json)
{
    int kind = 0, scope = 0, scheme = 0;
    dynq_status status = get_choice(r, node->name, json, "kind", kind_name, &kind);
    if (status == DYNQ_OK) {
        status = get_choice(r, node->name, json, "granularity", scope_name, &scope);
    }
    if (status == DYNQ_OK) {
        status = get_choice(r, node->name, json, "scheme", scheme_name, &scheme);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_range_rule *range = &node->range;
    *range = (dynq_range_rule){
        .kind = (dynq_range_kind)kind, .scope = (dynq_scope)scope, .scheme = (dynq_scheme)scheme};
    /* A dynamic range has them where it is limited. */
    if (range->kind == DYNQ_RANGE_STATIC || json_object_get(json, "lo") != NULL ||
        json_object_get(json, "hi") != NULL) {
        status = get_float(r, node->name, json, "lo", &range->lo);
        if (status == DYNQ_OK) {
            status = get_float(r, node->name, json, "hi", &range->hi);
        }
    }
    return status;
}

/* How weights are stored; what fits together is checked with the model. */
static dynq_status read_format(const graph_reader *r, dynq_node *node, const json_t *json)
{
    int format = 0, levels = 0, table = 0;
    dynq_status status = DYNQ_OK;
    if (json_object_get(json, "weights") != NULL) {
        status = get_choice(r, node->name, json, "weights", format_name, &format);
    }
    node->weight_format = format != 0 ? (dynq_format)format : dynq_format_of(node->precision);
    if (status == DYNQ_OK && json_object_get(json, "group") != NULL) {
        status = get_integer(r, node->name, json, "group", "is not a number of inputs", 1,
                             DYNQ_MAX_COLUMNS, &node->weight_group);
    }
    if (status == DYNQ_OK && dynq_node_table_levels(node) > 0) {
        status = get_choice(r, node->name, json, "levels", levels_name, &levels);
        node->weight_levels = (dynq_levels)levels;
        if (status == DYNQ_OK) {
            status = get_choice(r, node->name, json, "table", table_scope_name, &table);
        }
        node->table_scope = (dynq_table_scope)table;
    }
    return status;
}

static dynq_status read_linear(const graph_reader *r, size_t index, const json_t *json)
{
    dynq_node *node = &r->model->nodes[index];
    bool has_bias = false;
    dynq_status status = get_columns(r, node->name, json, "k", &node->k);
    if (status == DYNQ_OK) {
        status = get_columns(r, node->name, json, "n", &node->n);
    }
    if (status == DYNQ_OK) {
        status = get_precision(r, node, json);
    }
    if (status == DYNQ_OK) {
        status = get_boolean(r, node->name, json, "bias", &has_bias);
    }
    r->has_bias[index] = has_bias;
    if (status == DYNQ_OK) {
        status = read_format(r, node, json);
    }
    if (status != DYNQ_OK || node->precision == DYNQ_PRECISION_FP32) {
        return status;
    }
    const char *layout = json_string_value(json_object_get(json, "layout"));
    if (dynq_node_is_p16x4(node) && (layout == NULL || strcmp(layout, DYNQ_LAYOUT_P16X4) != 0)) {
        return bad_field(r, node->name, "layout", "is not \"" DYNQ_LAYOUT_P16X4 "\"");
    }
    return read_range(r, node, json_object_get(json, "range"));
}

static dynq_status read_table(const graph_reader *r, dynq_node *node, const json_t *json)
{
    dynq_status status = get_integer(r, node->name, json, "rows", "is not a number of rows", 1,
                                     INT32_MAX, &node->table_rows);
    if (status == DYNQ_OK) {
        status = get_columns(r, node->name, json, "columns", &node->n);
    }
    if (status == DYNQ_OK) {
        status = get_precision(r, node, json);
    }
    if (status != DYNQ_OK || node->op == DYNQ_OP_EMBEDDING) {
        return status;
    }
    return get_integer(r, node->name, json, "first", "is not the number of a row", 0, INT32_MAX,
                       &node->first);
}

static dynq_status read_attention(const graph_reader *r, dynq_node *node, const json_t *json)
{
    dynq_status status = get_integer(r, node->name, json, "heads", "is not a number of heads", 1,
                                     DYNQ_MAX_COLUMNS, &node->heads);
    if (status == DYNQ_OK) {
        status = get_float(r, node->name, json, "scale", &node->scale);
    }
    if (status == DYNQ_OK) {
        status = get_boolean(r, node->name, json, "causal", &node->causal);
    }
    return status == DYNQ_OK ? get_precision(r, node, json) : status;
}

static dynq_status read_pool(const graph_reader *r, dynq_node *node, const json_t *json)
{
    int pooling = 0;
    const dynq_status status = get_choice(r, node->name, json, "pooling", pooling_name, &pooling);
    node->pooling = (dynq_pooling)pooling;
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const name_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The node of that name, or NULL. */
static const name_entry *find(const graph_reader *r, const char *name)
{
    const name_entry key = {.name = name};
    return name == NULL || r->model->node_count == 0
               ? NULL
               : bsearch(&key, r->names, r->model->node_count, sizeof key, compare_entries);
}

static dynq_status read_inputs(const graph_reader *r, size_t index, const json_t *json)
{
    dynq_node *node = &r->model->nodes[index];
    const json_t *inputs = json_object_get(json, "inputs");
    const size_t count = json_array_size(inputs);
    if (inputs != NULL && !json_is_array(inputs)) {
        return bad_field(r, node->name, "inputs", "is not a list");
    }
    if (count > sizeof node->inputs / sizeof node->inputs[0]) {
        return bad_field(r, node->name, "inputs", "has too many entries");
    }
    for (size_t i = 0; i < count; i++) {
        const name_entry *input = find(r, json_string_value(json_array_get(inputs, i)));
        if (input == NULL || input->node >= index) {
            return bad_field(r, node->name, "inputs", "names no node that stands before it");
        }
        node->inputs[i] = input->node;
    }
    node->input_count = (uint32_t)count;
    return DYNQ_OK;
}

static dynq_status read_node(const graph_reader *r, size_t index, const json_t *json)
{
    dynq_status status = read_inputs(r, index, json);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_node *node = &r->model->nodes[index];
    switch (node->op) {
    case DYNQ_OP_INPUT: return get_columns(r, node->name, json, "columns", &node->n);
    case DYNQ_OP_LINEAR: return read_linear(r, index, json);
    case DYNQ_OP_LAYER_NORM: return get_float(r, node->name, json, "epsilon", &node->epsilon);
    case DYNQ_OP_EMBEDDING:
    case DYNQ_OP_POSITION: return read_table(r, node, json);
    case DYNQ_OP_ATTENTION: return read_attention(r, node, json);
    case DYNQ_OP_POOL: return read_pool(r, node, json);
    default: return DYNQ_OK;
    }
}

/* Names and operations first, so that inputs can be looked up. */
static dynq_status read_names(graph_reader *r, const json_t *nodes)
{
    const size_t count = json_array_size(nodes);
    for (size_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(nodes, i);
        const char *name = json_string_value(json_object_get(json, "name"));
        if (name == NULL) {
            return bad(r, "nodes", "an entry has no name");
        }
        int op = 0;
        const dynq_status status = get_choice(r, name, json, "op", op_name, &op);
        if (status != DYNQ_OK) {
            return status;
        }
        if (dynq_model_add_node(r->model, name, (dynq_op)op) == NULL) {
            return out_of_memory(r);
        }
    }
    r->names = dynq_alloc(&r->model->allocator, count, sizeof *r->names);
    r->has_bias = dynq_alloc(&r->model->allocator, count, 1);
    if (r->names == NULL || r->has_bias == NULL) {
        return out_of_memory(r);
    }
    for (size_t i = 0; i < count; i++) {
        r->names[i] = (name_entry){r->model->nodes[i].name, (uint32_t)i};
    }
    qsort(r->names, count, sizeof *r->names, compare_entries);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(r->names[i - 1].name, r->names[i].name) == 0) {
            return bad(r, r->names[i].name, "two nodes have this name");
        }
    }
    return DYNQ_OK;
}

static dynq_status read_outputs(const graph_reader *r, const json_t *outputs)
{
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const json_t *json = json_array_get(outputs, i);
        const char *name = json_string_value(json_object_get(json, "name"));
        if (name == NULL) {
            return bad(r, "outputs", "an entry has no name");
        }
        const name_entry *node = find(r, json_string_value(json_object_get(json, "node")));
        if (node == NULL) {
            return bad_field(r, name, "node", "names no node");
        }
        if (dynq_model_add_output(r->model, name, node->node) != DYNQ_OK) {
            return out_of_memory(r);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_attachments(const graph_reader *r, const json_t *attachments)
{
    if (attachments != NULL && !json_is_array(attachments)) {
        return bad(r, "attachments", "it is not a list");
    }
    for (size_t i = 0; i < json_array_size(attachments); i++) {
        const char *name = json_string_value(json_array_get(attachments, i));
        if (name == NULL) {
            return bad(r, "attachments", "an entry is not a name");
        }
        if (dynq_model_add_attachment(r->model, name, NULL, 0) != DYNQ_OK) {
            return out_of_memory(r);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_graph(graph_reader *r, const json_t *root)
{
    const json_t *nodes = json_object_get(root, "nodes");
    const json_t *outputs = json_object_get(root, "outputs");
    if (!json_is_array(nodes) || !json_is_array(outputs)) {
        return bad(r, "graph", "it has no lists of nodes and outputs");
    }
    dynq_status status = read_names(r, nodes);
    for (size_t i = 0; status == DYNQ_OK && i < r->model->node_count; i++) {
        status = read_node(r, i, json_array_get(nodes, i));
    }
    if (status == DYNQ_OK) {
        status = read_outputs(r, outputs);
    }
    return status == DYNQ_OK ? read_attachments(r, json_object_get(root, "attachments")) : status;
}

dynq_status dynq_model_json_read(const char *file, const char *text, dynq_model *model,
                                 unsigned char **has_bias, dynq_error *error)
{
    graph_reader r = {.file = file, .model = model, .error = error};
    *has_bias = NULL;
    json_error_t reason;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &reason);
    if (root == NULL) {
        return dynq_fail_at(error, DYNQ_ERR_FORMAT, HEADER_OFFSET,
                            "%s: graph: not JSON at character %d: %s", file, reason.position,
                            reason.text);
    }
    const dynq_status status = read_graph(&r, root);
    json_decref(root);
    dynq_release(&model->allocator, r.names);
    if (status == DYNQ_OK) {
        *has_bias = r.has_bias;
    } else {
        dynq_release(&model->allocator, r.has_bias);
    }
    return status;
}
