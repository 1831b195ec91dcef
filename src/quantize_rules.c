/* Rules: their words, what they may hold, and how one adds to another. */
#include "src/quantize.h"

#include "src/error.h"

#include <string.h>

const char *dynq_weight_granularity_name(dynq_weight_granularity granularity)
{
    switch (granularity) {
    case DYNQ_WEIGHTS_PER_COLUMN: return "column";
    case DYNQ_WEIGHTS_PER_TENSOR: return "tensor";
    case DYNQ_WEIGHTS_PER_GROUP_32: return "group-32";
    case DYNQ_WEIGHTS_PER_GROUP_64: return "group-64";
    case DYNQ_WEIGHTS_PER_GROUP_128: return "group-128";
    case DYNQ_WEIGHTS_PER_ROW: return "row";
    case DYNQ_WEIGHTS_PER_ELEMENT: return "element";
    }
    return NULL;
}

dynq_precision dynq_precision_of(dynq_format weights)
{
    switch (weights) {
    case DYNQ_FORMAT_FP32:
    case DYNQ_FORMAT_FP16:
    case DYNQ_FORMAT_BF16: return DYNQ_PRECISION_FP32;
    case DYNQ_FORMAT_INT16: return DYNQ_PRECISION_INT16;
    case DYNQ_FORMAT_INT8:
    case DYNQ_FORMAT_INT4:
    case DYNQ_FORMAT_INT2: return DYNQ_PRECISION_INT8;
    case DYNQ_FORMAT_FP64: break;
    }
    return 0;
}

typedef enum property {
    WEIGHTS, /* and with them the precision */
    RANGE,
    SCOPE,
    SCHEME,
    METHOD,
    WEIGHT_GRANULARITY,
    CLIP_WEIGHTS,
    CLIP_RANGES,
    CORRECT_BIAS,
    LEVELS,
    TABLE,
    FEEDBACK,
    PROPERTIES
} property;

typedef struct rule_word {
    const char *text;
    property property;
    int value;
} rule_word;

static const rule_word rule_words[] = {
    {"fp32", WEIGHTS, DYNQ_FORMAT_FP32},
    {"fp16", WEIGHTS, DYNQ_FORMAT_FP16},
    {"bf16", WEIGHTS, DYNQ_FORMAT_BF16},
    {"int16", WEIGHTS, DYNQ_FORMAT_INT16},
    {"int8", WEIGHTS, DYNQ_FORMAT_INT8},
    {"int4", WEIGHTS, DYNQ_FORMAT_INT4},
    {"int2", WEIGHTS, DYNQ_FORMAT_INT2},
    {"static", RANGE, DYNQ_RANGE_STATIC},
    {"dynamic", RANGE, DYNQ_RANGE_DYNAMIC},
    {"segment", SCOPE, DYNQ_SCOPE_SEGMENT},
    {"tensor", SCOPE, DYNQ_SCOPE_TENSOR},
    {"row", SCOPE, DYNQ_SCOPE_ROW},
    {"affine", SCHEME, DYNQ_SCHEME_AFFINE},
    {"symmetric", SCHEME, DYNQ_SCHEME_SYMMETRIC},
    {"max", METHOD, DYNQ_METHOD_MAX},
    {"entropy", METHOD, DYNQ_METHOD_ENTROPY},
    {"percentile", METHOD, DYNQ_METHOD_PERCENTILE},
    {"mse", METHOD, DYNQ_METHOD_MSE},
    {"average", METHOD, DYNQ_METHOD_AVERAGE},
    {"weights-column", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_COLUMN},
    {"weights-channel", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_COLUMN},
    {"weights-tensor", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_TENSOR},
    {"weights-group-32", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_GROUP_32},
    {"weights-group-64", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_GROUP_64},
    {"weights-group-128", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_GROUP_128},
    {"weights-row", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_ROW},
    {"weights-element", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_ELEMENT},
    {"uniform", LEVELS, DYNQ_LEVELS_UNIFORM},
    {"log", LEVELS, DYNQ_LEVELS_LOG},
    {"clusters", LEVELS, DYNQ_LEVELS_CLUSTERS},
    {"levels-affine", LEVELS, DYNQ_LEVELS_AFFINE},
    {"table-tensor", TABLE, DYNQ_TABLE_PER_TENSOR},
    {"table-panel", TABLE, DYNQ_TABLE_PER_PANEL},
    {"clip-weights", CLIP_WEIGHTS, DYNQ_SWITCH_ON},
    {"no-clip-weights", CLIP_WEIGHTS, DYNQ_SWITCH_OFF},
    {"clip-ranges", CLIP_RANGES, DYNQ_SWITCH_ON},
    {"no-clip-ranges", CLIP_RANGES, DYNQ_SWITCH_OFF},
    {"correct-bias", CORRECT_BIAS, DYNQ_SWITCH_ON},
    {"no-correct-bias", CORRECT_BIAS, DYNQ_SWITCH_OFF},
    {"feedback", FEEDBACK, DYNQ_SWITCH_ON},
    {"no-feedback", FEEDBACK, DYNQ_SWITCH_OFF},
};

