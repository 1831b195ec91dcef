/* What a model can be recognized by. */
#ifndef DYNQ_SRC_FINGERPRINT_H
#define DYNQ_SRC_FINGERPRINT_H

#include "src/model.h"

/* 64 bits of its nodes, their settings and all parameters. Not against somebody who means harm.
 * Never 0. */
uint64_t dynq_model_fingerprint(const dynq_model *model);

#endif
