/* Sessions: a plan for one model, its memory and its threads. */
#ifndef DYNQ_SESSION_H
#define DYNQ_SESSION_H

#include <dynq/engine.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <dynq/threads.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dynq_session dynq_session;

/* A value to look at while the session runs. After the node's result is complete, `function` is
 * called on the thread that called dynq_session_run(), with `rows` x `columns` floats at `data`,
 * row stride in floats, valid during the call. Tapped values are always stored in the model's own
 * units; the bits of every output stay the same. */
typedef struct dynq_tap {
    const char *node; /* borrowed while the session is created */
    void (*function)(void *context, size_t node_index, size_t rows, size_t columns,
                     const float *data, size_t row_stride);
    void *context;
} dynq_tap;

typedef struct dynq_session_options {
    size_t size;         /* sizeof(dynq_session_options) */
    size_t max_rows;     /* rows (tokens) of the largest batch, 2^31 - 1 at most; 0: 1 */
    size_t max_segments; /* of the largest batch; 0: max_rows */
    uint32_t threads;    /* 0: 1; capped at the usable CPUs; ignored with a pool or an executor */
    const char *kernel;  /* force a kernel by name; NULL: the best this CPU supports */
    const dynq_engine *engine; /* NULL: the native engine. An engine without INT8 runs an INT8 model
                                * in FP32 on its dequantized weights. Must outlive the session. */
    dynq_precision precision;  /* DYNQ_PRECISION_FP32: run an INT8 model in FP32 on its dequantized
                                * weights; 0 or DYNQ_PRECISION_INT8: as the model says */
    dynq_scope scope;          /* nonzero: overrides the scope of every dynamic range */
    dynq_thread_pool *pool;    /* share these threads (borrowed, outlives the session) */
    const dynq_executor
        *executor; /* or use the host's; a session has a pool or an executor, not both */
    const dynq_allocator *allocator;
    const dynq_tap *taps; /* borrowed while the session is created */
    size_t tap_count;
    int profile;  /* nonzero: record time per step and phase. The native engine's products and
                   * epilogues then run apart, which is slower: use it to see where time goes, not
                   * for latency. */
    int bf16_dot; /* nonzero: layers with BF16 weights round their inputs to BF16 as well and use
                   * the CPU's dot product for it, which is faster and outside the promise of equal
                   * bits; DYNQ_ERR_UNSUPPORTED where the kernel has none */
} dynq_session_options;

/* Plans the model for batches of up to max_rows rows: chooses kernels, fuses operators, packs FP32
 * weights, lays out the arena. The session keeps a reference to the model. `options` may be NULL.
 * Errors: DYNQ_ERR_ARGUMENT, DYNQ_ERR_NOT_FOUND (kernel or tapped node), DYNQ_ERR_UNSUPPORTED,
 * DYNQ_ERR_LIMIT, DYNQ_ERR_MEMORY, DYNQ_ERR_IO (threads), DYNQ_ERR_ENGINE. */
DYNQ_API dynq_status dynq_session_create(dynq_model *model, const dynq_session_options *options,
                                         dynq_session **session, dynq_error *error);
DYNQ_API void dynq_session_free(dynq_session *session);

/* The bytes that a session with these options would allocate for activations, without making it.
 * Not counted, and small beside them: what each thread works in (a block of 96 rows, a head's keys
 * and values) and what rows and steps are noted in. */
DYNQ_API dynq_status dynq_session_arena_bytes(dynq_model *model,
                                              const dynq_session_options *options, size_t *bytes,
                                              dynq_error *error);

/* The number of the slot of an input or output name, or -1. An input and an output of the same name
 * are told apart by dynq_session_output_slot(). */
DYNQ_API int dynq_session_slot(const dynq_session *session, const char *name);
DYNQ_API int dynq_session_output_slot(const dynq_session *session, const char *name);

/* Memory of the caller for one slot: a row of the slot's columns for each row of the batch, or for
 * each segment where the value has these. Rows that begin at multiples of 64 bytes are read and
 * written fastest (a layer of 64 x 384 x 384: 7 %). */
typedef struct dynq_binding {
    int slot;          /* from dynq_session_slot() */
    void *data;        /* floats, or int32_t for ids; aligned to 4; inputs are only read */
    size_t bytes;      /* of the memory at data, for the check */
    size_t row_stride; /* in elements; 0: the slot's columns */
} dynq_binding;

typedef struct dynq_batch {
    size_t size;           /* sizeof(dynq_batch) */
    size_t rows;           /* 1 to max_rows */
    size_t segments;       /* 0: the whole batch is one segment */
    const size_t *offsets; /* segments + 1 row numbers: 0 = o[0] < o[1] < ... = rows; NULL without
                            * segments */
    const volatile int *cancel; /* optional: when it becomes nonzero, the run stops between two
                                 * steps with DYNQ_ERR_CANCELLED */
} dynq_batch;

/* Runs the model on one batch. Every slot needs exactly one binding; the memory of an output must
 * not overlap any other binding. With the native engine nothing is allocated. The default
 * floating-point state is set for the run and the caller's restored. Errors: DYNQ_ERR_ARGUMENT,
 * DYNQ_ERR_LIMIT (rows or segments over the maximum, a segment longer than its position embedding),
 * DYNQ_ERR_SHAPE (a segment that is empty or
 * out of order), DYNQ_ERR_NOT_FINITE (naming node, row and column; outputs are then unspecified),
 * DYNQ_ERR_CANCELLED, DYNQ_ERR_ENGINE. A session can be run again after any of them. One thread at
 * a time. */
DYNQ_API dynq_status dynq_session_run(dynq_session *session, const dynq_batch *batch,
                                      const dynq_binding *bindings, size_t binding_count,
                                      dynq_error *error);

typedef struct dynq_session_info {
    size_t size;         /* sizeof(dynq_session_info), set by the caller */
    const char *kernel;  /* static storage */
    const char *engine;  /* "native" or the engine's name */
    uint32_t threads;    /* threads that will work */
    int dequantized;     /* nonzero: an INT8 model running in FP32 on dequantized weights */
    size_t arena_bytes;  /* activations */
    size_t weight_bytes; /* copies of weights the session made (packed FP32, dequantized) */
    size_t steps;        /* of the plan, after fusion */
} dynq_session_info;

DYNQ_API void dynq_session_describe(const dynq_session *session, dynq_session_info *info);

/* Time of one step of the plan, summed over the runs since the session was created or since
 * dynq_session_profile_reset(). All zero unless options.profile was set. Nanoseconds of the calling
 * thread's wall clock; gemm and epilogue are split by the share that worker threads spent in each.
 */
typedef struct dynq_step_profile {
    size_t size;      /* sizeof(dynq_step_profile), set by the caller */
    const char *node; /* name of the node the step works for; belongs to the model */
    const char *kind; /* "range", "quantize", "linear", "add", ...; static storage */
    uint64_t range_ns, quantize_ns, gemm_ns, epilogue_ns, other_ns;
} dynq_step_profile;

/* DYNQ_ERR_ARGUMENT past the last step. */
DYNQ_API dynq_status dynq_session_profile(const dynq_session *session, size_t step,
                                          dynq_step_profile *profile);
DYNQ_API void dynq_session_profile_reset(dynq_session *session);

#ifdef __cplusplus
}
#endif

#endif
