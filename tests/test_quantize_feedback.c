/* dynq_quantize() with error feedback: what it gains, what it needs. */
#include <dynq/openblas.h>
#include <dynq/quantize.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 500, INPUTS = 64, HIDDEN = 96, OUTPUTS = 20 };

static float x[ROWS * INPUTS];

/* x -> fc1 -> act (relu) -> fc2 -> y; `columns` of x. */
static dynq_model *make_model(size_t columns)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    const dynq_tensor first = {DYNQ_F32, 2, {HIDDEN, columns}, w1};
    const dynq_tensor second = {DYNQ_F32, 2, {OUTPUTS, HIDDEN}, w2};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_value v = dynq_linear(graph, "fc1", dynq_input(graph, "x", columns), &first, NULL);
    v = dynq_linear(graph, "fc2", dynq_relu(graph, "act", v), &second, NULL);
    dynq_output(graph, "y", v);
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(graph, &model, NULL), DYNQ_OK);
    return model;
}

/* Inputs that are like their neighbours. */
static void fill_inputs(void)
{
    samples_fill(x, ROWS * INPUTS, 9);
    for (size_t i = 1; i < ROWS * INPUTS; i++) {
        x[i] = i % INPUTS == 0 ? x[i] : 0.4f * x[i] + 0.8f * x[i - 1];
    }
}

static dynq_second_moments *measure(dynq_model *model, size_t rows)
{
    dynq_second_moments *moments = NULL;
    cr_assert_eq(dynq_second_moments_create(model, NULL, &moments, NULL), DYNQ_OK);
    if (rows > 0) {
        const dynq_binding binding = {dynq_second_moments_slot(moments, "x"), x, sizeof x, 0};
        const dynq_batch batch = {.size = sizeof batch, .rows = rows};
        cr_assert_eq(dynq_second_moments_run(moments, &batch, &binding, 1, NULL), DYNQ_OK);
    }
    return moments;
}

static dynq_model *quantize(const dynq_model *from, dynq_quantize_options options)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    options.algebra = dynq_openblas_algebra();
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

static void expect_failure(const dynq_model *from, dynq_quantize_options options,
                           dynq_status status, const char *text)
{
    dynq_model *untouched = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    options.feedback = DYNQ_SWITCH_ON;
    cr_assert_eq(dynq_quantize(from, &options, &untouched, &error), status, "%s", error.message);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(untouched);
}

