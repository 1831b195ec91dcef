/* What options and rules together want of each node, and whether that can be. */
#include "src/quantize.h"

#include "src/calibrate.h"
#include "src/error.h"
#include "src/options.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#define MAX_CLUSTERS 256

static bool applies(const dynq_quantize_rule *rule, const dynq_node *node)
{
    return dynq_op_has_precision(node->op) && fnmatch(rule->pattern, node->name, 0) == 0;
}

static dynq_status check_rule(const dynq_model *model, const dynq_quantize_rule *rule, size_t index,
                              dynq_error *error)
{
    if (rule->pattern == NULL || !dynq_quantize_rule_known(rule)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "rule %zu has no pattern, an unknown value, or weights that do not go "
                         "with its precision",
                         index);
    }
    const bool about_linear = dynq_quantize_rule_about_linear(rule);
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
                                .correct_bias = o->correct_bias,
                                .precision = dynq_precision_of(o->weights),
                                .weights = o->weights,
                                .levels = o->levels,
                                .table = o->table,
                                .feedback = o->feedback};
}

bool dynq_weights_have_levels(const dynq_quantize_rule *wish, bool simulate)
{
    return wish->weights == DYNQ_FORMAT_INT4 || wish->weights == DYNQ_FORMAT_INT2 ||
           (simulate && wish->weights == DYNQ_FORMAT_INT8);
}

bool dynq_weights_have_importance(const dynq_quantize_rule *wish, const dynq_quantize_options *o)
{
    const bool levels = dynq_weights_have_levels(wish, o->simulate == DYNQ_SWITCH_ON);
    const bool clusters = levels && wish->levels == DYNQ_LEVELS_CLUSTERS;
    const bool few =
        wish->weights == DYNQ_FORMAT_INT4 || wish->weights == DYNQ_FORMAT_INT2 ||
        (levels && wish->levels != DYNQ_LEVELS_UNIFORM) ||
        (wish->weights == DYNQ_FORMAT_INT8 && dynq_weight_group(wish->weight_granularity) != 0);
    return clusters || (few && wish->clip_weights == DYNQ_SWITCH_ON);
}

size_t dynq_weight_group(dynq_weight_granularity granularity)
{
    switch (granularity) {
    case DYNQ_WEIGHTS_PER_GROUP_32: return 32;
    case DYNQ_WEIGHTS_PER_GROUP_64: return 64;
    case DYNQ_WEIGHTS_PER_GROUP_128: return 128;
    case DYNQ_WEIGHTS_PER_COLUMN:
    case DYNQ_WEIGHTS_PER_TENSOR:
    case DYNQ_WEIGHTS_PER_ROW:
    case DYNQ_WEIGHTS_PER_ELEMENT: break;
    }
    return 0;
}

/* What is still open once all rules are applied. Scales by the largest weight are the best known
 * ones where it has a hundred steps; with few steps, or few weights to a scale, the least squared
 * error is worth its search. */
static void add_defaults(const dynq_quantize_options *o, dynq_quantize_rule *wish)
{
    if (wish->method == 0) {
        wish->method = wish->range == DYNQ_RANGE_STATIC ? o->method : o->clip_method;
    }
    if (wish->precision == DYNQ_PRECISION_INT16) { /* which has no zero point */
        wish->scheme = DYNQ_SCHEME_SYMMETRIC;
    }
    if (wish->table == 0) {
        wish->table =
            wish->levels == DYNQ_LEVELS_CLUSTERS ? DYNQ_TABLE_PER_PANEL : DYNQ_TABLE_PER_TENSOR;
    }
    if (wish->clip_weights == 0) {
        const bool few =
            wish->weights == DYNQ_FORMAT_INT4 || wish->weights == DYNQ_FORMAT_INT2 ||
            (wish->weights == DYNQ_FORMAT_INT8 && dynq_weight_group(wish->weight_granularity) != 0);
        wish->clip_weights = few ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF;
    }
}

