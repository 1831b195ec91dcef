/* What a model reads and writes. */
#ifndef DYNQ_TOOLS_INPUTS_H
#define DYNQ_TOOLS_INPUTS_H

#include <dynq/model.h>
#include <stddef.h>

typedef struct model_slot {
    const char *name; /* belongs to the model */
    size_t columns;
    int ids;            /* an input of int32_t ids, of one column, instead of floats */
    dynq_domain domain; /* what its rows are */
    size_t id_count;    /* of ids: those that every embedding has a row for, never 0 */
    size_t longest; /* of ids: rows of the longest request, by the position embeddings; 0: any */
} model_slot;

/* Inputs in the order of the nodes; *slots is released with free(). */
size_t model_inputs(const dynq_model *model, model_slot **slots);
/* Outputs in the order of the model; *slots is released with free(). */
size_t model_outputs(const dynq_model *model, model_slot **slots);
/* The output that embeddings are taken from and that comparisons are about: "sentence_embedding",
 * or else the first. */
size_t model_main_output(const dynq_model *model);

#endif
