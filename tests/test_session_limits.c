/* Dynamic ranges that are cut to limits: what codes then mean, and the same bits everywhere. */
#include "src/pack.h"
#include "src/session.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 300, INPUTS = 24, HIDDEN = 80, OUTLIER = 170 };

/* x -> fc1 -> gelu -> fc2, + x -> norm -> fc3; outputs "h" (norm) and "y". */
static dynq_model *make_model(dynq_scope scope, dynq_scheme scheme, float lo, float hi)
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
    const dynq_quantize_options options = {
        .size = sizeof options, .scope = scope, .scheme = scheme};
    cr_assert_eq(dynq_quantize(fp32, &options, &int8, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    for (size_t i = 0; i < int8->node_count; i++) {
        if (int8->nodes[i].op == DYNQ_OP_LINEAR) {
            int8->nodes[i].range.lo = lo;
            int8->nodes[i].range.hi = hi;
        }
    }
    cr_assert_eq(dynq_model_check(int8, &error), DYNQ_OK, "%s", error.message);
    return int8;
}

typedef struct results {
    float h[ROWS * INPUTS], y[ROWS * HIDDEN];
} results;

static float x[ROWS * INPUTS];

/* Numbers below 1 in magnitude, and one row with larger ones. */
static void fill_inputs(float outlier)
{
    samples_fill(x, ROWS * INPUTS, 77);
    for (size_t i = 0; i < INPUTS; i++) {
        x[OUTLIER * INPUTS + i] *= outlier;
    }
}

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

/* Segments of 1, 2, 3, ... rows, from row `first` on. */
static size_t make_offsets(size_t rows, size_t *offsets)
{
    size_t count = 0;
    offsets[0] = 0;
    while (offsets[count] < rows) {
        const size_t end = offsets[count] + count + 1;
        offsets[++count] = end < rows ? end : rows;
    }
    return count;
}

static dynq_status run(dynq_session *session, size_t first, const size_t *offsets, size_t segments,
                       results *out, dynq_error *error)
{
    const size_t rows = offsets[segments];
    const dynq_binding io[] = {
        {dynq_session_slot(session, "x"), x + first * INPUTS, rows * INPUTS * sizeof(float), 0},
        {dynq_session_slot(session, "h"), out->h + first * INPUTS, rows * INPUTS * sizeof(float),
         0},
        {dynq_session_slot(session, "y"), out->y + first * HIDDEN, rows * HIDDEN * sizeof(float),
         0},
    };
    const dynq_batch batch = {
        .size = sizeof batch, .rows = rows, .segments = segments, .offsets = offsets};
    return dynq_session_run(session, &batch, io, 3, error);
}

/* All kernels, threads and profiling against "ref", segment by segment (or in one where the range
 * is over the whole batch). */
static void check(dynq_model *model, bool separable)
{
    static results expected, got;
    size_t offsets[ROWS + 1];
    const size_t segments = make_offsets(ROWS, offsets);
    dynq_session *session = open_session(model, (dynq_session_options){.kernel = "ref"}, ROWS);
    for (size_t s = 0; s < (separable ? segments : 1); s++) {
        const size_t alone[] = {0, offsets[s + 1] - offsets[s]};
        cr_assert_eq(separable ? run(session, offsets[s], alone, 1, &expected, NULL)
                               : run(session, 0, offsets, segments, &expected, NULL),
                     DYNQ_OK);
    }
    dynq_session_free(session);
    const char *kernel = NULL;
    for (size_t k = 0; (kernel = dynq_kernel_name(k)) != NULL; k++) {
        for (uint32_t threads = 1; threads <= 3 && dynq_kernel_supported(kernel); threads++) {
            const dynq_thread_pool_options options = {
                .size = sizeof options, .threads = threads, .oversubscribe = 1};
            dynq_thread_pool *pool = NULL;
            cr_assert_eq(dynq_thread_pool_create(&options, &pool, NULL), DYNQ_OK);
            session = open_session(
                model,
                (dynq_session_options){.kernel = kernel, .pool = pool, .profile = threads == 2},
                ROWS);
            memset(&got, 0xff, sizeof got);
            cr_assert_eq(run(session, 0, offsets, segments, &got, NULL), DYNQ_OK);
            cr_assert_eq(memcmp(&got, &expected, sizeof got), 0, "%s, %u threads", kernel, threads);
            dynq_session_free(session);
            dynq_thread_pool_free(pool);
        }
    }
}

Test(session_limits, the_same_bits_on_all_kernels_threads_and_splits)
{
    static const dynq_scope scopes[] = {DYNQ_SCOPE_ROW, DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_TENSOR};
    fill_inputs(1e6f);
    for (size_t i = 0; i < 6; i++) {
        const dynq_scheme scheme = i % 2 == 0 ? DYNQ_SCHEME_AFFINE : DYNQ_SCHEME_SYMMETRIC;
        dynq_model *model = make_model(scopes[i / 2], scheme, -0.4f, 0.7f);
        check(model, scopes[i / 2] != DYNQ_SCOPE_TENSOR);
        dynq_model_free(model);
    }
}

/* ---- against the definition ---- */

typedef struct parameters {
    double scale;
    double inverse;
    int32_t zero, least;
} parameters;

static parameters parameters_of(const float *row, size_t count, dynq_scheme scheme, float lo,
                                float hi)
{
    float low = 0.0f, high = 0.0f;
    for (size_t i = 0; i < count; i++) {
        low = fminf(low, row[i]);
        high = fmaxf(high, row[i]);
    }
    if (scheme == DYNQ_SCHEME_SYMMETRIC) {
        const float largest = fminf(fmaxf(-low, high), fmaxf(-lo, hi));
        return (parameters){largest / 127.0f, 127.0f / largest, 128, 1};
    }
    low = fmaxf(low, lo);
    high = fminf(high, hi);
    const double width = (double)high - (double)low;
    const float inverse = (float)(255.0 / width);
    return (parameters){(float)(width / 255.0), inverse, (int32_t)rintf(-low * inverse), 0};
}

/* fc1 of the model on one row, in codes. */
static void definition(const dynq_node *node, const float *row, float *y)
{
    int8_t codes[HIDDEN * INPUTS];
    dynq_unpack_s8(node->packed, INPUTS, 0, HIDDEN, codes);
    const parameters p =
        parameters_of(row, INPUTS, node->range.scheme, node->range.lo, node->range.hi);
    for (size_t n = 0; n < HIDDEN; n++) {
        int32_t sum = 0;
        for (size_t i = 0; i < INPUTS; i++) {
            const float scaled = row[i] * (float)p.inverse;
            const float code = rintf(fminf(fmaxf(scaled, -1e6f), 1e6f)) + (float)p.zero;
            const int32_t q = (int32_t)fminf(fmaxf(code, (float)p.least), 255.0f);
            sum += (q - p.zero) * codes[n * INPUTS + i];
        }
        y[n] = fmaf((float)sum, (float)p.scale * node->weight_scale[n], 0.0f);
    }
}

static void check_definition(dynq_scheme scheme, float lo, float hi)
{
    static float y[ROWS * HIDDEN], expected[HIDDEN];
    static float numbers[HIDDEN * INPUTS];
    samples_fill(numbers, HIDDEN * INPUTS, 5);
    dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {HIDDEN, INPUTS}, .data = numbers};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc1", dynq_input(g, "x", INPUTS), &w, NULL));
    dynq_model *fp32 = NULL, *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &fp32, NULL), DYNQ_OK);
    const dynq_quantize_options options = {
        .size = sizeof options, .scope = DYNQ_SCOPE_ROW, .scheme = scheme};
    cr_assert_eq(dynq_quantize(fp32, &options, &model, NULL), DYNQ_OK);
    model->nodes[1].range.lo = lo;
    model->nodes[1].range.hi = hi;
    dynq_session *session = open_session(model, (dynq_session_options){0}, ROWS);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "y"), y, sizeof y, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    cr_assert_eq(dynq_session_run(session, &batch, io, 2, NULL), DYNQ_OK);
    for (size_t row = 0; row < ROWS; row++) {
        definition(&model->nodes[1], x + row * INPUTS, expected);
        cr_assert_eq(memcmp(expected, y + row * HIDDEN, sizeof expected), 0, "row %zu, [%g, %g]",
                     row, (double)lo, (double)hi);
    }
    dynq_session_free(session);
    dynq_model_free(model);
    dynq_model_free(fp32);
}

