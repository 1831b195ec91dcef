/* Models with weights in every format: what is packed is what is simulated, and what cannot be. */
#include <dynq/quantize.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { K = 150, N = 37, WEIGHTS = N * K };

static float w[WEIGHTS];

/* x -> fc -> y */
static dynq_model *make_model(void)
{
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {N, K}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", K), &weight, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

static void fill_weights(uint32_t seed)
{
    samples_fill(w, WEIGHTS, seed);
    for (size_t i = 0; i < WEIGHTS; i++) {
        w[i] = w[i] * w[i] * w[i] * (1.0f + (float)(i / K));
    }
}

static dynq_model *quantize(dynq_quantize_options options)
{
    dynq_model *from = make_model(), *model = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_model_verify(model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

static void weights_of(const dynq_model *model, float *weights)
{
    cr_assert_eq(dynq_model_weights(model, 1, weights, WEIGHTS), DYNQ_OK);
}

/* All that exists natively: texts of rules. */
static const char *const native[] = {
    "fc=fp32",
    "fc=fp16",
    "fc=bf16",
    "fc=int16",
    "fc=int16,weights-tensor,clip-weights",
    "fc=int8",
    "fc=int8,weights-tensor",
    "fc=int8,weights-group-32",
    "fc=int8,weights-group-64,no-clip-weights",
    "fc=int8,weights-group-128",
    "fc=int4",
    "fc=int4,no-clip-weights",
    "fc=int4,table-panel",
    "fc=int4,weights-tensor",
    "fc=int4,weights-group-32",
    "fc=int4,log",
    "fc=int4,log,weights-group-64",
    "fc=int4,clusters",
    "fc=int4,clusters,no-clip-weights",
    "fc=int4,clusters,table-tensor",
    "fc=int4,clusters,weights-tensor",
    "fc=int4,clusters,weights-group-32",
    "fc=int4,clusters,table-tensor,weights-group-128",
    "fc=int2",
    "fc=int2,weights-tensor",
    "fc=int2,weights-group-32",
    "fc=int2,log,weights-group-128",
    "fc=int2,clusters",
    "fc=int2,clusters,table-tensor,weights-group-64",
};

static dynq_model *quantize_by(const char *text, dynq_quantize_options options)
{
    char pattern[128];
    dynq_quantize_rule rule;
    cr_assert_eq(dynq_quantize_rule_parse(text, pattern, sizeof pattern, &rule, NULL), DYNQ_OK,
                 "%s", text);
    options.rules = &rule;
    options.rule_count = 1;
    return quantize(options);
}

static void check_simulation(const char *rule)
{
    static float packed[WEIGHTS], simulated[WEIGHTS];
    dynq_model *model = quantize_by(rule, (dynq_quantize_options){0});
    weights_of(model, packed);
    dynq_model_free(model);
    model = quantize_by(rule, (dynq_quantize_options){.simulate = DYNQ_SWITCH_ON});
    cr_assert_eq(model->nodes[1].precision, DYNQ_PRECISION_FP32);
    cr_assert_eq(model->nodes[1].weight_format, DYNQ_FORMAT_FP32);
    weights_of(model, simulated);
    dynq_model_free(model);
    for (size_t i = 0; i < WEIGHTS; i++) {
        /* level * factor * scale is rounded once or twice, as the order is */
        const double difference = fabs((double)packed[i] - (double)simulated[i]);
        cr_assert(difference <= 3e-7 * fabs((double)packed[i]), "%s: weight %zu, %a: %a, %a", rule,
                  i, (double)w[i], (double)packed[i], (double)simulated[i]);
    }
}

Test(quantize_formats, what_is_simulated_is_what_is_packed)
{
    fill_weights(1);
    for (size_t i = 0; i < COUNT(native); i++) {
        check_simulation(native[i]);
    }
}

/* Saved, opened and saved again is the same file, and quantized twice as well. */
static void check_file(const char *rule)
{
    size_t size = 0, again_size = 0;
    dynq_model *model = quantize_by(rule, (dynq_quantize_options){0}), *opened = NULL;
    unsigned char *bytes = samples_saved(model, &size);
    dynq_model_free(model);
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, NULL), DYNQ_OK, "%s", rule);
    model = quantize_by(rule, (dynq_quantize_options){0});
    unsigned char *again = samples_saved(model, &again_size);
    cr_assert(size == again_size && memcmp(bytes, again, size) == 0, "%s", rule);
    dynq_node_info a = {.size = sizeof a}, b = {.size = sizeof b};
    cr_assert_eq(dynq_model_node(model, 1, &a), DYNQ_OK);
    cr_assert_eq(dynq_model_node(opened, 1, &b), DYNQ_OK);
    cr_assert(a.weight_format == b.weight_format && a.weight_group == b.weight_group &&
                  a.weight_levels == b.weight_levels && a.table_scope == b.table_scope,
              "%s", rule);
    dynq_model_free(model);
    dynq_model_free(opened);
    free(bytes);
    free(again);
}

Test(quantize_formats, files_are_the_same_each_time)
{
    fill_weights(2);
    for (size_t i = 0; i < COUNT(native); i++) {
        check_file(native[i]);
    }
}

Test(quantize_formats, what_the_node_says)
{
    fill_weights(3);
    dynq_model *model =
        quantize((dynq_quantize_options){.weights = DYNQ_FORMAT_INT4,
                                         .levels = DYNQ_LEVELS_CLUSTERS,
                                         .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_64});
    dynq_node_info node = {.size = sizeof node};
    cr_assert_eq(dynq_model_node(model, 1, &node), DYNQ_OK);
    cr_assert_eq(node.precision, DYNQ_PRECISION_INT8);
    cr_assert_eq(node.weight_format, DYNQ_FORMAT_INT4);
    cr_assert_eq(node.weight_group, 64);
    cr_assert_eq(node.weight_levels, DYNQ_LEVELS_CLUSTERS);
    cr_assert_eq(node.table_scope, DYNQ_TABLE_PER_PANEL);
    dynq_model_free(model);
    model = quantize((dynq_quantize_options){.weights = DYNQ_FORMAT_INT16});
    cr_assert_eq(dynq_model_node(model, 1, &node), DYNQ_OK);
    cr_assert_eq(node.precision, DYNQ_PRECISION_INT16);
    cr_assert_eq(node.range.scheme, DYNQ_SCHEME_SYMMETRIC);
    dynq_model_free(model);
    model = quantize((dynq_quantize_options){.weights = DYNQ_FORMAT_BF16});
    cr_assert_eq(dynq_model_node(model, 1, &node), DYNQ_OK);
    cr_assert_eq(node.precision, DYNQ_PRECISION_FP32);
    cr_assert_eq(node.weight_format, DYNQ_FORMAT_BF16);
    dynq_model_free(model);
}

/* All weights alike, all 0, one column of zeros, one weight: nothing of it is an error, and values
 * are as near as one step. */
Test(quantize_formats, weights_with_nothing_to_choose)
{
    static float restored[WEIGHTS];
    for (int kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < WEIGHTS; i++) {
            w[i] = kind == 0   ? 0.7f
                   : kind == 1 ? 0.0f
                   : kind == 2 ? (i / K == 5 ? 0.0f : -0.3f)
                               : (i == 77 ? 2.0f : 0.0f);
        }
        for (size_t i = 0; i < COUNT(native); i++) {
            check_simulation(native[i]);
            dynq_model *model = quantize_by(native[i], (dynq_quantize_options){0});
            weights_of(model, restored);
            for (size_t j = 0; j < WEIGHTS && kind < 3; j++) {
                const bool tensor = strstr(native[i], "tensor") != NULL;
                const double allowed = kind == 2 && tensor ? 0.15 : 0.004;
                cr_assert(fabs((double)(restored[j] - w[j])) <= allowed, "%s, %d: %g, not %g",
                          native[i], kind, (double)restored[j], (double)w[j]);
            }
            dynq_model_free(model);
        }
    }
}

