/* Sessions on models whose layers have weights in any format. */
#include "tests/samples.h"
#include "tests/samples_formats.h"

#include "kernels/kernel.h"
#include "src/range.h"

#include <dynq/cpu.h>

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = SAMPLES_FORMAT_INPUTS, N = SAMPLES_FORMAT_OUTPUTS, ROWS = 300 };

static const size_t few[] = {0, 1, 8, 9, 30, 41};
static float x[ROWS * K];

typedef struct results {
    float y[ROWS * N];
} results;

static dynq_status run(dynq_model *model, dynq_session_options options, size_t rows,
                       const size_t *offsets, size_t segments, float *y, dynq_error *error)
{
    dynq_session *session = NULL;
    options.size = sizeof options;
    options.max_rows = rows;
    dynq_status status = dynq_session_create(model, &options, &session, error);
    const dynq_binding io[] = {{.slot = 0, .data = x, .bytes = rows * K * sizeof *x},
                               {.slot = 1, .data = y, .bytes = rows * N * sizeof *y}};
    const dynq_batch batch = {
        .size = sizeof batch, .rows = rows, .segments = segments, .offsets = offsets};
    for (int again = 0; again < 2 && status == DYNQ_OK; again++) { /* also a session used before */
        memset(y, 0xff, rows * N * sizeof *y);
        status = dynq_session_run(session, &batch, io, 2, error);
    }
    dynq_session_free(session);
    return status;
}

static void expect_run(dynq_model *model, dynq_session_options options, size_t rows,
                       const size_t *offsets, size_t segments, results *out)
{
    dynq_error error = {0};
    samples_fill(x, ROWS * K, 9);
    memset(out, 0, sizeof *out);
    cr_assert_eq(run(model, options, rows, offsets, segments, out->y, &error), DYNQ_OK, "%s",
                 error.message);
}

static void expect_same(const results *a, const results *b, const char *what)
{
    cr_assert_eq(memcmp(a->y, b->y, sizeof a->y), 0, "%s", what);
}

static results expected, got;

/* On every kernel and with two threads, for few rows with segments and for so many that stages run
 * by blocks. */
Test(session_formats, the_same_bits_everywhere)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        for (size_t rows = 41; rows <= ROWS; rows += ROWS - 41) {
            const bool segments = rows == 41;
            const size_t *offsets = segments ? few : NULL;
            const dynq_session_options reference = {.kernel = "ref"};
            expect_run(model, reference, rows, offsets, segments ? 5 : 0, &expected);
            for (size_t k = 0; dynq_kernel_name(k) != NULL; k++) {
                for (uint32_t threads = 1; threads <= 2; threads++) {
                    const dynq_session_options o = {.kernel = dynq_kernel_name(k),
                                                    .threads = threads};
                    if (dynq_kernel_supported(o.kernel)) {
                        expect_run(model, o, rows, offsets, segments ? 5 : 0, &got);
                        expect_same(&expected, &got, samples_formats[f].name);
                    }
                }
            }
        }
        dynq_model_free(model);
    }
}

/* What rows and segments get does not depend on what else is in the batch. */
Test(session_formats, batches_can_be_split)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        expect_run(model, (dynq_session_options){0}, 41, few, 5, &expected);
        for (size_t s = 0; s < 5; s++) {
            const size_t rows = few[s + 1] - few[s];
            dynq_error error = {0};
            memmove(x, x + (few[s] - (s == 0 ? 0 : few[s - 1])) * K,
                    (ROWS - few[s]) * K * sizeof *x);
            cr_assert_eq(run(model, (dynq_session_options){0}, rows, NULL, 0, got.y, &error),
                         DYNQ_OK, "%s", error.message);
            cr_assert_eq(memcmp(got.y, expected.y + few[s] * N, rows * N * sizeof *got.y), 0,
                         "%s, segment %zu", samples_formats[f].name, s);
        }
        dynq_session_options by_row = {.scope = DYNQ_SCOPE_ROW};
        expect_run(model, by_row, 41, NULL, 0, &expected);
        for (size_t m = 0; m < 41; m++) {
            memmove(x, x + (m == 0 ? 0 : K), (ROWS - 41) * K * sizeof *x);
            cr_assert_eq(run(model, by_row, 1, NULL, 0, got.y, NULL), DYNQ_OK);
            cr_assert_eq(memcmp(got.y, expected.y + m * N, N * sizeof *got.y), 0, "%s, row %zu",
                         samples_formats[f].name, m);
        }
        dynq_model_free(model);
    }
}

