#include <dynq/dynq.h>

#include "kernels/kernel.h"
#include "src/cpu.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A network with everything in it: x -> fc1 -> gelu -> fc2 + x -> layer norm -> fc3 (K shared with
 * fc4), tanh, sigmoid, mul -> softmax. */
enum { INPUTS = 37, HIDDEN = 70, OUTPUTS = 19, ROWS = 41 };

static float number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static void fill(float *x, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = number(&seed);
    }
}

static dynq_value layer(dynq_graph *g, const char *name, dynq_value x, size_t n, size_t k,
                        uint32_t seed)
{
    float *w = malloc((n * k + n) * sizeof *w);
    fill(w, n * k + n, seed);
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {n, k}, .data = w};
    const dynq_tensor bias = {.dtype = DYNQ_F32, .rank = 1, .shape = {n}, .data = w + n * k};
    const dynq_value y = dynq_linear(g, name, x, &weight, &bias);
    free(w);
    return y;
}

static dynq_model *make_model(void)
{
    float gain[INPUTS], shift[INPUTS];
    fill(gain, INPUTS, 7);
    fill(shift, INPUTS, 8);
    const dynq_tensor g1 = {.dtype = DYNQ_F32, .rank = 1, .shape = {INPUTS}, .data = gain};
    const dynq_tensor b1 = {.dtype = DYNQ_F32, .rank = 1, .shape = {INPUTS}, .data = shift};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", INPUTS);
    const dynq_value h = dynq_gelu(g, "act1", layer(g, "fc1", x, HIDDEN, INPUTS, 1));
    const dynq_value r = dynq_add(g, "sum", layer(g, "fc2", h, INPUTS, HIDDEN, 2), x);
    const dynq_value n = dynq_layer_norm(g, "norm", r, &g1, &b1, 1e-5f);
    const dynq_value a = dynq_tanh(g, "act3", layer(g, "fc3", n, OUTPUTS, INPUTS, 3));
    const dynq_value b = dynq_sigmoid(g, "act4", layer(g, "fc4", n, OUTPUTS, INPUTS, 4));
    dynq_output(g, "gated", dynq_mul(g, "gate", a, b));
    dynq_output(g, "y", dynq_softmax(g, "probabilities", dynq_relu(g, "act5", a)));
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

static dynq_model *make_int8(dynq_scope scope, dynq_scheme scheme, const char *left_in_fp32)
{
    dynq_model *fp32 = make_model(), *int8 = NULL;
    const dynq_quantize_rule rule = {.pattern = left_in_fp32, .precision = DYNQ_PRECISION_FP32};
    const dynq_quantize_options options = {.size = sizeof options,
                                           .scope = scope,
                                           .scheme = scheme,
                                           .rules = &rule,
                                           .rule_count = left_in_fp32 != NULL};
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(fp32, &options, &int8, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    return int8;
}

typedef struct results {
    float gated[ROWS * OUTPUTS], y[ROWS * OUTPUTS];
} results;

static dynq_status run_rows(dynq_session *session, float *x, size_t rows, const size_t *offsets,
                            size_t segments, float *gated, float *y, dynq_error *error)
{
    const dynq_binding io[] = {
        {.slot = dynq_session_slot(session, "x"), .data = x, .bytes = rows * INPUTS * 4},
        {.slot = dynq_session_slot(session, "gated"), .data = gated, .bytes = rows * OUTPUTS * 4},
        {.slot = dynq_session_slot(session, "y"), .data = y, .bytes = rows * OUTPUTS * 4},
    };
    const dynq_batch batch = {
        .size = sizeof batch, .rows = rows, .segments = segments, .offsets = offsets};
    return dynq_session_run(session, &batch, io, 3, error);
}

static const size_t segments[] = {0, 1, 8, 9, 30, ROWS};
static const size_t segment_count = 5;

static void run_with(dynq_model *model, dynq_session_options options, results *out)
{
    static float x[ROWS * INPUTS];
    fill(x, ROWS * INPUTS, 99);
    dynq_session *session = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    options.max_rows = ROWS;
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    for (int again = 0; again < 2; again++) {
        memset(out, 0xff, sizeof *out);
        cr_assert_eq(
            run_rows(session, x, ROWS, segments, segment_count, out->gated, out->y, &error),
            DYNQ_OK, "%s", error.message);
    }
    dynq_session_free(session);
}

static void serial_for(void *context, size_t tasks, void (*task)(void *, size_t),
                       void *task_context)
{
    (void)context;
    for (size_t i = tasks; i > 0; i--) {
        task(task_context, i - 1);
    }
}

static void ignore(void *context, size_t node, size_t rows, size_t columns, const float *data,
                   size_t stride)
{
    (void)node, (void)data, (void)stride;
    *(size_t *)context += rows * columns;
}

/* Kernels, threads, an executor, taps on every node and profiling must not change one bit. */
static void same_bits_everywhere(dynq_model *model)
{
    static results expected, got;
    run_with(model, (dynq_session_options){.kernel = "ref"}, &expected);
    for (size_t k = 0; dynq_kernel_name(k) != NULL; k++) {
        const char *kernel = dynq_kernel_name(k);
        if (!dynq_kernel_supported(kernel)) {
            fprintf(stderr, "kernel %s: not supported here, not tested\n", kernel);
            continue;
        }
        static const uint32_t threads[] = {1, 2, 3, 7};
        for (size_t t = 0; t < 4; t++) {
            const dynq_thread_pool_options options = {
                .size = sizeof options, .threads = threads[t], .oversubscribe = 1};
            dynq_thread_pool *pool = NULL;
            cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
            run_with(model, (dynq_session_options){.kernel = kernel, .pool = pool}, &got);
            cr_assert_arr_eq(&got, &expected, sizeof got, "%s, %u threads", kernel, threads[t]);
            dynq_thread_pool_free(pool);
        }
        const dynq_executor executor = {.threads = 5, .parallel_for = serial_for};
        run_with(model, (dynq_session_options){.kernel = kernel, .executor = &executor}, &got);
        cr_assert_arr_eq(&got, &expected, sizeof got, "%s, executor", kernel);
        run_with(model, (dynq_session_options){.kernel = kernel, .profile = 1}, &got);
        cr_assert_arr_eq(&got, &expected, sizeof got, "%s, profile", kernel);
        dynq_tap taps[16];
        size_t seen = 0;
        const size_t nodes = dynq_model_node_count(model);
        for (size_t i = 0; i < nodes; i++) {
            dynq_node_info info = {.size = sizeof info};
            dynq_model_node(model, i, &info);
            taps[i] = (dynq_tap){.node = info.name, .function = ignore, .context = &seen};
        }
        run_with(model, (dynq_session_options){.kernel = kernel, .taps = taps, .tap_count = nodes},
                 &got);
        cr_assert_arr_eq(&got, &expected, sizeof got, "%s, taps", kernel);
        cr_assert_eq(seen, 2 * ROWS * (4 * INPUTS + 2 * HIDDEN + 7 * OUTPUTS));
    }
}

Test(session, fp32_has_the_same_bits_everywhere)
{
    dynq_model *model = make_model();
    same_bits_everywhere(model);
    dynq_model_free(model);
}

Test(session, int8_has_the_same_bits_everywhere)
{
    static const dynq_scope scopes[] = {DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_TENSOR, DYNQ_SCOPE_ROW};
    for (size_t i = 0; i < 3; i++) {
        dynq_model *model = make_int8(
            scopes[i], i == 2 ? DYNQ_SCHEME_SYMMETRIC : DYNQ_SCHEME_AFFINE, i == 1 ? "fc2" : NULL);
        same_bits_everywhere(model);
        dynq_model_free(model);
    }
}

/* What a segment or a row gives does not depend on what else is in the batch. */
static void same_bits_apart(dynq_scope scope)
{
    static results whole, apart;
    static float x[ROWS * INPUTS];
    dynq_model *model = make_int8(scope, DYNQ_SCHEME_AFFINE, NULL);
    run_with(model, (dynq_session_options){.threads = 2}, &whole);
    fill(x, ROWS * INPUTS, 99);
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    for (size_t s = 0; s < segment_count; s++) {
        const size_t first = segments[s], count = segments[s + 1] - first;
        cr_assert_eq(run_rows(session, x + first * INPUTS, count, NULL, 0,
                              apart.gated + first * OUTPUTS, apart.y + first * OUTPUTS, NULL),
                     DYNQ_OK);
    }
    cr_assert_arr_eq(&apart, &whole, sizeof whole);
    dynq_session_free(session);
    dynq_model_free(model);
}

Test(session, batch_split_does_not_matter)
{
    same_bits_apart(DYNQ_SCOPE_SEGMENT);
    same_bits_apart(DYNQ_SCOPE_ROW);
}

Test(session, the_tensor_scope_sees_the_whole_batch)
{
    static results segment, tensor, override;
    dynq_model *model = make_int8(DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, NULL);
    dynq_model *other = make_int8(DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE, NULL);
    run_with(model, (dynq_session_options){.threads = 1}, &segment);
    run_with(other, (dynq_session_options){.threads = 1}, &tensor);
    run_with(model, (dynq_session_options){.scope = DYNQ_SCOPE_TENSOR}, &override);
    cr_assert_neq(memcmp(&segment, &tensor, sizeof tensor), 0);
    cr_assert_arr_eq(&override, &tensor, sizeof tensor);
    dynq_model_free(model);
    dynq_model_free(other);
}

Test(session, int8_is_close_to_fp32)
{
    static results fp32, int8, dequantized;
    dynq_model *model = make_model();
    dynq_model *quantized = make_int8(DYNQ_SCOPE_ROW, DYNQ_SCHEME_AFFINE, NULL);
    run_with(model, (dynq_session_options){.threads = 1}, &fp32);
    run_with(quantized, (dynq_session_options){.threads = 1}, &int8);
    run_with(quantized, (dynq_session_options){.precision = DYNQ_PRECISION_FP32}, &dequantized);
    dynq_metrics m = {0}, d = {0};
    dynq_metrics_add(&m, ROWS, OUTPUTS, fp32.gated, 0, int8.gated, 0);
    dynq_metrics_add(&d, ROWS, OUTPUTS, fp32.gated, 0, dequantized.gated, 0);
    cr_assert_gt(dynq_metrics_result(&m).sqnr_db, 25.0);
    cr_assert_gt(dynq_metrics_result(&d).sqnr_db, dynq_metrics_result(&m).sqnr_db);
    cr_assert_lt(dynq_metrics_result(&m).sqnr_db, 100.0);
    dynq_model_free(model);
    dynq_model_free(quantized);
}

Test(session, nan_and_inf_fail_naming_node_and_place)
{
    static float x[ROWS * INPUTS], out[2][ROWS * OUTPUTS];
    dynq_model *models[] = {make_model(), make_int8(DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, NULL)};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 6; i++) {
        const dynq_session_options options = {
            .size = sizeof options, .max_rows = ROWS, .threads = 2};
        dynq_session *session = NULL;
        dynq_error error = {0};
        cr_assert_eq(dynq_session_create(models[i % 2], &options, &session, NULL), DYNQ_OK);
        fill(x, ROWS * INPUTS, 5);
        x[17 * INPUTS + 30] = bad[i / 2];
        cr_assert_eq(run_rows(session, x, ROWS, NULL, 0, out[0], out[1], &error),
                     DYNQ_ERR_NOT_FINITE);
        cr_assert_str_eq(error.message, "node 'x': NaN or Inf at row 17, column 30");
        x[17 * INPUTS + 30] = 0.0f;
        cr_assert_eq(run_rows(session, x, ROWS, NULL, 0, out[0], out[1], &error), DYNQ_OK);
        x[3] = FLT_MAX;
        cr_assert_eq(run_rows(session, x, 1, NULL, 0, out[0], out[1], &error), DYNQ_ERR_NOT_FINITE);
        dynq_session_free(session);
    }
    dynq_model_free(models[0]);
    dynq_model_free(models[1]);
}

Test(session, bad_batches_and_bindings_are_refused)
{
    static float x[ROWS * INPUTS], out[2][ROWS * OUTPUTS];
    dynq_model *model = make_model();
    const dynq_session_options options = {.size = sizeof options, .max_rows = 8, .max_segments = 2};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    fill(x, ROWS * INPUTS, 5);
    cr_assert_eq(run_rows(session, x, 9, NULL, 0, out[0], out[1], &error), DYNQ_ERR_LIMIT);
    cr_assert_eq(run_rows(session, x, 0, NULL, 0, out[0], out[1], &error), DYNQ_ERR_ARGUMENT);
    const size_t empty[] = {0, 4, 4}, late[] = {1, 4, 8}, low[] = {0, 4, 7}, three[] = {0, 1, 2, 8};
    cr_assert_eq(run_rows(session, x, 8, empty, 2, out[0], out[1], &error), DYNQ_ERR_SHAPE);
    cr_assert_eq(run_rows(session, x, 8, late, 2, out[0], out[1], &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run_rows(session, x, 8, low, 2, out[0], out[1], &error), DYNQ_ERR_SHAPE);
    cr_assert_eq(run_rows(session, x, 8, three, 3, out[0], out[1], &error), DYNQ_ERR_LIMIT);
    cr_assert_eq(run_rows(session, x, 8, NULL, 0, out[0], out[0], &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run_rows(session, x, 8, NULL, 0, NULL, out[1], &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run_rows(session, x, 8, NULL, 0, out[0], out[1], &error), DYNQ_OK);
    const int stop = 1;
    const dynq_binding io[] = {{.slot = 0, .data = x, .bytes = INPUTS * 4}};
    dynq_batch batch = {.size = sizeof batch, .rows = 1};
    cr_assert_eq(dynq_session_run(session, &batch, io, 1, &error), DYNQ_ERR_ARGUMENT);
    const dynq_binding all[] = {{.slot = 0, .data = x, .bytes = INPUTS * 4},
                                {.slot = 1, .data = out[0], .bytes = OUTPUTS * 4},
                                {.slot = 2, .data = out[1], .bytes = OUTPUTS * 4}};
    batch.cancel = &stop;
    cr_assert_eq(dynq_session_run(session, &batch, all, 3, &error), DYNQ_ERR_CANCELLED);
    dynq_session_free(session);
    dynq_session *none = NULL;
    cr_assert_eq(dynq_session_create(
                     model, &(dynq_session_options){.size = sizeof options, .kernel = "abacus"},
                     &none, &error),
                 DYNQ_ERR_NOT_FOUND);
    cr_assert_null(none);
    dynq_model_free(model);
}

/* Counts blocks and fails the n-th request. */
typedef struct counter {
    long live, calls, fail_at;
} counter;

static void *counted_allocate(void *context, size_t size, size_t alignment)
{
    counter *c = context;
    void *memory = NULL;
    if (++c->calls == c->fail_at || posix_memalign(&memory, alignment, size) != 0) {
        return NULL;
    }
    c->live++;
    return memory;
}

static void counted_release(void *context, void *memory)
{
    ((counter *)context)->live--;
    free(memory);
}

Test(session, every_failing_allocation_is_survived_and_a_run_makes_none)
{
    static float x[ROWS * INPUTS], out[2][ROWS * OUTPUTS];
    dynq_model *model = make_int8(DYNQ_SCOPE_ROW, DYNQ_SCHEME_AFFINE, "fc1");
    fill(x, ROWS * INPUTS, 5);
    dynq_status status = DYNQ_ERR_MEMORY;
    for (long n = 1; status != DYNQ_OK; n++) {
        counter c = {.fail_at = n};
        const dynq_allocator allocator = {counted_allocate, counted_release, &c};
        const dynq_session_options options = {.size = sizeof options,
                                              .max_rows = ROWS,
                                              .threads = 2,
                                              .profile = 1,
                                              .allocator = &allocator};
        dynq_session *session = NULL;
        dynq_error error = {0};
        status = dynq_session_create(model, &options, &session, &error);
        if (status != DYNQ_OK) {
            cr_assert_eq(status, DYNQ_ERR_MEMORY);
            cr_assert_null(session);
        } else {
            const long before = c.calls;
            for (size_t rows = 1; rows <= ROWS; rows++) {
                cr_assert_eq(run_rows(session, x, rows, NULL, 0, out[0], out[1], &error), DYNQ_OK);
            }
            cr_assert_eq(c.calls, before);
            cr_assert_gt(n, 20);
        }
        dynq_session_free(session);
        cr_assert_eq(c.live, 0);
    }
    dynq_model_free(model);
}

/* Asked by adding, as fegetround() may look at another unit than the one that adds floats. */
static int rounding(void)
{
    volatile float one = 1.0f, tiny = 0x1p-30f;
    return one + tiny > one ? FE_UPWARD : one - tiny < one ? FE_DOWNWARD : FE_TONEAREST;
}

Test(session, the_callers_floating_point_state_is_kept_and_does_not_matter)
{
    static results normal, strange;
    dynq_model *model = make_int8(DYNQ_SCOPE_ROW, DYNQ_SCHEME_AFFINE, "fc2");
    run_with(model, (dynq_session_options){.threads = 2}, &normal);
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD};
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(fesetround(modes[i]), 0);
        run_with(model, (dynq_session_options){.threads = 2}, &strange);
        const int after = rounding();
        fesetround(FE_TONEAREST);
        cr_assert_eq(after, modes[i]);
        cr_assert_arr_eq(&strange, &normal, sizeof normal);
    }
    dynq_model_free(model);
}

Test(session, profile_and_description_tell_what_happened)
{
    static float x[ROWS * INPUTS], out[2][ROWS * OUTPUTS];
    dynq_model *model = make_int8(DYNQ_SCOPE_ROW, DYNQ_SCHEME_AFFINE, NULL);
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS, .profile = 1};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    dynq_session_info info = {.size = sizeof info};
    dynq_session_describe(session, &info);
    cr_assert_str_eq(info.engine, "native");
    cr_assert_str_eq(info.kernel, dynq_kernel_best(dynq_cpu_features())->name);
    size_t arena = 0;
    cr_assert_eq(dynq_session_arena_bytes(model, &options, &arena, NULL), DYNQ_OK);
    cr_assert_eq(arena, info.arena_bytes);
    /* range x; quantize + layer for fc1, fc2; norm; one quantize, two layers; gate; act5; softmax
     */
    cr_assert_eq(info.steps, 12);
    fill(x, ROWS * INPUTS, 5);
    cr_assert_eq(run_rows(session, x, ROWS, NULL, 0, out[0], out[1], NULL), DYNQ_OK);
    uint64_t gemm = 0, epilogue = 0;
    for (size_t i = 0; i < info.steps; i++) {
        dynq_step_profile p = {.size = sizeof p};
        cr_assert_eq(dynq_session_profile(session, i, &p), DYNQ_OK);
        gemm += p.gemm_ns;
        epilogue += p.epilogue_ns;
    }
    cr_assert(gemm > 0 && epilogue > 0);
    dynq_step_profile p = {.size = sizeof p};
    cr_assert_eq(dynq_session_profile(session, info.steps, &p), DYNQ_ERR_ARGUMENT);
    dynq_session_free(session);
    dynq_model_free(model);
}
