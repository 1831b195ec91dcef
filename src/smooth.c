#include "src/smooth.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"

#include <math.h>

/* What a fold has to gain: about 1 dB. */
#define LEAST_GAIN 1.25

typedef struct smoother {
    const dynq_model *model;
    const dynq_calibration *calibration;
    const dynq_smooth_options *options;
    dynq_allocator allocator;
    dynq_smoothing *smoothings; /* by node */
    float **factors;            /* of the value of each node, or NULL; `smoothings` lead there */
    dynq_error *error;
} smoother;

static dynq_status out_of_memory(const smoother *s)
{
    return dynq_fail(s->error, DYNQ_ERR_MEMORY, "out of memory for smoothing");
}

/* ---- where factors can go ---- */

static bool is_output(const dynq_model *model, uint32_t value)
{
    for (size_t i = 0; i < model->output_count; i++) {
        if (model->outputs[i].node == value) {
            return true;
        }
    }
    return false;
}

/* How many operands of nodes are the value; of linear layers only, or of any node. */
static size_t readers(const dynq_model *model, uint32_t value, bool linear)
{
    size_t count = 0;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        for (uint32_t j = 0; j < node->input_count; j++) {
            count += node->inputs[j] == value && (!linear || node->op == DYNQ_OP_LINEAR);
        }
    }
    return count;
}

/* The operand whose columns, divided, divide those of the result; DYNQ_MAX_INPUTS: none. Factors
 * are above 0, so that they pass ReLU and pooling; attention adds up rows of its third operand. */
static uint32_t passes_to(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_RELU:
    case DYNQ_OP_POOL: return 0;
    case DYNQ_OP_ATTENTION: return 2;
    default: return DYNQ_MAX_INPUTS;
    }
}

/* Whether parameters can divide the result: those of the node, or of one that it alone reads. */
static bool can_divide(const dynq_model *model, uint32_t value)
{
    const dynq_node *node = &model->nodes[value];
    if (node->op == DYNQ_OP_LINEAR || node->op == DYNQ_OP_LAYER_NORM || node->op == DYNQ_OP_SCALE) {
        return true;
    }
    const uint32_t operand = passes_to(node->op);
    if (operand == DYNQ_MAX_INPUTS) {
        return false;
    }
    const uint32_t before = node->inputs[operand];
    return readers(model, before, false) == 1 && !is_output(model, before) &&
           can_divide(model, before);
}

static dynq_fold possible_fold(const smoother *s, uint32_t value)
{
    const dynq_model *model = s->model;
    if (model->nodes[value].n > DYNQ_MAX_INT8_K) {
        return DYNQ_FOLD_NONE;
    }
    const bool only_linear = readers(model, value, true) == readers(model, value, false);
    if (only_linear && !is_output(model, value) && can_divide(model, value)) {
        return DYNQ_FOLD_PRODUCER;
    }
    return s->options->only_free ? DYNQ_FOLD_NONE : DYNQ_FOLD_NODE;
}

static void apply(smoother *s, uint32_t value, dynq_fold fold, const float *factors)
{
    for (size_t i = 0; i < s->model->node_count; i++) {
        const dynq_node *node = &s->model->nodes[i];
        if (node->op == DYNQ_OP_LINEAR && node->inputs[0] == value) {
            s->smoothings[i].multiply = factors;
        }
    }
    if (fold == DYNQ_FOLD_NODE) {
        s->smoothings[value].insert = factors;
        return;
    }
    for (;;) {
        const dynq_node *node = &s->model->nodes[value];
        const uint32_t operand = passes_to(node->op);
        s->smoothings[value].divide = factors;
        if (operand == DYNQ_MAX_INPUTS) {
            return;
        }
        value = node->inputs[operand];
    }
}

/* ---- one value ---- */

static dynq_status get_statistics(const smoother *s, const dynq_node *node, dynq_column_view *view,
                                  double *share)
{
    dynq_value_summary summary = {.size = sizeof summary};
    float lo = 0.0f, hi = 0.0f;
    if (dynq_calibration_columns(s->calibration, node->name, view) != DYNQ_OK ||
        dynq_calibration_summary(s->calibration, node->name, &summary) != DYNQ_OK ||
        dynq_calibration_range(s->calibration, node->name, NULL, &lo, &hi, NULL) != DYNQ_OK) {
        return dynq_fail(s->error, DYNQ_ERR_NOT_FOUND,
                         "the calibration saw no row of value '%s'; calibrate this model with data",
                         node->name);
    }
    if (view->columns != node->n) {
        return dynq_fail(s->error, DYNQ_ERR_SHAPE,
                         "value '%s' has %zu columns, but %zu in the calibration: it is of another "
                         "model",
                         node->name, node->n, view->columns);
    }
    const double range = (double)hi - (double)lo;
    const bool rows = s->options->scope == DYNQ_SCOPE_ROW && range > 0.0;
    *share = rows ? (summary.row_high - summary.row_low) / range : 1.0;
    return DYNQ_OK;
}

