/* The oneDNN engine: FP32 with packed weights and INT8 with s32 results. Library dynq-onednn. */
#ifndef DYNQ_ONEDNN_H
#define DYNQ_ONEDNN_H

#include <dynq/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One primitive per block of columns and number of rows, made when first met and kept; so the first
 * run with a new number of rows allocates. Never NULL; static storage; any thread. */
DYNQ_API const dynq_engine *dynq_onednn_engine(void);

#ifdef __cplusplus
}
#endif

#endif
