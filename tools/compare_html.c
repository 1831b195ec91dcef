#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dynq/version.h>

#include "tools/allocate.h"
#include "tools/baseline.h"
#include "tools/plot.h"
#include "tools/report.h"
#include "tools/svg.h"

/* Plots by layer: more than these would not be looked at; the tables have all. */
#define MOST_BARS       24
#define MOST_HISTOGRAMS 12
#define SHOWN_BINS      96
#define MAX_RANGES      (COMPARE_MAX_VARIANTS + 2)

static int has_labels(const comparison *self)
{
    return self->data.labels != NULL;
}

/* What stands for quality, in percent: accuracy; without labels agreement with the reference; of
 * embeddings their cosine. */
typedef struct quality_kind {
    const char *heading, *name, *axis;
} quality_kind;

static quality_kind quality_of(const comparison *self)
{
    if (has_labels(self)) {
        return (quality_kind){"Accuracy", "accuracy", "accuracy, %"};
    }
    if (self->input.ids) {
        return (quality_kind){"Cosine", "mean cosine", "mean cosine with the reference, %"};
    }
    return (quality_kind){"Agreement", "top-1 agreement", "agreement with the reference, %"};
}

static double quality(const comparison *self, size_t variant)
{
    const evaluate_variant *one = &self->variants[variant];
    return 100 * (has_labels(self)  ? evaluate_share_correct(one, &self->data)
                  : self->input.ids ? dynq_metrics_result(&one->output).cosine_mean
                                    : compare_agreement(self, one));
}

static void add_cards(report *page, const comparison *self)
{
    const evaluate_variant *reference = &self->variants[0];
    char values[4][48], notes[4][160];
    const quality_kind kind = quality_of(self);
    const char *const label = kind.name;
    size_t worst = 0, fastest = 0, smallest = 0;
    for (size_t v = 1; v < self->count; v++) {
        worst = worst == 0 || quality(self, v) < quality(self, worst) ? v : worst;
        fastest = fastest == 0 || self->variants[v].ms.median < self->variants[fastest].ms.median
                      ? v
                      : fastest;
        smallest =
            smallest == 0 || self->variants[v].weight_bytes < self->variants[smallest].weight_bytes
                ? v
                : smallest;
    }
    snprintf(values[0], sizeof values[0], "%.2f %%", quality(self, 0));
    snprintf(notes[0], sizeof notes[0], "%s of the reference, %.100s", label, reference->name);
    snprintf(values[1], sizeof values[1], "%+.2f pt", quality(self, worst) - quality(self, 0));
    snprintf(notes[1], sizeof notes[1], "least %s: %.100s", label, self->variants[worst].name);
    snprintf(values[2], sizeof values[2], "%.2f\xC3\x97",
             reference->ms.median / self->variants[fastest].ms.median);
    snprintf(notes[2], sizeof notes[2], "as fast as the reference on %s: %.100s",
             reference->ms_engine, self->variants[fastest].name);
    snprintf(values[3], sizeof values[3], "%.1f %%",
             100.0 * (double)self->variants[smallest].weight_bytes /
                 (double)reference->weight_bytes);
    snprintf(notes[3], sizeof notes[3], "of the reference's bytes: %.100s",
             self->variants[smallest].name);
    const report_card cards[] = {
        {kind.heading, values[0], notes[0]},
        {"Largest drop", values[1], notes[1]},
        {"Speed", values[2], notes[2]},
        {"Weights", values[3], notes[3]},
    };
    report_cards(page, cards, self->count > 1 ? 4 : 1);
}

static void add_scatter(report *page, const comparison *self)
{
    plot_point points[COMPARE_MAX_VARIANTS];
    char title[96];
    const quality_kind kind = quality_of(self);
    for (size_t v = 0; v < self->count; v++) {
        points[v] = (plot_point){.x = self->variants[v].ms.median,
                                 .y = quality(self, v),
                                 .label = self->variants[v].name,
                                 .tone = (int)v};
    }
    snprintf(title, sizeof title, "%s against latency", kind.heading);
    report_figure_begin(page, title, "Up and to the left is better.");
    plot_scatter(&page->body, title, "milliseconds for a batch, median", kind.axis, points,
                 self->count);
    report_figure_end(page);
}

