#include "src/quantize.h"

#include "src/calibrate.h"
#include "src/cpu.h"
#include "src/error.h"
#include "src/options.h"
#include "src/pack.h"

#include <math.h>
#include <string.h>

/* The range that the calibration has for the input of a linear layer. `what` needs it. */
static dynq_status find_range(const dynq_model *model, const dynq_quantize_options *o,
                              dynq_calibration_method method, const char *what, dynq_node *node,
                              dynq_error *error)
{
    if (o->calibration == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': %s needs a calibration; calibrate the model on example data "
                         "first, or choose dynamic ranges without it",
                         node->name, what);
    }
    const dynq_range_choice choice = {.size = sizeof choice,
                                      .method = method,
                                      .percentile = o->percentile,
                                      .scheme = node->range.scheme};
    return dynq_calibration_range(o->calibration, model->nodes[node->inputs[0]].name, &choice,
                                  &node->range.lo, &node->range.hi, error);
}

/* Precision of a node that has one, and range of a linear layer. */
static dynq_status apply_wish(const dynq_model *model, const dynq_quantize_options *o,
                              const dynq_quantize_rule *wish, dynq_node *node, dynq_error *error)
{
    const bool simulate = o->simulate == DYNQ_SWITCH_ON;
    const dynq_trained_layer *trained = dynq_quantize_trained(o, node->name);
    node->precision = simulate ? DYNQ_PRECISION_FP32 : wish->precision;
    if (node->op != DYNQ_OP_LINEAR || node->precision == DYNQ_PRECISION_FP32) {
        return DYNQ_OK;
    }
    node->range =
        (dynq_range_rule){.kind = wish->range, .scope = wish->scope, .scheme = wish->scheme};
    if (trained != NULL && trained->range != NULL) {
        node->range.kind = DYNQ_RANGE_STATIC;
        node->range.scope = DYNQ_SCOPE_TENSOR;
        node->range.lo = trained->range[0];
        node->range.hi = trained->range[1];
        return DYNQ_OK;
    }
    if (wish->range == DYNQ_RANGE_STATIC) {
        node->range.scope = DYNQ_SCOPE_TENSOR;
        return find_range(model, o, wish->method, "a static range", node, error);
    }
    return wish->clip_ranges == DYNQ_SWITCH_ON
               ? find_range(model, o, wish->method, "clipping its range", node, error)
               : DYNQ_OK;
}

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

/* How the codes of a node are made. */
static dynq_codes_settings codes_settings(const dynq_node *node, const dynq_quantize_rule *wish,
                                          const dynq_quantize_options *o)
{
    dynq_codes_settings settings = {.weights = wish->weights,
                                    .granularity = wish->weight_granularity,
                                    .clipped = wish->clip_weights == DYNQ_SWITCH_ON,
                                    .simulated = o->simulate == DYNQ_SWITCH_ON};
    if (node->op == DYNQ_OP_LINEAR && dynq_weights_have_levels(wish, settings.simulated)) {
        settings.levels = wish->levels;
        settings.table = wish->table;
        settings.clusters = wish->levels == DYNQ_LEVELS_CLUSTERS ? o->clusters : 0;
    }
    return settings;
}

static bool same_settings(const dynq_codes_settings *a, const dynq_codes_settings *b)
{
    return a->weights == b->weights && a->granularity == b->granularity && a->levels == b->levels &&
           a->table == b->table && a->clusters == b->clusters && a->clipped == b->clipped &&
           a->simulated == b->simulated;
}

/* Whether codes follow from the weights and settings alone. */
static bool is_plain(const dynq_node *node, const dynq_quantize_rule *wish,
                     const dynq_quantize_options *o)
{
    const dynq_trained_layer *trained = dynq_quantize_trained(o, node->name);
    return node->op != DYNQ_OP_LINEAR ||
           ((trained == NULL || trained->column_scale == NULL) &&
            wish->feedback != DYNQ_SWITCH_ON &&
            (o->calibration == NULL || !dynq_weights_have_importance(wish, o)));
}

