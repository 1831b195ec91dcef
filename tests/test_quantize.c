#include <dynq/quantize.h>

#include "src/pack.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Quantizes the sample model; frees it before the result is used. */
static dynq_model *quantize(const dynq_quantize_options *options)
{
    dynq_model *from = samples_fp32(NULL), *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(from, options, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

static const dynq_node *node_of(const dynq_model *model, const char *name)
{
    const long index = dynq_model_find(model, name);
    cr_assert_geq(index, 0, "no node %s", name);
    return &model->nodes[index];
}

static void check_rule_of(const dynq_model *model, const char *name, dynq_range_kind kind,
                          dynq_scope scope, dynq_scheme scheme)
{
    const dynq_node *node = node_of(model, name);
    cr_assert_eq(node->precision, DYNQ_PRECISION_INT8, "%s", name);
    cr_assert(node->range.kind == kind && node->range.scope == scope &&
                  node->range.scheme == scheme,
              "%s: %d %d %d", name, (int)node->range.kind, (int)node->range.scope,
              (int)node->range.scheme);
}

static void expect_failure(const dynq_model *model, const dynq_quantize_options *options,
                           dynq_status status, const char *text)
{
    dynq_model *untouched = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(model, options, &untouched, &error), status, "%s: %s", text,
                 error.message);
    cr_assert(strstr(error.message, text) != NULL, "'%s' is not in: %s", text, error.message);
    cr_assert_null(untouched);
}

/* fc1 has seen [-1.5, 2] and fc2's input [0.25, 3]. */
static dynq_calibration *calibrate(const dynq_model *model)
{
    dynq_calibration *calibration = NULL;
    const float x[5] = {-1.5f, 0.0f, 2.0f, 1.0f, 0.5f};
    float hidden[18];
    for (size_t i = 0; i < COUNT(hidden); i++) {
        hidden[i] = i == 3 ? 3.0f : 0.25f;
    }
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 5, x, 0, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_observe(calibration, "act", 1, 18, hidden, 0, NULL), DYNQ_OK);
    return calibration;
}

static void check_weights(const dynq_model *from, const dynq_model *to, const char *name)
{
    const dynq_node *source = node_of(from, name), *node = node_of(to, name);
    const size_t bytes = dynq_packed_s8_bytes(source->k, source->n);
    int8_t *packed = malloc(bytes);
    float scale[32];
    int32_t sum[32];
    dynq_pack_s8(source->weight, source->k, source->n, packed, scale, sum);
    cr_assert_eq(memcmp(packed, node->packed, bytes), 0);
    cr_assert_eq(memcmp(scale, node->weight_scale, source->n * sizeof *scale), 0);
    cr_assert_eq(memcmp(sum, node->weight_sum, source->n * sizeof *sum), 0);
    cr_assert_eq((uintptr_t)node->packed % 64, 0);
    cr_assert_null(node->weight);
    free(packed);
}

Test(quantize, defaults)
{
    dynq_model *from = samples_fp32(NULL), *model = quantize(NULL);
    check_rule_of(model, "fc1", DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE);
    check_rule_of(model, "fc2", DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE);
    check_weights(from, model, "fc1");
    check_weights(from, model, "fc2");
    const dynq_node *norm = node_of(from, "norm"), *copy = node_of(model, "norm");
    cr_assert_eq(memcmp(node_of(from, "fc1")->bias, node_of(model, "fc1")->bias, 18 * 4), 0);
    cr_assert_null(node_of(model, "fc2")->bias);
    cr_assert_eq(memcmp(norm->gain, copy->gain, 7 * sizeof(float)), 0);
    cr_assert_eq(memcmp(norm->bias, copy->bias, 7 * sizeof(float)), 0);
    cr_assert_eq(norm->epsilon, copy->epsilon);
    cr_assert_eq(from->node_count, model->node_count);
    for (size_t i = 0; i < from->node_count; i++) {
        const dynq_node *a = &from->nodes[i], *b = &model->nodes[i];
        cr_assert_str_eq(a->name, b->name);
        cr_assert(a->op == b->op && a->k == b->k && a->n == b->n && a->inputs[0] == b->inputs[0]);
        cr_assert_eq(a->input_count, b->input_count);
    }
    cr_assert_eq(from->output_count, model->output_count);
    for (size_t i = 0; i < from->output_count; i++) {
        cr_assert_str_eq(from->outputs[i].name, model->outputs[i].name);
        cr_assert_eq(from->outputs[i].node, model->outputs[i].node);
    }
    dynq_model_free(from);
    dynq_model_free(model);
}