/* The weights that a model says it has, in an FP32 model: the same bits where halves are widened,
 * and where a session computes in FP32 whatever the format. */
Test(session_formats, fp32_on_the_weights_of_any_format)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        const dynq_format format = samples_formats[f].format;
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        dynq_model *fp32 = samples_dequantized(model);
        expect_run(fp32, (dynq_session_options){0}, 41, few, 5, &expected);
        const dynq_session_options forced = {.precision = DYNQ_PRECISION_FP32, .threads = 2};
        expect_run(model, forced, 41, few, 5, &got);
        expect_same(&expected, &got, samples_formats[f].name);
        if (format == DYNQ_FORMAT_FP16 || format == DYNQ_FORMAT_BF16) {
            expect_run(model, (dynq_session_options){0}, 41, few, 5, &got);
            expect_same(&expected, &got, samples_formats[f].name);
        }
        dynq_session *session = NULL;
        dynq_session_info info = {.size = sizeof info};
        const dynq_session_options o = {.size = sizeof o, .precision = DYNQ_PRECISION_FP32};
        cr_assert_eq(dynq_session_create(model, &o, &session, NULL), DYNQ_OK);
        dynq_session_describe(session, &info);
        cr_assert_eq(info.dequantized != 0,
                     dynq_format_bits(format) < 16 || format == DYNQ_FORMAT_INT16);
        cr_assert_eq(info.weight_bytes == 0,
                     format == DYNQ_FORMAT_FP16 || format == DYNQ_FORMAT_BF16);
        dynq_session_free(session);
        dynq_model_free(fp32);
        dynq_model_free(model);
    }
}

/* Tables of levels are a way to store weights, not to compute. */
Test(session_formats, codes_by_column_are_the_int8_weights_they_stand_for)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        const samples_format *format = &samples_formats[f];
        if (format->table == 0 || format->group != 0) {
            continue;
        }
        for (int is_static = 0; is_static < 2; is_static++) {
            const dynq_range_rule rule = {DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE,
                                          -1.5f, 0.75f};
            dynq_model *model = samples_coded(format, is_static ? &rule : NULL, NULL);
            dynq_model *int8 = samples_as_int8(model);
            expect_run(int8, (dynq_session_options){0}, ROWS, NULL, 0, &expected);
            expect_run(model, (dynq_session_options){0}, ROWS, NULL, 0, &got);
            expect_same(&expected, &got, format->name);
            dynq_model_free(int8);
            dynq_model_free(model);
        }
    }
}

