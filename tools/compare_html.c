#include "tools/compare_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/baseline.h"
#include "tools/machine.h"

#define LINE_SIZE 700

static int has_labels(const comparison *self)
{
    return self->data.labels != NULL;
}

compare_quality compare_quality_of(const comparison *self)
{
    if (has_labels(self)) {
        return (compare_quality){"Accuracy", "accuracy", "accuracy, %"};
    }
    if (self->input.ids) {
        return (compare_quality){"Cosine", "mean cosine", "mean cosine with the reference, %"};
    }
    return (compare_quality){"Agreement", "top-1 agreement", "agreement with the reference, %"};
}

double compare_quality_value(const comparison *self, size_t variant)
{
    const evaluate_variant *one = &self->variants[variant];
    return 100 * (has_labels(self)  ? evaluate_share_correct(one, &self->data)
                  : self->input.ids ? dynq_metrics_result(&one->output).cosine_mean
                                    : compare_agreement(self, one));
}

double compare_output_sqnr(const comparison *self, size_t variant)
{
    return dynq_metrics_result(&self->variants[variant].output).sqnr_db;
}

size_t compare_best(const comparison *self)
{
    size_t best = 0;
    for (size_t v = 1; v < self->count; v++) {
        if (compare_tone(self, v) != COMPARE_TONE_FP32 &&
            (best == 0 || compare_output_sqnr(self, v) > compare_output_sqnr(self, best))) {
            best = v;
        }
    }
    return best;
}

/* Whether more was done than to choose ranges. */
static int is_remedied(const compare_subject *subject)
{
    const compare_recipe *recipe = &subject->recipe;
    return subject->known && recipe->format != 0 &&
           (recipe->format != DYNQ_FORMAT_INT8 || recipe->simulate ||
            recipe->weights != DYNQ_WEIGHTS_PER_COLUMN || recipe->smooth || recipe->clip_weights ||
            recipe->clip_ranges || recipe->correct_bias || recipe->feedback);
}

int compare_tone(const comparison *self, size_t variant)
{
    const evaluate_variant *one = &self->variants[variant];
    if (is_remedied(&self->subjects[variant])) {
        return COMPARE_TONE_REMEDY;
    }
    for (size_t i = 0; i < one->node_count; i++) {
        const dynq_node_info *node = &one->nodes[i].info;
        if (node->op == DYNQ_OP_LINEAR && node->precision == DYNQ_PRECISION_INT8) {
            return node->range.kind == DYNQ_RANGE_STATIC ? COMPARE_TONE_STATIC
                                                         : COMPARE_TONE_DYNAMIC;
        }
    }
    return COMPARE_TONE_FP32;
}

plot_row compare_row(const comparison *self, size_t variant)
{
    return (plot_row){.number = variant + 1,
                      .name = self->variants[variant].name,
                      .tone = compare_tone(self, variant),
                      .value = NAN};
}

/* "int8-dynamic-row has 90.6 % accuracy against 90.6 % ..." of the variant closest to the
 * reference.
 */
static void describe_best(const comparison *self, size_t best, char *text, size_t size)
{
    const evaluate_variant *reference = &self->variants[0];
    const evaluate_variant *one = &self->variants[best];
    char quality[120];
    if (has_labels(self)) {
        snprintf(quality, sizeof quality, "%.2f %% accuracy against %.2f %%",
                 compare_quality_value(self, best), compare_quality_value(self, 0));
    } else if (self->input.ids) {
        snprintf(quality, sizeof quality, "mean cosine %.5f",
                 dynq_metrics_result(&one->output).cosine_mean);
    } else {
        snprintf(quality, sizeof quality, "%.2f %% %s", compare_quality_value(self, best),
                 compare_quality_of(self).name);
    }
    snprintf(text, size,
             "Closest to %.200s is %.200s: %s, %.1f dB SQNR of the answers, %.2f times as fast "
             "(%.3g against %.3g ms for a batch), with %.0f %% of the bytes of the weights.",
             reference->name, one->name, quality, compare_output_sqnr(self, best),
             reference->ms.median / one->ms.median, one->ms.median, reference->ms.median,
             100.0 * (double)one->weight_bytes / (double)reference->weight_bytes);
}

