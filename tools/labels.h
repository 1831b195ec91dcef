/* The right classes of requests. */
#ifndef DYNQ_TOOLS_LABELS_H
#define DYNQ_TOOLS_LABELS_H

#include "tools/command.h"
#include "tools/requests.h"

#include <stdint.h>

/* Reads `path`, one class of the model's main output for each of the requests `x`, which were read
 * from `data` for the model's `input`; *labels is released with free(). On failure prints the error
 * and returns its exit code. */
exit_code labels_read(const command_call *call, const char *path, const char *data,
                      const dynq_model *model, const model_slot *input, const requests *x,
                      int32_t **labels);

#endif
