#include "src/parts.h"

#include "src/error.h"
#include "src/memory.h"

int dynq_parts_slot(const dynq_parts_owner *owner, const char *name)
{
    const long node = dynq_model_find(owner->model, name);
    return node < 0 || !dynq_is_input(&owner->model->nodes[node])
               ? -1
               : dynq_session_slot(owner->session, name);
}

static dynq_status check_batch(const dynq_parts_owner *owner, const dynq_batch *batch,
                               dynq_error *error)
{
    if (batch->segments > 0 && (batch->offsets == NULL || batch->offsets[0] != 0 ||
                                batch->offsets[batch->segments] != batch->rows)) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "%s: the offsets of segments do not go from 0 to the %zu rows",
                         owner->name, batch->rows);
    }
    for (size_t i = 0; i < batch->segments; i++) {
        const size_t first = batch->offsets[i], end = batch->offsets[i + 1];
        if (first >= end || end > batch->rows) {
            return dynq_fail(error, DYNQ_ERR_SHAPE, "%s: segment %zu is empty or out of order",
                             owner->name, i);
        }
        if (end - first > owner->longest) {
            return dynq_fail(error, DYNQ_ERR_LIMIT,
                             "%s: segment %zu has %zu rows, over the maximum of %zu", owner->name,
                             i, end - first, owner->longest);
        }
    }
    return DYNQ_OK;
}

/* Whether a binding is an input's and its memory holds the rows. Sets its stride. */
static dynq_status check_binding(const dynq_parts_owner *owner, size_t rows, dynq_binding *binding,
                                 dynq_error *error)
{
    for (size_t i = 0; i < owner->model->node_count; i++) {
        const dynq_node *node = &owner->model->nodes[i];
        if (!dynq_is_input(node) || dynq_parts_slot(owner, node->name) != binding->slot) {
            continue;
        }
        size_t needed = 0;
        binding->row_stride = binding->row_stride == 0 ? node->n : binding->row_stride;
        if (binding->data == NULL || binding->row_stride < node->n ||
            !dynq_size_multiply(rows - 1, binding->row_stride, &needed) ||
            !dynq_size_add(needed, node->n, &needed) ||
            !dynq_size_multiply(needed, sizeof(float), &needed) || needed > binding->bytes) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "%s: %zu rows of %zu columns with row stride %zu do not fit in the "
                             "%zu bytes bound to '%s'",
                             owner->name, rows, node->n, binding->row_stride, binding->bytes,
                             node->name);
        }
        return DYNQ_OK;
    }
    return dynq_fail(error, DYNQ_ERR_ARGUMENT, "%s: there is no input with slot %d", owner->name,
                     binding->slot);
}

dynq_status dynq_parts_check(const dynq_parts_owner *owner, const dynq_batch *batch,
                             dynq_binding *bindings, size_t count, dynq_error *error)
{
    dynq_status status = check_batch(owner, batch, error);
    for (size_t i = 0; status == DYNQ_OK && i < count; i++) {
        status = check_binding(owner, batch->rows, &bindings[i], error);
        for (size_t j = 0; status == DYNQ_OK && j < i; j++) {
            if (bindings[i].slot == bindings[j].slot) {
                status = dynq_fail(error, DYNQ_ERR_ARGUMENT, "%s: slot %d is bound twice",
                                   owner->name, bindings[i].slot);
            }
        }
    }
    return status;
}

dynq_part dynq_parts_next(const dynq_batch *batch, dynq_part before)
{
    dynq_part next = {.row = before.row + before.rows, .segment = before.segment + before.segments};
    if (batch->segments == 0) {
        const size_t left = batch->rows - next.row;
        next.rows = left < DYNQ_PART_ROWS ? left : DYNQ_PART_ROWS;
        next.segments = next.rows;
        return next;
    }
    do {
        next.segments++;
        next.rows = batch->offsets[next.segment + next.segments] - next.row;
    } while (next.segment + next.segments < batch->segments &&
             batch->offsets[next.segment + next.segments + 1] - next.row <= DYNQ_PART_ROWS);
    return next;
}

dynq_batch dynq_parts_batch(const dynq_batch *batch, dynq_part part, size_t *offsets)
{
    for (size_t i = 0; i <= part.segments; i++) {
        offsets[i] = batch->segments == 0 ? i : batch->offsets[part.segment + i] - part.row;
    }
    return (dynq_batch){.size = sizeof(dynq_batch),
                        .rows = part.rows,
                        .segments = part.segments,
                        .offsets = offsets,
                        .cancel = batch->cancel};
}

void dynq_parts_bind(dynq_part part, const dynq_binding *whole, size_t count,
                     dynq_binding *bindings)
{
    for (size_t i = 0; i < count; i++) {
        /* Floats and ids have the same size. */
        const size_t skipped = part.row * whole[i].row_stride * sizeof(float);
        bindings[i] = whole[i];
        bindings[i].data = (char *)whole[i].data + skipped;
        bindings[i].bytes -= skipped;
    }
}
