/* Between the trainer and model files. */
#ifndef DYNQ_TOOLS_TRAIN_MODEL_H
#define DYNQ_TOOLS_TRAIN_MODEL_H

#include "tools/trainer.h"

#include <dynq/model.h>

/* A multilayer perceptron in FP32 with ReLU, as mlp_build() makes and train_model_make() saves it:
 * its weights are those to start from. */
typedef struct train_start {
    size_t layers;
    size_t widths[TRAINER_MAX_LAYERS + 1];
    float *weights[TRAINER_MAX_LAYERS], *biases[TRAINER_MAX_LAYERS];
} train_start;

/* One line in *error: what of the model does not fit, or what dynq_model_open() says. */
dynq_status train_start_read(const char *path, train_start *start, dynq_error *error);
void train_start_free(train_start *start);
/* The network has the same widths. */
void train_start_copy(const train_start *start, trainer *network);

/* FP32, or what was trained for: rounded weights with their scales and ranges, computing in
 * integers.
 */
dynq_status train_model_make(const trainer *network, dynq_scope scope, dynq_model **model,
                             dynq_error *error);

#endif
