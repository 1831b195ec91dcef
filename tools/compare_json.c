#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/allocate.h"
#include "tools/output.h"

static json_t *node_json(const evaluate_node *node)
{
    const dynq_metrics_summary metrics = dynq_metrics_result(&node->metrics);
    const dynq_metrics_summary own = dynq_metrics_result(&node->own);
    const int alone = node->own.rows > 0;
    const int layer =
        node->info.op == DYNQ_OP_LINEAR && node->info.precision == DYNQ_PRECISION_INT8;
    json_t *object = command_json_object();
    command_json_set(object, "name", command_json_string(node->info.name));
    command_json_set(object, "op", command_json_string(dynq_op_name(node->info.op)));
    command_json_set(object, "sqnr_db", command_json_number(metrics.sqnr_db));
    command_json_set(object, "cosine", command_json_number(metrics.cosine_mean));
    command_json_set(object, "max_abs_error", command_json_number(metrics.max_abs_error));
    command_json_set(object, "own_sqnr_db", command_json_number(alone ? own.sqnr_db : NAN));
    command_json_set(object, "own_cosine", command_json_number(alone ? own.cosine_mean : NAN));
    command_json_set(object, "saturated_pct",
                     command_json_number(100 * evaluate_share_outside(node)));
    command_json_set(object, "headroom_bits",
                     command_json_number(layer ? node->headroom_bits : NAN));
    return object;
}

static json_t *max_error_json(const dynq_metrics_summary *output)
{
    json_t *object = command_json_object();
    command_json_set(object, "row", command_json_integer(output->max_abs_row));
    command_json_set(object, "column", command_json_integer(output->max_abs_column));
    return object;
}

static json_t *batch_effect_json(const evaluate_batch_effect *effect)
{
    if (effect->requests == 0) {
        return json_null();
    }
    json_t *object = command_json_object();
    command_json_set(object, "requests", command_json_integer(effect->requests));
    command_json_set(object, "batches", command_json_integer(effect->batches));
    command_json_set(object, "mean", command_json_number(effect->mean));
    command_json_set(object, "worst", command_json_number(effect->worst));
    command_json_set(object, "identical", command_json_boolean(effect->identical));
    return object;
}

static json_t *first_below_json(const comparison *self, const evaluate_variant *variant)
{
    const evaluate_node *node = compare_first_below(variant, self->options->node_limit);
    json_t *object = command_json_object();
    command_json_set(object, "limit_db", command_json_number(self->options->node_limit));
    command_json_set(object, "node", command_json_string(node != NULL ? node->info.name : NULL));
    command_json_set(
        object, "sqnr_db",
        command_json_number(node != NULL ? dynq_metrics_result(&node->metrics).sqnr_db : NAN));
    return object;
}

static const char *cause_name(compare_cause cause)
{
    return cause == COMPARE_CAUSE_OUTPUTS  ? "outputs"
           : cause == COMPARE_CAUSE_INPUTS ? "inputs"
                                           : "error";
}

static json_t *guilty_json(const comparison *self, const evaluate_variant *variant)
{
    compare_guilt *guilty = allocate(variant->node_count + 1, sizeof *guilty);
    const size_t count = compare_find_guilty(variant, self->layers, self->layer_count, guilty);
    json_t *array = command_json_array();
    for (size_t i = 0; i < count; i++) {
        const compare_guilt *one = &guilty[i];
        json_t *object = command_json_object();
        command_json_set(object, "node", command_json_string(one->node->info.name));
        command_json_set(object, "share", command_json_number(one->share));
        command_json_set(object, "own_sqnr_db",
                         command_json_number(dynq_metrics_result(&one->node->own).sqnr_db));
        command_json_set(object, "cause", command_json_string(cause_name(one->cause)));
        command_json_set(
            object, "spread",
            command_json_number(one->cause == COMPARE_CAUSE_ERROR ? NAN : one->spread));
        command_json_set(object, "reader", command_json_string(one->reader));
        command_json_append(array, object);
    }
    free(guilty);
    return array;
}

