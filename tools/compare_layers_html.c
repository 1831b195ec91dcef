#include "tools/compare_page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

/* Variants in the plots of layers; the tables have all. */
#define MOST_CHOSEN 5
/* Lines of one plot: what a printed page holds. */
#define MOST_LINES 48

typedef struct choice {
    size_t variants[MOST_CHOSEN];
    size_t count;
} choice;

static void choose(choice *chosen, size_t variant)
{
    for (size_t i = 0; i < chosen->count; i++) {
        if (chosen->variants[i] == variant) {
            return;
        }
    }
    if (variant > 0 && chosen->count < MOST_CHOSEN) {
        chosen->variants[chosen->count++] = variant;
    }
}

static size_t named(const comparison *self, const char *name)
{
    for (size_t v = 1; v < self->count; v++) {
        if (strcmp(self->variants[v].name, name) == 0) {
            return v;
        }
    }
    return 0;
}

/* The static variant without a remedy that has most noise (sign 1) or least (-1); 0: none. */
static size_t extreme_static(const comparison *self, int sign)
{
    size_t found = 0;
    for (size_t v = 1; v < self->count; v++) {
        if (compare_tone(self, v) == COMPARE_TONE_STATIC &&
            (found == 0 ||
             sign * compare_output_sqnr(self, v) < sign * compare_output_sqnr(self, found))) {
            found = v;
        }
    }
    return found;
}

static int compare_numbers(const void *left, const void *right)
{
    const size_t a = *(const size_t *)left;
    const size_t b = *(const size_t *)right;
    return (a > b) - (a < b);
}

/* The best, the worst and best static ranges, the dynamic ones; then the first of the others. */
static choice choose_variants(const comparison *self)
{
    choice chosen = {.count = 0};
    choose(&chosen, compare_best(self));
    choose(&chosen, extreme_static(self, 1));
    choose(&chosen, named(self, "int8-dynamic-row"));
    choose(&chosen, named(self, "int8-dynamic-segment"));
    choose(&chosen, extreme_static(self, -1));
    for (size_t v = 1; v < self->count; v++) {
        choose(&chosen, v);
    }
    qsort(chosen.variants, chosen.count, sizeof *chosen.variants, compare_numbers);
    return chosen;
}

/* One number for each node of the reference and each variant. */
typedef struct grid {
    size_t rows, columns;
    const char **names, **operators, **types;
    double *values; /* [rows][columns] */
} grid;

static double sqnr(const dynq_metrics *metrics)
{
    return metrics->rows > 0 ? dynq_metrics_result(metrics).sqnr_db : NAN;
}

/* "int8", "fp32", or "both" where the variants differ. */
static const char *type_of(const comparison *self, const char *node)
{
    const char *type = NULL;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_node *found = compare_node(&self->variants[v], node);
        if (found != NULL) {
            const char *own = dynq_precision_name(found->info.precision);
            type = type == NULL || strcmp(type, own) == 0 ? own : "both";
        }
    }
    return type != NULL ? type : "fp32";
}

static grid make_grid(const comparison *self, int own)
{
    const evaluate_variant *reference = &self->variants[0];
    const size_t most = reference->node_count;
    grid made = {.columns = self->count - 1,
                 .names = allocate(most, sizeof *made.names),
                 .operators = allocate(most, sizeof *made.operators),
                 .types = allocate(most, sizeof *made.types),
                 .values = allocate(most * (self->count - 1), sizeof *made.values)};
    for (size_t i = 0; i < most; i++) {
        const char *name = reference->nodes[i].info.name;
        double *values = made.values + made.rows * made.columns;
        size_t taken = 0;
        for (size_t v = 1; v < self->count; v++) {
            const evaluate_node *node = compare_node(&self->variants[v], name);
            values[v - 1] = node != NULL ? sqnr(own ? &node->own : &node->metrics) : NAN;
            taken += !isnan(values[v - 1]);
        }
        if (taken > 0 || !own) {
            made.names[made.rows] = name;
            made.operators[made.rows] = dynq_op_name(reference->nodes[i].info.op);
            made.types[made.rows] = type_of(self, name);
            made.rows++;
        }
    }
    return made;
}

static void free_grid(grid *self)
{
    free(self->names);
    free(self->operators);
    free(self->types);
    free(self->values);
}

/* An axis for all plots of a grid, so that they can be compared. */
static svg_axis axis_of(const grid *self, const choice *chosen)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t r = 0; r < self->rows; r++) {
        for (size_t c = 0; c < chosen->count; c++) {
            const double value = self->values[r * self->columns + chosen->variants[c] - 1];
            low = isfinite(value) ? fmin(low, value) : low;
            high = isfinite(value) ? fmax(high, value) : high;
        }
    }
    return low <= high ? svg_axis_around("SQNR in dB", low, high, 5)
                       : svg_axis_around("SQNR in dB", 0, 1, 5);
}

/* Plots that hold a grid, and lines of each if there are so many: about as many in one as in the
 * next. */
static size_t plots_of(const grid *self)
{
    return (self->rows + MOST_LINES - 1) / MOST_LINES;
}

