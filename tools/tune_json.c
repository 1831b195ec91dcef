#include "tools/tune.h"

#include "tools/machine.h"
#include "tools/output.h"

#include <math.h>

static json_t *outcome_json(const tune_outcome *outcome)
{
    json_t *object = command_json_object();
    command_json_set(object, "error", command_json_number(outcome->error));
    command_json_set(object, "sqnr_db", command_json_number(-10 * log10(outcome->error)));
    command_json_set(object, "cosine_mean", command_json_number(outcome->cosine));
    command_json_set(object, "accuracy", command_json_number(outcome->accuracy / 100));
    command_json_set(object, "drop", command_json_number(outcome->drop));
    command_json_set(object, "ms", command_json_number(outcome->ms));
    command_json_set(object, "weight_bytes", command_json_integer((uint64_t)outcome->bytes));
    return object;
}

/* "fc1": "int8,row", ... */
static json_t *assignment_json(const tuning *self, const size_t *choices)
{
    json_t *object = command_json_object();
    for (size_t i = 0; i < self->node_count; i++) {
        command_json_set(object, self->nodes[i].name,
                         command_json_string(self->nodes[i].choices[choices[i]].values));
    }
    return object;
}

static double relative(const dynq_metrics *metrics)
{
    return metrics->signal > 0 ? metrics->noise / metrics->signal : 0;
}

static json_t *choice_json(const tune_choice *choice)
{
    json_t *object = command_json_object();
    const double own = relative(&choice->own), answer = relative(&choice->answer);
    const double cosine = dynq_metrics_result(&choice->answer).cosine_mean;
    command_json_set(object, "precision", command_json_string(choice->values));
    command_json_set(object, "error", command_json_number(answer));
    command_json_set(object, "cosine_mean", command_json_number(isnan(cosine) ? 1 : cosine));
    command_json_set(object, "own_sqnr_db", command_json_number(-10 * log10(own)));
    command_json_set(object, "ms", command_json_number(choice->ms));
    command_json_set(object, "weight_bytes", command_json_integer(choice->bytes));
    return object;
}

static json_t *node_json(const tuning *self, const tune_node *node)
{
    json_t *object = command_json_object(), *choices = command_json_array();
    command_json_set(object, "name", command_json_string(node->name));
    command_json_set(object, "op", command_json_string(dynq_op_name(node->op)));
    command_json_set(object, "fp32_ms", command_json_number(node->fp32_ms));
    command_json_set(object, "fp32_weight_bytes", command_json_integer(node->fp32_bytes));
    for (size_t c = 0; c < self->candidate_count; c++) {
        if (node->choices[c].available) {
            command_json_append(choices, choice_json(&node->choices[c]));
        }
    }
    command_json_set(object, "choices", choices);
    return object;
}

static json_t *try_json(const tuning *self, const tune_try *one)
{
    json_t *object = command_json_object();
    command_json_set(object, "predicted", outcome_json(&one->predicted));
    command_json_set(object, "measured", outcome_json(&one->measured));
    command_json_set(object, "met", command_json_boolean(one->met));
    command_json_set(object, "assignment", assignment_json(self, one->choices));
    return object;
}

static json_t *targets_json(const tuning *self)
{
    const tune_options *o = self->options;
    static const char *const goals[] = {"ms", "bytes", "error"};
    json_t *object = command_json_object();
    command_json_set(object, "max_drop",
                     command_json_number(o->max_drop < 100 ? o->max_drop : NAN));
    command_json_set(object, "min_cosine",
                     command_json_number(o->min_cosine > -1 ? o->min_cosine : NAN));
    command_json_set(object, "max_ms", command_json_number(o->max_ms > 0 ? o->max_ms : NAN));
    command_json_set(object, "max_bytes",
                     command_json_number(o->max_bytes > 0 ? o->max_bytes : NAN));
    command_json_set(object, "minimize", command_json_string(goals[self->goal - 1]));
    return object;
}

static json_t *uniform_json(const tuning *self)
{
    json_t *list = command_json_array();
    for (size_t c = 0; c < self->candidate_count; c++) {
        json_t *one = outcome_json(&self->candidates[c].measured);
        command_json_set(one, "precision", command_json_string(self->candidates[c].text));
        command_json_append(list, one);
    }
    return list;
}

static json_t *slower_json(const tuning *self)
{
    json_t *list = command_json_array();
    for (size_t i = 0; i < self->node_count; i++) {
        if (tune_is_slower(self, &self->nodes[i])) {
            command_json_append(list, command_json_string(self->nodes[i].name));
        }
    }
    return list;
}

void tune_print_json(const tuning *self)
{
    json_t *object = command_json_new("tune");
    json_t *pareto = command_json_array(), *nodes = command_json_array(),
           *tries = command_json_array();
    for (size_t i = 0; i < self->pareto_count; i++) {
        json_t *one = outcome_json(&self->pareto[i]);
        command_json_set(one, "assignment",
                         assignment_json(self, self->pareto_choices + i * self->node_count));
        command_json_append(pareto, one);
    }
    for (size_t i = 0; i < self->node_count; i++) {
        command_json_append(nodes, node_json(self, &self->nodes[i]));
    }
    for (size_t i = 0; i < self->try_count; i++) {
        command_json_append(tries, try_json(self, &self->tries[i]));
    }
    dynq_cpu cpu = {0};
    dynq_cpu_query(&cpu);
    command_json_set(object, "targets", targets_json(self));
    command_json_set(object, "pareto", pareto);
    command_json_set(object, "chosen", try_json(self, &self->tries[self->chosen]));
    command_json_set(object, "tries", tries);
    command_json_set(object, "uniform", uniform_json(self));
    command_json_set(object, "nodes", nodes);
    command_json_set(object, "int8_no_faster", slower_json(self));
    command_json_set(object, "fp32_ms", command_json_number(self->fp32_ms));
    command_json_set(object, "fp32_weight_bytes", command_json_integer((uint64_t)self->fp32_bytes));
    command_json_set(object, "fp32_accuracy", command_json_number(self->fp32_accuracy / 100));
    command_json_set(object, "requests", command_json_integer(self->data.count));
    command_json_set(object, "calibration_requests", command_json_integer(self->calibrated));
    command_json_set(object, "machine", machine_json(&cpu, machine_kernel(self->call)));
    command_json_print(object);
}
