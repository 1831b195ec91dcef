/* One chunk of a step: rows and columns picked out, the kernel or the engine called. */
#include "src/operators.h"

#include "src/range.h"

#include <string.h>
#include <time.h>

/* What a step takes, roughly, on a fast CPU: picoseconds of a multiplication or of an element. */
enum {
    COST_S8 = 4,
    COST_S16 = 250,
    COST_F32 = 20,
    COST_RANGE = 50,
    COST_PLAIN = 100, /* a few instructions for 16 elements */
    COST_MATH = 400   /* polynomials, or several passes over a row */
};

uint64_t dynq_session_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The step's result, or what it reads where it has none. */
static uint32_t step_value(const dynq_step *step)
{
    return step->output != DYNQ_NONE ? step->output : step->inputs[0];
}

static size_t step_columns(const dynq_work *w, const dynq_step *step)
{
    return w->session->plan->values[step_value(step)].columns;
}

static uint32_t cost_of_element(const dynq_step *step)
{
    switch (step->kind) {
    case DYNQ_STEP_RANGE: return COST_RANGE;
    case DYNQ_STEP_SOFTMAX:
    case DYNQ_STEP_LAYER_NORM:
    case DYNQ_STEP_NORMALIZE: return COST_MATH;
    default: return step->activation <= DYNQ_ACTIVATION_RELU ? COST_PLAIN : COST_MATH;
    }
}

dynq_layout dynq_step_layout(const dynq_work *w, size_t index, dynq_cut cut)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const size_t columns = step_columns(w, step);
    const size_t rows = dynq_work_rows(w, step_value(step));
    if (step->kind == DYNQ_STEP_ATTENTION) {
        return dynq_attention_layout(w, step, cut);
    }
    if (!dynq_step_is_linear(step->kind)) {
        const size_t pooled = step->kind == DYNQ_STEP_POOL ? w->rows / rows : 1;
        return dynq_layout_by_row(rows, columns, cost_of_element(step) * (uint32_t)pooled, cut);
    }
    const size_t k = w->session->model->nodes[step->node].k;
    const uint32_t cost = step->kind == DYNQ_STEP_LINEAR_S8    ? COST_S8
                          : step->kind == DYNQ_STEP_LINEAR_S16 ? COST_S16
                                                               : COST_F32;
    if (dynq_session_step_is_foreign(w->session, step)) {
        const dynq_layer *layer = &w->session->layers[index];
        return dynq_layout_fixed(rows, k, columns, layer->block_count, layer->block_columns, cost);
    }
    return dynq_layout_linear(rows, k, columns, cost, cut);
}

void dynq_step_join_ranges(dynq_value_memory *value, const dynq_range_bits *ranges,
                           const dynq_block *b, bool shared)
{
    const size_t count = value->range_step == 0 ? 1 : b->rows;
    for (size_t i = 0; i < count; i++) {
        dynq_range_bits *range = &value->range[b->row * value->range_step + i];
        if (shared) {
            dynq_range_join_shared(range, ranges[i]);
        } else {
            *range = dynq_range_join(*range, ranges[i]);
        }
    }
}

dynq_epilogue dynq_step_epilogue(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                                 dynq_range_bits *ranges)
{
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_value_memory *y = &w->values[step->output];
    dynq_epilogue epilogue = {
        .bias = node->bias == NULL ? NULL : node->bias + b->column,
        .activation = step->activation,
        .y = y->data + b->row * y->stride + b->column,
        .y_stride = y->stride,
        .range = y->ranged ? ranges : NULL,
        .range_step = y->range_step,
    };
    if (step->residual != DYNQ_NONE) {
        const dynq_value_memory *residual = &w->values[step->residual];
        epilogue.residual = residual->data + b->row * residual->stride + b->column;
        epilogue.residual_stride = residual->stride;
    }
    return epilogue;
}

dynq_dequantize dynq_step_dequantize(const dynq_work *w, const dynq_step *step, const dynq_block *b)
{
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_copy_memory *copy = &w->copies[step->copy];
    return (dynq_dequantize){
        .column_scale = node->weight_scale + b->column,
        .column_sum = node->weight_sum == NULL ? NULL : node->weight_sum + b->column,
        .row_scale = copy->scale + b->row * copy->step,
        .row_zero = copy->zero + b->row * copy->step,
        .row_step = copy->step,
    };
}

void dynq_step_note_phase(_Atomic uint64_t *phase, uint64_t *start)
{
    const uint64_t now = dynq_session_clock();
    atomic_fetch_add_explicit(phase, now - *start, memory_order_relaxed);
    *start = now;
}

static void run_quantize_s16(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                             dynq_range_bits *ranges)
{
    const dynq_plan_value *value = &w->session->plan->values[step->inputs[0]];
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    const dynq_copy_memory *memory = &w->copies[step->copy];
    const size_t padded = w->session->plan->copies[step->copy].padded / sizeof(int16_t);
    dynq_portable_quantize_s16(&(dynq_quantize_s16){
        .rows = b->rows,
        .columns = value->columns,
        .padded = padded,
        .x = x->data + b->row * x->stride,
        .x_stride = x->stride,
        .row_inverse = memory->inverse + b->row * memory->step,
        .row_step = memory->step,
        .q = (int16_t *)(void *)memory->codes + b->row * padded,
        .q_stride = padded,
        .range = value->checked_by_quantize ? ranges : NULL,
    });
}

