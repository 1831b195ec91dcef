/* Stages that run by blocks: all of their steps on some rows before the next rows are begun, so
 * that what a step leaves behind is still in the thread's cache, and no thread waits for another
 * between them. */
#include "src/blocks.h"

#include "src/error.h"
#include "src/operators.h"

dynq_status dynq_blocks_create(dynq_session *session, dynq_error *error)
{
    const dynq_plan *plan = session->plan;
    const dynq_allocator *allocator = &session->allocator;
    bool wanted = false;
    for (size_t i = 0; i < plan->stage_count; i++) {
        wanted = wanted || plan->stages[i].by_blocks;
    }
    if (!wanted || session->part_rows <= dynq_stepwise_rows(session->threads)) {
        return DYNQ_OK;
    }
    session->blocks = dynq_alloc(allocator, session->threads, sizeof *session->blocks);
    session->block_taken = dynq_alloc(allocator, session->threads, sizeof(atomic_bool));
    bool complete = session->blocks != NULL && session->block_taken != NULL;
    for (uint32_t i = 0; complete && i < session->threads; i++) {
        dynq_block_memory *block = &session->blocks[i];
        block->work.session = session;
        block->work.values = dynq_alloc(allocator, plan->value_count, sizeof *block->work.values);
        block->work.copies = dynq_alloc(allocator, plan->copy_count, sizeof *block->work.copies);
        block->ranges = dynq_alloc(allocator, plan->value_count, sizeof *block->ranges);
        block->memory = dynq_alloc(allocator, plan->block_bytes, 1);
        if (session->sums != NULL) {
            block->work.sums = session->sums + i * DYNQ_ROW_BLOCK * session->sums_stride;
        }
        complete = block->work.values != NULL && block->work.copies != NULL &&
                   block->ranges != NULL && block->memory != NULL;
    }
    return complete ? DYNQ_OK
                    : dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session of %zu rows",
                                session->max_rows);
}

void dynq_blocks_free(dynq_session *session)
{
    for (uint32_t i = 0; session->blocks != NULL && i < session->threads; i++) {
        dynq_block_memory *block = &session->blocks[i];
        dynq_release(&session->allocator, block->work.values);
        dynq_release(&session->allocator, block->work.copies);
        dynq_release(&session->allocator, block->ranges);
        dynq_release(&session->allocator, block->memory);
    }
    dynq_release(&session->allocator, session->blocks);
    dynq_release(&session->allocator, session->block_taken);
}

static void place_value(dynq_block_memory *block, uint32_t index, size_t row, bool result)
{
    if (index == DYNQ_NONE) {
        return;
    }
    const dynq_session *session = block->work.session;
    const dynq_plan_value *value = &session->plan->values[index];
    const dynq_value_memory *whole = &session->work.values[index];
    dynq_value_memory *here = &block->work.values[index];
    *here = *whole;
    if (value->local) {
        here->data = (float *)(void *)(block->memory + value->block_offset);
        here->stride = value->columns;
    } else {
        here->data = whole->data + row * whole->stride;
    }
    if (result && !value->range_by_row && !value->waits) {
        block->ranges[index] = (dynq_range_bits){0, 0};
        here->range = &block->ranges[index];
    } else {
        here->range = whole->range + row * whole->range_step;
    }
}

static void place_copy(dynq_block_memory *block, uint32_t index, size_t row)
{
    const dynq_session *session = block->work.session;
    const dynq_plan_copy *copy = &session->plan->copies[index];
    const dynq_copy_memory *whole = &session->work.copies[index];
    block->work.copies[index] = (dynq_copy_memory){
        .codes =
            copy->local ? block->memory + copy->block_offset : whole->codes + row * copy->padded,
        .scale = whole->scale + row * whole->step,
        .inverse = whole->inverse + row * whole->step,
        .zero = whole->zero + row * whole->step,
        .step = whole->step,
    };
}

static void place_block(dynq_block_memory *block, const dynq_stage *stage, size_t row, size_t rows)
{
    const dynq_session *session = block->work.session;
    const dynq_plan *plan = session->plan;
    block->work.rows = rows;
    block->work.first_row = session->work.first_row + row;
    for (size_t s = stage->first; s < stage->first + stage->count; s++) {
        const dynq_step *step = &plan->steps[s];
        for (size_t i = 0; i < DYNQ_MAX_INPUTS; i++) {
            place_value(block, step->inputs[i], row, false);
        }
        place_value(block, step->residual, row, false);
    }
    /* Behind those that read them, as results bring ranges of their own. */
    for (size_t s = stage->first; s < stage->first + stage->count; s++) {
        place_value(block, plan->steps[s].output, row, true);
        if (plan->steps[s].copy != DYNQ_NONE) {
            place_copy(block, plan->steps[s].copy, row);
        }
    }
}

