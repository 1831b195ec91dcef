#include "src/threads.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>

#define MAX_THREADS 256
#define CACHE_LINE  64

/* How long a waiting thread stays awake: first with the CPU to itself (about 10 us, longer than
 * what the caller does alone between two steps), then offering it to others each time (about 50 us,
 * the pause between two runs of a busy caller). */
#define SPINS  256
#define YIELDS 128

/* Waking costs the caller a few microseconds, and the woken come too late for a short run. So they
 * are woken when this much work was done without them. */
#define WAKE_NANOSECONDS 50000

/* In a long run they may have fallen asleep again while the caller worked alone, or not have got a
 * CPU: then they are called once more, seldom enough not to cost much if there is none for them. */
#define WAKE_AGAIN_NANOSECONDS 200000

/* The state of the step under way, in one word: its number, whether it can still be joined, whether
 * the caller sleeps until the last worker leaves, and how many workers have joined and not left. */
#define STATE_ACTIVE  0xffffu
#define STATE_OPEN    0x10000u
#define STATE_WAITING 0x20000u
#define STATE_STOP    0x40000u
#define STATE_STEP    0x80000u /* the lowest bit of the number */

/* The chunks that are left of one owner's share: first in the low half, end in the high half. The
 * owner takes from the front, helpers from the back, so that both stay with neighbouring chunks. */
typedef struct chunk_share {
    alignas(CACHE_LINE) _Atomic uint64_t left;
} chunk_share;

/* Where threads sleep. */
typedef struct bed {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} bed;

typedef struct worker_start {
    dynq_thread_pool *pool;
    uint32_t worker;
} worker_start;

struct dynq_thread_pool {
    alignas(CACHE_LINE) _Atomic uint64_t state;
    dynq_task task; /* of the open step: read after joining it only */

    alignas(CACHE_LINE) atomic_flag busy; /* a caller has the workers */
    uint32_t spins, yields;
    uint64_t alone_ns; /* work shared while workers slept, since they were last woken */
    bool woke;         /* in this run */
    bed callers_bed, workers_bed;
    _Atomic uint32_t sleepers;
    uint32_t calls; /* how many sleepers may get up; under the workers' mutex */

    chunk_share *shares; /* by thread */
    dynq_allocator allocator;
    uint32_t threads, started;
    pthread_t *workers;
    worker_start *starts;
};

static bool bed_init(bed *b)
{
    if (pthread_mutex_init(&b->mutex, NULL) != 0) {
        return false;
    }
    if (pthread_cond_init(&b->changed, NULL) != 0) {
        pthread_mutex_destroy(&b->mutex);
        return false;
    }
    return true;
}

static void bed_destroy(bed *b)
{
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mutex);
}

/* One turn of waiting while awake; false when it is time to sleep. */
static bool spin(const dynq_thread_pool *pool, uint32_t turn)
{
    if (turn < pool->spins) {
        dynq_cpu_relax();
    } else if (turn < pool->spins + pool->yields) {
        sched_yield();
    } else {
        return false;
    }
    return true;
}

