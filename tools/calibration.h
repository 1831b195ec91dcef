/* Calibration on requests of any kind. */
#ifndef DYNQ_TOOLS_CALIBRATION_H
#define DYNQ_TOOLS_CALIBRATION_H

#include "tools/requests.h"

#include <dynq/calibration.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* Runs the model in FP32 on the first `count` requests of its only input and adds what its linear
 * layers read. `advance` (may be NULL) is called now and then with the share that is done. On
 * failure part of it may have been added. */
dynq_status calibration_run(dynq_calibration *calibration, dynq_model *model, const requests *data,
                            size_t count, uint32_t threads,
                            void (*advance)(void *context, double share), void *context,
                            dynq_error *error);

#endif
