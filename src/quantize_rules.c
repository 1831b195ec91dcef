/* Rules: which options hold for which node. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/options.h"

#include <fnmatch.h>
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

typedef enum property {
    PRECISION,
    RANGE,
    SCOPE,
    SCHEME,
    METHOD,
    WEIGHT_GRANULARITY,
    CLIP_WEIGHTS,
    CLIP_RANGES,
    CORRECT_BIAS,
    PROPERTIES
} property;

typedef struct rule_word {
    const char *text;
    property property;
    int value;
} rule_word;

static const rule_word rule_words[] = {
    {"fp32", PRECISION, DYNQ_PRECISION_FP32},
    {"int8", PRECISION, DYNQ_PRECISION_INT8},
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
    {"weights-tensor", WEIGHT_GRANULARITY, DYNQ_WEIGHTS_PER_TENSOR},
    {"clip-weights", CLIP_WEIGHTS, DYNQ_SWITCH_ON},
    {"no-clip-weights", CLIP_WEIGHTS, DYNQ_SWITCH_OFF},
    {"clip-ranges", CLIP_RANGES, DYNQ_SWITCH_ON},
    {"no-clip-ranges", CLIP_RANGES, DYNQ_SWITCH_OFF},
    {"correct-bias", CORRECT_BIAS, DYNQ_SWITCH_ON},
    {"no-correct-bias", CORRECT_BIAS, DYNQ_SWITCH_OFF},
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
                "rule '%s': '%.*s' is not one of fp32, int8, static, dynamic, segment, tensor, "
                "row, affine, symmetric, max, entropy, percentile, mse, average, weights-column, "
                "weights-tensor, [no-]clip-weights, [no-]clip-ranges, [no-]correct-bias",
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
        .precision = (dynq_precision)values[PRECISION],
        .range = (dynq_range_kind)values[RANGE],
        .scope = (dynq_scope)values[SCOPE],
        .scheme = (dynq_scheme)values[SCHEME],
        .method = (dynq_calibration_method)values[METHOD],
        .weight_granularity = (dynq_weight_granularity)values[WEIGHT_GRANULARITY],
        .clip_weights = (dynq_switch)values[CLIP_WEIGHTS],
        .clip_ranges = (dynq_switch)values[CLIP_RANGES],
        .correct_bias = (dynq_switch)values[CORRECT_BIAS],
    };
    return DYNQ_OK;
}

/* Each is one of its enumeration, or 0. */
static bool known_values(const dynq_quantize_rule *rule)
{
    return (rule->precision == 0 || dynq_precision_name(rule->precision) != NULL) &&
           (rule->range == 0 || dynq_range_kind_name(rule->range) != NULL) &&
           (rule->scope == 0 || dynq_scope_name(rule->scope) != NULL) &&
           (rule->scheme == 0 || dynq_scheme_name(rule->scheme) != NULL) &&
           (rule->method == 0 || dynq_calibration_method_name(rule->method) != NULL) &&
           rule->weight_granularity <= DYNQ_WEIGHTS_PER_TENSOR &&
           rule->clip_weights <= DYNQ_SWITCH_OFF && rule->clip_ranges <= DYNQ_SWITCH_OFF &&
           rule->correct_bias <= DYNQ_SWITCH_OFF;
}

static bool applies(const dynq_quantize_rule *rule, const dynq_node *node)
{
    return dynq_op_has_precision(node->op) && fnmatch(rule->pattern, node->name, 0) == 0;
}

static dynq_status check_rule(const dynq_model *model, const dynq_quantize_rule *rule, size_t index,
                              dynq_error *error)
{
    if (rule->pattern == NULL || !known_values(rule)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule %zu has no pattern or an unknown value",
                         index);
    }
    const bool about_linear = rule->range != 0 || rule->scope != 0 || rule->scheme != 0 ||
                              rule->method != 0 || rule->weight_granularity != 0 ||
                              rule->clip_weights != 0 || rule->clip_ranges != 0 ||
                              rule->correct_bias != 0;
    const dynq_node *other = NULL;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (applies(rule, node) && (node->op == DYNQ_OP_LINEAR || !about_linear)) {
            return DYNQ_OK;
        }
        other = applies(rule, node) ? node : other;
    }
    if (other != NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "rule '%s' is about ranges, weights or biases of linear layers, but node "
                         "'%s' is none; fp32 and int8 are possible",
                         rule->pattern, other->name);
    }
    return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                     "rule '%s' matches no linear layer, embedding or attention of the model",
                     rule->pattern);
}

