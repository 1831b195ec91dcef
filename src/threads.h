/* The thread pool's inside: a caller takes the workers for one run and shares single steps with
 * them, cut into chunks with preferred owners. */
#ifndef DYNQ_SRC_THREADS_H
#define DYNQ_SRC_THREADS_H

#include <dynq/threads.h>
#include <stdbool.h>

/* A step: function(context, chunk) once for each chunk in [0, chunks), in any order, on any thread.
 * Each thread begins with its own share, the same one for the same number of chunks, and then helps
 * with what is left of the others'. */
typedef struct dynq_task {
    void (*function)(void *context, size_t chunk);
    void *context;
    size_t chunks; /* fewer than 2^32 */
    uint64_t
        nanoseconds; /* of all chunks on one thread, roughly; decides whether to wake sleepers */
} dynq_task;

/* Takes the workers for one run. false if there are none (pool NULL or of one thread) or another
 * caller has them: the run is then on the calling thread alone. */
bool dynq_thread_pool_take(dynq_thread_pool *pool);
/* Gives them back. Only after a successful take, by the same thread. */
void dynq_thread_pool_give(dynq_thread_pool *pool);

/* Between take and give: runs all chunks and returns when the last has returned. A worker that has
 * no chunk in hand, because it sleeps, spins or has lost its CPU, is not waited for: the calling
 * thread does the work of those who do not come. Allocates nothing. */
void dynq_thread_pool_share(dynq_thread_pool *pool, const dynq_task *task);

#endif
