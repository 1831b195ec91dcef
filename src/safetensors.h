/* Reading and writing safetensors files: 8 bytes of header length, a JSON header, tensor data. */
#ifndef DYNQ_SRC_SAFETENSORS_H
#define DYNQ_SRC_SAFETENSORS_H

#include "src/memory.h"

#include <dynq/status.h>
#include <dynq/tensor.h>

typedef struct dynq_st_tensor {
    char *name;
    const char *type; /* as the format names it */
    dynq_dtype dtype; /* 0: a type of the format that models do not have */
    uint32_t rank;
    size_t shape[DYNQ_MAX_RANK];
    size_t offset, bytes; /* in the file */
} dynq_st_tensor;

typedef struct dynq_st_metadata {
    const char *key, *value;
} dynq_st_metadata;

/* The parsed header: which tensors the file holds, in the order of their offsets. */
typedef struct dynq_st_header {
    dynq_allocator allocator;
    dynq_st_tensor *tensors;
    size_t tensor_count;
    const dynq_st_tensor **by_name; /* the same tensors, sorted */
    dynq_st_metadata *metadata;
    size_t metadata_count;
    size_t data_offset; /* where the first tensor may start */
} dynq_st_header;

/* Parses and checks the header at the start of `bytes`, a file of `size` bytes. Every length is
 * checked: header within the file and below 100 MB, no duplicate names, known types, rank at most
 * DYNQ_MAX_RANK, shape times element size equal to the offsets' difference, no gap, no overlap, no
 * trailing byte. `file` is for messages. On failure *header is empty. Reads nothing but the header.
 */
dynq_status dynq_st_parse(const char *file, const void *bytes, size_t size,
                          const dynq_allocator *allocator, dynq_st_header *header,
                          dynq_error *error);
void dynq_st_header_free(dynq_st_header *header);

const dynq_st_tensor *dynq_st_find(const dynq_st_header *header, const char *name);
/* NULL if the key is missing. */
const char *dynq_st_metadata_value(const dynq_st_header *header, const char *key);

/* What a writer needs of a tensor; everything is borrowed for the call. */
typedef struct dynq_st_source {
    const char *name;
    dynq_tensor tensor;
} dynq_st_source;

/* The size of the file that dynq_st_write would write, 0 when it could not (memory is out). */
uint64_t dynq_st_file_bytes(const dynq_st_source *sources, size_t source_count,
                            const dynq_st_metadata *metadata, size_t metadata_count);

/* Writes tensors in the given order without gaps, header padded with spaces so that data starts at
 * a multiple of 64; the same input gives the same bytes. Temporary file, synced, renamed.
 * DYNQ_ERR_IO, DYNQ_ERR_MEMORY, DYNQ_ERR_LIMIT (a header over 100 MB). */
dynq_status dynq_st_write(const char *path, const dynq_st_source *sources, size_t source_count,
                          const dynq_st_metadata *metadata, size_t metadata_count,
                          dynq_error *error);

#endif