/* |w| of all linear layers that read the value. */
static dynq_status gather_weights(const smoother *s, uint32_t value, dynq_smooth_site *site)
{
    for (size_t i = 0; i < s->model->node_count; i++) {
        const dynq_node *node = &s->model->nodes[i];
        site->outputs += node->op == DYNQ_OP_LINEAR && node->inputs[0] == value ? node->n : 0;
    }
    site->magnitudes =
        dynq_alloc(&s->allocator, site->outputs, site->columns * sizeof *site->magnitudes);
    if (site->magnitudes == NULL) {
        return out_of_memory(s);
    }
    size_t first = 0;
    for (size_t i = 0; i < s->model->node_count; i++) {
        const dynq_node *node = &s->model->nodes[i];
        if (node->op != DYNQ_OP_LINEAR || node->inputs[0] != value) {
            continue;
        }
        for (size_t n = 0; n < node->n; n++, first++) {
            for (size_t j = 0; j < node->k; j++) {
                const float w = node->weight[n * node->k + j];
                if (!isfinite(w)) {
                    return dynq_fail(s->error, DYNQ_ERR_NOT_FINITE,
                                     "node '%s': weight[%zu][%zu] is %s", node->name, n, j,
                                     isnan(w) ? "NaN" : "Inf");
                }
                site->magnitudes[j * site->outputs + first] = fabsf(w);
            }
        }
    }
    return DYNQ_OK;
}

static void tell(const smoother *s, uint32_t value, dynq_fold fold, double gain)
{
    const dynq_smooth_note note = {
        .value = s->model->nodes[value].name, .fold = fold, .gain_db = 10.0 * log10(gain)};
    if (s->options->note != NULL) {
        s->options->note(s->options->context, &note);
    }
}

static dynq_status smooth_value(smoother *s, uint32_t value)
{
    dynq_column_view view = {.size = sizeof view};
    dynq_smooth_site site = {.columns = s->model->nodes[value].n, .view = &view};
    dynq_status status = get_statistics(s, &s->model->nodes[value], &view, &site.share);
    dynq_fold fold = possible_fold(s, value);
    double gain = 1.0;
    if (status == DYNQ_OK && fold != DYNQ_FOLD_NONE) {
        status = gather_weights(s, value, &site);
        s->factors[value] = dynq_alloc(&s->allocator, site.columns, sizeof **s->factors);
        if (status == DYNQ_OK && (s->factors[value] == NULL ||
                                  !dynq_smooth_choose(&site, s->options->alpha, &s->allocator,
                                                      s->factors[value], &gain))) {
            status = out_of_memory(s);
        }
        dynq_release(&s->allocator, site.magnitudes);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    if (!(gain >= LEAST_GAIN)) {
        fold = DYNQ_FOLD_NONE;
    }
    if (fold != DYNQ_FOLD_NONE) {
        apply(s, value, fold, s->factors[value]);
    }
    tell(s, value, fold, gain);
    return DYNQ_OK;
}

/* ---- the call ---- */

static dynq_status check(const dynq_model *model, const dynq_smooth_options *o, dynq_error *error)
{
    if (!(o->alpha >= 0.0 && o->alpha < 1.0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "smooth: alpha is %g; it is above 0 and below 1, or 0 to search",
                         o->alpha);
    }
    if (o->scope != 0 && dynq_scope_name(o->scope) == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "smooth: there is no scope %d", (int)o->scope);
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (dynq_node_is_quantized(node)) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "node '%s' is quantized already; smooth the FP32 model", node->name);
        }
    }
    return DYNQ_OK;
}

static dynq_status run(smoother *s, dynq_model **smoothed)
{
    const size_t count = s->model->node_count;
    s->smoothings = dynq_alloc(&s->allocator, count, sizeof *s->smoothings);
    s->factors = dynq_alloc(&s->allocator, count, sizeof *s->factors);
    if (s->smoothings == NULL || s->factors == NULL) {
        return out_of_memory(s);
    }
    for (uint32_t i = 0; i < count; i++) {
        const dynq_status status = readers(s->model, i, true) > 0 ? smooth_value(s, i) : DYNQ_OK;
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return dynq_smooth_make(s->model, s->smoothings, s->options->allocator, smoothed, s->error);
}

dynq_status dynq_smooth(const dynq_model *model, const dynq_calibration *calibration,
                        const dynq_smooth_options *options, dynq_model **smoothed,
                        dynq_error *error)
{
    dynq_smooth_options o;
    if (model == NULL || calibration == NULL || smoothed == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "smooth: model, calibration or result is NULL");
    }
    if (!dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "smooth options: size is not set, or a field is unknown to this version");
    }
    dynq_status status = check(model, &o, error);
    if (status != DYNQ_OK) {
        return status;
    }
    smoother s = {.model = model,
                  .calibration = calibration,
                  .options = &o,
                  .allocator = dynq_allocator_or_default(o.allocator),
                  .error = error};
    const dynq_float_state state = dynq_float_state_set_default();
    status = run(&s, smoothed);
    dynq_float_state_restore(state);
    for (size_t i = 0; s.factors != NULL && i < model->node_count; i++) {
        dynq_release(&s.allocator, s.factors[i]);
    }
    dynq_release(&s.allocator, s.factors);
    dynq_release(&s.allocator, s.smoothings);
    return status;
}
