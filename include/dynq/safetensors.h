/* Reading safetensors files of any origin: named tensors, for programs that build models of them.
 * Files are hostile until checked: opening one checks that its header lies within it and that
 * shapes, types and offsets of all tensors fit each other and cover the data. */
#ifndef DYNQ_SAFETENSORS_H
#define DYNQ_SAFETENSORS_H

#include <dynq/memory.h>
#include <dynq/status.h>
#include <dynq/tensor.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An open file. Immutable: any number of threads may read it. */
typedef struct dynq_safetensors dynq_safetensors;

/* Maps the file; whoever shortens it while it is open breaks what reads it. `allocator` may be
 * NULL. Errors: DYNQ_ERR_IO, DYNQ_ERR_FORMAT, DYNQ_ERR_TYPE (an element type that the format does
 * not have), DYNQ_ERR_SHAPE (more than DYNQ_MAX_RANK dimensions), DYNQ_ERR_MEMORY; the message
 * names file and tensor. */
DYNQ_API dynq_status dynq_safetensors_open(const char *path, const dynq_allocator *allocator,
                                           dynq_safetensors **file, dynq_error *error);
/* NULL is fine. */
DYNQ_API void dynq_safetensors_free(dynq_safetensors *file);

/* What is said of a tensor; pointers belong to the file. */
typedef struct dynq_safetensors_tensor {
    size_t size; /* sizeof(dynq_safetensors_tensor), set by the caller */
    const char *name;
    const char *type;            /* as the format names it: "F32", "F16", "BF16", "I64", ... */
    uint32_t rank;               /* 0 (one element) to DYNQ_MAX_RANK */
    size_t shape[DYNQ_MAX_RANK]; /* the first `rank` entries count */
    const void *data;            /* row-major, little endian; may be misaligned */
    size_t bytes;                /* of the memory at data; may be 0 */
} dynq_safetensors_tensor;

/* Tensors in the order of their data. */
DYNQ_API size_t dynq_safetensors_count(const dynq_safetensors *file);
/* The index of the tensor of this name, -1 if there is none. */
DYNQ_API long dynq_safetensors_find(const dynq_safetensors *file, const char *name);
/* Fills *tensor. DYNQ_ERR_ARGUMENT: no such index, or `size` is not set. */
DYNQ_API dynq_status dynq_safetensors_get(const dynq_safetensors *file, size_t index,
                                          dynq_safetensors_tensor *tensor);
/* A value of the file's metadata, which belongs to the file; NULL if the key is missing. */
DYNQ_API const char *dynq_safetensors_metadata(const dynq_safetensors *file, const char *key);

/* Writes all elements of tensor `index`, of type F32, F16 or BF16, as floats, each of which holds
 * the element exactly. `capacity` is the floats at `values`. Errors: DYNQ_ERR_ARGUMENT (no such
 * index), DYNQ_ERR_TYPE (any other type), DYNQ_ERR_LIMIT (more elements than `capacity`). */
DYNQ_API dynq_status dynq_safetensors_floats(const dynq_safetensors *file, size_t index,
                                             float *values, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