Test(session_limits, a_range_is_what_was_found_within_the_limits)
{
    static const float limits[][2] = {{-0.4f, 0.7f}, {-0.01f, 0.9f}, {0.0f, 0.5f},   {-0.5f, 0.0f},
                                      {-5.0f, 5.0f}, {-0.9f, 0.05f}, {-1e-9f, 1e-9f}};
    fill_inputs(3e30f);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        check_definition(DYNQ_SCHEME_AFFINE, limits[i][0], limits[i][1]);
        check_definition(DYNQ_SCHEME_SYMMETRIC, limits[i][0], limits[i][1]);
    }
}

Test(session_limits, limits_that_nothing_reaches_change_nothing)
{
    static results with, without;
    samples_fill(x, ROWS * INPUTS, 77);
    const size_t offsets[] = {0, 100, ROWS};
    dynq_model *wide = make_model(DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, -1e30f, 1e30f);
    dynq_model *none = make_model(DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, 0.0f, 0.0f);
    dynq_session *a = open_session(wide, (dynq_session_options){0}, ROWS);
    dynq_session *b = open_session(none, (dynq_session_options){0}, ROWS);
    cr_assert_eq(run(a, 0, offsets, 2, &with, NULL), DYNQ_OK);
    cr_assert_eq(run(b, 0, offsets, 2, &without, NULL), DYNQ_OK);
    cr_assert_eq(memcmp(&with, &without, sizeof with), 0);
    dynq_session_free(a);
    dynq_session_free(b);
    dynq_model_free(wide);
    dynq_model_free(none);
}