static void expect_failure(dynq_quantize_options options, dynq_status status, const char *text)
{
    dynq_model *from = make_model(), *model = NULL;
    dynq_error error = {0};
    options.size = sizeof options;
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), status, "%s: %s", text,
                 error.message);
    cr_assert(strstr(error.message, text) != NULL, "'%s' is not in: %s", text, error.message);
    cr_assert_null(model);
    dynq_model_free(from);
}

Test(quantize_formats, what_can_only_be_simulated)
{
    fill_weights(4);
    const dynq_quantize_options cases[] = {
        {.weight_granularity = DYNQ_WEIGHTS_PER_ROW},
        {.weights = DYNQ_FORMAT_INT4, .weight_granularity = DYNQ_WEIGHTS_PER_ELEMENT},
        {.weights = DYNQ_FORMAT_INT16, .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32},
        {.weights = DYNQ_FORMAT_INT2, .levels = DYNQ_LEVELS_AFFINE},
        {.weights = DYNQ_FORMAT_INT4, .levels = DYNQ_LEVELS_CLUSTERS, .clusters = 8},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_failure(cases[i], DYNQ_ERR_UNSUPPORTED, "only be simulated");
        dynq_quantize_options simulated = cases[i];
        simulated.simulate = DYNQ_SWITCH_ON;
        dynq_model_free(quantize(simulated));
    }
}

