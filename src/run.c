/* A run: the batch and its bindings checked, every step run, ranges settled between steps. */
#include "src/session.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/options.h"

#include <string.h>

static dynq_status check_segments(const dynq_session *session, dynq_error *error)
{
    const dynq_batch *b = &session->batch;
    if (b->segments == 0) {
        return DYNQ_OK;
    }
    if (b->segments > session->max_segments) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%zu segments: the session was made for %zu",
                         b->segments, session->max_segments);
    }
    if (b->offsets == NULL || b->offsets[0] != 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "segments need offsets that start with 0");
    }
    for (size_t i = 0; i < b->segments; i++) {
        if (b->offsets[i + 1] <= b->offsets[i] || b->offsets[i + 1] > b->rows) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "segment %zu: rows %zu to %zu of %zu; a segment has one row or more",
                             i, b->offsets[i], b->offsets[i + 1], b->rows);
        }
    }
    if (b->offsets[b->segments] != b->rows) {
        return dynq_fail(error, DYNQ_ERR_SHAPE, "segments end at row %zu, the batch has %zu rows",
                         b->offsets[b->segments], b->rows);
    }
    return DYNQ_OK;
}

static dynq_status take_batch(dynq_session *session, const dynq_batch *batch, dynq_error *error)
{
    if (batch == NULL || !dynq_options_copy(&session->batch, sizeof session->batch, batch)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "batch: NULL, size is not set, or a field is unknown to this version");
    }
    if (session->batch.rows == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "batch: no rows");
    }
    if (session->batch.rows > session->max_rows) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%zu rows: the session was made for %zu",
                         session->batch.rows, session->max_rows);
    }
    return check_segments(session, error);
}

static dynq_status take_binding(dynq_session *session, const dynq_binding *binding,
                                dynq_error *error)
{
    const dynq_plan *plan = session->plan;
    if (binding->slot < 0 || (size_t)binding->slot >= plan->slot_count) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "there is no slot %d", binding->slot);
    }
    const dynq_slot *slot = &plan->slots[binding->slot];
    const size_t columns = plan->values[slot->value].columns;
    const size_t stride = binding->row_stride == 0 ? columns : binding->row_stride;
    dynq_value_memory *memory = &session->values[slot->value];
    if (memory->data != NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "slot '%s' is bound twice", slot->name);
    }
    if (binding->data == NULL || (uintptr_t)binding->data % sizeof(float) != 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "slot '%s': memory is NULL or not aligned to 4",
                         slot->name);
    }
    size_t floats = 0, bytes = 0;
    if (stride < columns || !dynq_size_multiply(session->batch.rows - 1, stride, &floats) ||
        !dynq_size_add(floats, columns, &floats) ||
        !dynq_size_multiply(floats, sizeof(float), &bytes) || bytes > binding->bytes) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "slot '%s': %zu rows of %zu columns with row stride %zu do not fit in "
                         "%zu bytes",
                         slot->name, session->batch.rows, columns, stride, binding->bytes);
    }
    memory->data = binding->data;
    memory->stride = stride;
    return DYNQ_OK;
}

static void release_bindings(dynq_session *session)
{
    for (size_t i = 0; i < session->plan->slot_count; i++) {
        session->values[session->plan->slots[i].value].data = NULL;
    }
}

static bool overlap(const dynq_session *session, const dynq_slot *a, const dynq_slot *b)
{
    const dynq_value_memory *x = &session->values[a->value], *y = &session->values[b->value];
    const size_t rows = session->batch.rows;
    const float *x_end = x->data + (rows - 1) * x->stride + session->plan->values[a->value].columns;
    const float *y_end = y->data + (rows - 1) * y->stride + session->plan->values[b->value].columns;
    return (uintptr_t)x->data < (uintptr_t)y_end && (uintptr_t)y->data < (uintptr_t)x_end;
}

