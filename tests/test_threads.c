#include "src/threads.h"

#include "src/cpu.h"

#include <criterion/criterion.h>
#include <pthread.h>

enum { CHUNKS = 97, STEPS = 50, RUNS = 200 };

typedef struct job {
    dynq_barrier *barrier;
    _Atomic uint32_t claims[CHUNKS];
    _Atomic uint32_t done[STEPS][CHUNKS];
    uint32_t turn, alone; /* `alone` is written by worker 0 between steps only */
    _Atomic uint32_t wrong;
} job;

static void work(void *context, uint32_t worker, uint32_t workers)
{
    job *j = context;
    for (uint32_t step = 0; step < STEPS; step++) {
        if (j->alone != step) {
            atomic_fetch_add(&j->wrong, 1);
        }
        dynq_chunk_cursor cursor = dynq_chunk_cursor_start(CHUNKS, worker, workers);
        size_t chunk = 0;
        while (dynq_chunk_claim(&cursor, j->claims, j->turn + step, &chunk)) {
            atomic_fetch_add(&j->done[step][chunk], 1);
        }
        if (worker == 0) {
            if (workers > 1) {
                dynq_barrier_gather(j->barrier, workers);
            }
            j->alone++;
            if (workers > 1) {
                dynq_barrier_release(j->barrier);
            }
        } else {
            dynq_barrier_wait(j->barrier);
        }
    }
}

static void run_job(dynq_thread_pool *pool, job *j)
{
    for (uint32_t run = 0; run < RUNS; run++) {
        j->turn = 1 + run * STEPS;
        j->alone = 0;
        dynq_thread_pool_run(pool, work, j);
    }
    for (size_t s = 0; s < STEPS; s++) {
        for (size_t c = 0; c < CHUNKS; c++) {
            cr_assert_eq(atomic_load(&j->done[s][c]), (uint32_t)RUNS);
        }
    }
    cr_assert_eq(atomic_load(&j->wrong), 0u);
}

Test(threads, every_chunk_runs_once_a_step_for_any_number_of_threads)
{
    static const uint32_t counts[] = {1, 2, 3, 7};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        static job j;
        j = (job){0};
        const dynq_thread_pool_options options = {
            .size = sizeof options, .threads = counts[i], .oversubscribe = 1};
        dynq_thread_pool *pool = NULL;
        cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
        cr_assert_eq(dynq_thread_pool_threads(pool), counts[i]);
        j.barrier = dynq_thread_pool_barrier(pool);
        run_job(pool, &j);
        dynq_thread_pool_free(pool);
    }
}

static void *second_caller(void *pool)
{
    static job j;
    j.barrier = dynq_thread_pool_barrier(pool);
    run_job(pool, &j);
    return NULL;
}

Test(threads, two_callers_share_a_pool_without_waiting_for_each_other)
{
    static job j;
    const dynq_thread_pool_options options = {
        .size = sizeof options, .threads = 3, .oversubscribe = 1};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, second_caller, pool), 0);
    j.barrier = dynq_thread_pool_barrier(pool);
    run_job(pool, &j);
    pthread_join(other, NULL);
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
