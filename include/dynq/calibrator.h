/* Calibrators: running a model over example data of any size and kind. */
#ifndef DYNQ_CALIBRATOR_H
#define DYNQ_CALIBRATOR_H

#include <dynq/calibration.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/session.h>
#include <dynq/status.h>
#include <dynq/threads.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs a model in FP32 and adds what its linear layers read to a calibration. One thread at a time.
 */
typedef struct dynq_calibrator dynq_calibrator;

typedef struct dynq_calibrator_options {
    size_t size;            /* sizeof(dynq_calibrator_options) */
    size_t max_rows;        /* of the longest request; 0, or fewer than 256: 256 */
    uint32_t threads;       /* 0: 1; capped at the usable CPUs; ignored with a pool */
    const char *kernel;     /* force a kernel by name; NULL: the best this CPU supports */
    dynq_thread_pool *pool; /* share these threads (borrowed, outlives the calibrator) */
    const dynq_allocator *allocator;
} dynq_calibrator_options;

/* `calibration` is borrowed until the calibrator is freed; the calibrator keeps a reference to the
 * model. Each thread has a session of its own, with its copy of the weights as kernels want them.
 * `options` may be NULL. Errors: DYNQ_ERR_ARGUMENT, DYNQ_ERR_SHAPE (a calibration of another
 * model); later ones as of dynq_session_create(). */
DYNQ_API dynq_status dynq_calibrator_create(dynq_calibration *calibration, dynq_model *model,
                                            const dynq_calibrator_options *options,
                                            dynq_calibrator **calibrator, dynq_error *error);
DYNQ_API void dynq_calibrator_free(dynq_calibrator *calibrator);

/* The number of the slot of an input, or -1. */
DYNQ_API int dynq_calibrator_slot(const dynq_calibrator *calibrator, const char *name);

/* Runs one batch, of any number of rows. Segments are requests; without them each row is one. Only
 * inputs are bound, each once. The batch is cut into parts of whole requests, of 256 rows or one
 * longer request, which threads run side by side; each part is a batch to the moving average.
 * Statistics have the same bits for any number of threads, though not for other cuts into calls. On
 * an error nothing of the call is added. Errors: as of dynq_session_run(), naming the rows, and of
 * dynq_calibration_observe(). */
DYNQ_API dynq_status dynq_calibrator_run(dynq_calibrator *calibrator, const dynq_batch *batch,
                                         const dynq_binding *bindings, size_t binding_count,
                                         dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
