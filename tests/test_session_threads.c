/* Sessions whose steps are worth sharing, on pools, executors and beside each other. */
#include "src/session.h"

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <pthread.h>
#include <stdlib.h>

enum { ROWS = 130, INPUTS = 300, HIDDEN = 450, OUTPUTS = 192, TASKS = 64 };

static float x[ROWS * INPUTS], expected[ROWS * OUTPUTS];

static dynq_tensor matrix(const float *data, size_t n, size_t k)
{
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 2, .shape = {n, k}, .data = data};
}

/* x -> fc1(gelu) -> fc2 -> norm -> y */
static dynq_model *make_fp32(void)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN], b[HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    samples_fill(b, HIDDEN, 3);
    const dynq_tensor t1 = matrix(w1, HIDDEN, INPUTS), t2 = matrix(w2, OUTPUTS, HIDDEN);
    const dynq_tensor bias = {.dtype = DYNQ_F32, .rank = 1, .shape = {HIDDEN}, .data = b};
    const dynq_tensor gain = {.dtype = DYNQ_F32, .rank = 1, .shape = {OUTPUTS}, .data = b};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_value h = dynq_linear(g, "fc1", dynq_input(g, "x", INPUTS), &t1, &bias);
    h = dynq_linear(g, "fc2", dynq_gelu(g, "act", h), &t2, NULL);
    dynq_output(g, "y", dynq_layer_norm(g, "norm", h, &gain, &gain, 1e-5f));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

static dynq_model *make_int8(void)
{
    dynq_model *fp32 = make_fp32(), *int8 = NULL;
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, NULL), DYNQ_OK);
    dynq_model_free(fp32);
    return int8;
}

static dynq_session *make_session(dynq_model *model, dynq_session_options options)
{
    options.size = sizeof options;
    options.max_rows = ROWS;
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    return session;
}

static dynq_status run(dynq_session *session, size_t rows, float *y)
{
    const dynq_batch batch = {.size = sizeof batch, .rows = rows};
    const dynq_binding io[] = {{.slot = 0, .data = x, .bytes = sizeof x},
                               {.slot = 1, .data = y, .bytes = sizeof expected}};
    memset(y, 0xff, sizeof expected);
    return dynq_session_run(session, &batch, io, 2, NULL);
}

/* Several runs, so that workers are met asleep and awake. */
static void check_session(dynq_model *model, dynq_session_options options, int runs)
{
    static float y[ROWS * OUTPUTS];
    dynq_session *session = make_session(model, options);
    for (int i = 0; i < runs; i++) {
        cr_assert_eq(run(session, ROWS, y), DYNQ_OK);
        cr_assert_arr_eq(y, expected, sizeof expected);
    }
    dynq_session_free(session);
}

static void make_expected(dynq_model *model)
{
    samples_fill(x, ROWS * INPUTS, 9);
    dynq_session *session = make_session(model, (dynq_session_options){.kernel = "ref"});
    cr_assert_eq(run(session, ROWS, expected), DYNQ_OK);
    dynq_session_free(session);
}

static void check_pools(dynq_model *model)
{
    static const uint32_t counts[] = {1, 2, 3, 7};
    make_expected(model);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const dynq_thread_pool_options options = {
            .size = sizeof options, .threads = counts[i], .oversubscribe = 1};
        dynq_thread_pool *pool = NULL;
        cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
        check_session(model, (dynq_session_options){.pool = pool}, 100);
        check_session(model, (dynq_session_options){.pool = pool, .profile = 1}, 10);
        dynq_thread_pool_free(pool);
    }
}

Test(session_threads, shared_steps_have_the_same_bits)
{
    dynq_model *fp32 = make_fp32(), *int8 = make_int8();
    check_pools(fp32);
    check_pools(int8);
    dynq_model_free(fp32);
    dynq_model_free(int8);
}

Test(session_threads, the_number_of_rows_may_change_from_run_to_run)
{
    static float y[ROWS * OUTPUTS], alone[ROWS * OUTPUTS];
    dynq_model *model = make_fp32();
    samples_fill(x, ROWS * INPUTS, 9);
    dynq_session *one = make_session(model, (dynq_session_options){.threads = 1});
    dynq_session *two = make_session(model, (dynq_session_options){.threads = 2});
    for (size_t i = 0; i < 2 * ROWS; i++) {
        const size_t rows = i * 37 % ROWS + 1;
        cr_assert_eq(run(one, rows, alone), DYNQ_OK);
        cr_assert_eq(run(two, rows, y), DYNQ_OK);
        cr_assert_arr_eq(y, alone, sizeof y);
    }
    dynq_session_free(one);
    dynq_session_free(two);
    dynq_model_free(model);
}

