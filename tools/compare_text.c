#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/baseline.h"

/* Layers in the terminal: those with the largest errors; the page and --json have all. */
#define MOST_LAYERS 10
#define BAR_CELLS   16

void compare_describe_data(const comparison *self, char *text, size_t size)
{
    const unsigned threads = self->call->common.threads;
    char tokens[80] = "";
    if (self->input.ids) {
        const size_t first = self->x.offsets[self->data.first];
        snprintf(tokens, sizeof tokens, " (%zu tokens, %zu line%s cut)",
                 requests_rows(&self->x) - first, self->x.truncated,
                 self->x.truncated == 1 ? "" : "s");
    }
    snprintf(text, size, "%zu %s of %s%s in batches of %llu, %u thread%s, FP32 on %s",
             self->data.count, self->input.ids ? "lines" : "rows", self->options->data, tokens,
             (unsigned long long)self->options->batch, threads, threads == 1 ? "" : "s",
             self->engine_name);
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
    if (self->calibrated == 0) {
        return 0;
    }
    const char *what = self->input.ids ? "lines" : "rows";
    if (self->held_out > 0) {
        snprintf(text, size,
                 "Static ranges: from the first %zu of the %zu %s, which are left out of the "
                 "evaluation of every variant (--calibration-data gives other %s)",
                 self->held_out, self->x.count, what, what);
    } else {
        snprintf(text, size, "Static ranges: from %zu %s of %s", self->calibrated, what,
                 self->options->calibration_data);
    }
    return 1;
}

/* What a column is about: text has room for what is of use, wider formats have all of them. */
typedef enum column_use { USE_ALWAYS, USE_CLASSES, USE_EMBEDDINGS } column_use;

/* A column of the table of variants. */
typedef struct variant_column {
    const char *heading, *short_heading; /* NULL: not in text */
    double (*value)(const comparison *self, const evaluate_variant *variant);
    int decimals, short_decimals;
    column_use use;
} variant_column;

static double accuracy_of(const comparison *self, const evaluate_variant *variant)
{
    return 100 * evaluate_share_correct(variant, &self->data);
}

static double points_of(const comparison *self, const evaluate_variant *variant)
{
    const evaluate_variant *reference = &self->variants[0];
    return variant == reference ? NAN : accuracy_of(self, variant) - accuracy_of(self, reference);
}

static double agreement_of(const comparison *self, const evaluate_variant *variant)
{
    return 100 * compare_agreement(self, variant);
}

static double mean_cosine_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).cosine_mean;
}

static double least_cosine_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).cosine_min;
}

static double sqnr_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).sqnr_db;
}

static double max_error_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).max_abs_error;
}

static double mean_error_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).mean_abs_error;
}

static double mean_pct_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return dynq_metrics_result(&variant->output).mean_abs_pct_error;
}

static double ms_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return variant->ms.median;
}

static double bytes_of(const comparison *self, const evaluate_variant *variant)
{
    (void)self;
    return (double)variant->weight_bytes;
}

static const variant_column columns[] = {
    {"accuracy %", "acc %", accuracy_of, 2, 2, USE_CLASSES},
    {"points", "points", points_of, 2, 2, USE_CLASSES},
    {"top-1 agreement %", "agree %", agreement_of, 2, 2, USE_CLASSES},
    {"mean cosine", "mean cos", mean_cosine_of, 6, 6, USE_EMBEDDINGS},
    {"least cosine", "min cos", least_cosine_of, 6, 4, USE_ALWAYS},
    {"SQNR dB", "SQNR", sqnr_of, 2, 1, USE_ALWAYS},
    {"max |error|", "max |err|", max_error_of, 6, 5, USE_EMBEDDINGS},
    {"mean |error|", NULL, mean_error_of, 6, 0, USE_ALWAYS},
    {"mean error %", NULL, mean_pct_of, 4, 0, USE_ALWAYS},
    {"ms per run", "ms/run", ms_of, 4, 4, USE_ALWAYS},
    {"weight bytes", "bytes", bytes_of, 0, 0, USE_ALWAYS},
};