/* Takes codes that the twin has, if they are of the same weights and settings. */
static bool share_codes(const dynq_model *twin, size_t index, dynq_node *node)
{
    const dynq_node *other = twin != NULL && index < twin->node_count ? &twin->nodes[index] : NULL;
    if (other == NULL || node->codes_of == NULL || other->codes_of != node->codes_of ||
        other->op != node->op || other->n != node->n || other->k != node->k ||
        other->table_rows != node->table_rows || !same_settings(&other->codes, &node->codes)) {
        return false;
    }
    node->weight = other->weight;
    node->packed = other->packed;
    node->levels = other->levels;
    node->table_codes = other->table_codes;
    node->weight_scale = other->weight_scale;
    node->weight_sum = other->weight_sum;
    node->weight_format = other->weight_format;
    node->weight_group = other->weight_group;
    node->weight_levels = other->weight_levels;
    node->table_scope = other->table_scope;
    return true;
}

static dynq_status add_codes(dynq_model *model, dynq_node *node, const dynq_node *source,
                             const dynq_quantize_rule *wish, const dynq_quantize_options *o,
                             dynq_error *error)
{
    const float *weight = source->weight;
    node->codes_of = is_plain(node, wish, o) ? weight : NULL;
    node->codes = codes_settings(node, wish, o);
    const bool shared = share_codes(o->twin, model->node_count - 1, node);
    if (dynq_op_has_table(node->op)) {
        return shared ? DYNQ_OK : quantize_table(model, node, weight, error);
    }
    const dynq_weights_job job = {.model = model,
                                  .node = node,
                                  .weight = weight,
                                  .input = model->nodes[node->inputs[0]].name,
                                  .wish = wish,
                                  .options = o};
    dynq_status status = DYNQ_OK;
    if (!shared) {
        status = check_finite(node, "weight", weight, node->n * node->k, error);
        status = status == DYNQ_OK ? dynq_quantize_weights(&job, error) : status;
    }
    if (status == DYNQ_OK && wish->correct_bias == DYNQ_SWITCH_ON) {
        status = dynq_quantize_correct_bias(&job, error);
    }
    return status;
}

static dynq_status add_parameters(dynq_model *model, dynq_node *node, const dynq_node *source,
                                  const dynq_quantize_rule *wish, const dynq_quantize_options *o,
                                  dynq_error *error)
{
    dynq_status status =
        copy_floats(model, node, "bias", source->bias, source->n, &node->bias, error);
    if (status == DYNQ_OK) {
        status = copy_floats(model, node, "weight", source->gain, source->n, &node->gain, error);
    }
    if (status == DYNQ_OK) {
        status = copy_floats(model, node, "column scale", source->column_scale, source->n,
                             &node->column_scale, error);
    }
    if (status != DYNQ_OK || source->weight == NULL) {
        return status;
    }
    if (wish->weights != 0 && wish->weights != DYNQ_FORMAT_FP32) {
        return add_codes(model, node, source, wish, o, error);
    }
    const bool table = dynq_op_has_table(node->op);
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
    dynq_quantize_rule wish = {0};
    dynq_status status = DYNQ_OK;
    if (dynq_op_has_precision(node->op)) {
        wish = dynq_quantize_wish(o, source);
        status = dynq_quantize_check_wish(o, source, &wish, error);
        status = status == DYNQ_OK ? apply_wish(from, o, &wish, node, error) : status;
    }
    if (status == DYNQ_OK) {
        status = dynq_model_check_node(model, index, error); /* K before packing, above all */
    }
    return status == DYNQ_OK ? add_parameters(model, node, source, &wish, o, error) : status;
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
    dynq_status status = dynq_quantize_check_options(model, &o, error);
    if (status == DYNQ_OK && o.calibration != NULL) {
        status = dynq_calibration_check_model(o.calibration, model, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_model *result = dynq_model_new(o.allocator);
    if (result == NULL) {
        return out_of_memory(error);
    }
    result->twin = o.twin != NULL ? dynq_model_retain(o.twin) : NULL;
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
