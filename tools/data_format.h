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

/* Whether the first bytes are those of the format. */
bool data_idx_matches(const data_stream *stream);
bool data_npy_matches(const data_stream *stream);

/* Read the header and leave the stream at the first element. */
dynq_status data_idx_header(data_stream *stream, data_header *header, dynq_error *error);
dynq_status data_npy_header(data_stream *stream, data_header *header, dynq_error *error);

#endif
