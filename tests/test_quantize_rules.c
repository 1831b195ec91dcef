/* Rules as text. */
#include <dynq/quantize.h>

#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool same_values(const dynq_quantize_rule *a, const dynq_quantize_rule *b)
{
    return a->precision == b->precision && a->range == b->range && a->scope == b->scope &&
           a->scheme == b->scheme && a->method == b->method &&
           a->weight_granularity == b->weight_granularity && a->clip_weights == b->clip_weights &&
           a->clip_ranges == b->clip_ranges && a->correct_bias == b->correct_bias &&
           a->weights == b->weights && a->levels == b->levels && a->table == b->table &&
           a->feedback == b->feedback;
}

Test(quantize_rules, words)
{
    static const struct {
        const char *text;
        dynq_quantize_rule rule;
    } cases[] = {
        {"*=fp32", {.pattern = "*", .precision = DYNQ_PRECISION_FP32, .weights = DYNQ_FORMAT_FP32}},
        {"*=fp16", {.pattern = "*", .precision = DYNQ_PRECISION_FP32, .weights = DYNQ_FORMAT_FP16}},
        {"*=bf16", {.pattern = "*", .precision = DYNQ_PRECISION_FP32, .weights = DYNQ_FORMAT_BF16}},
        {"*=int16",
         {.pattern = "*", .precision = DYNQ_PRECISION_INT16, .weights = DYNQ_FORMAT_INT16}},
        {"fc1=int8,static",
         {.pattern = "fc1",
          .precision = DYNQ_PRECISION_INT8,
          .range = DYNQ_RANGE_STATIC,
          .weights = DYNQ_FORMAT_INT8}},
        {"*=int4,clusters,table-panel,weights-group-32,feedback",
         {.pattern = "*",
          .precision = DYNQ_PRECISION_INT8,
          .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_32,
          .weights = DYNQ_FORMAT_INT4,
          .levels = DYNQ_LEVELS_CLUSTERS,
          .table = DYNQ_TABLE_PER_PANEL,
          .feedback = DYNQ_SWITCH_ON}},
        {"*=int2,log,table-tensor,weights-group-64,no-feedback",
         {.pattern = "*",
          .precision = DYNQ_PRECISION_INT8,
          .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_64,
          .weights = DYNQ_FORMAT_INT2,
          .levels = DYNQ_LEVELS_LOG,
          .table = DYNQ_TABLE_PER_TENSOR,
          .feedback = DYNQ_SWITCH_OFF}},
        {"x=uniform,weights-group-128",
         {.pattern = "x",
          .weight_granularity = DYNQ_WEIGHTS_PER_GROUP_128,
          .levels = DYNQ_LEVELS_UNIFORM}},
        {"x=levels-affine,weights-row",
         {.pattern = "x",
          .weight_granularity = DYNQ_WEIGHTS_PER_ROW,
          .levels = DYNQ_LEVELS_AFFINE}},
        {"x=weights-element", {.pattern = "x", .weight_granularity = DYNQ_WEIGHTS_PER_ELEMENT}},
        {"x=weights-channel", {.pattern = "x", .weight_granularity = DYNQ_WEIGHTS_PER_COLUMN}},
        {"a=b=dynamic", {.pattern = "a=b", .range = DYNQ_RANGE_DYNAMIC}},
        {"[a-c]?*=segment", {.pattern = "[a-c]?*", .scope = DYNQ_SCOPE_SEGMENT}},
        {"x=entropy", {.pattern = "x", .method = DYNQ_METHOD_ENTROPY}},
        {"x=static,percentile",
         {.pattern = "x", .range = DYNQ_RANGE_STATIC, .method = DYNQ_METHOD_PERCENTILE}},
        {"x=max", {.pattern = "x", .method = DYNQ_METHOD_MAX}},
        {"x=mse", {.pattern = "x", .method = DYNQ_METHOD_MSE}},
        {"x=average", {.pattern = "x", .method = DYNQ_METHOD_AVERAGE}},
        {"x=weights-column,row",
         {.pattern = "x", .scope = DYNQ_SCOPE_ROW, .weight_granularity = DYNQ_WEIGHTS_PER_COLUMN}},
        {"x=weights-tensor", {.pattern = "x", .weight_granularity = DYNQ_WEIGHTS_PER_TENSOR}},
        {"x=clip-weights,no-clip-ranges,correct-bias",
         {.pattern = "x",
          .clip_weights = DYNQ_SWITCH_ON,
          .clip_ranges = DYNQ_SWITCH_OFF,
          .correct_bias = DYNQ_SWITCH_ON}},
        {"x=no-clip-weights,clip-ranges,no-correct-bias",
         {.pattern = "x",
          .clip_weights = DYNQ_SWITCH_OFF,
          .clip_ranges = DYNQ_SWITCH_ON,
          .correct_bias = DYNQ_SWITCH_OFF}},
        {"x=tensor,affine",
         {.pattern = "x", .scope = DYNQ_SCOPE_TENSOR, .scheme = DYNQ_SCHEME_AFFINE}},
        {"x=symmetric,row",
         {.pattern = "x", .scope = DYNQ_SCOPE_ROW, .scheme = DYNQ_SCHEME_SYMMETRIC}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buffer[64];
        dynq_quantize_rule rule;
        cr_assert_eq(
            dynq_quantize_rule_parse(cases[i].text, buffer, strlen(cases[i].text) + 1, &rule, NULL),
            DYNQ_OK);
        cr_assert_eq(rule.pattern, buffer);
        cr_assert_str_eq(rule.pattern, cases[i].rule.pattern);
        cr_assert(same_values(&rule, &cases[i].rule), "%s", cases[i].text);
    }
}

Test(quantize_rules, texts_that_are_wrong)
{
    static const char *const cases[][2] = {
        {"", "expected GLOB=VALUE"},
        {"fc1", "expected GLOB=VALUE"},
        {"=fp32", "expected GLOB=VALUE"},
        {"fc1=", "'' is not one of"},
        {"fc1=fp64", "'fp64'"},
        {"fc1=int4,int2", "'int2' is given beside"},
        {"fc1=clusters,log", "'log' is given beside"},
        {"fc1=table-panel,table-tensor", "'table-tensor' is given beside"},
        {"fc1=weights-group-48", "'weights-group-48'"},
        {"fc1=weights-row,weights-group-32", "'weights-group-32' is given beside"},
        {"fc1=fp32,", "'' is not one of"},
        {"fc1=,fp32", "'' is not one of"},
        {"fc1=FP32", "'FP32'"},
        {"fc1=row ", "'row '"},
        {"fc1=static,dynamic", "'dynamic' is given beside"},
        {"fc1=row,row", "'row' is given"},
        {"fc1=mse,max", "'max' is given beside"},
        {"fc1=clip-weights,no-clip-weights", "'no-clip-weights' is given beside"},
        {"fc1=weights-tensor,weights-column", "'weights-column' is given beside"},
        {"fc1=no-mse", "[no-]clip-ranges, [no-]correct-bias, [no-]feedback"},
        {"fc1=int8,fp32", "'fp32' is given beside"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buffer[64] = "before";
        dynq_quantize_rule rule = {.pattern = "before"};
        dynq_error error = {0};
        cr_assert_eq(dynq_quantize_rule_parse(cases[i][0], buffer, sizeof buffer, &rule, &error),
                     DYNQ_ERR_ARGUMENT);
        cr_assert(strstr(error.message, cases[i][1]) != NULL, "%s", error.message);
        cr_assert_str_eq(buffer, "before");
        cr_assert_str_eq(rule.pattern, "before");
    }
    char buffer[8];
    dynq_quantize_rule rule;
    cr_assert_eq(dynq_quantize_rule_parse("fc1=int8", buffer, 8, &rule, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_quantize_rule_parse(NULL, buffer, 8, &rule, NULL), DYNQ_ERR_ARGUMENT);
}
