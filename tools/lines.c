#include "tools/lines.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 << 10)
#define FIRST_ROOM  ((size_t)4 << 10)

static dynq_status fail_memory(const line_reader *self, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_MEMORY, self->stream.path, DYNQ_NO_OFFSET, "out of memory");
}

dynq_status lines_open(const char *path, line_reader *self, dynq_error *error)
{
    *self = (line_reader){.room = FIRST_ROOM};
    const dynq_status status = data_stream_open(path, &self->stream, error);
    if (status != DYNQ_OK) {
        return status;
    }
    self->chunk = malloc(CHUNK_BYTES);
    self->line = malloc(self->room);
    return self->chunk == NULL || self->line == NULL ? fail_memory(self, error) : DYNQ_OK;
}

void lines_close(line_reader *self)
{
    data_stream_close(&self->stream);
    free(self->chunk);
    free(self->line);
    *self = (line_reader){0};
}

/* Appends to the line; what goes beyond the longest is left out. */
static bool append(line_reader *self, size_t used, const char *bytes, size_t count)
{
    if (used + count > self->room) {
        size_t room = 2 * self->room;
        while (room < used + count) {
            room *= 2;
        }
        char *grown = realloc(self->line, room);
        if (grown == NULL) {
            return false;
        }
        self->line = grown;
        self->room = room;
    }
    memcpy(self->line + used, bytes, count);
    return true;
}

dynq_status lines_next(line_reader *self, const char **line, size_t *bytes, dynq_error *error)
{
    size_t used = 0;
    bool any = false, complete = false;
    self->cut = false;
    while (!complete) {
        if (self->chunk_used == self->chunk_size && !self->ended) {
            self->chunk_used = 0;
            const dynq_status status =
                data_stream_read(&self->stream, self->chunk, CHUNK_BYTES, &self->chunk_size, error);
            if (status != DYNQ_OK) {
                return status;
            }
            self->ended = self->chunk_size < CHUNK_BYTES;
        }
        if (self->chunk_used == self->chunk_size) {
            break;
        }
        const char *from = self->chunk + self->chunk_used;
        const size_t left = self->chunk_size - self->chunk_used;
        const char *newline = memchr(from, '\n', left);
        const size_t length = newline != NULL ? (size_t)(newline - from) : left;
        const size_t fitting = length < LINES_MOST_BYTES - used ? length : LINES_MOST_BYTES - used;
        if (!append(self, used, from, fitting)) {
            return fail_memory(self, error);
        }
        any = true;
        self->cut = self->cut || fitting < length;
        used += fitting;
        complete = newline != NULL;
        self->chunk_used += length + complete;
    }
    used -= used > 0 && self->line[used - 1] == '\r';
    *line = any ? self->line : NULL;
    *bytes = used;
    return DYNQ_OK;
}
