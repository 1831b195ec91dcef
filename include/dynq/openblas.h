/* The OpenBLAS engine: FP32, the reference for accuracy and latency. Library dynq-openblas. */
#ifndef DYNQ_OPENBLAS_H
#define DYNQ_OPENBLAS_H

#include <dynq/engine.h>
#include <dynq/second_moments.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cblas_sgemv for one row, cblas_sgemm otherwise, one BLAS thread for each calling thread. Sets
 * OpenBLAS's process-wide thread count to 1: that is the setting of the whole process. Never NULL;
 * static storage; any thread. */
DYNQ_API const dynq_engine *dynq_openblas_engine(void);
/* Its LAPACK, for error-feedback rounding. The same rules. */
DYNQ_API const dynq_algebra *dynq_openblas_algebra(void);

#ifdef __cplusplus
}
#endif

#endif
