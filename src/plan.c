#include "src/plan.h"

#include "src/arena.h"
#include "src/error.h"
#include "src/planner.h"

#include <string.h>

/* Inputs and outputs get slots. An output whose node already is the caller's memory (an input, or
 * an output under another name) is a copy made by a step of its own. */
static bool add_slots(dynq_planner *p)
{
    dynq_plan *plan = p->plan;
    const dynq_model *model = p->model;
    for (uint32_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_INPUT || model->nodes[i].op == DYNQ_OP_IDS) {
            plan->values[i].slot = (uint32_t)plan->slot_count;
            plan->slots[plan->slot_count++] = (dynq_slot){.name = model->nodes[i].name, .value = i};
        }
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const uint32_t node = model->outputs[i].node;
        uint32_t value = node;
        if (plan->values[node].slot != DYNQ_NONE) {
            value = (uint32_t)plan->value_count++;
            plan->values[value] = (dynq_plan_value){.node = node,
                                                    .columns = model->nodes[node].n,
                                                    .domain = model->nodes[node].domain,
                                                    .stored = true};
            dynq_step *step = dynq_planner_add_step(p, DYNQ_STEP_ACTIVATE, node);
            if (step == NULL) {
                return false;
            }
            step->inputs[0] = node;
            step->output = value;
        }
        plan->values[value].slot = (uint32_t)plan->slot_count;
        plan->slots[plan->slot_count++] =
            (dynq_slot){.name = model->outputs[i].name, .value = value, .output = true};
    }
    return true;
}

static void note_ranges(dynq_plan *plan)
{
    for (size_t i = 0; i < plan->copy_count; i++) {
        const dynq_plan_copy *copy = &plan->copies[i];
        if (copy->rule.kind == DYNQ_RANGE_DYNAMIC) {
            dynq_plan_value *value = &plan->values[copy->value];
            value->range_wanted = true;
            value->range_by_row |= copy->rule.scope == DYNQ_SCOPE_ROW;
            value->range_by_segment |= copy->rule.scope == DYNQ_SCOPE_SEGMENT;
        }
    }
}

static void extend(dynq_arena_buffer *buffer, size_t step)
{
    buffer->first = step < buffer->first ? step : buffer->first;
    buffer->last = step > buffer->last ? step : buffer->last;
}

static void note_lives(const dynq_plan *plan, dynq_arena_buffer *values, dynq_arena_buffer *copies)
{
    for (size_t s = 0; s < plan->step_count; s++) {
        const dynq_step *step = &plan->steps[s];
        const uint32_t used[] = {step->inputs[0], step->inputs[1], step->inputs[2], step->residual,
                                 step->output};
        for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
            if (used[i] != DYNQ_NONE) {
                extend(&values[used[i]], s);
            }
        }
        if (step->copy != DYNQ_NONE) {
            extend(&copies[step->copy], s);
        }
    }
}