static const rule_word *find_word(const char *text, size_t length)
{
    for (size_t i = 0; i < sizeof rule_words / sizeof rule_words[0]; i++) {
        if (strlen(rule_words[i].text) == length && memcmp(rule_words[i].text, text, length) == 0) {
            return &rule_words[i];
        }
    }
    return NULL;
}

/* "VALUE[,VALUE]" of the rule `text`. */
static dynq_status parse_values(const char *text, const char *list, int values[PROPERTIES],
                                dynq_error *error)
{
    for (const char *next = list; next != NULL;) {
        const size_t length = strcspn(next, ",");
        const rule_word *word = find_word(next, length);
        if (word == NULL) {
            return dynq_fail(
                error, DYNQ_ERR_ARGUMENT,
                "rule '%s': '%.*s' is not one of fp32, fp16, bf16, int16, int8, int4, int2, "
                "static, dynamic, segment, tensor, row, affine, symmetric, max, entropy, "
                "percentile, mse, average, weights-(column, channel, tensor, group-32, group-64, "
                "group-128, row, element), uniform, log, clusters, levels-affine, table-tensor, "
                "table-panel, [no-]clip-weights, [no-]clip-ranges, [no-]correct-bias, "
                "[no-]feedback",
                text, length > 40 ? 40 : (int)length, next);
        }
        if (values[word->property] != 0) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "rule '%s': '%s' is given beside a value that excludes it", text,
                             word->text);
        }
        values[word->property] = word->value;
        next = next[length] == ',' ? next + length + 1 : NULL;
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize_rule_parse(const char *text, char *buffer, size_t buffer_size,
                                     dynq_quantize_rule *rule, dynq_error *error)
{
    if (text == NULL || buffer == NULL || rule == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule: text, buffer or result is NULL");
    }
    const char *equals = strrchr(text, '='); /* a name may hold one, a value never does */
    if (equals == NULL || equals == text) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule '%s': expected GLOB=VALUE[,VALUE]", text);
    }
    if (buffer_size <= strlen(text)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule '%s': its buffer is too small", text);
    }
    int values[PROPERTIES] = {0};
    const dynq_status status = parse_values(text, equals + 1, values, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const size_t length = (size_t)(equals - text);
    memcpy(buffer, text, length);
    buffer[length] = '\0';
    *rule = (dynq_quantize_rule){
        .pattern = buffer,
        .precision = dynq_precision_of((dynq_format)values[WEIGHTS]),
        .range = (dynq_range_kind)values[RANGE],
        .scope = (dynq_scope)values[SCOPE],
        .scheme = (dynq_scheme)values[SCHEME],
        .method = (dynq_calibration_method)values[METHOD],
        .weight_granularity = (dynq_weight_granularity)values[WEIGHT_GRANULARITY],
        .clip_weights = (dynq_switch)values[CLIP_WEIGHTS],
        .clip_ranges = (dynq_switch)values[CLIP_RANGES],
        .correct_bias = (dynq_switch)values[CORRECT_BIAS],
        .weights = (dynq_format)values[WEIGHTS],
        .levels = (dynq_levels)values[LEVELS],
        .table = (dynq_table_scope)values[TABLE],
        .feedback = (dynq_switch)values[FEEDBACK],
    };
    return DYNQ_OK;
}

