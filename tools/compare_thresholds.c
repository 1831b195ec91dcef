#include "tools/compare.h"

#include <stdio.h>
#include <string.h>

/* A threshold as one variant meets it or not. */
typedef struct threshold {
    const char *what;
    double value, limit;
    int missed;
} threshold;

/* Appends what one variant misses to the list in `text`. */
static void add_missed(char *text, size_t size, const char *name, const threshold *all,
                       size_t count)
{
    const char *before = text[0] != '\0' ? "; " : "";
    for (size_t i = 0; i < count; i++) {
        if (all[i].missed) {
            const size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s%s %.6g, limit %.6g", before, name, all[i].what,
                     all[i].value, all[i].limit);
            before = ",";
            name = "";
        }
    }
}

exit_code compare_check_thresholds(const comparison *self)
{
    const compare_options *options = self->options;
    const double right = 100 * evaluate_share_correct(&self->variants[0], &self->data);
    char missed[160 * COMPARE_MAX_VARIANTS] = "";
    for (size_t v = 1; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const double accuracy = 100 * evaluate_share_correct(variant, &self->data);
        const double agreement = compare_agreement(self, variant);
        const double cosine = dynq_metrics_result(&variant->output).cosine_mean;
        const double slowdown = variant->ms.median / self->variants[0].ms.median;
        const threshold all[] = {
            {" accuracy %", accuracy, options->min_accuracy, accuracy < options->min_accuracy},
            /* A rounding error in the difference of two percentages is not a drop. */
            {" drop in points", right - accuracy, options->max_drop,
             right - accuracy > options->max_drop + 1e-9},
            {" agreement", agreement, options->min_agreement, agreement < options->min_agreement},
            {" mean cosine", cosine, options->min_cosine, cosine < options->min_cosine},
            {" slowdown", slowdown, options->max_slowdown,
             options->max_slowdown > 0 && slowdown > options->max_slowdown},
        };
        add_missed(missed, sizeof missed, variant->name, all, sizeof all / sizeof *all);
    }
    return missed[0] == '\0'
               ? EXIT_CODE_DONE
               : command_fail(self->call->command, EXIT_CODE_MISSED, "missed: %s", missed);
}
