/* Sessions on foreign engines: what they ask an engine for, and that its results arrive where
 * native ones do. The engine of these tests is a plain loop that notes its calls. */
#include "tests/samples.h"
#include "tests/samples_formats.h"

#include <dynq/cpu.h>
#include <dynq/engine.h>
#ifdef DYNQ_HAVE_ONEDNN
#include <dynq/onednn.h>
#endif

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 100, HIDDEN = 200, OUTPUTS = 110, MAX_ROWS = 700, WHOLE_ROWS = 3 };

/* What all layers of one test were called for; a lock, as a session may have two threads. */
static struct {
    pthread_mutex_t lock;
    size_t products, wholes, most_rows, strides;
    dynq_status answer; /* of linear_s8 */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef struct plain_layer {
    dynq_engine_layer_desc desc;
    int8_t *codes;
} plain_layer;

static dynq_status plain_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error)
{
    (void)error;
    plain_layer *layer = calloc(1, sizeof *layer);
    cr_assert_not_null(layer);
    layer->desc = *desc;
    layer->codes = malloc(desc->k * desc->n);
    cr_assert_not_null(layer->codes);
    memcpy(layer->codes, desc->weights_s8, desc->k * desc->n);
    *result = layer;
    return DYNQ_OK;
}

static void plain_free(void *pointer)
{
    plain_layer *layer = pointer;
    free(layer->codes);
    free(layer);
}

static void note(const plain_layer *layer, size_t *calls, size_t rows, size_t q_stride)
{
    pthread_mutex_lock(&seen.lock);
    (*calls)++;
    seen.most_rows = rows > seen.most_rows ? rows : seen.most_rows;
    seen.strides += q_stride != layer->desc.k;
    pthread_mutex_unlock(&seen.lock);
}

static int32_t sum(const plain_layer *layer, const uint8_t *q, size_t column)
{
    int32_t acc = 0;
    for (size_t i = 0; i < layer->desc.k; i++) {
        acc += q[i] * layer->codes[column * layer->desc.k + i];
    }
    return acc;
}

static dynq_status plain_product(void *pointer, size_t rows, const uint8_t *q, size_t q_stride,
                                 int32_t *acc, size_t acc_stride)
{
    const plain_layer *layer = pointer;
    note(layer, &seen.products, rows, q_stride);
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < layer->desc.n; n++) {
            acc[m * acc_stride + n] = sum(layer, q + m * q_stride, n);
        }
    }
    return rows > layer->desc.max_rows ? DYNQ_ERR_LIMIT : DYNQ_OK;
}

/* The session's own formula, so that bits can be compared. */
static dynq_status plain_linear(void *pointer, size_t rows, float scale, int32_t zero,
                                const uint8_t *q, size_t q_stride, float *y, size_t y_stride)
{
    const plain_layer *layer = pointer;
    const dynq_engine_layer_desc *desc = &layer->desc;
    note(layer, &seen.wholes, rows, q_stride);
    for (size_t m = 0; m < rows && seen.answer == DYNQ_OK; m++) {
        for (size_t n = 0; n < desc->n; n++) {
            const int32_t acc = sum(layer, q + m * q_stride, n) - zero * desc->column_sum[n];
            y[m * y_stride + n] = fmaf((float)acc, scale * desc->column_scale[n],
                                       desc->bias == NULL ? 0.0f : desc->bias[n]);
        }
    }
    return rows > desc->max_rows ? DYNQ_ERR_LIMIT : seen.answer;
}

static const dynq_engine plain_engine = {.size = sizeof plain_engine,
                                         .name = "plain",
                                         .version = "1",
                                         .has_int8 = 1,
                                         .layer_create = plain_create,
                                         .layer_free = plain_free,
                                         .product_s32 = plain_product,
                                         .linear_s8_rows = WHOLE_ROWS,
                                         .linear_s8 = plain_linear};

