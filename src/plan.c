#include "src/plan.h"

#include "src/arena.h"
#include "src/error.h"
#include "src/pack.h"

#include <math.h>
#include <string.h>

/* What is known of a node while the plan is made. */
typedef struct node_note {
    uint32_t readers, reader; /* operands that read it, the last such node */
    uint32_t linear;          /* of a fused group's last node: its linear layer; or DYNQ_NONE */
    uint32_t residual;        /* of a fused group's last node */
    dynq_activation activation;
    bool output;
    bool inside; /* a node of a fused group that is not its last */
    bool taken;  /* an addition that is the last node of a group */
} node_note;

typedef struct planner {
    const dynq_model *model;
    const dynq_plan_request *request;
    dynq_plan *plan;
    node_note *notes;
} planner;

static dynq_activation activation_of(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_RELU: return DYNQ_ACTIVATION_RELU;
    case DYNQ_OP_GELU: return DYNQ_ACTIVATION_GELU;
    case DYNQ_OP_TANH: return DYNQ_ACTIVATION_TANH;
    case DYNQ_OP_SIGMOID: return DYNQ_ACTIVATION_SIGMOID;
    default: return DYNQ_ACTIVATION_NONE;
    }
}

static void note_readers(planner *p)
{
    for (size_t i = 0; i < p->model->node_count; i++) {
        const dynq_node *node = &p->model->nodes[i];
        p->notes[i].linear = DYNQ_NONE;
        p->notes[i].residual = DYNQ_NONE;
        for (uint32_t j = 0; j < node->input_count; j++) {
            p->notes[node->inputs[j]].readers++;
            p->notes[node->inputs[j]].reader = (uint32_t)i;
        }
    }
    for (size_t i = 0; i < p->model->output_count; i++) {
        p->notes[p->model->outputs[i].node].output = true;
    }
}

/* Nobody but its one reader will miss the value. */
static bool can_vanish(const planner *p, uint32_t node)
{
    return p->notes[node].readers == 1 && !p->notes[node].output && !p->request->tapped[node];
}

/* Groups a linear layer with the activation and then the addition that alone read it. The group
 * runs at the place of its last node, when all its operands are there. */
static void fuse_linear(planner *p, uint32_t linear)
{
    const dynq_node *nodes = p->model->nodes;
    uint32_t last = linear;
    dynq_activation activation = DYNQ_ACTIVATION_NONE;
    uint32_t residual = DYNQ_NONE;
    if (can_vanish(p, last)) {
        activation = activation_of(nodes[p->notes[last].reader].op);
        if (activation != DYNQ_ACTIVATION_NONE) {
            p->notes[last].inside = true;
            last = p->notes[last].reader;
        }
    }
    const uint32_t reader = p->notes[last].reader;
    if (can_vanish(p, last) && nodes[reader].op == DYNQ_OP_ADD && !p->notes[reader].taken) {
        residual = nodes[reader].inputs[nodes[reader].inputs[0] == last ? 1 : 0];
        p->notes[last].inside = true;
        p->notes[reader].taken = true;
        last = reader;
    }
    p->notes[last].linear = linear;
    p->notes[last].activation = activation;
    p->notes[last].residual = residual;
}

static dynq_step *add_step(planner *p, dynq_step_kind kind, uint32_t node)
{
    dynq_plan *plan = p->plan;
    dynq_step *steps = dynq_grow(&plan->allocator, plan->steps, plan->step_count,
                                 plan->step_count + 1, sizeof *steps, &plan->step_capacity);
    if (steps == NULL) {
        return NULL;
    }
    plan->steps = steps;
    dynq_step *step = &steps[plan->step_count++];
    *step = (dynq_step){.kind = kind,
                        .node = node,
                        .inputs = {DYNQ_NONE, DYNQ_NONE},
                        .output = DYNQ_NONE,
                        .copy = DYNQ_NONE,
                        .residual = DYNQ_NONE};
    return step;
}

static bool same_rule(const dynq_range_rule *a, const dynq_range_rule *b)
{
    return a->kind == b->kind && a->scope == b->scope && a->scheme == b->scheme && a->lo == b->lo &&
           a->hi == b->hi;
}

static bool runs_int8(const planner *p, const dynq_node *node)
{
    return node->op == DYNQ_OP_LINEAR && node->precision == DYNQ_PRECISION_INT8 &&
           !p->request->fp32;
}

static dynq_range_rule rule_of(const planner *p, const dynq_node *node)
{
    dynq_range_rule rule = node->range;
    if (rule.kind == DYNQ_RANGE_DYNAMIC && p->request->scope != 0) {
        rule.scope = p->request->scope;
    }
    return rule;
}

