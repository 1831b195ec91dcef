#include "tools/command.h"

#include "tools/allocate.h"
#include "tools/output.h"

#include <dynq/calibration.h>
#include <dynq/compare.h>
#include <dynq/quantize.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantize_options {
    const char *out, *calibration;
    int ranges, granularity, scheme, method;
    option_list rules;
} quantize_options;

/* Choices are in the order of the library's enumerations, which begin with 1, as choices do. */
static const option_entry entries[] = {
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, out),
     .argument = "FILE",
     .help = "where to write the INT8 model; may be MODEL itself",
     .required = 1},
    {.name = "ranges",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, ranges),
     .help = "where the ranges of activations come from: found while running, or measured before",
     .initial = "dynamic",
     .choices = "dynamic|static"},
    {.name = "granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, granularity),
     .argument = "SCOPE",
     .help = "what shares one dynamic range: segment (a request), tensor (the batch) or row",
     .initial = "segment",
     .choices = "segment|tensor|row"},
    {.name = "scheme",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, scheme),
     .help = "with a zero point or without",
     .initial = "affine",
     .choices = "affine|symmetric"},
    {.name = "calibration",
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, calibration),
     .argument = "FILE",
     .help = "from `dynq calibrate`; needed for static ranges"},
    {.name = "method",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, method),
     .argument = "NAME",
     .help = "how a static range is chosen: max",
     .initial = "max",
     .choices = "max"},
    {.name = "rule",
     .kind = OPTION_LIST,
     .offset = offsetof(quantize_options, rules),
     .argument = "'GLOB=VALUE[,VALUE]'",
     .help = "for the linear nodes, embeddings and attention nodes that match, the last match "
             "wins; VALUE: fp32, int8, and for linear nodes static, dynamic, segment, tensor, row, "
             "affine, symmetric"},
    {.name = NULL},
};

/* What happened to one node with parameters or attention. */
typedef struct node_report {
    const char *name; /* belongs to the model */
    dynq_precision precision;
    dynq_range_rule range; /* linear in INT8 only */
    double weight_sqnr_db; /* infinite where the weights are unchanged, or none */
    uint64_t bytes_before, bytes_after;
} node_report;

/* Rules as the library takes them; their patterns live in `texts`. */
typedef struct rule_set {
    dynq_quantize_rule *rules;
    char **texts;
    size_t count;
} rule_set;

static void rule_set_free(rule_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->texts[i]);
    }
    free(set->texts);
    free(set->rules);
}

static exit_code parse_rules(const command_call *call, rule_set *set)
{
    const quantize_options *options = call->options;
    set->rules = allocate(options->rules.count, sizeof *set->rules);
    set->texts = allocate(options->rules.count, sizeof *set->texts);
    for (size_t i = 0; i < options->rules.count; i++) {
        const char *text = options->rules.items[i];
        const size_t size = strlen(text) + 1;
        dynq_error error = {0};
        set->texts[i] = allocate(size, 1);
        set->count = i + 1;
        const dynq_status status =
            dynq_quantize_rule_parse(text, set->texts[i], size, &set->rules[i], &error);
        if (status != DYNQ_OK) {
            return command_fail_status(call->command, status, &error, text);
        }
    }
    return EXIT_CODE_DONE;
}

static int wants_static(const quantize_options *options, const rule_set *set)
{
    int wanted = options->ranges == DYNQ_RANGE_STATIC;
    for (size_t i = 0; i < set->count; i++) {
        wanted = wanted || set->rules[i].range == DYNQ_RANGE_STATIC;
    }
    return wanted;
}

static exit_code check_fp32(const command_call *call, const dynq_model *model)
{
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        if (node.precision == DYNQ_PRECISION_INT8) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: is INT8 already (node '%s'): give the FP32 model",
                                call->arguments[0], node.name);
        }
    }
    return EXIT_CODE_DONE;
}

static int has_data(const dynq_calibration *calibration, const char *value)
{
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        if (strcmp(entry.value, value) == 0) {
            return entry.rows > 0;
        }
    }
    return 0;
}

/* A calibration of another model is a wrong file, not a wrong option. */
static exit_code check_calibration(const command_call *call, const dynq_model *model,
                                   const dynq_calibration *calibration)
{
    const quantize_options *options = call->options;
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_node_info input = {.size = sizeof input};
        dynq_model_node(model, i, &node);
        if (node.op != DYNQ_OP_LINEAR) {
            continue;
        }
        dynq_model_node(model, node.inputs[0], &input);
        if (!has_data(calibration, input.name)) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: says nothing about '%s', which node '%s' of %s reads: "
                                "calibrate this model with `dynq calibrate`",
                                options->calibration, input.name, node.name, call->arguments[0]);
        }
    }
    return EXIT_CODE_DONE;
}

