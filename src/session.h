/* The inside of a session, shared by the files that make one up: session.c (creation and
 * queries), session_memory.c (what runs need), weights.c (layers as the engine wants them),
 * run_check.c (what a caller hands to a run), run.c (a run from start to end), operators.c,
 * segments.c and foreign.c (one chunk of a step, by rows, by segments or on an engine, cut by
 * chunks.c), ranges.c (parameters from ranges).
 */
#ifndef DYNQ_SRC_SESSION_H
#define DYNQ_SRC_SESSION_H

#include "kernels/kernel.h"
#include "src/chunks.h"
#include "src/plan.h"
#include "src/threads.h"

#include <dynq/session.h>
#include <stdatomic.h>

/* Where a value is during a run. */
typedef struct dynq_value_memory {
    float *data; /* of ids: int32_t */
    size_t stride;
    float *bound;           /* the caller's memory, where the first row of the batch is */
    bool ranged;            /* the current run needs its range */
    dynq_range_bits *range; /* part_rows entries */
    size_t range_step;      /* 0: one range; 1: one for each row */
} dynq_value_memory;

/* A quantized copy during a run. Row m has scale[m * step] and so on. */
typedef struct dynq_copy_memory {
    uint8_t *codes;
    float *scale, *inverse;
    int32_t *zero;
    size_t step;
} dynq_copy_memory;

/* What steps work on: a batch, a part of it, or a block of rows, and where its values are. */
typedef struct dynq_work {
    struct dynq_session *session;
    size_t rows, segments; /* segments 0: one */
    const size_t *offsets;
    size_t first_row, first_segment; /* of the caller's batch */
    dynq_value_memory *values;       /* by value of the plan */
    dynq_copy_memory *copies;
    int32_t *sums; /* products on their way to an epilogue, or NULL */
    dynq_error *error;
} dynq_work;

/* One linear step's weights, where they are not simply the model's. */
typedef struct dynq_layer {
    float *packed;      /* native FP32: layout p16, unless the model has halves */
    float *dequantized; /* of other formats, FP32 on a foreign engine: [n][k] */
    int32_t *sums;      /* INT4 and INT2 on a foreign engine: of columns without padding, [n] */
    void **blocks;      /* foreign engine: one layer for each block of columns */
    size_t block_count;
    size_t block_columns; /* of every block but the last */
    bool whole;           /* the engine can do the step in one call */
} dynq_layer;

/* Time in a step: phases of the current run by all threads, and the sums over all runs. */
typedef struct dynq_step_clock {
    _Atomic uint64_t gemm, epilogue, other;
    dynq_step_profile total;
} dynq_step_clock;

/* What a block of rows works in: a thread takes any that is free. */
typedef struct dynq_block_memory {
    dynq_work work;
    dynq_range_bits *ranges; /* by value: of results whose rows share one */
    unsigned char *memory;   /* of values and copies that are local to a stage */
} dynq_block_memory;

/* What a chunk of attention works in: a thread takes any that is free. */
typedef struct dynq_scratch {
    void *prepared;          /* INT8 only */
    dynq_range_bits *ranges; /* part_rows entries */
} dynq_scratch;

typedef struct dynq_session_tap {
    uint32_t node;
    dynq_tap tap;
} dynq_session_tap;

struct dynq_session {
    dynq_allocator allocator;
    dynq_model *model;
    const dynq_kernel *kernel;
    const dynq_engine *engine; /* NULL: native */
    dynq_executor executor;    /* parallel_for NULL: the pool */
    dynq_thread_pool *pool, *own_pool;
    uint32_t threads;
    dynq_block_memory *blocks; /* one for each thread, if stages run by blocks */
    atomic_bool *block_taken;
    atomic_bool *scratch_taken;
    dynq_scratch *scratches;       /* one for each thread, if the plan has attention */
    size_t max_rows, max_segments; /* of a batch */
    size_t part_rows;              /* that are run at once at most */
    bool dequantized, profiling;
    dynq_gemm_bf16 *gemm_bf16; /* in the place of gemm_f32 for weights in BF16, or NULL */
    dynq_plan *plan;
    dynq_layer *layers; /* by step */
    size_t layer_bytes;
    unsigned char *arena;
    int32_t *sums; /* of all rows */
    size_t sums_stride;
    bool weights_cached;  /* each thread's cache holds the weights of all layers */
    dynq_layout *layouts; /* by step, for one segment of layout_rows rows; 0: for others */
    size_t layout_rows;
    bool separable;       /* segments that run one after the other give the same results */
    size_t *part_offsets; /* where segments of a part of the batch begin in it */
    dynq_session_tap *taps;
    size_t tap_count;
    dynq_step_clock *clocks; /* by step, or NULL */
    uint64_t mark;           /* when the current step began */

