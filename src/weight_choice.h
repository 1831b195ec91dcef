/* Choosing levels and steps for the weights of one linear layer. */
#ifndef DYNQ_SRC_WEIGHT_CHOICE_H
#define DYNQ_SRC_WEIGHT_CHOICE_H

#include "src/weight_grid.h"

#include <dynq/memory.h>
#include <dynq/quantize.h>
#include <stdbool.h>

/* What is wanted. */
typedef struct dynq_weight_task {
    const float *w; /* [n][k], finite */
    size_t k, n;
    const dynq_quantize_rule *wish;
    bool simulate;
    size_t clusters;         /* 0: as many as the format has numbers */
    const float *importance; /* [k]: what the error of a weight of that input counts; NULL: 1 */
    const float *scale;      /* [n]: steps of the columns that are given; NULL: to be chosen */
    const dynq_allocator *allocator;
} dynq_weight_task;

/* The grid and its memory. */
typedef struct dynq_weight_choice {
    dynq_weight_grid grid;
    float *levels, *steps; /* of the grid; steps, inverses and offsets, one after the other */
    size_t tables, blocks;
    size_t groups;     /* of a column; 0: none */
    float *scale;      /* groups: [n]; a step is factor * scale */
    uint16_t *factors; /* [n][groups], FP16 */
    const dynq_allocator *allocator;
} dynq_weight_choice;

/* The task is one of integers (INT16 to INT2), and passed dynq_quantize_check_wish(). Under the
 * default floating-point state. Release *choice in any case. DYNQ_ERR_MEMORY. */
dynq_status dynq_weight_choose(const dynq_weight_task *task, dynq_weight_choice *choice);
/* Factors anew after steps have become other FP16 multiples of their scales. */
void dynq_weight_keep_factors(dynq_weight_choice *choice);
void dynq_weight_choice_release(dynq_weight_choice *choice);

/* Inside: levels that are clusters, and the steps that go with them (weight_tables.c). Rows and
 * elements have no tables of their own: they share those of the columns. */
dynq_status dynq_weight_choose_clusters(const dynq_weight_task *task, dynq_weight_choice *choice);

#endif
