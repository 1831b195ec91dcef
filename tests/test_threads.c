#include "src/threads.h"

#include "src/cpu.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { CHUNKS = 97, STEPS = 50, RUNS = 200, LONG_NS = 1000000 };

/* Counts how often each chunk has run. Written without atomics where the pool must order it. */
typedef struct job {
    _Atomic uint32_t done[CHUNKS];
    uint32_t step; /* written between steps, read by chunks */
    uint32_t seen[CHUNKS];
    _Atomic uint32_t wrong;
} job;

static void count_chunk(void *context, size_t chunk)
{
    job *j = context;
    atomic_fetch_add(&j->done[chunk], 1);
    if (j->seen[chunk] != j->step) {
        atomic_fetch_add(&j->wrong, 1);
    }
    j->seen[chunk]++;
}

static void run_task(dynq_thread_pool *pool, const dynq_task *task)
{
    if (dynq_thread_pool_take(pool)) {
        dynq_thread_pool_share(pool, task);
        dynq_thread_pool_give(pool);
        return;
    }
    for (size_t chunk = 0; chunk < task->chunks; chunk++) {
        task->function(task->context, chunk);
    }
}

/* Runs of several steps, each with more or fewer chunks than the one before. */
static void run_job(dynq_thread_pool *pool, job *j)
{
    const dynq_task all = {count_chunk, j, CHUNKS, LONG_NS};
    const dynq_task none = {count_chunk, j, 0, LONG_NS};
    for (uint32_t run = 0; run < RUNS; run++) {
        const bool taken = dynq_thread_pool_take(pool);
        for (uint32_t s = 0; s < STEPS; s++) {
            for (size_t c = 0; !taken && c < CHUNKS; c++) {
                count_chunk(j, c);
            }
            if (taken) {
                dynq_thread_pool_share(pool, &none);
                dynq_thread_pool_share(pool, &all);
            }
            j->step++;
        }
        if (taken) {
            dynq_thread_pool_give(pool);
        }
    }
    for (size_t c = 0; c < CHUNKS; c++) {
        cr_assert_eq(atomic_load(&j->done[c]), (uint32_t)RUNS * STEPS);
    }
    cr_assert_eq(atomic_load(&j->wrong), 0u);
}

static dynq_thread_pool *make_pool(uint32_t threads)
{
    const dynq_thread_pool_options options = {
        .size = sizeof options, .threads = threads, .oversubscribe = 1};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
    cr_assert_eq(dynq_thread_pool_threads(pool), threads);
    return pool;
}

Test(threads, every_chunk_runs_once_a_step_for_any_number_of_threads)
{
    static const uint32_t counts[] = {1, 2, 3, 7, 200};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        static job j;
        j = (job){0};
        dynq_thread_pool *pool = make_pool(counts[i]);
        run_job(pool, &j);
        dynq_thread_pool_free(pool);
    }
}

static void *second_caller(void *pool)
{
    static job j;
    run_job(pool, &j);
    return NULL;
}

Test(threads, two_callers_share_a_pool_without_waiting_for_each_other)
{
    static job j;
    dynq_thread_pool *pool = make_pool(3);
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, second_caller, pool), 0);
    run_job(pool, &j);
    pthread_join(other, NULL);
    cr_assert(dynq_thread_pool_take(pool));
    cr_assert_not(dynq_thread_pool_take(pool));
    dynq_thread_pool_give(pool);
    cr_assert(dynq_thread_pool_take(pool));
    dynq_thread_pool_give(pool);
    dynq_thread_pool_free(pool);
}

/* The first chunk returns when all others are done: whoever has it, the others that come must do
 * them, also those that were meant for its thread. A worker that falls asleep at the moment in
 * which a step begins misses it; the caller does all of the step then, which is why the first chunk
 * does not wait for ever for somebody to come. */
typedef struct blocked {
    _Atomic size_t done;
    size_t chunks;
    bool alone; /* nobody came */
} blocked;

enum { PATIENCE = 1000000 };

static void wait_in_first_chunk(void *context, size_t chunk)
{
    blocked *b = context;
    size_t done = 0;
    for (int turn = 0; chunk == 0 && (done = atomic_load(&b->done)) < b->chunks - 1; turn++) {
        if (done == 0 && turn > PATIENCE) {
            b->alone = true;
            break;
        }
        sched_yield();
    }
    atomic_fetch_add(&b->done, 1);
}

Test(threads, the_work_of_a_delayed_thread_is_done_by_others)
{
    static const uint32_t counts[] = {2, 3, 7};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        dynq_thread_pool *pool = make_pool(counts[i]);
        int helped = 0;
        for (int run = 0; run < 100; run++) {
            blocked b = {.chunks = CHUNKS};
            run_task(pool, &(dynq_task){wait_in_first_chunk, &b, CHUNKS, LONG_NS});
            cr_assert_eq(atomic_load(&b.done), (size_t)CHUNKS);
            helped += !b.alone;
        }
        cr_assert_gt(helped, 0);
        dynq_thread_pool_free(pool);
    }
}

/* Stops a worker outside of any chunk, wherever it is, as a busy system does: in a signal handler
 * that returns when it is told to. */
static pthread_t caller, worker;
static _Atomic bool worker_known, stopped, go_on;

static void stop_here(int signal)
{
    (void)signal;
    atomic_store(&stopped, true);
    while (!atomic_load(&go_on)) {
        sched_yield();
    }
}

static void meet_worker(void *context, size_t chunk)
{
    (void)context, (void)chunk;
    if (!pthread_equal(pthread_self(), caller)) {
        worker = pthread_self();
        atomic_store(&worker_known, true);
    }
    while (!atomic_load(&worker_known)) {
        sched_yield();
    }
}

Test(threads, a_worker_that_lost_its_cpu_delays_nobody)
{
    static job j;
    caller = pthread_self();
    signal(SIGUSR1, stop_here);
    dynq_thread_pool *pool = make_pool(2);
    run_task(pool, &(dynq_task){meet_worker, NULL, 2, LONG_NS});
    cr_assert_eq(pthread_kill(worker, SIGUSR1), 0);
    while (!atomic_load(&stopped)) {
        sched_yield();
    }
    run_job(pool, &j); /* would never end if anybody waited for the worker */
    atomic_store(&go_on, true);
    dynq_thread_pool_free(pool);
}

Test(threads, the_number_is_capped_at_the_usable_cpus_and_checked)
{
    dynq_thread_pool_options options = {.size = sizeof options, .threads = 256};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
    cr_assert_leq(dynq_thread_pool_threads(pool), dynq_cpu_usable());
    dynq_thread_pool_free(pool);
    options.threads = 257;
    dynq_error error = {0};
    pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, &error), DYNQ_ERR_LIMIT);
    cr_assert_null(pool);
    options = (dynq_thread_pool_options){0};
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, &error), DYNQ_ERR_ARGUMENT);
    dynq_thread_pool_free(NULL);
}