static void note_weight_scale(dynq_plan_copy *copy, const dynq_node *node, uint32_t index)
{
    for (size_t n = 0; n < node->n; n++) {
        if (node->weight_scale[n] > copy->largest_weight_scale) {
            copy->largest_weight_scale = node->weight_scale[n];
            copy->largest_node = index;
        }
    }
}

/* The copy of its input that an INT8 layer reads: an earlier one with the same rule, or a new one
 * with the step that fills it. DYNQ_NONE when memory is out. */
static uint32_t copy_for(planner *p, uint32_t linear)
{
    dynq_plan *plan = p->plan;
    const dynq_node *node = &p->model->nodes[linear];
    const dynq_range_rule rule = rule_of(p, node);
    for (size_t i = 0; i < plan->copy_count; i++) {
        if (plan->copies[i].value == node->inputs[0] && same_rule(&plan->copies[i].rule, &rule)) {
            note_weight_scale(&plan->copies[i], node, linear);
            return (uint32_t)i;
        }
    }
    dynq_plan_copy *copies = dynq_grow(&plan->allocator, plan->copies, plan->copy_count,
                                       plan->copy_count + 1, sizeof *copies, &plan->copy_capacity);
    if (copies == NULL) {
        return DYNQ_NONE;
    }
    plan->copies = copies;
    const uint32_t index = (uint32_t)plan->copy_count++;
    copies[index] = (dynq_plan_copy){.value = node->inputs[0],
                                     .rule = rule,
                                     .padded = p->request->dense ? node->k : dynq_packed_k(node->k),
                                     .largest_node = linear};
    note_weight_scale(&copies[index], node, linear);
    dynq_step *step = add_step(p, DYNQ_STEP_QUANTIZE, linear);
    if (step == NULL) {
        return DYNQ_NONE;
    }
    step->inputs[0] = node->inputs[0];
    step->copy = index;
    return index;
}

static bool moderate_bias(const dynq_node *node)
{
    for (size_t n = 0; node->bias != NULL && n < node->n; n++) {
        if (!(fabsf(node->bias[n]) <= DYNQ_MODERATE)) {
            return false;
        }
    }
    return true;
}

static bool add_linear(planner *p, uint32_t last)
{
    const node_note *note = &p->notes[last];
    const dynq_node *node = &p->model->nodes[note->linear];
    uint32_t copy = DYNQ_NONE;
    const bool int8 = runs_int8(p, node);
    if (int8) {
        copy = copy_for(p, note->linear);
        if (copy == DYNQ_NONE) {
            return false;
        }
    }
    dynq_step *step = add_step(p, int8 ? DYNQ_STEP_LINEAR_S8 : DYNQ_STEP_LINEAR_F32, note->linear);
    if (step == NULL) {
        return false;
    }
    step->inputs[0] = int8 ? DYNQ_NONE : node->inputs[0];
    step->output = last;
    step->copy = copy;
    step->activation = note->activation;
    step->residual = note->residual;
    step->bounded = int8 && note->residual == DYNQ_NONE && moderate_bias(node);
    return true;
}

static dynq_step_kind kind_of(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_INPUT: return DYNQ_STEP_RANGE;
    case DYNQ_OP_ADD: return DYNQ_STEP_ADD;
    case DYNQ_OP_MUL: return DYNQ_STEP_MULTIPLY;
    case DYNQ_OP_SOFTMAX: return DYNQ_STEP_SOFTMAX;
    case DYNQ_OP_LAYER_NORM: return DYNQ_STEP_LAYER_NORM;
    default: return DYNQ_STEP_ACTIVATE;
    }
}

/* An input whose only readers are layers with static ranges is checked for NaN while it is
 * quantized; any other input gets a pass of its own, which finds its range as well. */
static bool only_static_readers(const planner *p, uint32_t input)
{
    for (size_t i = 0; i < p->model->node_count; i++) {
        const dynq_node *node = &p->model->nodes[i];
        for (uint32_t j = 0; j < node->input_count; j++) {
            if (node->inputs[j] == input &&
                !(runs_int8(p, node) && node->range.kind == DYNQ_RANGE_STATIC)) {
                return false;
            }
        }
    }
    return !p->notes[input].output;
}

