/* Smoothing: the same answers, less error once quantized, and what it leaves alone. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 300, INPUTS = 40, HIDDEN = 48, OUTPUTS = 20, OUTLIER = 11, ZERO = 17 };

static float x[ROWS * INPUTS];

static dynq_tensor matrix(const float *data, size_t rows, size_t columns)
{
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 2, .shape = {rows, columns}, .data = data};
}

static dynq_tensor vector(const float *data, size_t count)
{
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 1, .shape = {count}, .data = data};
}

/* x -> fc1(bias) -> act -> fc2 -> y. Hidden column OUTLIER is 60 times the others, with as much
 * smaller weights, and ZERO is always 0. `act` is any activation. */
static dynq_model *make_mlp(dynq_value (*act)(dynq_graph *, const char *, dynq_value), bool tapped)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN], b[HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    samples_fill(b, HIDDEN, 3);
    for (size_t i = 0; i < INPUTS; i++) {
        w1[OUTLIER * INPUTS + i] *= 60.0f;
        w1[ZERO * INPUTS + i] = 0.0f;
    }
    b[ZERO] = 0.0f;
    for (size_t n = 0; n < OUTPUTS; n++) {
        w2[n * HIDDEN + OUTLIER] /= 60.0f;
    }
    const dynq_tensor first = matrix(w1, HIDDEN, INPUTS), second = matrix(w2, OUTPUTS, HIDDEN),
                      bias = vector(b, HIDDEN);
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value h =
        act(g, "act", dynq_linear(g, "fc1", dynq_input(g, "x", INPUTS), &first, &bias));
    if (tapped) {
        dynq_output(g, "h", h);
    }
    dynq_output(g, "y", dynq_linear(g, "fc2", h, &second, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

/* x -> norm -> fc -> sum (+ norm, if `residual`) -> y, one column of norm an outlier. */
static dynq_model *make_norm(bool residual)
{
    float gain[INPUTS], bias[INPUTS];
    static float w[INPUTS * INPUTS];
    samples_fill(w, INPUTS * INPUTS, 4);
    samples_fill(bias, INPUTS, 5);
    for (size_t i = 0; i < INPUTS; i++) {
        gain[i] = i == OUTLIER ? 50.0f : 1.0f;
        w[i * INPUTS + OUTLIER] /= 50.0f;
    }
    const dynq_tensor weight = matrix(w, INPUTS, INPUTS), g1 = vector(gain, INPUTS),
                      b1 = vector(bias, INPUTS);
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value in = dynq_input(g, "x", INPUTS);
    const dynq_value norm = dynq_layer_norm(g, "norm", in, &g1, &b1, 1e-5f);
    const dynq_value fc = dynq_linear(g, "fc", norm, &weight, NULL);
    dynq_output(g, "y", dynq_add(g, "sum", fc, residual ? norm : in));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

static dynq_calibration *calibrate(dynq_model *model, size_t rows)
{
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    samples_fill(x, ROWS * INPUTS, 9);
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, &error), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, rows, 0, 1, &error), DYNQ_OK, "%s",
                 error.message);
    return calibration;
}

static dynq_model *smooth_rows(dynq_model *model, dynq_smooth_options options, size_t rows)
{
    dynq_model *smoothed = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    dynq_calibration *calibration = calibrate(model, rows);
    cr_assert_eq(dynq_smooth(model, calibration, &options, &smoothed, &error), DYNQ_OK, "%s",
                 error.message);
    dynq_calibration_free(calibration);
    return smoothed;
}

static dynq_model *smooth(dynq_model *model, dynq_smooth_options options)
{
    return smooth_rows(model, options, ROWS);
}

static size_t outputs_of(const dynq_model *model)
{
    return model->nodes[model->outputs[model->output_count - 1].node].n;
}

/* Output "y" for x, from malloc. */
static float *run(dynq_model *model)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    const size_t bytes = ROWS * outputs_of(model) * sizeof(float);
    float *y = malloc(bytes), h[ROWS * HIDDEN];
    dynq_session *session = NULL;
    cr_assert_not_null(y);
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "y"), y, bytes, 0},
                               {dynq_session_slot(session, "h"), h, sizeof h, 0}};
    cr_assert_eq(dynq_session_run(session, &batch, io, model->output_count + 1, NULL), DYNQ_OK);
    dynq_session_free(session);
    return y;
}

