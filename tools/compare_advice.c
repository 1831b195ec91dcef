#include "tools/compare_advice.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/compare_gains.h"

/* Static ranges are good enough if they agree with the reference almost as often as the dynamic
 * ones, or, of embeddings, point almost the same way. */
#define AGREEMENT_LOST 0.002
#define COSINE_ENOUGH  0.998
#define MOST_METHODS   12

typedef struct advising {
    const compare_subject *subjects;
    size_t count;
    const compare_layer *layers;
    size_t layer_count;
    compare_advice *advice;
    size_t made;
} advising;

static double sqnr_of(const compare_subject *subject)
{
    return dynq_metrics_result(&subject->variant->output).sqnr_db;
}

static const char *name_of(const compare_subject *subject)
{
    return subject->variant->name;
}

__attribute__((format(printf, 2, 3))) static compare_advice *say(advising *self, const char *format,
                                                                 ...)
{
    if (self->made == COMPARE_MOST_ADVICE) {
        return NULL;
    }
    compare_advice *one = &self->advice[self->made++];
    *one = (compare_advice){.gain_db = NAN};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(one->text, sizeof one->text, format, arguments);
    va_end(arguments);
    return one;
}

/* The variant of a kind with the largest SQNR, of the plain ones or of all. */
static const compare_subject *best_of(const advising *self, dynq_range_kind kind, int plain)
{
    const compare_subject *found = NULL;
    for (size_t i = 1; i < self->count; i++) {
        const compare_subject *one = &self->subjects[i];
        if (one->known && one->recipe.range == kind && one->recipe.format == DYNQ_FORMAT_INT8 &&
            (!plain || compare_is_plain(&one->recipe)) &&
            (found == NULL || sqnr_of(one) > sqnr_of(found))) {
            found = one;
        }
    }
    return found;
}

/* "agrees on 99.87 % (45.1 dB)" or "has a mean cosine of 0.99912 (31.0 dB)". */
static void describe_quality(const compare_subject *subject, char *text, size_t size)
{
    if (isnan(subject->agreement)) {
        snprintf(text, size, "has a mean cosine of %.5f (%.1f dB)",
                 dynq_metrics_result(&subject->variant->output).cosine_mean, sqnr_of(subject));
    } else {
        snprintf(text, size, "agrees on %.2f %% (%.1f dB)", 100 * subject->agreement,
                 sqnr_of(subject));
    }
}

static int is_enough(const compare_subject *fixed, const compare_subject *dynamic)
{
    return isnan(fixed->agreement)
               ? dynq_metrics_result(&fixed->variant->output).cosine_mean >= COSINE_ENOUGH
               : fixed->agreement >= dynamic->agreement - AGREEMENT_LOST;
}

/* Plain static ranges, or else the best that remedies make of them. */
static void judge_static(advising *self)
{
    const compare_subject *fixed = best_of(self, DYNQ_RANGE_STATIC, 1);
    const compare_subject *dynamic = best_of(self, DYNQ_RANGE_DYNAMIC, 1);
    if (fixed == NULL || dynamic == NULL) {
        return;
    }
    if (!is_enough(fixed, dynamic)) {
        fixed = best_of(self, DYNQ_RANGE_STATIC, 0);
    }
    const int enough = is_enough(fixed, dynamic);
    const char *verdict = !enough                            ? "Do not use static ranges"
                          : compare_is_plain(&fixed->recipe) ? "Static ranges are good enough"
                                                             : "Static ranges need a remedy";
    char mine[80], other[80], time[48];
    describe_quality(fixed, mine, sizeof mine);
    describe_quality(dynamic, other, sizeof other);
    compare_describe_time(dynamic, fixed, time, sizeof time);
    compare_advice *one =
        say(self, "%s: %s%s%s %s; %s %s and takes %s", verdict, enough ? "" : "the best of them, ",
            name_of(fixed), enough ? "" : ",", mine, name_of(dynamic), other, time);
    if (one != NULL) {
        one->better = name_of(enough ? fixed : dynamic);
        one->worse = name_of(enough ? dynamic : fixed);
        compare_recipe_switches(enough ? &fixed->recipe : &dynamic->recipe, one->switches);
    }
}

static int has_more(const void *left, const void *right)
{
    const double a = sqnr_of(*(const compare_subject *const *)left);
    const double b = sqnr_of(*(const compare_subject *const *)right);
    return (a < b) - (a > b);
}

