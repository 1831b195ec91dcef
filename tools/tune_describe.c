/* Results in words, for terminal and page. */
#include "tools/tune.h"

#include <stdio.h>
#include <string.h>

/* INT8 has to save more than this share of a node's time to count as faster: repeated timings of
 * one node differ by as much. */
#define FASTER 0.97

void tune_describe_choices(const tuning *self, const size_t *choices, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t c = 0; c < self->candidate_count && used < size; c++) {
        size_t count = 0;
        for (size_t i = 0; i < self->node_count; i++) {
            count += choices[i] == c;
        }
        if (count > 0) {
            used += (size_t)snprintf(text + used, size - used, "%s%zu %s", used > 0 ? " + " : "",
                                     count, self->candidates[c].text);
        }
    }
}

int tune_is_slower(const tuning *self, const tune_node *node)
{
    int any = 0;
    for (size_t c = 0; c < self->candidate_count; c++) {
        const tune_choice *choice = &node->choices[c];
        if (choice->available && choice->int8) {
            any = 1;
            if (choice->ms < FASTER * node->fp32_ms) {
                return 0;
            }
        }
    }
    return any;
}

size_t tune_slower(const tuning *self, char *text, size_t size)
{
    size_t count = 0, used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < self->node_count; i++) {
        if (tune_is_slower(self, &self->nodes[i])) {
            count++;
            if (used < size) {
                used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "",
                                         self->nodes[i].name);
            }
        }
    }
    return count;
}

void tune_describe_data(const tuning *self, char *text, size_t size)
{
    const char *what = self->input.ids ? "lines" : "rows";
    size_t used = (size_t)snprintf(
        text, size,
        "Whole models on %zu %s of %s, nodes on %zu of them (%zu rows), ms for a batch of %zu, "
        "%u thread%s.",
        self->data.count, what, self->options->data, self->sample.count,
        requests_rows(&self->sample),
        requests_batch(&self->x, self->data.first, self->data.first + self->data.count,
                       (size_t)self->options->batch),
        self->call->common.threads, self->call->common.threads == 1 ? "" : "s");
    if (self->calibration != NULL && used < size) {
        snprintf(text + used, size - used, " Calibrated on %zu %s%s.", self->calibrated, what,
                 self->held_out > 0 ? ", the first tenth, which is not among them" : "");
    }
}