Test(quantize, the_result_is_a_sound_model_and_the_source_stays)
{
    dynq_model *from = samples_fp32(NULL), *model = NULL, *opened = NULL;
    size_t before_size = 0, after_size = 0, size = 0, again_size = 0;
    unsigned char *before = samples_saved(from, &before_size);
    cr_assert_eq(dynq_quantize(from, NULL, &model, NULL), DYNQ_OK);
    unsigned char *after = samples_saved(from, &after_size);
    cr_assert(before_size == after_size && memcmp(before, after, after_size) == 0);
    dynq_model_free(from);
    cr_assert_eq(dynq_model_verify(model, NULL), DYNQ_OK);
    cr_assert_eq(dynq_model_check(model, NULL), DYNQ_OK);
    unsigned char *bytes = samples_saved(model, &size);
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, NULL), DYNQ_OK);
    unsigned char *again = samples_saved(opened, &again_size);
    cr_assert(size == again_size && memcmp(bytes, again, size) == 0);
    dynq_model_free(opened);
    dynq_model_free(model);
    free(before);
    free(after);
    free(bytes);
    free(again);
}

Test(quantize, the_last_match_wins_for_each_property)
{
    const dynq_quantize_rule rules[] = {
        {.pattern = "*", .scope = DYNQ_SCOPE_ROW, .scheme = DYNQ_SCHEME_SYMMETRIC},
        {.pattern = "fc?", .scope = DYNQ_SCOPE_TENSOR},
        {.pattern = "fc[13]", .scheme = DYNQ_SCHEME_AFFINE},
    };
    const dynq_quantize_options options = {
        .size = sizeof options, .rules = rules, .rule_count = COUNT(rules)};
    dynq_model *model = quantize(&options);
    check_rule_of(model, "fc1", DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE);
    check_rule_of(model, "fc2", DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_SYMMETRIC);
    dynq_model_free(model);
}

Test(quantize, layers_left_in_fp32)
{
    const dynq_quantize_rule rules[] = {{.pattern = "*", .precision = DYNQ_PRECISION_FP32},
                                        {.pattern = "fc2", .precision = DYNQ_PRECISION_INT8}};
    dynq_quantize_options options = {.size = sizeof options, .rules = rules, .rule_count = 2};
    dynq_model *from = samples_fp32(NULL), *model = quantize(&options);
    const dynq_node *source = node_of(from, "fc1"), *node = node_of(model, "fc1");
    const dynq_range_rule none = {0};
    cr_assert_eq(node->precision, DYNQ_PRECISION_FP32);
    cr_assert_eq(memcmp(source->weight, node->weight, 18 * 5 * sizeof(float)), 0);
    cr_assert_eq(memcmp(source->bias, node->bias, 18 * sizeof(float)), 0);
    cr_assert(node->packed == NULL && node->weight_scale == NULL && node->weight_sum == NULL);
    cr_assert_eq(memcmp(&node->range, &none, sizeof none), 0);
    cr_assert_eq(node_of(model, "fc2")->precision, DYNQ_PRECISION_INT8);
    dynq_model_free(model);

    /* Nothing in INT8 is the same model again, static ranges or not. */
    options.range = DYNQ_RANGE_STATIC;
    options.rule_count = 1;
    model = quantize(&options);
    size_t size = 0, from_size = 0;
    unsigned char *bytes = samples_saved(model, &size), *original = samples_saved(from, &from_size);
    cr_assert(size == from_size && memcmp(bytes, original, size) == 0);
    free(bytes);
    free(original);
    dynq_model_free(model);
    dynq_model_free(from);
}