/* One layer, x -> fc -> y, and its results by the formulas. */
static void check_formula(dynq_model *model, const float *input, const float *y, size_t rows)
{
    const dynq_node *node = &model->nodes[1];
    const bool int16 = node->precision == DYNQ_PRECISION_INT16;
    const size_t group = node->weight_group == 0 ? node->k : node->weight_group;
    dynq_range_bits bits = {0, 0};
    for (size_t i = 0; i < rows * node->k; i++) {
        int32_t word = 0;
        memcpy(&word, &input[i], sizeof word);
        bits = dynq_range_join(bits, (dynq_range_bits){word, (uint32_t)word});
    }
    const float lo = dynq_range_low(bits), hi = dynq_range_high(bits);
    const float magnitude = fmaxf(-lo, hi);
    const dynq_range_params p = dynq_range_params_within(lo, hi, &node->range);
    const float inverse = int16 ? 32767.0f / magnitude : p.inverse;
    const float scale = int16 ? magnitude / 32767.0f : p.scale;
    const float smallest = int16 ? -32767.0f : (float)-p.zero;
    const float largest = int16 ? 32767.0f : (float)(255 - p.zero);
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < node->n; n++) {
            const dynq_weight_codes codes = dynq_node_codes(node, n / 16);
            float t = 0.0f;
            for (size_t first = 0; first < node->k; first += group) {
                int64_t acc = 0;
                for (size_t k = first; k < node->k && k < first + group; k++) {
                    const int w =
                        int16 ? (int16_t)dynq_node_word(node, n, k)
                              : dynq_panel_weight(&codes, dynq_node_panel(node, n), n % 16, k);
                    const float q =
                        rintf(fminf(fmaxf(input[m * node->k + k] * inverse, smallest), largest));
                    acc += (int64_t)q * w;
                }
                float factor = 1.0f;
                if (node->weight_group != 0) {
                    const uint16_t half =
                        dynq_panel_factor(&codes, dynq_node_panel(node, n), n % 16, first / group);
                    dynq_fp32_from_fp16(&half, 1, &factor);
                }
                t = fmaf((float)acc, factor, t);
            }
            const float expected_y =
                fmaf(t, scale * node->weight_scale[n], node->bias == NULL ? 0.0f : node->bias[n]);
            cr_assert_eq(memcmp(&expected_y, &y[m * node->n + n], sizeof expected_y), 0,
                         "row %zu, column %zu: %g instead of %g", m, n, (double)y[m * node->n + n],
                         (double)expected_y);
        }
    }
}

static void see(void *context, size_t node, size_t rows, size_t columns, const float *data,
                size_t stride)
{
    (void)node;
    for (size_t m = 0; m < rows; m++) {
        memcpy((float *)context + m * columns, data + m * stride, columns * sizeof *data);
    }
}

/* fc1 of the network, tapped. */
Test(session_formats, results_are_those_of_the_formulas)
{
    enum { M = 5 };
    static float seen[M * SAMPLES_FORMAT_HIDDEN];
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        if (model->nodes[1].precision == DYNQ_PRECISION_FP32) {
            dynq_model_free(model);
            continue;
        }
        const dynq_tap tap = {.node = "fc1", .function = see, .context = seen};
        expect_run(model, (dynq_session_options){.taps = &tap, .tap_count = 1}, M, NULL, 0, &got);
        check_formula(model, x, seen, M);
        dynq_model_free(model);
    }
}

/* The limits of a static and of a dynamic range, against the formula of INT16. */
Test(session_formats, ranges_of_int16)
{
    const dynq_range_params p = dynq_range_s16(-3.0f, 2.0f);
    cr_assert(p.scale == 3.0f / 32767.0f && p.inverse == 32767.0f / 3.0f && p.zero == 0);
    const dynq_range_params tiny = dynq_range_s16(-0x1p-101f, 0.0f);
    cr_assert(tiny.scale == 1.0f && tiny.inverse == 0.0f);
    const dynq_range_rule limits = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_ROW, DYNQ_SCHEME_SYMMETRIC,
                                    -1.0f, 0.5f};
    cr_assert_eq(dynq_range_s16_within(-3.0f, 2.0f, &limits).scale, 1.0f / 32767.0f);
    cr_assert_eq(dynq_range_s16_within(-0.25f, 0.125f, &limits).scale, 0.25f / 32767.0f);

    const samples_format *int16 = samples_find_format("int16");
    const dynq_range_rule fixed = {DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_SYMMETRIC,
                                   -1.0f, 0.25f};
    const dynq_range_rule cut = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_SYMMETRIC,
                                 -1.0f, 0.25f};
    dynq_model *a = samples_coded(int16, &fixed, NULL), *b = samples_coded(int16, &cut, NULL);
    for (size_t rows = 41; rows <= ROWS; rows += ROWS - 41) {
        expect_run(a, (dynq_session_options){.threads = 2}, rows, NULL, 0, &expected);
        expect_run(b, (dynq_session_options){0}, rows, NULL, 0, &got); /* x reaches -1 and more */
        cr_assert_neq(memcmp(&expected, &got, sizeof got), 0, "ranges inside are narrower");
    }
    dynq_model_free(a);
    dynq_model_free(b);
    /* Close to FP32: 16 bits lose next to nothing. */
    a = samples_coded(int16, NULL, NULL);
    b = samples_dequantized(a);
    expect_run(a, (dynq_session_options){0}, ROWS, NULL, 0, &got);
    expect_run(b, (dynq_session_options){0}, ROWS, NULL, 0, &expected);
    for (size_t i = 0; i < ROWS * N; i++) {
        cr_assert_lt(fabsf(got.y[i] - expected.y[i]), 1e-2f);
    }
    dynq_model_free(a);
    dynq_model_free(b);
}