static bool take_first(chunk_share *share, size_t *chunk)
{
    uint64_t left = atomic_load_explicit(&share->left, memory_order_relaxed);
    while ((uint32_t)left < left >> 32) {
        if (atomic_compare_exchange_weak_explicit(&share->left, &left, left + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            *chunk = (uint32_t)left;
            return true;
        }
    }
    return false;
}

static bool take_last(chunk_share *share, size_t *chunk)
{
    uint64_t left = atomic_load_explicit(&share->left, memory_order_relaxed);
    while ((uint32_t)left < left >> 32) {
        if (atomic_compare_exchange_weak_explicit(&share->left, &left, left - ((uint64_t)1 << 32),
                                                  memory_order_relaxed, memory_order_relaxed)) {
            *chunk = (size_t)(left >> 32) - 1;
            return true;
        }
    }
    return false;
}

/* Until no chunk is left to take: its own, then the others', beginning with its neighbour. */
static void work(dynq_thread_pool *pool, uint32_t worker)
{
    const dynq_task *task = &pool->task;
    size_t chunk = 0;
    while (take_first(&pool->shares[worker], &chunk)) {
        task->function(task->context, chunk);
    }
    for (uint32_t i = 1; i < pool->threads; i++) {
        const uint32_t other = (worker + i) % pool->threads;
        while (take_last(&pool->shares[other], &chunk)) {
            task->function(task->context, chunk);
        }
    }
}

static bool can_join(uint64_t state, uint64_t last)
{
    return (state & STATE_OPEN) != 0 && state / STATE_STEP != last;
}

/* Joins the open step, once each. Nothing of the step is touched before. */
static bool join(dynq_thread_pool *pool, uint64_t *last)
{
    uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    while (can_join(state, *last)) {
        if (atomic_compare_exchange_weak_explicit(&pool->state, &state, state + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
            *last = state / STATE_STEP;
            return true;
        }
    }
    return false;
}

static void leave(dynq_thread_pool *pool)
{
    const uint64_t before = atomic_fetch_sub_explicit(&pool->state, 1, memory_order_release);
    if ((before & STATE_WAITING) != 0 && (before & STATE_ACTIVE) == 1) {
        pthread_mutex_lock(&pool->callers_bed.mutex);
        pthread_cond_signal(&pool->callers_bed.changed);
        pthread_mutex_unlock(&pool->callers_bed.mutex);
    }
}

static bool stopping(dynq_thread_pool *pool)
{
    return (atomic_load_explicit(&pool->state, memory_order_relaxed) & STATE_STOP) != 0;
}

/* Returns when there may be a step to join, or the pool ends. */
static void rest(dynq_thread_pool *pool, uint64_t last)
{
    uint32_t turn = 0;
    do {
        const uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
        if (can_join(state, last) || (state & STATE_STOP) != 0) {
            return;
        }
    } while (spin(pool, turn++));
    pthread_mutex_lock(&pool->workers_bed.mutex);
    atomic_fetch_add_explicit(&pool->sleepers, 1, memory_order_relaxed);
    while (pool->calls == 0 && !stopping(pool)) {
        pthread_cond_wait(&pool->workers_bed.changed, &pool->workers_bed.mutex);
    }
    atomic_fetch_sub_explicit(&pool->sleepers, 1, memory_order_relaxed);
    pool->calls -= pool->calls > 0;
    pthread_mutex_unlock(&pool->workers_bed.mutex);
}

static void *worker_main(void *argument)
{
    const worker_start *start = argument;
    dynq_thread_pool *pool = start->pool;
    uint64_t last = 0;
    dynq_float_state_set_default();
    while (!stopping(pool)) {
        if (join(pool, &last)) {
            work(pool, start->worker);
            leave(pool);
        } else {
            rest(pool, last);
        }
    }
    return NULL;
}

static dynq_status start_workers(dynq_thread_pool *pool, dynq_error *error)
{
    for (uint32_t i = 1; i < pool->threads; i++) {
        pool->starts[i] = (worker_start){pool, i};
        if (pthread_create(&pool->workers[i], NULL, worker_main, &pool->starts[i]) != 0) {
            return dynq_fail(error, DYNQ_ERR_IO,
                             "the system refused thread %u of %u; ask for fewer", i + 1,
                             pool->threads);
        }
        pool->started = i;
    }
    return DYNQ_OK;
}

/* The memory and the beds of a pool without workers, or NULL. */
static dynq_thread_pool *pool_new(const dynq_allocator *allocator, uint32_t threads)
{
    dynq_thread_pool *pool = dynq_alloc(allocator, 1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->allocator = *allocator;
    pool->threads = threads;
    atomic_flag_clear(&pool->busy);
    pool->workers = dynq_alloc(allocator, threads, sizeof *pool->workers);
    pool->starts = dynq_alloc(allocator, threads, sizeof *pool->starts);
    pool->shares = dynq_alloc(allocator, threads, sizeof *pool->shares);
    if (pool->workers != NULL && pool->starts != NULL && pool->shares != NULL &&
        bed_init(&pool->callers_bed)) {
        if (bed_init(&pool->workers_bed)) {
            return pool;
        }
        bed_destroy(&pool->callers_bed);
    }
    dynq_release(allocator, pool->workers);
    dynq_release(allocator, pool->starts);
    dynq_release(allocator, pool->shares);
    dynq_release(allocator, pool);
    return NULL;
}

dynq_status dynq_thread_pool_create(const dynq_thread_pool_options *options,
                                    dynq_thread_pool **pool_out, dynq_error *error)
{
    dynq_thread_pool_options o;
    if (pool_out == NULL || !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "thread pool: pool is NULL or options.size not set");
    }
    const uint32_t usable = dynq_cpu_usable();
    uint32_t threads = o.threads == 0 ? usable : o.threads;
    if (threads > MAX_THREADS && o.threads != 0) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%u threads: %d at most", threads, MAX_THREADS);
    }
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    if (!o.oversubscribe && threads > usable) {
        threads = usable;
    }
    const dynq_allocator allocator = dynq_allocator_or_default(o.allocator);
    dynq_thread_pool *pool = pool_new(&allocator, threads);
    if (pool == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a pool of %u threads", threads);
    }
    pool->spins = threads > usable ? 0 : SPINS; /* these would keep each other from working */
    pool->yields = YIELDS;
    const dynq_status status = start_workers(pool, error);
    if (status != DYNQ_OK) {
        dynq_thread_pool_free(pool);
        return status;
    }
    *pool_out = pool;
    return DYNQ_OK;
}

void dynq_thread_pool_free(dynq_thread_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->workers_bed.mutex);
    atomic_fetch_or(&pool->state, STATE_STOP);
    pthread_cond_broadcast(&pool->workers_bed.changed);
    pthread_mutex_unlock(&pool->workers_bed.mutex);
    for (uint32_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i], NULL);
    }
    bed_destroy(&pool->callers_bed);
    bed_destroy(&pool->workers_bed);
    const dynq_allocator allocator = pool->allocator;
    dynq_release(&allocator, pool->workers);
    dynq_release(&allocator, pool->starts);
    dynq_release(&allocator, pool->shares);
    dynq_release(&allocator, pool);
}

