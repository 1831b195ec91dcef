/* A run: the batch and its bindings checked, every step run, ranges settled between steps. */
#include "src/session.h"

#include "src/blocks.h"
#include "src/cpu.h"
#include "src/error.h"

#define CANCELLED "cancelled by the caller"

static void release_bindings(dynq_session *session)
{
    for (size_t i = 0; i < session->plan->slot_count; i++) {
        session->work.values[session->plan->slots[i].value].data = NULL;
        session->work.values[session->plan->slots[i].value].bound = NULL;
    }
}

static bool runs_by_blocks(const dynq_session *session)
{
    return session->work.rows > dynq_stepwise_rows(session->threads);
}

static void place_arena(dynq_session *session)
{
    const dynq_plan *plan = session->plan;
    const dynq_way way = runs_by_blocks(session) ? DYNQ_BY_BLOCKS : DYNQ_STEPWISE;
    for (size_t i = 0; i < plan->value_count; i++) {
        if (plan->values[i].stored && plan->values[i].slot == DYNQ_NONE) {
            session->work.values[i].data =
                (float *)(void *)(session->arena + plan->values[i].offset[way]);
        }
    }
    for (size_t i = 0; i < plan->copy_count; i++) {
        session->work.copies[i].codes = session->arena + plan->copies[i].offset[way];
    }
}

/* Lets slots begin where the current part of the batch does. */
static void place_bindings(dynq_session *session)
{
    for (size_t i = 0; i < session->plan->slot_count; i++) {
        const uint32_t value = session->plan->slots[i].value;
        const bool by_segment = session->plan->values[value].domain == DYNQ_DOMAIN_SEGMENTS;
        dynq_value_memory *memory = &session->work.values[value];
        memory->data =
            memory->bound +
            (by_segment ? session->work.first_segment : session->work.first_row) * memory->stride;
    }
}

static void call_taps(dynq_session *session, uint32_t value)
{
    for (size_t i = 0; i < session->tap_count; i++) {
        const dynq_session_tap *tap = &session->taps[i];
        if (tap->node == value) {
            tap->tap.function(tap->tap.context, tap->node, dynq_work_rows(&session->work, value),
                              session->plan->values[value].columns,
                              session->work.values[value].data, session->work.values[value].stride);
        }
    }
}