static void backwards(void *context, size_t tasks, void (*task)(void *, size_t), void *task_context)
{
    *(size_t *)context += tasks;
    for (size_t i = tasks; i > 0; i--) {
        task(task_context, i - 1);
    }
}

typedef struct thread_task {
    void (*task)(void *, size_t);
    void *context;
    size_t index;
} thread_task;

static void *run_thread_task(void *argument)
{
    const thread_task *t = argument;
    t->task(t->context, t->index);
    return NULL;
}

/* Each task on a thread of its own; `context` tells whether one after another or all at a time. */
static void on_threads(void *context, size_t tasks, void (*task)(void *, size_t),
                       void *task_context)
{
    const bool one_by_one = *(bool *)context;
    pthread_t threads[TASKS];
    thread_task starts[TASKS];
    cr_assert_leq(tasks, (size_t)TASKS);
    for (size_t i = 0; i < tasks; i++) {
        starts[i] = (thread_task){task, task_context, tasks - 1 - i};
        cr_assert_eq(pthread_create(&threads[i], NULL, run_thread_task, &starts[i]), 0);
        if (one_by_one) {
            pthread_join(threads[i], NULL);
        }
    }
    for (size_t i = 0; i < tasks && !one_by_one; i++) {
        pthread_join(threads[i], NULL);
    }
}

Test(session_threads, an_executor_may_run_its_tasks_in_any_order_on_any_threads)
{
    dynq_model *model = make_int8();
    make_expected(model);
    size_t tasks = 0;
    bool one_by_one = false;
    dynq_executor executor = {.context = &tasks, .threads = 3, .parallel_for = backwards};
    check_session(model, (dynq_session_options){.executor = &executor}, 2);
    cr_assert_gt(tasks, 2u * 2u * 3u, "nothing was shared");
    executor = (dynq_executor){.context = &one_by_one, .threads = 3, .parallel_for = on_threads};
    check_session(model, (dynq_session_options){.executor = &executor}, 2);
    one_by_one = true;
    check_session(model, (dynq_session_options){.executor = &executor}, 2);
    dynq_model_free(model);
}

/* Asked by adding, as fegetround() may look at another unit than the one that adds floats. */
static bool rounds_down(void)
{
    volatile float one = 1.0f, tiny = 0x1p-30f;
    return one - tiny < one;
}

static void rounding_down(void *context, size_t tasks, void (*task)(void *, size_t),
                          void *task_context)
{
    *(size_t *)context += tasks;
    for (size_t i = 0; i < tasks; i++) {
        fesetround(FE_DOWNWARD);
        task(task_context, i);
        cr_assert(rounds_down());
    }
    fesetround(FE_TONEAREST);
}

/* Workers begin in the state of the thread that makes the pool; an executor's come as they are. */
Test(session_threads, the_floating_point_state_of_threads_does_not_matter)
{
    dynq_model *model = make_int8();
    make_expected(model);
    cr_assert_eq(fesetround(FE_DOWNWARD), 0);
    const dynq_thread_pool_options options = {
        .size = sizeof options, .threads = 3, .oversubscribe = 1};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
    check_session(model, (dynq_session_options){.pool = pool}, 100);
    dynq_thread_pool_free(pool);
    cr_assert(rounds_down());
    fesetround(FE_TONEAREST);
    size_t tasks = 0;
    const dynq_executor executor = {.context = &tasks, .threads = 3, .parallel_for = rounding_down};
    check_session(model, (dynq_session_options){.executor = &executor}, 2);
    cr_assert_gt(tasks, 0u);
    dynq_model_free(model);
}

typedef struct user {
    dynq_session *session;
    unsigned failures;
    float y[ROWS * OUTPUTS];
} user;

static void *use(void *argument)
{
    user *u = argument;
    for (int i = 0; i < 200; i++) {
        u->failures +=
            run(u->session, ROWS, u->y) != DYNQ_OK || memcmp(u->y, expected, sizeof expected) != 0;
    }
    return NULL;
}

Test(session_threads, sessions_of_two_threads_share_a_pool)
{
    static user users[2];
    dynq_model *model = make_int8();
    make_expected(model);
    const dynq_thread_pool_options options = {
        .size = sizeof options, .threads = 2, .oversubscribe = 1};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
    for (size_t i = 0; i < 2; i++) {
        users[i].session = make_session(model, (dynq_session_options){.pool = pool});
    }
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, use, &users[1]), 0);
    use(&users[0]);
    pthread_join(other, NULL);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(users[i].failures, 0u);
        dynq_session_free(users[i].session);
    }
    dynq_thread_pool_free(pool);
    dynq_model_free(model);
}
