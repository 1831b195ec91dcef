/* What the header of a data file says; the formats of data.c meet here. */
#ifndef DYNQ_TOOLS_DATA_FORMAT_H
#define DYNQ_TOOLS_DATA_FORMAT_H

#include "tools/data_stream.h"

#define DATA_MAX_RANK 8

typedef struct data_element {
    char kind; /* 'f' float, 'u' unsigned, 'i' signed */
    size_t bytes;
    bool big_endian;
} data_element;

typedef struct data_header {
    data_element element;
    size_t rank;
    uint64_t shape[DATA_MAX_RANK];
} data_header;

/* The rows of elements that follow a header. */
typedef struct data_layout {
    data_element element;
    size_t rank, rows, columns;
    bool open_ended; /* raw: as many rows as the file holds; `rows` is 0 */
} data_layout;

/* Whether the first bytes are those of the format. */
bool data_idx_matches(const data_stream *stream);
bool data_npy_matches(const data_stream *stream);

/* Read the header and leave the stream at the first element. */
dynq_status data_idx_header(data_stream *stream, data_header *header, dynq_error *error);
dynq_status data_npy_header(data_stream *stream, data_header *header, dynq_error *error);

/* Leaves the stream at the first element of a matrix of floats (see data_read_matrix()) or of ids
 * (see data_read_integers()). */
dynq_status data_matrix_layout(data_stream *stream, size_t columns, data_layout *layout,
                               dynq_error *error);
dynq_status data_id_layout(data_stream *stream, data_layout *layout, dynq_error *error);

/* Converts `count` elements, the last that were read, to floats, or with `integers` to int32_t. */
dynq_status data_convert(const data_stream *stream, const unsigned char *bytes, size_t count,
                         data_element element, bool integers, void *target, dynq_error *error);
/* What is wrong with a raw file of `count` floats and perhaps a part of one more. */
dynq_status data_fail_raw(const data_stream *stream, size_t count, size_t columns,
                          dynq_error *error);
dynq_status data_fail_truncated(const data_stream *stream, dynq_error *error);

#endif
