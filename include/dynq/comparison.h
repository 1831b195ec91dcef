/* Comparing variants of one model: along the chain, node by node on equal inputs, alone and in
 * batches. */
#ifndef DYNQ_COMPARISON_H
#define DYNQ_COMPARISON_H

#include <dynq/calibration.h>
#include <dynq/compare.h>
#include <dynq/engine.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/session.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a model tells without data ---- */

/* Makes a model in which every INT8 linear layer, attention and embedding of `model` reads inputs
 * of its own and its result is an output: what each does alone, apart from the errors of the nodes
 * before. An input is named after the value that is read and shared by all that read it; it has a
 * row for each token or, where the value has these, for each segment. An output is named after its
 * node. Position embeddings are left out: they read nothing but positions, so that their results
 * are those of the model itself. Parameters are shared with `model`, of which the result keeps a
 * reference; it can be run, not saved. Memory is the allocator of `model`. Errors:
 * DYNQ_ERR_NOT_FOUND (no such node), DYNQ_ERR_ARGUMENT, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_model_isolate(dynq_model *model, dynq_model **isolated,
                                        dynq_error *error);

/* Makes a model of `count` nodes of `model`, given in ascending order: what they read of others is
 * an input named after that value, with its kind of rows, and each result that none of them reads
 * is an output named after its node. With what the nodes before gave on some data, it goes on from
 * there. Parameters are shared with `model`, of which the result keeps a reference; it can be run,
 * not saved. Memory is the allocator of `model`. DYNQ_ERR_ARGUMENT (also for an input of the
 * model), DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_model_extract(dynq_model *model, const size_t *nodes, size_t count,
                                        dynq_model **part, dynq_error *error);

/* The largest |sum| that an INT8 linear layer can reach before its scales, over all inputs and
 * columns, and how many bits are left above it in an int32: log2(2^31 / largest), +Inf where all
 * weights are 0. With P and N the sums of the positive and of the |negative| codes of a column:
 * symmetric 127 (P + N); affine with a static range, whose zero point z is known, the larger of
 * (255 - z) P + z N and z P + (255 - z) N; affine and dynamic, with the worst zero point,
 * 255 max(P, N). Any of these is reached by some input. `largest` or `bits` may be NULL.
 * DYNQ_ERR_ARGUMENT for any other node. */
DYNQ_API dynq_status dynq_model_headroom(const dynq_model *model, size_t node, uint64_t *largest,
                                         double *bits);

/* ---- variants beside a reference ---- */

typedef struct dynq_variant {
    size_t size;               /* sizeof(dynq_variant): all of an array have the same */
    dynq_model *model;         /* a reference is kept */
    const dynq_engine *engine; /* NULL: native; outlives the comparison */
    dynq_scope scope;          /* nonzero: overrides the scope of every dynamic range */
    const char *output;        /* the output that is compared; NULL: the first */
} dynq_variant;

typedef struct dynq_comparison_options {
    size_t size;         /* sizeof(dynq_comparison_options) */
    size_t max_rows;     /* of a batch; 0: 1 */
    size_t max_segments; /* 0: max_rows */
    uint32_t threads;    /* 0: 1 */
    const char *kernel;  /* NULL: the best this CPU supports */
    dynq_scores scores;  /* what the output holds; 0: probabilities where a softmax makes it,
                          * otherwise logits */
    const dynq_allocator *allocator;
} dynq_comparison_options;

/* Runs batches through variants, the first of which is the reference, and adds up errors. Memory
 * depends on models and the largest batch, not on how many batches are run. All results are the
 * same for any number of threads. One thread at a time. */
typedef struct dynq_comparison dynq_comparison;

/* Variants read the inputs of the reference, by name (or their only input, whatever its name), and
 * their outputs have as many columns and the same kind of rows. Nodes are compared where they have
 * the same name, columns and kind of rows. Nothing is borrowed beyond the call but the engines.
 * Errors: as dynq_session_create(); DYNQ_ERR_SHAPE (other inputs or outputs), DYNQ_ERR_NOT_FOUND
 * (an output). */
DYNQ_API dynq_status dynq_comparison_create(const dynq_variant *variants, size_t count,
                                            const dynq_comparison_options *options,
                                            dynq_comparison **comparison, dynq_error *error);
/* NULL is fine. */
DYNQ_API void dynq_comparison_free(dynq_comparison *comparison);

/* The number of the slot of an input of the reference, or -1. */
DYNQ_API int dynq_comparison_slot(const dynq_comparison *comparison, const char *input);