/* What the options say of all nodes, as a rule. */
static dynq_quantize_rule general_rule(const dynq_quantize_options *o)
{
    return (dynq_quantize_rule){.pattern = "*",
                                .range = o->range,
                                .scope = o->scope,
                                .scheme = o->scheme,
                                .method = o->method,
                                .weight_granularity = o->weight_granularity,
                                .clip_weights = o->clip_weights,
                                .clip_ranges = o->clip_ranges,
                                .correct_bias = o->correct_bias};
}

dynq_status dynq_quantize_check_options(const dynq_model *model, dynq_quantize_options *o,
                                        dynq_error *error)
{
    o->range = o->range == 0 ? DYNQ_RANGE_DYNAMIC : o->range;
    o->scope = o->scope == 0 ? DYNQ_SCOPE_SEGMENT : o->scope;
    o->scheme = o->scheme == 0 ? DYNQ_SCHEME_AFFINE : o->scheme;
    o->method = o->method == 0 ? DYNQ_METHOD_MAX : o->method;
    o->weight_granularity =
        o->weight_granularity == 0 ? DYNQ_WEIGHTS_PER_COLUMN : o->weight_granularity;
    o->clip_weights = o->clip_weights == 0 ? DYNQ_SWITCH_OFF : o->clip_weights;
    o->clip_ranges = o->clip_ranges == 0 ? DYNQ_SWITCH_OFF : o->clip_ranges;
    o->correct_bias = o->correct_bias == 0 ? DYNQ_SWITCH_OFF : o->correct_bias;
    o->clip_method = o->clip_method == 0 ? DYNQ_METHOD_MSE : o->clip_method;
    const dynq_quantize_rule general = general_rule(o);
    if (!known_values(&general) || dynq_calibration_method_name(o->clip_method) == NULL ||
        (o->rules == NULL && o->rule_count > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "quantize options: bad range, scope, scheme, method, switch or rules");
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (dynq_op_has_precision(node->op) && node->precision == DYNQ_PRECISION_INT8) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "node '%s' is INT8 already; quantize the FP32 model", node->name);
        }
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < o->rule_count && status == DYNQ_OK; i++) {
        status = check_rule(model, &o->rules[i], i, error);
    }
    return status;
}

/* What `rule` says takes the place of what `wish` says. */
static void add_rule(dynq_quantize_rule *wish, const dynq_quantize_rule *rule)
{
    wish->precision = rule->precision != 0 ? rule->precision : wish->precision;
    wish->range = rule->range != 0 ? rule->range : wish->range;
    wish->scope = rule->scope != 0 ? rule->scope : wish->scope;
    wish->scheme = rule->scheme != 0 ? rule->scheme : wish->scheme;
    wish->method = rule->method != 0 ? rule->method : wish->method;
    wish->weight_granularity =
        rule->weight_granularity != 0 ? rule->weight_granularity : wish->weight_granularity;
    wish->clip_weights = rule->clip_weights != 0 ? rule->clip_weights : wish->clip_weights;
    wish->clip_ranges = rule->clip_ranges != 0 ? rule->clip_ranges : wish->clip_ranges;
    wish->correct_bias = rule->correct_bias != 0 ? rule->correct_bias : wish->correct_bias;
}

dynq_quantize_rule dynq_quantize_wish(const dynq_quantize_options *o, const dynq_node *node)
{
    dynq_quantize_rule wish = general_rule(o);
    /* Positions are few, and their error is in every token. */
    wish.precision = node->op == DYNQ_OP_POSITION ? DYNQ_PRECISION_FP32 : DYNQ_PRECISION_INT8;
    wish.pattern = node->name;
    wish.method = 0;
    for (size_t i = 0; i < o->rule_count; i++) {
        if (applies(&o->rules[i], node)) {
            add_rule(&wish, &o->rules[i]);
        }
    }
    if (wish.method == 0) {
        wish.method = wish.range == DYNQ_RANGE_STATIC ? o->method : o->clip_method;
    }
    return wish;
}

dynq_status dynq_quantize_resolve(const dynq_model *model, const dynq_quantize_options *options,
                                  size_t index, dynq_quantize_rule *resolved, dynq_error *error)
{
    dynq_quantize_options o;
    if (model == NULL || resolved == NULL || index >= model->node_count ||
        !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "quantize: no model, node, options or result");
    }
    const dynq_status status = dynq_quantize_check_options(model, &o, error);
    if (status != DYNQ_OK) {
        return status;
    }
    *resolved = (dynq_quantize_rule){.pattern = model->nodes[index].name};
    if (dynq_op_has_precision(model->nodes[index].op)) {
        *resolved = dynq_quantize_wish(&o, &model->nodes[index]);
    }
    return DYNQ_OK;
}
