/* What the parts of `dynq compare` share. */
#ifndef DYNQ_TOOLS_COMPARE_H
#define DYNQ_TOOLS_COMPARE_H

#include "tools/command.h"
#include "tools/compare_advice.h"
#include "tools/compare_recipe.h"
#include "tools/evaluate.h"
#include "tools/requests.h"

typedef struct compare_options {
    const char *data, *labels, *calibration_data, *html, *engine, *variants, *layers;
    uint64_t batch, repeat;
    int sort; /* compare_sort */
    double percentile, node_limit;
    double min_accuracy, max_drop;    /* percent, points */
    double min_agreement, min_cosine; /* shares from 0 to 1 */
    double max_slowdown;              /* times the reference's milliseconds; 0: any */
} compare_options;

/* In the order of the option's choices. */
typedef enum compare_sort {
    COMPARE_SORT_NONE,
    COMPARE_SORT_NAME,
    COMPARE_SORT_ACCURACY,
    COMPARE_SORT_AGREEMENT,
    COMPARE_SORT_COSINE,
    COMPARE_SORT_SQNR,
    COMPARE_SORT_MS,
    COMPARE_SORT_BYTES
} compare_sort;

#define COMPARE_MAX_VARIANTS 64

typedef struct comparison {
    const command_call *call;
    const compare_options *options;
    const char *engine_name; /* of FP32 variants */
    const dynq_engine *engine;
    evaluate_variant variants[COMPARE_MAX_VARIANTS]; /* the first is the reference */
    compare_subject subjects[COMPARE_MAX_VARIANTS];  /* the same, in the same order */
    char *names[COMPARE_MAX_VARIANTS];               /* what the variants borrow, in any order */
    dynq_model *models[COMPARE_MAX_VARIANTS]; /* one reference for each variant, in any order */
    size_t count;
    compare_recipe recipes[COMPARE_MAX_VARIANTS]; /* to be made of one FP32 model */
    size_t recipe_count;
    model_slot input; /* the only one */
    requests x;
    int32_t *labels;
    size_t held_out;    /* requests at the beginning of x that calibrate, not evaluated */
    size_t calibrated;  /* requests; 0: nothing was calibrated here */
    evaluate_data data; /* the requests that are evaluated */
    evaluate_results results;
    compare_layer *layers; /* of the reference, as results.inputs */
    size_t layer_count;
    compare_advice advice[COMPARE_MOST_ADVICE];
    size_t advice_count;
} comparison;

/* The share of requests whose largest output is where the reference has it. NaN where that says
 * nothing: without labels, a model of texts gives embeddings. */
double compare_agreement(const comparison *self, const evaluate_variant *variant);

/* compare_data.c: reads what --data and --labels name, and divides it. Prints
 * its error. */
exit_code compare_read_data(comparison *self);

/* compare_variants.c: fills variants, names and models. Prints its error. */
exit_code compare_open_variants(comparison *self);
/* Takes over the model reference and copies the name. NULL: it was not made here. */
void compare_add_variant(comparison *self, const char *name, dynq_model *model,
                         const dynq_engine *engine, const compare_recipe *recipe);

/* compare_name.c: what the linear layers of a model agree on. */
typedef struct compare_agreed {
    size_t int8, fp32; /* linear layers */
    dynq_range_rule rule;
    int same; /* all INT8 ones have that rule */
} compare_agreed;
compare_agreed compare_examine(const dynq_model *model);
/* The name of a model that was read, unlike those of the variants before it: "fp32",
 * "int8-dynamic-row" and so on where plain `dynq quantize` makes it of the reference; otherwise (a
 * file does not say which method chose its static ranges, or what was done to its weights) that of
 * the file, its path, or that with a number. */
void compare_name_file(const comparison *self, const char *path, const dynq_model *model,
                       char *name, size_t size);

/* compare_make.c: which variants --variants names. Prints its error. */
exit_code compare_choose_variants(comparison *self);
/* The FP32 model at variants[0] alone: adds those variants. Prints its error. */
exit_code compare_make_variants(comparison *self);

/* compare_conclude.c: after evaluating: order, layers and advice. Running out of memory ends the
 * program. */
void compare_conclude(comparison *self);
/* Exit code 1 and one line that names what each variant misses. */
exit_code compare_check_thresholds(const comparison *self);
/* The INT8 variant that the text shows layer by layer: the one that `dynq quantize` makes, or the
 * first. 0: there is none. */
size_t compare_focus(const comparison *self);
/* "dynq quantize MODEL -o OUT --granularity row": what makes a variant; 0 for one that was not made
 * here. */
int compare_command(const comparison *self, size_t variant, char *text, size_t size);

/* compare_text.c: the results on stdout, as the call asks. */
void compare_print(const comparison *self);
/* A line of prose, or an item in Markdown; long ones are broken at the terminal's 80 columns. */
void compare_print_prose(const comparison *self, const char *text, const char *item);
/* compare_text_layers.c: the layers of a variant, the guiltiest first. */
void compare_print_guilty(const comparison *self, const evaluate_variant *variant);
/* Where each variant falls below --node-limit. */
void compare_print_below(const comparison *self);
/* compare_describe.c: "9000 rows of x.npy in batches of 64, 1 thread": what was compared on what.
 */
void compare_describe_data(const comparison *self, char *text, size_t size);
/* What the latency of FP32 was measured on; 0 if no variant is FP32. */
int compare_describe_latency(const comparison *self, char *text, size_t size);
/* Where the static ranges come from; 0 if nothing was calibrated here. */
int compare_describe_calibration(const comparison *self, char *text, size_t size);
/* "Guilty in int8-dynamic-row: fc2 with 61 % of the noise ..."; 0 for a variant without any error
 * of its own. */
int compare_blame(const comparison *self, const evaluate_variant *variant, char *text, size_t size);

/* compare_json.c: the same as one object. */
void compare_print_json(const comparison *self);

/* compare_layers.c: errors of the linear layers. A layer is an index into the reference's linear
 * layers, in order. */
/* Root mean square of the error relative to that of the values, in percent; NaN without values. */
double compare_error_pct(const evaluate_node *node);
/* Indices into results.inputs of the `limit` layers with the largest error in any variant, in the
 * order of the model; how many there are. */
size_t compare_worst_layers(const comparison *self, size_t *layers, size_t limit);
/* The layers of the reference with their spreads and statistics; free() them. */
size_t compare_list_layers(const comparison *self, compare_layer **layers);

/* compare_html.c: the page. Prints its error. */
exit_code compare_write_html(const comparison *self);

#endif
