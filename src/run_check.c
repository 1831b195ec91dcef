/* What a caller hands to a run: the batch, the memory of its slots, ids. */
#include "src/error.h"
#include "src/options.h"
#include "src/session.h"

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

dynq_status dynq_session_take_batch(dynq_session *session, const dynq_batch *batch,
                                    dynq_error *error)
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
    const dynq_status status = check_segments(session, error);
    if (status == DYNQ_OK) {
        dynq_work *work = &session->work;
        work->rows = session->batch.rows;
        work->segments = session->batch.segments;
        work->offsets = session->batch.offsets;
        work->first_row = work->first_segment = 0;
        work->error = error;
    }
    return status;
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
    dynq_value_memory *memory = &session->work.values[slot->value];
    const size_t rows = dynq_work_rows(&session->work, slot->value);
    if (memory->bound != NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "slot '%s' is bound twice", slot->name);
    }
    if (binding->data == NULL || (uintptr_t)binding->data % sizeof(float) != 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "slot '%s': memory is NULL or not aligned to 4",
                         slot->name);
    }
    size_t floats = 0, bytes = 0;
    if (stride < columns || !dynq_size_multiply(rows - 1, stride, &floats) ||
        !dynq_size_add(floats, columns, &floats) ||
        !dynq_size_multiply(floats, sizeof(float), &bytes) || bytes > binding->bytes) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "slot '%s': %zu rows of %zu columns with row stride %zu do not fit in "
                         "%zu bytes",
                         slot->name, rows, columns, stride, binding->bytes);
    }
    memory->bound = binding->data;
    memory->stride = stride;
    return DYNQ_OK;
}

/* Behind the last element that is bound to a value. */
static const float *end_of(const dynq_session *session, uint32_t value)
{
    const dynq_value_memory *memory = &session->work.values[value];
    return memory->bound + (dynq_work_rows(&session->work, value) - 1) * memory->stride +
           session->plan->values[value].columns;
}

static bool overlap(const dynq_session *session, const dynq_slot *a, const dynq_slot *b)
{
    const dynq_value_memory *x = &session->work.values[a->value],
                            *y = &session->work.values[b->value];
    return (uintptr_t)x->bound < (uintptr_t)end_of(session, b->value) &&
           (uintptr_t)y->bound < (uintptr_t)end_of(session, a->value);
}

dynq_status dynq_session_take_bindings(dynq_session *session, const dynq_binding *bindings,
                                       size_t count, dynq_error *error)
{
    const dynq_slot *slots = session->plan->slots;
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        status = take_binding(session, &bindings[i], error);
    }
    for (size_t i = 0; i < session->plan->slot_count && status == DYNQ_OK; i++) {
        if (session->work.values[slots[i].value].bound == NULL) {
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

static dynq_status check_ids(const dynq_session *session, const dynq_step *step, dynq_error *error)
{
    const dynq_node *node = &session->model->nodes[step->node];
    const dynq_value_memory *memory = &session->work.values[step->inputs[0]];
    const int32_t *ids = (const int32_t *)(const void *)memory->bound;
    for (size_t m = 0; m < session->batch.rows; m++) {
        const int32_t id = ids[m * memory->stride];
        if (id < 0 || (size_t)id >= node->table_rows) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "slot '%s': id %d at row %zu; the table of node '%s' has %zu rows",
                             session->model->nodes[step->inputs[0]].name, id, m, node->name,
                             node->table_rows);
        }
    }
    return DYNQ_OK;
}

static dynq_status check_positions(const dynq_session *session, const dynq_node *node,
                                   dynq_error *error)
{
    const size_t most = node->table_rows - node->first;
    for (size_t i = 0; i < dynq_work_segments(&session->work); i++) {
        const size_t rows =
            dynq_work_segment(&session->work, i + 1) - dynq_work_segment(&session->work, i);
        if (rows > most) {
            return dynq_fail(error, DYNQ_ERR_LIMIT,
                             "segment %zu has %zu rows, but node '%s' only %zu positions", i, rows,
                             node->name, most);
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_session_check_tables(const dynq_session *session, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < session->plan->step_count && status == DYNQ_OK; i++) {
        const dynq_step *step = &session->plan->steps[i];
        if (step->kind == DYNQ_STEP_EMBED && step->inputs[0] != DYNQ_NONE) {
            status = check_ids(session, step, error);
        }
        const uint32_t positions = step->kind != DYNQ_STEP_EMBED  ? DYNQ_NONE
                                   : step->inputs[0] == DYNQ_NONE ? step->node
                                                                  : step->positions;
        if (status == DYNQ_OK && positions != DYNQ_NONE) {
            status = check_positions(session, &session->model->nodes[positions], error);
        }
    }
    return status;
}