dynq_quantize_rule dynq_quantize_wish(const dynq_quantize_options *o, const dynq_node *node)
{
    dynq_quantize_rule wish = general_rule(o);
    if (node->op == DYNQ_OP_POSITION) { /* they are few, and their error is in every token */
        wish.precision = DYNQ_PRECISION_FP32;
        wish.weights = DYNQ_FORMAT_FP32;
    }
    wish.pattern = node->name;
    wish.method = 0;
    for (size_t i = 0; i < o->rule_count; i++) {
        if (applies(&o->rules[i], node)) {
            dynq_quantize_rule_add(&wish, &o->rules[i]);
        }
    }
    if (node->op != DYNQ_OP_LINEAR) { /* INT8 is all that they have beside FP32 */
        const bool int8 = wish.precision == DYNQ_PRECISION_INT8 && o->simulate != DYNQ_SWITCH_ON;
        wish.precision = int8 ? DYNQ_PRECISION_INT8 : DYNQ_PRECISION_FP32;
        wish.weights = int8 ? DYNQ_FORMAT_INT8 : DYNQ_FORMAT_FP32;
    }
    add_defaults(o, &wish);
    return wish;
}

const dynq_trained_layer *dynq_quantize_trained(const dynq_quantize_options *o, const char *name)
{
    for (size_t i = 0; i < o->trained_count; i++) {
        if (strcmp(o->trained[i].node, name) == 0) {
            return &o->trained[i];
        }
    }
    return NULL;
}

/* Scales that training found are those of columns, for levels that everybody knows. */
static dynq_status check_trained_wish(const dynq_quantize_options *o, const dynq_node *node,
                                      const dynq_quantize_rule *wish, dynq_error *error)
{
    const dynq_trained_layer *trained = dynq_quantize_trained(o, node->name);
    if (trained == NULL || trained->column_scale == NULL) {
        return DYNQ_OK;
    }
    const bool fixed = !dynq_weights_have_levels(wish, o->simulate == DYNQ_SWITCH_ON) ||
                       wish->levels == DYNQ_LEVELS_UNIFORM || wish->levels == DYNQ_LEVELS_LOG;
    if (wish->weight_granularity != DYNQ_WEIGHTS_PER_COLUMN || !fixed) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': trained scales are of columns, with levels uniform or log",
                         node->name);
    }
    return DYNQ_OK;
}

/* Levels, clusters and tables: of codes of few bits. */
static dynq_status check_levels(const dynq_quantize_options *o, const dynq_node *node,
                                const dynq_quantize_rule *wish, dynq_error *error)
{
    if (wish->levels == DYNQ_LEVELS_AFFINE && o->simulate != DYNQ_SWITCH_ON) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                         "node '%s': affine levels can only be simulated; native ones are uniform, "
                         "log or clusters",
                         node->name);
    }
    if (wish->levels != DYNQ_LEVELS_CLUSTERS) {
        return DYNQ_OK;
    }
    const size_t columns = wish->table == DYNQ_TABLE_PER_TENSOR || node->n < 16 ? node->n : 16;
    if (o->clusters > columns * node->k) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "node '%s': %zu clusters of the %zu weights that share them: no more "
                         "clusters than weights",
                         node->name, o->clusters, columns * node->k);
    }
    return DYNQ_OK;
}

static dynq_status check_granularity(const dynq_quantize_options *o, const dynq_node *node,
                                     const dynq_quantize_rule *wish, dynq_error *error)
{
    const dynq_weight_granularity granularity = wish->weight_granularity;
    const size_t group = dynq_weight_group(granularity);
    if (group > node->k) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "node '%s': groups of %zu inputs, but it has %zu; choose smaller groups, "
                         "or a rule '%s=weights-column'",
                         node->name, group, node->k, node->name);
    }
    if (o->simulate == DYNQ_SWITCH_ON) {
        return DYNQ_OK;
    }
    if (granularity == DYNQ_WEIGHTS_PER_ROW || granularity == DYNQ_WEIGHTS_PER_ELEMENT ||
        (group != 0 && wish->weights == DYNQ_FORMAT_INT16)) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                         "node '%s': %s weights with scales by %s can only be simulated; choose "
                         "column%s",
                         node->name, dynq_format_name(wish->weights),
                         dynq_weight_granularity_name(granularity),
                         wish->weights == DYNQ_FORMAT_INT16 ? " or tensor" : ", tensor or groups");
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize_check_wish(const dynq_quantize_options *o, const dynq_node *node,
                                     const dynq_quantize_rule *wish, dynq_error *error)
{
    if (node->op != DYNQ_OP_LINEAR || dynq_precision_of(wish->weights) == DYNQ_PRECISION_FP32) {
        return DYNQ_OK;
    }
    dynq_status status = check_granularity(o, node, wish, error);
    if (status == DYNQ_OK && dynq_weights_have_levels(wish, o->simulate == DYNQ_SWITCH_ON)) {
        status = check_levels(o, node, wish, error);
    }
    return status == DYNQ_OK ? check_trained_wish(o, node, wish, error) : status;
}

