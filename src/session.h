/* The inside of a session, shared by the files that make one up: session.c (creation and
 * queries), weights.c (layers as the engine wants them), run.c (a run from start to end),
 * operators.c and foreign.c (one chunk of a step, native or on an engine, cut by chunks.c),
 * ranges.c (parameters from ranges). */
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
    float *data;
    size_t stride;
    bool ranged;            /* the current run needs its range */
    dynq_range_bits *range; /* max_rows entries */
    size_t range_step;      /* 0: one range; 1: one for each row */
} dynq_value_memory;

/* A quantized copy during a run. Row m has scale[m * step] and so on. */
typedef struct dynq_copy_memory {
    uint8_t *codes;
    float *scale, *inverse;
    int32_t *zero;
    size_t step;
} dynq_copy_memory;

/* One linear step's weights, where they are not simply the model's. */
typedef struct dynq_layer {
    float *packed;      /* native FP32: layout p16 */
    float *dequantized; /* FP32 of an INT8 model on a foreign engine: [n][k] */
    void **blocks;      /* foreign engine: one layer for each block of columns */
    size_t block_count;
    size_t block_columns; /* of every block but the last */
    bool whole;           /* the engine can do the step in one call */
} dynq_layer;

/* Time in a step: phases of the current run by all threads, and the sums over all runs. */
typedef struct dynq_step_clock {
    _Atomic uint64_t gemm, epilogue;
    dynq_step_profile total;
} dynq_step_clock;

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
    size_t max_rows, max_segments;
    bool dequantized, profiling;
    dynq_plan *plan;
    dynq_layer *layers; /* by step */
    size_t layer_bytes;
    unsigned char *arena;
    dynq_value_memory *values; /* by value of the plan */
    dynq_copy_memory *copies;
    int32_t *sums; /* products on their way to an epilogue, or NULL */
    size_t sums_stride;
    bool weights_cached;  /* each thread's cache holds the weights of all layers */
    dynq_layout *layouts; /* by step, for batches of layout_rows rows */
    size_t layout_rows;
    dynq_session_tap *taps;
    size_t tap_count;
    dynq_step_clock *clocks; /* by step, or NULL */
    uint64_t mark;           /* when the current step began */

    /* the current run */
    dynq_batch batch;
    dynq_status status;
    dynq_error *error;
    _Atomic int engine_status;
};

/* weights.c */
dynq_status dynq_session_prepare_layers(dynq_session *session, dynq_error *error);
void dynq_session_release_layers(dynq_session *session);
bool dynq_session_step_is_foreign(const dynq_session *session, const dynq_step *step);

/* operators.c: a step is cut into chunks that can run on any thread in any order. */
dynq_layout dynq_step_layout(const dynq_session *session, size_t step, size_t rows, dynq_cut cut);
void dynq_step_run_chunk(dynq_session *session, size_t step, size_t chunk);

/* ranges.c: which values need their range, and what follows from ranges when a step is complete; on
 * the calling thread alone. */
void dynq_session_reset_ranges(dynq_session *session);
void dynq_session_static_params(dynq_session *session);
/* Before a step: nobody asks for the range of results that are known to be finite and whose range
 * no layer wants. */
void dynq_session_begin_ranges(dynq_session *session, const dynq_step *step);
dynq_status dynq_session_finish_ranges(dynq_session *session, const dynq_step *step);

uint64_t dynq_session_clock(void);

#endif
