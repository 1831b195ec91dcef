#include "tools/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/baseline.h"
#include "tools/plot.h"
#include "tools/report.h"

#define MOST_CARDS 6
/* Latency plots, profiles and nodes beyond these are in the tables only. */
#define MOST_LATENCIES 12
#define MOST_PROFILES  6
#define MOST_NODES     24

/* The first run of point `index`: a point with a number of threads. */
static const bench_run *point_at(const bench *self, size_t index)
{
    return self->runs + index * self->line_count;
}

static size_t point_count(const bench *self)
{
    return self->run_count / self->line_count;
}

/* The INT8 run of a point to put first: the native one, or of another engine if only that was
 * measured; dynamic ranges before static ones. */
static const bench_run *headline(const bench *self, size_t point)
{
    const bench_run *first = NULL;
    const bench_run *runs = point_at(self, point);
    for (size_t i = 0; i < self->line_count; i++) {
        const bench_line *line = runs[i].line;
        if (line->precision == DYNQ_PRECISION_INT8 &&
            (first == NULL || (line->table == NULL && first->line->table != NULL))) {
            first = &runs[i];
        }
    }
    return first;
}

static void add_cards(report *page, const bench *self)
{
    report_card cards[MOST_CARDS];
    char labels[MOST_CARDS][120], values[MOST_CARDS][32], notes[MOST_CARDS][160];
    size_t count = 0;
    for (size_t p = 0; p < point_count(self) && count < MOST_CARDS; p++) {
        const bench_run *first = headline(self, p);
        if (first == NULL) {
            continue;
        }
        bench_describe_point(self, first->point, first->threads, labels[count],
                             sizeof labels[count]);
        snprintf(values[count], sizeof values[count], "%.2f\xC3\x97", first->speedup);
        snprintf(notes[count], sizeof notes[count], "%s, %.3g ms, against %s", first->line->name,
                 first->ms.median, first->baseline->name);
        cards[count] = (report_card){labels[count], values[count], notes[count]};
        count++;
    }
    report_cards(page, cards, count);
}

/* One bar for each line, at one point. */
static void add_latency(report *page, const bench *self, size_t point)
{
    const bench_run *runs = point_at(self, point);
    char title[120];
    const char *category = "milliseconds for a run, median";
    plot_series series[BENCH_MAX_LINES];
    for (size_t i = 0; i < self->line_count; i++) {
        series[i] = (plot_series){
            .name = runs[i].line->name, .tone = runs[i].line->tone, .values = &runs[i].ms.median};
    }
    bench_describe_point(self, runs->point, runs->threads, title, sizeof title);
    const plot_bars bars = {.description = title,
                            .unit = "ms",
                            .decimals = -1,
                            .categories = &category,
                            .category_count = 1,
                            .series = series,
                            .series_count = self->line_count};
    report_figure_begin(page, title, NULL);
    plot_bars_draw(&page->body, &bars);
    report_figure_end(page);
}

/* Speedups of all points, for one number of threads. */
static void add_speedups(report *page, const bench *self, size_t thread)
{
    const size_t count = self->point_count;
    char(*names)[80] = allocate(count, sizeof *names);
    const char **categories = allocate(count, sizeof *categories);
    double *values = allocate(count * self->line_count, sizeof *values);
    plot_series series[BENCH_MAX_LINES];
    char title[80];
    for (size_t b = 0; b < count; b++) {
        const bench_run *runs = point_at(self, thread * count + b);
        const bench_point *point = runs->point;
        snprintf(names[b], sizeof names[b], point->sequence > 0 ? "batch %zu x %zu" : "batch %zu",
                 point->batch, point->sequence);
        categories[b] = names[b];
        for (size_t i = 0; i < self->line_count; i++) {
            values[i * count + b] = runs[i].speedup;
        }
    }
    for (size_t i = 0; i < self->line_count; i++) {
        series[i] = (plot_series){
            .name = self->lines[i].name, .tone = self->lines[i].tone, .values = values + i * count};
    }
    snprintf(title, sizeof title, "Speedup with %u thread%s", self->threads[thread],
             self->threads[thread] == 1 ? "" : "s");
    const plot_bars bars = {.description = title,
                            .unit = "\xC3\x97",
                            .decimals = 2,
                            .categories = categories,
                            .category_count = count,
                            .series = series,
                            .series_count = self->line_count};
    report_figure_begin(page, title, "Times as fast as the baseline, which has 1.");
    plot_bars_draw(&page->body, &bars);
    report_figure_end(page);
    free(values);
    free(categories);
    free(names);
}

/* Requests per second against the batch, for one number of threads. */
static void add_throughput(report *page, const bench *self, size_t thread, size_t sequence)
{
    const size_t count = self->batch_count;
    const size_t first = thread * self->point_count + sequence * count;
    double *x = allocate(count, sizeof *x);
    double *values = allocate(count * self->line_count, sizeof *values);
    plot_series series[BENCH_MAX_LINES];
    char title[80];
    for (size_t b = 0; b < count; b++) {
        const bench_run *runs = point_at(self, first + b);
        x[b] = (double)runs->point->batch;
        for (size_t i = 0; i < self->line_count; i++) {
            values[i * count + b] = (double)runs->point->batch / runs[i].ms.median;
        }
    }
    for (size_t i = 0; i < self->line_count; i++) {
        series[i] = (plot_series){
            .name = self->lines[i].name, .tone = self->lines[i].tone, .values = values + i * count};
    }
    const size_t rows = point_at(self, first)->point->sequence;
    snprintf(title, sizeof title,
             rows > 0 ? "Throughput with %u thread%s, sequence %zu" : "Throughput with %u thread%s",
             self->threads[thread], self->threads[thread] == 1 ? "" : "s", rows);
    report_figure_begin(page, title, "Higher is better.");
    plot_lines(&page->body, title, "requests in a batch", "thousand requests per second", x, count,
               series, self->line_count);
    report_figure_end(page);
    free(values);
    free(x);
}