Test(session_limits, nan_and_inf_are_errors_still)
{
    static results out;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    const size_t offsets[] = {0, ROWS};
    for (size_t i = 0; i < 3; i++) {
        for (dynq_scope scope = DYNQ_SCOPE_SEGMENT; scope <= DYNQ_SCOPE_ROW; scope++) {
            dynq_model *model = make_model(scope, DYNQ_SCHEME_AFFINE, -0.4f, 0.7f);
            dynq_session *session = open_session(model, (dynq_session_options){0}, ROWS);
            dynq_error error = {0};
            samples_fill(x, ROWS * INPUTS, 77);
            x[123 * INPUTS + 4] = values[i];
            cr_assert_eq(run(session, 0, offsets, 1, &out, &error), DYNQ_ERR_NOT_FINITE);
            cr_assert_not_null(strstr(error.message, "'x': NaN or Inf at row 123, column 4"), "%s",
                               error.message);
            dynq_session_free(session);
            dynq_model_free(model);
        }
    }
}

/* Two layers on one value. */
static size_t copies_of(float first_limit, float second_limit)
{
    static float numbers[8 * 5];
    samples_fill(numbers, 8 * 5, 1);
    dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {8, 5}, .data = numbers};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value v = dynq_input(g, "x", 5);
    dynq_output(g, "a", dynq_linear(g, "fc1", v, &w, NULL));
    dynq_output(g, "b", dynq_linear(g, "fc2", v, &w, NULL));
    dynq_model *fp32 = NULL, *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &fp32, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(fp32, NULL, &model, NULL), DYNQ_OK);
    model->nodes[1].range.hi = first_limit;
    model->nodes[2].range.hi = second_limit;
    dynq_session *session = open_session(model, (dynq_session_options){0}, 1);
    const size_t count = session->plan->copy_count;
    dynq_session_free(session);
    dynq_model_free(model);
    dynq_model_free(fp32);
    return count;
}

Test(session_limits, layers_with_the_same_limits_share_a_copy)
{
    cr_assert_eq(copies_of(0.0f, 0.0f), 1);
    cr_assert_eq(copies_of(0.5f, 0.5f), 1);
    cr_assert_eq(copies_of(0.5f, 0.0f), 2);
    cr_assert_eq(copies_of(0.5f, 0.25f), 2);
}
