/* Quantizing tables and attention. */
#include <dynq/quantize.h>

#include "src/pack.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const dynq_node *node_of(const dynq_model *model, const char *name)
{
    const long index = dynq_model_find(model, name);
    cr_assert_geq(index, 0, "no node %s", name);
    return &model->nodes[index];
}

static dynq_model *quantize(const dynq_quantize_rule *rules, size_t count)
{
    dynq_model *from = samples_transformer(NULL, true), *model = NULL;
    const dynq_quantize_options options = {
        .size = sizeof options, .rules = rules, .rule_count = count};
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

static void expect_failure(const dynq_model *model, const dynq_quantize_rule *rule,
                           dynq_status status, const char *text)
{
    const dynq_quantize_options options = {
        .size = sizeof options, .rules = rule, .rule_count = rule != NULL};
    dynq_model *untouched = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(model, &options, &untouched, &error), status, "%s: %s", text,
                 error.message);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(untouched);
}

static void check_table(const dynq_model *from, const dynq_model *to, const char *name)
{
    const dynq_node *source = node_of(from, name), *node = node_of(to, name);
    cr_assert(node->precision == DYNQ_PRECISION_INT8 && node->weight == NULL);
    cr_assert(node->table_rows == source->table_rows && node->n == source->n);
    cr_assert_eq(node->first, source->first);
    for (size_t r = 0; r < node->table_rows; r++) {
        const float *row = source->weight + r * node->n;
        float largest = 0;
        for (size_t c = 0; c < node->n; c++) {
            largest = fmaxf(largest, fabsf(row[c]));
        }
        cr_assert_eq(node->weight_scale[r], largest / 127.0f);
        for (size_t c = 0; c < node->n; c++) {
            const float code = rintf(row[c] * (127.0f / largest));
            cr_assert_eq(node->table_codes[r * node->n + c], (int)code, "%s[%zu][%zu]", name, r, c);
        }
    }
}

Test(quantize_transformer, defaults)
{
    dynq_model *from = samples_transformer(NULL, true), *model = quantize(NULL, 0);
    check_table(from, model, "words");
    cr_assert_eq(node_of(model, "places")->precision, DYNQ_PRECISION_FP32);
    cr_assert_null(node_of(model, "places")->table_codes);
    const dynq_node *a = node_of(from, "l1.heads"), *b = node_of(model, "l1.heads");
    const dynq_range_rule none = {0};
    cr_assert(a->precision == DYNQ_PRECISION_FP32 && b->precision == DYNQ_PRECISION_INT8);
    cr_assert(b->heads == 4 && b->causal && b->scale == a->scale && b->inputs[2] == a->inputs[2]);
    cr_assert_eq(memcmp(&b->range, &none, sizeof none), 0);
    cr_assert_eq(node_of(model, "pooler")->precision, DYNQ_PRECISION_INT8);
    cr_assert_eq(node_of(model, "pooler")->domain, DYNQ_DOMAIN_SEGMENTS);
    cr_assert_eq(node_of(model, "first")->pooling, DYNQ_POOL_CLS);
    dynq_node_info info = {.size = sizeof info};
    cr_assert_eq(dynq_model_node(model, (size_t)dynq_model_find(model, "words"), &info), DYNQ_OK);
    cr_assert(info.precision == DYNQ_PRECISION_INT8 && info.parameters == 50 * 32);
    cr_assert_eq(info.weight_bytes, 50 * 32 + 50 * sizeof(float));
    dynq_model_free(from);
    cr_assert_eq(dynq_model_check(model, NULL), DYNQ_OK);
    cr_assert_eq(dynq_model_verify(model, NULL), DYNQ_OK);
    const void *bytes = NULL;
    size_t size = 0;
    cr_assert_eq(dynq_model_attachment(model, "vocabulary", &bytes, &size), DYNQ_OK);
    cr_assert(size == 17 && memcmp(bytes, "[PAD]\n[UNK]\nword\n", 17) == 0);
    cr_assert_str_eq(dynq_model_attachment_name(model, 1), "pooling-1_b");
    dynq_model_free(model);
}

Test(quantize_transformer, tables_as_floats)
{
    const dynq_quantize_rule rule = {.pattern = "places", .precision = DYNQ_PRECISION_INT8};
    dynq_model *from = samples_transformer(NULL, true), *model = quantize(&rule, 1);
    const size_t index = (size_t)dynq_model_find(model, "places");
    float exact[20 * 32], restored[20 * 32];
    cr_assert_eq(dynq_model_weights(from, index, exact, COUNT(exact)), DYNQ_OK);
    cr_assert_eq(dynq_model_weights(model, index, restored, COUNT(restored)), DYNQ_OK);
    const dynq_node *node = &model->nodes[index];
    for (size_t i = 0; i < COUNT(exact); i++) {
        const float scale = node->weight_scale[i / 32];
        cr_assert_eq(restored[i], (float)node->table_codes[i] * scale);
        cr_assert_leq(fabsf(exact[i] - restored[i]), 0.501f * scale);
    }
    dynq_model_free(from);
    dynq_model_free(model);
}

