#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/compare_gains.h"
#include "tools/fit.h"

static double sqnr_of(const evaluate_variant *variant)
{
    return dynq_metrics_result(&variant->output).sqnr_db;
}

/* The plain static variant with the largest SQNR, or NULL. */
static const evaluate_variant *best_static(const comparison *self)
{
    const evaluate_variant *best = NULL;
    for (size_t v = 1; v < self->count; v++) {
        const compare_subject *subject = &self->subjects[v];
        if (subject->known && subject->recipe.range == DYNQ_RANGE_STATIC &&
            compare_is_plain(&subject->recipe) &&
            (best == NULL || sqnr_of(&self->variants[v]) > sqnr_of(best))) {
            best = &self->variants[v];
        }
    }
    return best;
}

static const evaluate_variant *variant_named(const comparison *self, const char *name)
{
    for (size_t v = 1; v < self->count; v++) {
        if (strcmp(self->variants[v].name, name) == 0) {
            return &self->variants[v];
        }
    }
    return NULL;
}

static double own_db(const evaluate_variant *variant, const char *name)
{
    const evaluate_node *node = variant != NULL ? compare_node(variant, name) : NULL;
    return node != NULL && node->own.rows > 0 ? dynq_metrics_result(&node->own).sqnr_db : NAN;
}

static double clipped_pct(const evaluate_variant *variant, const char *name)
{
    const evaluate_node *node = variant != NULL ? compare_node(variant, name) : NULL;
    return node != NULL && node->inputs > 0 ? 100 * evaluate_share_outside(node) : NAN;
}

static const fit_column layer_columns[] = {
    {"share of the noise %", "noise %", 1, 0, 0},
    {"own error dB", "own dB", 2, 1, 0},
    {"own error dB, row", "row dB", 2, 1, 2},
    {"own error dB, static", "static dB", 2, 1, 3},
    {"error along the chain dB", "chain dB", 2, 1, 1},
    {"clipped %, static", "clipped %", 4, 3, 4},
    {"outlier index", "outlier", 2, 1, 5},
    {"kurtosis", "kurtosis", 2, 1, 7},
    {"zero rows %", "zero rows %", 2, 1, 9},
    {"spread of output weights", "spread", 1, 0, 8},
    {"headroom bits", "bits", 2, 1, 6},
};

#define LAYER_COLUMNS (sizeof layer_columns / sizeof *layer_columns)

static const compare_layer *find_layer(const comparison *self, const char *name)
{
    for (size_t i = 0; i < self->layer_count; i++) {
        if (strcmp(self->layers[i].name, name) == 0) {
            return &self->layers[i];
        }
    }
    return NULL;
}

static void fill_layer(const comparison *self, const compare_guilt *guilt, double *values)
{
    const evaluate_node *node = guilt->node;
    const char *name = node->info.name;
    const compare_layer *layer = find_layer(self, name);
    const evaluate_variant *fixed = best_static(self);
    const evaluate_variant *row = variant_named(self, "int8-dynamic-row");
    const double all[LAYER_COLUMNS] = {
        100 * guilt->share,
        dynq_metrics_result(&node->own).sqnr_db,
        own_db(row, name),
        own_db(fixed, name),
        dynq_metrics_result(&node->metrics).sqnr_db,
        clipped_pct(fixed, name),
        layer != NULL ? layer->seen.outlier_index : NAN,
        layer != NULL ? layer->seen.kurtosis : NAN,
        layer != NULL ? 100 * layer->seen.zero_rows : NAN,
        layer != NULL ? layer->output_spread : NAN,
        layer != NULL ? node->headroom_bits : NAN,
    };
    memcpy(values, all, sizeof all);
}

/* Names of layers in a stack have a long beginning in common, which says nothing. */
#define LEAST_PREFIX 8
#define ELLIPSIS     "\xE2\x80\xA6"

/* How many bytes all names begin with, up to a dot; 0 if that is not worth leaving out. */
static size_t common_prefix(const char *const *names, size_t count)
{
    size_t common = count > 1 ? strlen(names[0]) : 0;
    for (size_t i = 1; i < count; i++) {
        size_t same = 0;
        while (same < common && names[i][same] == names[0][same]) {
            same++;
        }
        common = same;
    }
    while (common > 0 && names[0][common - 1] != '.') {
        common--;
    }
    return common >= LEAST_PREFIX ? common : 0;
}

