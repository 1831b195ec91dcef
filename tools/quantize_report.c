/* What `dynq quantize` says it did. */
#include "tools/quantize.h"

#include "tools/allocate.h"
#include "tools/output.h"

#include <dynq/compare.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What happened to one node with parameters or attention. */
typedef struct node_report {
    dynq_node_info info;     /* of the quantized model, to which its name belongs */
    dynq_quantize_rule wish; /* what was wanted of it */
    int linear;              /* in INT8 or INT16: has a range */
    int coded;               /* a linear layer with scales of weights, if only simulated */
    double weight_sqnr_db;   /* infinite where the weights are unchanged, or none */
    uint64_t bytes_before;
} node_report;

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
static size_t report_nodes(const quantize_job *job, const dynq_model *after, node_report **reports)
{
    size_t count = 0;
    *reports = allocate(dynq_model_node_count(job->model), sizeof **reports);
    for (size_t i = 0; i < dynq_model_node_count(job->model); i++) {
        dynq_node_info old = {.size = sizeof old};
        dynq_model_node(job->model, i, &old);
        const long index = dynq_model_find(after, old.name);
        if ((old.parameters == 0 && old.op != DYNQ_OP_ATTENTION) || index < 0) {
            continue;
        }
        node_report *report = &(*reports)[count++];
        *report = (node_report){.info = {.size = sizeof report->info},
                                .weight_sqnr_db = INFINITY,
                                .bytes_before = old.weight_bytes};
        dynq_model_node(after, (size_t)index, &report->info);
        dynq_quantize_resolve(job->model, &job->wanted, i, &report->wish, NULL);
        report->linear = dynq_range_kind_name(report->info.range.kind) != NULL;
        report->coded = old.op == DYNQ_OP_LINEAR && dynq_format_bits(report->wish.weights) > 0 &&
                        report->wish.precision != DYNQ_PRECISION_FP32;
        if (report->wish.weights != DYNQ_FORMAT_FP32 && old.parameters > 0) {
            report->weight_sqnr_db = weight_sqnr(job->model, i, after, (size_t)index, &old);
        }
    }
    return count;
}

static int has_limits(const node_report *report)
{
    const dynq_range_rule *range = &report->info.range;
    return range->kind == DYNQ_RANGE_STATIC || range->lo != 0 || range->hi != 0;
}

/* The text where it concerns the node, otherwise null. */
static json_t *text_or_null(int concerns, const char *text)
{
    return concerns ? command_json_string(text) : json_null();
}

static json_t *number_or_null(int concerns, double number)
{
    return concerns ? command_json_number(number) : json_null();
}

static void set_range(json_t *node, const node_report *report)
{
    const dynq_range_rule *range = &report->info.range;
    const int limited = report->linear && has_limits(report);
    command_json_set(node, "range",
                     text_or_null(report->linear, dynq_range_kind_name(range->kind)));
    command_json_set(node, "granularity",
                     text_or_null(report->linear, dynq_scope_name(range->scope)));
    command_json_set(node, "scheme", text_or_null(report->linear, dynq_scheme_name(range->scheme)));
    command_json_set(node, "method",
                     text_or_null(limited, dynq_calibration_method_name(report->wish.method)));
    command_json_set(node, "lo", number_or_null(limited, (double)range->lo));
    command_json_set(node, "hi", number_or_null(limited, (double)range->hi));
}

static json_t *switch_or_null(const node_report *report, dynq_switch wanted)
{
    return report->linear ? json_boolean(wanted == DYNQ_SWITCH_ON) : json_null();
}

/* Inputs of a group of weights; 0: none. */
static int group_of(dynq_weight_granularity granularity)
{
    return granularity == DYNQ_WEIGHTS_PER_GROUP_32    ? 32
           : granularity == DYNQ_WEIGHTS_PER_GROUP_64  ? 64
           : granularity == DYNQ_WEIGHTS_PER_GROUP_128 ? 128
                                                       : 0;
}

static int has_levels(const node_report *report)
{
    return report->coded &&
           (report->wish.weights == DYNQ_FORMAT_INT4 || report->wish.weights == DYNQ_FORMAT_INT2 ||
            report->wish.levels != DYNQ_LEVELS_UNIFORM);
}

static void set_weights(json_t *node, const node_report *report)
{
    const dynq_quantize_rule *wish = &report->wish;
    const int group = report->coded ? group_of(wish->weight_granularity) : 0;
    const int levels = has_levels(report);
    command_json_set(node, "weights",
                     text_or_null(report->info.parameters > 0, dynq_format_name(wish->weights)));
    command_json_set(
        node, "weight_granularity",
        text_or_null(report->coded, dynq_weight_granularity_name(wish->weight_granularity)));
    command_json_set(node, "group",
                     group > 0 ? command_json_integer((uint64_t)group) : json_null());
    command_json_set(node, "levels", text_or_null(levels, dynq_levels_name(wish->levels)));
    command_json_set(node, "table", text_or_null(levels, dynq_table_scope_name(wish->table)));
    command_json_set(node, "clip_weights",
                     report->coded ? json_boolean(wish->clip_weights == DYNQ_SWITCH_ON)
                                   : json_null());
    command_json_set(node, "feedback",
                     report->coded ? json_boolean(wish->feedback == DYNQ_SWITCH_ON) : json_null());
}

