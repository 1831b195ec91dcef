#include "tools/compare_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* More than these would not be looked at. */
#define MOST_HISTOGRAMS 8
#define SHOWN_BINS      96
#define MOST_RANGES     12

/* What was seen of a value, ready to be shown. */
typedef struct input_view {
    uint64_t bins[SHOWN_BINS];
    double low, high;
    double row_low, row_high, batch_low, batch_high; /* NaN: unknown */
    double outlier_index, kurtosis, zero_rows;       /* NaN: unknown */
} input_view;

static void add_count(input_view *view, double value, uint64_t count)
{
    const double span = view->high - view->low;
    const double share = span > 0 ? (value - view->low) / span : 0;
    const double place = fmin(fmax(share, 0) * SHOWN_BINS, SHOWN_BINS - 1);
    view->bins[(size_t)place] += count;
}

static dynq_calibration_entry entry_of(const dynq_calibration *seen, const char *value)
{
    dynq_calibration_entry entry = {.size = sizeof entry};
    for (size_t i = 0; i < dynq_calibration_count(seen); i++) {
        if (dynq_calibration_get(seen, i, &entry) == DYNQ_OK && strcmp(entry.value, value) == 0) {
            return entry;
        }
    }
    return (dynq_calibration_entry){.size = sizeof entry};
}

/* 0 if nothing was seen. */
static int look_at(const comparison *self, const evaluate_input *input, input_view *view)
{
    const dynq_calibration *seen = self->results.seen;
    const dynq_calibration_entry entry = entry_of(seen, input->value);
    dynq_value_summary summary = {.size = sizeof summary};
    dynq_histogram_view counts = {.size = sizeof counts};
    if (entry.rows == 0 || dynq_calibration_summary(seen, input->value, &summary) != DYNQ_OK ||
        dynq_calibration_histogram(seen, input->value, &counts) != DYNQ_OK) {
        return 0;
    }
    *view = (input_view){.low = entry.min,
                         .high = entry.max,
                         .row_low = summary.row_low,
                         .row_high = summary.row_high,
                         .batch_low = summary.batch_low,
                         .batch_high = summary.batch_high,
                         .outlier_index = summary.outlier_index,
                         .kurtosis = summary.kurtosis,
                         .zero_rows = summary.zero_rows};
    const double width = counts.limit / DYNQ_HISTOGRAM_BINS;
    add_count(view, 0, counts.zeros);
    for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
        const double middle = ((double)i + 0.5) * width;
        add_count(view, middle, counts.positive[i]);
        add_count(view, -middle, counts.negative[i]);
    }
    return 1;
}

typedef struct range_list {
    plot_range ranges[MOST_RANGES];
    char names[MOST_RANGES][COMPARE_NAME_SIZE];
    char others[MOST_RANGES][400]; /* names of others that take the same */
    size_t count;
} range_list;

static void add_range(range_list *list, const char *name, double low, double high, int tone)
{
    if (list->count == MOST_RANGES || !isfinite(low) || !isfinite(high)) {
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->ranges[i].low == low && list->ranges[i].high == high) {
            const size_t used = strlen(list->others[i]);
            snprintf(list->others[i] + used, sizeof list->others[0] - used, ", %s", name);
            return;
        }
    }
    snprintf(list->names[list->count], sizeof list->names[0], "%s", name);
    list->others[list->count][0] = '\0';
    list->ranges[list->count] =
        (plot_range){list->names[list->count], low, high, tone, list->others[list->count]};
    list->count++;
}

