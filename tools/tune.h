/* What the parts of `dynq tune` share. */
#ifndef DYNQ_TOOLS_TUNE_H
#define DYNQ_TOOLS_TUNE_H

#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/requests.h"

#include <dynq/calibration.h>
#include <dynq/compare.h>
#include <dynq/model.h>
#include <dynq/quantize.h>
#include <dynq/tune.h>
#include <stddef.h>
#include <stdint.h>

#define TUNE_MOST_CANDIDATES 24
#define TUNE_MOST_TRIES      8
#define TUNE_MOST_PARETO     12

typedef struct tune_options {
    const char *data, *labels, *calibration_data, *precisions, *out, *rules_out, *cache, *html;
    uint64_t batch, samples, repeat;
    double max_drop, min_cosine, max_ms, max_bytes; /* 100, -1, 0, 0: any */
    int minimize;                                   /* dynq_goal; 0: by the targets */
} tune_options;

/* What a whole model comes to, predicted or measured. */
typedef struct tune_outcome {
    double error;    /* of the answers: squared, relative to the squares of FP32 */
    double cosine;   /* mean, with the answers of FP32 */
    double accuracy; /* in percent; NaN without labels */
    double drop;     /* in points; NaN without labels */
    double ms, bytes;
} tune_outcome;

/* A precision that nodes can have. */
typedef struct tune_candidate {
    char *text;              /* as --precisions has it: "int8,row" */
    dynq_quantize_rule rule; /* its pattern is "*" */
    dynq_model *model;       /* every node that can has it, the others are in FP32 */
    tune_outcome measured;
} tune_candidate;

/* A node at one precision. */
typedef struct tune_choice {
    int available;
    const char *values;       /* what a rule says: "int8,row", "fp32"; "int8" for attention */
    int exact;                /* FP32 as it was: no error */
    int int8;                 /* computes in INT8 */
    dynq_metrics own, answer; /* of its own result, fed with FP32; of the model's answer when
                               * nothing else is quantized */
    double ms;                /* its share of a run, with the steps that depend on it alone */
    uint64_t bytes;
} tune_choice;

typedef struct tune_node {
    size_t index; /* in the model */
    const char *name;
    dynq_op op;
    double fp32_ms;
    uint64_t fp32_bytes;
    int matters; /* the answer depends on it */
    tune_choice choices[TUNE_MOST_CANDIDATES];
} tune_node;

/* An assignment that was made into a model and measured. */
typedef struct tune_try {
    size_t *choices; /* [node_count], candidates */
    tune_outcome predicted, measured;
    int reachable; /* the prediction met all targets */
    int met;       /* the measurement did */
    double excess; /* by how much it did not: shares of the limits */
} tune_try;

/* What predictions are multiplied with, by measurements of whole models; 1 before any. */
typedef struct tune_scales {
    double error, angle, drop, ms;
} tune_scales;

typedef struct tuning {
    const command_call *call;
    const tune_options *options;
    dynq_model *model;
    model_slot input;
    requests x;
    int32_t *labels;
    size_t held_out, calibrated;   /* requests */
    evaluate_data data;            /* what models are measured on */
    requests sample;               /* what nodes are measured on */
    dynq_calibration *calibration; /* NULL: no candidate needs it */
    dynq_second_moments *moments;  /* the same, of error feedback */
    tune_candidate candidates[TUNE_MOST_CANDIDATES];
    size_t candidate_count;
    tune_node *nodes; /* those with a precision, in the order of the model */
    size_t node_count;
    /* FP32 */
    float *answers; /* of all requests of `data` */
    size_t answer_rows, answer_columns;
    double answer_power; /* mean square of their elements */
    double *margins;     /* of requests with labels: of the right class above the best other */
    double fp32_accuracy, fp32_ms, rest_ms; /* rest: of what depends on no node */
    double fp32_bytes, rest_bytes;          /* rest: of weights that stay as they are */
    /* results */
    tune_outcome pareto[TUNE_MOST_PARETO];
    size_t *pareto_choices; /* [pareto_count][node_count] */
    size_t pareto_count;
    dynq_goal goal;
    tune_scales scales;
    tune_try tries[TUNE_MOST_TRIES];
    size_t try_count, chosen; /* chosen: of tries */
    dynq_model *result;
} tuning;