/* What of a rule, or of the options, says something about weights that have no such thing. NULL:
 * nothing. */
static const char *idle_part(const dynq_quantize_rule *rule, bool simulate)
{
    const bool scaled = dynq_precision_of(rule->weights) != DYNQ_PRECISION_FP32;
    const bool leveled = dynq_weights_have_levels(rule, simulate);
    return rule->levels > DYNQ_LEVELS_UNIFORM && !leveled                  ? "levels"
           : rule->table != 0 && !leveled                                  ? "tables of levels"
           : rule->weight_granularity > DYNQ_WEIGHTS_PER_COLUMN && !scaled ? "scales"
                                                                           : NULL;
}

/* Values that contradict each other within one rule, or that nothing in the model has a use for.
 * That a later rule gives a layer other weights is no contradiction. */
static dynq_status check_use(const dynq_model *model, const dynq_quantize_options *o,
                             dynq_error *error)
{
    const bool simulate = o->simulate == DYNQ_SWITCH_ON;
    for (size_t i = 0; i < o->rule_count; i++) {
        dynq_quantize_rule rule = {0};
        dynq_quantize_rule_add(&rule, &o->rules[i]);
        const char *idle = rule.weights == 0 ? NULL : idle_part(&rule, simulate);
        if (idle != NULL) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule '%s': weights in %s have no %s",
                             o->rules[i].pattern, dynq_format_name(rule.weights), idle);
        }
    }
    const dynq_quantize_rule general = general_rule(o);
    const char *idle = idle_part(&general, simulate);
    for (size_t i = 0; i < model->node_count && idle != NULL; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->op == DYNQ_OP_LINEAR) {
            dynq_quantize_rule wish = dynq_quantize_wish(o, node);
            wish.table = o->table;
            idle = idle_part(&wish, simulate);
        }
    }
    return idle == NULL
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_ARGUMENT, "quantize options: weights in %s have no %s",
                           dynq_format_name(o->weights), idle);
}

static dynq_status check_trained(const dynq_model *model, const dynq_quantize_options *o,
                                 dynq_error *error)
{
    for (size_t i = 0; i < o->trained_count; i++) {
        const dynq_trained_layer *layer = &o->trained[i];
        const long index = layer->node == NULL ? -1 : dynq_model_find(model, layer->node);
        if (index < 0 || model->nodes[index].op != DYNQ_OP_LINEAR) {
            return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                             "trained layer %zu, '%s', is no linear layer of the model", i,
                             layer->node == NULL ? "" : layer->node);
        }
        const float *range = layer->range;
        if (range != NULL &&
            !(isfinite(range[0]) && isfinite(range[1]) && range[0] <= 0.0f && range[1] >= 0.0f)) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "trained layer '%s': its range [%g, %g] is not lo <= 0 <= hi",
                             layer->node, (double)range[0], (double)range[1]);
        }
        const size_t scales = layer->column_scale == NULL ? 0 : model->nodes[index].n;
        for (size_t n = 0; n < scales; n++) {
            if (!(layer->column_scale[n] > 0.0f) || !isfinite(layer->column_scale[n])) {
                return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                                 "trained layer '%s': scale %zu is %g; a scale is above 0",
                                 layer->node, n, (double)layer->column_scale[n]);
            }
        }
    }
    return DYNQ_OK;
}

