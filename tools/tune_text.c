#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/fit.h"
#include "tools/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 5000
#define NAME_SIZE 80

static double sqnr_of(double error)
{
    return error > 0 ? -10 * log10(error) : NAN;
}

static const fit_column outcome_columns[] = {
    {"ms", "ms", 4, 3, 0},
    {"speedup", "speed", 3, 2, 3},
    {"weight bytes", "bytes", 0, 0, 0},
    {"SQNR dB", "SQNR", 2, 1, 1},
    {"mean cosine", "mean cos", 8, 6, 0},
    {"drop in points", "drop", 3, 2, 2},
};
#define OUTCOME_COLUMNS (sizeof outcome_columns / sizeof *outcome_columns)

static void add_outcome(const tuning *self, const tune_outcome *outcome, double *values)
{
    const double all[OUTCOME_COLUMNS] = {outcome->ms,     self->fp32_ms / outcome->ms,
                                         outcome->bytes,  sqnr_of(outcome->error),
                                         outcome->cosine, outcome->drop};
    memcpy(values, all, sizeof all);
}

static void print_outcomes(const tuning *self, const char *heading, const char *const *names,
                           const tune_outcome *outcomes, size_t count)
{
    double *values = allocate(count * OUTCOME_COLUMNS, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        add_outcome(self, &outcomes[i], values + i * OUTCOME_COLUMNS);
    }
    const fit_table shown = {.heading = heading,
                             .align = TABLE_LEFT,
                             .names = names,
                             .row_count = count,
                             .columns = outcome_columns,
                             .column_count = OUTCOME_COLUMNS,
                             .values = values};
    fit_print(&shown, self->call->common.format, fit_terminal_width(), stdout);
    free(values);
}

static void print_pareto(const tuning *self)
{
    char(*texts)[NAME_SIZE] = allocate(TUNE_MOST_PARETO, sizeof *texts);
    const char *names[TUNE_MOST_PARETO];
    for (size_t i = 0; i < self->pareto_count; i++) {
        tune_describe_choices(self, self->pareto_choices + i * self->node_count, texts[i],
                              sizeof texts[i]);
        names[i] = texts[i];
    }
    print_outcomes(self, "Pareto list (nodes)", names, self->pareto, self->pareto_count);
    free(texts);
}

/* FP32, every node at one precision, and what was chosen. */
static void print_measured(const tuning *self)
{
    const tune_try *chosen = &self->tries[self->chosen];
    const size_t count = self->candidate_count + 3;
    char(*texts)[NAME_SIZE] = allocate(count, sizeof *texts);
    const char **names = allocate(count, sizeof *names);
    tune_outcome *outcomes = allocate(count, sizeof *outcomes);
    const int labels = self->labels != NULL;
    snprintf(texts[0], NAME_SIZE, "FP32");
    outcomes[0] = (tune_outcome){
        .cosine = 1, .ms = self->fp32_ms, .bytes = self->fp32_bytes, .drop = labels ? 0 : NAN};
    for (size_t c = 0; c < self->candidate_count; c++) {
        snprintf(texts[1 + c], NAME_SIZE, "all %.70s", self->candidates[c].text);
        outcomes[1 + c] = self->candidates[c].measured;
    }
    snprintf(texts[count - 2], NAME_SIZE, "chosen, predicted");
    outcomes[count - 2] = chosen->predicted;
    snprintf(texts[count - 1], NAME_SIZE, "chosen, measured");
    outcomes[count - 1] = chosen->measured;
    for (size_t i = 0; i < count; i++) {
        names[i] = texts[i];
    }
    print_outcomes(self, "whole model", names, outcomes, count);
    free(outcomes);
    free(names);
    free(texts);
}

static const fit_column node_columns[] = {
    {"error alone %", "error %", 6, 4, 1},
    {"SQNR of the node", "SQNR", 2, 1, 2},
    {"ms", "ms", 5, 4, 0},
    {"FP32 ms", "FP32 ms", 5, 4, 1},
    {"weight bytes", "bytes", 0, 0, 0},
};
#define NODE_COLUMNS (sizeof node_columns / sizeof *node_columns)

static double relative(const dynq_metrics *metrics)
{
    return metrics->signal > 0 ? metrics->noise / metrics->signal : 0;
}

static void print_nodes(const tuning *self)
{
    const tune_try *chosen = &self->tries[self->chosen];
    double *values = allocate(self->node_count * NODE_COLUMNS, sizeof *values);
    const char **names = allocate(self->node_count, sizeof *names);
    char **texts = allocate(self->node_count, sizeof *texts);
    for (size_t i = 0; i < self->node_count; i++) {
        const tune_node *node = &self->nodes[i];
        const tune_choice *choice = &node->choices[chosen->choices[i]];
        const double row[NODE_COLUMNS] = {100 * sqrt(relative(&choice->answer)),
                                          sqnr_of(relative(&choice->own)), choice->ms,
                                          node->fp32_ms, (double)choice->bytes};
        const size_t size = strlen(node->name) + strlen(choice->values) + 3;
        memcpy(values + i * NODE_COLUMNS, row, sizeof row);
        texts[i] = allocate(size, 1);
        snprintf(texts[i], size, "%s: %s", node->name, choice->values);
        names[i] = texts[i];
    }
    const fit_table shown = {.heading = "node: precision chosen",
                             .align = TABLE_NAME,
                             .names = names,
                             .row_count = self->node_count,
                             .columns = node_columns,
                             .column_count = NODE_COLUMNS,
                             .values = values};
    fit_print(&shown, self->call->common.format, fit_terminal_width(), stdout);
    for (size_t i = 0; i < self->node_count; i++) {
        free(texts[i]);
    }
    free(texts);
    free(names);
    free(values);
}

static void print_prose(const tuning *self, const char *text)
{
    if (self->call->common.format == TABLE_MARKDOWN) {
        printf("%s\n\n", text);
    } else {
        option_print_wrapped(stdout, text, 0, 0);
    }
}

static void print_lines(const tuning *self)
{
    const tune_try *chosen = &self->tries[self->chosen];
    char text[LINE_SIZE], list[LINE_SIZE - 500];
    tune_describe_choices(self, chosen->choices, list, sizeof list);
    if (chosen->met) {
        snprintf(text, sizeof text, "Chosen: %s.", list);
    } else {
        char missed[300];
        tune_missed(self, &chosen->measured, missed, sizeof missed);
        snprintf(text, sizeof text,
                 "No assignment was found that meets the targets. Best: %s; "
                 "missed: %s.",
                 list, missed);
    }
    print_prose(self, text);
    if (self->try_count > 1) {
        snprintf(text, sizeof text,
                 "%zu assignments were made and measured; predictions were corrected by "
                 "each.",
                 self->try_count);
        print_prose(self, text);
    }
    const size_t slower = tune_slower(self, list, sizeof list);
    if (slower > 0) {
        snprintf(text, sizeof text,
                 "INT8 makes %zu of %zu nodes no faster than FP32 here, which may stay in FP32 "
                 "unless bytes matter: %s.",
                 slower, self->node_count, list);
        print_prose(self, text);
    }
}

void tune_print(const tuning *self)
{
    if (self->call->common.format != TABLE_CSV) {
        print_lines(self);
        printf("\n");
    }
    print_pareto(self);
    if (self->call->common.format != TABLE_CSV) {
        printf("\n");
        print_measured(self);
        printf("\n");
        print_nodes(self);
        char text[LINE_SIZE];
        tune_describe_data(self, text, sizeof text);
        printf("\n");
        print_prose(self, text);
    }
}
