/* From nodes to steps: what is fused, and which quantized copies there are. */
#include "src/pack.h"
#include "src/planner.h"

#include <math.h>

static dynq_activation activation_of(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_RELU: return DYNQ_ACTIVATION_RELU;
    case DYNQ_OP_GELU: return DYNQ_ACTIVATION_GELU;
    case DYNQ_OP_TANH: return DYNQ_ACTIVATION_TANH;
    case DYNQ_OP_SIGMOID: return DYNQ_ACTIVATION_SIGMOID;
    case DYNQ_OP_GELU_TANH: return DYNQ_ACTIVATION_GELU_TANH;
    default: return DYNQ_ACTIVATION_NONE;
    }
}

static void note_readers(dynq_planner *p)
{
    for (size_t i = 0; i < p->model->node_count; i++) {
        const dynq_node *node = &p->model->nodes[i];
        p->notes[i].first = DYNQ_NONE;
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
static bool can_vanish(const dynq_planner *p, uint32_t node)
{
    return p->notes[node].readers == 1 && !p->notes[node].output && !p->request->tapped[node];
}

/* Rows of a table of floats that only the embedding adds need not be copied before. */
static void take_positions(dynq_planner *p, uint32_t embedding, uint32_t residual)
{
    const dynq_node *nodes = p->model->nodes;
    if (nodes[embedding].op == DYNQ_OP_EMBEDDING && residual != DYNQ_NONE &&
        nodes[residual].op == DYNQ_OP_POSITION &&
        nodes[residual].precision == DYNQ_PRECISION_FP32 && can_vanish(p, residual)) {
        p->notes[residual].inside = true;
    }
}

/* Groups a linear layer with the activation and then the addition that alone read it, or an
 * embedding with the addition. The group runs at the place of its last node, when all its operands
 * are there. */
static void fuse(dynq_planner *p, uint32_t first)
{
    const dynq_node *nodes = p->model->nodes;
    uint32_t last = first;
    dynq_activation activation = DYNQ_ACTIVATION_NONE;
    uint32_t residual = DYNQ_NONE;
    if (nodes[first].op == DYNQ_OP_LINEAR && can_vanish(p, last)) {
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
    p->notes[last].first = first;
    p->notes[last].activation = activation;
    p->notes[last].residual = residual;
    take_positions(p, first, residual);
}

dynq_step *dynq_planner_add_step(dynq_planner *p, dynq_step_kind kind, uint32_t node)
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
                        .inputs = {DYNQ_NONE, DYNQ_NONE, DYNQ_NONE},
                        .output = DYNQ_NONE,
                        .copy = DYNQ_NONE,
                        .residual = DYNQ_NONE,
                        .positions = DYNQ_NONE};
    return step;
}

static bool same_rule(const dynq_range_rule *a, const dynq_range_rule *b)
{
    return a->kind == b->kind && a->scope == b->scope && a->scheme == b->scheme && a->lo == b->lo &&
           a->hi == b->hi;
}

/* A linear layer whose input becomes codes. */
static bool runs_quantized(const dynq_planner *p, const dynq_node *node)
{
    return node->op == DYNQ_OP_LINEAR && node->precision != DYNQ_PRECISION_FP32 &&
           !p->request->fp32;
}

static dynq_range_rule rule_of(const dynq_planner *p, const dynq_node *node)
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

/* The bytes of a row of codes for a layer. */
static size_t row_bytes(const dynq_planner *p, const dynq_node *node)
{
    if (node->precision == DYNQ_PRECISION_INT16) {
        return sizeof(int16_t) * (node->k + node->k % 2);
    }
    return p->request->dense && node->weight_group == 0 ? node->k : dynq_packed_k(node->k);
}

/* The copy of its input that a quantized layer reads: an earlier one with the same rule and layout,
 * or a new one with the step that fills it. DYNQ_NONE when memory is out. */
static uint32_t copy_for(dynq_planner *p, uint32_t linear)
{
    dynq_plan *plan = p->plan;
    const dynq_node *node = &p->model->nodes[linear];
    const dynq_range_rule rule = rule_of(p, node);
    const bool int16 = node->precision == DYNQ_PRECISION_INT16;
    for (size_t i = 0; i < plan->copy_count; i++) {
        dynq_plan_copy *copy = &plan->copies[i];
        if (copy->value == node->inputs[0] && same_rule(&copy->rule, &rule) &&
            copy->int16 == int16 && copy->padded == row_bytes(p, node)) {
            note_weight_scale(copy, node, linear);
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
                                     .int16 = int16,
                                     .padded = row_bytes(p, node),
                                     .largest_node = linear};
    note_weight_scale(&copies[index], node, linear);
    dynq_step *step = dynq_planner_add_step(p, DYNQ_STEP_QUANTIZE, linear);
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

static dynq_step_kind kind_of_linear(const dynq_planner *p, const dynq_node *node)
{
    if (!runs_quantized(p, node)) {
        return DYNQ_STEP_LINEAR_F32;
    }
    return node->precision == DYNQ_PRECISION_INT16 ? DYNQ_STEP_LINEAR_S16 : DYNQ_STEP_LINEAR_S8;
}

static bool add_linear(dynq_planner *p, uint32_t last)
{
    const dynq_node_note *note = &p->notes[last];
    const dynq_node *node = &p->model->nodes[note->first];
    uint32_t copy = DYNQ_NONE;
    const dynq_step_kind kind = kind_of_linear(p, node);
    const bool quantized = kind != DYNQ_STEP_LINEAR_F32;
    if (quantized) {
        copy = copy_for(p, note->first);
        if (copy == DYNQ_NONE) {
            return false;
        }
    }
    dynq_step *step = dynq_planner_add_step(p, kind, note->first);
    if (step == NULL) {
        return false;
    }
    step->inputs[0] = quantized ? DYNQ_NONE : node->inputs[0];
    step->output = last;
    step->copy = copy;
    step->activation = note->activation;
    step->residual = note->residual;
    step->bounded =
        quantized && node->weight_group == 0 && note->residual == DYNQ_NONE && moderate_bias(node);
    return true;
}

static bool add_embedding(dynq_planner *p, uint32_t last)
{
    const dynq_node_note *note = &p->notes[last];
    const dynq_node *node = &p->model->nodes[note->first];
    dynq_step *step = dynq_planner_add_step(p, DYNQ_STEP_EMBED, note->first);
    if (step == NULL) {
        return false;
    }
    step->inputs[0] = node->op == DYNQ_OP_EMBEDDING ? node->inputs[0] : DYNQ_NONE;
    step->output = last;
    if (note->residual != DYNQ_NONE && p->notes[note->residual].inside) {
        step->positions = note->residual;
    } else {
        step->residual = note->residual;
    }
    return true;
}

static dynq_step_kind kind_of(dynq_op op)
{
    switch (op) {
    case DYNQ_OP_INPUT: return DYNQ_STEP_RANGE;
    case DYNQ_OP_ADD: return DYNQ_STEP_ADD;
    case DYNQ_OP_MUL:
    case DYNQ_OP_SCALE: return DYNQ_STEP_MULTIPLY;
    case DYNQ_OP_SOFTMAX: return DYNQ_STEP_SOFTMAX;
    case DYNQ_OP_LAYER_NORM: return DYNQ_STEP_LAYER_NORM;
    case DYNQ_OP_NORMALIZE: return DYNQ_STEP_NORMALIZE;
    case DYNQ_OP_ATTENTION: return DYNQ_STEP_ATTENTION;
    case DYNQ_OP_POOL: return DYNQ_STEP_POOL;
    default: return DYNQ_STEP_ACTIVATE;
    }
}

/* An input whose only readers are layers with static ranges is checked for NaN while it is
 * quantized; any other input gets a pass of its own, which finds its range as well. */
static bool only_static_readers(const dynq_planner *p, uint32_t input)
{
    for (size_t i = 0; i < p->model->node_count; i++) {
        const dynq_node *node = &p->model->nodes[i];
        for (uint32_t j = 0; j < node->input_count; j++) {
            if (node->inputs[j] == input &&
                !(runs_quantized(p, node) && node->range.kind == DYNQ_RANGE_STATIC)) {
                return false;
            }
        }
    }
    return !p->notes[input].output;
}

static bool add_node_step(dynq_planner *p, uint32_t index)
{
    const dynq_node *node = &p->model->nodes[index];
    const uint32_t first = p->notes[index].first;
    if (first != DYNQ_NONE) {
        return p->model->nodes[first].op == DYNQ_OP_LINEAR ? add_linear(p, index)
                                                           : add_embedding(p, index);
    }
    if (node->op == DYNQ_OP_IDS) {
        return true; /* a run checks its ids before the first step */
    }
    if (node->op == DYNQ_OP_INPUT && only_static_readers(p, index)) {
        p->plan->values[index].checked_by_quantize = true;
        return true;
    }
    dynq_step *step = dynq_planner_add_step(p, kind_of(node->op), index);
    if (step == NULL) {
        return false;
    }
    if (node->op == DYNQ_OP_INPUT) {
        step->inputs[0] = index;
        return true;
    }
    for (uint32_t i = 0; i < node->input_count; i++) {
        step->inputs[i] = node->inputs[i];
    }
    step->output = index;
    step->int8 = node->op == DYNQ_OP_ATTENTION && node->precision == DYNQ_PRECISION_INT8 &&
                 !p->request->fp32;
    step->activation = activation_of(node->op);
    return true;
}

bool dynq_planner_add_steps(dynq_planner *p)
{
    const size_t count = p->model->node_count;
    note_readers(p);
    for (uint32_t i = 0; i < count; i++) {
        if (p->model->nodes[i].op == DYNQ_OP_EMBEDDING) {
            fuse(p, i); /* before positions, which these can take along */
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const dynq_op op = p->model->nodes[i].op;
        if (op == DYNQ_OP_LINEAR || (op == DYNQ_OP_POSITION && !p->notes[i].inside)) {
            fuse(p, i);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        dynq_plan_value *value = &p->plan->values[i];
        *value = (dynq_plan_value){.node = i,
                                   .columns = p->model->nodes[i].n,
                                   .domain = p->model->nodes[i].domain,
                                   .ids = p->model->nodes[i].op == DYNQ_OP_IDS,
                                   .slot = DYNQ_NONE,
                                   .stored = !p->notes[i].inside,
                                   .tapped = p->request->tapped[i]};
        if (value->stored && !add_node_step(p, i)) {
            return false;
        }
    }
    return true;
}