static void set_defaults(dynq_quantize_options *o)
{
    o->range = o->range == 0 ? DYNQ_RANGE_DYNAMIC : o->range;
    o->scope = o->scope == 0 ? DYNQ_SCOPE_SEGMENT : o->scope;
    o->scheme = o->scheme == 0 ? DYNQ_SCHEME_AFFINE : o->scheme;
    o->method = o->method == 0 ? DYNQ_METHOD_MAX : o->method;
    o->weight_granularity =
        o->weight_granularity == 0 ? DYNQ_WEIGHTS_PER_COLUMN : o->weight_granularity;
    o->clip_ranges = o->clip_ranges == 0 ? DYNQ_SWITCH_OFF : o->clip_ranges;
    o->correct_bias = o->correct_bias == 0 ? DYNQ_SWITCH_OFF : o->correct_bias;
    o->clip_method = o->clip_method == 0 ? DYNQ_METHOD_MSE : o->clip_method;
    o->weights = o->weights == 0 ? DYNQ_FORMAT_INT8 : o->weights;
    o->levels = o->levels == 0 ? DYNQ_LEVELS_UNIFORM : o->levels;
    o->feedback = o->feedback == 0 ? DYNQ_SWITCH_OFF : o->feedback;
    o->simulate = o->simulate == 0 ? DYNQ_SWITCH_OFF : o->simulate;
}

/* The number of clusters is the lab's. */
static dynq_status check_clusters(const dynq_quantize_options *o, dynq_error *error)
{
    if (o->clusters == 0) {
        return DYNQ_OK;
    }
    if (o->clusters < 2 || o->clusters > MAX_CLUSTERS) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "quantize options: %zu clusters; 2 to %d are possible", o->clusters,
                         MAX_CLUSTERS);
    }
    bool used = o->levels == DYNQ_LEVELS_CLUSTERS;
    for (size_t i = 0; i < o->rule_count; i++) {
        used = used || o->rules[i].levels == DYNQ_LEVELS_CLUSTERS;
    }
    if (!used) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "quantize options: a number of clusters, but no levels are clusters");
    }
    return o->simulate == DYNQ_SWITCH_ON
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                           "quantize options: another number of clusters than the 16 of int4 and "
                           "the 4 of int2 can only be simulated");
}

static dynq_status check_values(const dynq_quantize_options *o, dynq_error *error)
{
    const dynq_quantize_rule general = general_rule(o);
    if (!dynq_quantize_rule_known(&general) || general.precision == 0 ||
        dynq_calibration_method_name(o->clip_method) == NULL || o->simulate > DYNQ_SWITCH_OFF ||
        (o->rules == NULL && o->rule_count > 0) || (o->trained == NULL && o->trained_count > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "quantize options: bad range, scope, scheme, method, weights, levels, "
                         "table, switch, rules or trained layers");
    }
    return check_clusters(o, error);
}

/* Whether all parameters are floats as they were made. */
static dynq_status check_model(const dynq_model *model, dynq_error *error)
{
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        const bool fp32 = node->precision == DYNQ_PRECISION_FP32;
        const bool plain = node->weight_format == 0 || node->weight_format == DYNQ_FORMAT_FP32;
        if (dynq_op_has_precision(node->op) && !(fp32 && plain)) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "node '%s' is %s already; quantize the FP32 model", node->name,
                             node->precision == DYNQ_PRECISION_INT8    ? "INT8"
                             : node->precision == DYNQ_PRECISION_INT16 ? "INT16"
                                                                       : "in half precision");
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize_check_options(const dynq_model *model, dynq_quantize_options *o,
                                        dynq_error *error)
{
    set_defaults(o);
    dynq_status status = check_values(o, error);
    if (status == DYNQ_OK) {
        status = check_model(model, error);
    }
    for (size_t i = 0; i < o->rule_count && status == DYNQ_OK; i++) {
        status = check_rule(model, &o->rules[i], i, error);
    }
    if (status == DYNQ_OK) {
        status = check_use(model, o, error);
    }
    return status == DYNQ_OK ? check_trained(model, o, error) : status;
}

dynq_status dynq_quantize_resolve(const dynq_model *model, const dynq_quantize_options *options,
                                  size_t index, dynq_quantize_rule *resolved, dynq_error *error)
{
    dynq_quantize_options o;
    if (model == NULL || resolved == NULL || index >= model->node_count ||
        !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "quantize: no model, node, options or result");
    }
    const dynq_node *node = &model->nodes[index];
    dynq_status status = dynq_quantize_check_options(model, &o, error);
    dynq_quantize_rule wish = {.pattern = node->name};
    if (status == DYNQ_OK && dynq_op_has_precision(node->op)) {
        wish = dynq_quantize_wish(&o, node);
        status = dynq_quantize_check_wish(&o, node, &wish, error);
    }
    if (status == DYNQ_OK) {
        *resolved = wish;
    }
    return status;
}