static json_t *node_json(const node_report *report)
{
    const dynq_quantize_rule *wish = &report->wish;
    const int dynamic = report->info.range.kind == DYNQ_RANGE_DYNAMIC;
    json_t *node = command_json_object();
    command_json_set(node, "name", command_json_string(report->info.name));
    command_json_set(node, "precision",
                     command_json_string(dynq_precision_name(report->info.precision)));
    set_range(node, report);
    set_weights(node, report);
    command_json_set(node, "clip_ranges",
                     switch_or_null(report, dynamic ? wish->clip_ranges : DYNQ_SWITCH_OFF));
    command_json_set(node, "correct_bias",
                     wish->weights != DYNQ_FORMAT_FP32 && report->info.op == DYNQ_OP_LINEAR
                         ? json_boolean(wish->correct_bias == DYNQ_SWITCH_ON)
                         : json_null());
    command_json_set(node, "weight_sqnr_db", command_json_number(report->weight_sqnr_db));
    command_json_set(node, "bytes_before", command_json_integer(report->bytes_before));
    command_json_set(node, "bytes_after", command_json_integer(report->info.weight_bytes));
    return node;
}

static void print_json(const command_call *call, const quantize_job *job,
                       const node_report *reports, size_t count, uint64_t bytes_before,
                       uint64_t bytes_after)
{
    const quantize_options *options = call->options;
    json_t *object = command_json_new("quantize");
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < count; i++) {
        command_json_append(nodes, node_json(&reports[i]));
    }
    command_json_set(object, "nodes", nodes);
    command_json_set(object, "simulated", json_boolean(options->simulate));
    command_json_set(object, "smoothed", json_boolean(options->smooth != NULL));
    command_json_set(object, "alpha", number_or_null(job->alpha > 0, job->alpha));
    command_json_set(object, "compression",
                     command_json_number((double)bytes_before / (double)bytes_after));
    command_json_set(object, "file_bytes_before", command_json_integer(bytes_before));
    command_json_set(object, "file_bytes_after", command_json_integer(bytes_after));
    command_json_set(object, "file", command_json_string(options->out));
    command_json_print(object);
}

/* "static entropy", "dynamic row, mse". */
static void describe_range(const node_report *report, char *text, size_t size)
{
    const dynq_range_rule *range = &report->info.range;
    const char *kind = dynq_range_kind_name(range->kind);
    const char *method = dynq_calibration_method_name(report->wish.method);
    if (range->kind == DYNQ_RANGE_STATIC) {
        snprintf(text, size, "%s %s", kind, method);
    } else {
        snprintf(text, size, "%s %s%s%s", kind, dynq_scope_name(range->scope),
                 has_limits(report) ? ", " : "", has_limits(report) ? method : "");
    }
}

/* "int8", "int4/32 clusters": format, what shares a scale unless it is the column, and levels. */
static void describe_weights(const node_report *report, char *text, size_t size)
{
    const dynq_quantize_rule *wish = &report->wish;
    const int group = group_of(wish->weight_granularity);
    char scope[32] = "", levels[32] = "";
    if (report->coded && group > 0) {
        snprintf(scope, sizeof scope, "/%d", group);
    } else if (report->coded && wish->weight_granularity != DYNQ_WEIGHTS_PER_COLUMN) {
        snprintf(scope, sizeof scope, "/%s",
                 dynq_weight_granularity_name(wish->weight_granularity));
    }
    if (has_levels(report) && wish->levels != DYNQ_LEVELS_UNIFORM) {
        snprintf(levels, sizeof levels, " %s", dynq_levels_name(wish->levels));
    }
    snprintf(text, size, "%s%s%s", dynq_format_name(wish->weights), scope, levels);
}

static void print_table(const node_report *reports, size_t count, table_format format)
{
    const int narrow = format == TABLE_TEXT; /* a terminal: room for names */
    table *rows = table_create();
    table_column(rows, "name", TABLE_NAME);
    if (!narrow) {
        table_column(rows, "precision", TABLE_LEFT);
    }
    table_column(rows, narrow ? "type" : "weights", TABLE_LEFT);
    table_column(rows, "range", TABLE_LEFT);
    table_column(rows, narrow ? "SQNR" : "weight SQNR dB", TABLE_RIGHT);
    table_column(rows, narrow ? "B before" : "bytes before", TABLE_RIGHT);
    table_column(rows, narrow ? "B after" : "bytes after", TABLE_RIGHT);
    for (size_t i = 0; i < count; i++) {
        const node_report *report = &reports[i];
        char range[64] = "", weights[64] = "";
        describe_weights(report, weights, sizeof weights);
        if (report->linear) {
            describe_range(report, range, sizeof range);
        }
        table_text(rows, report->info.name);
        if (!narrow) {
            table_text(rows, dynq_precision_name(report->info.precision));
        }
        table_text(rows, weights);
        table_text(rows, report->linear ? range : NULL);
        table_number(rows, isfinite(report->weight_sqnr_db) ? report->weight_sqnr_db : NAN, 2);
        table_integer(rows, report->bytes_before);
        table_integer(rows, report->info.weight_bytes);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

exit_code quantize_report(const command_call *call, const quantize_job *job,
                          const dynq_model *quantized, uint64_t bytes_before)
{
    const quantize_options *options = call->options;
    const uint64_t bytes_after = dynq_model_file_bytes(quantized);
    dynq_error error = {0};
    /* Renamed into place: where it replaces MODEL, the mapping keeps the old contents. */
    const dynq_status status = dynq_model_save(quantized, options->out, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->out);
    }
    node_report *reports = NULL;
    const size_t count = report_nodes(job, quantized, &reports);
    if (call->common.json) {
        print_json(call, job, reports, count, bytes_before, bytes_after);
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