/* 10 log10 of the square of the answers of `exact` over that of the error of `model`. */
static double sqnr(dynq_model *exact, dynq_model *model)
{
    float *a = run(exact), *b = run(model);
    double square = 0.0, error = 0.0;
    for (size_t i = 0; i < ROWS * outputs_of(exact); i++) {
        square += (double)a[i] * (double)a[i];
        error += pow((double)a[i] - (double)b[i], 2.0);
    }
    free(a);
    free(b);
    return 10.0 * log10(square / error);
}

static double quantized_sqnr(dynq_model *exact, const dynq_model *model, dynq_scope scope)
{
    const dynq_quantize_options options = {.size = sizeof options, .scope = scope};
    dynq_model *int8 = NULL;
    cr_assert_eq(dynq_quantize(model, &options, &int8, NULL), DYNQ_OK);
    const double result = sqnr(exact, int8);
    dynq_model_free(int8);
    return result;
}

/* The two say the same in FP32, and the smoothed one gains `least` dB when quantized. */
static void expect_gain(dynq_model *model, dynq_smooth_options options, double least)
{
    dynq_model *smoothed = smooth(model, options);
    const double before = quantized_sqnr(model, model, options.scope);
    const double after = quantized_sqnr(model, smoothed, options.scope);
    cr_assert_gt(sqnr(model, smoothed), 125.0);
    cr_assert_gt(after, before + least, "%.1f dB before, %.1f dB after", before, after);
    dynq_model_free(smoothed);
}

static const dynq_node *node_of(const dynq_model *model, const char *name)
{
    const long index = dynq_model_find(model, name);
    return index < 0 ? NULL : &model->nodes[index];
}

static void free_both(dynq_model *a, dynq_model *b)
{
    dynq_model_free(a);
    dynq_model_free(b);
}

Test(smooth, relu_passes_factors_on)
{
    dynq_model *model = make_mlp(dynq_relu, false),
               *smoothed = smooth(model, (dynq_smooth_options){0});
    const dynq_node *fc1 = node_of(smoothed, "fc1"), *from = node_of(model, "fc1");
    cr_assert_eq(smoothed->node_count, model->node_count);
    const float *s = dynq_model_column_scale(smoothed, (size_t)dynq_model_find(smoothed, "act"));
    cr_assert_not_null(s);
    cr_assert_arr_eq(s, fc1->column_scale, HIDDEN * sizeof *s);
    cr_assert_null(node_of(smoothed, "fc2")->column_scale);
    cr_assert_null(node_of(smoothed, "x")->column_scale);
    for (size_t n = 0; n < HIDDEN; n++) {
        cr_assert_eq(fc1->bias[n], from->bias[n] / s[n]);
        cr_assert_eq(fc1->weight[n * INPUTS], from->weight[n * INPUTS] / s[n]);
        cr_assert_eq(node_of(smoothed, "fc2")->weight[n], node_of(model, "fc2")->weight[n] * s[n]);
        cr_assert(n == OUTLIER || s[n] < 0.5f * s[OUTLIER]);
    }
    cr_assert_eq(s[ZERO], 1.0f);
    free_both(model, smoothed);
    cr_assert_null(dynq_model_column_scale(NULL, 0));
}

Test(smooth, gains)
{
    dynq_model *models[] = {make_mlp(dynq_relu, false), make_mlp(dynq_gelu, false),
                            make_mlp(dynq_relu, true), make_norm(false), make_norm(true)};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        expect_gain(models[i], (dynq_smooth_options){0}, 6.0);
        expect_gain(models[i], (dynq_smooth_options){.scope = DYNQ_SCOPE_ROW}, 5.0);
        expect_gain(models[i], (dynq_smooth_options){.alpha = 0.5}, 4.0);
        dynq_model_free(models[i]);
    }
}

