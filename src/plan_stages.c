/* Stages: which steps can run on a block of rows before the next block is begun. */
#include "src/chunks.h"
#include "src/planner.h"

static bool works_by_row(const dynq_planner *p, const dynq_step *step)
{
    switch (step->kind) {
    case DYNQ_STEP_LINEAR_S8:
    case DYNQ_STEP_LINEAR_S16:
    case DYNQ_STEP_LINEAR_F32: return !p->request->dense; /* an engine takes all rows */
    case DYNQ_STEP_QUANTIZE: return !p->plan->values[step->inputs[0]].checked_by_quantize;
    case DYNQ_STEP_ACTIVATE:
    case DYNQ_STEP_ADD:
    case DYNQ_STEP_MULTIPLY:
    case DYNQ_STEP_SOFTMAX:
    case DYNQ_STEP_LAYER_NORM:
    case DYNQ_STEP_NORMALIZE: return true;
    case DYNQ_STEP_RANGE:
    case DYNQ_STEP_EMBED:
    case DYNQ_STEP_ATTENTION:
    case DYNQ_STEP_POOL: break;
    }
    return false;
}

static bool eligible(const dynq_planner *p, const dynq_step *step)
{
    const uint32_t value = step->output != DYNQ_NONE ? step->output : step->inputs[0];
    return works_by_row(p, step) && p->plan->values[value].domain == DYNQ_DOMAIN_TOKENS;
}

/* A range over several rows, and a tap, wait for the last of them. */
static bool value_waits(const dynq_plan *plan, uint32_t value)
{
    const dynq_plan_value *v = &plan->values[value];
    bool waits = v->tapped;
    for (size_t i = 0; i < plan->copy_count; i++) {
        const dynq_plan_copy *copy = &plan->copies[i];
        waits = waits || (copy->value == value && copy->rule.kind == DYNQ_RANGE_DYNAMIC &&
                          copy->rule.scope != DYNQ_SCOPE_ROW);
    }
    return waits;
}

/* Whether a stage goes on behind this step. */
static bool goes_on(const dynq_planner *p, const dynq_step *step)
{
    return eligible(p, step) && (step->output == DYNQ_NONE || !p->plan->values[step->output].waits);
}

static bool reads(const dynq_step *step, uint32_t value)
{
    bool found = step->residual == value;
    for (size_t i = 0; i < DYNQ_MAX_INPUTS; i++) {
        found = found || step->inputs[i] == value;
    }
    return found;
}

/* Of a stage's results, those that only it reads. */
static void note_local_values(dynq_plan *plan, const dynq_stage *stage)
{
    const size_t end = stage->first + stage->count;
    for (size_t s = stage->first; s < end; s++) {
        const uint32_t value = plan->steps[s].output;
        if (value == DYNQ_NONE || plan->values[value].slot != DYNQ_NONE ||
            plan->values[value].waits) {
            continue;
        }
        bool local = true;
        for (size_t other = 0; other < plan->step_count; other++) {
            local = local &&
                    ((other >= stage->first && other < end) || !reads(&plan->steps[other], value));
        }
        plan->values[value].local = local;
    }
}

static void note_local_copies(dynq_plan *plan, const dynq_stage *stage)
{
    const size_t end = stage->first + stage->count;
    for (size_t i = 0; i < plan->copy_count; i++) {
        bool inside = false, outside = false;
        for (size_t s = 0; s < plan->step_count; s++) {
            if (plan->steps[s].copy == i) {
                inside = inside || (s >= stage->first && s < end);
                outside = outside || s < stage->first || s >= end;
            }
        }
        plan->copies[i].local = plan->copies[i].local || (inside && !outside);
    }
}

bool dynq_planner_add_stages(dynq_planner *p)
{
    dynq_plan *plan = p->plan;
    plan->stages = dynq_alloc(&plan->allocator, plan->step_count, sizeof *plan->stages);
    if (plan->stages == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < plan->value_count; i++) {
        plan->values[i].waits = value_waits(plan, i);
    }
    bool open = false; /* the last stage can take another step */
    for (size_t i = 0; i < plan->step_count; i++) {
        const dynq_step *step = &plan->steps[i];
        if (open && eligible(p, step)) {
            dynq_stage *stage = &plan->stages[plan->stage_count - 1];
            stage->count++;
            stage->by_blocks = true;
        } else {
            plan->stages[plan->stage_count++] = (dynq_stage){.first = i, .count = 1};
        }
        open = goes_on(p, step);
    }
    for (size_t i = 0; i < plan->stage_count; i++) {
        if (plan->stages[i].by_blocks) {
            note_local_values(plan, &plan->stages[i]);
            note_local_copies(plan, &plan->stages[i]);
        }
    }
    return true;
}

bool dynq_planner_lay_out_blocks(dynq_plan *plan, dynq_arena_buffer *buffers)
{
    const size_t count = plan->value_count + plan->copy_count;
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        size_t row = 0;
        if (i >= plan->value_count) {
            const dynq_plan_copy *copy = &plan->copies[i - plan->value_count];
            row = copy->local ? copy->padded : 0;
        } else if (plan->values[i].local) {
            row = plan->values[i].columns * sizeof(float);
        }
        fits = fits && dynq_size_multiply(row, DYNQ_ROW_BLOCK, &buffers[i].bytes);
    }
    fits = fits && dynq_arena_layout(buffers, count, &plan->block_bytes);
    for (size_t i = 0; i < plan->value_count; i++) {
        plan->values[i].block_offset = buffers[i].offset;
    }
    for (size_t i = 0; i < plan->copy_count; i++) {
        plan->copies[i].block_offset = buffers[plan->value_count + i].offset;
    }
    return fits;
}
