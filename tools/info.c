#include "tools/command.h"

#include "tools/info_machine.h"
#include "tools/output.h"

#include <dynq/model.h>
#include <math.h>
#include <stdio.h>

typedef struct info_options {
    int verify, kernels;
    uint64_t batch;
} info_options;

static const option_entry entries[] = {
    {.name = "verify",
     .kind = OPTION_FLAG,
     .offset = offsetof(info_options, verify),
     .help = "read every weight and check it, which opening a model leaves out"},
    {.name = "kernels",
     .kind = OPTION_FLAG,
     .offset = offsetof(info_options, kernels),
     .help = "list the kernels of this build"},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(info_options, batch),
     .argument = "N",
     .help = "rows of a batch: the m of the shapes in --json",
     .initial = "1",
     .low = 1,
     .high = 1e9},
    {.name = NULL},
};

typedef struct totals {
    size_t linear;
    uint64_t parameters, weight_bytes;
} totals;

/* Linear nodes in INT8: what they read is quantized by a rule of their own. */
static int has_range(const dynq_node_info *node)
{
    return dynq_range_kind_name(node->range.kind) != NULL;
}

static int has_table(const dynq_node_info *node)
{
    return node->op == DYNQ_OP_EMBEDDING || node->op == DYNQ_OP_POSITION;
}

static totals count_totals(const dynq_model *model)
{
    totals sum = {0};
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        sum.linear += node.op == DYNQ_OP_LINEAR;
        sum.parameters += node.parameters;
        sum.weight_bytes += node.weight_bytes;
    }
    return sum;
}

/* A static range, or a dynamic one that is cut to limits. */
static int has_limits(const dynq_node_info *node)
{
    return has_range(node) &&
           (node->range.kind == DYNQ_RANGE_STATIC || node->range.lo != 0 || node->range.hi != 0);
}

static void set_range(json_t *object, const dynq_node_info *node)
{
    const int ranged = has_range(node);
    const int limited = has_limits(node);
    command_json_set(object, "range",
                     ranged ? command_json_string(dynq_range_kind_name(node->range.kind))
                            : json_null());
    command_json_set(object, "granularity",
                     ranged ? command_json_string(dynq_scope_name(node->range.scope))
                            : json_null());
    command_json_set(object, "scheme",
                     ranged ? command_json_string(dynq_scheme_name(node->range.scheme))
                            : json_null());
    command_json_set(object, "lo", limited ? command_json_number(node->range.lo) : json_null());
    command_json_set(object, "hi", limited ? command_json_number(node->range.hi) : json_null());
}

/* What only embeddings, attention and pooling have. */
static void set_operation(json_t *object, const dynq_node_info *node)
{
    const int attention = node->op == DYNQ_OP_ATTENTION;
    command_json_set(object, "table_rows",
                     has_table(node) ? command_json_integer(node->table_rows) : json_null());
    command_json_set(object, "first",
                     node->op == DYNQ_OP_POSITION ? command_json_integer(node->first)
                                                  : json_null());
    command_json_set(object, "heads", attention ? command_json_integer(node->heads) : json_null());
    command_json_set(object, "attention_scale",
                     attention ? command_json_number(node->scale) : json_null());
    command_json_set(object, "causal", attention ? json_boolean(node->causal) : json_null());
    command_json_set(object, "pooling",
                     node->op == DYNQ_OP_POOL
                         ? command_json_string(dynq_pooling_name(node->pooling))
                         : json_null());
}

/* How a linear layer stores its weights. */
static void set_weights(json_t *object, const dynq_node_info *node)
{
    const char *format = dynq_format_name(node->weight_format);
    const char *levels = dynq_levels_name(node->weight_levels);
    const char *scope = dynq_table_scope_name(node->table_scope);
    command_json_set(object, "weights", format != NULL ? command_json_string(format) : json_null());
    command_json_set(object, "group",
                     node->weight_group > 0 ? command_json_integer(node->weight_group)
                                            : json_null());
    command_json_set(object, "levels", levels != NULL ? command_json_string(levels) : json_null());
    command_json_set(object, "table", scope != NULL ? command_json_string(scope) : json_null());
}

