/* Weights in the layouts that oneDNN's primitives ask for, each kept once. */
#ifndef DYNQ_SRC_ENGINES_ONEDNN_WEIGHTS_H
#define DYNQ_SRC_ENGINES_ONEDNN_WEIGHTS_H

#include "src/engines/onednn_api.h"

#include <stddef.h>

enum { DYNQ_ONEDNN_ENTRIES = 16 }; /* primitives of a layer, and so layouts at most */

typedef struct dynq_onednn_weights {
    dnnl_memory_t memory; /* NULL: a free place */
    void *data;
    size_t users;
} dynq_onednn_weights;

typedef struct dynq_onednn_store {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_memory_t plain; /* the weights as [n][k], to make layouts from */
    dynq_onednn_weights places[DYNQ_ONEDNN_ENTRIES];
} dynq_onednn_store;

/* Weights in `layout`: those that are there, or a new copy; a user more. */
dnnl_status_t dynq_onednn_weights_take(dynq_onednn_store *store, dynq_onednn_layout layout,
                                       dynq_onednn_weights **result);
/* A user less; the last one frees them. NULL is fine. */
void dynq_onednn_weights_drop(dynq_onednn_weights *weights);

#endif
