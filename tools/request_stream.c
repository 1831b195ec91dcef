#include "tools/request_stream.h"

#include "tools/allocate.h"
#include "tools/data.h"
#include "tools/lines.h"
#include "tools/texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum source_kind { SOURCE_FLOATS = 1, SOURCE_IDS, SOURCE_TEXTS } source_kind;

struct request_stream {
    const command_call *call;
    const char *path;
    const model_slot *slot;
    source_kind kind;
    data_reader reader;
    line_reader lines;
    texts texts;
    requests chunk;
    size_t row_room, request_room;
    size_t done; /* requests handed out or passed over */
};

exit_code request_stream_open(const command_call *call, const dynq_model *model, const char *path,
                              const model_slot *slot, request_stream **stream)
{
    request_stream *self = allocate(1, sizeof *self);
    self->call = call;
    self->path = path;
    self->slot = slot;
    self->kind = !slot->ids ? SOURCE_FLOATS : data_is_npy(path) ? SOURCE_IDS : SOURCE_TEXTS;
    self->chunk.columns = slot->ids ? 1 : slot->columns;
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    exit_code code = EXIT_CODE_DONE;
    if (self->kind == SOURCE_TEXTS) {
        code = texts_open(call, model, slot, 0, &self->texts);
        status = code == EXIT_CODE_DONE ? lines_open(path, &self->lines, &error) : DYNQ_OK;
    } else {
        status =
            data_reader_open(path, slot->ids ? 0 : slot->columns, slot->ids, &self->reader, &error);
    }
    if (status != DYNQ_OK) {
        code = command_fail_status(call->command, status, &error, path);
    }
    if (code != EXIT_CODE_DONE) {
        request_stream_close(self);
        return code;
    }
    *stream = self;
    return EXIT_CODE_DONE;
}

void request_stream_close(request_stream *self)
{
    if (self == NULL) {
        return;
    }
    if (self->kind == SOURCE_TEXTS) {
        lines_close(&self->lines);
        texts_close(&self->texts);
    } else {
        data_reader_close(&self->reader);
    }
    requests_free(&self->chunk);
    free(self);
}

/* Ids of rank 1 are one request. */
static bool is_one_request(const request_stream *self)
{
    return self->kind == SOURCE_IDS && self->reader.rank == 1;
}

size_t request_stream_count(const request_stream *self)
{
    if (self->kind == SOURCE_TEXTS) {
        return 0;
    }
    return is_one_request(self) ? 1 : self->reader.rows;
}

size_t request_stream_longest(const request_stream *self)
{
    switch (self->kind) {
    case SOURCE_TEXTS: return self->texts.most;
    case SOURCE_IDS: return is_one_request(self) ? self->reader.rows : self->reader.columns;
    default: return 1;
    }
}

size_t request_stream_truncated(const request_stream *self)
{
    return self->texts.truncated;
}

/* ---- room ---- */

static void need(request_stream *self, size_t count, size_t rows)
{
    requests *chunk = &self->chunk;
    if (rows > self->row_room) {
        self->row_room = rows > 2 * self->row_room ? rows : 2 * self->row_room;
        chunk->values = allocate_again(chunk->values, self->row_room * chunk->columns, 4);
    }
    if (count + 1 > self->request_room) {
        self->request_room =
            count + 1 > 2 * self->request_room ? count + 1 : 2 * self->request_room;
        chunk->offsets = allocate_again(chunk->offsets, self->request_room, sizeof(size_t));
        chunk->offsets[0] = 0;
    }
}

/* ---- floats and ids ---- */