/* What to choose, in words. */
static void add_verdict(report *page, const comparison *self)
{
    char text[LINE_SIZE];
    char guilty[2000];
    report_line lines[COMPARE_MOST_ADVICE + 1];
    const size_t best = compare_best(self);
    if (best == 0) {
        return;
    }
    for (size_t i = 0; i < self->advice_count; i++) {
        const compare_advice *advice = &self->advice[i];
        const int said = strstr(advice->text, advice->switches) != NULL;
        lines[i] = (report_line){advice->text, said ? NULL : advice->switches};
    }
    size_t count = self->advice_count;
    const size_t focus = compare_focus(self);
    if (focus > 0 && compare_blame(self, &self->variants[focus], guilty, sizeof guilty)) {
        lines[count++] = (report_line){guilty, NULL};
    }
    describe_best(self, best, text, sizeof text);
    report_verdict(page, "What to choose", text, lines, count);
}

static size_t fastest_of(const comparison *self)
{
    size_t fastest = self->count > 1 ? 1 : 0;
    for (size_t v = 1; v < self->count; v++) {
        if (self->variants[v].ms.median < self->variants[fastest].ms.median) {
            fastest = v;
        }
    }
    return fastest;
}

/* The variant with the most quality (sign 1), or the least (-1). */
static size_t extreme_of(const comparison *self, int sign)
{
    size_t found = self->count > 1 ? 1 : 0;
    for (size_t v = 1; v < self->count; v++) {
        if (sign * compare_quality_value(self, v) > sign * compare_quality_value(self, found)) {
            found = v;
        }
    }
    return found;
}

/* Quality as readers know it: shares in percent, cosines as numbers. */
static void quality_text(const comparison *self, size_t variant, char *text, size_t size)
{
    const double value = compare_quality_value(self, variant);
    if (self->input.ids && !has_labels(self)) {
        snprintf(text, size, "%.5f", value / 100);
    } else {
        snprintf(text, size, "%.2f %%", value);
    }
}

static size_t smallest_of(const comparison *self)
{
    size_t smallest = self->count > 1 ? 1 : 0;
    for (size_t v = 1; v < self->count; v++) {
        if (self->variants[v].weight_bytes < self->variants[smallest].weight_bytes) {
            smallest = v;
        }
    }
    return smallest;
}

static void add_cards(report *page, const comparison *self)
{
    const evaluate_variant *reference = &self->variants[0];
    const compare_quality kind = compare_quality_of(self);
    const size_t best = extreme_of(self, 1), worst = extreme_of(self, -1);
    const evaluate_variant *fastest = &self->variants[fastest_of(self)];
    const evaluate_variant *smallest = &self->variants[smallest_of(self)];
    char best_heading[48], worst_heading[48], values[4][48], notes[4][200];
    snprintf(best_heading, sizeof best_heading, "Best %s", kind.name);
    snprintf(worst_heading, sizeof worst_heading, "Worst %s", kind.name);
    quality_text(self, best, values[0], sizeof values[0]);
    snprintf(notes[0], sizeof notes[0], "%.100s", self->variants[best].name);
    quality_text(self, worst, values[1], sizeof values[1]);
    snprintf(notes[1], sizeof notes[1], "%.100s", self->variants[worst].name);
    if (has_labels(self)) { /* the only kind that the reference does not have by definition */
        char text[48];
        quality_text(self, 0, text, sizeof text);
        for (size_t i = 0; i < 2; i++) {
            const size_t used = strlen(notes[i]);
            snprintf(notes[i] + used, sizeof notes[i] - used, "; reference: %s", text);
        }
    }
    snprintf(values[2], sizeof values[2], "%.2f\xC3\x97",
             reference->ms.median / fastest->ms.median);
    snprintf(notes[2], sizeof notes[2], "as fast as the reference on %s: %.100s",
             reference->ms_engine, fastest->name);
    snprintf(values[3], sizeof values[3], "%.1f %%",
             100.0 * (double)smallest->weight_bytes / (double)reference->weight_bytes);
    snprintf(notes[3], sizeof notes[3], "of the reference's bytes: %.100s", smallest->name);
    const report_card cards[] = {
        {best_heading, values[0], notes[0]},
        {worst_heading, values[1], notes[1]},
        {"Speed", values[2], notes[2]},
        {"Weights", values[3], notes[3]},
    };
    report_cards(page, cards, self->count > 1 ? 4 : 1);
}