/* Gives `wall` to the phases of a step. */
static void add_time(dynq_session *session, size_t index, uint64_t wall)
{
    dynq_step_clock *clock = &session->clocks[index];
    const uint64_t gemm = atomic_exchange(&clock->gemm, 0);
    const uint64_t epilogue = atomic_exchange(&clock->epilogue, 0);
    switch (session->plan->steps[index].kind) {
    case DYNQ_STEP_RANGE: clock->total.range_ns += wall; break;
    case DYNQ_STEP_QUANTIZE: clock->total.quantize_ns += wall; break;
    case DYNQ_STEP_LINEAR_S8:
    case DYNQ_STEP_LINEAR_S16:
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

/* The time that threads were busy with a step of a stage by blocks. */
static uint64_t busy_time(const dynq_step_clock *clock)
{
    return atomic_load(&clock->gemm) + atomic_load(&clock->epilogue) + atomic_load(&clock->other);
}

/* Divides the time since the last steps among these. */
static void note_time(dynq_session *session, size_t first, size_t count)
{
    const uint64_t now = dynq_session_clock();
    const uint64_t wall = now - session->mark;
    uint64_t busy = 0;
    session->mark = now;
    if (count == 1) {
        add_time(session, first, wall);
        return;
    }
    for (size_t i = first; i < first + count; i++) {
        busy += busy_time(&session->clocks[i]);
    }
    for (size_t i = first; i < first + count; i++) {
        const double share = (double)busy_time(&session->clocks[i]) / (double)(busy + (busy == 0));
        atomic_store(&session->clocks[i].other, 0);
        add_time(session, i, (uint64_t)(share * (double)wall));
    }
}

/* Behind `count` steps, the last of which is `last`, on the calling thread; no other works for this
 * session then. */
static void finish_steps(dynq_session *session, size_t last, size_t count)
{
    const dynq_step *step = &session->plan->steps[last];
    if (session->status == DYNQ_OK && atomic_load(&session->engine_status) != DYNQ_OK) {
        session->status =
            dynq_fail(session->work.error, DYNQ_ERR_ENGINE, "node '%s': engine '%s' failed: %s",
                      session->model->nodes[step->node].name, session->engine->name,
                      dynq_status_text((dynq_status)atomic_load(&session->engine_status)));
    }
    const bool settled =
        count > 1 && (step->output == DYNQ_NONE || !session->plan->values[step->output].waits);
    if (session->status == DYNQ_OK && !settled) {
        session->status = dynq_ranges_finish(&session->work, step);
    }
    if (session->status == DYNQ_OK && dynq_session_cancelled(session)) {
        session->status = dynq_fail(session->work.error, DYNQ_ERR_CANCELLED, CANCELLED);
    }
    if (session->clocks != NULL) {
        note_time(session, last + 1 - count, count);
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
    dynq_step_run_chunk(&task->session->work, task->step, chunk);
}

/* A function for a thread of the host, whatever its floating-point state. */
typedef struct hosted_task {
    void (*run)(void *context, size_t chunk);
    void *context;
} hosted_task;

static void run_hosted_chunk(void *context, size_t chunk)
{
    const hosted_task *task = context;
    const dynq_float_state before = dynq_float_state_set_default();
    task->run(task->context, chunk);
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

/* Every chunk of the layout, by the threads there are. `backwards`: the last one first, if there is
 * one thread. */
static void run_chunks(dynq_session *session, const dynq_layout *layout,
                       void (*run)(void *context, size_t chunk), void *context, bool backwards,
                       team *workers)
{
    const size_t chunks = dynq_layout_chunks(layout);
    if (layout->shared && session->executor.parallel_for != NULL) {
        hosted_task task = {run, context};
        session->executor.parallel_for(session->executor.context, chunks, run_hosted_chunk, &task);
    } else if (layout->shared && has_team(session, workers)) {
        const dynq_task shared = {run, context, chunks, layout->nanoseconds};
        dynq_thread_pool_share(session->pool, &shared);
    } else {
        for (size_t i = 0; i < chunks; i++) {
            run(context, backwards ? chunks - 1 - i : i);
        }
    }
}

static void run_step(dynq_session *session, size_t index, team *workers)
{
    step_task task = {session, index};
    /* Quantization begins with the rows whose range was found last: they are in the cache. */
    const bool backwards = session->plan->steps[index].kind == DYNQ_STEP_QUANTIZE;
    dynq_ranges_begin(&session->work, &session->plan->steps[index]);
    run_chunks(session, &session->layouts[index], run_chunk, &task, backwards, workers);
    finish_steps(session, index, 1);
}

static void run_blocks(dynq_session *session, const dynq_stage *stage, team *workers)
{
    uint64_t nanoseconds = 0;
    for (size_t i = stage->first; i < stage->first + stage->count; i++) {
        nanoseconds += session->layouts[i].nanoseconds;
    }
    dynq_blocks_task task = {
        .session = session,
        .stage = stage,
        .layout = dynq_layout_blocks(session->work.rows, nanoseconds, session->threads),
    };
    dynq_blocks_begin(&task);
    run_chunks(session, &task.layout, dynq_blocks_run_chunk, &task, false, workers);
    session->status = dynq_session_cancelled(session)
                          ? dynq_fail(session->work.error, DYNQ_ERR_CANCELLED, CANCELLED)
                          : dynq_blocks_finish(&task);
    finish_steps(session, stage->first + stage->count - 1, stage->count);
}

static void run_stage(dynq_session *session, const dynq_stage *stage, team *workers)
{
    if (stage->by_blocks && runs_by_blocks(session)) {
        run_blocks(session, stage, workers);
        return;
    }
    for (size_t i = 0; i < stage->count && session->status == DYNQ_OK; i++) {
        run_step(session, stage->first + i, workers);
    }
}

static dynq_cut choose_cut(const dynq_session *session)
{
    const dynq_cut alone = {.threads = 1};
    const size_t steps = session->plan->step_count;
    uint64_t nanoseconds = 0;
    for (size_t i = 0; i < steps; i++) {
        nanoseconds += dynq_step_layout(&session->work, i, alone).nanoseconds;
    }
    return (dynq_cut){
        .threads = session->threads,
        .by_rows = session->weights_cached &&
                   dynq_cut_by_rows_pays(session->work.rows, session->threads, nanoseconds, steps)};
}

/* Cuts the steps, unless the last batch had as many rows and neither had segments, whose lengths
 * count as well. */
static void lay_out(dynq_session *session)
{
    const bool alone = session->work.segments < 2;
    if (alone && session->layout_rows == session->work.rows) {
        return;
    }
    session->layout_rows = alone ? session->work.rows : 0;
    const dynq_cut cut = choose_cut(session);
    for (size_t i = 0; i < session->plan->step_count; i++) {
        session->layouts[i] = dynq_step_layout(&session->work, i, cut);
    }
}

/* The current part of the batch. */
static void run_part(dynq_session *session, team *workers)
{
    place_arena(session);
    place_bindings(session);
    lay_out(session);
    dynq_ranges_reset(&session->work);
    for (uint32_t i = 0; i < session->model->node_count; i++) {
        if (session->model->nodes[i].op == DYNQ_OP_INPUT) {
            call_taps(session, i);
        }
    }
    session->mark = session->clocks == NULL ? 0 : dynq_session_clock();
    for (size_t i = 0; i < session->plan->stage_count && session->status == DYNQ_OK; i++) {
        run_stage(session, &session->plan->stages[i], workers);
    }
}

/* The part of the batch with segments [first, end). */
static void choose_part(dynq_session *session, size_t first, size_t end)
{
    const size_t *offsets = session->batch.offsets;
    for (size_t i = first; i <= end; i++) {
        session->part_offsets[i - first] = offsets[i] - offsets[first];
    }
    dynq_work *work = &session->work;
    work->rows = offsets[end] - offsets[first];
    work->segments = end - first;
    work->offsets = session->part_offsets;
    work->first_row = offsets[first];
    work->first_segment = first;
}

/* The batch, in parts of whole segments where that gives the same results, so that what they leave
 * behind is still in the cache when it is read. */
static void run_all(dynq_session *session)
{
    const size_t *offsets = session->batch.offsets;
    const size_t segments = session->batch.segments,
                 most = DYNQ_CACHED_ROWS * (size_t)session->threads;
    team workers = TEAM_NOT_ASKED;
    if (!session->separable || segments < 2 || session->batch.rows <= most) {
        run_part(session, &workers);
    } else {
        size_t end = 0;
        for (size_t first = 0; first < segments && session->status == DYNQ_OK; first = end) {
            for (end = first + 1; end < segments && offsets[end + 1] - offsets[first] <= most;) {
                end++;
            }
            choose_part(session, first, end);
            run_part(session, &workers);
        }
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
    dynq_status status = dynq_session_take_batch(session, batch, error);
    if (status == DYNQ_OK) {
        status = dynq_session_take_bindings(session, bindings, binding_count, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_session_check_tables(session, error);
    }
    if (status == DYNQ_OK && dynq_session_cancelled(session)) {
        status = dynq_fail(error, DYNQ_ERR_CANCELLED, CANCELLED);
    }
    if (status == DYNQ_OK) {
        session->status = DYNQ_OK;
        atomic_store(&session->engine_status, DYNQ_OK);
        const dynq_float_state before = dynq_float_state_set_default();
        run_all(session);
        dynq_float_state_restore(before);
        status = session->status;
    }
    release_bindings(session);
    return status;
}
