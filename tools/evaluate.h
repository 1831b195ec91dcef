/* Several variants of one model over the same data: what they answer, layer by layer, against the
 * first of them, the reference. */
#ifndef DYNQ_TOOLS_EVALUATE_H
#define DYNQ_TOOLS_EVALUATE_H

#include "tools/requests.h"
#include "tools/runner.h"

#include <dynq/calibration.h>
#include <dynq/compare.h>
#include <dynq/engine.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#define EVALUATE_MAX_TIMED 4

/* A node that the variant shares with the reference, by name; inputs are left out. */
typedef struct evaluate_node {
    dynq_node_info info;  /* in the variant */
    long reference;       /* index of the node in the reference */
    long input;           /* index in evaluate_variant.nodes of the node it reads, -1 if that is an
                           * input of the model */
    dynq_metrics metrics; /* along the chain: with what it got from the nodes before */
    dynq_metrics own;     /* of the node alone, fed with the reference's inputs; no rows: not taken
                           * (a node that computes in FP32) */
    uint64_t inputs, outside; /* INT8 with fixed limits: elements read, those outside [lo, hi] */
    double headroom_bits;     /* INT8 linear: log2(2^31 / the largest sum its codes allow) */
} evaluate_node;

/* How much the answers of requests change with their neighbours in a batch. */
typedef struct evaluate_batch_effect {
    size_t requests, batches; /* 0: not taken */
    double mean, worst; /* over requests and batches: |y in the batch - y alone| / |y alone| */
    int identical;      /* every answer has the same bytes in every batch */
} evaluate_batch_effect;

typedef struct evaluate_variant {
    /* Set by the caller. */
    const char *name;
    dynq_model *model;         /* borrowed */
    const dynq_engine *engine; /* NULL: native */
    dynq_scope scope;          /* 0: as the model says */
    /* Engines that its latency is measured on; the fastest counts. None: `engine`. */
    const dynq_engine *timed[EVALUATE_MAX_TIMED];
    size_t timed_count;
    /* Results. */
    dynq_metrics output; /* of model_main_output() */
    double *errors; /* [requests]: |y - reference| / |reference| of each; NaN where that is 0 */
    evaluate_batch_effect batch_effect;
    uint64_t correct; /* requests whose largest output is at their label */
    size_t requests;
    evaluate_node *nodes;
    size_t node_count;
    statistics ms;         /* of a run of one batch */
    const char *ms_engine; /* the engine it was measured on */
    uint64_t weight_bytes;
} evaluate_variant;

/* What a linear layer of the reference reads. */
typedef struct evaluate_input {
    const char *layer; /* its name */
    const char
        *value; /* the name of the node it reads: of the statistics in evaluate_results.seen */
} evaluate_input;

typedef struct evaluate_results {
    evaluate_input *inputs; /* of each linear layer of the reference */
    size_t input_count;
    dynq_calibration *seen; /* statistics of what they read, over the evaluated requests */
} evaluate_results;

/* Requests [first, first + count) for the model's only input. */
typedef struct evaluate_data {
    const requests *requests;
    size_t first, count;
    const int32_t *labels; /* of the first and those that follow; NULL: none */
} evaluate_data;

typedef struct evaluate_options {
    size_t batch; /* requests that run together, at most: see requests_batch() */
    uint32_t threads;
    const char *kernel;
    size_t repeat; /* as in runner_measure() */
    /* Called now and then with the share of the work that is done; may be NULL. */
    void (*advance)(void *context, double share);
    void *context;
} evaluate_options;

/* Runs every batch through the reference and then through each variant, and adds up. The caller
 * frees the results with evaluate_free() on success and on failure. */
dynq_status evaluate_accuracy(evaluate_variant *variants, size_t count, const evaluate_data *data,
                              const evaluate_options *options, evaluate_results *results,
                              dynq_error *error);

/* Runs up to `most_requests` requests alone and in `batches` random batches each. */
dynq_status evaluate_batch_effects(evaluate_variant *variants, size_t count,
                                   const evaluate_data *data, const evaluate_options *options,
                                   size_t most_requests, size_t batches, dynq_error *error);

/* Measures one batch in sessions of their own, without taps, interleaved between the variants. */
dynq_status evaluate_latency(evaluate_variant *variants, size_t count, const evaluate_data *data,
                             const evaluate_options *options, dynq_error *error);

/* Frees the results, not the variants' models. */
void evaluate_free(evaluate_variant *variants, size_t count, evaluate_results *results);

/* Share of the requests with the right class, NaN without labels. */
double evaluate_share_correct(const evaluate_variant *variant, const evaluate_data *data);
/* Share of the inputs outside the static range; 0 for every other node. */
double evaluate_share_outside(const evaluate_node *node);

#endif
