/* A view of dense numbers in the caller's memory. */
#ifndef DYNQ_TENSOR_H
#define DYNQ_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum dynq_dtype {
    DYNQ_F32 = 1,
    DYNQ_I8,
    DYNQ_U8,
    DYNQ_I32,
    DYNQ_F16,
    DYNQ_BF16,
    DYNQ_I16
} dynq_dtype;

#define DYNQ_MAX_RANK 4

/* Row-major, contiguous, native byte order, aligned to its element size. The view owns nothing. */
typedef struct dynq_tensor {
    dynq_dtype dtype;
    uint32_t rank;               /* 0 (one element) to DYNQ_MAX_RANK */
    size_t shape[DYNQ_MAX_RANK]; /* the first `rank` entries count */
    const void *data;
} dynq_tensor;

#endif
