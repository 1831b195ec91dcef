/* One assignment out of a front. */
#include "src/front.h"

#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Less than this share is no gain: sums in another order differ by less. */
#define GAIN 1e-12

/* How good an assignment is; the first number that differs decides. */
typedef struct rank {
    double excess, wanted, time, bytes, error;
} rank;

/* What is above a limit, as a share of it. */
static double excess_of(double value, double limit)
{
    return value <= limit * (1 + GAIN) ? 0 : limit > 0 ? value / limit - 1 : HUGE_VAL;
}

static rank rank_of(const dynq_target *target, dynq_cost cost)
{
    return (rank){.excess = excess_of(cost.time, target->most.time) +
                            excess_of(cost.bytes, target->most.bytes) +
                            excess_of(cost.error, target->most.error),
                  .wanted = target->least == DYNQ_GOAL_TIME    ? cost.time
                            : target->least == DYNQ_GOAL_BYTES ? cost.bytes
                                                               : cost.error,
                  .time = cost.time,
                  .bytes = cost.bytes,
                  .error = cost.error};
}

static int order(double a, double b)
{
    const double least = GAIN * fmax(fabs(a), fabs(b));
    return a < b - least ? -1 : a > b + least ? 1 : 0;
}

static bool better(const rank *a, const rank *b)
{
    int found = a->excess < b->excess ? -1 : a->excess > b->excess;
    found = found != 0 ? found : order(a->wanted, b->wanted);
    found = found != 0 ? found : order(a->time, b->time);
    found = found != 0 ? found : order(a->bytes, b->bytes);
    return (found != 0 ? found : order(a->error, b->error)) < 0;
}

/* The sum over all nodes, always in the same order. */
static dynq_cost cost_of(const dynq_front *front, const size_t *choices)
{
    dynq_cost sum = {0};
    for (size_t i = 0; i < front->node_count; i++) {
        sum = dynq_cost_sum(sum, front->costs[front->first[i] + choices[i]]);
    }
    return sum;
}

/* An exchange of the choices of one node, or of two. */
typedef struct move {
    size_t nodes[2], choices[2];
    rank rank;
    bool found;
} move;

static dynq_cost change(const dynq_front *front, const size_t *choices, size_t node, size_t choice)
{
    const dynq_cost *own = &front->costs[front->first[node]];
    const dynq_cost *before = &own[choices[node]], *after = &own[choice];
    return (dynq_cost){after->time - before->time, after->bytes - before->bytes,
                       after->error - before->error};
}

/* Tries every choice of `second` beside `sum`, in which `first` has another one already; that of
 * `second` itself alone where they are the same. */
static void try_second(const dynq_front *front, const dynq_target *target, const size_t *choices,
                       dynq_cost sum, size_t first, size_t choice, size_t second, move *best)
{
    const size_t count = first == second ? 1 : front->first[second + 1] - front->first[second];
    for (size_t c = 0; c < count; c++) {
        const dynq_cost cost =
            first == second ? sum : dynq_cost_sum(sum, change(front, choices, second, c));
        const rank found = rank_of(target, cost);
        if (better(&found, &best->rank)) {
            *best = (move){.nodes = {first, second},
                           .choices = {choice, first == second ? choice : c},
                           .rank = found,
                           .found = true};
        }
    }
}

/* Makes the best exchange; false if none gains anything. */
static bool improve(const dynq_front *front, const dynq_target *target, size_t *choices)
{
    const dynq_cost now = cost_of(front, choices);
    const rank before = rank_of(target, now);
    move best = {.rank = before};
    for (size_t i = 0; i < front->node_count; i++) {
        for (size_t c = 0; c < front->first[i + 1] - front->first[i]; c++) {
            const dynq_cost sum = dynq_cost_sum(now, change(front, choices, i, c));
            for (size_t j = i; j < front->node_count && c != choices[i]; j++) {
                try_second(front, target, choices, sum, i, c, j, &best);
            }
        }
    }
    if (!best.found) {
        return false;
    }
    size_t undo[2];
    for (int i = 0; i < 2; i++) {
        undo[i] = choices[best.nodes[i]];
    }
    for (int i = 0; i < 2; i++) {
        choices[best.nodes[i]] = best.choices[i];
    }
    const rank after = rank_of(target, cost_of(front, choices));
    if (better(&after, &before)) {
        return true;
    }
    for (int i = 0; i < 2; i++) { /* it was the rounding of differences */
        choices[best.nodes[i]] = undo[i];
    }
    return false;
}

static bool is_limit(double limit)
{
    return limit >= 0; /* not NaN */
}

dynq_status dynq_front_choose(const dynq_front *front, const dynq_target *target, dynq_cost *cost,
                              size_t *choices, dynq_error *error)
{
    dynq_target wanted;
    if (front == NULL || target == NULL || choices == NULL ||
        !dynq_options_copy(&wanted, sizeof wanted, target) || wanted.least < DYNQ_GOAL_TIME ||
        wanted.least > DYNQ_GOAL_ERROR || !is_limit(wanted.most.time) ||
        !is_limit(wanted.most.bytes) || !is_limit(wanted.most.error)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "front: front, target or result is NULL, or a limit or goal is wrong");
    }
    size_t best = 0;
    rank least = rank_of(&wanted, front->totals[0]);
    for (size_t i = 1; i < dynq_front_count(front); i++) {
        const rank one = rank_of(&wanted, front->totals[i]);
        if (better(&one, &least)) {
            best = i;
            least = one;
        }
    }
    dynq_front_get(front, best, NULL, choices);
    while (improve(front, &wanted, choices)) {
    }
    const dynq_cost found = cost_of(front, choices);
    if (cost != NULL) {
        *cost = found;
    }
    return rank_of(&wanted, found).excess == 0
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_NOT_FOUND, "no assignment keeps to the target");
}