static int is_shown(const comparison *self, const variant_column *column)
{
    const column_use hidden =
        self->input.ids && self->labels == NULL ? USE_CLASSES : USE_EMBEDDINGS;
    return self->call->common.format != TABLE_TEXT ||
           (column->short_heading != NULL && column->use != hidden);
}

static void print_variants(const comparison *self)
{
    const size_t count = sizeof columns / sizeof *columns;
    const table_format format = self->call->common.format;
    const int text = format == TABLE_TEXT;
    table *rows = table_create();
    table_column(rows, "variant", TABLE_LEFT);
    for (size_t c = 0; c < count; c++) {
        if (is_shown(self, &columns[c])) {
            table_column(rows, text ? columns[c].short_heading : columns[c].heading, TABLE_RIGHT);
        }
    }
    for (size_t v = 0; v < self->count; v++) {
        table_text(rows, self->variants[v].name);
        for (size_t c = 0; c < count; c++) {
            if (is_shown(self, &columns[c])) {
                table_number(rows, columns[c].value(self, &self->variants[v]),
                             text ? columns[c].short_decimals : columns[c].decimals);
            }
        }
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
                compare_node(&self->variants[v], self->results.inputs[layers[i]].layer);
            largest = node != NULL ? fmax(largest, compare_error_pct(node)) : largest;
        }
    }
    return largest;
}

/* Names this long get a line of their own. */
#define LONG_NAME     20
#define ERROR_COLUMNS 4

static int has_long_names(const comparison *self, const size_t *layers, size_t count)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t width = table_display_width(self->results.inputs[layers[i]].layer);
        longest = width > longest ? width : longest;
    }
    return longest > LONG_NAME;
}

/* What a layer's error is in one variant, in the columns behind the names. */
static void add_error(table *rows, const evaluate_node *node, double largest)
{
    if (node == NULL) {
        table_empty(rows);
        table_empty(rows);
        table_empty(rows);
        table_text(rows, "");
        return;
    }
    char bar[4 * BAR_CELLS + 4];
    const double error = compare_error_pct(node);
    make_bar(bar, sizeof bar, largest > 0 ? error / largest : 0);
    table_number(rows, dynq_metrics_result(&node->metrics).sqnr_db, 1);
    table_number(rows, error, 3);
    table_number(rows, 100 * evaluate_share_outside(node), 3);
    table_text(rows, bar);
}

static void add_layer(table *rows, const comparison *self, const char *name, int long_names,
                      double largest)
{
    if (long_names) {
        table_text(rows, name);
        for (size_t c = 0; c < ERROR_COLUMNS; c++) {
            table_text(rows, "");
        }
    }
    for (size_t v = 1; v < self->count; v++) {
        char variant[64];
        if (long_names) {
            snprintf(variant, sizeof variant, "  %s", self->variants[v].name);
            table_text(rows, variant);
        } else {
            table_text(rows, v == 1 ? name : "");
            table_text(rows, self->variants[v].name);
        }
        add_error(rows, compare_node(&self->variants[v], name), largest);
    }
}

static void print_layers(const comparison *self)
{
    size_t layers[MOST_LAYERS];
    const size_t count = compare_worst_layers(self, layers, MOST_LAYERS);
    const double largest = largest_error(self, layers, count);
    const int long_names = has_long_names(self, layers, count);
    table *rows = table_create();
    table_column(rows, "layer", TABLE_NAME);
    if (!long_names) {
        table_column(rows, "variant", TABLE_LEFT);
    }
    table_column(rows, "SQNR dB", TABLE_RIGHT);
    table_column(rows, "error %", TABLE_RIGHT);
    table_column(rows, "outside %", TABLE_RIGHT);
    table_column(rows, "error", TABLE_LEFT);
    for (size_t i = 0; i < count; i++) {
        add_layer(rows, self, self->results.inputs[layers[i]].layer, long_names, largest);
    }
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
    if (count < self->results.input_count) {
        printf("The %zu layers with the largest error of %zu; --json and --html have all.\n", count,
               self->results.input_count);
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
    if (self->count > 1 && self->results.input_count > 0) {
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
