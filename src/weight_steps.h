/* The step that weights share: by their largest, or the one with the least squared error. */
#ifndef DYNQ_SRC_WEIGHT_STEPS_H
#define DYNQ_SRC_WEIGHT_STEPS_H

#include <stdbool.h>
#include <stddef.h>

/* Levels as in dynq_weight_grid: a table, or integers. */
typedef struct dynq_step_levels {
    int low, high;
    const float *levels; /* NULL: integers */
    size_t count;
} dynq_step_levels;

/* Weights that share a step and a table. */
typedef struct dynq_step_block {
    const float *w;
    const float *importance; /* of the error of each, NULL: all the same */
    size_t count;
    bool negative; /* the step may be: levels need not reach as far to both sides */
    bool search;   /* the least squared error instead of the largest weight */
    float start;   /* a step that only needs to be made better; 0: none */
} dynq_step_block;

/* 0 if all weights are below 2^-100. */
float dynq_choose_step(const dynq_step_levels *levels, const dynq_step_block *block);
/* The same with an offset, for integers from 0. */
float dynq_choose_affine_step(const dynq_step_levels *levels, const dynq_step_block *block,
                              float *offset);

/* max|w| cut to what makes the squared error least, of weights whose integers are
 * [-integer, integer]. */
float dynq_clip_largest(const float *w, size_t count, int integer, float largest);

#endif
