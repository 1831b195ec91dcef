/* Sessions of models with ids, segments and attention: the same bits however a batch is run, and
 * what a run refuses. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS = 60, MOST_ROWS = SEGMENTS * 20, WIDTH = 32, WORDS = 50, PLACES = 20 };

typedef struct results {
    float tokens[MOST_ROWS * WIDTH], sentence[SEGMENTS * WIDTH], pooled[SEGMENTS * WIDTH];
} results;

typedef struct batch {
    size_t rows, offsets[SEGMENTS + 1];
    int32_t ids[MOST_ROWS];
} batch;

/* Segments of 1 to 20 rows, 597 rows in all. */
static batch make_batch(void)
{
    batch b = {0};
    for (size_t s = 0; s < SEGMENTS; s++) {
        const size_t count = 1 + s * 7 % PLACES;
        for (size_t i = 0; i < count; i++) {
            b.ids[b.rows + i] = (int32_t)((s * 31 + i * i * 7) % WORDS);
        }
        b.rows += count;
        b.offsets[s + 1] = b.rows;
    }
    return b;
}

static dynq_status run(dynq_session *session, const batch *b, size_t first, size_t end,
                       results *out, dynq_error *error)
{
    size_t offsets[SEGMENTS + 1];
    for (size_t i = first; i <= end; i++) {
        offsets[i - first] = b->offsets[i] - b->offsets[first];
    }
    const size_t row = b->offsets[first], rows = offsets[end - first], segments = end - first;
    int32_t ids[MOST_ROWS];
    memcpy(ids, b->ids + row, rows * sizeof *ids);
    const dynq_binding io[] = {
        {dynq_session_slot(session, "ids"), ids, rows * sizeof *ids, 0},
        {dynq_session_slot(session, "tokens"), out->tokens + row * WIDTH,
         rows * WIDTH * sizeof(float), 0},
        {dynq_session_slot(session, "sentence"), out->sentence + first * WIDTH,
         segments * WIDTH * sizeof(float), 0},
        {dynq_session_slot(session, "pooled"), out->pooled + first * WIDTH,
         segments * WIDTH * sizeof(float), 0},
    };
    const dynq_batch whole = {
        .size = sizeof whole, .rows = rows, .segments = segments, .offsets = offsets};
    return dynq_session_run(session, &whole, io, 4, error);
}

static dynq_session *open_session(dynq_model *model, dynq_session_options options)
{
    options.size = sizeof options;
    options.max_rows = MOST_ROWS;
    options.max_segments = SEGMENTS;
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    return session;
}

static void run_with(dynq_model *model, dynq_session_options options, results *out)
{
    static batch b;
    b = make_batch();
    memset(out, 0xff, sizeof *out);
    dynq_session *session = open_session(model, options);
    dynq_error error = {0};
    cr_assert_eq(run(session, &b, 0, SEGMENTS, out, &error), DYNQ_OK, "%s", error.message);
    dynq_session_free(session);
}

static void serial_for(void *context, size_t count, void (*task)(void *, size_t), void *argument)
{
    (void)context;
    for (size_t i = count; i-- > 0;) {
        task(argument, i);
    }
}

static void count_rows(void *context, size_t node, size_t rows, size_t columns, const float *data,
                       size_t stride)
{
    (void)node;
    (void)data;
    (void)stride;
    *(size_t *)context += rows * columns;
}

static void same_bits_everywhere(dynq_model *model, dynq_scope scope)
{
    static results expected, got;
    run_with(model, (dynq_session_options){.kernel = "ref", .scope = scope}, &expected);
    for (size_t k = 0; dynq_kernel_name(k) != NULL; k++) {
        const char *kernel = dynq_kernel_name(k);
        if (!dynq_kernel_supported(kernel)) {
            continue;
        }
        for (uint32_t threads = 1; threads <= 3; threads++) {
            const dynq_thread_pool_options options = {.size = sizeof options, .threads = threads};
            dynq_thread_pool *pool = NULL;
            cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
            run_with(model, (dynq_session_options){.kernel = kernel, .pool = pool, .scope = scope},
                     &got);
            cr_assert_arr_eq(&got, &expected, sizeof got, "%s, %u threads", kernel, threads);
            dynq_thread_pool_free(pool);
        }
    }
    const dynq_executor executor = {.threads = 5, .parallel_for = serial_for};
    run_with(model, (dynq_session_options){.executor = &executor, .scope = scope}, &got);
    cr_assert_arr_eq(&got, &expected, sizeof got, "executor");
    run_with(model, (dynq_session_options){.profile = 1, .scope = scope}, &got);
    cr_assert_arr_eq(&got, &expected, sizeof got, "profile");
    size_t seen = 0;
    const dynq_tap taps[] = {{"l0.heads", count_rows, &seen}, {"unit", count_rows, &seen}};
    run_with(model, (dynq_session_options){.taps = taps, .tap_count = 2, .scope = scope}, &got);
    cr_assert_arr_eq(&got, &expected, sizeof got, "taps");
    cr_assert_eq(seen, WIDTH * (make_batch().rows + SEGMENTS));
}