Test(quantize, static_ranges_come_from_the_calibration)
{
    dynq_model *from = samples_fp32(NULL);
    dynq_calibration *calibration = calibrate(from);
    const dynq_quantize_options options = {.size = sizeof options,
                                           .range = DYNQ_RANGE_STATIC,
                                           .scope = DYNQ_SCOPE_ROW,
                                           .calibration = calibration};
    dynq_model *model = quantize(&options);
    const dynq_range_rule *first = &node_of(model, "fc1")->range;
    const dynq_range_rule *second = &node_of(model, "fc2")->range;
    check_rule_of(model, "fc1", DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE);
    check_rule_of(model, "fc2", DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE);
    cr_assert(first->lo == -1.5f && first->hi == 2.0f);
    cr_assert(second->lo == 0.0f && second->hi == 3.0f);
    dynq_model_free(model);
    dynq_model_free(from);
    dynq_calibration_free(calibration);
}

Test(quantize, static_and_dynamic_layers_in_one_model)
{
    dynq_model *from = samples_fp32(NULL);
    dynq_calibration *calibration = calibrate(from);
    const dynq_quantize_rule rule = {
        .pattern = "fc2", .range = DYNQ_RANGE_STATIC, .scheme = DYNQ_SCHEME_SYMMETRIC};
    const dynq_quantize_options options = {.size = sizeof options,
                                           .scope = DYNQ_SCOPE_ROW,
                                           .calibration = calibration,
                                           .rules = &rule,
                                           .rule_count = 1};
    dynq_model *model = quantize(&options);
    check_rule_of(model, "fc1", DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_ROW, DYNQ_SCHEME_AFFINE);
    check_rule_of(model, "fc2", DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_SYMMETRIC);
    cr_assert(node_of(model, "fc1")->range.lo == 0.0f && node_of(model, "fc1")->range.hi == 0.0f);
    cr_assert_eq(node_of(model, "fc2")->range.hi, 3.0f);
    dynq_model_free(model);
    dynq_model_free(from);
    dynq_calibration_free(calibration);
}

Test(quantize, static_ranges_without_data)
{
    dynq_model *from = samples_fp32(NULL);
    dynq_quantize_options options = {.size = sizeof options, .range = DYNQ_RANGE_STATIC};
    expect_failure(from, &options, DYNQ_ERR_ARGUMENT, "node 'fc1': a static range needs");
    const dynq_quantize_rule rule = {.pattern = "fc2", .range = DYNQ_RANGE_STATIC};
    const dynq_quantize_options mixed = {.size = sizeof mixed, .rules = &rule, .rule_count = 1};
    expect_failure(from, &mixed, DYNQ_ERR_ARGUMENT, "calibrate the model");
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(from, NULL, &calibration, NULL), DYNQ_OK);
    options.calibration = calibration;
    expect_failure(from, &options, DYNQ_ERR_NOT_FOUND, "value 'x'");
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

Test(quantize, rules_that_match_nothing)
{
    dynq_model *from = samples_fp32(NULL);
    const char *const patterns[] = {"fc3", "act", "x", "logits", "FC*", "", "norm"};
    for (size_t i = 0; i < COUNT(patterns); i++) {
        const dynq_quantize_rule rules[] = {
            {.pattern = "fc*", .precision = DYNQ_PRECISION_FP32},
            {.pattern = patterns[i], .precision = DYNQ_PRECISION_FP32}};
        const dynq_quantize_options options = {
            .size = sizeof options, .rules = rules, .rule_count = 2};
        expect_failure(from, &options, DYNQ_ERR_NOT_FOUND, patterns[i]);
    }
    dynq_model_free(from);
}

