#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/baseline.h"
#include "tools/fit.h"

/* What a column is about: text has room for what is of use, wider formats have all of them. */
typedef enum column_use { USE_ALWAYS, USE_CLASSES, USE_EMBEDDINGS } column_use;

/* A column of the table of variants. */
typedef struct variant_column {
    fit_column shown;
    column_use use;
    double (*value)(const comparison *self, const evaluate_variant *variant);
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

static double divergence_of(const comparison *self, const evaluate_variant *variant)
{
    return isnan(compare_agreement(self, variant))
               ? NAN
               : dynq_metrics_result(&variant->output).divergence_mean;
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

static const variant_column variant_columns[] = {
    {{"accuracy %", "acc %", 2, 2, 1}, USE_CLASSES, accuracy_of},
    {{"points", "points", 2, 2, 9}, USE_CLASSES, points_of},
    {{"top-1 agreement %", "agree %", 2, 2, 2}, USE_CLASSES, agreement_of},
    {{"mean cosine", "mean cos", 6, 5, 6}, USE_ALWAYS, mean_cosine_of},
    {{"least cosine", "min cos", 6, 4, 5}, USE_ALWAYS, least_cosine_of},
    {{"SQNR dB", "SQNR", 2, 1, 3}, USE_ALWAYS, sqnr_of},
    {{"max |error|", "max |err|", 6, 5, 8}, USE_ALWAYS, max_error_of},
    {{"mean |error|", "mean |err|", 6, 5, 11}, USE_ALWAYS, mean_error_of},
    {{"mean error %", "err %", 4, 3, 12}, USE_ALWAYS, mean_pct_of},
    {{"KL divergence", "KL", 8, 6, 10}, USE_CLASSES, divergence_of},
    {{"ms per run", "ms/run", 4, 4, 4}, USE_ALWAYS, ms_of},
    {{"weight bytes", "bytes", 0, 0, 7}, USE_ALWAYS, bytes_of},
};

#define VARIANT_COLUMNS (sizeof variant_columns / sizeof *variant_columns)

static void print_variants(const comparison *self)
{
    const table_format format = self->call->common.format;
    const int embeddings = self->input.ids && self->labels == NULL;
    fit_column columns[VARIANT_COLUMNS];
    const char *names[COMPARE_MAX_VARIANTS];
    double values[COMPARE_MAX_VARIANTS * VARIANT_COLUMNS];
    size_t count = 0;
    for (size_t v = 0; v < self->count; v++) {
        names[v] = self->variants[v].name;
        for (size_t c = 0; c < VARIANT_COLUMNS; c++) {
            values[count++] = variant_columns[c].value(self, &self->variants[v]);
        }
    }
    for (size_t c = 0; c < VARIANT_COLUMNS; c++) {
        columns[c] = variant_columns[c].shown;
        if (variant_columns[c].use == USE_CLASSES && embeddings) {
            columns[c].short_heading = NULL;
        }
    }
    const fit_table shown = {.heading = "variant",
                             .align = TABLE_LEFT,
                             .names = names,
                             .row_count = self->count,
                             .columns = columns,
                             .column_count = VARIANT_COLUMNS,
                             .values = values};
    fit_print(&shown, format, fit_terminal_width(), stdout);
}

void compare_print_prose(const comparison *self, const char *text, const char *item)
{
    if (self->call->common.format == TABLE_MARKDOWN) {
        printf("%s%s%s\n", item, text, item[0] == '\0' ? "\n" : "");
        return;
    }
    printf("%s", item);
    option_print_wrapped(stdout, text, strlen(item), strlen(item));
}

static void print_batch_effects(const comparison *self)
{
    const evaluate_batch_effect *taken = &self->variants[0].batch_effect;
    char text[300];
    size_t changing = 0;
    if (taken->requests == 0) {
        return;
    }
    table *rows = table_create();
    table_column(rows, "variant", TABLE_LEFT);
    table_column(rows, "mean change %", TABLE_RIGHT);
    table_column(rows, "worst %", TABLE_RIGHT);
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_batch_effect *effect = &self->variants[v].batch_effect;
        if (!effect->identical) {
            table_text(rows, self->variants[v].name);
            table_number(rows, 100 * effect->mean, 5);
            table_number(rows, 100 * effect->worst, 5);
            changing++;
        }
    }
    snprintf(text, sizeof text,
             "Answers in random batches against the same alone (%zu %s, %zu batches each): %s",
             taken->requests, self->input.ids ? "lines" : "rows", taken->batches,
             changing == 0             ? "the same bytes in all variants."
             : changing == self->count ? "they change with their neighbours:"
                                       : "only these change, the others have the same bytes:");
    puts("");
    compare_print_prose(self, text, "");
    if (changing > 0) {
        puts("");
        table_print(rows, self->call->common.format, stdout);
    }
    table_free(rows);
}

/* The conclusion: what to do, then who is guilty. */
static void print_conclusion(const comparison *self)
{
    char text[2000];
    const size_t focus = compare_focus(self);
    for (size_t i = 0; i < self->advice_count; i++) {
        compare_print_prose(self, self->advice[i].text, "- ");
    }
    if (focus > 0 && compare_blame(self, &self->variants[focus], text, sizeof text)) {
        compare_print_prose(self, text, "- ");
    }
    if (focus > 0) {
        puts("");
    }
}

void compare_print(const comparison *self)
{
    char text[5000];
    if (self->call->common.format == TABLE_CSV) {
        print_variants(self);
        return;
    }
    compare_describe_data(self, text, sizeof text);
    compare_print_prose(self, text, "");
    if (compare_describe_calibration(self, text, sizeof text)) {
        compare_print_prose(self, text, "");
    }
    if (compare_describe_latency(self, text, sizeof text)) {
        compare_print_prose(self, text, "");
    }
    if (baseline_warning(text, sizeof text)) {
        compare_print_prose(self, text, "");
    }
    puts("");
    print_conclusion(self);
    print_variants(self);
    const size_t focus = compare_focus(self);
    if (focus > 0) {
        compare_print_guilty(self, &self->variants[focus]);
        compare_print_below(self);
        print_batch_effects(self);
    }
}