Test(quantize_formats, what_cannot_be)
{
    fill_weights(5);
    const dynq_switch on = DYNQ_SWITCH_ON;
    const struct {
        dynq_quantize_options options;
        dynq_status status;
        const char *text;
    } cases[] = {
        {{.weights = DYNQ_FORMAT_FP64}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.weights = (dynq_format)9}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.levels = (dynq_levels)5}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.table = (dynq_table_scope)3}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.simulate = (dynq_switch)3}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.feedback = (dynq_switch)3}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.trained_count = 1}, DYNQ_ERR_ARGUMENT, "quantize options"},
        {{.levels = DYNQ_LEVELS_LOG}, DYNQ_ERR_ARGUMENT, "weights in int8 have no levels"},
        {{.table = DYNQ_TABLE_PER_PANEL}, DYNQ_ERR_ARGUMENT, "have no tables of levels"},
        {{.weights = DYNQ_FORMAT_FP16, .levels = DYNQ_LEVELS_CLUSTERS},
         DYNQ_ERR_ARGUMENT,
         "weights in fp16 have no levels"},
        {{.weights = DYNQ_FORMAT_BF16, .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32},
         DYNQ_ERR_ARGUMENT,
         "weights in bf16 have no scales"},
        {{.weights = DYNQ_FORMAT_INT16, .levels = DYNQ_LEVELS_AFFINE, .simulate = on},
         DYNQ_ERR_ARGUMENT,
         "weights in int16 have no levels"},
        {{.clusters = 16}, DYNQ_ERR_ARGUMENT, "no levels are clusters"},
        {{.levels = DYNQ_LEVELS_CLUSTERS, .clusters = 257, .simulate = on},
         DYNQ_ERR_LIMIT,
         "2 to 256"},
        {{.levels = DYNQ_LEVELS_CLUSTERS, .clusters = 1, .simulate = on},
         DYNQ_ERR_LIMIT,
         "2 to 256"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_failure(cases[i].options, cases[i].status, cases[i].text);
    }
}

Test(quantize_formats, rules_that_contradict_themselves)
{
    fill_weights(6);
    const struct {
        dynq_quantize_rule rule;
        const char *text;
    } cases[] = {
        {{.pattern = "fc", .precision = DYNQ_PRECISION_FP32, .weights = DYNQ_FORMAT_INT4},
         "weights that do not go with its precision"},
        {{.pattern = "fc", .weights = DYNQ_FORMAT_INT8, .levels = DYNQ_LEVELS_LOG},
         "rule 'fc': weights in int8 have no levels"},
        {{.pattern = "fc",
          .precision = DYNQ_PRECISION_FP32,
          .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_64},
         "rule 'fc': weights in fp32 have no scales"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_failure((dynq_quantize_options){.rules = &cases[i].rule, .rule_count = 1},
                       DYNQ_ERR_ARGUMENT, cases[i].text);
    }
}

Test(quantize_formats, what_a_later_rule_leaves_idle_is_no_error)
{
    const dynq_quantize_rule rule = {.pattern = "fc1", .weights = DYNQ_FORMAT_FP16};
    dynq_model *from = samples_fp32(NULL), *model = NULL;
    dynq_quantize_options options = {.size = sizeof options,
                                     .weights = DYNQ_FORMAT_INT4,
                                     .levels = DYNQ_LEVELS_LOG,
                                     .rules = &rule,
                                     .rule_count = 1};
    cr_assert_eq(dynq_quantize(from, &options, &model, NULL), DYNQ_OK);
    cr_assert_eq(model->nodes[1].weight_format, DYNQ_FORMAT_FP16);
    dynq_model_free(model);
    dynq_model_free(from);
}

/* samples_fp32(): 5 and 18 inputs. */
Test(quantize_formats, groups_and_clusters_that_do_not_fit)
{
    dynq_model *from = samples_fp32(NULL), *model = NULL;
    dynq_error error = {0};
    dynq_quantize_options options = {.size = sizeof options,
                                     .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32};
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_ERR_LIMIT);
    cr_assert(strstr(error.message, "node 'fc1': groups of 32 inputs, but it has 5") != NULL, "%s",
              error.message);
    options = (dynq_quantize_options){.size = sizeof options,
                                      .levels = DYNQ_LEVELS_CLUSTERS,
                                      .table = DYNQ_TABLE_PER_TENSOR,
                                      .clusters = 91,
                                      .simulate = DYNQ_SWITCH_ON};
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_ERR_LIMIT);
    cr_assert(strstr(error.message, "91 clusters of the 90 weights") != NULL, "%s", error.message);
    options.clusters = 90;
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(model);
    dynq_model_free(from);
}

