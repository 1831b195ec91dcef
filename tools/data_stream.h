/* A data file as a stream of bytes, unpacked on the way if it is gzip. */
#ifndef DYNQ_TOOLS_DATA_STREAM_H
#define DYNQ_TOOLS_DATA_STREAM_H

#include <dynq/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <zlib.h>

#define DATA_HEAD_BYTES 8 /* enough to tell the formats apart */

typedef struct data_stream {
    const char *path; /* borrowed */
    FILE *file;
    unsigned char head[DATA_HEAD_BYTES]; /* the first unpacked bytes, read ahead */
    size_t head_size, head_used;
    uint64_t offset; /* unpacked bytes handed out so far */
    bool gzip;
    bool ended; /* gzip: the last member is complete */
    z_stream unpacker;
    unsigned char *packed; /* input buffer of the unpacker */
} data_stream;

/* Fills *error with a line "PATH: ..." and returns `status`. */
dynq_status data_fail(dynq_error *error, dynq_status status, const char *path, uint64_t offset,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));

/* "-" is the standard input. `path` stays borrowed until data_stream_close(), which must be called
 * in any case. */
dynq_status data_stream_open(const char *path, data_stream *stream, dynq_error *error);
void data_stream_close(data_stream *stream);

/* Reads up to `size` bytes; *got is smaller only at the end of the file. */
dynq_status data_stream_read(data_stream *stream, void *bytes, size_t size, size_t *got,
                             dynq_error *error);
/* Reads exactly `size` bytes; DYNQ_ERR_FORMAT says that the file is truncated within `what`. */
dynq_status data_stream_need(data_stream *stream, void *bytes, size_t size, const char *what,
                             dynq_error *error);
/* DYNQ_ERR_FORMAT unless the file ends here. */
dynq_status data_stream_finish(data_stream *stream, dynq_error *error);

#endif