static void same_bits_apart(dynq_model *model, dynq_scope scope)
{
    static results whole, apart;
    static batch b;
    b = make_batch();
    run_with(model, (dynq_session_options){.threads = 2, .scope = scope}, &whole);
    memset(&apart, 0xff, sizeof apart);
    dynq_session *session = open_session(model, (dynq_session_options){.scope = scope});
    for (size_t s = 0; s < SEGMENTS; s++) {
        cr_assert_eq(run(session, &b, s, s + 1, &apart, NULL), DYNQ_OK);
    }
    cr_assert_arr_eq(&apart, &whole, sizeof whole);
    dynq_session_free(session);
}

Test(session_transformer, fp32_has_the_same_bits_everywhere)
{
    for (int causal = 0; causal < 2; causal++) {
        dynq_model *model = samples_transformer(NULL, causal);
        same_bits_everywhere(model, 0);
        same_bits_apart(model, 0);
        dynq_model_free(model);
    }
}

Test(session_transformer, int8_has_the_same_bits_everywhere)
{
    static const dynq_scope scopes[] = {DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_TENSOR, DYNQ_SCOPE_ROW};
    for (size_t i = 0; i < 3; i++) {
        dynq_model *model = samples_transformer_int8(NULL, i == 1);
        same_bits_everywhere(model, scopes[i]);
        if (scopes[i] != DYNQ_SCOPE_TENSOR) {
            same_bits_apart(model, scopes[i]);
        }
        dynq_model_free(model);
    }
}

Test(session_transformer, int8_is_close_to_fp32)
{
    static results fp32, int8;
    dynq_model *model = samples_transformer(NULL, false);
    dynq_model *quantized = samples_transformer_int8(NULL, false);
    run_with(model, (dynq_session_options){.threads = 1}, &fp32);
    run_with(quantized, (dynq_session_options){.scope = DYNQ_SCOPE_ROW}, &int8);
    dynq_metrics m = {0};
    dynq_metrics_add(&m, SEGMENTS, WIDTH, fp32.sentence, 0, int8.sentence, 0);
    cr_assert_gt(dynq_metrics_result(&m).cosine_min, 0.999);
    cr_assert_lt(dynq_metrics_result(&m).sqnr_db, 100.0);
    dynq_model_free(model);
    dynq_model_free(quantized);
}

Test(session_transformer, ids_and_positions_beyond_the_tables_are_errors)
{
    static results out;
    static batch b;
    dynq_model *model = samples_transformer(NULL, false);
    dynq_session *session = open_session(model, (dynq_session_options){.threads = 1});
    const int32_t bad[] = {-1, WORDS, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        dynq_error error = {0};
        b = make_batch();
        b.ids[123] = bad[i];
        cr_assert_eq(run(session, &b, 0, SEGMENTS, &out, &error), DYNQ_ERR_ARGUMENT);
        cr_assert(strstr(error.message, "row 123") != NULL, "%s", error.message);
        cr_assert(strstr(error.message, "'words'") != NULL, "%s", error.message);
    }
    dynq_error error = {0};
    b = (batch){.rows = PLACES + 5, .offsets = {0, 4, PLACES + 5}};
    cr_assert_eq(run(session, &b, 0, 2, &out, &error), DYNQ_ERR_LIMIT);
    cr_assert(strstr(error.message, "segment 1 has 21 rows") != NULL, "%s", error.message);
    b.offsets[1] = 5;
    cr_assert_eq(run(session, &b, 0, 2, &out, &error), DYNQ_OK);
    dynq_session_free(session);
    dynq_model_free(model);
}