Test(quantize_formats, halves_that_overflow)
{
    fill_weights(8);
    w[3 * K + 7] = 1e5f;
    for (int simulate = 0; simulate < 2; simulate++) {
        dynq_quantize_options options = {.weights = DYNQ_FORMAT_FP16,
                                         .simulate = simulate ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF};
        expect_failure(options, DYNQ_ERR_NOT_FINITE, "node 'fc'");
        options.weights = DYNQ_FORMAT_BF16;
        dynq_model_free(quantize(options));
    }
}

/* Column c has scale 2^-c; weights are odd halves of it, on the middle between two levels. */
Test(quantize_formats, trained_scales_and_ranges)
{
    static float scale[N], restored[WEIGHTS];
    const float range[2] = {-1.0f, 3.0f};
    for (size_t i = 0; i < WEIGHTS; i++) {
        scale[i / K] = ldexpf(1.0f, -(int)(i / K) % 5);
        w[i] = ((float)(i % 30) - 15.0f) * 0.5f * scale[i / K];
    }
    const dynq_trained_layer layer = {.node = "fc", .column_scale = scale, .range = range};
    dynq_quantize_options options = {
        .weights = DYNQ_FORMAT_INT4, .trained = &layer, .trained_count = 1};
    dynq_model *model = quantize(options);
    const dynq_node *node = &model->nodes[1];
    cr_assert_eq(memcmp(node->weight_scale, scale, sizeof scale), 0);
    cr_assert(node->range.kind == DYNQ_RANGE_STATIC && node->range.lo == -1.0f &&
              node->range.hi == 3.0f);
    weights_of(model, restored);
    for (size_t i = 0; i < WEIGHTS; i++) {
        const float code = fminf(7.0f, fmaxf(-8.0f, rintf(w[i] / scale[i / K])));
        cr_assert_eq(restored[i], code * scale[i / K]);
    }
    dynq_model_free(model);
    options.weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32;
    expect_failure(options, DYNQ_ERR_ARGUMENT, "trained scales are of columns");
    options.weight_granularity = 0;
    options.levels = DYNQ_LEVELS_CLUSTERS;
    expect_failure(options, DYNQ_ERR_ARGUMENT, "levels uniform or log");
    scale[4] = 0.0f;
    options.levels = 0;
    expect_failure(options, DYNQ_ERR_ARGUMENT, "scale 4 is 0");
    const float turned[2] = {1.0f, 3.0f};
    const dynq_trained_layer wrong[] = {
        {.node = "x"}, {.node = "fc", .range = turned}, {.node = NULL}};
    options.trained = &wrong[0];
    expect_failure(options, DYNQ_ERR_NOT_FOUND, "'x', is no linear layer");
    options.trained = &wrong[1];
    expect_failure(options, DYNQ_ERR_ARGUMENT, "is not lo <= 0 <= hi");
    options.trained = &wrong[2];
    expect_failure(options, DYNQ_ERR_NOT_FOUND, "is no linear layer");
}

static dynq_model *with_twin(const dynq_model *from, dynq_quantize_options options,
                             dynq_model *twin)
{
    dynq_model *model = NULL;
    options.size = sizeof options;
    options.twin = twin;
    cr_assert_eq(dynq_quantize(from, &options, &model, NULL), DYNQ_OK);
    return model;
}