Test(quantize, options_that_are_wrong)
{
    dynq_model *from = samples_fp32(NULL), *model = NULL;
    const dynq_quantize_rule odd[] = {
        {.pattern = NULL, .precision = DYNQ_PRECISION_FP32},
        {.pattern = "*", .precision = (dynq_precision)4},
        {.pattern = "*", .range = (dynq_range_kind)3},
        {.pattern = "*", .scope = (dynq_scope)4},
        {.pattern = "*", .scheme = (dynq_scheme)3},
        {.pattern = "*", .method = (dynq_calibration_method)6},
        {.pattern = "*", .weight_granularity = (dynq_weight_granularity)8},
        {.pattern = "*", .clip_weights = (dynq_switch)3},
        {.pattern = "*", .clip_ranges = (dynq_switch)3},
        {.pattern = "*", .correct_bias = (dynq_switch)-1}};
    for (size_t i = 0; i < COUNT(odd); i++) {
        const dynq_quantize_options options = {
            .size = sizeof options, .rules = &odd[i], .rule_count = 1};
        expect_failure(from, &options, DYNQ_ERR_ARGUMENT, "rule 0");
    }
    const dynq_quantize_options wrong[] = {
        {.range = DYNQ_RANGE_DYNAMIC},
        {.size = sizeof(dynq_quantize_options), .range = (dynq_range_kind)3},
        {.size = sizeof(dynq_quantize_options), .scope = (dynq_scope)4},
        {.size = sizeof(dynq_quantize_options), .scheme = (dynq_scheme)3},
        {.size = sizeof(dynq_quantize_options), .method = (dynq_calibration_method)99},
        {.size = sizeof(dynq_quantize_options), .clip_method = (dynq_calibration_method)6},
        {.size = sizeof(dynq_quantize_options), .weight_granularity = (dynq_weight_granularity)8},
        {.size = sizeof(dynq_quantize_options), .clip_weights = (dynq_switch)3},
        {.size = sizeof(dynq_quantize_options), .clip_ranges = (dynq_switch)3},
        {.size = sizeof(dynq_quantize_options), .correct_bias = (dynq_switch)3},
        {.size = sizeof(dynq_quantize_options), .rule_count = 1},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        expect_failure(from, &wrong[i], DYNQ_ERR_ARGUMENT, "quantize options");
    }
    cr_assert_eq(dynq_quantize(NULL, NULL, &model, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_quantize(from, NULL, NULL, NULL), DYNQ_ERR_ARGUMENT);
    dynq_model_free(from);
}

Test(quantize, a_quantized_model_is_refused)
{
    dynq_model *model = quantize(NULL);
    expect_failure(model, NULL, DYNQ_ERR_ARGUMENT, "node 'fc1' is INT8 already");
    dynq_model_free(model);
}

static dynq_model *wide_model(size_t k)
{
    float *w = malloc(k * sizeof *w);
    samples_fill(w, k, 9);
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {1, k}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "wide", dynq_input(g, "x", k), &weight, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    free(w);
    return model;
}

Test(quantize, the_limit_of_k)
{
    dynq_model *good = wide_model(DYNQ_MAX_INT8_K), *over = wide_model(DYNQ_MAX_INT8_K + 1);
    dynq_model *model = NULL;
    cr_assert_eq(dynq_quantize(good, NULL, &model, NULL), DYNQ_OK);
    dynq_model_free(model);
    expect_failure(over, NULL, DYNQ_ERR_LIMIT, "node 'wide'");
    const dynq_quantize_rule rule = {.pattern = "wide", .precision = DYNQ_PRECISION_FP32};
    const dynq_quantize_options options = {.size = sizeof options, .rules = &rule, .rule_count = 1};
    cr_assert_eq(dynq_quantize(over, &options, &model, NULL), DYNQ_OK);
    dynq_model_free(model);
    dynq_model_free(good);
    dynq_model_free(over);
}

Test(quantize, parameters_that_are_not_finite)
{
    static const char *const names[] = {"fc1", "fc1", "norm", "fc2"};
    for (size_t i = 0; i < COUNT(names); i++) {
        dynq_model *from = samples_fp32(NULL);
        const dynq_node *node = node_of(from, names[i]);
        const float *data[] = {node->weight, node->bias, node->gain, node->weight};
        ((float *)(uintptr_t)data[i])[3] = i % 2 == 0 ? NAN : INFINITY;
        char text[32];
        snprintf(text, sizeof text, "node '%s': element 3", names[i]);
        expect_failure(from, NULL, DYNQ_ERR_NOT_FINITE, text);
        const dynq_quantize_rule rule = {.pattern = "*", .precision = DYNQ_PRECISION_FP32};
        const dynq_quantize_options fp32 = {.size = sizeof fp32, .rules = &rule, .rule_count = 1};
        expect_failure(from, &fp32, DYNQ_ERR_NOT_FINITE, text);
        dynq_model_free(from);
    }
}

Test(quantize, the_callers_rounding_mode_does_not_matter)
{
    dynq_model *from = samples_fp32(NULL), *nearest = quantize(NULL), *downward = NULL;
    cr_assert_eq(fesetround(FE_DOWNWARD), 0);
    const dynq_status status = dynq_quantize(from, NULL, &downward, NULL);
    const int mode = fegetround();
    fesetround(FE_TONEAREST);
    cr_assert(status == DYNQ_OK && mode == FE_DOWNWARD);
    const dynq_node *a = node_of(nearest, "fc1"), *b = node_of(downward, "fc1");
    cr_assert_eq(memcmp(a->packed, b->packed, dynq_packed_s8_bytes(5, 18)), 0);
    cr_assert_eq(memcmp(a->weight_scale, b->weight_scale, 18 * sizeof(float)), 0);
    dynq_model_free(from);
    dynq_model_free(nearest);
    dynq_model_free(downward);
}

Test(quantize, any_allocation_can_fail)
{
    dynq_model *from = samples_fp32(NULL);
    const dynq_quantize_rule rule = {.pattern = "fc2", .precision = DYNQ_PRECISION_FP32};
    dynq_status status = DYNQ_ERR_MEMORY;
    size_t failures = 0;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_quantize_options options = {
            .size = sizeof options, .rules = &rule, .rule_count = 1, .allocator = &allocator};
        dynq_model *model = NULL;
        dynq_error error = {0};
        status = dynq_quantize(from, &options, &model, &error);
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        cr_assert((status == DYNQ_OK) == (model != NULL));
        cr_assert_eq(error.status, status);
        failures += status != DYNQ_OK;
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    cr_assert_gt(failures, 10);
    dynq_model_free(from);
}

/* Runs `rows` rows of the sample model and returns its first output. */
static void run(dynq_model *model, const float *x, size_t rows, float *logits, float *p)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = rows};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    const dynq_binding io[] = {
        {dynq_session_slot(session, "x"), (void *)(uintptr_t)x, rows * 5 * sizeof *x, 0},
        {dynq_session_output_slot(session, "logits"), logits, rows * 7 * sizeof *x, 0},
        {dynq_session_output_slot(session, "p"), p, rows * 7 * sizeof *x, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = rows};
    cr_assert_eq(dynq_session_run(session, &batch, io, 3, &error), DYNQ_OK, "%s", error.message);
    dynq_session_free(session);
}