/* x -> fc1 -> (relu) -> fc2 -> y in INT8; without relu the engine can do all of fc1. */
static dynq_model *make_model(bool relu)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN], b[HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    samples_fill(b, HIDDEN, 3);
    const dynq_tensor first = {DYNQ_F32, 2, {HIDDEN, INPUTS}, w1};
    const dynq_tensor second = {DYNQ_F32, 2, {OUTPUTS, HIDDEN}, w2};
    const dynq_tensor bias = {DYNQ_F32, 1, {HIDDEN}, b};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_value h = dynq_linear(graph, "fc1", dynq_input(graph, "x", INPUTS), &first, &bias);
    h = relu ? dynq_relu(graph, "act", h) : h;
    dynq_output(graph, "y", dynq_linear(graph, "fc2", h, &second, NULL));
    dynq_model *fp32 = NULL, *int8 = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(graph, &fp32, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    return int8;
}

static float x[MAX_ROWS * INPUTS], expected[MAX_ROWS * OUTPUTS], y[MAX_ROWS * OUTPUTS];

/* One run with that many segments (0 or 2) into `result`. */
static dynq_status run(dynq_model *model, const dynq_session_options *options, size_t rows,
                       size_t segments, float *result, dynq_error *error)
{
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, options, &session, error), DYNQ_OK, "%s",
                 error->message);
    const size_t offsets[] = {0, rows / 2, rows};
    const dynq_batch batch = {.size = sizeof batch,
                              .rows = rows,
                              .segments = segments,
                              .offsets = segments == 0 ? NULL : offsets};
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "y"), result, sizeof y, 0}};
    const dynq_status status = dynq_session_run(session, &batch, io, 2, error);
    dynq_session_free(session);
    return status;
}

static void run_formats(dynq_model *model, const dynq_session_options *options, size_t rows,
                        float *result)
{
    dynq_error error = {0};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    const dynq_batch batch = {.size = sizeof batch, .rows = rows};
    const dynq_binding io[] = {{.slot = 0, .data = x, .bytes = sizeof x},
                               {.slot = 1, .data = result, .bytes = sizeof y}};
    cr_assert_eq(dynq_session_run(session, &batch, io, 2, &error), DYNQ_OK, "%s", error.message);
    dynq_session_free(session);
}

/* Runs both engines and compares bits; what was asked for is in `seen` afterwards. Frees the model.
 */
