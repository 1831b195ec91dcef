/* The graph of a model as JSON: model_json_write.c and model_json_read.c alone know its keys. */
#ifndef DYNQ_SRC_MODEL_JSON_H
#define DYNQ_SRC_MODEL_JSON_H

#include "src/model.h"

/* Metadata of a model file. */
#define DYNQ_META_FORMAT  "format" /* DYNQ_META_DYNQ */
#define DYNQ_META_DYNQ    "dynq"
#define DYNQ_META_VERSION "dynq_format" /* "MAJOR.MINOR" */
#define DYNQ_META_GRAPH   "graph"       /* what the functions below write and read */

/* Begins the names of tensors that are attachments, which have no dot as those of nodes do. */
#define DYNQ_ATTACHMENT_TENSOR "attachment/"

/* The one layout of INT8 weights with scales by column; that of other formats has no name. */
#define DYNQ_LAYOUT_P16X4 "p16x4"

/* The graph as text, the same for the same model, from the model's allocator; NULL when memory is
 * out. */
char *dynq_model_json_write(const dynq_model *model);

/* Adds the nodes, outputs and attachments that `text` describes to an empty model, without their
 * parameters and bytes and without dynq_model_check(). *has_bias [node_count] comes from the
 * model's allocator and says which linear nodes have a bias; on failure it is NULL. `file` is for
 * messages. */
dynq_status dynq_model_json_read(const char *file, const char *text, dynq_model *model,
                                 unsigned char **has_bias, dynq_error *error);

#endif