/* The ranges of static variants by their methods, then those of dynamic ones. */
static void collect_ranges(const comparison *self, const evaluate_input *input,
                           const input_view *view, range_list *list)
{
    static const char prefix[] = "int8-static-";
    static const int tones[] = {2, 4, 3, 5, 6, 0};
    int dynamic = 0;
    list->count = 0;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const evaluate_node *node = compare_node(variant, input->layer);
        if (node == NULL || node->info.precision != DYNQ_PRECISION_INT8 ||
            compare_tone(self, v) == COMPARE_TONE_REMEDY) {
            continue; /* a remedy may have changed what the layer reads */
        }
        const dynq_range_rule *rule = &node->info.range;
        if (rule->kind == DYNQ_RANGE_STATIC) {
            const char *name = strncmp(variant->name, prefix, sizeof prefix - 1) == 0
                                   ? variant->name + sizeof prefix - 1
                                   : variant->name;
            add_range(list, name, rule->lo, rule->hi,
                      tones[list->count % (sizeof tones / sizeof *tones)]);
        } else {
            dynamic = 1;
        }
    }
    if (dynamic) {
        add_range(list, "mean of batches", view->batch_low, view->batch_high, 7);
        add_range(list, "mean of rows", view->row_low, view->row_high, 1);
    }
}

/* The static variant without a remedy whose range leaves most outside. */
static double most_outside(const comparison *self, const char *layer, const char **name)
{
    double most = -1;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_node *node = compare_node(&self->variants[v], layer);
        if (node != NULL && compare_tone(self, v) == COMPARE_TONE_STATIC &&
            evaluate_share_outside(node) > most) {
            most = evaluate_share_outside(node);
            *name = self->variants[v].name;
        }
    }
    return most;
}

static void append(char *text, size_t size, const char *format, double value)
{
    if (isfinite(value)) {
        const size_t used = strlen(text);
        snprintf(text + used, size - used, used > 0 ? " \xC2\xB7 " : "%s", "");
        const size_t separated = strlen(text);
        snprintf(text + separated, size - separated, format, value);
    }
}

static void add_facts(report *page, const comparison *self, const char *layer,
                      const input_view *view)
{
    char text[400] = "";
    const char *name = NULL;
    append(text, sizeof text, "largest |x| is %.1f standard deviations", view->outlier_index);
    append(text, sizeof text, "kurtosis %.1f (3: Gaussian)", view->kurtosis);
    if (view->zero_rows > 0) {
        append(text, sizeof text, "%.3g %% of rows all zero", 100 * view->zero_rows);
    }
    const double outside = most_outside(self, layer, &name);
    if (outside > 0) {
        append(text, sizeof text, "%.3g %% saturated with ", 100 * outside);
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s", name);
    } else if (outside == 0) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%snothing outside the static ranges",
                 used > 0 ? " \xC2\xB7 " : "");
    }
    if (text[0] != '\0') {
        report_figure_facts(page, text);
    }
}

void compare_add_inputs(report *page, const comparison *self)
{
    size_t layers[MOST_HISTOGRAMS];
    const size_t count = compare_worst_layers(self, layers, MOST_HISTOGRAMS);
    report_section(page, "What the layers read, and the ranges",
                   count < self->results.input_count
                       ? "The layers with the largest error: the values of the reference that each "
                         "quantizes, and the range that each method takes. Values outside a range "
                         "are clamped to it; a range wider than the values wastes steps."
                       : "The values of the reference that each linear layer quantizes, and the "
                         "range that each method takes. Values outside a range are clamped to it; "
                         "a range wider than the values wastes steps.");
    for (size_t i = 0; i < count; i++) {
        const evaluate_input *input = &self->results.inputs[layers[i]];
        char title[600];
        input_view view;
        range_list list;
        if (!look_at(self, input, &view)) {
            continue;
        }
        collect_ranges(self, input, &view, &list);
        snprintf(title, sizeof title, "%s reads %s", input->layer, input->value);
        report_figure_begin(page, title, NULL);
        plot_histogram(&page->body, title, "value (heights: logarithms of counts)", view.bins,
                       SHOWN_BINS, view.low, view.high, list.ranges, list.count);
        add_facts(page, self, input->layer, &view);
        report_figure_end(page);
    }
}