uint32_t dynq_thread_pool_threads(const dynq_thread_pool *pool)
{
    return pool->threads;
}

bool dynq_thread_pool_take(dynq_thread_pool *pool)
{
    if (pool == NULL || pool->threads == 1 ||
        atomic_flag_test_and_set_explicit(&pool->busy, memory_order_acquire)) {
        return false;
    }
    pool->woke = false;
    return true;
}

void dynq_thread_pool_give(dynq_thread_pool *pool)
{
    atomic_flag_clear_explicit(&pool->busy, memory_order_release);
}

/* Wakes sleepers if enough work was done without them. Does not wait for the mutex: a worker on its
 * way to bed may have lost its CPU with the mutex in hand. */
static void wake(dynq_thread_pool *pool, const dynq_task *task)
{
    const uint32_t sleepers = atomic_load_explicit(&pool->sleepers, memory_order_relaxed);
    if (sleepers == 0 || task->chunks < 2) {
        return;
    }
    const uint64_t patience = pool->woke ? WAKE_AGAIN_NANOSECONDS : WAKE_NANOSECONDS;
    pool->alone_ns += task->nanoseconds;
    if (pool->alone_ns < patience || pthread_mutex_trylock(&pool->workers_bed.mutex) != 0) {
        return;
    }
    pool->calls = task->chunks - 1 < sleepers ? (uint32_t)task->chunks - 1 : sleepers;
    for (uint32_t i = 0; i < pool->calls; i++) {
        pthread_cond_signal(&pool->workers_bed.changed);
    }
    pthread_mutex_unlock(&pool->workers_bed.mutex);
    pool->alone_ns = 0;
    pool->woke = true;
}

/* Waits for the workers that hold a chunk. The step is closed: no others can join. */
static void wait_for_leavers(dynq_thread_pool *pool)
{
    uint32_t turn = 0;
    do {
        if ((atomic_load_explicit(&pool->state, memory_order_acquire) & STATE_ACTIVE) == 0) {
            return;
        }
    } while (spin(pool, turn++));
    pthread_mutex_lock(&pool->callers_bed.mutex);
    atomic_fetch_or_explicit(&pool->state, STATE_WAITING, memory_order_relaxed);
    while ((atomic_load_explicit(&pool->state, memory_order_acquire) & STATE_ACTIVE) != 0) {
        pthread_cond_wait(&pool->callers_bed.changed, &pool->callers_bed.mutex);
    }
    pthread_mutex_unlock(&pool->callers_bed.mutex);
}

void dynq_thread_pool_share(dynq_thread_pool *pool, const dynq_task *task)
{
    /* The last step is closed and left by all: nobody else looks at what is written here. */
    const uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    pool->task = *task;
    /* The caller's first chunk is taken beforehand: a claim would have to wait until all that is
     * written here has reached the other caches. */
    const bool begun = task->chunks >= pool->threads;
    for (uint32_t i = 0; i < pool->threads; i++) {
        const uint64_t first = i == 0 ? begun : (uint64_t)task->chunks * i / pool->threads;
        const uint64_t end = (uint64_t)task->chunks * (i + 1) / pool->threads;
        atomic_store_explicit(&pool->shares[i].left, first | end << 32, memory_order_relaxed);
    }
    atomic_store_explicit(&pool->state, (state / STATE_STEP + 1) * STATE_STEP | STATE_OPEN,
                          memory_order_release);
    wake(pool, task);
    if (begun) {
        task->function(task->context, 0);
    }
    work(pool, 0);
    const uint64_t closed =
        atomic_fetch_and_explicit(&pool->state, ~(uint64_t)STATE_OPEN, memory_order_acquire);
    if ((closed & STATE_ACTIVE) != 0) {
        wait_for_leavers(pool);
    }
}