static void add_scatter(report *page, const comparison *self)
{
    plot_point points[COMPARE_MAX_VARIANTS];
    char title[96];
    const compare_quality kind = compare_quality_of(self);
    for (size_t v = 0; v < self->count; v++) {
        points[v] = (plot_point){.x = self->variants[v].ms.median,
                                 .y = compare_quality_value(self, v),
                                 .label = self->variants[v].name,
                                 .tone = compare_tone(self, v)};
    }
    snprintf(title, sizeof title, "%s against latency", kind.heading);
    report_figure_begin(page, title,
                        "Up and to the left is better; the dashed line joins the variants that no "
                        "other beats in both.");
    plot_scatter(&page->body, title, "milliseconds for a batch, median", kind.axis, points,
                 self->count);
    report_figure_end(page);
}

/* Beside the scatter plot: its numbers, and how far each variant's answers are from the reference.
 */
static void add_key(report *page, const comparison *self)
{
    plot_row rows[COMPARE_MAX_VARIANTS];
    char texts[COMPARE_MAX_VARIANTS][24];
    for (size_t v = 0; v < self->count; v++) {
        const double sqnr = compare_output_sqnr(self, v);
        rows[v] = compare_row(self, v);
        rows[v].value = v > 0 ? sqnr : NAN;
        if (v == 0) {
            snprintf(texts[v], sizeof texts[v], "reference");
        } else if (isfinite(sqnr)) {
            snprintf(texts[v], sizeof texts[v], "%.1f dB", sqnr);
        } else {
            snprintf(texts[v], sizeof texts[v], "%s", isnan(sqnr) ? "\xE2\x80\x93" : "no error");
        }
        rows[v].text = texts[v];
    }
    report_figure_begin(page, "The variants, and the noise in their answers",
                        "SQNR of the answers: longer is better, 6 dB less is twice the error.");
    static const char *const families[] = {"FP32", "static ranges", "dynamic ranges",
                                           "with a remedy or change"};
    static const int tones[] = {COMPARE_TONE_FP32, COMPARE_TONE_STATIC, COMPARE_TONE_DYNAMIC,
                                COMPARE_TONE_REMEDY};
    report_figure_key(page, families, tones, sizeof tones / sizeof *tones);
    plot_key(&page->body, "The variants with the SQNR of their answers", rows, self->count);
    report_figure_end(page);
}

/* A column of the table of variants. */
typedef struct variant_column {
    const char *heading;
    int decimals;
    double (*value)(const comparison *self, size_t variant);
} variant_column;

static double accuracy_of(const comparison *self, size_t variant)
{
    return 100 * evaluate_share_correct(&self->variants[variant], &self->data);
}

static double points_of(const comparison *self, size_t variant)
{
    return variant == 0 ? NAN : accuracy_of(self, variant) - accuracy_of(self, 0);
}

static double agreement_of(const comparison *self, size_t variant)
{
    return 100 * compare_agreement(self, &self->variants[variant]);
}

static double mean_cosine_of(const comparison *self, size_t variant)
{
    return dynq_metrics_result(&self->variants[variant].output).cosine_mean;
}

static double least_cosine_of(const comparison *self, size_t variant)
{
    return dynq_metrics_result(&self->variants[variant].output).cosine_min;
}

static double max_error_of(const comparison *self, size_t variant)
{
    return dynq_metrics_result(&self->variants[variant].output).max_abs_error;
}

static double mean_error_of(const comparison *self, size_t variant)
{
    return dynq_metrics_result(&self->variants[variant].output).mean_abs_error;
}

static double ms_of(const comparison *self, size_t variant)
{
    return self->variants[variant].ms.median;
}

