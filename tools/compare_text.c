#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/baseline.h"
#include "tools/output.h"

/* Layers in the terminal: those with the largest errors; the page and --json have all. */
#define MOST_LAYERS 10
#define BAR_CELLS   16

void compare_describe_data(const comparison *self, char *text, size_t size)
{
    const unsigned threads = self->call->common.threads;
    snprintf(text, size, "%zu rows of %s in batches of %llu, %u thread%s, FP32 on %s",
             self->data.rows, self->options->data, (unsigned long long)self->options->batch,
             threads, threads == 1 ? "" : "s", self->engine_name);
}

int compare_describe_latency(const comparison *self, char *text, size_t size)
{
    char engines[200];
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        if (variant->timed_count > 0) {
            baseline_describe(engines, sizeof engines);
            snprintf(text, size, "Latency of %s: on %s, the fastest of %s", variant->name,
                     variant->ms_engine, engines);
            return 1;
        }
    }
    return 0;
}

int compare_describe_calibration(const comparison *self, char *text, size_t size)
{
    if (self->calibration_rows == 0) {
        return 0;
    }
    if (self->held_out > 0) {
        snprintf(text, size,
                 "Static ranges: from the first %zu of the %zu rows, which are left out of the "
                 "evaluation of every variant (--calibration-data gives other rows)",
                 self->held_out, self->x.rows);
    } else {
        snprintf(text, size, "Static ranges: from %zu rows of %s", self->calibration_rows,
                 self->options->calibration_data);
    }
    return 1;
}

static void add_columns(table *rows, int wide)
{
    table_column(rows, "variant", TABLE_LEFT);
    table_column(rows, wide ? "accuracy %" : "acc %", TABLE_RIGHT);
    table_column(rows, "points", TABLE_RIGHT);
    table_column(rows, wide ? "top-1 agreement %" : "agree %", TABLE_RIGHT);
    if (wide) {
        table_column(rows, "mean cosine", TABLE_RIGHT);
    }
    table_column(rows, wide ? "least cosine" : "min cos", TABLE_RIGHT);
    table_column(rows, wide ? "SQNR dB" : "SQNR", TABLE_RIGHT);
    if (wide) {
        table_column(rows, "max |error|", TABLE_RIGHT);
        table_column(rows, "mean |error|", TABLE_RIGHT);
        table_column(rows, "mean error %", TABLE_RIGHT);
    }
    table_column(rows, wide ? "ms per run" : "ms/run", TABLE_RIGHT);
    table_column(rows, wide ? "weight bytes" : "bytes", TABLE_RIGHT);
}

static void print_variants(const comparison *self)
{
    const table_format format = self->call->common.format;
    const int wide = format != TABLE_TEXT;
    table *rows = table_create();
    add_columns(rows, wide);
    const double reference = evaluate_share_correct(&self->variants[0], &self->data);
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
        const double accuracy = evaluate_share_correct(variant, &self->data);
        table_text(rows, variant->name);
        table_number(rows, 100 * accuracy, 2);
        table_number(rows, v == 0 ? NAN : 100 * (accuracy - reference), 2);
        table_number(rows, 100 * output.top1_agreement, 2);
        if (wide) {
            table_number(rows, output.cosine_mean, 6);
        }
        table_number(rows, output.cosine_min, wide ? 6 : 4);
        table_number(rows, output.sqnr_db, wide ? 2 : 1);
        if (wide) {
            table_number(rows, output.max_abs_error, 6);
            table_number(rows, output.mean_abs_error, 6);
            table_number(rows, output.mean_abs_pct_error, 4);
        }
        table_number(rows, variant->ms.median, 4);
        table_integer(rows, variant->weight_bytes);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

/* A bar of up to BAR_CELLS cells in eighths. */
static void make_bar(char *text, size_t size, double share)
{
    static const char *const eighths[] = {"",
                                          "\xE2\x96\x8F",
                                          "\xE2\x96\x8E",
                                          "\xE2\x96\x8D",
                                          "\xE2\x96\x8C",
                                          "\xE2\x96\x8B",
                                          "\xE2\x96\x8A",
                                          "\xE2\x96\x89"};
    const int cells = share > 0 ? (int)ceil(fmin(share, 1) * BAR_CELLS * 8) : 0;
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < cells / 8; i++) {
        used += (size_t)snprintf(text + used, size - used, "\xE2\x96\x88");
    }
    snprintf(text + used, size - used, "%s", eighths[cells % 8]);
}

/* The largest error shown, which the bars are drawn against. */
static double largest_error(const comparison *self, const size_t *layers, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t v = 1; v < self->count; v++) {
            const evaluate_node *node =
                compare_node(&self->variants[v], self->inputs[layers[i]].layer);
            largest = node != NULL ? fmax(largest, compare_error_pct(node)) : largest;
        }
    }
    return largest;
}

