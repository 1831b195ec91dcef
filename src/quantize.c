#include <dynq/quantize.h>

#include "src/calibrate.h"
#include "src/cpu.h"
#include "src/error.h"
#include "src/model.h"
#include "src/options.h"
#include "src/pack.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

/* ---- rules ---- */

typedef enum property { PRECISION, RANGE, SCOPE, SCHEME, PROPERTIES } property;

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
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "rule '%s': '%.*s' is not one of fp32, int8, static, dynamic, "
                             "segment, tensor, row, affine, symmetric",
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
    *rule = (dynq_quantize_rule){.pattern = buffer,
                                 .precision = (dynq_precision)values[PRECISION],
                                 .range = (dynq_range_kind)values[RANGE],
                                 .scope = (dynq_scope)values[SCOPE],
                                 .scheme = (dynq_scheme)values[SCHEME]};
    return DYNQ_OK;
}

/* Each is one of its enumeration, or 0. */
static bool known_values(dynq_precision precision, dynq_range_kind range, dynq_scope scope,
                         dynq_scheme scheme)
{
    return (precision == 0 || dynq_precision_name(precision) != NULL) &&
           (range == 0 || dynq_range_kind_name(range) != NULL) &&
           (scope == 0 || dynq_scope_name(scope) != NULL) &&
           (scheme == 0 || dynq_scheme_name(scheme) != NULL);
}

static bool applies(const dynq_quantize_rule *rule, const dynq_node *node)
{
    return dynq_op_has_precision(node->op) && fnmatch(rule->pattern, node->name, 0) == 0;
}

static dynq_status check_rule(const dynq_model *model, const dynq_quantize_rule *rule, size_t index,
                              dynq_error *error)
{
    if (rule->pattern == NULL ||
        !known_values(rule->precision, rule->range, rule->scope, rule->scheme)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "rule %zu has no pattern or an unknown value",
                         index);
    }
    const bool about_range = rule->range != 0 || rule->scope != 0 || rule->scheme != 0;
    const dynq_node *without_range = NULL;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (applies(rule, node) && (node->op == DYNQ_OP_LINEAR || !about_range)) {
            return DYNQ_OK;
        }
        without_range = applies(rule, node) ? node : without_range;
    }
    if (without_range != NULL) {
        return dynq_fail(
            error, DYNQ_ERR_ARGUMENT,
            "rule '%s' is about ranges, but node '%s' has none: only linear layers do; "
            "fp32 and int8 are possible",
            rule->pattern, without_range->name);
    }
    return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                     "rule '%s' matches no linear layer, embedding or attention of the model",
                     rule->pattern);
}

/* ---- options ---- */

static dynq_status check_options(const dynq_model *model, dynq_quantize_options *o,
                                 dynq_error *error)
{
    o->method = o->method == 0 ? DYNQ_METHOD_MAX : o->method;
    if (!known_values(0, o->range, o->scope, o->scheme) ||
        dynq_calibration_method_name(o->method) == NULL ||
        (o->rules == NULL && o->rule_count > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "quantize options: bad range, scope, scheme, method or rules");
    }
    o->range = o->range == 0 ? DYNQ_RANGE_DYNAMIC : o->range;
    o->scope = o->scope == 0 ? DYNQ_SCOPE_SEGMENT : o->scope;
    o->scheme = o->scheme == 0 ? DYNQ_SCHEME_AFFINE : o->scheme;
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
    if (status == DYNQ_OK && o->calibration != NULL) {
        status = dynq_calibration_check_model(o->calibration, model, error);
    }
    return status;
}

/* A static range of a linear layer. */
static dynq_status find_range(const dynq_model *model, const dynq_quantize_options *o,
                              dynq_node *node, dynq_error *error)
{
    if (o->calibration == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': a static range needs a calibration; calibrate the model on "
                         "example data first, or choose dynamic ranges",
                         node->name);
    }
    dynq_range_rule *range = &node->range;
    range->scope = DYNQ_SCOPE_TENSOR;
    const dynq_range_choice choice = {.size = sizeof choice,
                                      .method = o->method,
                                      .percentile = o->percentile,
                                      .scheme = range->scheme};
    return dynq_calibration_range(o->calibration, model->nodes[node->inputs[0]].name, &choice,
                                  &range->lo, &range->hi, error);
}

