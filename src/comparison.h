/* The inside of a comparison, shared by comparison.c (the object and its results),
 * comparison_variant.c (sessions of a variant), comparison_nodes.c (what taps see) and
 * comparison_run.c (memory and runs). */
#ifndef DYNQ_SRC_COMPARISON_H
#define DYNQ_SRC_COMPARISON_H

#include "src/compare.h"
#include "src/model.h"

#include <dynq/comparison.h>

/* A node that a variant shares with the reference. */
typedef struct dynq_compared_node {
    size_t node, reference;
    dynq_metrics chain, own;
    uint64_t inputs, outside;
    const float *scale; /* of its columns, see dynq_model_column_scale(), or NULL */
    bool own_is_chain;  /* INT8, and reads inputs of the model only */
    long twin;          /* an earlier one that reads the same value with the same limits, or -1 */
    long group;         /* the group of isolated nodes that it is in, or -1, */
    size_t isolated;    /* and the output of this group's model that it is */
} dynq_compared_node;

/* An input of isolated nodes. */
typedef struct dynq_isolated_input {
    long slot;          /* of the comparison: an input of the model, or -1: */
    size_t reference;   /* the node of the reference whose values are read, */
    const float *scale; /* and what their columns are divided by, or NULL */
} dynq_isolated_input;

/* Some nodes of a variant that run alone. There are several groups of them, so that the results of
 * all need not be in memory at once. */
typedef struct dynq_isolated_group {
    dynq_model *model;
    dynq_session *session;
    dynq_isolated_input *inputs;
    dynq_binding *bindings; /* inputs, then outputs */
    size_t input_count;
} dynq_isolated_group;

typedef struct dynq_compared {
    dynq_comparison *comparison;
    dynq_model *model;
    const dynq_engine *engine;
    dynq_scope scope;
    size_t output; /* of the model */
    dynq_session *session;
    dynq_tap *taps;
    size_t tap_count;
    long *entry; /* of each node of the model: its place in nodes, or -1 */
    dynq_compared_node *nodes;
    size_t node_count;
    dynq_binding *bindings; /* inputs, then outputs */
    float *result;          /* of its output */
    dynq_metrics metrics;

    dynq_isolated_group *groups;
    size_t group_count;
} dynq_compared;

struct dynq_comparison {
    dynq_allocator allocator;
    dynq_comparison_options options; /* complete; its allocator is not used */
    const dynq_kernel *kernel;       /* that measures errors */
    dynq_thread_pool *pool;          /* NULL: one thread */
    dynq_compared *variants;
    size_t count;
    size_t *inputs; /* nodes of the reference by slot */
    size_t input_count;
    const dynq_binding **bound; /* by slot, while a batch is run */
    float **values;             /* of each node of the reference in this batch; NULL: not needed */
    dynq_calibration *seen;
    float *scratch; /* outputs of one session that nobody reads afterwards */
    float *row;     /* the widest row of any model */
    dynq_batch batch;
    dynq_status status; /* of what taps did */
    dynq_error *error;
};

/* comparison_variant.c: what one variant needs beside memory for values. */
dynq_status dynq_compared_start(dynq_compared *variant, dynq_error *error);
void dynq_compared_stop(dynq_compared *variant);
/* The memory that runs need is there for one session at a time: sessions are opened for each batch,
 * with the same slots each time. Closing keeps one that has prepared weights, which takes long. */
dynq_status dynq_compared_open(dynq_compared *variant, dynq_error *error);
dynq_status dynq_compared_open_group(const dynq_compared *variant, dynq_isolated_group *group,
                                     dynq_error *error);
void dynq_compared_close(dynq_session **session);

/* comparison_nodes.c: lists the nodes that the variant shares with the reference, and its taps.
 * DYNQ_OK or DYNQ_ERR_MEMORY. */
dynq_status dynq_compared_list_nodes(dynq_compared *variant);
/* Adds rows of what a node of a variant computed to metrics. */
void dynq_compared_add(const dynq_compared *variant, const dynq_compared_node *entry,
                       dynq_metrics *metrics, size_t rows, const float *values, size_t stride);

/* comparison_run.c: rows that a value has in the largest batch and in this one. */
size_t dynq_comparison_rows(const dynq_comparison *comparison, const dynq_node *node);
size_t dynq_comparison_batch_rows(const dynq_comparison *comparison, const dynq_node *node);
dynq_status dynq_comparison_take_memory(dynq_comparison *comparison, dynq_error *error);

#endif