/* What the search finds is never worse than any alpha, by the measure of real rows. */
Test(smooth, searching_beats_alphas)
{
    dynq_model *model = make_norm(true), *found = smooth(model, (dynq_smooth_options){0});
    const double best = quantized_sqnr(model, found, 0);
    for (int i = 1; i < 10; i++) {
        dynq_model *fixed = smooth(model, (dynq_smooth_options){.alpha = 0.1 * i});
        cr_assert_gt(best, quantized_sqnr(model, fixed, 0) - 0.5, "alpha 0.%d", i);
        dynq_model_free(fixed);
    }
    free_both(model, found);
}

/* A layer norm that only the layer reads takes the factors; one that the residual reads as well
 * keeps its bits. */
Test(smooth, residuals_stay)
{
    dynq_model *alone = make_norm(false), *folded = smooth(alone, (dynq_smooth_options){0});
    cr_assert_eq(folded->node_count, alone->node_count);
    cr_assert_not_null(node_of(folded, "norm")->column_scale);
    cr_assert_eq(node_of(folded, "norm")->bias[3],
                 node_of(alone, "norm")->bias[3] / node_of(folded, "norm")->column_scale[3]);
    free_both(alone, folded);

    dynq_model *model = make_norm(true), *smoothed = smooth(model, (dynq_smooth_options){0});
    const dynq_node *scale = node_of(smoothed, "norm.smooth"), *sum = node_of(smoothed, "sum");
    cr_assert_eq(smoothed->node_count, model->node_count + 1);
    cr_assert_not_null(scale);
    cr_assert_eq(scale->op, DYNQ_OP_SCALE);
    cr_assert_str_eq(smoothed->nodes[node_of(smoothed, "fc")->inputs[0]].name, "norm.smooth");
    cr_assert_str_eq(smoothed->nodes[sum->inputs[1]].name, "norm");
    cr_assert_null(node_of(smoothed, "norm")->column_scale);
    cr_assert_arr_eq(node_of(smoothed, "norm")->gain, node_of(model, "norm")->gain,
                     INPUTS * sizeof(float));
    cr_assert_arr_eq(node_of(smoothed, "norm")->bias, node_of(model, "norm")->bias,
                     INPUTS * sizeof(float));
    free_both(model, smoothed);
}

static void count_folds(void *context, const dynq_smooth_note *note)
{
    int *counts = context;
    counts[note->fold]++;
    cr_assert(note->gain_db >= 0.0 || note->fold == DYNQ_FOLD_NONE);
}

/* Inputs can only be divided by a node of their own, and these have no outliers. */
Test(smooth, leaves_alone_what_does_not_gain)
{
    int counts[DYNQ_FOLD_NODE + 1] = {0};
    const dynq_smooth_options options = {.note = count_folds, .context = counts};
    dynq_model *model = make_mlp(dynq_relu, false), *smoothed = smooth(model, options);
    cr_assert_eq(counts[DYNQ_FOLD_NONE], 1);
    cr_assert_eq(counts[DYNQ_FOLD_PRODUCER], 1);
    cr_assert_eq(counts[DYNQ_FOLD_NODE], 0);
    free_both(model, smoothed);
}

Test(smooth, only_what_is_free)
{
    const dynq_smooth_options options = {.only_free = 1};
    dynq_model *models[] = {make_mlp(dynq_gelu, false), make_mlp(dynq_relu, true), make_norm(true)};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        dynq_model *smoothed = smooth(models[i], options);
        cr_assert_eq(smoothed->node_count, models[i]->node_count);
        float *a = run(models[i]), *b = run(smoothed);
        cr_assert_arr_eq(a, b, ROWS * outputs_of(smoothed) * sizeof *a);
        free(a);
        free(b);
        free_both(models[i], smoothed);
    }
}

