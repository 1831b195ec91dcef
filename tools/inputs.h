/* What a model reads and writes, and checks of the data it is given. */
#ifndef DYNQ_TOOLS_INPUTS_H
#define DYNQ_TOOLS_INPUTS_H

#include "tools/command.h"
#include "tools/data.h"

#include <dynq/model.h>
#include <stddef.h>

typedef struct model_slot {
    const char *name; /* belongs to the model */
    size_t columns;
} model_slot;

/* Inputs in the order of the nodes; *slots is released with free(). */
size_t model_inputs(const dynq_model *model, model_slot **slots);
/* Outputs in the order of the model; *slots is released with free(). */
size_t model_outputs(const dynq_model *model, model_slot **slots);

/* Reads `path` as rows for an input of `columns` columns: data_read_matrix(), at least one row, no
 * NaN or Inf. On failure prints the error, with row and column in the file, and returns its exit
 * code. */
exit_code inputs_read(const command_call *call, const char *path, size_t columns,
                      data_matrix *matrix);

#endif
