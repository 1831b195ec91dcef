#include "tools/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/baseline.h"

void compare_describe_data(const comparison *self, char *text, size_t size)
{
    const unsigned threads = self->call->common.threads;
    char tokens[80] = "";
    if (self->input.ids) {
        const size_t first = self->x.offsets[self->data.first];
        snprintf(tokens, sizeof tokens, " (%zu tokens, %zu line%s cut)",
                 requests_rows(&self->x) - first, self->x.truncated,
                 self->x.truncated == 1 ? "" : "s");
    }
    snprintf(text, size, "%zu %s%s of %s%s in batches of %llu, %u thread%s, FP32 on %s",
             self->data.count, self->input.ids ? "line" : "row", self->data.count == 1 ? "" : "s",
             self->options->data, tokens, (unsigned long long)self->options->batch, threads,
             threads == 1 ? "" : "s", self->engine_name);
}

int compare_describe_latency(const comparison *self, char *text, size_t size)
{
    char engines[200];
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        if (variant->timed_count > 0) {
            baseline_describe(engines, sizeof engines);
            snprintf(text, size, "Latency of %s: on %s, the fastest of %s", variant->name,
                     variant->ms_engine, engines);
            return 1;
        }
    }
    return 0;
}

int compare_describe_calibration(const comparison *self, char *text, size_t size)
{
    if (self->calibrated == 0) {
        return 0;
    }
    const char *what = self->input.ids ? "lines" : "rows";
    if (self->held_out > 0) {
        snprintf(text, size,
                 "Static ranges: from the first %zu of the %zu %s, which %s left out of the "
                 "evaluation of every variant (--calibration-data gives other %s)",
                 self->held_out, self->x.count, what, self->held_out == 1 ? "is" : "are", what);
    } else {
        snprintf(text, size, "Static ranges: from %zu %s of %s", self->calibrated,
                 self->calibrated > 1 ? what
                 : self->input.ids    ? "line"
                                      : "row",
                 self->options->calibration_data);
    }
    return 1;
}

/* So many layers are named as guilty, unless they make less of the noise than that. */
#define MOST_NAMED  3
#define LEAST_SHARE 0.05

int compare_blame(const comparison *self, const evaluate_variant *variant, char *text, size_t size)
{
    compare_guilt *guilty = allocate(variant->node_count + 1, sizeof *guilty);
    const size_t count = compare_find_guilty(variant, self->layers, self->layer_count, guilty);
    char first[700];
    int found = 0;
    if (count > 0 && (guilty[0].share > 0 || guilty[0].cause != COMPARE_CAUSE_ERROR)) {
        found = 1;
        compare_guilt_text(&guilty[0], first, sizeof first);
        snprintf(text, size, "Guilty in %s: %s", variant->name, first);
        for (size_t i = 1; i < count && i < MOST_NAMED && guilty[i].share >= LEAST_SHARE; i++) {
            const size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s (%.1f dB, %.0f %%)",
                     i == 1 && guilty[0].cause != COMPARE_CAUSE_ERROR ? "; then " : ", ",
                     guilty[i].node->info.name, dynq_metrics_result(&guilty[i].node->own).sqnr_db,
                     100 * guilty[i].share);
        }
    }
    free(guilty);
    return found;
}