/* Deterministic, and a scale node takes the factors of a second time itself. */
Test(smooth, again)
{
    dynq_model *model = make_norm(true), *a = smooth(model, (dynq_smooth_options){0}),
               *b = smooth(model, (dynq_smooth_options){0}),
               *twice = smooth(a, (dynq_smooth_options){.alpha = 0.3});
    size_t a_size = 0, b_size = 0;
    unsigned char *a_bytes = samples_saved(a, &a_size), *b_bytes = samples_saved(b, &b_size);
    cr_assert_eq(a_size, b_size);
    cr_assert_arr_eq(a_bytes, b_bytes, a_size);
    cr_assert_eq(twice->node_count, a->node_count);
    cr_assert_gt(sqnr(model, twice), 125.0);
    const dynq_node *scale = node_of(twice, "norm.smooth");
    cr_assert_not_null(scale->column_scale); /* what both times together have divided by */
    for (size_t i = 0; i < INPUTS; i++) {
        cr_assert_float_eq(scale->gain[i] * scale->column_scale[i], 1.0f, 1e-6f);
    }
    free(a_bytes);
    free(b_bytes);
    free_both(a, b);
    free_both(model, twice);
}

Test(smooth, one_sample)
{
    dynq_model *model = make_mlp(dynq_relu, false),
               *smoothed = smooth_rows(model, (dynq_smooth_options){0}, 1);
    cr_assert_gt(sqnr(model, smoothed), 110.0);
    free_both(model, smoothed);
}

Test(smooth, nothing_but_zeros)
{
    dynq_model *model = make_mlp(dynq_relu, false), *smoothed = NULL;
    const float none[INPUTS] = {0};
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, INPUTS, none, 0, NULL), DYNQ_OK);
    static const float hidden[HIDDEN] = {0};
    cr_assert_eq(dynq_calibration_observe(calibration, "act", 1, HIDDEN, hidden, 0, NULL), DYNQ_OK);
    cr_assert_eq(dynq_smooth(model, calibration, NULL, &smoothed, NULL), DYNQ_OK);
    cr_assert_null(node_of(smoothed, "act")->column_scale);
    dynq_calibration_free(calibration);
    free_both(model, smoothed);
}

/* ---- errors ---- */

static void expect_failure(const dynq_model *model, const dynq_calibration *calibration,
                           dynq_smooth_options options, dynq_status status, const char *text)
{
    dynq_model *untouched = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    cr_assert_eq(dynq_smooth(model, calibration, &options, &untouched, &error), status, "%s",
                 error.message);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(untouched);
}