/* tune_data.c: reads and divides the data. Prints its error, as all that follow do. */
exit_code tune_read_data(tuning *self);
/* tune_candidates.c: what --precisions lists; then their models and what nodes have of them. */
exit_code tune_parse_candidates(tuning *self);
exit_code tune_make_candidates(tuning *self);
/* Whether any candidate needs a calibration, second moments among it. */
int tune_calibrates(const tuning *self);
int tune_uses_moments(const tuning *self);
/* The options for rules. */
dynq_quantize_options tune_quantize_options(const tuning *self, const dynq_quantize_rule *rules,
                                            size_t count);
/* tune_evaluate.c: answers of FP32 and what predictions need of them. */
exit_code tune_measure_fp32(tuning *self);
/* The same, of every candidate. */
exit_code tune_evaluate_candidates(tuning *self);
/* All but the time of a model. */
exit_code tune_evaluate(const tuning *self, dynq_model *model, tune_outcome *outcome);
/* Milliseconds of models side by side. */
exit_code tune_time_models(const tuning *self, dynq_model *const *models, size_t count, double *ms);
/* The accuracy that answers with this error are expected to have. */
double tune_expected_accuracy(const tuning *self, double error);

/* tune_predict.c */
tune_outcome tune_predict(const tuning *self, const size_t *choices);
/* The largest error at which the accuracy is expected to keep to --max-drop. */
double tune_error_limit(const tuning *self);
/* Costs of all choices that there are, node after node, for dynq_front_create(); `error` is a share
 * of what the targets allow, or the error itself where they allow any. free() all three. */
typedef struct tune_costs {
    size_t *counts;     /* [node_count] */
    size_t *candidates; /* of each cost */
    dynq_cost *costs;
    double error_limit;
} tune_costs;
tune_costs tune_costs_of(const tuning *self);
void tune_costs_free(tune_costs *costs);

/* tune_search.c: finds, makes and measures until the targets are met. */
exit_code tune_search(tuning *self);
exit_code tune_add_pareto(tuning *self);
/* "mean cosine 0.9981, limit 0.999"; what an outcome misses; 0: nothing. */
int tune_missed(const tuning *self, const tune_outcome *outcome, char *text, size_t size);

/* tune_rules.c: a pattern that matches this name alone, and rules of an assignment, one a line; and
 * the model that they make. */
#define TUNE_PATTERN (3 * DYNQ_MAX_NAME + 1)
void tune_pattern(const char *name, char pattern[TUNE_PATTERN]);
exit_code tune_quantize(const tuning *self, const size_t *choices, dynq_model **model);
exit_code tune_write_rules(const tuning *self, const size_t *choices);

/* tune_cache.c: measurements that an earlier run left. `path` NULL: none. */
typedef struct tune_cache tune_cache;
exit_code tune_cache_open(tuning *self, tune_cache **cache);
void tune_cache_close(tune_cache *cache);
/* Where measuring goes on: requests of the sample and nodes of the next batch that are done. */
void tune_cache_place(const tune_cache *cache, size_t *done, size_t *nodes);
/* Writes what was measured so far. */
exit_code tune_cache_save(tune_cache *cache, const tuning *self, size_t done, size_t nodes);
/* Whether times are there; then takes them. */
int tune_cache_times(const tune_cache *cache, tuning *self);

/* tune_measure.c: choices[].own and .answer of all nodes. */
exit_code tune_measure_nodes(tuning *self, tune_cache *cache);
/* tune_time.c: milliseconds of all choices. */
exit_code tune_measure_times(tuning *self);

/* tune_text.c, tune_json.c, tune_html.c: results. */
void tune_print(const tuning *self);
void tune_print_json(const tuning *self);
exit_code tune_write_html(const tuning *self);
/* Whether the node has INT8 choices and none is faster than FP32. */
int tune_is_slower(const tuning *self, const tune_node *node);
/* "fc1, fc2": nodes that no INT8 choice makes faster, with their number; 0: none, or no INT8 choice
 * at all. */
size_t tune_slower(const tuning *self, char *text, size_t size);
/* "30 int8,row + 14 fp32" */
void tune_describe_choices(const tuning *self, const size_t *choices, char *text, size_t size);
/* What was measured on what. */
void tune_describe_data(const tuning *self, char *text, size_t size);

#endif
