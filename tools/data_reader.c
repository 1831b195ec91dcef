#include "tools/data.h"

#include "tools/data_format.h"

#include <stdlib.h>

#define CHUNK_BYTES ((size_t)64 << 10) /* a multiple of every element size */

typedef struct data_source {
    data_stream stream;
    data_layout layout;
    bool integers;
    bool finished; /* the end of the file was seen, and is right */
    size_t done;   /* elements so far */
    unsigned char *chunk;
    int32_t *passed; /* converted elements of rows that nobody wants */
} data_source;

dynq_status data_reader_open(const char *path, size_t columns, int integers, data_reader *self,
                             dynq_error *error)
{
    *self = (data_reader){.source = calloc(1, sizeof(data_source))};
    data_source *source = self->source;
    if (source != NULL) {
        source->chunk = malloc(CHUNK_BYTES);
        source->passed = malloc(CHUNK_BYTES * sizeof *source->passed);
    }
    if (source == NULL || source->chunk == NULL || source->passed == NULL) {
        return data_fail(error, DYNQ_ERR_MEMORY, path, DYNQ_NO_OFFSET, "out of memory");
    }
    source->integers = integers != 0;
    dynq_status status = data_stream_open(path, &source->stream, error);
    if (status == DYNQ_OK) {
        status = integers ? data_id_layout(&source->stream, &source->layout, error)
                          : data_matrix_layout(&source->stream, columns, &source->layout, error);
    }
    self->rank = source->layout.rank;
    self->columns = source->layout.columns;
    self->rows = source->layout.rows;
    return status;
}

void data_reader_close(data_reader *self)
{
    if (self->source != NULL) {
        data_stream_close(&self->source->stream);
        free(self->source->chunk);
        free(self->source->passed);
        free(self->source);
    }
    *self = (data_reader){0};
}

/* Whether the file may end after what was read. */
static dynq_status finish(data_source *source, size_t odd_bytes, dynq_error *error)
{
    const data_layout *layout = &source->layout;
    source->finished = true;
    if (!layout->open_ended) {
        return data_stream_finish(&source->stream, error);
    }
    if (odd_bytes > 0) {
        return data_fail_truncated(&source->stream, error);
    }
    return source->done == 0 || source->done % layout->columns != 0
               ? data_fail_raw(&source->stream, source->done, layout->columns, error)
               : DYNQ_OK;
}

dynq_status data_reader_next(data_reader *self, void *values, size_t rows, size_t *got,
                             dynq_error *error)
{
    data_source *source = self->source;
    const data_layout *layout = &source->layout;
    const size_t total = layout->open_ended ? SIZE_MAX : layout->rows * layout->columns;
    const size_t left = total - source->done;
    const size_t most = rows > SIZE_MAX / layout->columns ? SIZE_MAX : rows * layout->columns;
    const size_t wanted = most < left ? most : left, fitting = CHUNK_BYTES / layout->element.bytes;
    size_t count = 0;
    dynq_status status = DYNQ_OK;
    while (status == DYNQ_OK && count < wanted && !source->finished) {
        const size_t part = wanted - count < fitting ? wanted - count : fitting;
        size_t bytes = 0;
        status = data_stream_read(&source->stream, source->chunk, part * layout->element.bytes,
                                  &bytes, error);
        const size_t whole = bytes / layout->element.bytes;
        if (status == DYNQ_OK) {
            void *target = values == NULL ? source->passed : (int32_t *)values + count;
            status = data_convert(&source->stream, source->chunk, whole, layout->element,
                                  source->integers, target, error);
        }
        count += whole;
        source->done += whole;
        if (status == DYNQ_OK && whole < part) {
            status = layout->open_ended ? finish(source, bytes % layout->element.bytes, error)
                                        : data_fail_truncated(&source->stream, error);
        }
    }
    if (status == DYNQ_OK && source->done == total && !source->finished) {
        status = finish(source, 0, error);
    }
    *got = count / layout->columns;
    return status;
}