/* What is not local to a stage that runs by blocks is there for all blocks of it. */
static void extend_to_stages(const dynq_plan *plan, dynq_arena_buffer *values,
                             dynq_arena_buffer *copies)
{
    for (size_t i = 0; i < plan->stage_count; i++) {
        const dynq_stage *stage = &plan->stages[i];
        const size_t last = stage->first + stage->count - 1;
        for (size_t v = 0; stage->by_blocks && v < plan->value_count + plan->copy_count; v++) {
            const bool is_value = v < plan->value_count;
            const bool local =
                is_value ? plan->values[v].local : plan->copies[v - plan->value_count].local;
            dynq_arena_buffer *buffer = is_value ? &values[v] : &copies[v - plan->value_count];
            if (!local && buffer->first <= last && buffer->last >= stage->first) {
                extend(buffer, stage->first);
                extend(buffer, last);
            }
        }
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The bytes that value or copy `index` takes in the arena. false if they are too many. */
static bool arena_bytes(const dynq_plan *plan, const dynq_plan_request *request, dynq_way way,
                        size_t index, size_t *bytes)
{
    const bool is_copy = index >= plan->value_count;
    const dynq_plan_copy *copy = is_copy ? &plan->copies[index - plan->value_count] : NULL;
    const dynq_plan_value *value = &plan->values[is_copy ? copy->value : index];
    size_t row = 0;
    *bytes = 0;
    if (way == DYNQ_BY_BLOCKS && (is_copy ? copy->local : value->local)) {
        return true;
    }
    if (is_copy) {
        row = copy->padded;
    } else if (value->stored && value->slot == DYNQ_NONE &&
               !dynq_size_multiply(value->columns, sizeof(float), &row)) {
        return false;
    }
    const size_t most =
        value->domain == DYNQ_DOMAIN_SEGMENTS ? request->max_segments : request->max_rows;
    return dynq_size_multiply(
        row, way == DYNQ_STEPWISE ? smaller(most, request->stepwise_rows) : most, bytes);
}

/* Codes and stored values that are not the caller's memory share the arena. */
static bool lay_out_way(dynq_plan *plan, const dynq_plan_request *request, dynq_way way,
                        dynq_arena_buffer *buffers)
{
    const size_t count = plan->value_count + plan->copy_count;
    dynq_arena_buffer *copies = buffers + plan->value_count;
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        buffers[i] = (dynq_arena_buffer){.first = SIZE_MAX};
        fits = fits && arena_bytes(plan, request, way, i, &buffers[i].bytes);
    }
    note_lives(plan, buffers, copies);
    if (way == DYNQ_BY_BLOCKS) {
        extend_to_stages(plan, buffers, copies);
    }
    size_t bytes = 0;
    fits = fits && dynq_arena_layout(buffers, count, &bytes);
    plan->arena_bytes = bytes > plan->arena_bytes ? bytes : plan->arena_bytes;
    for (size_t i = 0; i < plan->value_count; i++) {
        plan->values[i].offset[way] = buffers[i].offset;
    }
    for (size_t i = 0; i < plan->copy_count; i++) {
        plan->copies[i].offset[way] = copies[i].offset;
    }
    return fits;
}

static dynq_status lay_out(dynq_plan *plan, const dynq_plan_request *request, dynq_error *error)
{
    const size_t count = plan->value_count + plan->copy_count;
    dynq_arena_buffer *buffers = dynq_alloc(&plan->allocator, count, sizeof *buffers);
    if (buffers == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    bool fits = lay_out_way(plan, request, DYNQ_STEPWISE, buffers);
    if (request->max_rows > request->stepwise_rows) {
        fits = fits && lay_out_way(plan, request, DYNQ_BY_BLOCKS, buffers) &&
               dynq_planner_lay_out_blocks(plan, buffers);
    }
    dynq_release(&plan->allocator, buffers);
    return fits ? DYNQ_OK
                : dynq_fail(error, DYNQ_ERR_LIMIT, "%zu rows: activations do not fit in memory",
                            request->max_rows);
}

/* What attention prepares of the keys and values of a head. */
static void note_attention(const dynq_model *model, const dynq_plan_request *request,
                           dynq_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        const dynq_node *node = &model->nodes[plan->steps[i].node];
        if (plan->steps[i].kind == DYNQ_STEP_ATTENTION && plan->steps[i].int8) {
            const size_t bytes = dynq_attention_bytes(request->max_rows, node->n / node->heads);
            plan->attention_bytes = bytes > plan->attention_bytes ? bytes : plan->attention_bytes;
        }
    }
}

dynq_status dynq_plan_create(const dynq_model *model, const dynq_plan_request *request,
                             const dynq_allocator *allocator, dynq_plan **result, dynq_error *error)
{
    dynq_planner p = {.model = model, .request = request};
    const size_t most = model->node_count + model->output_count;
    dynq_status status = DYNQ_ERR_MEMORY;
    p.notes = dynq_alloc(allocator, model->node_count, sizeof *p.notes);
    p.plan = dynq_alloc(allocator, 1, sizeof *p.plan);
    if (p.plan != NULL) {
        p.plan->allocator = *allocator;
    }
    if (p.notes == NULL || p.plan == NULL) {
        goto cleanup;
    }
    p.plan->value_count = model->node_count;
    p.plan->values = dynq_alloc(allocator, most, sizeof *p.plan->values);
    p.plan->slots = dynq_alloc(allocator, most, sizeof *p.plan->slots);
    if (p.plan->values == NULL || p.plan->slots == NULL) {
        goto cleanup;
    }
    if (!dynq_planner_add_steps(&p) || !add_slots(&p) || !dynq_planner_add_stages(&p)) {
        goto cleanup;
    }
    note_ranges(p.plan);
    note_attention(model, request, p.plan);
    status = lay_out(p.plan, request, error);
    if (status == DYNQ_OK) {
        *result = p.plan;
        p.plan = NULL;
    }
cleanup:
    if (status == DYNQ_ERR_MEMORY) {
        dynq_fail(error, status, "out of memory for a plan");
    }
    dynq_plan_free(p.plan);
    dynq_release(allocator, p.notes);
    return status;
}

void dynq_plan_free(dynq_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    const dynq_allocator allocator = plan->allocator;
    dynq_release(&allocator, plan->steps);
    dynq_release(&allocator, plan->values);
    dynq_release(&allocator, plan->copies);
    dynq_release(&allocator, plan->slots);
    dynq_release(&allocator, plan->stages);
    dynq_release(&allocator, plan);
}

const char *dynq_step_name(dynq_step_kind kind)
{
    static const char *const names[] = {
        "range", "quantize", "linear int8", "linear int16", "linear fp32", "activate",  "add",
        "mul",   "softmax",  "layer_norm",  "normalize",    "embed",       "attention", "pool"};
    return names[kind];
}
