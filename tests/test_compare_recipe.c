/* Names of the variants that `dynq compare` makes. */
#include "tools/compare_recipe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static compare_recipe parsed(const char *name)
{
    compare_recipe recipe;
    cr_assert(compare_recipe_parse(name, &recipe), "%s", name);
    return recipe;
}

static void expect_name(const char *given, const char *expected)
{
    char name[COMPARE_NAME_SIZE];
    const compare_recipe recipe = parsed(given);
    compare_recipe_name(&recipe, name);
    cr_assert_str_eq(name, expected);
}

Test(compare_recipe, names_come_back)
{
    static const char *const names[] = {
        "fp32",
        "int8-static-entropy-symmetric-clip-weights",
        "int8-static-percentile-99.9",
        "int8-static-percentile-99.999-symmetric-weights-tensor-smooth-clip-weights-bias",
        "int8-dynamic-row-symmetric-weights-tensor-smooth-clip-weights-clip-ranges-bias",
        "fp16",
        "bf16",
        "int16-static-mse-weights-tensor",
        "int4-dynamic-segment-weights-group-32-clusters-table-tensor-smooth-bias-feedback",
        "int2-static-max-symmetric-weights-group-128-log-clip-weights",
        "int8-simulated-weights-row-affine",
        "int4-simulated-weights-element-clusters-256-table-panel",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect_name(names[i], names[i]);
    }
    const char *name = NULL;
    for (size_t i = 0; (name = compare_usual_variant(i)) != NULL; i++) {
        expect_name(name, name);
    }
    for (size_t i = 0; (name = compare_further_variant(i)) != NULL; i++) {
        expect_name(name, name);
    }
    expect_name("int8-dynamic-row-bias-smooth-symmetric", "int8-dynamic-row-symmetric-smooth-bias");
    expect_name("int8-static-percentile-99.99-bias", "int8-static-percentile-bias");
}

Test(compare_recipe, fields_are_what_the_name_says)
{
    const compare_recipe row = parsed("int8-dynamic-row-symmetric-clip-ranges");
    cr_assert(row.range == DYNQ_RANGE_DYNAMIC && row.scope == DYNQ_SCOPE_ROW);
    cr_assert(row.scheme == DYNQ_SCHEME_SYMMETRIC && row.weights == DYNQ_WEIGHTS_PER_COLUMN);
    cr_assert(row.clip_ranges && !row.smooth && !row.clip_weights && !row.correct_bias);
    const compare_recipe fixed = parsed("int8-static-percentile-99.5-weights-tensor-smooth");
    cr_assert(fixed.range == DYNQ_RANGE_STATIC && fixed.method == DYNQ_METHOD_PERCENTILE);
    cr_assert(fixed.percentile == 99.5 && fixed.scheme == DYNQ_SCHEME_AFFINE);
    cr_assert(fixed.weights == DYNQ_WEIGHTS_PER_TENSOR && fixed.smooth);
}

Test(compare_recipe, other_names_are_refused)
{
    static const char *const names[] = {
        "",
        "int8",
        "int8-",
        "int8-static",
        "int8-static-",
        "int8-static-maximum",
        "int8-static-row",
        "int8-dynamic-max",
        "int8-dynamic-row-",
        "int8-dynamic-row--smooth",
        "int8-dynamic-row-smooth-smooth",
        "int8-dynamic-row-smoother",
        "int8-static-max-clip-ranges",
        "int8-static-max-99.9",
        "int8-static-percentile-0",
        "int8-static-percentile-101",
        "int8-static-percentile-99.9x",
        "fp32-smooth",
        "int5-dynamic-row",
        "fp16-smooth",
        "int16-dynamic-row-symmetric",
        "int16-dynamic-row-weights-group-32",
        "int8-dynamic-row-clusters",
        "int4-dynamic-row-affine",
        "int4-dynamic-row-weights-row",
        "int4-dynamic-row-clusters-16",
        "int4-simulated-clusters-257",
        "int4-simulated-clusters-1",
        "int4-dynamic-row-table-panel",
        "int4-dynamic-row-log-clusters",
        "int4-simulated-clip-ranges",
        "int4-simulated-symmetric",
    };
    compare_recipe recipe;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cr_assert_not(compare_recipe_parse(names[i], &recipe), "%s", names[i]);
    }
}

static size_t listed(const char *list, double percentile, size_t room, compare_recipe *recipes,
                     const char **bad)
{
    size_t count = 0, length = 0;
    *bad = NULL;
    compare_recipe_list(list, percentile, recipes, room, &count, bad, &length);
    return count;
}

Test(compare_recipe, lists_hold_names_and_patterns)
{
    compare_recipe recipes[64];
    char name[COMPARE_NAME_SIZE];
    const char *bad = NULL;
    size_t usual = 0, further = 0;
    while (compare_usual_variant(usual) != NULL) {
        usual++;
    }
    while (compare_further_variant(further) != NULL) {
        further++;
    }
    cr_assert_eq(listed("usual", 0, 32, recipes, &bad), usual);
    cr_assert_eq(listed("*", 0, 64, recipes, &bad), usual);
    cr_assert_eq(listed("all", 0, 64, recipes, &bad), usual + further);
    cr_assert_eq(listed("fp16,int2-*", 0, 64, recipes, &bad), 5);
    cr_assert_eq(listed("fp32", 0, 32, recipes, &bad), 0);
    cr_assert_null(bad);
    cr_assert_eq(
        listed("int8-dynamic-row,int8-dynamic-*-symmetric,int8-dynamic-row", 0, 32, recipes, &bad),
        3);
    cr_assert_eq(listed("int8-static-percentile", 99.9, 32, recipes, &bad), 1);
    compare_recipe_name(&recipes[0], name);
    cr_assert_str_eq(name, "int8-static-percentile-99.9");
    cr_assert_eq(listed("int8-static-max,nothing*,fp32", 0, 32, recipes, &bad), 1);
    cr_assert(strncmp(bad, "nothing*,", 9) == 0);
    cr_assert_eq(listed("int8-static-max,,", 0, 32, recipes, &bad), 1);
    cr_assert_not_null(bad);
    cr_assert_eq(listed("*", 0, 3, recipes, &bad), 3);
    cr_assert_not_null(bad);
}

Test(compare_recipe, switches_of_quantize)
{
    char text[COMPARE_SWITCHES_SIZE];
    compare_recipe recipe = parsed("int8-static-percentile-99.9-symmetric-smooth-bias");
    compare_recipe_switches(&recipe, text);
    cr_assert_str_eq(text, "--ranges static --method percentile --percentile 99.9 "
                           "--scheme symmetric --smooth --correct-bias");
    recipe = parsed("int8-dynamic-segment-weights-tensor-clip-weights-clip-ranges");
    compare_recipe_switches(&recipe, text);
    cr_assert_str_eq(
        text, "--granularity segment --weight-granularity tensor --clip-weights --clip-ranges");
    recipe = parsed("fp32");
    compare_recipe_switches(&recipe, text);
    cr_assert_str_eq(text, "");
}