Test(smooth, refuses)
{
    dynq_model *model = make_mlp(dynq_relu, false), *int8 = NULL, *other = make_norm(true);
    dynq_calibration *calibration = calibrate(model, ROWS), *empty = NULL, *foreign = NULL;
    cr_assert_eq(dynq_quantize(model, NULL, &int8, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_create(model, NULL, &empty, NULL), DYNQ_OK);
    foreign = calibrate(other, ROWS);
    const double alphas[] = {-0.1, 1.0, 2.0, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof alphas / sizeof alphas[0]; i++) {
        expect_failure(model, calibration, (dynq_smooth_options){.alpha = alphas[i]},
                       DYNQ_ERR_ARGUMENT, "alpha");
    }
    expect_failure(model, calibration, (dynq_smooth_options){.scope = (dynq_scope)9},
                   DYNQ_ERR_ARGUMENT, "scope 9");
    expect_failure(int8, calibration, (dynq_smooth_options){0}, DYNQ_ERR_ARGUMENT,
                   "quantized already");
    expect_failure(model, empty, (dynq_smooth_options){0}, DYNQ_ERR_NOT_FOUND, "'x'");
    expect_failure(model, foreign, (dynq_smooth_options){0}, DYNQ_ERR_NOT_FOUND, "'x'");
    expect_failure(NULL, calibration, (dynq_smooth_options){0}, DYNQ_ERR_ARGUMENT, "NULL");
    expect_failure(model, NULL, (dynq_smooth_options){0}, DYNQ_ERR_ARGUMENT, "NULL");
    dynq_model *untouched = NULL;
    const dynq_smooth_options unset = {0};
    cr_assert_eq(dynq_smooth(model, calibration, &unset, &untouched, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_smooth(model, calibration, NULL, NULL, NULL), DYNQ_ERR_ARGUMENT);
    dynq_calibration_free(calibration);
    dynq_calibration_free(empty);
    dynq_calibration_free(foreign);
    free_both(model, int8);
    dynq_model_free(other);
}

/* x -> `first` (relu) -> fc, with another linear layer named `second`; x has an outlier. */
static dynq_model *make_named(const char *first, const char *second, size_t columns, float scale)
{
    float *w = calloc(columns * columns, sizeof *w);
    cr_assert_not_null(w);
    samples_fill(w, columns * columns, 4);
    for (size_t i = 0; i < columns * columns; i++) {
        w[i] *= scale;
    }
    const dynq_tensor weight = matrix(w, columns, columns);
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value r = dynq_relu(g, first, dynq_input(g, "x", columns));
    dynq_output(g, "y",
                dynq_linear(g, second, dynq_linear(g, "fc", r, &weight, NULL), &weight, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    free(w);
    return model;
}

static dynq_calibration *calibrate_outlier(dynq_model *model, size_t columns)
{
    dynq_calibration *calibration = NULL;
    samples_fill(x, 20 * columns, 9);
    for (size_t i = 0; i < 20; i++) {
        x[i * columns + 1] *= 1000.0f;
    }
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, 20, 0, 1, NULL), DYNQ_OK);
    return calibration;
}

Test(smooth, names_of_new_nodes)
{
    char name[DYNQ_MAX_NAME + 1] = {0};
    memset(name, 'n', DYNQ_MAX_NAME);
    const struct {
        const char *first, *second;
        dynq_status status;
        const char *text;
    } cases[] = {{"act", "act.smooth", DYNQ_ERR_ARGUMENT, "'act.smooth'"},
                 {name, "out", DYNQ_ERR_LIMIT, "over 255 bytes"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dynq_model *model = make_named(cases[i].first, cases[i].second, 24, 1.0f);
        dynq_calibration *calibration = calibrate_outlier(model, 24);
        expect_failure(model, calibration, (dynq_smooth_options){0}, cases[i].status,
                       cases[i].text);
        dynq_calibration_free(calibration);
        dynq_model_free(model);
    }
}

/* Weights that a file brought, which opening it does not look at, and products that overflow. */
Test(smooth, weights_that_are_not_finite)
{
    dynq_model *model = make_named("act", "out", 24, 1.0f);
    dynq_calibration *calibration = calibrate_outlier(model, 24);
    float *weight = (float *)(uintptr_t)node_of(model, "fc")->weight;
    weight[30] = NAN;
    expect_failure(model, calibration, (dynq_smooth_options){0}, DYNQ_ERR_NOT_FINITE,
                   "weight[1][6]");
    weight[30] = 0.0f;
    for (size_t i = 0; i < 24; i++) {
        weight[i * 24 + 1] = 1e38f;
    }
    expect_failure(model, calibration, (dynq_smooth_options){.alpha = 0.9}, DYNQ_ERR_NOT_FINITE,
                   "'fc'");
    dynq_calibration_free(calibration);
    dynq_model_free(model);
}

Test(smooth, without_memory)
{
    dynq_model *model = make_norm(true), *smoothed = NULL;
    dynq_calibration *calibration = calibrate(model, ROWS);
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_smooth_options options = {.size = sizeof options, .allocator = &allocator};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (memory.fail_at = 1; status == DYNQ_ERR_MEMORY; memory.fail_at++) {
        memory.calls = 0;
        status = dynq_smooth(model, calibration, &options, &smoothed, NULL);
        cr_assert(status == DYNQ_OK || memory.live == 0);
    }
    cr_assert_eq(status, DYNQ_OK);
    cr_assert_gt(memory.fail_at, 10);
    dynq_model_free(smoothed);
    cr_assert_eq(memory.live, 0);
    dynq_calibration_free(calibration);
    dynq_model_free(model);
}