/* Precision of a node that has one, and range of a linear layer. */
static dynq_status decide(const dynq_model *model, const dynq_quantize_options *o, dynq_node *node,
                          dynq_error *error)
{
    dynq_range_rule range = {.kind = o->range, .scope = o->scope, .scheme = o->scheme};
    /* Positions are few, and their error is in every token. */
    node->precision = node->op == DYNQ_OP_POSITION ? DYNQ_PRECISION_FP32 : DYNQ_PRECISION_INT8;
    for (size_t i = 0; i < o->rule_count; i++) {
        const dynq_quantize_rule *rule = &o->rules[i];
        if (applies(rule, node)) {
            node->precision = rule->precision != 0 ? rule->precision : node->precision;
            range.kind = rule->range != 0 ? rule->range : range.kind;
            range.scope = rule->scope != 0 ? rule->scope : range.scope;
            range.scheme = rule->scheme != 0 ? rule->scheme : range.scheme;
        }
    }
    if (node->op != DYNQ_OP_LINEAR || node->precision == DYNQ_PRECISION_FP32) {
        return DYNQ_OK;
    }
    node->range = range;
    return range.kind == DYNQ_RANGE_STATIC ? find_range(model, o, node, error) : DYNQ_OK;
}

/* ---- nodes ---- */

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a quantized model");
}

/* A model that came from a file has not shown its weights yet. */
static dynq_status check_finite(const dynq_node *node, const char *what, const float *data,
                                size_t count, dynq_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(data[i])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': element %zu of its %s is %s",
                             node->name, i, what, isnan(data[i]) ? "NaN" : "Inf");
        }
    }
    return DYNQ_OK;
}

/* Gives the new model a checked copy of parameters. NULL stays NULL. */
static dynq_status copy_floats(dynq_model *model, const dynq_node *node, const char *what,
                               const float *data, size_t count, const float **copied,
                               dynq_error *error)
{
    if (data == NULL) {
        *copied = NULL;
        return DYNQ_OK;
    }
    const dynq_status status = check_finite(node, what, data, count, error);
    if (status != DYNQ_OK) {
        return status;
    }
    float *copy = dynq_model_own(model, count, sizeof *copy);
    if (copy == NULL) {
        return out_of_memory(error);
    }
    memcpy(copy, data, count * sizeof *copy);
    *copied = copy;
    return DYNQ_OK;
}

static dynq_status quantize_weights(dynq_model *model, dynq_node *node, const float *weight,
                                    dynq_error *error)
{
    const dynq_status status = check_finite(node, "weight", weight, node->n * node->k, error);
    if (status != DYNQ_OK) {
        return status;
    }
    int8_t *packed = dynq_model_own(model, dynq_packed_s8_bytes(node->k, node->n), 1);
    float *scale = dynq_model_own(model, node->n, sizeof *scale);
    int32_t *sum = dynq_model_own(model, node->n, sizeof *sum);
    if (packed == NULL || scale == NULL || sum == NULL) {
        return out_of_memory(error);
    }
    dynq_pack_s8(weight, node->k, node->n, packed, scale, sum);
    node->packed = packed;
    node->weight_scale = scale;
    node->weight_sum = sum;
    return DYNQ_OK;
}

static dynq_status quantize_table(dynq_model *model, dynq_node *node, const float *table,
                                  dynq_error *error)
{
    const size_t count = node->table_rows * node->n;
    const dynq_status status = check_finite(node, "table", table, count, error);
    if (status != DYNQ_OK) {
        return status;
    }
    int8_t *codes = dynq_model_own(model, count, 1);
    float *scale = dynq_model_own(model, node->table_rows, sizeof *scale);
    if (codes == NULL || scale == NULL) {
        return out_of_memory(error);
    }
    dynq_quantize_rows_s8(table, node->table_rows, node->n, codes, scale);
    node->table_codes = codes;
    node->weight_scale = scale;
    return DYNQ_OK;
}