/* All methods, the best first. */
static void judge_calibration(advising *self)
{
    const compare_subject *fixed[MOST_METHODS];
    size_t count = 0;
    for (size_t i = 1; i < self->count && count < MOST_METHODS; i++) {
        const compare_subject *one = &self->subjects[i];
        if (one->known && one->recipe.range == DYNQ_RANGE_STATIC &&
            compare_is_plain(&one->recipe)) {
            fixed[count++] = one;
        }
    }
    if (count < 2) {
        return;
    }
    qsort(fixed, count, sizeof *fixed, has_more);
    char others[300] = "";
    for (size_t i = 1; i < count; i++) {
        const size_t used = strlen(others);
        snprintf(others + used, sizeof others - used, "%s%s %.1f", i == 1 ? "" : ", ",
                 fixed[i]->variant->name + strlen("int8-static-"), sqnr_of(fixed[i]));
    }
    compare_advice *one =
        say(self, "Calibration: --method %s is the best with %.1f dB; %s",
            dynq_calibration_method_name(fixed[0]->recipe.method), sqnr_of(fixed[0]), others);
    if (one != NULL) {
        one->better = name_of(fixed[0]);
        one->worse = name_of(fixed[count - 1]);
        compare_recipe_switches(&fixed[0]->recipe, one->switches);
    }
}

static const compare_subject *plain_of(const advising *self, dynq_scope scope)
{
    for (size_t i = 1; i < self->count; i++) {
        const compare_subject *one = &self->subjects[i];
        if (one->known && one->recipe.range == DYNQ_RANGE_DYNAMIC && one->recipe.scope == scope &&
            compare_is_plain(&one->recipe)) {
            return one;
        }
    }
    return NULL;
}

static const compare_layer *layer_named(const advising *self, const char *name)
{
    for (size_t i = 0; i < self->layer_count; i++) {
        if (strcmp(self->layers[i].name, name) == 0) {
            return &self->layers[i];
        }
    }
    return NULL;
}

/* Where a static method has less noise than a range for each row: which, and why. */
static void explain_static_above_row(advising *self)
{
    const compare_subject *fixed = best_of(self, DYNQ_RANGE_STATIC, 1);
    const compare_subject *row = plain_of(self, DYNQ_SCOPE_ROW);
    if (fixed == NULL || row == NULL || !(sqnr_of(fixed) > sqnr_of(row))) {
        return;
    }
    const double lead = sqnr_of(fixed) - sqnr_of(row);
    const evaluate_node *node =
        compare_largest_advantage(fixed, row, self->layers, self->layer_count);
    if (node == NULL) {
        say(self,
            "%s beats %s by %.1f dB although every layer alone is better per row: errors "
            "of layers cancel by chance",
            name_of(fixed), name_of(row), lead);
        return;
    }
    const compare_layer *layer = layer_named(self, node->info.name);
    const double gain =
        dynq_metrics_result(&node->own).sqnr_db -
        dynq_metrics_result(&compare_node(row->variant, node->info.name)->own).sqnr_db;
    const double width = (double)node->info.range.hi - (double)node->info.range.lo;
    const double row_width = layer->seen.row_high - layer->seen.row_low;
    if (width < row_width) {
        const double clipped =
            node->inputs > 0 ? 100 * (double)node->outside / (double)node->inputs : 0;
        say(self,
            "%s beats %s by %.1f dB, most in %s (%.1f dB there): its range, %.3g wide, clips "
            "%.2g %% of the values, where rows span %.3g on average",
            name_of(fixed), name_of(row), lead, node->info.name, gain, width, clipped, row_width);
    } else {
        say(self,
            "%s beats %s by %.1f dB, most in %s (%.1f dB there): rows differ little in range "
            "(%.3g on average, %.3g fixed), so that a range for each gains nothing",
            name_of(fixed), name_of(row), lead, node->info.name, gain, row_width, width);
    }
}

static void judge_granularity(advising *self)
{
    const compare_subject *segment = plain_of(self, DYNQ_SCOPE_SEGMENT);
    const compare_subject *row = plain_of(self, DYNQ_SCOPE_ROW);
    if (segment != NULL && row != NULL && sqnr_of(segment) == sqnr_of(row)) {
        say(self, "Granularity: segment and row give the same answers, each request being one row");
    }
}

size_t compare_advise(const compare_subject *subjects, size_t count, const compare_layer *layers,
                      size_t layer_count, compare_advice *advice)
{
    advising self = {.subjects = subjects,
                     .count = count,
                     .layers = layers,
                     .layer_count = layer_count,
                     .advice = advice};
    judge_static(&self);
    judge_calibration(&self);
    judge_granularity(&self);
    explain_static_above_row(&self);
    self.made += compare_list_gains(subjects, count, layers, layer_count, advice + self.made,
                                    COMPARE_MOST_ADVICE - self.made);
    return self.made;
}
