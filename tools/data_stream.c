#include "tools/data_stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PACKED_BYTES ((size_t)64 << 10)

dynq_status data_fail(dynq_error *error, dynq_status status, const char *path, uint64_t offset,
                      const char *format, ...)
{
    if (error == NULL) {
        return status;
    }
    error->status = status;
    error->offset = offset;
    char text[sizeof error->message / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* A very long path loses its beginning, not the message. */
    const size_t room = sizeof error->message - 3 - strlen(text);
    const size_t length = strlen(path);
    snprintf(error->message, sizeof error->message, "%s: %s",
             length > room ? path + (length - room) : path, text);
    for (char *c = error->message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return status;
}

static dynq_status fail_read(const data_stream *stream, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_IO, stream->path, DYNQ_NO_OFFSET, "cannot read: %s",
                     strerror(errno));
}

/* Reads the file itself. */
static dynq_status read_file(data_stream *stream, void *bytes, size_t size, size_t *got,
                             dynq_error *error)
{
    *got = fread(bytes, 1, size, stream->file);
    return *got < size && ferror(stream->file) ? fail_read(stream, error) : DYNQ_OK;
}

/* Between two members of a gzip file: the file ends, or another member follows. */
static dynq_status next_member(data_stream *stream, dynq_error *error)
{
    if (stream->unpacker.avail_in == 0) {
        size_t got = 0;
        const dynq_status status = read_file(stream, stream->packed, PACKED_BYTES, &got, error);
        if (status != DYNQ_OK) {
            return status;
        }
        stream->unpacker.next_in = stream->packed;
        stream->unpacker.avail_in = (uInt)got;
    }
    if (stream->unpacker.avail_in == 0) {
        stream->ended = true;
        return DYNQ_OK;
    }
    if (*stream->unpacker.next_in != 0x1f) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, DYNQ_NO_OFFSET,
                         "bytes follow the end of the gzip data; make the file again");
    }
    inflateReset(&stream->unpacker);
    return DYNQ_OK;
}

/* One step of the unpacker; *ended_member tells that a member is complete. */
static dynq_status unpack_step(data_stream *stream, bool *ended_member, dynq_error *error)
{
    z_stream *z = &stream->unpacker;
    if (z->avail_in == 0) {
        size_t got = 0;
        const dynq_status status = read_file(stream, stream->packed, PACKED_BYTES, &got, error);
        if (status != DYNQ_OK) {
            return status;
        }
        if (got == 0) {
            return data_fail(error, DYNQ_ERR_FORMAT, stream->path, DYNQ_NO_OFFSET,
                             "the gzip data is truncated; get the file again");
        }
        z->next_in = stream->packed;
        z->avail_in = (uInt)got;
    }
    const int result = inflate(z, Z_NO_FLUSH);
    *ended_member = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR) {
        return data_fail(error, DYNQ_ERR_MEMORY, stream->path, DYNQ_NO_OFFSET, "out of memory");
    }
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, DYNQ_NO_OFFSET,
                         "the gzip data is damaged (%s); get the file again",
                         z->msg == NULL ? "bad stream" : z->msg);
    }
    return DYNQ_OK;
}

static dynq_status unpack(data_stream *stream, void *bytes, size_t size, size_t *got,
                          dynq_error *error)
{
    z_stream *z = &stream->unpacker;
    *got = 0;
    while (*got < size && !stream->ended) {
        const size_t part = size - *got < PACKED_BYTES ? size - *got : PACKED_BYTES;
        z->next_out = (unsigned char *)bytes + *got;
        z->avail_out = (uInt)part;
        bool ended_member = false;
        dynq_status status = unpack_step(stream, &ended_member, error);
        if (status != DYNQ_OK) {
            return status;
        }
        *got += part - z->avail_out;
        status = ended_member ? next_member(stream, error) : DYNQ_OK;
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return DYNQ_OK;
}

static dynq_status start_unpacker(data_stream *stream, dynq_error *error)
{
    stream->packed = malloc(PACKED_BYTES);
    if (stream->packed == NULL || inflateInit2(&stream->unpacker, 16 + MAX_WBITS) != Z_OK) {
        return data_fail(error, DYNQ_ERR_MEMORY, stream->path, DYNQ_NO_OFFSET, "out of memory");
    }
    stream->gzip = true;
    return DYNQ_OK;
}

dynq_status data_stream_open(const char *path, data_stream *stream, dynq_error *error)
{
    memset(stream, 0, sizeof *stream);
    const bool standard = strcmp(path, "-") == 0;
    stream->path = standard ? "standard input" : path;
    stream->file = standard ? stdin : fopen(path, "rb");
    if (stream->file == NULL) {
        return data_fail(error, DYNQ_ERR_IO, path, DYNQ_NO_OFFSET, "cannot open: %s",
                         strerror(errno));
    }
    unsigned char *head = stream->head;
    dynq_status status = read_file(stream, head, DATA_HEAD_BYTES, &stream->head_size, error);
    if (status != DYNQ_OK || stream->head_size < 2 || head[0] != 0x1f || head[1] != 0x8b) {
        return status;
    }
    status = start_unpacker(stream, error);
    if (status != DYNQ_OK) {
        return status;
    }
    memcpy(stream->packed, head, stream->head_size);
    stream->unpacker.next_in = stream->packed;
    stream->unpacker.avail_in = (uInt)stream->head_size;
    return unpack(stream, head, DATA_HEAD_BYTES, &stream->head_size, error);
}

void data_stream_close(data_stream *stream)
{
    if (stream->gzip) {
        inflateEnd(&stream->unpacker);
    }
    free(stream->packed);
    if (stream->file != NULL && stream->file != stdin) {
        fclose(stream->file);
    }
    memset(stream, 0, sizeof *stream);
}

dynq_status data_stream_read(data_stream *stream, void *bytes, size_t size, size_t *got,
                             dynq_error *error)
{
    const size_t left = stream->head_size - stream->head_used;
    const size_t ahead = size < left ? size : left;
    memcpy(bytes, stream->head + stream->head_used, ahead);
    stream->head_used += ahead;
    size_t rest = 0;
    if (size > ahead) {
        unsigned char *to = (unsigned char *)bytes + ahead;
        const dynq_status status = stream->gzip ? unpack(stream, to, size - ahead, &rest, error)
                                                : read_file(stream, to, size - ahead, &rest, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    *got = ahead + rest;
    stream->offset += *got;
    return DYNQ_OK;
}

dynq_status data_stream_need(data_stream *stream, void *bytes, size_t size, const char *what,
                             dynq_error *error)
{
    size_t got = 0;
    const dynq_status status = data_stream_read(stream, bytes, size, &got, error);
    if (status != DYNQ_OK || got == size) {
        return status;
    }
    return data_fail(error, DYNQ_ERR_FORMAT, stream->path, stream->offset,
                     "truncated: the file ends at byte %llu, within the %s; get the file again",
                     (unsigned long long)stream->offset, what);
}

dynq_status data_stream_finish(data_stream *stream, dynq_error *error)
{
    unsigned char extra = 0;
    size_t got = 0;
    const uint64_t end = stream->offset;
    const dynq_status status = data_stream_read(stream, &extra, 1, &got, error);
    if (status != DYNQ_OK || got == 0) {
        return status;
    }
    return data_fail(error, DYNQ_ERR_FORMAT, stream->path, end,
                     "bytes follow the data, which ends at byte %llu as its header says; "
                     "get the file again",
                     (unsigned long long)end);
}