Test(session_formats, an_input_of_nothing_gives_the_bias)
{
    enum { M = 3 };
    static float seen[M * SAMPLES_FORMAT_HIDDEN];
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        const dynq_tap tap = {.node = "fc1", .function = see, .context = seen};
        for (size_t i = 0; i < M * K; i++) {
            x[i] = i % 2 == 0 ? 0.0f : 0x1p-120f;
        }
        cr_assert_eq(run(model, (dynq_session_options){.taps = &tap, .tap_count = 1}, M, NULL, 0,
                         got.y, NULL),
                     DYNQ_OK);
        for (size_t i = 0; i < M * SAMPLES_FORMAT_HIDDEN; i++) {
            cr_assert_eq(seen[i], model->nodes[1].bias[i % SAMPLES_FORMAT_HIDDEN]);
        }
        dynq_model_free(model);
    }
}

Test(session_formats, what_is_not_finite_is_found)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        for (int is_static = 0; is_static < 2; is_static++) {
            const dynq_range_rule rule = {DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE,
                                          -1.5f, 0.75f};
            dynq_model *model = samples_coded(&samples_formats[f], is_static ? &rule : NULL, NULL);
            samples_fill(x, ROWS * K, 9);
            x[17 * K + 5] = is_static ? NAN : -INFINITY;
            dynq_error error = {0};
            cr_assert_eq(run(model, (dynq_session_options){0}, 41, NULL, 0, got.y, &error),
                         DYNQ_ERR_NOT_FINITE, "%s", samples_formats[f].name);
            cr_assert_not_null(strstr(error.message, "row 17, column 5"), "%s", error.message);
            dynq_model_free(model);
        }
    }
}

/* What opening a file lets pass is found by the run, or is at least safe. */
Test(session_formats, hostile_weights)
{
    const char *names[] = {"int4 in groups of 32", "int8 in groups of 64", "fp16", "bf16"};
    for (size_t i = 0; i < 4; i++) {
        for (size_t rows = 41; rows <= ROWS; rows += ROWS - 41) {
            dynq_model *model = samples_coded(samples_find_format(names[i]), NULL, NULL);
            uint16_t *words = (uint16_t *)(uintptr_t)model->nodes[1].packed;
            words[3] = i == 3 ? 0x7f80 : 0x7e00; /* a factor, or a weight */
            samples_fill(x, ROWS * K, 9);
            dynq_error error = {0};
            cr_assert_eq(run(model, (dynq_session_options){0}, rows, NULL, 0, got.y, &error),
                         DYNQ_ERR_NOT_FINITE, "%s", names[i]);
            dynq_model_free(model);
        }
    }
    const char *safe[] = {"int16", "int8 in groups of 128", "int4", "int2 in groups of 64"};
    for (size_t i = 0; i < 4; i++) {
        dynq_model *model = samples_coded(samples_find_format(safe[i]), NULL, NULL);
        dynq_node *node = &model->nodes[1];
        uint8_t *bytes = (uint8_t *)(uintptr_t)node->packed;
        for (size_t b = 0; b < dynq_node_packed_bytes(node); b++) {
            const bool code = node->weight_group == 0 || b % (64 + 128 * 16) >= 64;
            bytes[b] = node->weight_format == DYNQ_FORMAT_INT16 ? (b % 2 == 0 ? 0 : 0x80)
                       : code && i != 3                         ? 0x80
                                                                : bytes[b];
        }
        for (size_t l = 0; l < dynq_node_tables(node) * dynq_node_table_levels(node); l++) {
            ((int8_t *)(uintptr_t)node->levels)[l] = -128;
        }
        samples_fill(x, ROWS * K, 9);
        for (size_t k = 0; dynq_kernel_name(k) != NULL; k++) {
            if (dynq_kernel_supported(dynq_kernel_name(k))) {
                const dynq_session_options o = {.kernel = dynq_kernel_name(k)};
                const dynq_status status = run(model, o, ROWS, NULL, 0, got.y, NULL);
                cr_assert(status == DYNQ_OK || status == DYNQ_ERR_NOT_FINITE);
            }
        }
        dynq_model_free(model);
    }
}