/* Opens --calibration where static ranges need it. */
static exit_code open_calibration(const command_call *call, const dynq_model *model,
                                  const rule_set *set, dynq_calibration **calibration)
{
    const quantize_options *options = call->options;
    if (!wants_static(options, set)) {
        return EXIT_CODE_DONE;
    }
    if (options->calibration == NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "static ranges need --calibration CAL: make it with `dynq calibrate "
                            "MODEL --data X -o CAL`");
    }
    dynq_error error = {0};
    const dynq_status status =
        dynq_calibration_open(options->calibration, NULL, calibration, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->calibration);
    }
    return check_calibration(call, model, *calibration);
}

static double weight_sqnr(const dynq_model *before, size_t before_index, const dynq_model *after,
                          size_t after_index, const dynq_node_info *node)
{
    const size_t rows = node->op == DYNQ_OP_LINEAR ? node->n : node->table_rows;
    const size_t columns = node->op == DYNQ_OP_LINEAR ? node->k : node->n;
    const size_t count = rows * columns;
    float *reference = allocate(count, sizeof *reference);
    float *restored = allocate(count, sizeof *restored);
    dynq_metrics metrics = {0};
    double sqnr = NAN;
    if (dynq_model_weights(before, before_index, reference, count) == DYNQ_OK &&
        dynq_model_weights(after, after_index, restored, count) == DYNQ_OK) {
        dynq_metrics_add(&metrics, rows, columns, reference, 0, restored, 0);
        sqnr = dynq_metrics_result(&metrics).sqnr_db;
    }
    free(reference);
    free(restored);
    return sqnr;
}

/* One report for each node with parameters or attention; released with free(). */
static size_t report_nodes(const dynq_model *before, const dynq_model *after, node_report **reports)
{
    size_t count = 0;
    *reports = allocate(dynq_model_node_count(before), sizeof **reports);
    for (size_t i = 0; i < dynq_model_node_count(before); i++) {
        dynq_node_info old = {.size = sizeof old};
        dynq_node_info new = {.size = sizeof new};
        dynq_model_node(before, i, &old);
        const long index = dynq_model_find(after, old.name);
        if ((old.parameters == 0 && old.op != DYNQ_OP_ATTENTION) || index < 0) {
            continue;
        }
        dynq_model_node(after, (size_t)index, &new);
        const int coded = new.precision == DYNQ_PRECISION_INT8 &&old.parameters > 0;
        (*reports)[count++] = (node_report){
            .name = new.name,
            .precision = new.precision,
            .range = new.range,
            .weight_sqnr_db = coded ? weight_sqnr(before, i, after, (size_t)index, &old) : INFINITY,
            .bytes_before = old.weight_bytes,
            .bytes_after = new.weight_bytes,
        };
    }
    return count;
}

static void print_json(const node_report *reports, size_t count, uint64_t bytes_before,
                       uint64_t bytes_after, const char *path)
{
    json_t *object = command_json_new("quantize");
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < count; i++) {
        const node_report *report = &reports[i];
        const int ranged = dynq_range_kind_name(report->range.kind) != NULL;
        json_t *node = command_json_object();
        command_json_set(node, "name", command_json_string(report->name));
        command_json_set(node, "precision",
                         command_json_string(dynq_precision_name(report->precision)));
        command_json_set(node, "range",
                         ranged ? command_json_string(dynq_range_kind_name(report->range.kind))
                                : json_null());
        command_json_set(node, "granularity",
                         ranged ? command_json_string(dynq_scope_name(report->range.scope))
                                : json_null());
        command_json_set(node, "scheme",
                         ranged ? command_json_string(dynq_scheme_name(report->range.scheme))
                                : json_null());
        command_json_set(node, "weight_sqnr_db", command_json_number(report->weight_sqnr_db));
        command_json_set(node, "bytes_before", command_json_integer(report->bytes_before));
        command_json_set(node, "bytes_after", command_json_integer(report->bytes_after));
        command_json_append(nodes, node);
    }
    command_json_set(object, "nodes", nodes);
    command_json_set(object, "compression",
                     command_json_number((double)bytes_before / (double)bytes_after));
    command_json_set(object, "file_bytes_before", command_json_integer(bytes_before));
    command_json_set(object, "file_bytes_after", command_json_integer(bytes_after));
    command_json_set(object, "file", command_json_string(path));
    command_json_print(object);
}

