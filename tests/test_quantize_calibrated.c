/* What quantizing takes from a calibration beside static ranges: corrected biases, limits of
 * dynamic ranges, methods. */
#include <dynq/quantize.h>

#include "src/pack.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 200, INPUTS = 40, HIDDEN = 50, OUTPUTS = 20, OUTLIER = 77 };

static float x[ROWS * INPUTS];

/* x -> fc1 (bias) -> act (relu) -> fc2 (no bias) -> y; outputs "h" (fc1) and "y". */
static dynq_model *make_model(void)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN], b[HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    samples_fill(b, HIDDEN, 3);
    const dynq_tensor first = {DYNQ_F32, 2, {HIDDEN, INPUTS}, w1};
    const dynq_tensor second = {DYNQ_F32, 2, {OUTPUTS, HIDDEN}, w2};
    const dynq_tensor bias = {DYNQ_F32, 1, {HIDDEN}, b};
    dynq_graph *graph = dynq_graph_create(NULL);
    const dynq_value h = dynq_linear(graph, "fc1", dynq_input(graph, "x", INPUTS), &first, &bias);
    dynq_output(graph, "h", h);
    dynq_output(graph, "y", dynq_linear(graph, "fc2", dynq_relu(graph, "act", h), &second, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(graph, &model, NULL), DYNQ_OK);
    return model;
}

/* Inputs whose mean is not 0. */
static void fill_inputs(void)
{
    samples_fill(x, ROWS * INPUTS, 9);
    for (size_t i = 0; i < ROWS * INPUTS; i++) {
        x[i] = 0.5f * x[i] + (float)(i % INPUTS) / INPUTS;
    }
}

static dynq_calibration *calibrate(dynq_model *model)
{
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, &error), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, ROWS, 0, 1, &error), DYNQ_OK, "%s",
                 error.message);
    return calibration;
}

static dynq_model *quantize(const dynq_model *from, dynq_quantize_options options)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

static void expect_failure(const dynq_model *from, dynq_quantize_options options,
                           dynq_status status, const char *text)
{
    dynq_model *untouched = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    cr_assert_eq(dynq_quantize(from, &options, &untouched, &error), status, "%s", error.message);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(untouched);
}

typedef struct results {
    float h[ROWS * HIDDEN], y[ROWS * OUTPUTS];
} results;

static void run(dynq_model *model, results *out)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_output_slot(session, "h"), out->h, sizeof out->h, 0},
                               {dynq_session_output_slot(session, "y"), out->y, sizeof out->y, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    cr_assert_eq(dynq_session_run(session, &batch, io, 3, &error), DYNQ_OK, "%s", error.message);
    dynq_session_free(session);
}

/* ---- biases ---- */

/* The mean over rows of column n of what the layer makes of `inputs`, in double, with its weights
 * as they are stored. */
static double mean_output(const dynq_model *model, long node, const float *inputs, size_t n)
{
    static float weights[HIDDEN * HIDDEN];
    const size_t k = model->nodes[node].k;
    cr_assert_eq(dynq_model_weights(model, (size_t)node, weights, HIDDEN * HIDDEN), DYNQ_OK);
    const float *bias = model->nodes[node].bias;
    double sum = 0.0;
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t i = 0; i < k; i++) {
            sum += (double)inputs[m * k + i] * (double)weights[n * k + i];
        }
    }
    return sum / ROWS + (bias == NULL ? 0.0 : (double)bias[n]);
}

static void check_means(const dynq_model *from, const dynq_model *plain,
                        const dynq_model *corrected, const char *name, const float *inputs)
{
    const long node = dynq_model_find(from, name);
    double before = 0.0, after = 0.0;
    for (size_t n = 0; n < from->nodes[node].n; n++) {
        const double mean = mean_output(from, node, inputs, n);
        before += fabs(mean_output(plain, node, inputs, n) - mean);
        after += fabs(mean_output(corrected, node, inputs, n) - mean);
    }
    cr_assert_gt(before, 0.01);
    cr_assert_lt(after, before * 0.5, "%s: %g, corrected %g", name, before, after);
}

