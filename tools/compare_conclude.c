#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a variant is sorted by: the largest first. */
static double sort_key(const comparison *self, const evaluate_variant *variant)
{
    const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
    double key = 0;
    switch ((compare_sort)self->options->sort) {
    case COMPARE_SORT_ACCURACY: key = evaluate_share_correct(variant, &self->data); break;
    case COMPARE_SORT_AGREEMENT: key = compare_agreement(self, variant); break;
    case COMPARE_SORT_COSINE: key = output.cosine_mean; break;
    case COMPARE_SORT_SQNR: key = output.sqnr_db; break;
    case COMPARE_SORT_MS: key = -variant->ms.median; break;
    case COMPARE_SORT_BYTES: key = -(double)variant->weight_bytes; break;
    case COMPARE_SORT_NONE:
    case COMPARE_SORT_NAME: break;
    }
    return isnan(key) ? -INFINITY : key;
}

/* Whether variant b has to stand before a. */
static int is_before(const comparison *self, size_t b, size_t a)
{
    if (self->options->sort == COMPARE_SORT_NAME) {
        return strcmp(self->variants[b].name, self->variants[a].name) < 0;
    }
    return sort_key(self, &self->variants[b]) > sort_key(self, &self->variants[a]);
}

/* Few and, where they are equal, in the order they had: by insertion. The reference stays first. */
static void sort_variants(comparison *self)
{
    for (size_t i = 2; i < self->count; i++) {
        for (size_t k = i; k > 1 && is_before(self, k, k - 1); k--) {
            const evaluate_variant variant = self->variants[k];
            const compare_subject subject = self->subjects[k];
            self->variants[k] = self->variants[k - 1];
            self->subjects[k] = self->subjects[k - 1];
            self->variants[k - 1] = variant;
            self->subjects[k - 1] = subject;
        }
    }
}

void compare_conclude(comparison *self)
{
    sort_variants(self);
    for (size_t v = 0; v < self->count; v++) {
        compare_subject *subject = &self->subjects[v];
        subject->variant = &self->variants[v];
        subject->agreement = compare_agreement(self, subject->variant);
        if (!subject->known) { /* a file whose layers agree goes by the same names */
            subject->known = compare_recipe_parse(subject->variant->name, &subject->recipe);
        }
    }
    self->layer_count = compare_list_layers(self, &self->layers);
    self->advice_count =
        compare_advise(self->subjects, self->count, self->layers, self->layer_count, self->advice);
}

size_t compare_focus(const comparison *self)
{
    compare_recipe usual;
    compare_recipe_parse("int8-dynamic-segment", &usual);
    size_t first = 0;
    for (size_t v = self->count; v-- > 1;) {
        const compare_subject *subject = &self->subjects[v];
        if (subject->known && compare_recipe_equal(&subject->recipe, &usual)) {
            return v;
        }
        first = subject->known && subject->recipe.format == 0 ? first : v;
    }
    return first;
}

int compare_command(const comparison *self, size_t variant, char *text, size_t size)
{
    const compare_subject *subject = &self->subjects[variant];
    const compare_recipe *recipe = &subject->recipe;
    char switches[COMPARE_SWITCHES_SIZE];
    if (self->recipe_count == 0 || self->call->argument_count != 1 || !subject->known ||
        recipe->format == 0) {
        return 0;
    }
    const int calibrated = compare_recipe_calibrates(recipe);
    const char *data = self->options->calibration_data;
    compare_recipe_switches(recipe, switches);
    snprintf(text, size, "dynq quantize %s -o OUT %s%s%s", self->call->arguments[0], switches,
             calibrated ? " --calibration-data " : "",
             !calibrated    ? ""
             : data != NULL ? data
                            : self->options->data);
    return 1;
}