Test(session_transformer, outputs_by_segment_need_a_row_for_each)
{
    static float tokens[10 * WIDTH], rows[10 * WIDTH], other[10 * WIDTH];
    const int32_t ids[10] = {1, 2, 3};
    const size_t offsets[] = {0, 3, 10};
    dynq_model *model = samples_transformer(NULL, false);
    dynq_session *session = open_session(model, (dynq_session_options){.threads = 1});
    for (size_t segments = 0; segments < 3; segments++) {
        const size_t needed = (segments == 0 ? 1 : segments) * WIDTH * sizeof(float);
        for (size_t missing = 0; missing < 2; missing++) {
            const dynq_binding io[] = {
                {dynq_session_slot(session, "ids"), (void *)ids, sizeof ids, 0},
                {dynq_session_slot(session, "tokens"), tokens, sizeof tokens, 0},
                {dynq_session_slot(session, "sentence"), rows, needed - missing, 0},
                {dynq_session_slot(session, "pooled"), other, sizeof other, 0},
            };
            const size_t one[] = {0, 10};
            const dynq_batch b = {.size = sizeof b,
                                  .rows = 10,
                                  .segments = segments,
                                  .offsets = segments == 1 ? one : offsets};
            cr_assert_eq(dynq_session_run(session, &b, io, 4, NULL),
                         missing ? DYNQ_ERR_ARGUMENT : DYNQ_OK);
        }
    }
    dynq_session_free(session);
    dynq_model_free(model);
}

enum { LONG_ROWS = 700, LONG_SEGMENTS = 5 };

/* x -> q, k, v (linear) -> attention -> out (linear) -> norm, of segments as long as they like. */
static dynq_model *make_attention(bool int8)
{
    static float numbers[WIDTH * WIDTH], ones[WIDTH];
    samples_fill(numbers, WIDTH * WIDTH, 11);
    samples_fill(ones, WIDTH, 12);
    const dynq_tensor w = {DYNQ_F32, 2, {WIDTH, WIDTH}, numbers}, g = {DYNQ_F32, 1, {WIDTH}, ones};
    const dynq_attention_options options = {.size = sizeof options, .heads = 2};
    dynq_graph *graph = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(graph, "x", WIDTH);
    const dynq_value q = dynq_linear(graph, "q", x, &w, NULL);
    const dynq_value k = dynq_linear(graph, "k", x, &w, &g), v = dynq_linear(graph, "v", x, &w, &g);
    const dynq_value heads = dynq_attention(graph, "heads", q, k, v, &options);
    const dynq_value sum = dynq_add(graph, "sum", dynq_linear(graph, "out", heads, &w, NULL), x);
    dynq_output(graph, "y", dynq_layer_norm(graph, "norm", sum, &g, &g, 1e-5f));
    dynq_model *fp32 = NULL, *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(graph, &fp32, &error), DYNQ_OK, "%s", error.message);
    if (!int8) {
        return fp32;
    }
    const dynq_quantize_options quantize = {.size = sizeof quantize, .scope = DYNQ_SCOPE_ROW};
    cr_assert_eq(dynq_quantize(fp32, &quantize, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    return model;
}

static void run_attention(dynq_session *session, const float *x, const size_t *offsets,
                          size_t segments, float *y)
{
    const size_t rows = offsets[segments], bytes = rows * WIDTH * sizeof(float);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), (float *)x, bytes, 0},
                               {dynq_session_slot(session, "y"), y, bytes, 0}};
    const dynq_batch whole = {
        .size = sizeof whole, .rows = rows, .segments = segments, .offsets = offsets};
    dynq_error error = {0};
    cr_assert_eq(dynq_session_run(session, &whole, io, 2, &error), DYNQ_OK, "%s", error.message);
}

Test(session_transformer, long_segments_have_the_same_bits_everywhere)
{
    static const size_t offsets[] = {0, 1, 66, 194, 323, LONG_ROWS};
    static float x[LONG_ROWS * WIDTH], expected[LONG_ROWS * WIDTH], y[LONG_ROWS * WIDTH];
    samples_fill(x, LONG_ROWS * WIDTH, 13);
    for (int int8 = 0; int8 < 2; int8++) {
        dynq_model *model = make_attention(int8);
        dynq_session_options options = {
            .size = sizeof options, .max_rows = LONG_ROWS, .kernel = "ref"};
        dynq_session *session = NULL;
        cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
        for (size_t s = 0; s < LONG_SEGMENTS; s++) {
            const size_t alone[] = {0, offsets[s + 1] - offsets[s]}, at = offsets[s] * WIDTH;
            run_attention(session, x + at, alone, 1, expected + at);
        }
        dynq_session_free(session);
        for (uint32_t threads = 1; threads <= 3; threads++) {
            options.kernel = NULL;
            options.threads = threads;
            cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
            for (int again = 0; again < 2; again++) {
                memset(y, 0xff, sizeof y);
                run_attention(session, x, offsets, LONG_SEGMENTS, y);
                cr_assert_arr_eq(y, expected, sizeof y, "int8 %d, %u threads", int8, threads);
            }
            dynq_session_free(session);
        }
        dynq_model_free(model);
    }
}