static void add_bars(report *page, const comparison *self)
{
    size_t layers[MOST_BARS];
    const char *names[MOST_BARS];
    const size_t count = compare_worst_layers(self, layers, MOST_BARS);
    plot_series series[COMPARE_MAX_VARIANTS];
    double *values = allocate(self->count * MOST_BARS, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        names[i] = self->results.inputs[layers[i]].layer;
    }
    for (size_t v = 1; v < self->count; v++) {
        double *own = values + v * MOST_BARS;
        for (size_t i = 0; i < count; i++) {
            const evaluate_node *node = compare_node(&self->variants[v], names[i]);
            own[i] = node != NULL ? dynq_metrics_result(&node->metrics).sqnr_db : NAN;
        }
        series[v - 1] =
            (plot_series){.name = self->variants[v].name, .tone = (int)v, .values = own};
    }
    const plot_bars bars = {.description = "SQNR of each layer and variant",
                            .unit = "dB",
                            .decimals = 1,
                            .categories = names,
                            .category_count = count,
                            .series = series,
                            .series_count = self->count - 1};
    report_figure_begin(page, "Error of each layer",
                        "Signal to quantization noise (SQNR) of the layer's result: longer is "
                        "better, 6 dB less is twice the error.");
    plot_bars_draw(&page->body, &bars);
    report_figure_end(page);
    free(values);
}

/* The ranges that the variants take for the input of one layer, in the variants' colours. */
static size_t collect_ranges(const comparison *self, const evaluate_input *input, char names[][160],
                             plot_range *ranges)
{
    size_t count = 0;
    int request = -1, batch = -1;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const evaluate_node *node = compare_node(variant, input->layer);
        if (node == NULL || node->info.precision != DYNQ_PRECISION_INT8) {
            continue;
        }
        const dynq_range_rule *rule = &node->info.range;
        const dynq_scope scope = variant->scope != 0 ? variant->scope : rule->scope;
        if (rule->kind == DYNQ_RANGE_STATIC) {
            snprintf(names[count], 160, "static (%.80s):", variant->name);
            ranges[count] = (plot_range){names[count], rule->lo, rule->hi, (int)v};
            count++;
        } else if (scope == DYNQ_SCOPE_TENSOR) {
            batch = (int)v;
        } else if (request < 0) {
            request = (int)v;
        }
    }
    dynq_value_summary seen = {.size = sizeof seen};
    if (dynq_calibration_summary(self->results.seen, input->value, &seen) != DYNQ_OK) {
        return count;
    }
    if (batch >= 0) {
        snprintf(names[count], 160, "dynamic, mean of batches:");
        ranges[count] = (plot_range){names[count], seen.batch_low, seen.batch_high, batch};
        count++;
    }
    if (request >= 0) {
        snprintf(names[count], 160, "dynamic, mean of requests:");
        ranges[count] = (plot_range){names[count], seen.row_low, seen.row_high, request};
        count++;
    }
    return count;
}

/* The smallest and largest values seen; 0 if there are none. */
static int find_limits(const dynq_calibration *seen, const char *value, double *low, double *high)
{
    dynq_calibration_entry entry = {.size = sizeof entry};
    for (size_t i = 0; dynq_calibration_get(seen, i, &entry) == DYNQ_OK; i++) {
        if (strcmp(entry.value, value) == 0 && entry.rows > 0) {
            *low = entry.min;
            *high = entry.max;
            return 1;
        }
    }
    return 0;
}

/* Counts in SHOWN_BINS equal parts of [low, high]; a bin counts where its middle is. */
static void count_bins(const dynq_histogram_view *view, double low, double high, uint64_t *counts)
{
    const double width = view->limit / DYNQ_HISTOGRAM_BINS;
    const double scale = high > low ? SHOWN_BINS / (high - low) : 0;
    memset(counts, 0, SHOWN_BINS * sizeof *counts);
    for (int i = -DYNQ_HISTOGRAM_BINS; i <= DYNQ_HISTOGRAM_BINS; i++) {
        const uint64_t count = i < 0   ? view->negative[-i - 1]
                               : i > 0 ? view->positive[i - 1]
                                       : view->zeros;
        const double middle = i < 0 ? (i + 0.5) * width : i > 0 ? (i - 0.5) * width : 0;
        const double place = fmin(fmax((middle - low) * scale, 0), SHOWN_BINS - 1);
        counts[(size_t)place] += count;
    }
}

static void add_histograms(report *page, const comparison *self)
{
    size_t layers[MOST_HISTOGRAMS];
    const size_t count = compare_worst_layers(self, layers, MOST_HISTOGRAMS);
    for (size_t i = 0; i < count; i++) {
        const evaluate_input *input = &self->results.inputs[layers[i]];
        char title[320];
        char names[MAX_RANGES][160];
        plot_range ranges[MAX_RANGES];
        uint64_t bins[SHOWN_BINS];
        dynq_histogram_view view = {.size = sizeof view};
        double low = 0, high = 0;
        if (dynq_calibration_histogram(self->results.seen, input->value, &view) != DYNQ_OK ||
            !find_limits(self->results.seen, input->value, &low, &high)) {
            continue;
        }
        const size_t range_count = collect_ranges(self, input, names, ranges);
        count_bins(&view, low, high, bins);
        snprintf(title, sizeof title, "%s reads %s", input->layer, input->value);
        report_figure_begin(page, title, NULL);
        plot_histogram(&page->body, title, "value (heights are logarithms of counts)", bins,
                       SHOWN_BINS, low, high, ranges, range_count);
        report_figure_end(page);
    }
}

