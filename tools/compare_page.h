/* What the parts of the page of `dynq compare --html` share. */
#ifndef DYNQ_TOOLS_COMPARE_PAGE_H
#define DYNQ_TOOLS_COMPARE_PAGE_H

#include "tools/compare.h"
#include "tools/plot.h"
#include "tools/report.h"

/* What stands for quality, in percent: accuracy; without labels agreement with the reference; of
 * embeddings their cosine. */
typedef struct compare_quality {
    const char *heading, *name, *axis;
} compare_quality;
compare_quality compare_quality_of(const comparison *self);
double compare_quality_value(const comparison *self, size_t variant);

double compare_output_sqnr(const comparison *self, size_t variant);
/* The INT8 variant with the least noise in its answers; 0 if there is none. */
size_t compare_best(const comparison *self);

/* The colour of a variant: FP32, static, dynamic, or one with a remedy or another change. */
enum {
    COMPARE_TONE_FP32 = 0,
    COMPARE_TONE_DYNAMIC = 1,
    COMPARE_TONE_STATIC = 2,
    COMPARE_TONE_REMEDY = 3
};
int compare_tone(const comparison *self, size_t variant);
/* Number, name and tone of a variant. */
plot_row compare_row(const comparison *self, size_t variant);

/* compare_layers_html.c: the sections of layers and of what they read. */
void compare_add_layers(report *page, const comparison *self);
/* compare_inputs_html.c */
void compare_add_inputs(report *page, const comparison *self);
/* compare_answers_html.c: the spread of the error and the effect of batches. */
void compare_add_answers(report *page, const comparison *self);

#endif