    /* the current run */
    dynq_batch batch;
    dynq_work work; /* the batch, or the part of it that is run */
    dynq_status status;
    _Atomic int engine_status;
};

/* The segments that are worked on, at least one, and where segment `index` begins and, with index +
 * 1, ends. */
static inline size_t dynq_work_segments(const dynq_work *work)
{
    return work->segments == 0 ? 1 : work->segments;
}
static inline size_t dynq_work_segment(const dynq_work *work, size_t index)
{
    return work->segments != 0 ? work->offsets[index] : index == 0 ? 0 : work->rows;
}
/* Rows that a value has there. */
static inline size_t dynq_work_rows(const dynq_work *work, uint32_t value)
{
    return work->session->plan->values[value].domain == DYNQ_DOMAIN_SEGMENTS
               ? dynq_work_segments(work)
               : work->rows;
}

static inline bool dynq_session_cancelled(const dynq_session *session)
{
    return session->batch.cancel != NULL && *session->batch.cancel != 0;
}

/* run_check.c: the batch and its bindings, before anything is run. On success the session has them.
 */
dynq_status dynq_session_take_batch(dynq_session *session, const dynq_batch *batch,
                                    dynq_error *error);
dynq_status dynq_session_take_bindings(dynq_session *session, const dynq_binding *bindings,
                                       size_t count, dynq_error *error);
dynq_status dynq_session_check_tables(const dynq_session *session, dynq_error *error);

/* Up to so many rows for each thread, what a step leaves behind stays in its cache: batches of more
 * are run in parts of whole segments, and parts of more, which are longer segments, by blocks. */
#define DYNQ_CACHED_ROWS 128

/* With more rows for each of several threads, each had better take rows through all steps of a
 * stage than wait for the others behind every step. */
#define DYNQ_SHARED_ROWS 48

/* Parts with more rows run by blocks. */
static inline size_t dynq_stepwise_rows(uint32_t threads)
{
    return threads == 1 ? DYNQ_CACHED_ROWS : (size_t)threads * DYNQ_SHARED_ROWS;
}

/* Takes one of `count` places, one for each thread that can ask, so some other is free if the next
 * is not. */
static inline uint32_t dynq_place_take(atomic_bool *taken, uint32_t count)
{
    uint32_t i = 0;
    while (atomic_exchange_explicit(&taken[i], true, memory_order_acquire)) {
        i = (i + 1) % count;
    }
    return i;
}
static inline void dynq_place_give(atomic_bool *taken, uint32_t place)
{
    atomic_store_explicit(&taken[place], false, memory_order_release);
}

/* session_memory.c */
dynq_status dynq_session_take_memory(dynq_session *session, dynq_error *error);
void dynq_session_release_memory(dynq_session *session);

/* weights.c */
dynq_status dynq_session_prepare_layers(dynq_session *session, dynq_error *error);
void dynq_session_release_layers(dynq_session *session);
bool dynq_session_step_is_foreign(const dynq_session *session, const dynq_step *step);
/* Whether an INT8 step can stop at int32 sums: with groups there are none of a column. */
bool dynq_session_step_stops(const dynq_session *session, const dynq_step *step);

/* operators.c: a step is cut into chunks that can run on any thread in any order. */
dynq_layout dynq_step_layout(const dynq_work *work, size_t step, dynq_cut cut);
void dynq_step_run_chunk(const dynq_work *work, size_t step, size_t chunk);
/* Any rows and columns of a step of the native engine. `next`: weights to fetch meanwhile, or NULL.
 * `shared`: other threads may join the same ranges. */
void dynq_step_run_block(const dynq_work *work, size_t step, const dynq_block *block,
                         const int8_t *next, bool shared);

/* ranges.c: which values need their range, and what follows from ranges when a step is complete. */
void dynq_ranges_reset(const dynq_work *work);
void dynq_ranges_set_static(const dynq_session *session);
/* Before a step: nobody asks for the range of results that are known to be finite and whose range
 * no layer wants. */
void dynq_ranges_begin(const dynq_work *work, const dynq_step *step);
dynq_status dynq_ranges_finish(const dynq_work *work, const dynq_step *step);

uint64_t dynq_session_clock(void);

#endif
