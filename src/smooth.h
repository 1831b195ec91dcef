/* The inside of smoothing, shared by smooth.c (the call, and which values), smooth_factors.c (by
 * how much) and smooth_model.c (the new model). */
#ifndef DYNQ_SRC_SMOOTH_H
#define DYNQ_SRC_SMOOTH_H

#include "src/model.h"

#include <dynq/smooth.h>

/* What happens to a node of the model. Factors are finite and above 0. */
typedef struct dynq_smoothing {
    const float *divide;   /* [n]: its parameters make its result divided by these; or NULL */
    const float *multiply; /* [k]: a linear layer's weights are multiplied by these; or NULL */
    const float *insert;   /* [n]: a scale node follows that divides by these, for the linear layers
                            * that read it; or NULL */
} dynq_smoothing;

/* A value, the linear layers that read it and what is known of it. */
typedef struct dynq_smooth_site {
    size_t columns;
    const dynq_column_view *view;
    double share;      /* of the range of all rows seen: the range that the layers work with */
    float *magnitudes; /* |w| of all layers, [columns][outputs] */
    size_t outputs;
} dynq_smooth_site;

/* The factors for `alpha` (0: those with the least expected error) in *factors[columns], and how
 * much they gain: the mean squared error without them divided by the one with them, 1 where nothing
 * gains. false when memory is out. */
bool dynq_smooth_choose(const dynq_smooth_site *site, double alpha, const dynq_allocator *allocator,
                        float *factors, double *gain);

/* Makes the new model; `smoothings` has one for each node of `from`. */
dynq_status dynq_smooth_make(const dynq_model *from, const dynq_smoothing *smoothings,
                             const dynq_allocator *allocator, dynq_model **smoothed,
                             dynq_error *error);

#endif