Test(quantize_calibrated, corrected_biases_take_the_mean_error_away)
{
    static results reference;
    static float act[ROWS * HIDDEN];
    fill_inputs();
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    /* Per tensor the errors of weights are larger. */
    for (int g = DYNQ_WEIGHTS_PER_COLUMN; g <= DYNQ_WEIGHTS_PER_TENSOR; g++) {
        dynq_quantize_options options = {.calibration = calibration,
                                         .weight_granularity = (dynq_weight_granularity)g};
        dynq_model *plain = quantize(from, options);
        options.correct_bias = DYNQ_SWITCH_ON;
        dynq_model *corrected = quantize(from, options);
        run(from, &reference);
        for (size_t i = 0; i < ROWS * HIDDEN; i++) {
            act[i] = fmaxf(reference.h[i], 0.0f);
        }
        check_means(from, plain, corrected, "fc1", x);
        check_means(from, plain, corrected, "fc2", act);
        cr_assert(plain->nodes[3].bias == NULL && corrected->nodes[3].bias != NULL);
        cr_assert_eq(memcmp(plain->nodes[1].packed, corrected->nodes[1].packed,
                            dynq_packed_s8_bytes(INPUTS, HIDDEN)),
                     0);
        size_t size = 0, again = 0;
        unsigned char *bytes = samples_saved(corrected, &size);
        dynq_model *opened = NULL;
        cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, NULL), DYNQ_OK);
        unsigned char *same = samples_saved(opened, &again);
        cr_assert(size == again && memcmp(bytes, same, size) == 0);
        free(bytes);
        free(same);
        dynq_model_free(opened);
        dynq_model_free(plain);
        dynq_model_free(corrected);
    }
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

