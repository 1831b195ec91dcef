/* Second moments of what linear layers read: for each value the K x K matrix X^T X over example
 * data, which error-feedback rounding needs (dynq/quantize.h). */
#ifndef DYNQ_SECOND_MOMENTS_H
#define DYNQ_SECOND_MOMENTS_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/session.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most columns of a value that gets a matrix: 2 GiB. */
#define DYNQ_MAX_MOMENTS_COLUMNS 16384

/* Dense algebra in double precision that the core library leaves to a LAPACK. Column-major, leading
 * dimension n, lower triangle; the upper one is left alone. What a LAPACK makes of the same numbers
 * may differ in the last bits from machine to machine, so that a model made with error-feedback
 * rounding has the same bytes on the same machine only. */
typedef struct dynq_algebra {
    size_t size;      /* sizeof(dynq_algebra) */
    const char *name; /* "openblas" */
    /* a = l * transpose(l), in place. DYNQ_ERR_NOT_FINITE if `a` is not positive definite. */
    dynq_status (*cholesky)(size_t n, double *a);
    /* The inverse of l * transpose(l), of what cholesky() left, in place. */
    dynq_status (*cholesky_inverse)(size_t n, double *l);
} dynq_algebra;

/* Sums over rows for every value that a linear layer of one model reads. One thread at a time. */
typedef struct dynq_second_moments dynq_second_moments;

typedef struct dynq_second_moments_options {
    size_t size;        /* sizeof(dynq_second_moments_options) */
    size_t max_rows;    /* of the longest request; 0, or fewer than 256: 256 */
    uint32_t threads;   /* 0: 1 */
    const char *kernel; /* NULL: the best this CPU supports */
    const dynq_allocator *allocator;
} dynq_second_moments_options;

/* 8 * K * K bytes for each value that linear layers read (none over DYNQ_MAX_MOMENTS_COLUMNS), its
 * rows of a part of a batch, and an FP32 session of the model, of which a reference is kept.
 * `options` may be NULL. Errors: as dynq_session_create(). */
DYNQ_API dynq_status dynq_second_moments_create(dynq_model *model,
                                                const dynq_second_moments_options *options,
                                                dynq_second_moments **moments, dynq_error *error);
/* NULL is fine. */
DYNQ_API void dynq_second_moments_free(dynq_second_moments *moments);

/* The number of the slot of an input, or -1. */
DYNQ_API int dynq_second_moments_slot(const dynq_second_moments *moments, const char *name);
/* Runs one batch in FP32 and adds what the layers read: as dynq_calibrator_run(), except that after
 * a failure part of the batch may have been added. Sums have the same bits for any number of
 * threads and any kernel. */
DYNQ_API dynq_status dynq_second_moments_run(dynq_second_moments *moments, const dynq_batch *batch,
                                             const dynq_binding *bindings, size_t binding_count,
                                             dynq_error *error);

/* Of the value of node `name`: *columns, *rows seen and the matrix [columns][columns], both
 * triangles, which belongs to `moments` and is valid until it changes. Any result may be NULL.
 * DYNQ_ERR_NOT_FOUND; DYNQ_ERR_LIMIT: the value has too many columns for a matrix, NULL. */
DYNQ_API dynq_status dynq_second_moments_get(const dynq_second_moments *moments, const char *name,
                                             size_t *columns, uint64_t *rows,
                                             const double **matrix);

#ifdef __cplusplus
}
#endif

#endif
