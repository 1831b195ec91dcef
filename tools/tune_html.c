#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/machine.h"
#include "tools/plot.h"
#include "tools/report.h"

#include <dynq/cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 5000
#define NAME_SIZE 100
/* Lines of one figure, so that two stand side by side. */
#define FIGURE_LINES 44
/* Of points: FP32 and what is all the same, what is predicted, what was chosen. */
enum { TONE_UNIFORM = 2, TONE_PREDICTED = 1, TONE_CHOSEN = 3 };

/* The models on the page: predicted ones, those of one precision, and what was chosen. */
typedef struct shown_model {
    char name[NAME_SIZE];
    tune_outcome outcome;
    int tone;
} shown_model;

typedef struct shown {
    shown_model models[TUNE_MOST_PARETO + TUNE_MOST_CANDIDATES + 1];
    size_t count;
} shown;

static double sqnr_of(double error)
{
    return error > 0 ? -10 * log10(error) : NAN;
}

static double relative(const dynq_metrics *metrics)
{
    return metrics->signal > 0 ? metrics->noise / metrics->signal : 0;
}

static int tone_of(size_t candidate)
{
    return (int)(candidate % (SVG_TONES - 1)) + 1;
}

static void add_model(shown *all, const tune_outcome *outcome, int tone, const char *name)
{
    shown_model *one = &all->models[all->count++];
    *one = (shown_model){.outcome = *outcome, .tone = tone};
    snprintf(one->name, sizeof one->name, "%s", name);
}

static void list_models(const tuning *self, shown *all)
{
    char name[NAME_SIZE];
    for (size_t i = 0; i < self->pareto_count; i++) {
        tune_describe_choices(self, self->pareto_choices + i * self->node_count, name, sizeof name);
        add_model(all, &self->pareto[i], TONE_PREDICTED, name);
    }
    for (size_t c = 0; c < self->candidate_count; c++) {
        snprintf(name, sizeof name, "all %.90s", self->candidates[c].text);
        add_model(all, &self->candidates[c].measured, TONE_UNIFORM, name);
    }
    add_model(all, &self->tries[self->chosen].measured, TONE_CHOSEN, "chosen, measured");
}

static void add_verdict(report *page, const tuning *self)
{
    const tune_try *chosen = &self->tries[self->chosen];
    char text[TEXT_SIZE], list[TEXT_SIZE - 500], line[TEXT_SIZE], measured[400];
    report_line lines[3] = {{NULL, NULL}};
    size_t count = 0;
    tune_describe_choices(self, chosen->choices, list, sizeof list);
    snprintf(text, sizeof text, "%s: %.2f times as fast as FP32 with %.0f %% of its bytes%s.", list,
             self->fp32_ms / chosen->measured.ms, 100 * chosen->measured.bytes / self->fp32_bytes,
             chosen->met ? "" : ". It misses a target; no assignment was found that meets all");
    snprintf(measured, sizeof measured,
             "Predicted %.4g ms and mean cosine %.6f, measured %.4g ms and %.6f (%zu assignment%s "
             "made and measured).",
             chosen->predicted.ms, chosen->predicted.cosine, chosen->measured.ms,
             chosen->measured.cosine, self->try_count, self->try_count == 1 ? "" : "s");
    lines[count++] = (report_line){measured, NULL};
    const size_t slower = tune_slower(self, list, sizeof list);
    if (slower > 0) {
        snprintf(line, sizeof line,
                 "INT8 makes %zu of %zu nodes no faster than FP32 here, which may stay in FP32 "
                 "unless bytes matter: %s.",
                 slower, self->node_count, list);
        lines[count++] = (report_line){line, NULL};
    }
    report_verdict(page, chosen->met ? "What was chosen" : "What comes nearest", text, lines,
                   count);
}

static void add_cards(report *page, const tuning *self)
{
    const tune_outcome *measured = &self->tries[self->chosen].measured;
    const tune_outcome *predicted = &self->tries[self->chosen].predicted;
    char values[4][48], notes[4][96];
    snprintf(values[0], sizeof values[0], "%.2f\xC3\x97", self->fp32_ms / measured->ms);
    snprintf(notes[0], sizeof notes[0], "%.4g ms; predicted %.4g, FP32 %.4g", measured->ms,
             predicted->ms, self->fp32_ms);
    snprintf(values[1], sizeof values[1], "%.1f %%", 100 * measured->bytes / self->fp32_bytes);
    snprintf(notes[1], sizeof notes[1], "of the bytes of FP32: %.2f MB", measured->bytes / 1e6);
    snprintf(values[2], sizeof values[2], "%.6f", measured->cosine);
    snprintf(notes[2], sizeof notes[2], "mean; predicted %.6f", predicted->cosine);
    snprintf(values[3], sizeof values[3], "%.2f %%", measured->accuracy);
    snprintf(notes[3], sizeof notes[3], "FP32 %.2f %%; drop predicted %.2f points",
             self->fp32_accuracy, predicted->drop);
    const report_card cards[] = {{"Speed", values[0], notes[0]},
                                 {"Weights", values[1], notes[1]},
                                 {"Cosine", values[2], notes[2]},
                                 {"Accuracy", values[3], notes[3]}};
    report_cards(page, cards, self->labels != NULL ? 4 : 3);
}