/* Precision and weights are of their enumerations, or 0, and go together. */
static bool known_weights(const dynq_quantize_rule *rule)
{
    const dynq_precision precision = dynq_precision_of(rule->weights);
    return (rule->precision == 0 || dynq_precision_name(rule->precision) != NULL) &&
           (rule->weights == 0 || precision != 0) &&
           (rule->precision == 0 || rule->weights == 0 || rule->precision == precision);
}

bool dynq_quantize_rule_known(const dynq_quantize_rule *rule)
{
    return known_weights(rule) && (rule->range == 0 || dynq_range_kind_name(rule->range) != NULL) &&
           (rule->scope == 0 || dynq_scope_name(rule->scope) != NULL) &&
           (rule->scheme == 0 || dynq_scheme_name(rule->scheme) != NULL) &&
           (rule->method == 0 || dynq_calibration_method_name(rule->method) != NULL) &&
           (rule->weight_granularity == 0 ||
            dynq_weight_granularity_name(rule->weight_granularity) != NULL) &&
           (rule->levels == 0 || dynq_levels_name(rule->levels) != NULL) &&
           (rule->table == 0 || dynq_table_scope_name(rule->table) != NULL) &&
           rule->clip_weights <= DYNQ_SWITCH_OFF && rule->clip_ranges <= DYNQ_SWITCH_OFF &&
           rule->correct_bias <= DYNQ_SWITCH_OFF && rule->feedback <= DYNQ_SWITCH_OFF;
}

bool dynq_quantize_rule_about_linear(const dynq_quantize_rule *rule)
{
    return rule->range != 0 || rule->scope != 0 || rule->scheme != 0 || rule->method != 0 ||
           rule->weight_granularity != 0 || rule->clip_weights != 0 || rule->clip_ranges != 0 ||
           rule->correct_bias != 0 || rule->levels != 0 || rule->table != 0 || rule->feedback != 0;
}

void dynq_quantize_rule_add(dynq_quantize_rule *wish, const dynq_quantize_rule *rule)
{
    if (rule->precision != 0 || rule->weights != 0) {
        wish->weights = rule->weights != 0 ? rule->weights : dynq_format_of(rule->precision);
        wish->precision = dynq_precision_of(wish->weights);
    }
    wish->range = rule->range != 0 ? rule->range : wish->range;
    wish->scope = rule->scope != 0 ? rule->scope : wish->scope;
    wish->scheme = rule->scheme != 0 ? rule->scheme : wish->scheme;
    wish->method = rule->method != 0 ? rule->method : wish->method;
    wish->weight_granularity =
        rule->weight_granularity != 0 ? rule->weight_granularity : wish->weight_granularity;
    wish->clip_weights = rule->clip_weights != 0 ? rule->clip_weights : wish->clip_weights;
    wish->clip_ranges = rule->clip_ranges != 0 ? rule->clip_ranges : wish->clip_ranges;
    wish->correct_bias = rule->correct_bias != 0 ? rule->correct_bias : wish->correct_bias;
    wish->levels = rule->levels != 0 ? rule->levels : wish->levels;
    wish->table = rule->table != 0 ? rule->table : wish->table;
    wish->feedback = rule->feedback != 0 ? rule->feedback : wish->feedback;
}