Test(quantize_calibrated, corrected_biases_by_definition)
{
    fill_inputs();
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    dynq_model *model = quantize(
        from, (dynq_quantize_options){.calibration = calibration, .correct_bias = DYNQ_SWITCH_ON});
    dynq_column_view view = {.size = sizeof view};
    cr_assert_eq(dynq_calibration_columns(calibration, "x", &view), DYNQ_OK);
    float restored[HIDDEN * INPUTS];
    double largest = 0.0;
    cr_assert_eq(dynq_model_weights(model, 1, restored, HIDDEN * INPUTS), DYNQ_OK);
    for (size_t n = 0; n < HIDDEN; n++) {
        double mean = 0.0, variance = 0.0;
        for (size_t i = 0; i < INPUTS; i++) {
            const double error =
                (double)restored[n * INPUTS + i] - (double)from->nodes[1].weight[n * INPUTS + i];
            const double input = view.sum[i] / ROWS;
            mean += error * input;
            variance += error * error * (view.sum_of_squares[i] / ROWS - input * input);
        }
        const double expected = mean * mean * mean / (mean * mean + variance);
        cr_assert_float_eq((double)model->nodes[1].bias[n],
                           (double)from->nodes[1].bias[n] - expected, 1e-6);
        largest = fmax(largest, fabs(expected));
    }
    cr_assert_gt(largest, 1e-4);
    dynq_model_free(model);
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

/* Inputs that do not vary: all of the error is taken away. One that is large in a single row only:
 * next to nothing, for the sake of all other rows. */
Test(quantize_calibrated, only_systematic_errors_are_corrected)
{
    dynq_model *from = make_model();
    for (int rare = 0; rare < 2; rare++) {
        for (size_t i = 0; i < ROWS * INPUTS; i++) {
            x[i] = rare ? 0.0f : 1.0f + (float)(i % INPUTS) / INPUTS;
        }
        x[OUTLIER * INPUTS + 3] = rare ? 1000.0f : x[3];
        dynq_calibration *calibration = calibrate(from);
        dynq_quantize_options options = {.calibration = calibration,
                                         .weight_granularity = DYNQ_WEIGHTS_PER_TENSOR};
        dynq_model *plain = quantize(from, options);
        options.correct_bias = DYNQ_SWITCH_ON;
        dynq_model *corrected = quantize(from, options);
        double before = 0.0, after = 0.0;
        for (size_t n = 0; n < HIDDEN; n++) {
            const double mean = mean_output(from, 1, x, n);
            before += fabs(mean_output(plain, 1, x, n) - mean);
            after += fabs(mean_output(corrected, 1, x, n) - mean);
        }
        cr_assert(rare ? after > 0.98 * before && after < before : after < 1e-4 * before,
                  "%g, corrected %g", before, after);
        dynq_model_free(plain);
        dynq_model_free(corrected);
        dynq_calibration_free(calibration);
    }
    dynq_model_free(from);
}

/* ---- limits ---- */

Test(quantize_calibrated, limits_are_what_the_method_chooses)
{
    fill_inputs();
    x[OUTLIER * INPUTS + 3] = 40.0f;
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    for (int m = 0; m <= DYNQ_METHOD_AVERAGE; m++) {
        for (int s = DYNQ_SCHEME_AFFINE; s <= DYNQ_SCHEME_SYMMETRIC; s++) {
            const dynq_quantize_options options = {.calibration = calibration,
                                                   .scope = DYNQ_SCOPE_ROW,
                                                   .scheme = (dynq_scheme)s,
                                                   .percentile = 99.0,
                                                   .clip_ranges = DYNQ_SWITCH_ON,
                                                   .clip_method = (dynq_calibration_method)m};
            const dynq_range_choice choice = {.size = sizeof choice,
                                              .method =
                                                  m == 0 ? DYNQ_METHOD_MSE : options.clip_method,
                                              .percentile = 99.0,
                                              .scheme = options.scheme};
            float lo = 0.0f, hi = 0.0f;
            dynq_model *model = quantize(from, options);
            const dynq_range_rule *range = &model->nodes[1].range;
            cr_assert_eq(dynq_calibration_range(calibration, "x", &choice, &lo, &hi, NULL),
                         DYNQ_OK);
            cr_assert(range->kind == DYNQ_RANGE_DYNAMIC && range->scope == DYNQ_SCOPE_ROW);
            cr_assert(range->lo == lo && range->hi == hi && hi > 0.0f);
            cr_assert(m == DYNQ_METHOD_MAX ? hi == 40.0f : hi < 40.0f || m == DYNQ_METHOD_AVERAGE);
            dynq_model_free(model);
        }
    }
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

/* The squared error of all rows but the one with the outlier. */
static double error_of_others(const results *got, const results *reference)
{
    double sum = 0.0;
    for (size_t i = 0; i < ROWS * HIDDEN; i++) {
        const double error = (double)got->h[i] - (double)reference->h[i];
        sum += i / HIDDEN == OUTLIER ? 0.0 : error * error;
    }
    return sum;
}

Test(quantize_calibrated, an_outlier_does_not_cost_all_others)
{
    static results reference, got;
    fill_inputs();
    x[OUTLIER * INPUTS + 3] = 400.0f;
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    dynq_quantize_options options = {.calibration = calibration, .scope = DYNQ_SCOPE_TENSOR};
    dynq_model *plain = quantize(from, options);
    options.clip_ranges = DYNQ_SWITCH_ON;
    options.clip_method = DYNQ_METHOD_PERCENTILE;
    options.percentile = 99.9;
    dynq_model *clipped = quantize(from, options);
    run(from, &reference);
    run(plain, &got);
    const double before = error_of_others(&got, &reference);
    run(clipped, &got);
    const double after = error_of_others(&got, &reference);
    cr_assert_lt(after, before / 1000, "%g, clipped %g", before, after);
    dynq_model_free(plain);
    dynq_model_free(clipped);
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

Test(quantize_calibrated, rules_name_methods_and_switches)
{
    fill_inputs();
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    const dynq_quantize_rule rules[] = {
        {.pattern = "*", .clip_ranges = DYNQ_SWITCH_ON, .correct_bias = DYNQ_SWITCH_ON},
        {.pattern = "fc2", .clip_ranges = DYNQ_SWITCH_OFF, .method = DYNQ_METHOD_PERCENTILE},
        {.pattern = "fc1", .method = DYNQ_METHOD_MAX, .correct_bias = DYNQ_SWITCH_OFF},
        {.pattern = "fc2", .range = DYNQ_RANGE_STATIC, .clip_weights = DYNQ_SWITCH_ON},
    };
    const dynq_quantize_options options = {.size = sizeof options,
                                           .calibration = calibration,
                                           .percentile = 90.0,
                                           .weight_granularity = DYNQ_WEIGHTS_PER_TENSOR,
                                           .rules = rules,
                                           .rule_count = 4};
    dynq_model *model = quantize(from, options);
    const dynq_node *fc1 = &model->nodes[1], *fc2 = &model->nodes[3];
    const dynq_range_choice choice = {
        .size = sizeof choice, .method = DYNQ_METHOD_PERCENTILE, .percentile = 90.0};
    float lo = 0.0f, hi = 0.0f;
    cr_assert_eq(dynq_calibration_range(calibration, "act", &choice, &lo, &hi, NULL), DYNQ_OK);
    cr_assert(fc2->range.kind == DYNQ_RANGE_STATIC && fc2->range.hi == hi);
    cr_assert_eq(dynq_calibration_range(calibration, "x", NULL, &lo, &hi, NULL), DYNQ_OK);
    cr_assert(fc1->range.kind == DYNQ_RANGE_DYNAMIC && fc1->range.hi == hi && fc1->range.lo == lo);
    cr_assert_eq(memcmp(fc1->bias, from->nodes[1].bias, HIDDEN * sizeof(float)), 0);
    cr_assert_not_null(fc2->bias);
    dynq_quantize_rule resolved = {0};
    cr_assert_eq(dynq_quantize_resolve(from, &options, 3, &resolved, NULL), DYNQ_OK);
    cr_assert_str_eq(resolved.pattern, "fc2");
    cr_assert(resolved.precision == DYNQ_PRECISION_INT8 && resolved.range == DYNQ_RANGE_STATIC &&
              resolved.scope == DYNQ_SCOPE_SEGMENT && resolved.scheme == DYNQ_SCHEME_AFFINE &&
              resolved.method == DYNQ_METHOD_PERCENTILE &&
              resolved.weight_granularity == DYNQ_WEIGHTS_PER_TENSOR &&
              resolved.clip_weights == DYNQ_SWITCH_ON && resolved.clip_ranges == DYNQ_SWITCH_OFF &&
              resolved.correct_bias == DYNQ_SWITCH_ON);
    cr_assert_eq(dynq_quantize_resolve(from, &options, 1, &resolved, NULL), DYNQ_OK);
    cr_assert(resolved.method == DYNQ_METHOD_MAX && resolved.correct_bias == DYNQ_SWITCH_OFF &&
              resolved.clip_weights == DYNQ_SWITCH_OFF);
    cr_assert_eq(dynq_quantize_resolve(from, &options, 0, &resolved, NULL), DYNQ_OK);
    cr_assert(resolved.precision == 0 && resolved.range == 0);
    cr_assert_eq(dynq_quantize_resolve(from, &options, 4, &resolved, NULL), DYNQ_ERR_ARGUMENT);
    dynq_model_free(model);
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

/* ---- what is missing ---- */

Test(quantize_calibrated, switches_that_need_a_calibration)
{
    dynq_model *from = make_model(), *other = samples_fp32(NULL);
    expect_failure(from, (dynq_quantize_options){.clip_ranges = DYNQ_SWITCH_ON}, DYNQ_ERR_ARGUMENT,
                   "node 'fc1': clipping its range needs a calibration");
    expect_failure(from, (dynq_quantize_options){.correct_bias = DYNQ_SWITCH_ON}, DYNQ_ERR_ARGUMENT,
                   "node 'fc1': correcting its bias needs a calibration");
    dynq_calibration *empty = NULL, *foreign = NULL;
    cr_assert_eq(dynq_calibration_create(from, NULL, &empty, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_create(other, NULL, &foreign, NULL), DYNQ_OK);
    expect_failure(from,
                   (dynq_quantize_options){.calibration = empty, .clip_ranges = DYNQ_SWITCH_ON},
                   DYNQ_ERR_NOT_FOUND, "'x'");
    expect_failure(from,
                   (dynq_quantize_options){.calibration = empty, .correct_bias = DYNQ_SWITCH_ON},
                   DYNQ_ERR_NOT_FOUND, "'x'");
    expect_failure(from, (dynq_quantize_options){.calibration = foreign}, DYNQ_ERR_NOT_FOUND,
                   "'x'");
    dynq_calibration_free(empty);
    dynq_calibration_free(foreign);
    dynq_model_free(from);
    dynq_model_free(other);
}

Test(quantize_calibrated, any_allocation_can_fail)
{
    fill_inputs();
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    dynq_status status = DYNQ_ERR_MEMORY;
    size_t failures = 0;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_quantize_options options = {.size = sizeof options,
                                               .calibration = calibration,
                                               .clip_ranges = DYNQ_SWITCH_ON,
                                               .clip_weights = DYNQ_SWITCH_ON,
                                               .correct_bias = DYNQ_SWITCH_ON,
                                               .allocator = &allocator};
        dynq_model *model = NULL;
        status = dynq_quantize(from, &options, &model, NULL);
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        failures += status != DYNQ_OK;
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    cr_assert_gt(failures, 10);
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}
