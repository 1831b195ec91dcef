/* Nodes on inputs of their own. */
#ifndef DYNQ_SRC_ISOLATE_H
#define DYNQ_SRC_ISOLATE_H

#include "src/model.h"

/* Whether dynq_model_isolate() takes the node: INT8, and no position embedding. */
bool dynq_node_can_be_isolated(const dynq_node *node);

/* dynq_model_isolate() for the nodes that are `wanted`, one or more of those that can be. */
dynq_status dynq_model_isolate_nodes(dynq_model *model, const bool *wanted, dynq_model **isolated,
                                     dynq_error *error);

#endif