Test(quantize_formats, twins_share_what_is_the_same)
{
    fill_weights(9);
    dynq_model *from = make_model();
    const dynq_quantize_options base = {.weights = DYNQ_FORMAT_INT4,
                                        .levels = DYNQ_LEVELS_CLUSTERS};
    dynq_quantize_options others[] = {base, base, base, base, base, base};
    others[0].weights = DYNQ_FORMAT_INT2;
    others[1].levels = DYNQ_LEVELS_LOG;
    others[2].table = DYNQ_TABLE_PER_TENSOR;
    others[3].weight_granularity = DYNQ_WEIGHTS_PER_GROUP_64;
    others[4].clip_weights = DYNQ_SWITCH_OFF;
    others[5].simulate = DYNQ_SWITCH_ON;
    dynq_model *twin = with_twin(from, base, NULL), *same = with_twin(from, base, twin);
    cr_assert_eq(same->nodes[1].packed, twin->nodes[1].packed);
    cr_assert_eq(same->nodes[1].levels, twin->nodes[1].levels);
    size_t size = 0, twin_size = 0;
    unsigned char *a = samples_saved(same, &size), *b = samples_saved(twin, &twin_size);
    cr_assert(size == twin_size && memcmp(a, b, size) == 0);
    free(a);
    free(b);
    dynq_model_free(same);
    for (size_t i = 0; i < COUNT(others); i++) {
        dynq_model *other = with_twin(from, others[i], twin);
        cr_assert(other->nodes[1].packed == NULL ||
                  other->nodes[1].packed != twin->nodes[1].packed);
        dynq_model *again = with_twin(from, others[i], other);
        cr_assert_eq(again->nodes[1].packed, other->nodes[1].packed);
        cr_assert_eq(again->nodes[1].weight, other->nodes[1].weight);
        dynq_model_free(again);
        dynq_model_free(other);
    }
    dynq_model_free(twin);
    dynq_model_free(from);
}

Test(quantize_formats, memory_that_runs_out)
{
    fill_weights(10);
    dynq_model *from = make_model();
    for (size_t i = 0; i < COUNT(native); i += 3) {
        char pattern[128];
        dynq_quantize_rule rule;
        cr_assert_eq(dynq_quantize_rule_parse(native[i], pattern, sizeof pattern, &rule, NULL),
                     DYNQ_OK);
        dynq_status status = DYNQ_ERR_MEMORY;
        for (size_t at = 1; status != DYNQ_OK && at < 100; at++) {
            samples_memory memory = {.fail_at = at};
            const dynq_allocator allocator = samples_allocator(&memory);
            const dynq_quantize_options options = {
                .size = sizeof options, .rules = &rule, .rule_count = 1, .allocator = &allocator};
            dynq_model *model = NULL;
            status = dynq_quantize(from, &options, &model, NULL);
            cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY, "%s, %zu", native[i], at);
            dynq_model_free(model);
            cr_assert_eq(memory.live, 0, "%s, %zu", native[i], at);
        }
        cr_assert_eq(status, DYNQ_OK);
    }
    dynq_model_free(from);
}

/* Input 7 is a hundred times as loud as the others. */
static dynq_calibration *calibrate(const dynq_model *model)
{
    static float x[64 * K];
    dynq_calibration *calibration = NULL;
    samples_fill(x, 64 * K, 5);
    for (size_t r = 0; r < 64; r++) {
        x[r * K + 7] *= 100.0f;
    }
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 64, K, x, 0, NULL), DYNQ_OK);
    return calibration;
}

static double error_at(const dynq_model *model, size_t input)
{
    static float restored[WEIGHTS];
    weights_of(model, restored);
    double sum = 0.0;
    for (size_t c = 0; c < N; c++) {
        const double error = (double)restored[c * K + input] - (double)w[c * K + input];
        sum += error * error;
    }
    return sum;
}

Test(quantize_formats, loud_inputs_count_more)
{
    static const char *const rules[] = {"fc=int4", "fc=int4,weights-group-32", "fc=int4,clusters",
                                        "fc=int2,clusters,weights-group-64"};
    fill_weights(11);
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    for (size_t i = 0; i < COUNT(rules); i++) {
        dynq_model *plain = quantize_by(rules[i], (dynq_quantize_options){0});
        dynq_model *heeding =
            quantize_by(rules[i], (dynq_quantize_options){.calibration = calibration});
        cr_assert_lt(error_at(heeding, 7), 0.3 * error_at(plain, 7), "%s", rules[i]);
        dynq_model_free(plain);
        dynq_model_free(heeding);
    }
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}

/* The corrected bias takes the mean error away, whatever the format. */
Test(quantize_formats, biases_are_corrected_for_all_formats)
{
    fill_weights(12);
    dynq_model *from = make_model();
    dynq_calibration *calibration = calibrate(from);
    for (size_t i = 1; i < COUNT(native); i++) {
        for (int simulate = 0; simulate < 2; simulate++) {
            const dynq_quantize_options options = {.calibration = calibration,
                                                   .correct_bias = DYNQ_SWITCH_ON,
                                                   .simulate =
                                                       simulate ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF};
            dynq_model *model = quantize_by(native[i], options);
            cr_assert_not_null(model->nodes[1].bias, "%s", native[i]);
            dynq_model_free(model);
        }
    }
    dynq_calibration_free(calibration);
    dynq_model_free(from);
}
