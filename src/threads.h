/* The thread pool's inside: one fork per run, barriers between steps, chunks with preferred owners.
 */
#ifndef DYNQ_SRC_THREADS_H
#define DYNQ_SRC_THREADS_H

#include <dynq/threads.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Runs `function(context, worker, workers)` once on each worker, 0 being the calling thread, and
 * returns when all have returned. If the pool is busy with another caller (or pool is NULL), it
 * runs on the calling thread alone with workers = 1. Allocates nothing. */
typedef void dynq_team_function(void *context, uint32_t worker, uint32_t workers);
void dynq_thread_pool_run(dynq_thread_pool *pool, dynq_team_function *function, void *context);

/* A barrier for the workers of one run. Worker 0 waits for the others, may then work alone, and
 * releases them. Waiting spins for a bounded time and then sleeps. */
typedef struct dynq_barrier dynq_barrier;
dynq_barrier *dynq_thread_pool_barrier(dynq_thread_pool *pool);
/* Worker 0: returns when the `workers` - 1 others wait. */
void dynq_barrier_gather(dynq_barrier *barrier, uint32_t workers);
/* Worker 0, after gather: lets the others go on. */
void dynq_barrier_release(dynq_barrier *barrier);
/* The others: waits for the release. */
void dynq_barrier_wait(dynq_barrier *barrier);

/* Chunks of one step, claimed by any worker, each once per turn. `claims` has one entry per chunk
 * and starts as zero; `turn` is a number that no earlier claim of these entries used, not 0. A
 * worker meets the same chunks first each time, so that their weights are in its cache, and helps
 * with the others' afterwards. */
typedef struct dynq_chunk_cursor {
    size_t first, next, count;
} dynq_chunk_cursor;
dynq_chunk_cursor dynq_chunk_cursor_start(size_t count, uint32_t worker, uint32_t workers);
/* false when there is none left. */
bool dynq_chunk_claim(dynq_chunk_cursor *cursor, _Atomic uint32_t *claims, uint32_t turn,
                      size_t *chunk);

#endif
