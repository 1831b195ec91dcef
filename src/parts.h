/* Batches of any size on sessions of little memory: cut into parts of whole requests. */
#ifndef DYNQ_SRC_PARTS_H
#define DYNQ_SRC_PARTS_H

#include "src/model.h"

#include <dynq/session.h>

/* Rows of a part: enough to be fast, little memory, and never dependent on the threads. */
#define DYNQ_PART_ROWS 256

/* Whole requests that run together: as many as fit, one at least. */
typedef struct dynq_part {
    size_t row, rows, segment, segments;
} dynq_part;

/* Who runs a batch, for messages, and in what. */
typedef struct dynq_parts_owner {
    const char *name;
    const dynq_model *model;
    const dynq_session *session;
    size_t longest; /* rows of the longest request that it takes */
} dynq_parts_owner;

/* Rows that the session of a part needs for requests of up to `max_rows`. */
static inline size_t dynq_parts_rows(size_t max_rows)
{
    return max_rows > DYNQ_PART_ROWS ? max_rows : DYNQ_PART_ROWS;
}

static inline bool dynq_is_input(const dynq_node *node)
{
    return node->op == DYNQ_OP_INPUT || node->op == DYNQ_OP_IDS;
}

/* The slot of the input of that name, or -1. */
int dynq_parts_slot(const dynq_parts_owner *owner, const char *name);
/* Checks the batch and its bindings, one for each of the `count` inputs, and sets their strides. */
dynq_status dynq_parts_check(const dynq_parts_owner *owner, const dynq_batch *batch,
                             dynq_binding *bindings, size_t count, dynq_error *error);
/* The part that begins where `before` ends; that before the first is all 0. */
dynq_part dynq_parts_next(const dynq_batch *batch, dynq_part before);
/* What the session is called with: offsets[DYNQ_PART_ROWS + 1] from the part's first row, and
 * `count` bindings of inputs. */
dynq_batch dynq_parts_batch(const dynq_batch *batch, dynq_part part, size_t *offsets);
void dynq_parts_bind(dynq_part part, const dynq_binding *whole, size_t count,
                     dynq_binding *bindings);

#endif
