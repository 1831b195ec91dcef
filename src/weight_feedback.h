/* Error-feedback rounding: weights to numbers of a grid so that the layer's results change least,
 * not the weights. */
#ifndef DYNQ_SRC_WEIGHT_FEEDBACK_H
#define DYNQ_SRC_WEIGHT_FEEDBACK_H

#include "src/weight_grid.h"

#include <dynq/memory.h>
#include <dynq/second_moments.h>
#include <stdbool.h>

typedef struct dynq_feedback_task {
    dynq_weight_grid *grid; /* its steps are made to fit the numbers that are found */
    const float *w;         /* [n][k], finite */
    const double *matrix;   /* [k][k]: X^T X of the inputs */
    const float *scale;     /* [n]: steps are FP16 multiples of it; NULL: any float above 0 */
    bool keep_steps;        /* steps stay as they are */
    const dynq_algebra *algebra;
    const dynq_allocator *allocator;
} dynq_feedback_task;

/* Writes numbers [n][k]. Under the default floating-point state. DYNQ_ERR_MEMORY;
 * DYNQ_ERR_NOT_FINITE: the matrix has NaN or Inf, or is none of second moments. */
dynq_status dynq_feedback_round(const dynq_feedback_task *task, int16_t *numbers,
                                dynq_error *error);

#endif