static size_t lines_of(const grid *self, size_t plots)
{
    return (self->rows + plots - 1) / plots;
}

/* Colours that none of the first `count` variants has: that of its family where it is free. */
static int free_tone(const comparison *self, size_t variant, const int *taken, size_t count)
{
    static const int spare[SVG_TONES][4] = {
        [COMPARE_TONE_FP32] = {0, 5, 4, 7},
        [COMPARE_TONE_DYNAMIC] = {1, 7, 4, 0},
        [COMPARE_TONE_STATIC] = {2, 6, 5, 0},
        [COMPARE_TONE_REMEDY] = {3, 4, 5, 0},
    };
    const int *own = spare[compare_tone(self, variant)];
    for (size_t i = 0; i < sizeof spare[0] / sizeof *spare[0]; i++) {
        int used = 0;
        for (size_t k = 0; k < count; k++) {
            used |= taken[k] == own[i];
        }
        if (!used) {
            return own[i];
        }
    }
    return own[0];
}

static void add_dots(report *page, const comparison *self, const grid *data, const choice *chosen,
                     size_t first, size_t lines, const char *title, const char *text, int connected)
{
    int tones[MOST_CHOSEN];
    const size_t count = data->rows - first < lines ? data->rows - first : lines;
    double *values = allocate(chosen->count * count, sizeof *values);
    plot_series series[MOST_CHOSEN];
    char heading[160];
    for (size_t c = 0; c < chosen->count; c++) {
        const size_t variant = chosen->variants[c];
        for (size_t r = 0; r < count; r++) {
            values[c * count + r] = data->values[(first + r) * data->columns + variant - 1];
        }
        tones[c] = free_tone(self, variant, tones, c);
        series[c] = (plot_series){
            .name = self->variants[variant].name, .tone = tones[c], .values = values + c * count};
    }
    if (data->rows > lines) {
        snprintf(heading, sizeof heading, "%s, %zu to %zu of %zu", title, first + 1, first + count,
                 data->rows);
    } else {
        snprintf(heading, sizeof heading, "%s", title);
    }
    const plot_dots dots = {.description = heading,
                            .axis = axis_of(data, chosen),
                            .names = data->names + first,
                            .count = count,
                            .series = series,
                            .series_count = chosen->count,
                            .connected = connected};
    report_figure_begin(page, heading, text);
    plot_dots_draw(&page->body, &dots);
    report_figure_end(page);
    free(values);
}

static void add_matrix(report *page, const comparison *self, const grid *data, const char *caption,
                       const char *text)
{
    plot_row heads[COMPARE_MAX_VARIANTS];
    for (size_t v = 1; v < self->count; v++) {
        heads[v - 1] = compare_row(self, v);
    }
    const report_matrix matrix = {.caption = caption,
                                  .text = text,
                                  .heads = heads,
                                  .columns = data->columns,
                                  .rows = data->rows,
                                  .names = data->names,
                                  .operators = data->operators,
                                  .types = data->types,
                                  .values = data->values,
                                  .limits = {35, 28, 21, 14, 7}};
    report_matrix_add(page, &matrix);
}

static void add_plots(report *page, const comparison *self, const grid *own, const grid *chain)
{
    const choice chosen = choose_variants(self);
    const size_t plots = plots_of(own) > plots_of(chain) ? plots_of(own) : plots_of(chain);
    for (size_t plot = 0; plot < plots; plot++) {
        const size_t own_lines = lines_of(own, plots), chain_lines = lines_of(chain, plots);
        if (plot * own_lines < own->rows) {
            add_dots(page, self, own, &chosen, plot * own_lines, own_lines, "Each layer alone",
                     "Fed with the reference's values: a dot far left is a layer that quantizes "
                     "badly by itself.",
                     0);
        }
        if (plot * chain_lines < chain->rows) {
            add_dots(page, self, chain, &chosen, plot * chain_lines, chain_lines, "Along the chain",
                     "With the error that came from the layers before: a line that runs to the "
                     "left loses accuracy there.",
                     1);
        }
    }
}

void compare_add_layers(report *page, const comparison *self)
{
    static const char shading[] =
        "Shaded below 35, 28, 21, 14 and 7 dB, darker where worse. The numbers of the columns are "
        "those of the variants above.";
    grid own = make_grid(self, 1);
    grid chain = make_grid(self, 0);
    const size_t best = compare_best(self);
    char text[1200];
    report_section(page, "Layer by layer",
                   "Signal to quantization noise (SQNR) of the nodes' results against the "
                   "reference's on the same rows: further right is better, 6 dB less is twice the "
                   "error.");
    for (size_t v = 1; v < self->count; v++) {
        if ((v == best || self->count <= 6) &&
            compare_blame(self, &self->variants[v], text, sizeof text)) {
            report_paragraph(page, text);
        }
    }
    add_plots(page, self, &own, &chain);
    if (own.rows > 0) {
        add_matrix(page, self, &own, "Each layer alone: SQNR in dB", shading);
    }
    add_matrix(page, self, &chain, "Along the chain, every node: SQNR in dB", shading);
    free_grid(&own);
    free_grid(&chain);
}
