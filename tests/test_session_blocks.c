/* Stages that run block of rows by block of rows: the same bits as rows one by one. */
#include "src/plan.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 700, INPUTS = 24, HIDDEN = 80 };

/* x -> fc1 -> gelu -> fc2, + x -> norm -> fc3, as in a transformer; outputs "h" (norm) and "y". */
static dynq_model *make_model(dynq_scope scope, const char *static_layer)
{
    static float numbers[HIDDEN * INPUTS], ones[INPUTS], zeros[INPUTS];
    for (size_t i = 0; i < INPUTS; i++) {
        ones[i] = 1.0f;
    }
    samples_fill(numbers, HIDDEN * INPUTS, 5);
    dynq_tensor w1 = {.dtype = DYNQ_F32, .rank = 2, .shape = {HIDDEN, INPUTS}, .data = numbers};
    dynq_tensor w2 = {.dtype = DYNQ_F32, .rank = 2, .shape = {INPUTS, HIDDEN}, .data = numbers};
    dynq_tensor gain = {.dtype = DYNQ_F32, .rank = 1, .shape = {INPUTS}, .data = ones};
    dynq_tensor shift = {.dtype = DYNQ_F32, .rank = 1, .shape = {INPUTS}, .data = zeros};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", INPUTS);
    const dynq_value a = dynq_gelu(g, "act", dynq_linear(g, "fc1", x, &w1, NULL));
    const dynq_value sum = dynq_add(g, "sum", dynq_linear(g, "fc2", a, &w2, NULL), x);
    const dynq_value h = dynq_layer_norm(g, "norm", sum, &gain, &shift, 1e-12f);
    dynq_output(g, "y", dynq_linear(g, "fc3", h, &w1, NULL));
    dynq_output(g, "h", h);
    dynq_model *fp32 = NULL, *int8 = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &fp32, &error), DYNQ_OK, "%s", error.message);
    if (scope == 0) {
        return fp32;
    }
    const dynq_quantize_rule rule = {.pattern = static_layer, .precision = DYNQ_PRECISION_FP32};
    const dynq_quantize_options options = {
        .size = sizeof options, .scope = scope, .rules = &rule, .rule_count = static_layer != NULL};
    cr_assert_eq(dynq_quantize(fp32, &options, &int8, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    return int8;
}

typedef struct results {
    float h[ROWS * INPUTS], y[ROWS * HIDDEN];
} results;

static dynq_session *open_session(dynq_model *model, dynq_session_options options, size_t rows)
{
    options.size = sizeof options;
    options.max_rows = rows;
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    return session;
}

static dynq_status run(dynq_session *session, const float *x, size_t first, size_t rows,
                       results *out, dynq_error *error)
{
    const dynq_binding io[] = {
        {dynq_session_slot(session, "x"), (float *)x + first * INPUTS,
         rows * INPUTS * sizeof(float), 0},
        {dynq_session_slot(session, "h"), out->h + first * INPUTS, rows * INPUTS * sizeof(float),
         0},
        {dynq_session_slot(session, "y"), out->y + first * HIDDEN, rows * HIDDEN * sizeof(float),
         0},
    };
    const dynq_batch batch = {.size = sizeof batch, .rows = rows};
    return dynq_session_run(session, &batch, io, 3, error);
}

static void check(dynq_model *model, bool by_row)
{
    static float x[ROWS * INPUTS];
    static results expected, got;
    samples_fill(x, ROWS * INPUTS, 77);
    dynq_session *session =
        open_session(model, (dynq_session_options){.kernel = "ref"}, by_row ? 1 : ROWS);
    for (size_t row = 0; row < ROWS; row += by_row ? 1 : ROWS) {
        cr_assert_eq(run(session, x, row, by_row ? 1 : ROWS, &expected, NULL), DYNQ_OK);
    }
    dynq_session_free(session);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        const dynq_thread_pool_options options = {.size = sizeof options, .threads = threads};
        dynq_thread_pool *pool = NULL;
        cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
        for (int profile = 0; profile < 2; profile++) {
            memset(&got, 0xff, sizeof got);
            session =
                open_session(model, (dynq_session_options){.pool = pool, .profile = profile}, ROWS);
            cr_assert_eq(run(session, x, 0, ROWS, &got, NULL), DYNQ_OK);
            cr_assert_arr_eq(&got, &expected, sizeof got, "%u threads, profile %d", threads,
                             profile);
            dynq_session_free(session);
        }
        dynq_thread_pool_free(pool);
    }
}