static dynq_status add_parameters(dynq_model *model, dynq_node *node, const dynq_node *source,
                                  dynq_error *error)
{
    dynq_status status =
        copy_floats(model, node, "bias", source->bias, source->n, &node->bias, error);
    if (status == DYNQ_OK) {
        status = copy_floats(model, node, "weight", source->gain, source->n, &node->gain, error);
    }
    if (status != DYNQ_OK || source->weight == NULL) {
        return status;
    }
    const bool table = dynq_op_has_table(node->op);
    if (node->precision == DYNQ_PRECISION_INT8) {
        return table ? quantize_table(model, node, source->weight, error)
                     : quantize_weights(model, node, source->weight, error);
    }
    const size_t count = source->n * (table ? source->table_rows : source->k);
    return copy_floats(model, node, table ? "table" : "weight", source->weight, count,
                       &node->weight, error);
}

/* Shape and settings, which quantizing leaves as they are. */
static void copy_settings(dynq_node *node, const dynq_node *source)
{
    node->input_count = source->input_count;
    memcpy(node->inputs, source->inputs, sizeof node->inputs);
    node->k = source->k;
    node->n = source->n;
    node->epsilon = source->epsilon;
    node->table_rows = source->table_rows;
    node->first = source->first;
    node->heads = source->heads;
    node->scale = source->scale;
    node->causal = source->causal;
    node->pooling = source->pooling;
}

static dynq_status add_node(dynq_model *model, const dynq_model *from, size_t index,
                            const dynq_quantize_options *o, dynq_error *error)
{
    const dynq_node *source = &from->nodes[index];
    dynq_node *node = dynq_model_add_node(model, source->name, source->op);
    if (node == NULL) {
        return out_of_memory(error);
    }
    copy_settings(node, source);
    dynq_status status = DYNQ_OK;
    if (dynq_op_has_precision(node->op)) {
        status = decide(from, o, node, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_model_check_node(model, index, error); /* K before packing, above all */
    }
    return status == DYNQ_OK ? add_parameters(model, node, source, error) : status;
}

static dynq_status fill_model(dynq_model *model, const dynq_model *from,
                              const dynq_quantize_options *o, dynq_error *error)
{
    for (size_t i = 0; i < from->node_count; i++) {
        const dynq_status status = add_node(model, from, i, o, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < from->output_count; i++) {
        const dynq_model_output_entry *output = &from->outputs[i];
        if (dynq_model_add_output(model, output->name, output->node) != DYNQ_OK) {
            return out_of_memory(error);
        }
    }
    for (size_t i = 0; i < from->attachment_count; i++) {
        const dynq_model_attachment_entry *attachment = &from->attachments[i];
        if (dynq_model_attach_copy(model, attachment->name, attachment->bytes, attachment->size) !=
            DYNQ_OK) {
            return out_of_memory(error);
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize(const dynq_model *model, const dynq_quantize_options *options,
                          dynq_model **quantized, dynq_error *error)
{
    dynq_quantize_options o;
    if (model == NULL || quantized == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "quantize: model or result is NULL");
    }
    if (!dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(
            error, DYNQ_ERR_ARGUMENT,
            "quantize options: size is not set, or a field is unknown to this version");
    }
    dynq_status status = check_options(model, &o, error);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_model *result = dynq_model_new(o.allocator);
    if (result == NULL) {
        return out_of_memory(error);
    }
    const dynq_float_state state = dynq_float_state_set_default();
    status = fill_model(result, model, &o, error);
    dynq_float_state_restore(state);
    if (status != DYNQ_OK) {
        dynq_model_free(result);
        return status;
    }
    *quantized = result;
    return DYNQ_OK;
}