Test(quantize, the_quantized_model_answers_like_the_original)
{
    enum { ROWS = 40 };
    static const dynq_range_kind kinds[] = {DYNQ_RANGE_DYNAMIC, DYNQ_RANGE_STATIC};
    float x[ROWS * 5], expected[ROWS * 7], logits[ROWS * 7], p[ROWS * 7];
    dynq_model *from = samples_fp32(NULL);
    dynq_calibration *calibration = NULL;
    samples_fill(x, ROWS * 5, 77);
    run(from, x, ROWS, expected, p);
    cr_assert_eq(dynq_calibration_create(from, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, from, x, ROWS, 0, 1, NULL), DYNQ_OK);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const dynq_quantize_options options = {
            .size = sizeof options, .range = kinds[i], .calibration = calibration};
        dynq_model *model = quantize(&options);
        run(model, x, ROWS, logits, p);
        dynq_metrics metrics = {0};
        dynq_metrics_add(&metrics, ROWS, 7, expected, 0, logits, 0);
        const dynq_metrics_summary summary = dynq_metrics_result(&metrics);
        cr_assert_gt(summary.sqnr_db, 30.0, "%f dB", summary.sqnr_db);
        cr_assert(isfinite(summary.sqnr_db), "the INT8 run is not an INT8 run");
        dynq_model_free(model);
    }
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}