Test(session_blocks, rows_of_their_own_ranges)
{
    dynq_model *model = make_model(DYNQ_SCOPE_ROW, NULL);
    check(model, true);
    dynq_model_free(model);
    model = make_model(DYNQ_SCOPE_ROW, "fc2");
    check(model, true);
    dynq_model_free(model);
}

Test(session_blocks, fp32)
{
    dynq_model *model = make_model(0, NULL);
    check(model, true);
    dynq_model_free(model);
}

Test(session_blocks, ranges_that_wait_for_all_rows)
{
    dynq_model *model = make_model(DYNQ_SCOPE_SEGMENT, NULL);
    check(model, false);
    dynq_model_free(model);
}

Test(session_blocks, nan_and_inf_are_found_in_the_first_block_that_has_them)
{
    static float x[ROWS * INPUTS];
    static results out;
    dynq_model *model = make_model(DYNQ_SCOPE_ROW, NULL);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        dynq_session *session =
            open_session(model, (dynq_session_options){.threads = threads}, ROWS);
        samples_fill(x, ROWS * INPUTS, 77);
        for (size_t row = 300; row < ROWS; row += 100) {
            for (size_t i = 0; i < INPUTS; i++) {
                x[row * INPUTS + i] = 3e38f; /* finite, but not behind a layer */
            }
        }
        dynq_error error = {0};
        cr_assert_eq(run(session, x, 0, ROWS, &out, &error), DYNQ_ERR_NOT_FINITE);
        cr_assert(strstr(error.message, "row 300") != NULL, "%s", error.message);
        samples_fill(x, ROWS * INPUTS, 77);
        cr_assert_eq(run(session, x, 0, ROWS, &out, &error), DYNQ_OK);
        dynq_session_free(session);
    }
    dynq_model_free(model);
}

typedef struct canceller {
    volatile int cancel;
    size_t chunks;
} canceller;

/* Runs the tasks one after the other and cancels behind the first of many. */
static void cancel_soon(void *context, size_t count, void (*task)(void *, size_t), void *argument)
{
    canceller *c = context;
    for (size_t i = 0; i < count; i++) {
        task(argument, i);
        c->cancel = count > 4;
        c->chunks += count > 4 && i == 0;
    }
}

Test(session_blocks, a_stage_is_cancelled_between_blocks)
{
    static float x[ROWS * INPUTS];
    static results out;
    canceller c = {0};
    dynq_model *model = make_model(DYNQ_SCOPE_ROW, NULL);
    const dynq_executor executor = {.threads = 2, .parallel_for = cancel_soon, .context = &c};
    dynq_session *session =
        open_session(model, (dynq_session_options){.executor = &executor}, ROWS);
    samples_fill(x, ROWS * INPUTS, 77);
    memset(&out, 0, sizeof out);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "h"), out.h, sizeof out.h, 0},
                               {dynq_session_slot(session, "y"), out.y, sizeof out.y, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS, .cancel = &c.cancel};
    c.cancel = 0;
    dynq_error error = {0};
    const dynq_status status = dynq_session_run(session, &batch, io, 3, &error);
    cr_assert_eq(c.chunks, 1);
    cr_assert_eq(status, DYNQ_ERR_CANCELLED);
    cr_assert_eq(out.y[(ROWS - 1) * HIDDEN], 0.0f);
    dynq_session_free(session);
    dynq_model_free(model);
}

/* The stages of a plan as text: the number of steps of each, + behind those that run by blocks. */
static const char *stages_of(dynq_model *model, char text[64])
{
    const bool tapped[8] = {false};
    const dynq_plan_request request = {
        .max_rows = ROWS, .max_segments = ROWS, .stepwise_rows = 1, .tapped = tapped};
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    dynq_plan *plan = NULL;
    cr_assert_eq(dynq_plan_create(model, &request, &allocator, &plan, NULL), DYNQ_OK);
    char *end = text;
    for (size_t i = 0; i < plan->stage_count; i++) {
        end += sprintf(end, "%zu%s ", plan->stages[i].count, plan->stages[i].by_blocks ? "+" : "");
    }
    dynq_plan_free(plan);
    dynq_model_free(model);
    return text;
}

Test(session_blocks, a_stage_ends_where_a_range_waits)
{
    char text[64];
    /* range | quantize fc1 quantize fc2 norm quantize fc3 */
    cr_assert_str_eq(stages_of(make_model(DYNQ_SCOPE_ROW, NULL), text), "1 7+ ");
    /* range | quantize fc1 | quantize fc2 norm | quantize fc3 */
    cr_assert_str_eq(stages_of(make_model(DYNQ_SCOPE_SEGMENT, NULL), text), "1 2+ 3+ 2+ ");
    cr_assert_str_eq(stages_of(make_model(0, NULL), text), "1 4+ ");
}
