/* Fake quantization: a network in training that computes on the codes of the integer engine.
 *
 * A product is taken of codes: y = s * c[n] * (sum over k of (q - z) * v) + bias, with q, z and s
 * of the activations as the engine finds them and v the level of a weight, which is what the engine
 * computes, exactly so while the sum stays below 2^24. Backwards, rounding counts as the identity
 * within the clipping range and passes nothing on outside of it (the straight-through estimator:
 * Bengio, Leonard and Courville, 2013). Learned steps: Esser et al., "Learned Step Size
 * Quantization" (2020). */
#ifndef DYNQ_TOOLS_TRAINER_QUANTIZE_H
#define DYNQ_TOOLS_TRAINER_QUANTIZE_H

#include "tools/trainer_workers.h"

#include <dynq/model.h>
#include <stddef.h>

/* Where the steps of weights, and static ranges, come from. */
typedef enum trainer_steps {
    TRAINER_STEPS_MAX = 1, /* the largest weight of a column; the mean range of batches */
    TRAINER_STEPS_LEARNED  /* the gradient of the loss */
} trainer_steps;

/* The levels of weights: low, low + spacing, ... high, times a scale for each column. */
typedef struct trainer_grid {
    float low, high, spacing;
} trainer_grid;

/* INT8, INT4 or INT2, as dynq_quantize() has them where they are uniform. */
trainer_grid trainer_grid_of(dynq_format weights);

/* One linear layer, k inputs and n outputs. What is learned lies with the trainer's parameters, in
 * multiples of where it began: Adam moves all parameters by about the same amount. */
typedef struct trainer_codes {
    size_t k, n;
    trainer_grid grid;
    dynq_range_kind kind;
    trainer_steps steps;
    int learns_range, learns_low; /* the network's input keeps its range, a range from 0 its 0 */
    float *step, *step_gradient;  /* [n] */
    float *edge, *edge_gradient;  /* [2]: lo and hi of a static range */
    float *unit, edge_unit;       /* what a step ([n]) and an edge of 1 stand for */
    float *scale;                 /* [n], of the columns */
    float *levels;                /* [n][k]: v */
    float range[2];               /* static: lo <= 0 <= hi */
    float seen[TRAINER_PARTS][2]; /* the range of a batch, by part */
    double averages[2], weight;   /* of the ranges of batches, with steps by maximum */
    double edge_sum[TRAINER_PARTS][2];
    float *inputs;             /* [batch][k]: q - z */
    float *row_scale;          /* [batch] */
    float *row_low, *row_high; /* [batch]: the values between which nothing is clipped */
    float *by_row, *by_column; /* [batch][n]: the deltas of the outputs, times s and c[n] */
} trainer_codes;

/* `codes` is all zero but for k, n, kind, steps and what is learned. */
void trainer_codes_allocate(trainer_codes *codes, dynq_format weights, size_t batch);
void trainer_codes_free(trainer_codes *codes);

/* Starts with these weights [n][k]: the units, and steps of 1. */
void trainer_codes_start(trainer_codes *codes, const float *weights);
/* Starts with this static range of the input. */
void trainer_codes_start_range(trainer_codes *codes, float lo, float hi);

/* Rounds the weights of columns [first, first + count). */
void trainer_codes_round(trainer_codes *codes, const float *weights, size_t first, size_t count);

/* The codes of rows [first, first + rows) of x [batch][k]; `part` tells what is learned apart. */
void trainer_codes_inputs(trainer_codes *codes, const float *x, size_t part, size_t first,
                          size_t rows);
/* The range of the last inputs, of all parts. */
void trainer_codes_seen(const trainer_codes *codes, float *lo, float *hi);
/* From sums to outputs, in place; y [batch][n]. */
void trainer_codes_outputs(const trainer_codes *codes, const float *bias, float *y, size_t first,
                           size_t rows);
/* The deltas of outputs, scaled for the two products of the way back. */
void trainer_codes_deltas(trainer_codes *codes, const float *delta, size_t first, size_t rows);
/* Takes away what clipped inputs would pass on, and collects the gradient of the range. */
void trainer_codes_pass(trainer_codes *codes, const float *x, float *below, size_t part,
                        size_t first, size_t rows);
/* `gradients` are by rounded weights and become those by the weights; also those of the steps. */
void trainer_codes_gradients(trainer_codes *codes, const float *weights, float *gradients,
                             size_t first, size_t count);
/* The gradient of the range, `rows` rows in all parts. */
void trainer_codes_range_gradient(trainer_codes *codes);
/* After a step of learning: the step of a column stays above 0 ... */
void trainer_codes_settle_step(trainer_codes *codes, size_t column);
/* ... and a static range contains 0, or by maximum follows the batch. */
void trainer_codes_settle_range(trainer_codes *codes);

#endif