static void add_run_table(report *page, const bench *self)
{
    static const report_column columns[] = {
        {"engine", 0},    {"batch", 1},    {"rows", 1},       {"threads", 1},
        {"median ms", 1}, {"min ms", 1},   {"mean ms", 1},    {"sd ms", 1},
        {"P99 ms", 1},    {"first ms", 1}, {"session ms", 1}, {"speedup", 1},
    };
    report_table_begin(page, NULL, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < self->run_count; i++) {
        const bench_run *run = &self->runs[i];
        report_cell(page, "%s", run->line->name);
        report_cell(page, "%zu", run->point->batch);
        report_cell(page, "%zu", bench_point_rows(run->point));
        report_cell(page, "%u", run->threads);
        report_cell_number(page, run->ms.median, 4);
        report_cell_number(page, run->ms.min, 4);
        report_cell_number(page, run->ms.mean, 4);
        report_cell_number(page, run->ms.sd, 4);
        report_cell_number(page, run->ms.p99, 4);
        report_cell_number(page, run->first_ms, 4);
        report_cell_number(page, run->create_ms, 4);
        if (run->line == run->baseline) {
            report_cell(page, "1 (base)");
        } else {
            report_cell_number(page, run->speedup, 2);
        }
    }
    report_table_end(page);
}

static int compare_nodes(const void *left, const void *right)
{
    const bench_node *a = left;
    const bench_node *b = right;
    const double x = bench_node_total(a);
    const double y = bench_node_total(b);
    return (x < y) - (x > y);
}

/* Stacked bars: the nodes that take most time, each split by phase. */
static void add_profile(report *page, const bench *self, const bench_profile *profile)
{
    bench_node *nodes = NULL;
    const size_t total = bench_sum_layers(profile, &nodes);
    const size_t count = total < MOST_NODES ? total : MOST_NODES;
    const char **names = allocate(count, sizeof *names);
    double *values = allocate(BENCH_PHASES * count, sizeof *values);
    plot_series series[BENCH_PHASES];
    static const int tones[BENCH_PHASES] = {3, 2, 1, 4, 0};
    char title[200], point[120], text[120];
    if (count < total) { /* otherwise the order of the model says more */
        qsort(nodes, total, sizeof *nodes, compare_nodes);
    }
    for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
        double *own = values + phase * count;
        for (size_t i = 0; i < count; i++) {
            own[i] = nodes[i].us[phase];
            names[i] = nodes[i].name;
        }
        series[phase] =
            (plot_series){.name = bench_phase_names[phase], .tone = tones[phase], .values = own};
    }
    bench_describe_point(self, profile->point, profile->threads, point, sizeof point);
    snprintf(title, sizeof title, "%s, %s", profile->line->name, point);
    snprintf(text, sizeof text, "%.1f microseconds in all%s", bench_profile_total(profile),
             count < total ? "; the nodes that take most" : "");
    const plot_bars bars = {.description = title,
                            .unit = "\xC2\xB5s",
                            .decimals = 1,
                            .stacked = 1,
                            .categories = names,
                            .category_count = count,
                            .series = series,
                            .series_count = BENCH_PHASES};
    report_figure_begin(page, title, text);
    plot_bars_draw(&page->body, &bars);
    report_figure_end(page);
    free(values);
    free(names);
    free(nodes);
}

exit_code bench_write_html(const bench *self)
{
    report page = {0};
    char text[4400], machine[512];
    const char *slash = strrchr(self->call->arguments[0], '/');
    snprintf(text, sizeof text, "%s: latency of INT8 and FP32",
             slash != NULL ? slash + 1 : self->call->arguments[0]);
    bench_describe(self, machine, sizeof machine);
    report_begin(&page, text, machine);
    add_cards(&page, self);
    bench_describe_baseline(self, text, sizeof text);
    report_section(&page, "Speedup and throughput", text);
    if (baseline_warning(text, sizeof text)) {
        report_paragraph(&page, text);
    }
    for (size_t t = 0; t < self->thread_count; t++) {
        add_speedups(&page, self, t);
        for (size_t s = 0; s < self->sequence_count && self->batch_count > 1; s++) {
            add_throughput(&page, self, t, s);
        }
    }
    report_section(&page, "Latency", "Medians of repetitions that take turns between the lines.");
    for (size_t p = 0; p < point_count(self) && p < MOST_LATENCIES; p++) {
        add_latency(&page, self, p);
    }
    add_run_table(&page, self);
    if (self->profile_count > 0) {
        report_section(&page, "Where the time goes", bench_profile_note);
    }
    for (size_t i = 0; i < self->profile_count && i < MOST_PROFILES; i++) {
        add_profile(&page, self, &self->profiles[i]);
    }
    dynq_error error = {0};
    const dynq_status status = report_write(&page, self->options->html, &error);
    report_free(&page);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->options->html);
}