static dynq_status take_bindings(dynq_session *session, const dynq_binding *bindings, size_t count,
                                 dynq_error *error)
{
    const dynq_slot *slots = session->plan->slots;
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        status = take_binding(session, &bindings[i], error);
    }
    for (size_t i = 0; i < session->plan->slot_count && status == DYNQ_OK; i++) {
        if (session->values[slots[i].value].data == NULL) {
            status = dynq_fail(error, DYNQ_ERR_ARGUMENT, "slot '%s' is not bound", slots[i].name);
        }
    }
    for (size_t i = 0; i < session->plan->slot_count && status == DYNQ_OK; i++) {
        for (size_t j = 0; slots[i].output && j < session->plan->slot_count; j++) {
            if (i != j && overlap(session, &slots[i], &slots[j])) {
                status =
                    dynq_fail(error, DYNQ_ERR_ARGUMENT, "the memory of '%s' overlaps that of '%s'",
                              slots[i].name, slots[j].name);
                break;
            }
        }
    }
    return status;
}

static void call_taps(dynq_session *session, uint32_t value)
{
    for (size_t i = 0; i < session->tap_count; i++) {
        const dynq_session_tap *tap = &session->taps[i];
        if (tap->node == value) {
            tap->tap.function(tap->tap.context, tap->node, session->batch.rows,
                              session->plan->values[value].columns, session->values[value].data,
                              session->values[value].stride);
        }
    }
}

/* Gives the time since the last step to the phases of this one. */
static void note_time(dynq_session *session, size_t index)
{
    dynq_step_clock *clock = &session->clocks[index];
    const uint64_t now = dynq_session_clock();
    const uint64_t wall = now - session->mark;
    const uint64_t gemm = atomic_exchange(&clock->gemm, 0);
    const uint64_t epilogue = atomic_exchange(&clock->epilogue, 0);
    session->mark = now;
    switch (session->plan->steps[index].kind) {
    case DYNQ_STEP_RANGE: clock->total.range_ns += wall; break;
    case DYNQ_STEP_QUANTIZE: clock->total.quantize_ns += wall; break;
    case DYNQ_STEP_LINEAR_S8:
    case DYNQ_STEP_LINEAR_F32: {
        const double share = gemm + epilogue == 0 ? 1.0 : (double)gemm / (double)(gemm + epilogue);
        const uint64_t part = (uint64_t)(share * (double)wall);
        clock->total.gemm_ns += part;
        clock->total.epilogue_ns += wall - part;
        break;
    }
    default: clock->total.other_ns += wall; break;
    }
}

static bool cancelled(const dynq_session *session)
{
    return session->batch.cancel != NULL && *session->batch.cancel != 0;
}

/* Between two steps, on the calling thread; no other works for this session then. */
static void finish_step(dynq_session *session, size_t index)
{
    const dynq_step *step = &session->plan->steps[index];
    if (session->status == DYNQ_OK && atomic_load(&session->engine_status) != DYNQ_OK) {
        session->status =
            dynq_fail(session->error, DYNQ_ERR_ENGINE, "node '%s': engine '%s' failed: %s",
                      session->model->nodes[step->node].name, session->engine->name,
                      dynq_status_text((dynq_status)atomic_load(&session->engine_status)));
    }
    if (session->status == DYNQ_OK) {
        session->status = dynq_session_finish_ranges(session, step);
    }
    if (session->status == DYNQ_OK && cancelled(session)) {
        session->status = dynq_fail(session->error, DYNQ_ERR_CANCELLED, "cancelled by the caller");
    }
    if (session->clocks != NULL) {
        note_time(session, index);
    }
    if (session->status == DYNQ_OK && step->output < session->model->node_count) {
        call_taps(session, step->output);
        session->mark = session->clocks == NULL ? 0 : dynq_session_clock();
    }
}

typedef struct step_task {
    dynq_session *session;
    size_t step;
} step_task;

static void run_chunk(void *context, size_t chunk)
{
    const step_task *task = context;
    dynq_step_run_chunk(task->session, task->step, chunk);
}

/* On a thread of the host, whatever its floating-point state. */
static void run_hosted_chunk(void *context, size_t chunk)
{
    const dynq_float_state before = dynq_float_state_set_default();
    run_chunk(context, chunk);
    dynq_float_state_restore(before);
}