/* Replaces the common beginning of all names by an ellipsis; *heading says what it stands for. */
static void shorten_names(char **names, size_t count, const char *what, char *heading, size_t size)
{
    const size_t prefix = common_prefix((const char *const *)names, count);
    snprintf(heading, size, "%s", what);
    if (prefix > 0) {
        snprintf(heading, size, "%.*s" ELLIPSIS, (int)prefix, names[0]);
    }
    for (size_t i = 0; i < count; i++) {
        char text[DYNQ_MAX_NAME + 8];
        snprintf(text, sizeof text, "%s%s", prefix > 0 ? ELLIPSIS : "", names[i] + prefix);
        free(names[i]);
        names[i] = allocate_text(text);
    }
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

/* How many layers --layers asks for. */
static size_t layer_limit(const comparison *self)
{
    const char *asked = self->options->layers;
    return strcmp(asked, "all") == 0 ? SIZE_MAX : (size_t)strtoull(asked, NULL, 10);
}

static void print_heading(const comparison *self, const evaluate_variant *variant, int has_more)
{
    const evaluate_variant *fixed = best_static(self);
    char text[700];
    snprintf(text, sizeof text,
             "Error of each layer alone, fed with what the reference's layers read (own; in "
             "%s%s%s), and with what it got from the layers before (chain)%s:",
             variant->name, fixed != NULL ? ", static: " : "", fixed != NULL ? fixed->name : "",
             has_more ? "; the guiltiest (--layers all has the others)" : "");
    puts("");
    compare_print_prose(self, text, "");
    puts("");
}

void compare_print_guilty(const comparison *self, const evaluate_variant *variant)
{
    compare_guilt *guilty = allocate(variant->node_count + 1, sizeof *guilty);
    const size_t total = compare_find_guilty(variant, self->layers, self->layer_count, guilty);
    const size_t limit = layer_limit(self);
    const size_t count = total < limit ? total : limit;
    char **names = allocate(count + 1, sizeof *names);
    double *values = allocate(count * LAYER_COLUMNS + 1, sizeof *values);
    char heading[DYNQ_MAX_NAME + 8];
    for (size_t i = 0; i < count; i++) {
        names[i] = allocate_text(guilty[i].node->info.name);
        fill_layer(self, &guilty[i], values + i * LAYER_COLUMNS);
    }
    shorten_names(names, count, "layer", heading, sizeof heading);
    if (count > 0) {
        print_heading(self, variant, count < total);
        const fit_table shown = {.heading = heading,
                                 .align = TABLE_NAME,
                                 .names = (const char *const *)names,
                                 .row_count = count,
                                 .columns = layer_columns,
                                 .column_count = LAYER_COLUMNS,
                                 .values = values};
        fit_print(&shown, self->call->common.format, fit_terminal_width(), stdout);
    }
    free(values);
    free_names(names, count);
    free(guilty);
}

/* The node whose own error is the worst; NULL: none was taken. */
static const evaluate_node *guiltiest(const comparison *self, const evaluate_variant *variant)
{
    compare_guilt *guilty = allocate(variant->node_count + 1, sizeof *guilty);
    const size_t count = compare_find_guilty(variant, self->layers, self->layer_count, guilty);
    const evaluate_node *found = count > 0 ? guilty[0].node : NULL;
    free(guilty);
    return found;
}

static void print_below_table(const comparison *self, const size_t *below, size_t count)
{
    const double limit = self->options->node_limit;
    char **names = allocate(2 * count, sizeof *names);
    char prefix[DYNQ_MAX_NAME + 8], text[DYNQ_MAX_NAME + 200];
    for (size_t i = 0; i < count; i++) {
        const evaluate_variant *variant = &self->variants[below[i]];
        const evaluate_node *worst = guiltiest(self, variant);
        names[2 * i] = allocate_text(compare_first_below(variant, limit)->info.name);
        names[2 * i + 1] = allocate_text(worst != NULL ? worst->info.name : "-");
    }
    shorten_names(names, 2 * count, "", prefix, sizeof prefix);
    snprintf(text, sizeof text, "The first node below %.6g dB (--node-limit)%s%s%s:", limit,
             count + 1 < self->count ? "; other variants have none" : "",
             prefix[0] != '\0' ? "; names begin with " : "", prefix);
    puts("");
    compare_print_prose(self, text, "");
    puts("");
    table *rows = table_create();
    table_width(rows, fit_terminal_width());
    table_column(rows, "variant", TABLE_NAME);
    table_column(rows, "first below", TABLE_NAME);
    table_column(rows, "dB", TABLE_RIGHT);
    table_column(rows, "guiltiest alone", TABLE_NAME);
    for (size_t i = 0; i < count; i++) {
        const evaluate_variant *variant = &self->variants[below[i]];
        table_text(rows, variant->name);
        table_text(rows, names[2 * i]);
        table_number(rows,
                     dynq_metrics_result(&compare_first_below(variant, limit)->metrics).sqnr_db, 1);
        table_text(rows, names[2 * i + 1]);
    }
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
    free_names(names, 2 * count);
}

void compare_print_below(const comparison *self)
{
    const double limit = self->options->node_limit;
    size_t below[COMPARE_MAX_VARIANTS];
    size_t count = 0;
    char text[200];
    for (size_t v = 1; v < self->count; v++) {
        if (compare_first_below(&self->variants[v], limit) != NULL) {
            below[count++] = v;
        }
    }
    if (count > 0) {
        print_below_table(self, below, count);
        return;
    }
    snprintf(text, sizeof text, "No node of any variant is below %.6g dB (--node-limit).", limit);
    puts("");
    compare_print_prose(self, text, "");
}
