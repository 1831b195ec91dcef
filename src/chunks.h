/* How a step is cut into chunks: rows x columns of its result, for any thread in any order. */
#ifndef DYNQ_SRC_CHUNKS_H
#define DYNQ_SRC_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of a chunk at most, unless an engine takes all of them: as many as pass over a block of
 * weights while it stays in the cache (S8_BLOCK_ROWS of kernels/gemm_s8_lanes.h). */
#define DYNQ_ROW_BLOCK 96

/* What work is cut for: how many threads, and what each should meet again and again. By columns, it
 * is its panels of weights, and every thread reads the whole input. By rows, it is its rows from
 * one step to the next, and every thread reads all weights: better where they fit in its cache. */
typedef struct dynq_cut {
    uint32_t threads;
    bool by_rows;
} dynq_cut;

/* Whether to cut by rows a run of that many rows and steps, which takes one thread `nanoseconds`,
 * if its weights fit. */
bool dynq_cut_by_rows_pays(size_t rows, uint32_t threads, uint64_t nanoseconds, size_t steps);

/* The chunks of one step of one batch. Threads have consecutive chunks: those with the same columns
 * stand together, or those with the same rows. */
typedef struct dynq_layout {
    size_t rows, columns; /* of the result */
    /* Rows are cut into row_chunks parts of about the same size, at multiples of row_unit, of which
     * there are row_units; and columns likewise. */
    size_t row_unit, row_units, row_chunks;
    size_t column_unit, column_units, column_chunks;
    uint64_t nanoseconds; /* what the step takes one thread, roughly */
    bool by_rows;
    bool shared; /* worth more than one thread */
} dynq_layout;

typedef struct dynq_block {
    size_t row, rows, column, columns;
} dynq_block;

/* A linear layer, cut at panel borders. `picoseconds`: of one multiplication, on a fast CPU. */
dynq_layout dynq_layout_linear(size_t rows, size_t k, size_t columns, uint32_t picoseconds,
                               dynq_cut cut);
/* A step that works row by row. `picoseconds`: of one element. */
dynq_layout dynq_layout_by_row(size_t rows, size_t columns, uint32_t picoseconds, dynq_cut cut);
/* A step whose rows are segments and whose columns are heads, cut at any of them. */
dynq_layout dynq_layout_heads(size_t segments, size_t heads, uint64_t nanoseconds, dynq_cut cut);
/* Blocks of rows for a stage of several steps. */
dynq_layout dynq_layout_blocks(size_t rows, uint64_t nanoseconds, uint32_t threads);
/* A linear layer whose columns were cut when the session was created. */
dynq_layout dynq_layout_fixed(size_t rows, size_t k, size_t columns, size_t blocks,
                              size_t block_columns, uint32_t picoseconds);

static inline size_t dynq_layout_chunks(const dynq_layout *layout)
{
    return layout->row_chunks * layout->column_chunks;
}
dynq_block dynq_layout_block(const dynq_layout *layout, size_t chunk);

#endif
