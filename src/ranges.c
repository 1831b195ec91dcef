/* The ranges of a run: reset before it, turned into quantization parameters when a value is
 * complete. */
#include "src/session.h"

#include "src/error.h"
#include "src/range.h"

#include <math.h>
#include <string.h>

void dynq_session_reset_ranges(dynq_session *session)
{
    const dynq_plan *plan = session->plan;
    for (size_t i = 0; i < plan->value_count; i++) {
        const dynq_plan_value *value = &plan->values[i];
        dynq_value_memory *memory = &session->values[i];
        memory->range_step =
            value->range_by_row || (value->range_by_segment && session->batch.segments > 1);
        const size_t ranges = memory->range_step == 0 ? 1 : session->batch.rows;
        memset(memory->range, 0, ranges * sizeof *memory->range);
        memory->ranged = true;
    }
}

/* Writes the parameters of rows [first, first + count) and gives their scale. */
static float set_params(dynq_copy_memory *memory, dynq_range_params params, size_t first,
                        size_t count)
{
    for (size_t m = first; m < first + count; m++) {
        memory->scale[m] = params.scale;
        memory->inverse[m] = params.inverse;
        memory->zero[m] = params.zero;
    }
    return params.scale;
}

void dynq_session_static_params(dynq_session *session)
{
    for (size_t i = 0; i < session->plan->copy_count; i++) {
        const dynq_range_rule *rule = &session->plan->copies[i].rule;
        if (rule->kind == DYNQ_RANGE_STATIC) {
            set_params(&session->copies[i], dynq_range_params_of(rule->lo, rule->hi, rule->scheme),
                       0, 1);
        }
    }
}

/* Where NaN or Inf was, for the message. */
static dynq_status fail_not_finite(dynq_session *session, uint32_t value)
{
    const char *name = session->model->nodes[session->plan->values[value].node].name;
    const dynq_value_memory *memory = &session->values[value];
    for (size_t m = 0; m < session->batch.rows; m++) {
        for (size_t c = 0; c < session->plan->values[value].columns; c++) {
            if (!isfinite(memory->data[m * memory->stride + c])) {
                return dynq_fail(session->error, DYNQ_ERR_NOT_FINITE,
                                 "node '%s': NaN or Inf at row %zu, column %zu", name, m, c);
            }
        }
    }
    return dynq_fail(session->error, DYNQ_ERR_NOT_FINITE, "node '%s': NaN or Inf", name);
}

/* Parameters of one copy for rows [first, first + count), from the range over these rows. */
static dynq_status resolve_rows(dynq_session *session, size_t index, size_t first, size_t count)
{
    const dynq_plan_copy *copy = &session->plan->copies[index];
    const dynq_value_memory *value = &session->values[copy->value];
    dynq_range_bits bits = value->range[first * value->range_step];
    for (size_t m = first + 1; value->range_step != 0 && m < first + count; m++) {
        bits = dynq_range_join(bits, value->range[m]);
    }
    const dynq_range_params params =
        dynq_range_params_of(dynq_range_low(bits), dynq_range_high(bits), copy->rule.scheme);
    dynq_copy_memory *memory = &session->copies[index];
    const float scale = set_params(memory, params, first, memory->step == 0 ? 1 : count);
    if (!isfinite(scale * copy->largest_weight_scale)) {
        return dynq_fail(session->error, DYNQ_ERR_NOT_FINITE,
                         "node '%s': the scales of input and weight overflow at row %zu",
                         session->model->nodes[copy->largest_node].name, first);
    }
    return DYNQ_OK;
}

static dynq_status resolve_copy(dynq_session *session, size_t index)
{
    const dynq_batch *batch = &session->batch;
    const dynq_range_rule *rule = &session->plan->copies[index].rule;
    dynq_copy_memory *memory = &session->copies[index];
    const bool by_segment = rule->scope == DYNQ_SCOPE_SEGMENT && batch->segments > 1;
    memory->step = rule->scope == DYNQ_SCOPE_ROW || by_segment;
    if (memory->step == 0) {
        return resolve_rows(session, index, 0, batch->rows);
    }
    dynq_status status = DYNQ_OK;
    const size_t groups = by_segment ? batch->segments : batch->rows;
    for (size_t g = 0; g < groups && status == DYNQ_OK; g++) {
        const size_t first = by_segment ? batch->offsets[g] : g;
        const size_t end = by_segment ? batch->offsets[g + 1] : g + 1;
        status = resolve_rows(session, index, first, end - first);
    }
    return status;
}

static bool value_finite(const dynq_session *session, uint32_t value)
{
    const dynq_value_memory *memory = &session->values[value];
    const size_t count = memory->range_step == 0 ? 1 : session->batch.rows;
    for (size_t i = 0; i < count; i++) {
        if (!dynq_range_finite(memory->range[i])) {
            return false;
        }
    }
    return true;
}

void dynq_session_begin_ranges(dynq_session *session, const dynq_step *step)
{
    if (!step->bounded || session->plan->values[step->output].range_wanted) {
        return;
    }
    const dynq_copy_memory *copy = &session->copies[step->copy];
    const float weight_scale = session->plan->copies[step->copy].largest_weight_scale;
    const size_t rows = copy->step == 0 ? 1 : session->batch.rows;
    bool moderate = true;
    for (size_t m = 0; m < rows; m++) {
        moderate = moderate && copy->scale[m] * weight_scale <= DYNQ_MODERATE;
    }
    session->values[step->output].ranged = !moderate;
}

dynq_status dynq_session_finish_ranges(dynq_session *session, const dynq_step *step)
{
    const dynq_plan *plan = session->plan;
    uint32_t value = step->output;
    if (step->kind == DYNQ_STEP_RANGE ||
        (step->kind == DYNQ_STEP_QUANTIZE && plan->values[step->inputs[0]].checked_by_quantize)) {
        value = step->inputs[0];
    }
    if (value == DYNQ_NONE) {
        return DYNQ_OK;
    }
    if (!value_finite(session, value)) {
        return fail_not_finite(session, value);
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < plan->copy_count && status == DYNQ_OK; i++) {
        if (plan->copies[i].value == value && plan->copies[i].rule.kind == DYNQ_RANGE_DYNAMIC) {
            status = resolve_copy(session, i);
        }
    }
    return status;
}
