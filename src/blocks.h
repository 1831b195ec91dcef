/* Running the steps of a stage block of rows by block of rows. */
#ifndef DYNQ_SRC_BLOCKS_H
#define DYNQ_SRC_BLOCKS_H

#include "src/session.h"

/* What a thread needs for a block; for a session whose batches can have enough rows. */
dynq_status dynq_blocks_create(dynq_session *session, dynq_error *error);
void dynq_blocks_free(dynq_session *session);

/* A stage on all rows of session->work; each chunk of the layout is a block. */
typedef struct dynq_blocks_task {
    dynq_session *session;
    const dynq_stage *stage;
    dynq_layout layout;
    atomic_size_t failed; /* the first block that did, or SIZE_MAX */
} dynq_blocks_task;

/* On the calling thread; then every chunk, on any thread in any order; then again the first. */
void dynq_blocks_begin(dynq_blocks_task *task);
void dynq_blocks_run_chunk(void *task, size_t chunk);
/* Ranges that wait for all rows are left to the caller. */
dynq_status dynq_blocks_finish(dynq_blocks_task *task);

#endif