/* Error against what `x` says; models without error, which FP32 alone is, are not drawn. */
static void add_scatter(report *page, const shown *all, const char *title, const char *axis,
                        double (*x)(const tune_outcome *outcome))
{
    static const char *const kinds[] = {"predicted, none better", "every node alike, measured",
                                        "chosen, measured"};
    static const int tones[] = {TONE_PREDICTED, TONE_UNIFORM, TONE_CHOSEN};
    plot_point points[sizeof all->models / sizeof *all->models];
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++) {
        const double sqnr = sqnr_of(all->models[i].outcome.error);
        if (isfinite(sqnr)) {
            points[count++] = (plot_point){.x = x(&all->models[i].outcome),
                                           .y = sqnr,
                                           .label = all->models[i].name,
                                           .tone = all->models[i].tone};
        }
    }
    report_figure_begin(page, title,
                        "Up and to the left is better; the dashed line joins the models that no "
                        "other beats in both. FP32, which has no error, is not in the picture.");
    report_figure_key(page, kinds, tones, 3);
    plot_scatter(&page->body, title, axis, "SQNR of the answers, dB", points, count);
    report_figure_end(page);
}

static double ms_of(const tune_outcome *outcome)
{
    return outcome->ms;
}

static double megabytes_of(const tune_outcome *outcome)
{
    return outcome->bytes / 1e6;
}

/* In the order of the points, which are numbered where their names are too long. */
static void add_table(report *page, const tuning *self, const shown *all)
{
    static const report_column columns[] = {{"model", 0},       {"ms", 1},      {"speedup", 1},
                                            {"weights MB", 1},  {"SQNR dB", 1}, {"mean cosine", 1},
                                            {"drop, points", 1}};
    const size_t count = self->labels != NULL ? 7 : 6;
    size_t number = 0;
    report_table_begin(page, NULL, columns, count);
    for (int exact = 0; exact < 2; exact++) {
        for (size_t i = 0; i < all->count; i++) {
            const tune_outcome *one = &all->models[i].outcome;
            if (isfinite(sqnr_of(one->error)) == exact) {
                continue;
            }
            report_cell_numbered(page, ++number, all->models[i].tone, all->models[i].name);
            report_cell_number(page, one->ms, 3);
            report_cell_number(page, self->fp32_ms / one->ms, 2);
            report_cell_number(page, one->bytes / 1e6, 2);
            report_cell_number(page, sqnr_of(one->error), 1);
            report_cell_number(page, one->cosine, 6);
            if (count == 7) {
                report_cell_number(page, one->drop, 2);
            }
        }
    }
    report_table_end(page);
}

/* ---- nodes ---- */

/* SQNR of the answers with one node at each precision: [candidates][nodes]. */
static double *sensitivities(const tuning *self, double *low, double *high)
{
    double *values = allocate(self->candidate_count * self->node_count, sizeof *values);
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t c = 0; c < self->candidate_count; c++) {
        for (size_t i = 0; i < self->node_count; i++) {
            const tune_choice *choice = &self->nodes[i].choices[c];
            const double sqnr = choice->available ? sqnr_of(relative(&choice->answer)) : NAN;
            values[c * self->node_count + i] = sqnr;
            *low = isfinite(sqnr) ? fmin(*low, sqnr) : *low;
            *high = isfinite(sqnr) ? fmax(*high, sqnr) : *high;
        }
    }
    return values;
}

/* "Title", or "Title, 1 to 44 of 60" for a part. */
static void name_part(const tuning *self, const char *title, size_t first, size_t count, char *text,
                      size_t size)
{
    if (count == self->node_count) {
        snprintf(text, size, "%s", title);
    } else {
        snprintf(text, size, "%s, %zu to %zu of %zu", title, first + 1, first + count,
                 self->node_count);
    }
}

static void add_dots(report *page, const tuning *self, const double *values, svg_axis axis,
                     size_t first, size_t count)
{
    plot_series series[TUNE_MOST_CANDIDATES];
    size_t used = 0;
    char title[120];
    const char **names = allocate(count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        names[i] = self->nodes[first + i].name;
    }
    for (size_t c = 0; c < self->candidate_count; c++) {
        const double *own = values + c * self->node_count;
        size_t drawn = 0;
        for (size_t i = 0; i < self->node_count; i++) {
            drawn += (size_t)isfinite(own[i]);
        }
        if (drawn > 0) {
            series[used++] = (plot_series){
                .name = self->candidates[c].text, .tone = tone_of(c), .values = own + first};
        }
    }
    name_part(self, "What each node alone does to the answers", first, count, title, sizeof title);
    const plot_dots dots = {.description = title,
                            .axis = axis,
                            .names = names,
                            .count = count,
                            .series = series,
                            .series_count = used};
    report_figure_begin(page, title,
                        "All others in FP32: a dot far left is a node that costs much.");
    plot_dots_draw(&page->body, &dots);
    report_figure_end(page);
    free(names);
}

