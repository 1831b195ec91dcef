/* The ranges of a run: reset before it, turned into quantization parameters when a value is
 * complete. */
#include "src/session.h"

#include "src/error.h"
#include "src/range.h"

#include <math.h>
#include <string.h>

void dynq_ranges_reset(const dynq_work *w)
{
    const dynq_plan *plan = w->session->plan;
    for (size_t i = 0; i < plan->value_count; i++) {
        const dynq_plan_value *value = &plan->values[i];
        dynq_value_memory *memory = &w->values[i];
        const size_t rows = dynq_work_rows(w, (uint32_t)i);
        const size_t segments = dynq_work_segments(w);
        memory->range_step = value->range_by_row || (value->range_by_segment && segments > 1);
        const size_t ranges = memory->range_step == 0 ? 1 : rows;
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

void dynq_ranges_set_static(const dynq_session *session)
{
    for (size_t i = 0; i < session->plan->copy_count; i++) {
        const dynq_plan_copy *copy = &session->plan->copies[i];
        const dynq_range_rule *rule = &copy->rule;
        if (rule->kind == DYNQ_RANGE_STATIC) {
            const dynq_range_params params =
                copy->int16 ? dynq_range_s16(rule->lo, rule->hi)
                            : dynq_range_params_of(rule->lo, rule->hi, rule->scheme);
            set_params(&session->work.copies[i], params, 0, 1);
        }
    }
}

/* Where NaN or Inf was, for the message. */
static dynq_status fail_not_finite(const dynq_work *w, uint32_t value)
{
    const char *name = w->session->model->nodes[w->session->plan->values[value].node].name;
    const dynq_value_memory *memory = &w->values[value];
    const bool by_segment = w->session->plan->values[value].domain == DYNQ_DOMAIN_SEGMENTS;
    const size_t before = by_segment ? w->first_segment : w->first_row;
    for (size_t m = 0; m < dynq_work_rows(w, value); m++) {
        for (size_t c = 0; c < w->session->plan->values[value].columns; c++) {
            if (!isfinite(memory->data[m * memory->stride + c])) {
                return dynq_fail(w->error, DYNQ_ERR_NOT_FINITE,
                                 "node '%s': NaN or Inf at %s %zu, column %zu", name,
                                 by_segment ? "segment" : "row", before + m, c);
            }
        }
    }
    return dynq_fail(w->error, DYNQ_ERR_NOT_FINITE, "node '%s': NaN or Inf", name);
}

/* Parameters of one copy for rows [first, first + count), from the range over these rows. */
static dynq_status resolve_rows(const dynq_work *w, size_t index, size_t first, size_t count)
{
    const dynq_plan_copy *copy = &w->session->plan->copies[index];
    const dynq_value_memory *value = &w->values[copy->value];
    dynq_range_bits bits = value->range[first * value->range_step];
    for (size_t m = first + 1; value->range_step != 0 && m < first + count; m++) {
        bits = dynq_range_join(bits, value->range[m]);
    }
    const float lo = dynq_range_low(bits), hi = dynq_range_high(bits);
    const dynq_range_params params = copy->int16 ? dynq_range_s16_within(lo, hi, &copy->rule)
                                                 : dynq_range_params_within(lo, hi, &copy->rule);
    dynq_copy_memory *memory = &w->copies[index];
    const float scale = set_params(memory, params, first, memory->step == 0 ? 1 : count);
    if (!isfinite(scale * copy->largest_weight_scale)) {
        return dynq_fail(w->error, DYNQ_ERR_NOT_FINITE,
                         "node '%s': the scales of input and weight overflow at row %zu",
                         w->session->model->nodes[copy->largest_node].name, w->first_row + first);
    }
    return DYNQ_OK;
}

static dynq_status resolve_copy(const dynq_work *w, size_t index)
{
    const dynq_plan_copy *copy = &w->session->plan->copies[index];
    const size_t rows = dynq_work_rows(w, copy->value);
    const size_t segments = dynq_work_segments(w);
    dynq_copy_memory *memory = &w->copies[index];
    memory->step = copy->rule.scope == DYNQ_SCOPE_ROW ||
                   (copy->rule.scope == DYNQ_SCOPE_SEGMENT && segments > 1);
    if (memory->step == 0) {
        return resolve_rows(w, index, 0, rows);
    }
    const bool by_segment = copy->rule.scope == DYNQ_SCOPE_SEGMENT &&
                            w->session->plan->values[copy->value].domain == DYNQ_DOMAIN_TOKENS;
    dynq_status status = DYNQ_OK;
    for (size_t g = 0; g < (by_segment ? segments : rows) && status == DYNQ_OK; g++) {
        const size_t first = by_segment ? dynq_work_segment(w, g) : g;
        const size_t end = by_segment ? dynq_work_segment(w, g + 1) : g + 1;
        status = resolve_rows(w, index, first, end - first);
    }
    return status;
}

static bool value_finite(const dynq_work *w, uint32_t value)
{
    const dynq_value_memory *memory = &w->values[value];
    const size_t count = memory->range_step == 0 ? 1 : dynq_work_rows(w, value);
    for (size_t i = 0; i < count; i++) {
        if (!dynq_range_finite(memory->range[i])) {
            return false;
        }
    }
    return true;
}

void dynq_ranges_begin(const dynq_work *w, const dynq_step *step)
{
    if (!step->bounded || w->session->plan->values[step->output].range_wanted) {
        return;
    }
    const dynq_copy_memory *copy = &w->copies[step->copy];
    const float weight_scale = w->session->plan->copies[step->copy].largest_weight_scale;
    const size_t rows = copy->step == 0 ? 1 : dynq_work_rows(w, step->output);
    bool moderate = true;
    for (size_t m = 0; m < rows; m++) {
        moderate = moderate && copy->scale[m] * weight_scale <= DYNQ_MODERATE;
    }
    w->values[step->output].ranged = !moderate;
}

dynq_status dynq_ranges_finish(const dynq_work *w, const dynq_step *step)
{
    const dynq_plan *plan = w->session->plan;
    uint32_t value = step->output;
    if (step->kind == DYNQ_STEP_RANGE ||
        (step->kind == DYNQ_STEP_QUANTIZE && plan->values[step->inputs[0]].checked_by_quantize)) {
        value = step->inputs[0];
    }
    if (value == DYNQ_NONE) {
        return DYNQ_OK;
    }
    if (!value_finite(w, value)) {
        return fail_not_finite(w, value);
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < plan->copy_count && status == DYNQ_OK; i++) {
        if (plan->copies[i].value == value && plan->copies[i].rule.kind == DYNQ_RANGE_DYNAMIC) {
            status = resolve_copy(w, i);
        }
    }
    return status;
}