static double speed_of(const comparison *self, size_t variant)
{
    return ms_of(self, 0) / ms_of(self, variant);
}

static double megabytes_of(const comparison *self, size_t variant)
{
    return (double)self->variants[variant].weight_bytes / 1e6;
}

static const variant_column variant_columns[] = {
    {"accuracy %", 2, accuracy_of},     {"points", 2, points_of},
    {"agrees %", 2, agreement_of},      {"SQNR dB", 1, compare_output_sqnr},
    {"mean cosine", 6, mean_cosine_of}, {"least cosine", 6, least_cosine_of},
    {"ms a batch", 3, ms_of},           {"speedup", 2, speed_of},
    {"weights MB", 2, megabytes_of},    {"max |error|", 4, max_error_of},
    {"mean |error|", 5, mean_error_of},
};
#define VARIANT_COLUMNS (sizeof variant_columns / sizeof *variant_columns)

/* The columns that say something about this model and data. */
static size_t choose_columns(const comparison *self, const variant_column *chosen[VARIANT_COLUMNS])
{
    size_t count = 0;
    for (size_t c = 0; c < VARIANT_COLUMNS; c++) {
        size_t numbers = 0;
        for (size_t v = 0; v < self->count; v++) {
            numbers += !isnan(variant_columns[c].value(self, v));
        }
        if (numbers > 0) {
            chosen[count++] = &variant_columns[c];
        }
    }
    return count;
}

static void add_variant_table(report *page, const comparison *self)
{
    const variant_column *chosen[VARIANT_COLUMNS];
    report_column columns[VARIANT_COLUMNS + 1] = {{"variant", 0}};
    const size_t count = choose_columns(self, chosen);
    for (size_t c = 0; c < count; c++) {
        columns[c + 1] = (report_column){chosen[c]->heading, 1};
    }
    report_table_begin(page, NULL, columns, count + 1);
    for (size_t v = 0; v < self->count; v++) {
        report_cell_numbered(page, v + 1, compare_tone(self, v), self->variants[v].name);
        for (size_t c = 0; c < count; c++) {
            report_cell_number(page, chosen[c]->value(self, v), chosen[c]->decimals);
        }
    }
    report_table_end(page);
}

static void add_origin(report *page, const comparison *self)
{
    char text[5000];
    dynq_cpu cpu = {0};
    dynq_cpu_query(&cpu);
    report_section(page, "Where this comes from", NULL);
    compare_describe_data(self, text, sizeof text);
    report_paragraph(page, text);
    if (compare_describe_calibration(self, text, sizeof text)) {
        report_paragraph(page, text);
    }
    if (compare_describe_latency(self, text, sizeof text)) {
        report_paragraph(page, text);
    }
    machine_describe(&cpu, machine_kernel(self->call), text, sizeof text);
    report_paragraph(page, text);
    markup line = {0};
    markup_add(&line, "dynq");
    for (size_t i = 0; i < self->call->word_count; i++) {
        markup_word(&line, self->call->words[i]);
    }
    page->body.failed |= line.failed;
    report_paragraph(page, "The command that made this page:");
    report_commands(page, line.bytes);
    markup_free(&line);
    const size_t best = compare_best(self);
    if (best > 0 && compare_command(self, best, text, sizeof text)) {
        report_paragraph(page, "The command that makes the variant closest to the reference:");
        report_commands(page, text);
    }
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
    add_verdict(&page, self);
    if (baseline_warning(text, sizeof text)) {
        report_paragraph(&page, text);
    }
    add_cards(&page, self);
    report_section(&page, "Accuracy against time", NULL);
    add_scatter(&page, self);
    add_key(&page, self);
    add_variant_table(&page, self);
    if (self->count > 1 && self->results.input_count > 0) {
        compare_add_layers(&page, self);
        compare_add_inputs(&page, self);
    }
    if (self->count > 1) {
        compare_add_answers(&page, self);
    }
    add_origin(&page, self);
    dynq_error error = {0};
    const dynq_status status = report_write(&page, self->options->html, &error);
    report_free(&page);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->options->html);
}