static void run_quantize(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                         dynq_range_bits *ranges)
{
    const dynq_plan_copy *copy = &w->session->plan->copies[step->copy];
    const dynq_plan_value *value = &w->session->plan->values[step->inputs[0]];
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    const dynq_copy_memory *memory = &w->copies[step->copy];
    const dynq_quantize_block quantize = {
        .rows = b->rows,
        .columns = value->columns,
        .padded = copy->padded,
        .x = x->data + b->row * x->stride,
        .x_stride = x->stride,
        .row_inverse = memory->inverse + b->row * memory->step,
        .row_zero = memory->zero + b->row * memory->step,
        .row_step = memory->step,
        .qmin = dynq_scheme_qmin(copy->rule.scheme),
        .bounded = copy->rule.kind == DYNQ_RANGE_DYNAMIC && !dynq_range_limited(&copy->rule),
        .q = memory->codes + b->row * copy->padded,
        .q_stride = copy->padded,
        .range = value->checked_by_quantize ? ranges : NULL,
    };
    w->session->kernel->quantize(&quantize);
}

static void run_float(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                      dynq_range_bits *ranges)
{
    const dynq_kernel *kernel = w->session->kernel;
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    const uint32_t result = step_value(step);
    dynq_float_block floats = {
        .rows = b->rows,
        .columns = b->columns,
        .x = x->data + b->row * x->stride,
        .x_stride = x->stride,
        .weight = node->gain,
        .bias = node->bias,
        .epsilon = node->epsilon,
        .activation = step->activation,
        .range = ranges,
        .range_step = w->values[result].range_step,
    };
    if (step->output != DYNQ_NONE) {
        const dynq_value_memory *y = &w->values[step->output];
        floats.y = y->data + b->row * y->stride;
        floats.y_stride = y->stride;
    }
    if (step->inputs[1] != DYNQ_NONE) {
        const dynq_value_memory *other = &w->values[step->inputs[1]];
        floats.other = other->data + b->row * other->stride;
        floats.other_stride = other->stride;
    }
    if (node->op == DYNQ_OP_SCALE) {
        floats.other = node->gain; /* the same for every row */
    }
    switch (step->kind) {
    case DYNQ_STEP_RANGE: kernel->range(&floats); break;
    case DYNQ_STEP_ACTIVATE: kernel->activate(&floats); break;
    case DYNQ_STEP_ADD: kernel->add(&floats); break;
    case DYNQ_STEP_MULTIPLY: kernel->multiply(&floats); break;
    case DYNQ_STEP_SOFTMAX: kernel->softmax(&floats); break;
    case DYNQ_STEP_LAYER_NORM: kernel->layer_norm(&floats); break;
    case DYNQ_STEP_NORMALIZE: kernel->normalize(&floats); break;
    case DYNQ_STEP_QUANTIZE:
    case DYNQ_STEP_LINEAR_S8:
    case DYNQ_STEP_LINEAR_S16:
    case DYNQ_STEP_LINEAR_F32:
    case DYNQ_STEP_EMBED:
    case DYNQ_STEP_ATTENTION:
    case DYNQ_STEP_POOL: break; /* not float steps: dynq_step_run_chunk sends them elsewhere */
    }
}

void dynq_step_run_block(const dynq_work *w, size_t index, const dynq_block *b, const int8_t *next,
                         bool shared)
{
    const dynq_step *step = &w->session->plan->steps[index];
    if (step->kind == DYNQ_STEP_ATTENTION) {
        dynq_attention_run(w, step, b, shared);
        return;
    }
    dynq_range_bits ranges[DYNQ_ROW_BLOCK] = {{0, 0}};
    switch (step->kind) {
    case DYNQ_STEP_LINEAR_S8: dynq_linear_run_s8(w, index, b, next, ranges); break;
    case DYNQ_STEP_LINEAR_S16: dynq_linear_run_s16(w, index, b, ranges); break;
    case DYNQ_STEP_LINEAR_F32: dynq_linear_run_f32(w, index, b, ranges); break;
    case DYNQ_STEP_QUANTIZE:
        if (w->session->plan->copies[step->copy].int16) {
            run_quantize_s16(w, step, b, ranges);
        } else {
            run_quantize(w, step, b, ranges);
        }
        break;
    case DYNQ_STEP_EMBED: dynq_embed_run(w, step, b, ranges); break;
    case DYNQ_STEP_POOL: dynq_pool_run(w, step, b, ranges); break;
    default: run_float(w, step, b, ranges); break;
    }
    if (step->kind != DYNQ_STEP_QUANTIZE ||
        w->session->plan->values[step->inputs[0]].checked_by_quantize) {
        dynq_step_join_ranges(&w->values[step_value(step)], ranges, b, shared);
    }
}

void dynq_step_run_chunk(const dynq_work *w, size_t index, size_t chunk)
{
    const dynq_step *step = &w->session->plan->steps[index];
    if (dynq_session_step_is_foreign(w->session, step)) {
        dynq_step_run_foreign(w, index, chunk);
        return;
    }
    const dynq_block b = dynq_layout_block(&w->session->layouts[index], chunk);
    const bool int8 = step->kind == DYNQ_STEP_LINEAR_S8;
    dynq_step_run_block(w, index, &b, int8 ? dynq_linear_next_panels(w, index, chunk) : NULL,
                        w->session->layouts[index].shared);
}