/* `rows` of a batch that is one segment. */
static json_t *node_json(const dynq_node_info *node, const dynq_model *model, uint64_t rows)
{
    const int linear = node->op == DYNQ_OP_LINEAR;
    const int tokens = node->domain == DYNQ_DOMAIN_TOKENS;
    json_t *object = command_json_object();
    command_json_set(object, "name", command_json_string(node->name));
    command_json_set(object, "op", command_json_string(dynq_op_name(node->op)));
    json_t *inputs = command_json_array();
    for (uint32_t i = 0; i < node->input_count; i++) {
        dynq_node_info input = {.size = sizeof input};
        dynq_model_node(model, node->inputs[i], &input);
        command_json_append(inputs, command_json_string(input.name));
    }
    command_json_set(object, "inputs", inputs);
    command_json_set(object, "domain", command_json_string(dynq_domain_name(node->domain)));
    command_json_set(object, "m", command_json_integer(tokens ? rows : 1));
    command_json_set(object, "k", linear ? command_json_integer(node->k) : json_null());
    command_json_set(object, "n", command_json_integer(node->n));
    command_json_set(object, "precision",
                     command_json_string(dynq_precision_name(node->precision)));
    set_weights(object, node);
    set_range(object, node);
    set_operation(object, node);
    command_json_set(object, "parameters", command_json_integer(node->parameters));
    command_json_set(object, "weight_bytes", command_json_integer(node->weight_bytes));
    return object;
}

static size_t attachment_bytes(const dynq_model *model, const char *name)
{
    size_t size = 0;
    dynq_model_attachment(model, name, NULL, &size);
    return size;
}

static json_t *attachments_json(const dynq_model *model)
{
    json_t *attachments = command_json_array();
    const char *name = NULL;
    for (size_t i = 0; (name = dynq_model_attachment_name(model, i)) != NULL; i++) {
        json_t *attachment = command_json_object();
        command_json_set(attachment, "name", command_json_string(name));
        command_json_set(attachment, "bytes", command_json_integer(attachment_bytes(model, name)));
        command_json_append(attachments, attachment);
    }
    return attachments;
}

static void print_model_json(const dynq_model *model, const info_options *options)
{
    json_t *object = command_json_new("info");
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        command_json_append(nodes, node_json(&node, model, options->batch));
    }
    json_t *outputs = command_json_array();
    for (size_t i = 0; i < dynq_model_output_count(model); i++) {
        const char *name = NULL;
        dynq_model_output(model, i, &name, NULL);
        command_json_append(outputs, command_json_string(name));
    }
    const totals sum = count_totals(model);
    command_json_set(object, "nodes", nodes);
    command_json_set(object, "outputs", outputs);
    command_json_set(object, "attachments", attachments_json(model));
    command_json_set(object, "parameters", command_json_integer(sum.parameters));
    command_json_set(object, "weight_bytes", command_json_integer(sum.weight_bytes));
    command_json_set(object, "file_bytes", command_json_integer(dynq_model_file_bytes(model)));
    command_json_set(object, "verified", options->verify ? json_true() : json_null());
    command_json_print(object);
}

/* Inputs x outputs, rows x columns of a table, heads x their columns, or columns alone. */
static void add_shape(table *rows, const dynq_node_info *node)
{
    char shape[48];
    const size_t first = node->op == DYNQ_OP_LINEAR ? node->k
                         : has_table(node)          ? node->table_rows
                                                    : node->heads;
    const size_t second = node->op == DYNQ_OP_ATTENTION ? node->n / node->heads : node->n;
    if (first > 0) {
        snprintf(shape, sizeof shape, "%zux%zu", first, second);
    } else {
        snprintf(shape, sizeof shape, "%zu", second);
    }
    table_text(rows, shape);
}

/* Columns that a table of nodes may lack. A page of text is narrow, and names are long: of how
 * ranges are found there is only what nodes differ in, and the rest in a line; limits of
 * ranges get tables of their own. */
typedef struct node_columns {
    int kind, scope, scheme, limits, parameters;
    int weights; /* precision, format and group on their own; else they are one word */
    int levels;
} node_columns;

