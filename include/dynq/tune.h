/* Mixed precision: which of its choices each node takes, so that time, bytes and error of the whole
 * are as wanted. What a choice costs is measured elsewhere; here costs only add up. */
#ifndef DYNQ_TUNE_H
#define DYNQ_TUNE_H

#include <dynq/api.h>
#include <dynq/memory.h>
#include <dynq/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What one choice of a node costs, or a whole assignment: the sums over its nodes. Any units; each
 * finite and not below 0. */
typedef struct dynq_cost {
    double time, bytes, error;
} dynq_cost;

/* Assignments of one choice to each node that no other beats in time, bytes and error at once (the
 * Pareto front). Immutable; any number of threads. */
typedef struct dynq_front dynq_front;

typedef struct dynq_front_options {
    size_t size;                 /* sizeof(dynq_front_options) */
    size_t node_count;           /* 1 or more */
    const size_t *choice_counts; /* [node_count], 1 to 65535 each */
    const dynq_cost *costs; /* the choices of the first node, then those of the next one, ... */
    size_t most;            /* assignments that are kept after each node; 0: 4096. A front with
                             * no more is exact. A larger one is thinned: of assignments that
                             * are alike in time and bytes the one with the least error stays */
    const dynq_allocator *allocator;
} dynq_front_options;

/* Nothing is borrowed beyond the call. Time grows with node_count * most * choices. Errors:
 * DYNQ_ERR_ARGUMENT (no nodes, no choices, a cost that is negative or not finite), DYNQ_ERR_LIMIT,
 * DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_front_create(const dynq_front_options *options, dynq_front **front,
                                       dynq_error *error);
/* NULL is fine. */
DYNQ_API void dynq_front_free(dynq_front *front);

/* By ascending time. */
DYNQ_API size_t dynq_front_count(const dynq_front *front);
/* `cost` and `choices` ([node_count]) may be NULL. DYNQ_ERR_ARGUMENT past the last. */
DYNQ_API dynq_status dynq_front_get(const dynq_front *front, size_t index, dynq_cost *cost,
                                    size_t *choices);

typedef enum dynq_goal { DYNQ_GOAL_TIME = 1, DYNQ_GOAL_BYTES, DYNQ_GOAL_ERROR } dynq_goal;

typedef struct dynq_target {
    size_t size;     /* sizeof(dynq_target) */
    dynq_cost most;  /* what an assignment may cost; INFINITY: any */
    dynq_goal least; /* what is then as small as can be; ties go to the others, time first */
} dynq_target;

/* The assignment that keeps to the target: the best of the front, improved by giving one or two
 * nodes another choice until nothing is gained. Exact where the front is. DYNQ_ERR_NOT_FOUND if the
 * front has none that keeps to it: `cost` and `choices` are then of one that misses it by least
 * (the sum of the excesses over the limits, each as a share of its limit). DYNQ_ERR_ARGUMENT (also
 * a limit that is negative or NaN), DYNQ_ERR_MEMORY. `cost` may be NULL. */
DYNQ_API dynq_status dynq_front_choose(const dynq_front *front, const dynq_target *target,
                                       dynq_cost *cost, size_t *choices, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