Test(quantize_transformer, rules)
{
    const dynq_quantize_rule rules[] = {
        {.pattern = "*", .precision = DYNQ_PRECISION_FP32},
        {.pattern = "l1.*", .precision = DYNQ_PRECISION_INT8, .scope = DYNQ_SCOPE_ROW},
        {.pattern = "places", .precision = DYNQ_PRECISION_INT8}};
    dynq_model *from = samples_transformer(NULL, true), *model = quantize(rules, 3);
    cr_assert_eq(node_of(model, "words")->precision, DYNQ_PRECISION_FP32);
    cr_assert_eq(memcmp(node_of(model, "words")->weight, node_of(from, "words")->weight,
                        50 * 32 * sizeof(float)),
                 0);
    cr_assert_null(node_of(model, "words")->table_codes);
    check_table(from, model, "places");
    cr_assert_eq(node_of(model, "l0.heads")->precision, DYNQ_PRECISION_FP32);
    cr_assert_eq(node_of(model, "l1.heads")->precision, DYNQ_PRECISION_INT8);
    cr_assert_eq(node_of(model, "l1.q")->range.scope, DYNQ_SCOPE_ROW);
    cr_assert_eq(node_of(model, "l1.heads")->range.scope, 0, "attention has no range");
    dynq_model_free(model);
    /* Nothing in INT8 is the same model again. */
    model = quantize(rules, 1);
    size_t size = 0, from_size = 0;
    unsigned char *bytes = samples_saved(model, &size), *original = samples_saved(from, &from_size);
    cr_assert(size == from_size && memcmp(bytes, original, size) == 0);
    free(bytes);
    free(original);
    dynq_model_free(model);
    dynq_model_free(from);
}

Test(quantize_transformer, rules_that_are_wrong)
{
    dynq_model *from = samples_transformer(NULL, true);
    const dynq_quantize_rule ranges[] = {
        {.pattern = "words", .range = DYNQ_RANGE_DYNAMIC},
        {.pattern = "*.heads", .precision = DYNQ_PRECISION_INT8, .scope = DYNQ_SCOPE_ROW},
        {.pattern = "places", .scheme = DYNQ_SCHEME_SYMMETRIC}};
    for (size_t i = 0; i < COUNT(ranges); i++) {
        expect_failure(from, &ranges[i], DYNQ_ERR_ARGUMENT, "of linear layers, but node");
    }
    static const char *const others[] = {"ids", "mean", "unit", "norm", "sum", "l0.act", "none"};
    for (size_t i = 0; i < COUNT(others); i++) {
        const dynq_quantize_rule rule = {.pattern = others[i], .precision = DYNQ_PRECISION_FP32};
        expect_failure(from, &rule, DYNQ_ERR_NOT_FOUND, others[i]);
    }
    dynq_model_free(from);
}

Test(quantize_transformer, a_quantized_model_is_refused)
{
    static const char *const names[] = {"words", "places", "l0.heads"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const dynq_quantize_rule rules[] = {
            {.pattern = "*", .precision = DYNQ_PRECISION_FP32},
            {.pattern = names[i], .precision = DYNQ_PRECISION_INT8}};
        dynq_model *model = quantize(rules, 2);
        expect_failure(model, NULL, DYNQ_ERR_ARGUMENT, names[i]);
        dynq_model_free(model);
    }
}

Test(quantize_transformer, tables_that_are_not_finite)
{
    for (int fp32 = 0; fp32 < 2; fp32++) {
        dynq_model *from = samples_transformer(NULL, true);
        ((float *)(uintptr_t)node_of(from, "words")->weight)[40] = NAN;
        const dynq_quantize_rule rule = {
            .pattern = "*", .precision = fp32 ? DYNQ_PRECISION_FP32 : DYNQ_PRECISION_INT8};
        expect_failure(from, &rule, DYNQ_ERR_NOT_FINITE, "node 'words': element 40 of its table");
        dynq_model_free(from);
    }
}

Test(quantize_transformer, any_allocation_can_fail)
{
    dynq_model *from = samples_transformer(NULL, true);
    const dynq_quantize_rule rule = {.pattern = "words", .precision = DYNQ_PRECISION_FP32};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_quantize_options options = {
            .size = sizeof options, .rules = &rule, .rule_count = 1, .allocator = &allocator};
        dynq_model *model = NULL;
        status = dynq_quantize(from, &options, &model, NULL);
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        cr_assert_eq(model != NULL, status == DYNQ_OK);
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    dynq_model_free(from);
}
