/* Linear steps of the native engine. */
#include "src/operators.h"

#include "src/pack.h"

/* The panels of one chunk of an INT8 step. */
static const int8_t *panels_of(const dynq_work *w, size_t index, size_t chunk)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const size_t column = dynq_layout_block(&w->session->layouts[index], chunk).column;
    return dynq_node_panel(&w->session->model->nodes[step->node], column);
}

const int8_t *dynq_linear_next_panels(const dynq_work *w, size_t index, size_t chunk)
{
    const dynq_layout *layout = &w->session->layouts[index];
    const size_t threads = layout->shared ? w->session->threads : 1;
    const size_t chunks = dynq_layout_chunks(layout);
    const size_t thread = ((chunk + 1) * threads - 1) / chunks; /* that begins with this chunk */
    if (chunk + 1 < chunks * (thread + 1) / threads) {
        return panels_of(w, index, chunk + 1);
    }
    for (size_t next = index + 1; next < w->session->plan->step_count; next++) {
        if (w->session->plan->steps[next].kind == DYNQ_STEP_LINEAR_S8) {
            const size_t parts = dynq_layout_chunks(&w->session->layouts[next]);
            return panels_of(w, next, parts * thread / threads);
        }
    }
    return NULL;
}

void dynq_linear_run_s8(const dynq_work *w, size_t index, const dynq_block *b, const int8_t *next,
                        dynq_range_bits *ranges)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_copy_memory *copy = &w->copies[step->copy];
    const size_t kpad = w->session->plan->copies[step->copy].padded;
    dynq_gemm_s8 gemm = {
        .rows = b->rows,
        .columns = b->columns,
        .kpad = kpad,
        .q = copy->codes + b->row * kpad,
        .q_stride = kpad,
        .panels = dynq_node_panel(node, b->column),
        .codes = dynq_node_codes(node, b->column / DYNQ_PANEL),
        .dequantize = dynq_step_dequantize(w, step, b),
        .epilogue = dynq_step_epilogue(w, step, b, ranges),
        .next = next,
    };
    if (!w->session->profiling) {
        w->session->kernel->gemm_s8(&gemm);
        return;
    }
    uint64_t start = dynq_session_clock();
    if (!dynq_session_step_stops(w->session, step)) {
        w->session->kernel->gemm_s8(&gemm);
        dynq_step_note_phase(&w->session->clocks[index].gemm, &start);
        return;
    }
    gemm.sums = w->sums + b->row * w->session->sums_stride + b->column;
    gemm.sums_stride = w->session->sums_stride;
    w->session->kernel->gemm_s8(&gemm);
    dynq_step_note_phase(&w->session->clocks[index].gemm, &start);
    w->session->kernel->epilogue_s32(b->rows, b->columns, gemm.sums, gemm.sums_stride,
                                     &gemm.dequantize, &gemm.epilogue);
    dynq_step_note_phase(&w->session->clocks[index].epilogue, &start);
}

/* Its product is never apart from its epilogue. */
void dynq_linear_run_s16(const dynq_work *w, size_t index, const dynq_block *b,
                         dynq_range_bits *ranges)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_copy_memory *copy = &w->copies[step->copy];
    const size_t kpad = w->session->plan->copies[step->copy].padded / sizeof(int16_t);
    const dynq_gemm_s16 gemm = {
        .rows = b->rows,
        .columns = b->columns,
        .kpad = kpad,
        .q = (const int16_t *)(const void *)copy->codes + b->row * kpad,
        .q_stride = kpad,
        .panels = (const int16_t *)(const void *)node->packed + b->column * kpad,
        .column_scale = node->weight_scale + b->column,
        .row_scale = copy->scale + b->row * copy->step,
        .row_step = copy->step,
        .epilogue = dynq_step_epilogue(w, step, b, ranges),
    };
    uint64_t start = w->session->profiling ? dynq_session_clock() : 0;
    dynq_portable_gemm_s16(&gemm);
    if (w->session->profiling) {
        dynq_step_note_phase(&w->session->clocks[index].gemm, &start);
    }
}

/* The panels of FP32 weights, or the model's own in halves, from a column on. */
static const void *float_panels(const dynq_work *w, size_t index, const dynq_node *node,
                                size_t column)
{
    const float *packed = w->session->layers[index].packed;
    if (packed != NULL) {
        return packed + column * node->k;
    }
    const bool pairs = node->weight_format == DYNQ_FORMAT_BF16;
    return node->packed + column * (node->k + (pairs ? node->k % 2 : 0)) * sizeof(uint16_t);
}

void dynq_linear_run_f32(const dynq_work *w, size_t index, const dynq_block *b,
                         dynq_range_bits *ranges)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    dynq_gemm_f32 gemm = {
        .rows = b->rows,
        .columns = b->columns,
        .k = node->k,
        .x = x->data + b->row * x->stride,
        .x_stride = x->stride,
        .panels = float_panels(w, index, node, b->column),
        .format = w->session->layers[index].packed == NULL ? node->weight_format : DYNQ_FORMAT_FP32,
        .epilogue = dynq_step_epilogue(w, step, b, ranges),
    };
    const bool dots = gemm.format == DYNQ_FORMAT_BF16 && w->session->gemm_bf16 != NULL;
    dynq_gemm_bf16 *const multiply = dots ? w->session->gemm_bf16 : w->session->kernel->gemm_f32;
    if (!w->session->profiling) {
        multiply(&gemm);
        return;
    }
    uint64_t start = dynq_session_clock();
    gemm.products = gemm.epilogue.y;
    gemm.products_stride = gemm.epilogue.y_stride;
    multiply(&gemm);
    dynq_step_note_phase(&w->session->clocks[index].gemm, &start);
    w->session->kernel->epilogue_f32(b->rows, b->columns, gemm.products, gemm.products_stride,
                                     &gemm.epilogue);
    dynq_step_note_phase(&w->session->clocks[index].epilogue, &start);
}