static void add_choices(report *page, const tuning *self, size_t first, size_t count)
{
    const tune_try *chosen = &self->tries[self->chosen];
    plot_row *rows = allocate(count, sizeof *rows);
    char title[120];
    for (size_t i = 0; i < count; i++) {
        const tune_node *node = &self->nodes[first + i];
        const size_t c = chosen->choices[first + i];
        rows[i] = (plot_row){.number = c + 1,
                             .name = node->name,
                             .tone = tone_of(c),
                             .value = relative(&node->choices[c].answer),
                             .text = node->choices[c].values};
    }
    name_part(self, "The precision chosen for each node", first, count, title, sizeof title);
    report_figure_begin(page, title,
                        "The bar is what the node adds to the error of the answers; the number is "
                        "that of the precision in the list.");
    plot_key(&page->body, title, rows, count);
    report_figure_end(page);
    free(rows);
}

static void add_nodes(report *page, const tuning *self)
{
    double low = 0, high = 0;
    double *values = sensitivities(self, &low, &high);
    report_section(page, "Node by node",
                   "Signal to quantization noise (SQNR) of the model's answers when one node alone "
                   "has a precision: further right is better, 6 dB less is twice the error.");
    for (size_t first = 0; first < self->node_count; first += FIGURE_LINES) {
        const size_t left = self->node_count - first;
        const size_t count = left < FIGURE_LINES ? left : FIGURE_LINES;
        if (high >= low) {
            const svg_axis axis = svg_axis_around("SQNR of the answers, dB", low, high, 5);
            add_dots(page, self, values, axis, first, count);
        }
        add_choices(page, self, first, count);
    }
    report_close_figures(page);
    free(values);
}

static void add_node_table(report *page, const tuning *self)
{
    static const report_column columns[] = {{"node", 0},
                                            {"chosen", 0},
                                            {"SQNR of the node, dB", 1},
                                            {"of the answers, dB", 1},
                                            {"ms", 1},
                                            {"FP32 ms", 1},
                                            {"weights KB", 1}};
    const tune_try *chosen = &self->tries[self->chosen];
    report_table_begin(page, "What was chosen, alone", columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < self->node_count; i++) {
        const tune_node *node = &self->nodes[i];
        const tune_choice *choice = &node->choices[chosen->choices[i]];
        report_cell(page, "%s", node->name);
        report_cell(page, "%s", choice->values);
        report_cell_number(page, sqnr_of(relative(&choice->own)), 1);
        report_cell_number(page, sqnr_of(relative(&choice->answer)), 1);
        report_cell_number(page, choice->ms, 4);
        report_cell_number(page, node->fp32_ms, 4);
        report_cell_number(page, (double)choice->bytes / 1e3, 1);
    }
    report_table_end(page);
}

static void add_origin(report *page, const tuning *self)
{
    char text[TEXT_SIZE];
    dynq_cpu cpu = {0};
    dynq_cpu_query(&cpu);
    report_section(page, "Where this comes from", NULL);
    tune_describe_data(self, text, sizeof text);
    report_paragraph(page, text);
    report_paragraph(page,
                     "Predictions add up what nodes cost alone: squared errors and times; the "
                     "accuracy follows from the error and from how far the right class is above "
                     "the others in FP32.");
    machine_describe(&cpu, machine_kernel(self->call), text, sizeof text);
    report_paragraph(page, text);
    report_paragraph(page, "The command that made this page:");
    markup line = {0};
    markup_add(&line, "dynq");
    for (size_t i = 0; i < self->call->word_count; i++) {
        markup_word(&line, self->call->words[i]);
    }
    page->body.failed |= line.failed;
    report_commands(page, line.bytes);
    markup_free(&line);
}

exit_code tune_write_html(const tuning *self)
{
    report page = {0};
    char title[300], text[TEXT_SIZE];
    shown *all = allocate(1, sizeof *all);
    const char *slash = strrchr(self->call->arguments[0], '/');
    snprintf(title, sizeof title, "%.200s: a precision for every node",
             slash != NULL ? slash + 1 : self->call->arguments[0]);
    tune_describe_data(self, text, sizeof text);
    list_models(self, all);
    report_begin(&page, title, text);
    add_verdict(&page, self);
    add_cards(&page, self);
    report_section(&page, "Error against time and bytes", NULL);
    add_scatter(&page, all, "Error against time", "milliseconds for a batch", ms_of);
    add_scatter(&page, all, "Error against bytes", "megabytes of weights", megabytes_of);
    report_close_figures(&page);
    add_table(&page, self, all);
    add_nodes(&page, self);
    add_node_table(&page, self);
    add_origin(&page, self);
    free(all);
    dynq_error error = {0};
    const dynq_status status = report_write(&page, self->options->html, &error);
    report_free(&page);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->options->html);
}