static void print_table(const node_report *reports, size_t count, table_format format)
{
    const int narrow = format == TABLE_TEXT; /* a terminal: room for names */
    table *rows = table_create();
    table_column(rows, "name", TABLE_NAME);
    table_column(rows, narrow ? "type" : "precision", TABLE_LEFT);
    table_column(rows, "range", TABLE_LEFT);
    table_column(rows, narrow ? "SQNR" : "weight SQNR dB", TABLE_RIGHT);
    table_column(rows, narrow ? "B before" : "bytes before", TABLE_RIGHT);
    table_column(rows, narrow ? "B after" : "bytes after", TABLE_RIGHT);
    for (size_t i = 0; i < count; i++) {
        const node_report *report = &reports[i];
        const int ranged = dynq_range_kind_name(report->range.kind) != NULL;
        char range[64] = "";
        if (ranged && report->range.kind == DYNQ_RANGE_STATIC) {
            snprintf(range, sizeof range, "%s", dynq_range_kind_name(report->range.kind));
        } else if (ranged) {
            snprintf(range, sizeof range, "%s %s", dynq_range_kind_name(report->range.kind),
                     dynq_scope_name(report->range.scope));
        }
        table_text(rows, report->name);
        table_text(rows, dynq_precision_name(report->precision));
        table_text(rows, ranged ? range : NULL);
        table_number(rows, isfinite(report->weight_sqnr_db) ? report->weight_sqnr_db : NAN, 2);
        table_integer(rows, report->bytes_before);
        table_integer(rows, report->bytes_after);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

static exit_code save_and_report(const command_call *call, const dynq_model *before,
                                 const dynq_model *after)
{
    const quantize_options *options = call->options;
    const uint64_t bytes_before = dynq_model_file_bytes(before);
    const uint64_t bytes_after = dynq_model_file_bytes(after);
    dynq_error error = {0};
    /* Renamed into place: where it replaces MODEL, the mapping keeps the old contents. */
    const dynq_status status = dynq_model_save(after, options->out, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->out);
    }
    node_report *reports = NULL;
    const size_t count = report_nodes(before, after, &reports);
    if (call->common.json) {
        print_json(reports, count, bytes_before, bytes_after, options->out);
    } else {
        print_table(reports, count, call->common.format);
        if (call->common.format != TABLE_CSV) {
            printf("\nfile: %llu bytes before, %llu after, compression %.2f\n",
                   (unsigned long long)bytes_before, (unsigned long long)bytes_after,
                   (double)bytes_before / (double)bytes_after);
        }
        command_note(call, "wrote %s", options->out);
    }
    free(reports);
    return EXIT_CODE_DONE;
}

static exit_code quantize(const command_call *call, const dynq_model *model, const rule_set *set,
                          const dynq_calibration *calibration)
{
    const quantize_options *options = call->options;
    const dynq_quantize_options wanted = {
        .size = sizeof wanted,
        .range = (dynq_range_kind)options->ranges,
        .scope = (dynq_scope)options->granularity,
        .scheme = (dynq_scheme)options->scheme,
        .calibration = calibration,
        .method = (dynq_calibration_method)options->method,
        .rules = set->rules,
        .rule_count = set->count,
    };
    dynq_model *quantized = NULL;
    dynq_error error = {0};
    const dynq_status status = dynq_quantize(model, &wanted, &quantized, &error);
    if (status != DYNQ_OK) {
        const int rule = status == DYNQ_ERR_NOT_FOUND;
        return command_fail_status(call->command, status, &error, rule ? NULL : call->arguments[0]);
    }
    const exit_code code = save_and_report(call, model, quantized);
    dynq_model_free(quantized);
    return code;
}

static exit_code run(const command_call *call)
{
    rule_set set = {0};
    dynq_model *model = NULL;
    dynq_calibration *calibration = NULL;
    exit_code code = parse_rules(call, &set);
    if (code == EXIT_CODE_DONE) {
        code = command_open_model(call, call->arguments[0], &model);
    }
    if (code == EXIT_CODE_DONE) {
        code = check_fp32(call, model);
    }
    if (code == EXIT_CODE_DONE) {
        code = open_calibration(call, model, &set, &calibration);
    }
    if (code == EXIT_CODE_DONE) {
        code = quantize(call, model, &set, calibration);
    }
    dynq_calibration_free(calibration);
    dynq_model_free(model);
    rule_set_free(&set);
    return code;
}

const command command_quantize = {
    .name = "quantize",
    .summary = "make an INT8 model of an FP32 one",
    .usage = "MODEL -o OUT [options]",
    .description = "Quantizes the weights of linear nodes to INT8, one scale per output column, "
                   "and sets how the ranges of their inputs are found: while the model runs "
                   "(dynamic) or from a calibration (static). Tables of embeddings get one scale "
                   "per row, attention computes in INT8.",
    .example = "dynq quantize mlp.safetensors -o mlp-int8.safetensors --rule 'logits=fp32'",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(quantize_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_FORMAT,
    .run = run,
};