/* The weights that are needed behind step `index`: of the next INT8 layer of the stage, or of its
 * first one for the next block, or of the next stage. NULL: there are none. */
static const int8_t *next_weights(const dynq_session *session, const dynq_stage *stage,
                                  size_t index, bool more)
{
    const dynq_plan *plan = session->plan;
    const size_t end = stage->first + stage->count;
    for (size_t s = index + 1; s < plan->step_count && (s < end || !more); s++) {
        if (plan->steps[s].kind == DYNQ_STEP_LINEAR_S8) {
            return session->model->nodes[plan->steps[s].node].packed;
        }
    }
    for (size_t s = stage->first; more && s <= index; s++) {
        if (plan->steps[s].kind == DYNQ_STEP_LINEAR_S8) {
            return session->model->nodes[plan->steps[s].node].packed;
        }
    }
    return NULL;
}

/* Linear steps note their own phases. */
static void note_other(dynq_session *session, size_t index, uint64_t *start)
{
    const dynq_step_kind kind = session->plan->steps[index].kind;
    if (dynq_step_is_linear(kind)) {
        *start = dynq_session_clock();
    } else {
        dynq_step_note_phase(&session->clocks[index].other, start);
    }
}

static dynq_status run_block(dynq_block_memory *block, const dynq_stage *stage, size_t row,
                             size_t rows, bool more)
{
    dynq_session *session = block->work.session;
    const dynq_plan *plan = session->plan;
    uint64_t start = session->clocks == NULL ? 0 : dynq_session_clock();
    place_block(block, stage, row, rows);
    dynq_status status = DYNQ_OK;
    for (size_t s = stage->first; s < stage->first + stage->count && status == DYNQ_OK; s++) {
        const dynq_step *step = &plan->steps[s];
        const uint32_t value = step->output != DYNQ_NONE ? step->output : step->inputs[0];
        const dynq_block b = {.rows = rows, .columns = plan->values[value].columns};
        const bool int8 = step->kind == DYNQ_STEP_LINEAR_S8;
        dynq_ranges_begin(&block->work, step);
        const bool waits = step->output != DYNQ_NONE && plan->values[step->output].waits;
        dynq_step_run_block(&block->work, s, &b,
                            int8 ? next_weights(session, stage, s, more) : NULL, waits);
        if (step->output != DYNQ_NONE && !waits) {
            status = dynq_ranges_finish(&block->work, step);
        }
        if (session->clocks != NULL) {
            note_other(session, s, &start);
        }
    }
    return status;
}

static void lower_to(atomic_size_t *lowest, size_t value)
{
    size_t seen = atomic_load(lowest);
    while (value < seen && !atomic_compare_exchange_weak(lowest, &seen, value)) {
    }
}

void dynq_blocks_begin(dynq_blocks_task *task)
{
    dynq_session *session = task->session;
    const dynq_plan *plan = session->plan;
    atomic_init(&task->failed, SIZE_MAX);
    /* Parameters of rows are found block by block, but lie where those of all rows do. */
    for (size_t s = task->stage->first; s < task->stage->first + task->stage->count; s++) {
        for (size_t c = 0; c < plan->copy_count; c++) {
            if (plan->copies[c].value == plan->steps[s].output &&
                plan->copies[c].rule.kind == DYNQ_RANGE_DYNAMIC &&
                plan->copies[c].rule.scope == DYNQ_SCOPE_ROW) {
                session->work.copies[c].step = 1;
            }
        }
    }
}

void dynq_blocks_run_chunk(void *context, size_t chunk)
{
    dynq_blocks_task *task = context;
    const dynq_block b = dynq_layout_block(&task->layout, chunk);
    if (dynq_session_cancelled(task->session)) {
        return;
    }
    const uint32_t place = dynq_place_take(task->session->block_taken, task->session->threads);
    dynq_block_memory *block = &task->session->blocks[place];
    const bool more = chunk + 1 < dynq_layout_chunks(&task->layout);
    block->work.error = NULL;
    if (run_block(block, task->stage, b.row, b.rows, more) != DYNQ_OK) {
        lower_to(&task->failed, chunk);
    }
    dynq_place_give(task->session->block_taken, place);
}

dynq_status dynq_blocks_finish(dynq_blocks_task *task)
{
    const size_t chunk = atomic_load(&task->failed);
    if (chunk == SIZE_MAX) {
        return DYNQ_OK;
    }
    /* What the block read is still there: once more, to say what is wrong. */
    const dynq_block b = dynq_layout_block(&task->layout, chunk);
    dynq_block_memory *block = &task->session->blocks[0];
    block->work.error = task->session->work.error;
    return run_block(block, task->stage, b.row, b.rows, false);
}