static node_columns columns_of(const dynq_model *model, table_format format,
                               dynq_range_rule *common)
{
    node_columns columns = {0};
    size_t ranged = 0;
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        columns.levels |= node.weight_levels != 0;
        if (has_range(&node)) {
            *common = ranged++ == 0 ? node.range : *common;
            columns.kind |= node.range.kind != common->kind;
            columns.scope |= node.range.scope != common->scope;
            columns.scheme |= node.range.scheme != common->scheme;
        }
    }
    if (format != TABLE_TEXT) {
        columns = (node_columns){1, 1, 1, format == TABLE_CSV, 1, 1, 1};
    }
    return columns;
}

/* How weights are stored where that says more than the precision, "int4/32" being int4 in groups of
 * 32; otherwise the precision. */
static void add_type(table *rows, const dynq_node_info *node)
{
    char text[32];
    const char *format = dynq_format_name(node->weight_format);
    const char *type = format != NULL ? format : dynq_precision_name(node->precision);
    if (node->weight_group > 0) {
        snprintf(text, sizeof text, "%s/%zu", type, node->weight_group);
        table_text(rows, text);
    } else {
        table_text(rows, type);
    }
}

static void add_weights(table *rows, const dynq_node_info *node)
{
    table_text(rows, dynq_precision_name(node->precision));
    table_text(rows, dynq_format_name(node->weight_format));
    if (node->weight_group > 0) {
        table_integer(rows, node->weight_group);
    } else {
        table_text(rows, NULL);
    }
}

static void add_row(table *rows, const dynq_node_info *node, const node_columns *columns)
{
    const int ranged = has_range(node);
    const int limited = has_limits(node);
    table_text(rows, node->name);
    table_text(rows, dynq_op_name(node->op));
    add_shape(rows, node);
    if (columns->weights) {
        add_weights(rows, node);
    } else {
        add_type(rows, node);
    }
    if (columns->levels) {
        table_text(rows, dynq_levels_name(node->weight_levels));
        table_text(rows, dynq_table_scope_name(node->table_scope));
    }
    if (columns->kind) {
        table_text(rows, ranged ? dynq_range_kind_name(node->range.kind) : NULL);
    }
    if (columns->scope) {
        table_text(rows, ranged ? dynq_scope_name(node->range.scope) : NULL);
    }
    if (columns->scheme) {
        table_text(rows, ranged ? dynq_scheme_name(node->range.scheme) : NULL);
    }
    if (columns->limits) {
        table_number(rows, limited ? (double)node->range.lo : NAN, 6);
        table_number(rows, limited ? (double)node->range.hi : NAN, 6);
    }
    if (columns->parameters) {
        table_integer(rows, node->parameters);
    }
    table_integer(rows, node->weight_bytes);
}

/* What all ranges have in common and no column says. */
static void print_common(const dynq_range_rule *common, const node_columns *columns)
{
    const char *const words[] = {columns->kind ? NULL : dynq_range_kind_name(common->kind),
                                 columns->scope ? NULL : dynq_scope_name(common->scope),
                                 columns->scheme ? NULL : dynq_scheme_name(common->scheme)};
    const char *before = "\nevery range: ";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (words[i] != NULL) {
            printf("%s%s", before, words[i]);
            before = ", ";
        }
    }
    if (before[0] == ',') {
        puts("");
    }
}

static void print_nodes(const dynq_model *model, table_format format)
{
    dynq_range_rule common = {0};
    const node_columns columns = columns_of(model, format, &common);
    table *rows = table_create();
    table_column(rows, "name", TABLE_NAME);
    table_column(rows, "op", TABLE_LEFT);
    table_column(rows, "shape", TABLE_RIGHT);
    if (columns.weights) {
        table_column(rows, "precision", TABLE_LEFT);
        table_column(rows, "weights", TABLE_LEFT);
        table_column(rows, "group", TABLE_RIGHT);
    } else {
        table_column(rows, "type", TABLE_LEFT);
    }
    if (columns.levels) {
        table_column(rows, "levels", TABLE_LEFT);
        table_column(rows, "table", TABLE_LEFT);
    }
    if (columns.kind) {
        table_column(rows, "range", TABLE_LEFT);
    }
    if (columns.scope) {
        table_column(rows, "granularity", TABLE_LEFT);
    }
    if (columns.scheme) {
        table_column(rows, "scheme", TABLE_LEFT);
    }
    if (columns.limits) {
        table_column(rows, "lo", TABLE_RIGHT);
        table_column(rows, "hi", TABLE_RIGHT);
    }
    if (columns.parameters) {
        table_column(rows, "params", TABLE_RIGHT);
    }
    table_column(rows, "bytes", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        add_row(rows, &node, &columns);
    }
    table_print(rows, format, stdout);
    table_free(rows);
    print_common(&common, &columns);
}