static void compare_bits(dynq_model *model, size_t rows, size_t segments, dynq_scope scope,
                         uint32_t threads)
{
    dynq_error error = {0};
    dynq_session_options options = {
        .size = sizeof options, .max_rows = MAX_ROWS, .threads = threads, .scope = scope};
    samples_fill(x, MAX_ROWS * INPUTS, 4);
    cr_assert_eq(run(model, &options, rows, segments, expected, &error), DYNQ_OK);
    seen.products = seen.wholes = seen.most_rows = seen.strides = 0;
    options.engine = &plain_engine;
    memset(y, 0xff, sizeof y);
    cr_assert_eq(run(model, &options, rows, segments, y, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(memcmp(y, expected, rows * OUTPUTS * sizeof *y), 0, "%zu rows, %zu segments", rows,
                 segments);
    cr_assert_eq(seen.strides, 0, "codes for an engine have no gaps");
    dynq_model_free(model);
}

static void expect_native_bits(bool relu, size_t rows, size_t segments, dynq_scope scope,
                               uint32_t threads)
{
    compare_bits(make_model(relu), rows, segments, scope, threads);
}

Test(session_engine, ranges_cut_to_limits)
{
    seen.answer = DYNQ_OK;
    for (size_t i = 0; i < 4; i++) {
        dynq_model *model = make_model(i % 2 == 0);
        for (size_t n = 0; n < model->node_count; n++) {
            if (model->nodes[n].op == DYNQ_OP_LINEAR) {
                model->nodes[n].range.lo = -0.25f;
                model->nodes[n].range.hi = 0.5f;
            }
        }
        compare_bits(model, 300, i / 2 * 2, (dynq_scope)0, 1);
    }
}

Test(session_engine, an_engine_with_whole_layers_is_asked_for_them)
{
    seen.answer = DYNQ_OK;
    for (size_t rows = 1; rows <= MAX_ROWS; rows += rows < 5 ? 1 : 139) {
        expect_native_bits(false, rows, 0, (dynq_scope)0, 1);
        cr_assert_eq(seen.products == 0, rows >= WHOLE_ROWS);
        cr_assert_eq(seen.wholes == 0, rows < WHOLE_ROWS);
    }
    expect_native_bits(true, 9, 0, (dynq_scope)0, 1);
    cr_assert(seen.products == 1 && seen.wholes == 1, "an activation follows fc1 only");
}

Test(session_engine, rows_with_ranges_of_their_own_are_products)
{
    seen.answer = DYNQ_OK;
    expect_native_bits(false, 300, 2, (dynq_scope)0, 1);
    cr_assert_eq(seen.wholes, 0);
    expect_native_bits(false, 300, 0, DYNQ_SCOPE_ROW, 1);
    cr_assert_eq(seen.wholes, 0);
}

Test(session_engine, an_engine_may_refuse_a_whole_layer)
{
    seen.answer = DYNQ_ERR_UNSUPPORTED;
    expect_native_bits(false, 300, 0, (dynq_scope)0, 1);
    cr_assert(seen.wholes == 2 && seen.products >= 2);
}

Test(session_engine, other_failures_end_the_run)
{
    seen.answer = DYNQ_ERR_MEMORY;
    dynq_model *model = make_model(false);
    dynq_error error = {0};
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = MAX_ROWS, .engine = &plain_engine};
    cr_assert_eq(run(model, &options, 9, 0, y, &error), DYNQ_ERR_ENGINE);
    cr_assert_not_null(strstr(error.message, "fc1"), "%s", error.message);
    dynq_model_free(model);
}

Test(session_engine, sums_are_asked_for_in_parts_that_stay_in_a_cache)
{
    seen.answer = DYNQ_OK;
    expect_native_bits(true, MAX_ROWS, 2, (dynq_scope)0, 1);
    cr_assert_lt(seen.most_rows, MAX_ROWS);
    cr_assert_gt(seen.products, 2);
    expect_native_bits(true, MAX_ROWS, 2, (dynq_scope)0, 2);
}

/* The blocks of two threads leave gaps between the rows of their results. */
Test(session_engine, layers_shared_by_threads_are_products)
{
    seen.answer = DYNQ_OK;
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    expect_native_bits(false, MAX_ROWS, 0, (dynq_scope)0, 2);
    cr_assert_eq(seen.wholes == 0, cpu.usable > 1);
}

/* Codes of 4 and 2 bits by column are s8 for an engine, whose inputs have no padding that would
 * count; groups and INT16 stay here, beside layers that an engine has. */
Test(session_engine, formats)
{
    seen.answer = DYNQ_OK;
    static const size_t rows[] = {1, 9, 300};
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        const samples_format *format = &samples_formats[f];
        dynq_model *model = samples_coded(format, NULL, NULL);
        for (size_t i = 0; i < 6; i++) {
            const size_t count = rows[i / 2];
            dynq_session_options options = {
                .size = sizeof options, .max_rows = count, .threads = i % 2 == 0 ? 1 : 2};
            samples_fill(x, MAX_ROWS * INPUTS, 4);
            run_formats(model, &options, count, expected);
            seen.products = seen.wholes = seen.strides = 0;
            options.engine = &plain_engine;
            run_formats(model, &options, count, y);
            cr_assert_eq(memcmp(y, expected, count * SAMPLES_FORMAT_OUTPUTS * sizeof *y), 0,
                         "%s, %zu rows", format->name, count);
            const bool shared = dynq_format_bits(format->format) <= 8 && format->group == 0;
            cr_assert_eq(seen.products + seen.wholes > 0, shared, "%s", format->name);
            cr_assert_eq(seen.strides, 0);
        }
        dynq_model_free(model);
    }
}

/* Two readers of one value: codes without padding for the engine, and with padding for the native
 * groups. */
