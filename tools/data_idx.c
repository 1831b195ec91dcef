#include "tools/data_format.h"

bool data_idx_matches(const data_stream *stream)
{
    const unsigned char *head = stream->head;
    return stream->head_size >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 0x08 &&
           head[2] <= 0x0e && head[3] >= 1;
}

/* The third byte of the magic number; all elements are big-endian. */
static bool element_of_code(unsigned char code, data_element *element)
{
    element->big_endian = true;
    switch (code) {
    case 0x08: element->kind = 'u', element->bytes = 1; return true;
    case 0x09: element->kind = 'i', element->bytes = 1; return true;
    case 0x0b: element->kind = 'i', element->bytes = 2; return true;
    case 0x0c: element->kind = 'i', element->bytes = 4; return true;
    case 0x0d: element->kind = 'f', element->bytes = 4; return true;
    case 0x0e: element->kind = 'f', element->bytes = 8; return true;
    default: return false;
    }
}

dynq_status data_idx_header(data_stream *stream, data_header *header, dynq_error *error)
{
    unsigned char magic[4];
    dynq_status status = data_stream_need(stream, magic, sizeof magic, "IDX header", error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (!element_of_code(magic[2], &header->element)) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, 2,
                         "unknown IDX element type 0x%02x; get the file again", magic[2]);
    }
    if (magic[3] > DATA_MAX_RANK) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, 3,
                         "IDX data of rank %d; at most %d is accepted", magic[3], DATA_MAX_RANK);
    }
    header->rank = magic[3];
    for (size_t i = 0; i < header->rank; i++) {
        unsigned char size[4];
        status = data_stream_need(stream, size, sizeof size, "IDX header", error);
        if (status != DYNQ_OK) {
            return status;
        }
        header->shape[i] =
            (uint64_t)size[0] << 24 | (uint64_t)size[1] << 16 | (uint64_t)size[2] << 8 | size[3];
    }
    return DYNQ_OK;
}
