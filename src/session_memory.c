/* What a session allocates for its runs, beside weights. */
#include "src/error.h"
#include "src/session.h"

/* Room for int32 sums between a product and its epilogue, where they are apart. */
static bool take_sums(dynq_session *session)
{
    size_t columns = 0;
    for (size_t i = 0; i < session->plan->step_count; i++) {
        const dynq_step *step = &session->plan->steps[i];
        const bool apart = session->profiling && dynq_session_step_stops(session, step);
        if (step->kind == DYNQ_STEP_LINEAR_S8 &&
            (apart || dynq_session_step_is_foreign(session, step))) {
            const size_t n = session->plan->values[step->output].columns;
            columns = n > columns ? n : columns;
        }
    }
    const size_t blocks = (size_t)session->threads * DYNQ_ROW_BLOCK;
    size_t count = 0;
    session->sums_stride = columns;
    if (columns == 0) {
        return true;
    }
    if (dynq_size_multiply(columns, session->part_rows > blocks ? session->part_rows : blocks,
                           &count)) {
        session->sums = dynq_alloc(&session->allocator, count, sizeof *session->sums);
    }
    session->work.sums = session->sums;
    return session->sums != NULL;
}

static bool take_copies(dynq_session *session)
{
    const dynq_plan *plan = session->plan;
    session->work.copies =
        dynq_alloc(&session->allocator, plan->copy_count, sizeof *session->work.copies);
    for (size_t i = 0; session->work.copies != NULL && i < plan->copy_count; i++) {
        dynq_copy_memory *copy = &session->work.copies[i];
        copy->scale = dynq_alloc(&session->allocator, session->part_rows, sizeof *copy->scale);
        copy->inverse = dynq_alloc(&session->allocator, session->part_rows, sizeof *copy->inverse);
        copy->zero = dynq_alloc(&session->allocator, session->part_rows, sizeof *copy->zero);
        if (copy->scale == NULL || copy->inverse == NULL || copy->zero == NULL) {
            return false;
        }
    }
    return session->work.copies != NULL;
}

static bool take_values(dynq_session *session)
{
    const dynq_plan *plan = session->plan;
    session->work.values =
        dynq_alloc(&session->allocator, plan->value_count, sizeof *session->work.values);
    for (size_t i = 0; session->work.values != NULL && i < plan->value_count; i++) {
        const dynq_plan_value *value = &plan->values[i];
        dynq_value_memory *memory = &session->work.values[i];
        const size_t ranges =
            value->range_by_row || value->range_by_segment ? session->part_rows : 1;
        memory->range = dynq_alloc(&session->allocator, ranges, sizeof *memory->range);
        if (memory->range == NULL) {
            return false;
        }
        memory->stride = value->columns;
    }
    return session->work.values != NULL;
}

static bool has_attention(const dynq_plan *plan)
{
    bool found = false;
    for (size_t i = 0; i < plan->step_count; i++) {
        found = found || plan->steps[i].kind == DYNQ_STEP_ATTENTION;
    }
    return found;
}

/* Attention of a thread prepares keys and values, and collects ranges of rows. */
static bool take_scratches(dynq_session *session)
{
    if (!has_attention(session->plan)) {
        return true;
    }
    const dynq_allocator *allocator = &session->allocator;
    session->scratches = dynq_alloc(allocator, session->threads, sizeof *session->scratches);
    for (uint32_t i = 0; session->scratches != NULL && i < session->threads; i++) {
        dynq_scratch *scratch = &session->scratches[i];
        scratch->prepared = dynq_alloc(allocator, session->plan->attention_bytes, 1);
        scratch->ranges = dynq_alloc(allocator, session->part_rows, sizeof *scratch->ranges);
        if (scratch->prepared == NULL || scratch->ranges == NULL) {
            return false;
        }
    }
    session->scratch_taken = dynq_alloc(allocator, session->threads, sizeof(atomic_bool));
    return session->scratches != NULL && session->scratch_taken != NULL;
}

static void release_scratches(dynq_session *session)
{
    for (uint32_t i = 0; session->scratches != NULL && i < session->threads; i++) {
        dynq_release(&session->allocator, session->scratches[i].prepared);
        dynq_release(&session->allocator, session->scratches[i].ranges);
    }
    dynq_release(&session->allocator, session->scratches);
    dynq_release(&session->allocator, session->scratch_taken);
}

dynq_status dynq_session_take_memory(dynq_session *session, dynq_error *error)
{
    const dynq_allocator *allocator = &session->allocator;
    session->arena = dynq_alloc(allocator, session->plan->arena_bytes, 1);
    session->layouts = dynq_alloc(allocator, session->plan->step_count, sizeof *session->layouts);
    session->part_offsets =
        dynq_alloc(allocator, session->part_rows + 1, sizeof *session->part_offsets);
    bool complete = session->arena != NULL && session->layouts != NULL &&
                    session->part_offsets != NULL && take_values(session) && take_copies(session) &&
                    take_sums(session) && take_scratches(session);
    if (complete && session->profiling) {
        session->clocks = dynq_alloc(allocator, session->plan->step_count, sizeof *session->clocks);
        complete = session->clocks != NULL;
    }
    return complete ? DYNQ_OK
                    : dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session of %zu rows",
                                session->max_rows);
}

void dynq_session_release_memory(dynq_session *session)
{
    const dynq_allocator *allocator = &session->allocator;
    for (size_t i = 0; session->work.values != NULL && i < session->plan->value_count; i++) {
        dynq_release(allocator, session->work.values[i].range);
    }
    for (size_t i = 0; session->work.copies != NULL && i < session->plan->copy_count; i++) {
        dynq_release(allocator, session->work.copies[i].scale);
        dynq_release(allocator, session->work.copies[i].inverse);
        dynq_release(allocator, session->work.copies[i].zero);
    }
    release_scratches(session);
    dynq_release(allocator, session->part_offsets);
    dynq_release(allocator, session->work.values);
    dynq_release(allocator, session->work.copies);
    dynq_release(allocator, session->sums);
    dynq_release(allocator, session->layouts);
    dynq_release(allocator, session->clocks);
    dynq_release(allocator, session->arena);
}