static void add_variant_table(report *page, const comparison *self)
{
    static const report_column columns[] = {
        {"variant", 0},     {"accuracy %", 1},   {"points", 1},       {"agreement %", 1},
        {"SQNR dB", 1},     {"ms per batch", 1}, {"weight bytes", 1}, {"least cosine", 1},
        {"mean cosine", 1}, {"max |error|", 1},  {"mean |error|", 1}, {"mean error %", 1},
    };
    report_table_begin(page, NULL, columns, sizeof columns / sizeof *columns);
    const double reference = evaluate_share_correct(&self->variants[0], &self->data);
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
        const double accuracy = evaluate_share_correct(variant, &self->data);
        report_cell(page, "%s", variant->name);
        report_cell_number(page, 100 * accuracy, 2);
        report_cell_number(page, v == 0 ? NAN : 100 * (accuracy - reference), 2);
        report_cell_number(page, 100 * compare_agreement(self, variant), 2);
        report_cell_number(page, output.sqnr_db, 2);
        report_cell_number(page, variant->ms.median, 4);
        report_cell(page, "%llu", (unsigned long long)variant->weight_bytes);
        report_cell_number(page, output.cosine_min, 6);
        report_cell_number(page, output.cosine_mean, 6);
        report_cell_number(page, output.max_abs_error, 5);
        report_cell_number(page, output.mean_abs_error, 5);
        report_cell_number(page, output.mean_abs_pct_error, 3);
    }
    report_table_end(page);
}

static void add_layer_table(report *page, const comparison *self)
{
    static const report_column columns[] = {
        {"node", 0},    {"operator", 0}, {"variant", 0},     {"SQNR dB", 1},
        {"error %", 1}, {"cosine", 1},   {"max |error|", 1}, {"outside %", 1},
    };
    report_table_begin(page, NULL, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < self->variants[0].node_count; i++) {
        const char *name = self->variants[0].nodes[i].info.name;
        for (size_t v = 1; v < self->count; v++) {
            const evaluate_node *node = compare_node(&self->variants[v], name);
            if (node == NULL) {
                continue;
            }
            const dynq_metrics_summary metrics = dynq_metrics_result(&node->metrics);
            report_cell(page, "%s", name);
            report_cell(page, "%s", dynq_op_name(node->info.op));
            report_cell(page, "%s", self->variants[v].name);
            report_cell_number(page, metrics.sqnr_db, 2);
            report_cell_number(page, compare_error_pct(node), 3);
            report_cell_number(page, metrics.cosine_mean, 6);
            report_cell_number(page, metrics.max_abs_error, 5);
            report_cell_number(page, 100 * evaluate_share_outside(node), 4);
        }
    }
    report_table_end(page);
}

static void add_layers(report *page, const comparison *self)
{
    char text[1200];
    report_section(page, "Layer by layer",
                   "Each layer's result against the reference's on the same rows. It includes the "
                   "error that came from the layers before.");
    for (size_t v = 1; v < self->count; v++) {
        if (compare_blame(&self->variants[v], text, sizeof text)) {
            report_paragraph(page, text);
        }
    }
    add_layer_table(page, self);
    report_section(page, "What the layers read, and the ranges",
                   "The values of the reference that each linear layer quantizes. Values outside a "
                   "range are clamped to it; a range wider than the values wastes steps.");
    add_histograms(page, self);
}

exit_code compare_write_html(const comparison *self)
{
    report page = {0};
    char text[5000];
    const char *slash = strrchr(self->call->arguments[0], '/');
    snprintf(text, sizeof text, "%s: INT8 against FP32",
             slash != NULL ? slash + 1 : self->call->arguments[0]);
    char description[5000];
    compare_describe_data(self, description, sizeof description);
    report_begin(&page, text, description);
    if (compare_describe_calibration(self, text, sizeof text)) {
        report_paragraph(&page, text);
    }
    if (compare_describe_latency(self, text, sizeof text)) {
        report_paragraph(&page, text);
    }
    if (baseline_warning(text, sizeof text)) {
        report_paragraph(&page, text);
    }
    add_cards(&page, self);
    report_section(&page, "End to end", NULL);
    add_scatter(&page, self);
    if (self->count > 1 && self->results.input_count > 0) {
        add_bars(&page, self);
    }
    add_variant_table(&page, self);
    if (self->count > 1 && self->results.input_count > 0) {
        add_layers(&page, self);
    }
    snprintf(text, sizeof text, "Made by dynq %s.", dynq_version());
    report_paragraph(&page, text);
    dynq_error error = {0};
    const dynq_status status = report_write(&page, self->options->html, &error);
    report_free(&page);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->options->html);
}