static void run(dynq_model *model, float *y)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    const dynq_binding io[] = {
        {dynq_session_slot(session, "x"), x, sizeof x, 0},
        {dynq_session_output_slot(session, "y"), y, ROWS * OUTPUTS * sizeof *y, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    cr_assert_eq(dynq_session_run(session, &batch, io, 2, &error), DYNQ_OK, "%s", error.message);
    dynq_session_free(session);
}

static double error_of(dynq_model *model, const float *expected)
{
    static float y[ROWS * OUTPUTS];
    double sum = 0.0;
    run(model, y);
    for (size_t i = 0; i < ROWS * OUTPUTS; i++) {
        sum += ((double)y[i] - (double)expected[i]) * ((double)y[i] - (double)expected[i]);
    }
    dynq_model_free(model);
    return sum;
}

Test(quantize_feedback, less_error)
{
    static float expected[ROWS * OUTPUTS];
    fill_inputs();
    dynq_model *model = make_model(INPUTS);
    dynq_second_moments *moments = measure(model, ROWS);
    run(model, expected);
    const dynq_quantize_options cases[] = {
        {.weights = DYNQ_FORMAT_INT8},
        {.weights = DYNQ_FORMAT_INT8, .weight_granularity = DYNQ_WEIGHTS_PER_TENSOR},
        {.weights = DYNQ_FORMAT_INT8, .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32},
        {.weights = DYNQ_FORMAT_INT4},
        {.weights = DYNQ_FORMAT_INT4, .levels = DYNQ_LEVELS_LOG},
        {.weights = DYNQ_FORMAT_INT4, .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_64},
        {.weights = DYNQ_FORMAT_INT4,
         .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32,
         .levels = DYNQ_LEVELS_CLUSTERS},
        {.weights = DYNQ_FORMAT_INT2},
        {.weights = DYNQ_FORMAT_INT2, .levels = DYNQ_LEVELS_CLUSTERS},
        {.weights = DYNQ_FORMAT_INT4, .levels = DYNQ_LEVELS_AFFINE},
        {.weights = DYNQ_FORMAT_INT4, .weight_granularity = DYNQ_WEIGHTS_PER_ROW},
        {.weights = DYNQ_FORMAT_INT16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dynq_quantize_options options = cases[i];
        options.simulate = DYNQ_SWITCH_ON;
        const double plain = error_of(quantize(model, options), expected);
        options.feedback = DYNQ_SWITCH_ON;
        options.moments = moments;
        const double fed_back = error_of(quantize(model, options), expected);
        cr_assert_lt(fed_back, 0.8 * plain, "case %zu: %g, %g", i, fed_back, plain);
    }
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}

/* What the file holds is what was chosen: simulated and stored weights are the same. */
Test(quantize_feedback, files)
{
    static float stored[HIDDEN * INPUTS], simulated[HIDDEN * INPUTS];
    size_t size[2] = {0};
    unsigned char *bytes[2] = {NULL};
    fill_inputs();
    dynq_model *model = make_model(INPUTS);
    dynq_second_moments *moments = measure(model, ROWS);
    dynq_quantize_options options = {.weights = DYNQ_FORMAT_INT4,
                                     .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32,
                                     .levels = DYNQ_LEVELS_CLUSTERS,
                                     .feedback = DYNQ_SWITCH_ON,
                                     .moments = moments};
    for (size_t i = 0; i < 2; i++) {
        dynq_model *quantized = quantize(model, options);
        cr_assert_eq(dynq_model_verify(quantized, NULL), DYNQ_OK);
        cr_assert_eq(dynq_model_weights(quantized, 1, stored, HIDDEN * INPUTS), DYNQ_OK);
        bytes[i] = samples_saved(quantized, &size[i]);
        dynq_model_free(quantized);
    }
    cr_assert_eq(size[0], size[1]);
    cr_assert_eq(memcmp(bytes[0], bytes[1], size[0]), 0);
    options.simulate = DYNQ_SWITCH_ON;
    dynq_model *quantized = quantize(model, options);
    cr_assert_eq(dynq_model_weights(quantized, 1, simulated, HIDDEN * INPUTS), DYNQ_OK);
    for (size_t i = 0; i < HIDDEN * INPUTS; i++) {
        cr_assert_leq(fabsf(stored[i] - simulated[i]), 0x1p-22f * fabsf(stored[i]));
    }
    dynq_model_free(quantized);
    free(bytes[0]);
    free(bytes[1]);
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}

Test(quantize_feedback, what_it_needs)
{
    fill_inputs();
    dynq_model *model = make_model(INPUTS), *narrow = make_model(INPUTS / 2);
    dynq_second_moments *moments = measure(model, ROWS), *none = measure(model, 0),
                        *other = measure(narrow, ROWS);
    const dynq_algebra *algebra = dynq_openblas_algebra();
    expect_failure(model, (dynq_quantize_options){.algebra = algebra}, DYNQ_ERR_ARGUMENT,
                   "'fc1': error-feedback rounding needs second moments");
    expect_failure(model, (dynq_quantize_options){.moments = moments}, DYNQ_ERR_ARGUMENT,
                   "and an algebra");
    expect_failure(model, (dynq_quantize_options){.moments = none, .algebra = algebra},
                   DYNQ_ERR_NOT_FOUND, "saw no row of value 'x'");
    expect_failure(model, (dynq_quantize_options){.moments = other, .algebra = algebra},
                   DYNQ_ERR_SHAPE, "another model");
    const dynq_quantize_rule rules[] = {
        {.pattern = "fc1", .feedback = DYNQ_SWITCH_OFF},
        {.pattern = "fc2", .precision = DYNQ_PRECISION_FP32, .weights = DYNQ_FORMAT_FP16}};
    dynq_model_free(quantize(
        model,
        (dynq_quantize_options){.feedback = DYNQ_SWITCH_ON, .rules = rules, .rule_count = 2}));
    dynq_second_moments_free(moments);
    dynq_second_moments_free(none);
    dynq_second_moments_free(other);
    dynq_model_free(model);
    dynq_model_free(narrow);
}

Test(quantize_feedback, inputs_that_are_too_many)
{
    enum { MANY = DYNQ_MAX_INT8_K };
    static float w[MANY];
    const dynq_tensor tensor = {DYNQ_F32, 2, {1, MANY}, w};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_output(graph, "y", dynq_linear(graph, "fc", dynq_input(graph, "x", MANY), &tensor, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(graph, &model, NULL), DYNQ_OK);
    dynq_second_moments *moments = NULL;
    cr_assert_eq(dynq_second_moments_create(model, NULL, &moments, NULL), DYNQ_OK);
    expect_failure(model,
                   (dynq_quantize_options){.moments = moments, .algebra = dynq_openblas_algebra()},
                   DYNQ_ERR_LIMIT, "'fc=no-feedback'");
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}
