/* Probes: what this machine can do at most, measured with the instructions of a kernel. A speed is
 * worth what it is of these: multiply-adds a second from registers alone, and bytes a second read
 * from the level of memory that weights come from. */
#ifndef DYNQ_PROBE_H
#define DYNQ_PROBE_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <dynq/threads.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A kernel, threads and memory to read. One thread at a time. */
typedef struct dynq_probe dynq_probe;

typedef struct dynq_probe_options {
    size_t size;            /* sizeof(dynq_probe_options) */
    const char *kernel;     /* NULL: the best this CPU supports */
    dynq_thread_pool *pool; /* all its threads work (borrowed, outlives the probe), unless a session
                             * has them just then; NULL: only the calling thread */
    size_t bytes;           /* memory to read; 0: none */
    const dynq_allocator *allocator; /* of that memory. The same as the weights of a model get: the
                                      * same kind of pages */
} dynq_probe_options;

/* `options` may be NULL. Errors: DYNQ_ERR_ARGUMENT, DYNQ_ERR_NOT_FOUND and DYNQ_ERR_UNSUPPORTED
 * (kernel), DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_probe_create(const dynq_probe_options *options, dynq_probe **probe,
                                       dynq_error *error);
/* NULL is fine. */
DYNQ_API void dynq_probe_free(dynq_probe *probe);

/* Does at least `operations` (two for each multiply-add; all threads together) in registers, of u8
 * times s8 to int32 for DYNQ_PRECISION_INT8, in floats for DYNQ_PRECISION_FP32. *rate: operations a
 * second. DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_probe_compute(dynq_probe *probe, dynq_precision precision,
                                        double operations, double *rate, dynq_error *error);

/* Reads `bytes` (1 or more) from `offset` of the probe's memory, `passes` times (1 or more), each
 * thread an equal part of them. *rate: bytes a second. DYNQ_ERR_ARGUMENT. */
DYNQ_API dynq_status dynq_probe_read(dynq_probe *probe, size_t offset, size_t bytes, size_t passes,
                                     double *rate, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
