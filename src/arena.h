/* Laying out buffers in one block of memory: those that never live at the same time share bytes. */
#ifndef DYNQ_SRC_ARENA_H
#define DYNQ_SRC_ARENA_H

#include "src/memory.h"

typedef struct dynq_arena_buffer {
    size_t bytes;
    size_t first, last; /* steps at which it is needed, inclusive */
    size_t offset;      /* the result, a multiple of DYNQ_ALIGNMENT */
} dynq_arena_buffer;

/* Places all buffers and gives the size of the block. false if it does not fit in a size_t. */
bool dynq_arena_layout(dynq_arena_buffer *buffers, size_t count, size_t *total);

#endif
