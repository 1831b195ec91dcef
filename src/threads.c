#include "src/threads.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"

#include <pthread.h>

#define MAX_THREADS 256

/* Spins before a waiting thread sleeps: about 50 us, longer than a step of a small network. Threads
 * that share CPUs with each other must not spin at all. */
#define SPINS 2000

/* A counter that only goes up (modulo 2^32) and can be waited for. */
typedef struct gate {
    _Atomic uint32_t value, sleepers;
    uint32_t spins;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} gate;

struct dynq_barrier {
    gate arrived, turn;
    uint32_t expected; /* arrivals so far, as worker 0 counts them */
};

typedef struct worker_start {
    dynq_thread_pool *pool;
    uint32_t worker;
} worker_start;

struct dynq_thread_pool {
    dynq_allocator allocator;
    uint32_t threads, started;
    pthread_t *workers;
    worker_start *starts;
    atomic_flag busy;
    dynq_team_function *function; /* NULL: stop */
    void *context;
    gate forks, finished;
    dynq_barrier barrier;
};

static int gate_init(gate *g, uint32_t spins)
{
    atomic_init(&g->value, 0);
    atomic_init(&g->sleepers, 0);
    g->spins = spins;
    if (pthread_mutex_init(&g->mutex, NULL) != 0) {
        return -1;
    }
    if (pthread_cond_init(&g->changed, NULL) != 0) {
        pthread_mutex_destroy(&g->mutex);
        return -1;
    }
    return 0;
}

static void gate_destroy(gate *g)
{
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mutex);
}

/* Sequentially consistent on purpose: either the sleeper sees the new value before it sleeps, or
 * this sees the sleeper. */
static void gate_advance(gate *g)
{
    atomic_fetch_add(&g->value, 1);
    if (atomic_load(&g->sleepers) > 0) {
        pthread_mutex_lock(&g->mutex);
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->mutex);
    }
}

static bool gate_reached(gate *g, uint32_t target)
{
    return (int32_t)(atomic_load(&g->value) - target) >= 0;
}

static void gate_wait(gate *g, uint32_t target)
{
    for (uint32_t i = 0; i < g->spins; i++) {
        if (gate_reached(g, target)) {
            return;
        }
        dynq_cpu_relax();
    }
    pthread_mutex_lock(&g->mutex);
    atomic_fetch_add(&g->sleepers, 1);
    while (!gate_reached(g, target)) {
        pthread_cond_wait(&g->changed, &g->mutex);
    }
    atomic_fetch_sub(&g->sleepers, 1);
    pthread_mutex_unlock(&g->mutex);
}

static void *worker_main(void *argument)
{
    const worker_start *start = argument;
    dynq_thread_pool *pool = start->pool;
    dynq_float_state_set_default();
    for (uint32_t fork = 1;; fork++) {
        gate_wait(&pool->forks, fork);
        if (pool->function == NULL) {
            return NULL;
        }
        pool->function(pool->context, start->worker, pool->threads);
        gate_advance(&pool->finished);
    }
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

static bool gates_init(dynq_thread_pool *pool, uint32_t spins)
{
    gate *gates[] = {&pool->forks, &pool->finished, &pool->barrier.arrived, &pool->barrier.turn};
    for (size_t i = 0; i < sizeof gates / sizeof gates[0]; i++) {
        if (gate_init(gates[i], spins) != 0) {
            while (i > 0) {
                gate_destroy(gates[--i]);
            }
            return false;
        }
    }
    return true;
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
    dynq_thread_pool *pool = dynq_alloc(&allocator, 1, sizeof *pool);
    if (pool == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a thread pool");
    }
    pool->allocator = allocator;
    pool->threads = threads;
    atomic_flag_clear(&pool->busy);
    pool->workers = dynq_alloc(&allocator, threads, sizeof *pool->workers);
    pool->starts = dynq_alloc(&allocator, threads, sizeof *pool->starts);
    if (pool->workers == NULL || pool->starts == NULL ||
        !gates_init(pool, threads > usable ? 0 : SPINS)) {
        dynq_release(&allocator, pool->workers);
        dynq_release(&allocator, pool->starts);
        dynq_release(&allocator, pool);
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a pool of %u threads", threads);
    }
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
    pool->function = NULL;
    gate_advance(&pool->forks);
    for (uint32_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i], NULL);
    }
    gate_destroy(&pool->forks);
    gate_destroy(&pool->finished);
    gate_destroy(&pool->barrier.arrived);
    gate_destroy(&pool->barrier.turn);
    const dynq_allocator allocator = pool->allocator;
    dynq_release(&allocator, pool->workers);
    dynq_release(&allocator, pool->starts);
    dynq_release(&allocator, pool);
}

uint32_t dynq_thread_pool_threads(const dynq_thread_pool *pool)
{
    return pool->threads;
}

void dynq_thread_pool_run(dynq_thread_pool *pool, dynq_team_function *function, void *context)
{
    if (pool == NULL || pool->threads == 1 || atomic_flag_test_and_set(&pool->busy)) {
        function(context, 0, 1);
        return;
    }
    pool->function = function;
    pool->context = context;
    const uint32_t done = atomic_load(&pool->finished.value) + pool->threads - 1;
    gate_advance(&pool->forks);
    function(context, 0, pool->threads);
    gate_wait(&pool->finished, done);
    atomic_flag_clear(&pool->busy);
}

dynq_barrier *dynq_thread_pool_barrier(dynq_thread_pool *pool)
{
    return &pool->barrier;
}

void dynq_barrier_gather(dynq_barrier *barrier, uint32_t workers)
{
    barrier->expected += workers - 1;
    gate_wait(&barrier->arrived, barrier->expected);
}

void dynq_barrier_release(dynq_barrier *barrier)
{
    gate_advance(&barrier->turn);
}

void dynq_barrier_wait(dynq_barrier *barrier)
{
    const uint32_t next = atomic_load(&barrier->turn.value) + 1;
    gate_advance(&barrier->arrived);
    gate_wait(&barrier->turn, next);
}

dynq_chunk_cursor dynq_chunk_cursor_start(size_t count, uint32_t worker, uint32_t workers)
{
    return (dynq_chunk_cursor){.first = count * worker / workers, .next = 0, .count = count};
}

bool dynq_chunk_claim(dynq_chunk_cursor *cursor, _Atomic uint32_t *claims, uint32_t turn,
                      size_t *chunk)
{
    while (cursor->next < cursor->count) {
        size_t candidate = cursor->first + cursor->next++;
        if (candidate >= cursor->count) {
            candidate -= cursor->count;
        }
        uint32_t seen = atomic_load_explicit(&claims[candidate], memory_order_relaxed);
        if (seen != turn && atomic_compare_exchange_strong(&claims[candidate], &seen, turn)) {
            *chunk = candidate;
            return true;
        }
    }
    return false;
}