/* The workers are taken with the first step that is worth sharing. */
typedef enum team { TEAM_NOT_ASKED, TEAM_TAKEN, TEAM_REFUSED } team;

static bool has_team(dynq_session *session, team *workers)
{
    if (*workers == TEAM_NOT_ASKED) {
        *workers = dynq_thread_pool_take(session->pool) ? TEAM_TAKEN : TEAM_REFUSED;
    }
    return *workers == TEAM_TAKEN;
}

static void run_step(dynq_session *session, size_t index, team *workers)
{
    const dynq_layout *layout = &session->layouts[index];
    const size_t chunks = dynq_layout_chunks(layout);
    step_task task = {session, index};
    if (layout->shared && session->executor.parallel_for != NULL) {
        session->executor.parallel_for(session->executor.context, chunks, run_hosted_chunk, &task);
    } else if (layout->shared && has_team(session, workers)) {
        const dynq_task shared = {run_chunk, &task, chunks, layout->nanoseconds};
        dynq_thread_pool_share(session->pool, &shared);
    } else {
        /* Quantization begins with the rows whose range was found last: they are in the cache. */
        const bool backwards = session->plan->steps[index].kind == DYNQ_STEP_QUANTIZE;
        for (size_t i = 0; i < chunks; i++) {
            dynq_step_run_chunk(session, index, backwards ? chunks - 1 - i : i);
        }
    }
}

static dynq_cut choose_cut(const dynq_session *session)
{
    const dynq_cut alone = {.threads = 1};
    const size_t rows = session->batch.rows, steps = session->plan->step_count;
    uint64_t nanoseconds = 0;
    for (size_t i = 0; i < steps; i++) {
        nanoseconds += dynq_step_layout(session, i, rows, alone).nanoseconds;
    }
    return (dynq_cut){.threads = session->threads,
                      .by_rows = session->weights_cached &&
                                 dynq_cut_by_rows_pays(rows, session->threads, nanoseconds, steps)};
}

/* Cuts the steps, unless the last batch had as many rows. */
static void lay_out(dynq_session *session)
{
    if (session->layout_rows == session->batch.rows) {
        return;
    }
    session->layout_rows = session->batch.rows;
    const dynq_cut cut = choose_cut(session);
    for (size_t i = 0; i < session->plan->step_count; i++) {
        session->layouts[i] = dynq_step_layout(session, i, session->batch.rows, cut);
    }
}

static void run_all(dynq_session *session)
{
    lay_out(session);
    dynq_session_reset_ranges(session);
    for (uint32_t i = 0; i < session->model->node_count; i++) {
        if (session->model->nodes[i].op == DYNQ_OP_INPUT) {
            call_taps(session, i);
        }
    }
    session->mark = session->clocks == NULL ? 0 : dynq_session_clock();
    team workers = TEAM_NOT_ASKED;
    for (size_t i = 0; i < session->plan->step_count && session->status == DYNQ_OK; i++) {
        dynq_session_begin_ranges(session, &session->plan->steps[i]);
        run_step(session, i, &workers);
        finish_step(session, i);
    }
    if (workers == TEAM_TAKEN) {
        dynq_thread_pool_give(session->pool);
    }
}

dynq_status dynq_session_run(dynq_session *session, const dynq_batch *batch,
                             const dynq_binding *bindings, size_t binding_count, dynq_error *error)
{
    if (session == NULL || (bindings == NULL && binding_count > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "run: session or bindings is NULL");
    }
    dynq_status status = take_batch(session, batch, error);
    if (status == DYNQ_OK) {
        status = take_bindings(session, bindings, binding_count, error);
    }
    if (status == DYNQ_OK && cancelled(session)) {
        status = dynq_fail(error, DYNQ_ERR_CANCELLED, "cancelled by the caller");
    }
    if (status == DYNQ_OK) {
        session->status = DYNQ_OK;
        session->error = error;
        atomic_store(&session->engine_status, DYNQ_OK);
        const dynq_float_state before = dynq_float_state_set_default();
        run_all(session);
        dynq_float_state_restore(before);
        status = session->status;
    }
    release_bindings(session);
    return status;
}
