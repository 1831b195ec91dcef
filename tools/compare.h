/* What the parts of `dynq compare` share. */
#ifndef DYNQ_TOOLS_COMPARE_H
#define DYNQ_TOOLS_COMPARE_H

#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/requests.h"

typedef struct compare_options {
    const char *data, *labels, *calibration_data, *html, *engine;
    uint64_t batch, repeat;
    double min_accuracy, max_drop, min_agreement; /* percent, points, percent */
} compare_options;

#define COMPARE_MAX_VARIANTS 16

typedef struct comparison {
    const command_call *call;
    const compare_options *options;
    const char *engine_name; /* of FP32 variants */
    const dynq_engine *engine;
    evaluate_variant variants[COMPARE_MAX_VARIANTS]; /* the first is the reference */
    char *names[COMPARE_MAX_VARIANTS];
    dynq_model *models[COMPARE_MAX_VARIANTS]; /* one reference for each variant */
    size_t count;
    model_slot input; /* the only one */
    requests x, calibration;
    int32_t *labels;
    size_t held_out;    /* requests at the beginning of x that calibrate, not evaluated */
    size_t calibrated;  /* requests; 0: nothing was calibrated here */
    evaluate_data data; /* the requests that are evaluated */
    evaluate_results results;
} comparison;

/* The share of requests whose largest output is where the reference has it. NaN where that says
 * nothing: without labels, a model of texts gives embeddings. */
double compare_agreement(const comparison *self, const evaluate_variant *variant);

/* compare_variants.c: fills variants, names and models. Prints its error. */
exit_code compare_open_variants(comparison *self);
/* The FP32 model at variants[0] alone: adds the INT8 variants. */
exit_code compare_make_variants(comparison *self);

/* compare_text.c: the results on stdout, as the call asks. */
void compare_print(const comparison *self);
/* "9000 rows of x.npy in batches of 64, 1 thread": what was compared on what. */
void compare_describe_data(const comparison *self, char *text, size_t size);
/* What the latency of FP32 was measured on; 0 if no variant is FP32. */
int compare_describe_latency(const comparison *self, char *text, size_t size);
/* Where the static ranges come from; 0 if nothing was calibrated here. */
int compare_describe_calibration(const comparison *self, char *text, size_t size);

/* compare_json.c: the same as one object. */
void compare_print_json(const comparison *self);

/* compare_layers.c: errors of the linear layers. A layer is an index into the reference's linear
 * layers, in order. */
/* The node of a variant with that name, or NULL. */
const evaluate_node *compare_node(const evaluate_variant *variant, const char *name);
/* Root mean square of the error relative to that of the values, in percent; NaN without values. */
double compare_error_pct(const evaluate_node *node);
/* Indices into self->results.inputs of the `limit` layers with the largest error in any variant, in
 * the order of the model; how many there are. */
size_t compare_worst_layers(const comparison *self, size_t *layers, size_t limit);
/* "int8-static-max: largest error in fc3 (2.1 %, 33.4 dB); it grows most in fc2 (0.8 to 1.9 %)". 0
 * for a variant without any error. */
int compare_blame(const evaluate_variant *variant, char *text, size_t size);

/* compare_html.c: the page. Prints its error. */
exit_code compare_write_html(const comparison *self);

#endif