Test(session_engine, groups_beside_a_layer_of_the_engine)
{
    seen.answer = DYNQ_OK;
    dynq_model *model = samples_every_format();
    static float results[2][SAMPLES_FORMATS][9 * 18];
    for (int foreign = 0; foreign < 2; foreign++) {
        const dynq_session_options options = {
            .size = sizeof options, .max_rows = 9, .engine = foreign ? &plain_engine : NULL};
        dynq_session *session = NULL;
        cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
        const size_t outputs = dynq_model_output_count(model);
        dynq_binding io[1 + SAMPLES_FORMATS] = {{.slot = 0, .data = x, .bytes = sizeof x}};
        for (size_t i = 0; i < outputs; i++) {
            io[1 + i] = (dynq_binding){.slot = (int)(1 + i),
                                       .data = results[foreign][i],
                                       .bytes = sizeof results[foreign][i]};
        }
        const dynq_batch batch = {.size = sizeof batch, .rows = 9};
        cr_assert_eq(dynq_session_run(session, &batch, io, 1 + outputs, NULL), DYNQ_OK);
        dynq_session_free(session);
    }
    cr_assert_eq(memcmp(results[0], results[1], sizeof results[0]), 0);
    dynq_model_free(model);
}

/* A table from before linear_s8 was there. */
Test(session_engine, an_older_engine_works)
{
    static dynq_engine old;
    old = plain_engine;
    old.size = offsetof(dynq_engine, linear_s8_rows);
    dynq_model *model = make_model(false);
    dynq_error error = {0};
    dynq_session_options options = {.size = sizeof options, .max_rows = MAX_ROWS};
    samples_fill(x, MAX_ROWS * INPUTS, 4);
    cr_assert_eq(run(model, &options, 20, 0, expected, &error), DYNQ_OK);
    seen.wholes = 0;
    options.engine = &old;
    cr_assert_eq(run(model, &options, 20, 0, y, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(memcmp(y, expected, 20 * OUTPUTS * sizeof *y), 0);
    cr_assert_eq(seen.wholes, 0);
    dynq_model_free(model);
}

#ifdef DYNQ_HAVE_ONEDNN
/* Products give the native bits; whole layers differ in rounding, and the second layer's codes by
 * one now and then. Without VNNI oneDNN saturates. */
static void compare_onednn(bool relu, size_t rows, size_t segments, uint32_t threads)
{
    dynq_model *model = make_model(relu);
    dynq_error error = {0};
    dynq_session_options options = {
        .size = sizeof options, .max_rows = MAX_ROWS, .threads = threads};
    samples_fill(x, MAX_ROWS * INPUTS, 5);
    cr_assert_eq(run(model, &options, rows, segments, expected, &error), DYNQ_OK);
    options.engine = dynq_onednn_engine();
    cr_assert_eq(run(model, &options, rows, segments, y, &error), DYNQ_OK, "%s", error.message);
    float largest = 0, difference = 0;
    for (size_t i = 0; i < rows * OUTPUTS; i++) {
        largest = fmaxf(largest, fabsf(expected[i]));
        difference = fmaxf(difference, fabsf(y[i] - expected[i]));
    }
    cr_assert_leq(difference, segments == 0 ? largest * 0.002f : 0, "%g of %g, %zu rows",
                  (double)difference, (double)largest, rows);
    dynq_model_free(model);
}

Test(session_engine, onednn_agrees_with_the_native_engine)
{
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    if ((cpu.features & DYNQ_CPU_AVX512_VNNI) == 0) {
        fprintf(stderr, "this CPU has no VNNI: sums of oneDNN may saturate and are not compared\n");
        return; /* Criterion's exit status counts skipped tests as failed */
    }
    static const size_t rows[] = {2, 7, 8, 33, 128, 129, 300, MAX_ROWS};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t threads = 1; threads <= 2; threads++) {
            compare_onednn(false, rows[i], 0, threads);
            compare_onednn(true, rows[i], 0, threads);
            compare_onednn(false, rows[i], 2, threads);
        }
    }
}
#endif