static void print_layers(const comparison *self)
{
    size_t layers[MOST_LAYERS];
    const size_t count = compare_worst_layers(self, layers, MOST_LAYERS);
    const double largest = largest_error(self, layers, count);
    table *rows = table_create();
    table_column(rows, "layer", TABLE_LEFT);
    table_column(rows, "variant", TABLE_LEFT);
    table_column(rows, "SQNR dB", TABLE_RIGHT);
    table_column(rows, "error %", TABLE_RIGHT);
    table_column(rows, "outside %", TABLE_RIGHT);
    table_column(rows, "error", TABLE_LEFT);
    for (size_t i = 0; i < count; i++) {
        const char *name = self->inputs[layers[i]].layer;
        for (size_t v = 1; v < self->count; v++) {
            const evaluate_node *node = compare_node(&self->variants[v], name);
            table_text(rows, v == 1 ? name : "");
            table_text(rows, self->variants[v].name);
            if (node == NULL) {
                table_empty(rows);
                table_empty(rows);
                table_empty(rows);
                table_text(rows, "");
                continue;
            }
            char bar[4 * BAR_CELLS + 4];
            const double error = compare_error_pct(node);
            make_bar(bar, sizeof bar, largest > 0 ? error / largest : 0);
            table_number(rows, dynq_metrics_result(&node->metrics).sqnr_db, 1);
            table_number(rows, error, 3);
            table_number(rows, 100 * evaluate_share_outside(node), 3);
            table_text(rows, bar);
        }
    }
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
    if (count < self->input_count) {
        printf("The %zu layers with the largest error of %zu; --json and --html have all.\n", count,
               self->input_count);
    }
}

/* A line of prose, or an item in Markdown; long ones are broken at the terminal's 80 columns. */
static void print_prose(const comparison *self, const char *text, const char *item)
{
    if (self->call->common.format == TABLE_MARKDOWN) {
        printf("%s%s%s\n", item, text, item[0] == '\0' ? "\n" : "");
        return;
    }
    printf("%s", item);
    option_print_wrapped(stdout, text, strlen(item), strlen(item));
}

void compare_print(const comparison *self)
{
    char text[5000];
    if (self->call->common.format == TABLE_CSV) {
        print_variants(self);
        return;
    }
    compare_describe_data(self, text, sizeof text);
    print_prose(self, text, "");
    if (compare_describe_calibration(self, text, sizeof text)) {
        print_prose(self, text, "");
    }
    if (compare_describe_latency(self, text, sizeof text)) {
        print_prose(self, text, "");
    }
    if (baseline_warning(text, sizeof text)) {
        print_prose(self, text, "");
    }
    puts("");
    print_variants(self);
    if (self->count > 1 && self->input_count > 0) {
        snprintf(
            text, sizeof text,
            "Error of each layer's result against %s, with what it got from the layers before:",
            self->variants[0].name);
        puts("");
        print_prose(self, text, "");
        puts("");
        print_layers(self);
        puts("");
        for (size_t v = 1; v < self->count; v++) {
            if (compare_blame(&self->variants[v], text, sizeof text)) {
                print_prose(self, text, "- ");
            }
        }
    }
}

static json_t *node_json(const evaluate_node *node)
{
    const dynq_metrics_summary metrics = dynq_metrics_result(&node->metrics);
    json_t *object = command_json_object();
    command_json_set(object, "name", command_json_string(node->info.name));
    command_json_set(object, "op", command_json_string(dynq_op_name(node->info.op)));
    command_json_set(object, "sqnr_db", command_json_number(metrics.sqnr_db));
    command_json_set(object, "cosine", command_json_number(metrics.cosine_mean));
    command_json_set(object, "max_abs_error", command_json_number(metrics.max_abs_error));
    command_json_set(object, "saturated_pct",
                     command_json_number(100 * evaluate_share_outside(node)));
    return object;
}

static json_t *variant_json(const comparison *self, const evaluate_variant *variant)
{
    const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
    json_t *object = command_json_object();
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < variant->node_count; i++) {
        command_json_append(nodes, node_json(&variant->nodes[i]));
    }
    command_json_set(object, "name", command_json_string(variant->name));
    command_json_set(object, "accuracy",
                     command_json_number(evaluate_share_correct(variant, &self->data)));
    command_json_set(object, "top1_agreement", command_json_number(output.top1_agreement));
    command_json_set(object, "cosine_mean", command_json_number(output.cosine_mean));
    command_json_set(object, "cosine_min", command_json_number(output.cosine_min));
    command_json_set(object, "sqnr_db", command_json_number(output.sqnr_db));
    command_json_set(object, "max_abs_error", command_json_number(output.max_abs_error));
    command_json_set(object, "mean_abs_error", command_json_number(output.mean_abs_error));
    command_json_set(object, "mean_abs_pct_error", command_json_number(output.mean_abs_pct_error));
    command_json_set(object, "ms_per_run", command_json_number(variant->ms.median));
    command_json_set(object, "ms_engine", command_json_string(variant->ms_engine));
    command_json_set(object, "weight_bytes", command_json_integer(variant->weight_bytes));
    command_json_set(object, "nodes", nodes);
    return object;
}

static json_t *calibration_json(const comparison *self)
{
    if (self->calibration_rows == 0) {
        return json_null();
    }
    const char *separate = self->options->calibration_data;
    json_t *object = command_json_object();
    command_json_set(object, "data",
                     command_json_string(separate != NULL ? separate : self->options->data));
    command_json_set(object, "rows", command_json_integer(self->calibration_rows));
    command_json_set(object, "held_out", command_json_integer(self->held_out));
    return object;
}

void compare_print_json(const comparison *self)
{
    json_t *object = command_json_new("compare");
    json_t *variants = command_json_array();
    for (size_t v = 0; v < self->count; v++) {
        command_json_append(variants, variant_json(self, &self->variants[v]));
    }
    command_json_set(object, "data", command_json_string(self->options->data));
    command_json_set(object, "rows", command_json_integer(self->data.rows));
    command_json_set(object, "batch", command_json_integer(self->options->batch));
    command_json_set(object, "threads", command_json_integer(self->call->common.threads));
    command_json_set(object, "fp32_engine", command_json_string(self->engine_name));
    command_json_set(object, "reference", command_json_string(self->variants[0].name));
    command_json_set(object, "calibration", calibration_json(self));
    command_json_set(object, "variants", variants);
    command_json_print(object);
}
