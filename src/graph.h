/* What the files of the builder share. */
#ifndef DYNQ_SRC_GRAPH_H
#define DYNQ_SRC_GRAPH_H

#include "src/model.h"

#include <dynq/graph.h>

struct dynq_graph {
    dynq_model *model;
    dynq_error error; /* the first one; status DYNQ_OK while there is none */
};

/* What an operation returns after an error; no builder has that many nodes. */
#define DYNQ_NO_NODE UINT32_MAX

static inline bool dynq_graph_usable(const dynq_graph *graph)
{
    return graph != NULL && graph->error.status == DYNQ_OK;
}

/* Adds a node whose shape still has to be checked; NULL after an error, now or before. */
dynq_node *dynq_graph_add_node(dynq_graph *graph, const char *name, dynq_op op,
                               const dynq_value *inputs, uint32_t input_count);
/* Checks the node added last, when there was no error so far. */
dynq_value dynq_graph_finish_node(dynq_graph *graph);

/* Adds and checks a node with nothing but one input. */
dynq_value dynq_graph_unary(dynq_graph *graph, const char *name, dynq_op op, dynq_value x);

/* Whether a node's tensor is there, FP32 and of that rank. `what` is for the message. */
bool dynq_graph_check_tensor(dynq_graph *graph, const char *name, const char *what,
                             const dynq_tensor *tensor, uint32_t rank);
/* A copy of a checked tensor's numbers that the model owns; NULL after an error. */
const float *dynq_graph_copy_tensor(dynq_graph *graph, const char *name, const char *what,
                                    const dynq_tensor *tensor);

#endif
