#include "tools/command.h"

#include "tools/info_machine.h"
#include "tools/output.h"

#include <dynq/model.h>
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

static int is_quantized(const dynq_node_info *node)
{
    return node->precision == DYNQ_PRECISION_INT8;
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

static json_t *node_json(const dynq_node_info *node, const dynq_model *model, uint64_t rows)
{
    const int linear = node->op == DYNQ_OP_LINEAR;
    const int int8 = is_quantized(node);
    const int fixed = int8 && node->range.kind == DYNQ_RANGE_STATIC;
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
    command_json_set(object, "m", command_json_integer(rows));
    command_json_set(object, "k", linear ? command_json_integer(node->k) : json_null());
    command_json_set(object, "n", command_json_integer(node->n));
    command_json_set(object, "precision",
                     command_json_string(dynq_precision_name(node->precision)));
    command_json_set(object, "range",
                     int8 ? command_json_string(dynq_range_kind_name(node->range.kind))
                          : json_null());
    command_json_set(object, "granularity",
                     int8 ? command_json_string(dynq_scope_name(node->range.scope)) : json_null());
    command_json_set(object, "scheme",
                     int8 ? command_json_string(dynq_scheme_name(node->range.scheme))
                          : json_null());
    command_json_set(object, "lo", fixed ? command_json_number(node->range.lo) : json_null());
    command_json_set(object, "hi", fixed ? command_json_number(node->range.hi) : json_null());
    command_json_set(object, "parameters", command_json_integer(node->parameters));
    command_json_set(object, "weight_bytes", command_json_integer(node->weight_bytes));
    return object;
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
    command_json_set(object, "parameters", command_json_integer(sum.parameters));
    command_json_set(object, "weight_bytes", command_json_integer(sum.weight_bytes));
    command_json_set(object, "file_bytes", command_json_integer(dynq_model_file_bytes(model)));
    command_json_set(object, "verified", options->verify ? json_true() : json_null());
    command_json_print(object);
}

static void add_row(table *rows, const dynq_node_info *node, int with_range)
{
    char shape[48];
    const int int8 = is_quantized(node);
    const int fixed = int8 && node->range.kind == DYNQ_RANGE_STATIC;
    if (node->op == DYNQ_OP_LINEAR) {
        snprintf(shape, sizeof shape, "%zux%zu", node->k, node->n);
    } else {
        snprintf(shape, sizeof shape, "%zu", node->n);
    }
    table_text(rows, node->name);
    table_text(rows, dynq_op_name(node->op));
    table_text(rows, shape);
    table_text(rows, dynq_precision_name(node->precision));
    table_text(rows, int8 ? dynq_range_kind_name(node->range.kind) : NULL);
    table_text(rows, int8 ? dynq_scope_name(node->range.scope) : NULL);
    table_text(rows, int8 ? dynq_scheme_name(node->range.scheme) : NULL);
    if (with_range && fixed) {
        table_number(rows, node->range.lo, 6);
        table_number(rows, node->range.hi, 6);
    } else if (with_range) {
        table_empty(rows);
        table_empty(rows);
    }
    table_integer(rows, node->parameters);
    table_integer(rows, node->weight_bytes);
}

/* Nodes; with_range adds the limits of static ranges, for which a page of text is too narrow. */
static void print_nodes(const dynq_model *model, table_format format, int with_range)
{
    table *rows = table_create();
    table_column(rows, "name", TABLE_LEFT);
    table_column(rows, "op", TABLE_LEFT);
    table_column(rows, "shape", TABLE_RIGHT);
    table_column(rows, "precision", TABLE_LEFT);
    table_column(rows, "range", TABLE_LEFT);
    table_column(rows, "granularity", TABLE_LEFT);
    table_column(rows, "scheme", TABLE_LEFT);
    if (with_range) {
        table_column(rows, "lo", TABLE_RIGHT);
        table_column(rows, "hi", TABLE_RIGHT);
    }
    table_column(rows, "params", TABLE_RIGHT);
    table_column(rows, "bytes", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        add_row(rows, &node, with_range);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

static void print_static_ranges(const dynq_model *model, table_format format)
{
    table *rows = table_create();
    size_t count = 0;
    table_column(rows, "static range of", TABLE_LEFT);
    table_column(rows, "lo", TABLE_RIGHT);
    table_column(rows, "hi", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        if (is_quantized(&node) && node.range.kind == DYNQ_RANGE_STATIC) {
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
    print_nodes(model, format, format == TABLE_CSV);
    if (format == TABLE_CSV) {
        return;
    }
    print_static_ranges(model, format);
    const totals sum = count_totals(model);
    printf("\noutputs:");
    for (size_t i = 0; i < dynq_model_output_count(model); i++) {
        const char *name = NULL;
        dynq_model_output(model, i, &name, NULL);
        printf("%s %s", i > 0 ? "," : "", name);
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