/* Runs one batch through all variants: `bindings` are the inputs, each once. Creates
 * the sessions of INT8 variants as it goes, so that the memory of one at a time is needed. Errors:
 * as dynq_session_create(), dynq_session_run() and dynq_calibration_observe(); results are
 * unspecified afterwards. */
DYNQ_API dynq_status dynq_comparison_run(dynq_comparison *comparison, const dynq_batch *batch,
                                         const dynq_binding *bindings, size_t binding_count,
                                         dynq_error *error);

/* The output of a variant in the last batch, [*rows][*columns]; either may be NULL. Belongs to the
 * comparison, valid until the next run. NULL if there is no such variant. */
DYNQ_API const float *dynq_comparison_output(const dynq_comparison *comparison, size_t variant,
                                             size_t *rows, size_t *columns);
/* The errors of a variant's output over all batches, with those of dynq_metrics_add_classes(). */
DYNQ_API dynq_metrics dynq_comparison_metrics(const dynq_comparison *comparison, size_t variant);

/* A node that a variant shares with the reference. */
typedef struct dynq_comparison_node {
    size_t size;        /* sizeof(dynq_comparison_node), set by the caller */
    const char *name;   /* belongs to the variant's model */
    size_t node;        /* its index there */
    size_t reference;   /* and in the reference */
    dynq_metrics chain; /* with what it got from the nodes before */
    dynq_metrics own;   /* fed with what the reference's node reads; no rows where that is not
                         * taken: in the reference, in nodes that compute in FP32 and in those that
                         * read a value that the reference does not have */
    uint64_t inputs;    /* INT8 linear with limits (a static range, or a clipped dynamic one):
                         * elements it read, */
    uint64_t outside;   /* and those below or above the limits */
} dynq_comparison_node;

/* In the order of the variant's model, without its inputs. */
DYNQ_API size_t dynq_comparison_node_count(const dynq_comparison *comparison, size_t variant);
/* DYNQ_ERR_ARGUMENT if there is no such variant or node. */
DYNQ_API dynq_status dynq_comparison_get(const dynq_comparison *comparison, size_t variant,
                                         size_t index, dynq_comparison_node *node);

/* Statistics of what the linear layers of the reference read in all batches. Belong to the
 * comparison. */
DYNQ_API const dynq_calibration *dynq_comparison_seen(const dynq_comparison *comparison);

/* ---- neighbours in a batch ---- */

/* Requests laid end to end: request i has rows [offsets[i], offsets[i + 1]). */
typedef struct dynq_request_set {
    size_t size;               /* sizeof(dynq_request_set) */
    size_t count;              /* of requests */
    const size_t *offsets;     /* [count + 1], from 0, each larger than the one before */
    const void *const *inputs; /* of each input of the model in the order of its nodes: [rows]
                                * [columns] of floats or, of ids, int32_t; contiguous */
} dynq_request_set;

typedef struct dynq_batch_effect_options {
    size_t size;               /* sizeof(dynq_batch_effect_options) */
    const dynq_engine *engine; /* NULL: native */
    dynq_scope scope;          /* nonzero: overrides the scope of every dynamic range */
    const char *output;        /* what is looked at; NULL: the first output */
    size_t requests;           /* how many are drawn, at most; 0: 200 */
    size_t rounds;             /* random batches that each is part of; 0: 4 */
    size_t together;           /* requests of a batch, at most; 0: 32 */
    size_t most_rows;          /* of a batch with more than one request; 0: any */
    uint64_t seed;             /* of draws and batches */
    uint32_t threads;          /* 0: 1 */
    const char *kernel;        /* NULL: the best this CPU supports */
    const dynq_allocator *allocator;
} dynq_batch_effect_options;

typedef struct dynq_batch_effect_result {
    size_t size;             /* sizeof(dynq_batch_effect_result), set by the caller */
    size_t requests, rounds; /* that were run */
    double mean, worst;      /* over requests and rounds: |y in the batch - y alone| / |y alone|,
                              * Euclidean norms over all rows of the request; where |y alone| is 0: 0
                              * if the other is as well, otherwise 1 */
    int identical;           /* nonzero: each answer has the same bytes in every batch */
} dynq_batch_effect_result;

/* How much answers change with their neighbours: runs requests alone, then in random batches of one
 * another. 0 and identical for ranges that are static, per row or per segment; not for ranges over
 * a whole batch. The same seed gives the same result, for any number of threads. `options` may be
 * NULL. Errors: as dynq_session_create() and dynq_session_run(); DYNQ_ERR_NOT_FOUND (the output);
 * DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_batch_effect(dynq_model *model, const dynq_request_set *requests,
                                       const dynq_batch_effect_options *options,
                                       dynq_batch_effect_result *result, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