static json_t *variant_json(const comparison *self, size_t index)
{
    const evaluate_variant *variant = &self->variants[index];
    const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
    const double agreement = compare_agreement(self, variant);
    char made[5000];
    json_t *object = command_json_object();
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < variant->node_count; i++) {
        command_json_append(nodes, node_json(&variant->nodes[i]));
    }
    command_json_set(object, "name", command_json_string(variant->name));
    command_json_set(object, "accuracy",
                     command_json_number(evaluate_share_correct(variant, &self->data)));
    command_json_set(object, "top1_agreement", command_json_number(agreement));
    command_json_set(object, "cosine_mean", command_json_number(output.cosine_mean));
    command_json_set(object, "cosine_min", command_json_number(output.cosine_min));
    command_json_set(object, "sqnr_db", command_json_number(output.sqnr_db));
    command_json_set(object, "max_abs_error", command_json_number(output.max_abs_error));
    command_json_set(object, "max_error_at", max_error_json(&output));
    command_json_set(object, "mean_abs_error", command_json_number(output.mean_abs_error));
    command_json_set(object, "mean_abs_pct_error", command_json_number(output.mean_abs_pct_error));
    command_json_set(object, "kl",
                     command_json_number(isnan(agreement) ? NAN : output.divergence_mean));
    command_json_set(object, "ms_per_run", command_json_number(variant->ms.median));
    command_json_set(object, "ms_engine", command_json_string(variant->ms_engine));
    command_json_set(object, "weight_bytes", command_json_integer(variant->weight_bytes));
    command_json_set(object, "batch_effect", batch_effect_json(&variant->batch_effect));
    command_json_set(object, "first_below", first_below_json(self, variant));
    command_json_set(object, "guilty", guilty_json(self, variant));
    command_json_set(
        object, "command",
        command_json_string(compare_command(self, index, made, sizeof made) ? made : NULL));
    command_json_set(object, "nodes", nodes);
    return object;
}

/* What the linear layers of the reference read. */
static json_t *inputs_json(const comparison *self)
{
    json_t *array = command_json_array();
    for (size_t i = 0; i < self->layer_count; i++) {
        const compare_layer *layer = &self->layers[i];
        json_t *object = command_json_object();
        command_json_set(object, "layer", command_json_string(layer->name));
        command_json_set(object, "value", command_json_string(layer->value));
        command_json_set(object, "producer", command_json_string(layer->producer));
        command_json_set(object, "outlier_index", command_json_number(layer->seen.outlier_index));
        command_json_set(object, "kurtosis", command_json_number(layer->seen.kurtosis));
        command_json_set(object, "mean", command_json_number(layer->seen.mean));
        command_json_set(object, "deviation", command_json_number(layer->seen.deviation));
        command_json_set(object, "zero_rows", command_json_number(layer->seen.zero_rows));
        command_json_set(object, "output_spread", command_json_number(layer->output_spread));
        command_json_set(object, "input_spread", command_json_number(layer->input_spread));
        command_json_append(array, object);
    }
    return array;
}

static json_t *advice_json(const comparison *self)
{
    json_t *array = command_json_array();
    for (size_t i = 0; i < self->advice_count; i++) {
        const compare_advice *one = &self->advice[i];
        json_t *object = command_json_object();
        command_json_set(object, "text", command_json_string(one->text));
        command_json_set(object, "gain_db", command_json_number(one->gain_db));
        command_json_set(object, "node", command_json_string(one->node));
        command_json_set(object, "better", command_json_string(one->better));
        command_json_set(object, "worse", command_json_string(one->worse));
        command_json_set(object, "switches",
                         command_json_string(one->switches[0] != '\0' ? one->switches : NULL));
        command_json_append(array, object);
    }
    return array;
}

/* The commands that make what was compared. */
static json_t *commands_json(const comparison *self)
{
    json_t *array = command_json_array();
    char text[5000];
    for (size_t v = 1; v < self->count; v++) {
        if (compare_command(self, v, text, sizeof text)) {
            command_json_append(array, command_json_string(text));
        }
    }
    return array;
}

static json_t *calibration_json(const comparison *self)
{
    if (self->calibrated == 0) {
        return json_null();
    }
    const char *separate = self->options->calibration_data;
    json_t *object = command_json_object();
    command_json_set(object, "data",
                     command_json_string(separate != NULL ? separate : self->options->data));
    command_json_set(object, "rows", command_json_integer(self->calibrated));
    command_json_set(object, "held_out", command_json_integer(self->held_out));
    return object;
}

void compare_print_json(const comparison *self)
{
    json_t *object = command_json_new("compare");
    json_t *variants = command_json_array();
    for (size_t v = 0; v < self->count; v++) {
        command_json_append(variants, variant_json(self, v));
    }
    command_json_set(object, "data", command_json_string(self->options->data));
    command_json_set(object, "rows", command_json_integer(self->data.count));
    command_json_set(object, "tokens",
                     self->input.ids ? command_json_integer(requests_rows(&self->x) -
                                                            self->x.offsets[self->data.first])
                                     : json_null());
    command_json_set(object, "truncated", command_json_integer(self->x.truncated));
    command_json_set(object, "batch", command_json_integer(self->options->batch));
    command_json_set(object, "threads", command_json_integer(self->call->common.threads));
    command_json_set(object, "fp32_engine", command_json_string(self->engine_name));
    command_json_set(object, "reference", command_json_string(self->variants[0].name));
    command_json_set(object, "calibration", calibration_json(self));
    command_json_set(object, "inputs", inputs_json(self));
    command_json_set(object, "advice", advice_json(self));
    command_json_set(object, "commands", commands_json(self));
    command_json_set(object, "variants", variants);
    command_json_print(object);
}
