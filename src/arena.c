#include "src/arena.h"

#include <stdint.h>

static bool live_together(const dynq_arena_buffer *a, const dynq_arena_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset at which buffers[index] meets none of the buffers before it. Each conflict
 * moves it up, so the search ends after at most `index` rounds. */
static bool place(dynq_arena_buffer *buffers, size_t index)
{
    dynq_arena_buffer *buffer = &buffers[index];
    size_t offset = 0;
    for (size_t i = 0; i < index;) {
        const dynq_arena_buffer *other = &buffers[i];
        size_t end = 0;
        if (!dynq_size_add(offset, buffer->bytes, &end)) {
            return false;
        }
        if (live_together(buffer, other) && offset < other->offset + other->bytes &&
            other->offset < end) {
            offset = dynq_round_up(other->offset + other->bytes, DYNQ_ALIGNMENT);
            i = 0;
        } else {
            i++;
        }
    }
    buffer->offset = offset;
    return true;
}

bool dynq_arena_layout(dynq_arena_buffer *buffers, size_t count, size_t *total)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t end = 0;
        if (buffers[i].bytes > SIZE_MAX / 4 || !place(buffers, i) ||
            !dynq_size_add(buffers[i].offset, buffers[i].bytes, &end) || end > SIZE_MAX / 2) {
            return false;
        }
        size = end > size ? end : size;
    }
    *total = dynq_round_up(size, DYNQ_ALIGNMENT);
    return true;
}