Test(session_formats, profiles_change_no_bit)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        for (size_t rows = 41; rows <= ROWS; rows += ROWS - 41) {
            expect_run(model, (dynq_session_options){0}, rows, NULL, 0, &expected);
            expect_run(model, (dynq_session_options){.profile = 1, .threads = 2}, rows, NULL, 0,
                       &got);
            expect_same(&expected, &got, samples_formats[f].name);
        }
        dynq_model_free(model);
    }
}

/* With groups and INT16 there is nothing between product and epilogue. */
Test(session_formats, profiles_count_layers)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        const dynq_session_options o = {.size = sizeof o, .max_rows = 41, .profile = 1};
        dynq_session *session = NULL;
        cr_assert_eq(dynq_session_create(model, &o, &session, NULL), DYNQ_OK);
        samples_fill(x, ROWS * K, 9);
        const dynq_binding io[] = {{.slot = 0, .data = x, .bytes = sizeof x},
                                   {.slot = 1, .data = got.y, .bytes = sizeof got.y}};
        const dynq_batch batch = {.size = sizeof batch, .rows = 41};
        cr_assert_eq(dynq_session_run(session, &batch, io, 2, NULL), DYNQ_OK);
        dynq_step_profile step = {.size = sizeof step};
        size_t layers = 0;
        for (size_t s = 0; dynq_session_profile(session, s, &step) == DYNQ_OK; s++) {
            if (strncmp(step.kind, "linear", 6) == 0) {
                const bool whole =
                    samples_formats[f].group != 0 || samples_formats[f].format == DYNQ_FORMAT_INT16;
                cr_assert_gt(step.gemm_ns, 0u, "%s", samples_formats[f].name);
                cr_assert(!whole || step.epilogue_ns == 0);
                layers++;
            }
        }
        cr_assert_eq(layers, 3u);
        dynq_session_free(session);
        dynq_model_free(model);
    }
}

Test(session_formats, dots_of_bf16)
{
    dynq_model *model = samples_coded(samples_find_format("bf16"), NULL, NULL);
    const dynq_session_options on_ref = {.kernel = "ref", .bf16_dot = 1};
    dynq_error error = {0};
    cr_assert_eq(run(model, on_ref, 41, NULL, 0, got.y, &error), DYNQ_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(error.message, "kernel 'ref'"), "%s", error.message);
    expect_run(model, (dynq_session_options){0}, 41, NULL, 0, &expected);
    const dynq_status status =
        run(model, (dynq_session_options){.bf16_dot = 1, .profile = 1}, 41, NULL, 0, got.y, NULL);
    cr_assert(status == DYNQ_OK || status == DYNQ_ERR_UNSUPPORTED);
    for (size_t i = 0; status == DYNQ_OK && i < 41 * N; i++) {
        cr_assert_lt(fabsf(got.y[i] - expected.y[i]), 0.05f * (1.0f + fabsf(expected.y[i])));
    }
    dynq_model_free(model);
}