static void print_limits(const dynq_model *model, dynq_range_kind kind, const char *title,
                         table_format format)
{
    table *rows = table_create();
    size_t count = 0;
    table_column(rows, title, TABLE_NAME);
    table_column(rows, "lo", TABLE_RIGHT);
    table_column(rows, "hi", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        if (has_limits(&node) && node.range.kind == kind) {
            table_text(rows, node.name);
            table_number(rows, node.range.lo, 6);
            table_number(rows, node.range.hi, 6);
            count++;
        }
    }
    if (count > 0) {
        puts("");
        table_print(rows, format, stdout);
    }
    table_free(rows);
}

static void print_model(const dynq_model *model, const info_options *options, table_format format)
{
    print_nodes(model, format);
    if (format == TABLE_CSV) {
        return;
    }
    print_limits(model, DYNQ_RANGE_STATIC, "static range of", format);
    print_limits(model, DYNQ_RANGE_DYNAMIC, "dynamic range of, cut to", format);
    const totals sum = count_totals(model);
    const char *name = NULL;
    printf("\noutputs:");
    for (size_t i = 0; i < dynq_model_output_count(model); i++) {
        dynq_model_output(model, i, &name, NULL);
        printf("%s %s", i > 0 ? "," : "", name);
    }
    for (size_t i = 0; (name = dynq_model_attachment_name(model, i)) != NULL; i++) {
        printf("%s %s (%zu bytes)", i > 0 ? "," : "\nattachments:", name,
               attachment_bytes(model, name));
    }
    printf("\n%zu nodes, %zu of them linear, %llu parameters\n", dynq_model_node_count(model),
           sum.linear, (unsigned long long)sum.parameters);
    printf("%llu bytes of weights in a file of %llu bytes\n", (unsigned long long)sum.weight_bytes,
           (unsigned long long)dynq_model_file_bytes(model));
    if (options->verify) {
        puts("verified: every weight is as the format asks");
    }
}

static exit_code run(const command_call *call)
{
    const info_options *options = call->options;
    if (call->argument_count == 0 && options->verify) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--verify checks a model: give the file, `dynq info MODEL --verify`");
    }
    if (call->argument_count == 1 && options->kernels) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--kernels is about the machine: leave MODEL out");
    }
    if (call->argument_count == 0) {
        info_machine(call, options->kernels);
        return EXIT_CODE_DONE;
    }
    const char *path = call->arguments[0];
    dynq_model *model = NULL;
    exit_code code = command_open_model(call, path, &model);
    if (code == EXIT_CODE_DONE && options->verify) {
        dynq_error error = {0};
        const dynq_status status = dynq_model_verify(model, &error);
        if (status != DYNQ_OK) {
            code = command_fail_status(call->command, status, &error, path);
        }
    }
    if (code == EXIT_CODE_DONE && call->common.json) {
        print_model_json(model, options);
    } else if (code == EXIT_CODE_DONE) {
        print_model(model, options, call->common.format);
    }
    dynq_model_free(model);
    return code;
}

const command command_info = {
    .name = "info",
    .summary = "show a model's nodes, or what this machine can do",
    .usage = "[MODEL] [options]",
    .description = "Shows the nodes of a model: shapes, precision, where ranges come from, "
                   "parameters and bytes. Without MODEL it shows the machine: CPU, kernels and "
                   "engines.",
    .example = "dynq info mlp-int8.safetensors --verify",
    .entries = entries,
    .options_size = sizeof(info_options),
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_FORMAT,
    .run = run,
};
