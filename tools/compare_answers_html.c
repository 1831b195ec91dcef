#include "tools/compare_page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

static int compare_values(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Between the two nearest of sorted values. */
static double quantile(const double *sorted, size_t count, double share)
{
    const double place = share * (double)(count - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

/* Fills a strip with the errors of a variant's requests, in percent; 0 without any. */
static int spread_of(const comparison *self, size_t variant, double *sorted, plot_strip *strip)
{
    const evaluate_variant *one = &self->variants[variant];
    size_t count = 0;
    for (size_t i = 0; one->errors != NULL && i < one->requests; i++) {
        if (isfinite(one->errors[i])) {
            sorted[count++] = 100 * one->errors[i];
        }
    }
    if (count == 0) {
        return 0;
    }
    qsort(sorted, count, sizeof *sorted, compare_values);
    *strip = (plot_strip){.row = compare_row(self, variant),
                          .low = quantile(sorted, count, 0.05),
                          .lower = quantile(sorted, count, 0.25),
                          .middle = quantile(sorted, count, 0.5),
                          .upper = quantile(sorted, count, 0.75),
                          .high = quantile(sorted, count, 0.95),
                          .worst = sorted[count - 1]};
    return 1;
}

static void add_spread(report *page, const comparison *self)
{
    plot_strip strips[COMPARE_MAX_VARIANTS];
    char texts[COMPARE_MAX_VARIANTS][48];
    size_t count = 0;
    double *sorted = allocate(self->data.count, sizeof *sorted);
    for (size_t v = 1; v < self->count; v++) {
        if (spread_of(self, v, sorted, &strips[count])) {
            snprintf(texts[count], sizeof texts[0], "%.3g, worst %.3g %%", strips[count].middle,
                     strips[count].worst);
            strips[count].row.text = texts[count];
            count++;
        }
    }
    free(sorted);
    if (count == 0) {
        return;
    }
    report_figure_begin(page, "Spread of the error",
                        "Over the requests: |answer - reference| / |reference|. Dot: median; thick "
                        "bar: the middle half; line: 5 to 95 %; stroke: the worst.");
    plot_strips(&page->body, "Relative error of the answers, for each variant",
                "relative error in %", strips, count);
    report_figure_end(page);
}

/* "9 requests, each alone and in 4 batches". */
static void describe_trials(const comparison *self, char *text, size_t size)
{
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_batch_effect *effect = &self->variants[v].batch_effect;
        if (effect->requests > 0) {
            snprintf(text, size,
                     "The change of an answer when the same request runs in a batch with others, "
                     "|in batch - alone| / |alone|: %zu requests, each in %zu random batches. Dot: "
                     "mean; stroke: worst.",
                     effect->requests, effect->batches);
            return;
        }
    }
    text[0] = '\0';
}

/* "No change, the same bytes in every batch: 1 fp32, ...". */
static void add_unchanged(report *page, const comparison *self)
{
    markup text = {0};
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_batch_effect *effect = &self->variants[v].batch_effect;
        if (effect->requests > 0 && effect->identical) {
            markup_add(&text, "%s%s",
                       text.length > 0 ? ", " : "None, the same bytes in every batch: ",
                       self->variants[v].name);
        }
    }
    if (text.length > 0) {
        report_figure_facts(page, text.bytes);
    }
    page->body.failed |= text.failed;
    markup_free(&text);
}

static void add_batch_effect(report *page, const comparison *self)
{
    plot_strip strips[COMPARE_MAX_VARIANTS];
    char texts[COMPARE_MAX_VARIANTS][48];
    char text[400];
    size_t count = 0;
    describe_trials(self, text, sizeof text);
    if (text[0] == '\0') {
        return;
    }
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_batch_effect *effect = &self->variants[v].batch_effect;
        if (effect->requests > 0 && !effect->identical) {
            const double mean = 100 * effect->mean, worst = 100 * effect->worst;
            strips[count] = (plot_strip){compare_row(self, v), NAN, NAN, mean, NAN, NAN, worst};
            snprintf(texts[count], sizeof texts[0], "%.3g, worst %.3g %%", mean, worst);
            strips[count].row.text = texts[count];
            count++;
        }
    }
    report_figure_begin(page, "Batch effect: what neighbours change", text);
    if (count > 0) {
        plot_strips(&page->body, "Change of answers by their neighbours, for each variant",
                    "change in %", strips, count);
    }
    add_unchanged(page, self);
    report_figure_end(page);
}

static int has_answers(const comparison *self)
{
    int found = 0;
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_variant *one = &self->variants[v];
        found |= one->errors != NULL || one->batch_effect.requests > 0;
    }
    return found;
}

void compare_add_answers(report *page, const comparison *self)
{
    if (!has_answers(self)) {
        return;
    }
    report_section(page, "Single answers",
                   "A mean hides what happens to one request. A range that is taken over a whole "
                   "batch ties an answer to its neighbours: the same request then has other "
                   "answers in other company. Ranges for each request or row, and fixed ones, do "
                   "not.");
    add_spread(page, self);
    add_batch_effect(page, self);
}