static bool add_node_step(planner *p, uint32_t index)
{
    const dynq_node *node = &p->model->nodes[index];
    if (p->notes[index].linear != DYNQ_NONE) {
        return add_linear(p, index);
    }
    if (node->op == DYNQ_OP_INPUT && only_static_readers(p, index)) {
        p->plan->values[index].checked_by_quantize = true;
        return true;
    }
    dynq_step *step = add_step(p, kind_of(node->op), index);
    if (step == NULL) {
        return false;
    }
    if (node->op == DYNQ_OP_INPUT) {
        step->inputs[0] = index;
        return true;
    }
    step->inputs[0] = node->inputs[0];
    step->inputs[1] = node->input_count == 2 ? node->inputs[1] : DYNQ_NONE;
    step->output = index;
    step->activation = activation_of(node->op);
    return true;
}

static bool add_steps(planner *p)
{
    const size_t count = p->model->node_count;
    for (uint32_t i = 0; i < count; i++) {
        if (p->model->nodes[i].op == DYNQ_OP_LINEAR) {
            fuse_linear(p, i);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        dynq_plan_value *value = &p->plan->values[i];
        *value = (dynq_plan_value){.node = i,
                                   .columns = p->model->nodes[i].n,
                                   .slot = DYNQ_NONE,
                                   .stored = !p->notes[i].inside,
                                   .tapped = p->request->tapped[i]};
        if (value->stored && !add_node_step(p, i)) {
            return false;
        }
    }
    return true;
}

/* Inputs and outputs get slots. An output whose node already is the caller's memory (an input, or
 * an output under another name) is a copy made by a step of its own. */
static bool add_slots(planner *p)
{
    dynq_plan *plan = p->plan;
    const dynq_model *model = p->model;
    for (uint32_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_INPUT) {
            plan->values[i].slot = (uint32_t)plan->slot_count;
            plan->slots[plan->slot_count++] = (dynq_slot){.name = model->nodes[i].name, .value = i};
        }
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const uint32_t node = model->outputs[i].node;
        uint32_t value = node;
        if (plan->values[node].slot != DYNQ_NONE) {
            value = (uint32_t)plan->value_count++;
            plan->values[value] =
                (dynq_plan_value){.node = node, .columns = model->nodes[node].n, .stored = true};
            dynq_step *step = add_step(p, DYNQ_STEP_ACTIVATE, node);
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
        const uint32_t used[] = {step->inputs[0], step->inputs[1], step->residual, step->output};
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

/* Codes and stored values that are not the caller's memory share the arena. */
static dynq_status lay_out(dynq_plan *plan, size_t max_rows, dynq_error *error)
{
    const size_t count = plan->value_count + plan->copy_count;
    dynq_arena_buffer *buffers = dynq_alloc(&plan->allocator, count, sizeof *buffers);
    if (buffers == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    dynq_arena_buffer *copies = buffers + plan->value_count;
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        buffers[i].first = SIZE_MAX;
        size_t row = 0;
        if (i >= plan->value_count) {
            row = plan->copies[i - plan->value_count].padded;
        } else if (plan->values[i].stored && plan->values[i].slot == DYNQ_NONE) {
            fits = fits && dynq_size_multiply(plan->values[i].columns, sizeof(float), &row);
        }
        fits = fits && dynq_size_multiply(row, max_rows, &buffers[i].bytes);
    }
    note_lives(plan, buffers, copies);
    fits = fits && dynq_arena_layout(buffers, count, &plan->arena_bytes);
    for (size_t i = 0; i < plan->value_count; i++) {
        plan->values[i].offset = buffers[i].offset;
    }
    for (size_t i = 0; i < plan->copy_count; i++) {
        plan->copies[i].offset = copies[i].offset;
    }
    dynq_release(&plan->allocator, buffers);
    return fits ? DYNQ_OK
                : dynq_fail(error, DYNQ_ERR_LIMIT, "%zu rows: activations do not fit in memory",
                            max_rows);
}

dynq_status dynq_plan_create(const dynq_model *model, const dynq_plan_request *request,
                             const dynq_allocator *allocator, dynq_plan **result, dynq_error *error)
{
    planner p = {.model = model, .request = request};
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
    note_readers(&p);
    if (!add_steps(&p) || !add_slots(&p)) {
        goto cleanup;
    }
    note_ranges(p.plan);
    status = lay_out(p.plan, request->max_rows, error);
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
    dynq_release(&allocator, plan);
}

const char *dynq_step_name(dynq_step_kind kind)
{
    static const char *const names[] = {"range",       "quantize", "linear int8",
                                        "linear fp32", "activate", "add",
                                        "mul",         "softmax",  "layer_norm"};
    return names[kind];
}
