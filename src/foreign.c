/* Linear steps on a foreign engine: its products or whole layers, and what is ours around them. */
#include "src/operators.h"

#include "src/memory.h"

/* Sums that an engine leaves at a time, as long as these are enough rows. */
#define FOREIGN_BYTES 262144
#define FOREIGN_ROWS  128

/* Rows of one call of a foreign engine for an INT8 step: their sums or results are still in a cache
 * when they are read again, but there are enough of them for weights that come from memory. */
static size_t foreign_rows(size_t rows, size_t columns)
{
    const size_t wanted = FOREIGN_BYTES / sizeof(int32_t) / columns;
    const size_t most = wanted < FOREIGN_ROWS ? FOREIGN_ROWS : wanted;
    return dynq_divide_up(rows, dynq_divide_up(rows, most));
}

/* The epilogue of a block whose products the engine has left at `products` (FP32: in the output).
 */
static void finish_foreign(const dynq_work *w, size_t index, dynq_block b, const int32_t *products)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const int32_t *sums = w->session->layers[index].sums;
    const size_t end = b.row + b.rows, stride = b.columns;
    for (size_t first = b.row; b.row < end; b.row += DYNQ_ROW_BLOCK) {
        dynq_range_bits ranges[DYNQ_ROW_BLOCK] = {{0, 0}};
        b.rows = end - b.row < DYNQ_ROW_BLOCK ? end - b.row : DYNQ_ROW_BLOCK;
        const dynq_epilogue epilogue = dynq_step_epilogue(w, step, &b, ranges);
        if (products == NULL) {
            w->session->kernel->epilogue_f32(b.rows, b.columns, epilogue.y, epilogue.y_stride,
                                             &epilogue);
        } else {
            dynq_dequantize dequantize = dynq_step_dequantize(w, step, &b);
            if (sums != NULL) {
                dequantize.column_sum = sums + b.column;
            }
            w->session->kernel->epilogue_s32(b.rows, b.columns, products + (b.row - first) * stride,
                                             stride, &dequantize, &epilogue);
        }
        dynq_step_join_ranges(&w->values[step->output], ranges, &b, true);
    }
}

/* Ranges of a block that the engine has finished by itself. */
static void range_foreign(const dynq_work *w, const dynq_step *step, dynq_block b)
{
    const dynq_value_memory *y = &w->values[step->output];
    for (const size_t end = b.row + b.rows; b.row < end; b.row += DYNQ_ROW_BLOCK) {
        dynq_range_bits ranges[DYNQ_ROW_BLOCK] = {{0, 0}};
        b.rows = end - b.row < DYNQ_ROW_BLOCK ? end - b.row : DYNQ_ROW_BLOCK;
        w->session->kernel->range(&(dynq_float_block){
            .rows = b.rows,
            .columns = b.columns,
            .x = y->data + b.row * y->stride + b.column,
            .x_stride = y->stride,
            .range = ranges,
            .range_step = y->range_step,
        });
        dynq_step_join_ranges(&w->values[step->output], ranges, &b, true);
    }
}

/* The step by the engine alone. DYNQ_ERR_UNSUPPORTED: not with these rows or scales. */
static dynq_status run_whole(const dynq_work *w, size_t index, void *layer, dynq_block b)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const dynq_copy_memory *copy = &w->copies[step->copy];
    const dynq_value_memory *y = &w->values[step->output];
    const size_t all = dynq_work_rows(w, step->output);
    const size_t stride = w->session->plan->copies[step->copy].padded;
    if (!w->session->layers[index].whole || copy->step != 0 ||
        all < w->session->engine->linear_s8_rows) {
        return DYNQ_ERR_UNSUPPORTED;
    }
    const bool ranged = w->session->plan->values[step->output].range_wanted;
    const size_t most = ranged ? foreign_rows(all, b.columns) : all;
    dynq_status status = DYNQ_OK;
    for (; b.row < all && status == DYNQ_OK; b.row += most) {
        b.rows = all - b.row < most ? all - b.row : most;
        status = w->session->engine->linear_s8(layer, b.rows, copy->scale[0], copy->zero[0],
                                               copy->codes + b.row * stride, stride,
                                               y->data + b.row * y->stride + b.column, y->stride);
        if (ranged && status == DYNQ_OK) {
            range_foreign(w, step, b);
        }
    }
    return status;
}

static dynq_status run_product_s32(const dynq_work *w, size_t index, void *layer, dynq_block b)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const uint8_t *codes = w->copies[step->copy].codes;
    const size_t all = dynq_work_rows(w, step->output);
    const size_t most = foreign_rows(all, b.columns);
    const size_t stride = w->session->plan->copies[step->copy].padded;
    int32_t *sums = w->session->sums + b.column * w->session->max_rows;
    dynq_step_clock *clock = w->session->profiling ? &w->session->clocks[index] : NULL;
    uint64_t start = clock == NULL ? 0 : dynq_session_clock();
    for (; b.row < all; b.row += most) {
        b.rows = all - b.row < most ? all - b.row : most;
        const dynq_status status = w->session->engine->product_s32(
            layer, b.rows, codes + b.row * stride, stride, sums, b.columns);
        if (status != DYNQ_OK) {
            return status;
        }
        if (clock != NULL) {
            dynq_step_note_phase(&clock->gemm, &start);
        }
        finish_foreign(w, index, b, sums);
        if (clock != NULL) {
            dynq_step_note_phase(&clock->epilogue, &start);
        }
    }
    return DYNQ_OK;
}

static dynq_status run_product_f32(const dynq_work *w, size_t index, void *layer, dynq_block b)
{
    const dynq_step *step = &w->session->plan->steps[index];
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    const dynq_value_memory *y = &w->values[step->output];
    dynq_step_clock *clock = w->session->profiling ? &w->session->clocks[index] : NULL;
    uint64_t start = clock == NULL ? 0 : dynq_session_clock();
    b.rows = dynq_work_rows(w, step->output);
    const dynq_status status = w->session->engine->product_f32(layer, b.rows, x->data, x->stride,
                                                               y->data + b.column, y->stride);
    if (status != DYNQ_OK) {
        return status;
    }
    if (clock != NULL) {
        dynq_step_note_phase(&clock->gemm, &start);
    }
    finish_foreign(w, index, b, NULL);
    if (clock != NULL) {
        dynq_step_note_phase(&clock->epilogue, &start);
    }
    return DYNQ_OK;
}

void dynq_step_run_foreign(const dynq_work *w, size_t index, size_t chunk)
{
    const dynq_step *step = &w->session->plan->steps[index];
    void *layer = w->session->layers[index].blocks[chunk];
    const dynq_block all = dynq_layout_block(&w->session->layouts[index], chunk);
    const dynq_block b = {.column = all.column, .columns = all.columns};
    dynq_status status = DYNQ_OK;
    if (step->kind == DYNQ_STEP_LINEAR_F32) {
        status = run_product_f32(w, index, layer, b);
    } else {
        status = run_whole(w, index, layer, b);
        if (status == DYNQ_ERR_UNSUPPORTED) {
            status = run_product_s32(w, index, layer, b);
        }
    }
    if (status != DYNQ_OK) {
        atomic_store(&w->session->engine_status, (int)status);
    }
}
