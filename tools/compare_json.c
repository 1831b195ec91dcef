#include "tools/compare.h"

#include "tools/output.h"

static json_t *node_json(const evaluate_node *node)
{
    const dynq_metrics_summary metrics = dynq_metrics_result(&node->metrics);
    json_t *object = command_json_object();
    command_json_set(object, "name", command_json_string(node->info.name));
    command_json_set(object, "op", command_json_string(dynq_op_name(node->info.op)));
    command_json_set(object, "sqnr_db", command_json_number(metrics.sqnr_db));
    command_json_set(object, "cosine", command_json_number(metrics.cosine_mean));
    command_json_set(object, "max_abs_error", command_json_number(metrics.max_abs_error));
    command_json_set(object, "saturated_pct",
                     command_json_number(100 * evaluate_share_outside(node)));
    return object;
}

static json_t *variant_json(const comparison *self, const evaluate_variant *variant)
{
    const dynq_metrics_summary output = dynq_metrics_result(&variant->output);
    json_t *object = command_json_object();
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < variant->node_count; i++) {
        command_json_append(nodes, node_json(&variant->nodes[i]));
    }
    command_json_set(object, "name", command_json_string(variant->name));
    command_json_set(object, "accuracy",
                     command_json_number(evaluate_share_correct(variant, &self->data)));
    command_json_set(object, "top1_agreement",
                     command_json_number(compare_agreement(self, variant)));
    command_json_set(object, "cosine_mean", command_json_number(output.cosine_mean));
    command_json_set(object, "cosine_min", command_json_number(output.cosine_min));
    command_json_set(object, "sqnr_db", command_json_number(output.sqnr_db));
    command_json_set(object, "max_abs_error", command_json_number(output.max_abs_error));
    command_json_set(object, "mean_abs_error", command_json_number(output.mean_abs_error));
    command_json_set(object, "mean_abs_pct_error", command_json_number(output.mean_abs_pct_error));
    command_json_set(object, "ms_per_run", command_json_number(variant->ms.median));
    command_json_set(object, "ms_engine", command_json_string(variant->ms_engine));
    command_json_set(object, "weight_bytes", command_json_integer(variant->weight_bytes));
    command_json_set(object, "nodes", nodes);
    return object;
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
        command_json_append(variants, variant_json(self, &self->variants[v]));
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
    command_json_set(object, "variants", variants);
    command_json_print(object);
}
