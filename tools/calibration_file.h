/* Calibration on a file of requests, which is read piecewise. */
#ifndef DYNQ_TOOLS_CALIBRATION_FILE_H
#define DYNQ_TOOLS_CALIBRATION_FILE_H

#include "tools/calibration.h"
#include "tools/command.h"

#include <dynq/model.h>
#include <stdbool.h>
#include <stddef.h>

/* Told now and then which share is done, where that is known. */
typedef void (*calibration_progress)(void *context, double share);

/* Runs the model, which has one input, in FP32 on all requests of `path` and measures what its
 * linear layers read; *count says how many there were. On failure prints the error and returns its
 * exit code; part of it may have been added. */
exit_code calibration_file(const command_call *call, const char *path, dynq_model *model,
                           const calibration_target *target, calibration_progress advance,
                           void *context, size_t *count);
/* Whether `path` can be read a second time, as no pipe can. */
bool calibration_file_again(const char *path);

#endif
