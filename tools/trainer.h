/* Training of a multilayer perceptron: softmax cross-entropy, AdamW with a cosine schedule, in FP32
 * or with fake quantization.
 *
 * Matrix products are OpenBLAS's, on one thread for each part of the work; everything else is plain
 * C in a fixed order. One seed gives the same bytes on every run on one type of CPU, whatever the
 * number of threads; on another type OpenBLAS sums in another order, and the weights differ in
 * their last digits first. */
#ifndef DYNQ_TOOLS_TRAINER_H
#define DYNQ_TOOLS_TRAINER_H

#include "tools/data.h"
#include "tools/trainer_quantize.h"
#include "tools/trainer_random.h"

#define TRAINER_MAX_LAYERS 8

typedef struct trainer_options {
    size_t layers;                         /* 1 to TRAINER_MAX_LAYERS; ReLU between them */
    size_t widths[TRAINER_MAX_LAYERS + 1]; /* inputs, hidden ..., classes */
    size_t epochs, batch;                  /* 1 or more */
    uint64_t seed;
    double rate;           /* Adam's step size at its highest */
    double weight_decay;   /* decoupled, of weights only, relative to the rate */
    double dropout;        /* share of hidden units left out, [0, 1) */
    double smoothing;      /* share of the target that is spread over all classes, [0, 1) */
    uint32_t threads;      /* 0: 1 */
    dynq_format weights;   /* 0: FP32. INT8, INT4, INT2: fake quantization of weights and inputs */
    dynq_range_kind range; /* of inputs: dynamic (by row), static */
    trainer_steps steps;
} trainer_options;

/* The network and the state of its training. Weights of layer l are [widths[l + 1]][widths[l]]. */
typedef struct trainer {
    trainer_options options;
    float *weights[TRAINER_MAX_LAYERS], *biases[TRAINER_MAX_LAYERS]; /* within parameters */
    float *weight_gradients[TRAINER_MAX_LAYERS], *bias_gradients[TRAINER_MAX_LAYERS];
    size_t count; /* of weights and biases */
    size_t total; /* with what is learned of quantization, which stands behind them */
    float *parameters, *gradients, *mean, *square;
    float *activations[TRAINER_MAX_LAYERS + 1]; /* [batch][widths[l]]; the last are logits */
    float *deltas[TRAINER_MAX_LAYERS + 1];      /* the loss by the activations; [0] is unused */
    trainer_codes codes[TRAINER_MAX_LAYERS];    /* unused in FP32 */
    uint16_t *dropped[TRAINER_MAX_LAYERS];      /* random, for each hidden unit of a batch */
    double *losses;                             /* [batch] */
    size_t *hits;                               /* [batch] */
    trainer_workers *workers;
    trainer_random random;
    int started;
    uint64_t step;
    double mean_power, square_power; /* Adam's decays to the power of the steps done */
} trainer;

typedef struct trainer_score {
    double loss;     /* mean over the rows */
    double accuracy; /* share of rows, 0 to 1 */
} trainer_score;

/* Makes the network with He's initial weights and zero biases. Memory as in allocate.h. */
trainer *trainer_create(const trainer_options *options);
void trainer_free(trainer *self);

/* Fixes what quantization begins with: the weights as they are now, and the range that the values
 * of these images have. The first epoch does it where nobody did. */
void trainer_start(trainer *self, const data_matrix *images);

/* The gradients of the mean loss of `rows` (at most options.batch) rows of activations[0], which
 * the caller has filled, into self->gradients. *loss and *correct are sums over the rows.
 * `training` applies dropout. */
void trainer_gradients(trainer *self, const int32_t *labels, size_t rows, int training,
                       double *loss, size_t *correct);

/* One pass over the images in random order. Labels are below the number of classes, rows below
 * 2^32. DYNQ_ERR_NOT_FINITE when training has diverged. */
dynq_status trainer_epoch(trainer *self, const data_matrix *images, const int32_t *labels,
                          trainer_score *score, dynq_error *error);
/* Loss and accuracy without learning. */
trainer_score trainer_evaluate(trainer *self, const data_matrix *images, const int32_t *labels);

#endif