Test(session_transformer, sizes_that_overflow_are_refused)
{
    dynq_model *model = make_attention(true);
    const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 63, (size_t)INT32_MAX + 1};
    for (size_t i = 0; i < 3; i++) {
        const dynq_session_options options = {
            .size = sizeof options, .max_rows = absurd[i], .max_segments = SIZE_MAX};
        dynq_session *session = NULL;
        dynq_error error = {0};
        cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_ERR_LIMIT);
        cr_assert_null(session);
        size_t bytes = 0;
        cr_assert_eq(dynq_session_arena_bytes(model, &options, &bytes, NULL), DYNQ_ERR_LIMIT);
    }
    dynq_model_free(model);
}

Test(session_transformer, memory_is_for_parts_of_a_large_batch)
{
    dynq_model *model = samples_transformer(NULL, false);
    size_t few = 0, many = 0, tapped = 0;
    dynq_session_options options = {.size = sizeof options, .max_rows = 1000};
    cr_assert_eq(dynq_session_arena_bytes(model, &options, &few, NULL), DYNQ_OK);
    options.max_rows = 100000;
    cr_assert_eq(dynq_session_arena_bytes(model, &options, &many, NULL), DYNQ_OK);
    cr_assert_eq(many, few, "segments have 20 rows at most");
    size_t seen = 0;
    const dynq_tap tap = {"unit", count_rows, &seen};
    options.taps = &tap;
    options.tap_count = 1;
    cr_assert_eq(dynq_session_arena_bytes(model, &options, &tapped, NULL), DYNQ_OK);
    cr_assert_gt(tapped, 50 * many);
    dynq_model_free(model);
}

Test(session_transformer, every_failing_allocation_is_survived_and_a_run_makes_none)
{
    static results out;
    static batch b;
    b = make_batch();
    dynq_model *model = samples_transformer_int8(NULL, false);
    const dynq_tap tap = {"l0.norm1", count_rows, &(size_t){0}};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_session_options options = {.size = sizeof options,
                                              .max_rows = MOST_ROWS,
                                              .max_segments = SEGMENTS,
                                              .threads = 2,
                                              .scope = DYNQ_SCOPE_ROW,
                                              .taps = &tap, /* one part, so that blocks run */
                                              .tap_count = 1,
                                              .allocator = &allocator};
        dynq_session *session = NULL;
        status = dynq_session_create(model, &options, &session, NULL);
        if (status == DYNQ_OK) {
            const size_t before = atomic_load(&memory.calls);
            cr_assert_eq(run(session, &b, 0, SEGMENTS, &out, NULL), DYNQ_OK);
            cr_assert_eq(run(session, &b, 0, 9, &out, NULL), DYNQ_OK);
            cr_assert_eq(atomic_load(&memory.calls), before);
            cr_assert_gt(fail_at, 40);
        } else {
            cr_assert_eq(status, DYNQ_ERR_MEMORY);
        }
        dynq_session_free(session);
        cr_assert_eq(atomic_load(&memory.live), 0);
    }
    dynq_model_free(model);
}

Test(session_transformer, static_ranges_do_not_depend_on_the_callers_rounding)
{
    static results nearest, upward;
    dynq_model *model = samples_transformer_int8(NULL, false);
    for (size_t i = 0; i < model->node_count; i++) {
        dynq_node *node = &model->nodes[i];
        if (node->op == DYNQ_OP_LINEAR) {
            node->range = (dynq_range_rule){.kind = DYNQ_RANGE_STATIC,
                                            .scope = DYNQ_SCOPE_TENSOR,
                                            .scheme = DYNQ_SCHEME_AFFINE,
                                            .lo = -3.3f,
                                            .hi = 2.7f};
        }
    }
    run_with(model, (dynq_session_options){.threads = 1}, &nearest);
    fesetround(FE_UPWARD);
    run_with(model, (dynq_session_options){.threads = 1}, &upward);
    fesetround(FE_TONEAREST);
    cr_assert_arr_eq(&upward, &nearest, sizeof nearest);
    dynq_model_free(model);
}
