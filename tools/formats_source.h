/* Where `dynq formats` takes tensors from: an array, a model, any safetensors file. */
#ifndef DYNQ_TOOLS_FORMATS_SOURCE_H
#define DYNQ_TOOLS_FORMATS_SOURCE_H

#include "tools/command.h"

#include <dynq/safetensors.h>
#include <stddef.h>

typedef struct formats_item {
    const char *name; /* belongs to the source */
    size_t n, k;
    size_t index; /* of the node or tensor */
    int is_node;
} formats_item;

/* Starts as all zero. */
typedef struct formats_source {
    const char *path;
    double *array;          /* of a data file: the values of its only item */
    dynq_model *model;      /* NULL: none */
    dynq_safetensors *file; /* NULL: none */
    formats_item *items;
    size_t count;
} formats_source;

/* Opens `path` and lists what is to be measured: the array of a data file; the linear layers of a
 * model; of any other safetensors file the matrices of floats. With `tensor` only the node (its
 * weights) or tensor of that name. On failure an error was printed. */
exit_code formats_source_open(const command_call *call, const char *path, const char *tensor,
                              formats_source *source);
void formats_source_close(formats_source *source);
/* The values [n][k] of an item, malloc'ed into *values, all of them finite. */
exit_code formats_source_read(const command_call *call, const formats_source *source,
                              const formats_item *item, double **values);

#endif
