/* One step of training, in parts: what trainer.c runs and nobody else. */
#ifndef DYNQ_TOOLS_TRAINER_STEP_H
#define DYNQ_TOOLS_TRAINER_STEP_H

#include "tools/trainer.h"

/* Sums over `rows` rows of activations[0], with the labels that are the rows'. */
void trainer_forward(trainer *self, const int32_t *labels, size_t rows, int training, int backward,
                     double *loss, size_t *correct);
/* The gradients of weights, after the way back through `rows` rows, and with a rate above 0 also
 * one step of Adam. */
void trainer_learn(trainer *self, size_t rows, double rate);

static inline int trainer_quantized(const trainer *self)
{
    return self->options.weights != 0;
}

#endif
