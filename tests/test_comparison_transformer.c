/* Variants of a sentence encoder: ids, segments, attention, rows behind pooling. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <string.h>

enum { ROWS = 23, SEGMENTS = 5, VARIANTS = 4 };

static const size_t offsets[] = {0, 7, 8, 14, 20, 23};

static dynq_comparison *run(dynq_model *fp32, dynq_model *int8, dynq_model *fixed, uint32_t threads)
{
    const dynq_variant variants[VARIANTS] = {
        {.size = sizeof *variants, .model = fp32, .output = "pooled"},
        {.size = sizeof *variants, .model = int8, .output = "pooled"},
        {.size = sizeof *variants, .model = int8, .scope = DYNQ_SCOPE_TENSOR, .output = "pooled"},
        {.size = sizeof *variants, .model = fixed, .output = "pooled"}};
    const dynq_comparison_options options = {
        .size = sizeof options, .max_rows = 40, .max_segments = SEGMENTS, .threads = threads};
    dynq_comparison *comparison = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_comparison_create(variants, VARIANTS, &options, &comparison, &error), DYNQ_OK,
                 "%s", error.message);
    for (size_t count = SEGMENTS; count > 2; count--) {
        int32_t ids[ROWS];
        for (size_t i = 0; i < offsets[count]; i++) {
            ids[i] = (int32_t)((i * i + 3 * count) % 50);
        }
        const dynq_batch batch = {
            .size = sizeof batch, .rows = offsets[count], .segments = count, .offsets = offsets};
        const dynq_binding input = {dynq_comparison_slot(comparison, "ids"), ids, sizeof ids, 0};
        cr_assert_eq(dynq_comparison_run(comparison, &batch, &input, 1, &error), DYNQ_OK, "%s",
                     error.message);
    }
    return comparison;
}

/* Ranges from rows of what the linear layers of the reference read. */
static dynq_model *quantize_static(dynq_model *fp32, const dynq_calibration *seen)
{
    const dynq_quantize_options options = {
        .size = sizeof options, .range = DYNQ_RANGE_STATIC, .calibration = seen};
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(fp32, &options, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

static void check_nodes(const dynq_comparison *comparison, size_t variant, const dynq_model *model)
{
    size_t alone = 0;
    for (size_t i = 0; i < dynq_comparison_node_count(comparison, variant); i++) {
        dynq_comparison_node node = {.size = sizeof node};
        cr_assert_eq(dynq_comparison_get(comparison, variant, i, &node), DYNQ_OK);
        const dynq_node *info = &model->nodes[node.node];
        const bool int8 = dynq_op_has_precision(info->op) && info->precision == DYNQ_PRECISION_INT8;
        cr_assert_eq(node.chain.rows,
                     info->domain == DYNQ_DOMAIN_SEGMENTS ? 5 + 4 + 3 : 23 + 20 + 14);
        cr_assert_eq(node.own.rows, int8 ? node.chain.rows : 0, "%s", node.name);
        cr_assert(!int8 || node.own.noise > 0, "%s", node.name);
        cr_assert((node.chain.noise > 0) == (int8 || info->op != DYNQ_OP_POSITION), "%s",
                  node.name);
        alone += int8;
        if (info->op == DYNQ_OP_LINEAR && info->range.kind == DYNQ_RANGE_STATIC) {
            cr_assert_eq(node.inputs, node.chain.rows * info->k);
        } else {
            cr_assert_eq(node.inputs, 0);
        }
    }
    cr_assert_geq(alone, 16);
}

Test(comparison, transformer)
{
    dynq_model *fp32 = samples_transformer(NULL, false);
    dynq_model *int8 = samples_transformer_int8(NULL, false);
    dynq_comparison *first = run(fp32, int8, int8, 1);
    dynq_model *fixed = quantize_static(fp32, dynq_comparison_seen(first));
    dynq_comparison_free(first);
    dynq_comparison *one = run(fp32, int8, fixed, 1), *two = run(fp32, int8, fixed, 2);
    check_nodes(one, 1, int8);
    check_nodes(one, 2, int8);
    check_nodes(one, 3, fixed);
    for (size_t v = 0; v < VARIANTS; v++) {
        const dynq_metrics a = dynq_comparison_metrics(one, v);
        const dynq_metrics b = dynq_comparison_metrics(two, v);
        cr_assert_eq(memcmp(&a, &b, sizeof a), 0);
        cr_assert(v == 0 ? a.noise == 0 : a.noise > 0);
        for (size_t i = 0; i < dynq_comparison_node_count(one, v); i++) {
            dynq_comparison_node x = {.size = sizeof x}, y = {.size = sizeof y};
            cr_assert_eq(dynq_comparison_get(one, v, i, &x), DYNQ_OK);
            cr_assert_eq(dynq_comparison_get(two, v, i, &y), DYNQ_OK);
            cr_assert_eq(memcmp(&x.chain, &y.chain, sizeof x.chain), 0, "%s", x.name);
            cr_assert_eq(memcmp(&x.own, &y.own, sizeof x.own), 0, "%s", x.name);
            cr_assert(x.inputs == y.inputs && x.outside == y.outside);
        }
    }
    dynq_comparison_free(one);
    dynq_comparison_free(two);
    dynq_model_free(fixed);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}
