/* Threads: a pool that sessions can share, or an executor of the host. */
#ifndef DYNQ_THREADS_H
#define DYNQ_THREADS_H

#include <dynq/memory.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dynq_thread_pool dynq_thread_pool;

typedef struct dynq_thread_pool_options {
    size_t size;       /* sizeof(dynq_thread_pool_options) */
    uint32_t threads;  /* the calling thread counts as one; 0: one per usable CPU; at most 256 */
    int oversubscribe; /* nonzero: do not cap `threads` at the usable CPUs */
    const dynq_allocator *allocator;
} dynq_thread_pool_options;

/* Starts threads - 1 workers, which sleep until a session runs. `options` may be NULL. On success
 * *pool is the caller's, to be freed after every session that uses it. Errors: DYNQ_ERR_ARGUMENT,
 * DYNQ_ERR_LIMIT, DYNQ_ERR_MEMORY, DYNQ_ERR_IO (the system refused a thread).
 *
 * Thread rule: several sessions may share a pool and may run at the same time from different
 * threads. While one of them has the workers, the others run on their calling thread alone: they
 * never wait for each other, and the answers have the same bits either way. */
DYNQ_API dynq_status dynq_thread_pool_create(const dynq_thread_pool_options *options,
                                             dynq_thread_pool **pool, dynq_error *error);
DYNQ_API void dynq_thread_pool_free(dynq_thread_pool *pool);

/* Threads of the pool, the caller's included. */
DYNQ_API uint32_t dynq_thread_pool_threads(const dynq_thread_pool *pool);

/* The host's own threads, instead of a pool. `parallel_for` calls task(task_context, i) once for
 * each i in [0, tasks) in any order, on any threads, one after another if it likes, and returns
 * when all have returned. No task waits for another. The struct is copied; `context` must outlive
 * the session. */
typedef struct dynq_executor {
    void *context;
    uint32_t threads; /* how many tasks are useful at a time, 1 or more */
    void (*parallel_for)(void *context, size_t tasks,
                         void (*task)(void *task_context, size_t index), void *task_context);
} dynq_executor;

#ifdef __cplusplus
}
#endif

#endif