static exit_code check_floats(const request_stream *self, size_t rows)
{
    const size_t columns = self->chunk.columns;
    const float *values = self->chunk.values;
    for (size_t i = 0; i < rows * columns; i++) {
        if (!isfinite(values[i])) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s: row %zu, column %zu (counted from 0) is %s: replace it by a "
                                "finite number",
                                self->path, self->done + i / columns, i % columns,
                                isnan(values[i]) ? "NaN" : "infinite");
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code check_ids(const request_stream *self, size_t count, size_t length)
{
    const int32_t *ids = self->chunk.values;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= self->slot->id_count) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s: id %d at %zu (counted from 0), but %s takes ids from 0 to %zu",
                                self->path, (int)ids[i], self->done * length + i, self->slot->name,
                                self->slot->id_count - 1);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code read_rows(request_stream *self, size_t most)
{
    const bool one = is_one_request(self);
    /* Rows of the model in a request, and rows of the file that are read. */
    const size_t length = one                        ? self->reader.rows
                          : self->kind == SOURCE_IDS ? self->reader.columns
                                                     : 1;
    const size_t known = request_stream_count(self);
    const size_t left = known == 0 ? most : known - self->done;
    const size_t wanted = most < left ? most : left;
    size_t got = 0;
    dynq_error error = {0};
    need(self, wanted, wanted * length);
    const dynq_status status = data_reader_next(&self->reader, self->chunk.values,
                                                one ? wanted * length : wanted, &got, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, self->path);
    }
    const size_t count = one ? wanted : got;
    for (size_t i = 0; i < count; i++) {
        self->chunk.offsets[i + 1] = (i + 1) * length;
    }
    self->chunk.count = count;
    return self->kind == SOURCE_IDS ? check_ids(self, count * length, length)
                                    : check_floats(self, count);
}

/* ---- texts ---- */

static exit_code read_lines(request_stream *self, size_t most, bool wanted)
{
    requests *chunk = &self->chunk;
    const char *line = NULL;
    size_t bytes = 0;
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    chunk->count = 0;
    while (chunk->count < most &&
           (status = lines_next(&self->lines, &line, &bytes, &error)) == DYNQ_OK && line != NULL) {
        need(self, chunk->count + 1, 0);
        const size_t used = chunk->count == 0 ? 0 : chunk->offsets[chunk->count];
        size_t length = 0;
        if (wanted) {
            texts_encode(&self->texts, line, bytes, self->lines.cut);
            length = self->texts.count;
            need(self, chunk->count + 1, used + length);
            memcpy((int32_t *)chunk->values + used, self->texts.ids, length * sizeof(int32_t));
        }
        chunk->offsets[++chunk->count] = used + length;
    }
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, self->path);
}

/* ---- all kinds ---- */

exit_code request_stream_next(request_stream *self, size_t most, const requests **next)
{
    const exit_code code =
        self->kind == SOURCE_TEXTS ? read_lines(self, most, true) : read_rows(self, most);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    if (self->done == 0 && self->chunk.count == 0) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: is empty: give at least one %s", self->path,
                            self->kind == SOURCE_TEXTS ? "line" : "row");
    }
    self->done += self->chunk.count;
    *next = &self->chunk;
    return EXIT_CODE_DONE;
}

exit_code request_stream_skip(request_stream *self, size_t count, size_t *passed)
{
    exit_code code = EXIT_CODE_DONE;
    *passed = 0;
    if (is_one_request(self)) {
        const requests *ignored = NULL;
        if (count > 0) {
            code = request_stream_next(self, 1, &ignored);
            *passed = code == EXIT_CODE_DONE;
        }
        return code;
    }
    if (self->kind != SOURCE_TEXTS) {
        dynq_error error = {0};
        const dynq_status status = data_reader_next(&self->reader, NULL, count, passed, &error);
        code = status == DYNQ_OK
                   ? EXIT_CODE_DONE
                   : command_fail_status(self->call->command, status, &error, self->path);
    }
    while (self->kind == SOURCE_TEXTS && code == EXIT_CODE_DONE && *passed < count) {
        const size_t left = count - *passed, most = left < 1024 ? left : 1024;
        code = read_lines(self, most, false);
        *passed += self->chunk.count;
        if (self->chunk.count < most) {
            break;
        }
    }
    self->done += *passed;
    return code;
}
