/* Assignments of mixed precision: the front and the choice against all there are. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { MOST_NODES = 48, MOST_CHOICES = 6, MOST_COSTS = MOST_NODES * MOST_CHOICES };

typedef struct sample {
    size_t nodes, counts[MOST_NODES];
    dynq_cost costs[MOST_COSTS];
} sample;

/* Whole numbers, so that sums are exact in any order. */
static double draw(uint32_t *state, uint32_t most)
{
    *state = *state * 1664525u + 1013904223u;
    return (double)((*state >> 8) % (most + 1));
}

static sample sample_of(size_t nodes, size_t choices, uint32_t seed)
{
    sample all = {.nodes = nodes};
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++) {
        all.counts[i] = 1 + (size_t)draw(&seed, (uint32_t)choices - 1);
        for (size_t c = 0; c < all.counts[i]; c++) {
            all.costs[count++] = (dynq_cost){draw(&seed, 40), draw(&seed, 40), draw(&seed, 40)};
        }
    }
    return all;
}

static dynq_front *front_of(const sample *all, size_t most)
{
    const dynq_front_options options = {.size = sizeof options,
                                        .node_count = all->nodes,
                                        .choice_counts = all->counts,
                                        .costs = all->costs,
                                        .most = most};
    dynq_front *front = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_front_create(&options, &front, &error), DYNQ_OK, "%s", error.message);
    return front;
}

static dynq_cost cost_of(const sample *all, const size_t *choices)
{
    dynq_cost sum = {0};
    size_t first = 0;
    for (size_t i = 0; i < all->nodes; i++) {
        cr_assert_lt(choices[i], all->counts[i]);
        const dynq_cost *own = &all->costs[first + choices[i]];
        sum = (dynq_cost){sum.time + own->time, sum.bytes + own->bytes, sum.error + own->error};
        first += all->counts[i];
    }
    return sum;
}

/* The next assignment; false after the last. */
static bool next(const sample *all, size_t *choices)
{
    for (size_t i = 0; i < all->nodes; i++) {
        if (++choices[i] < all->counts[i]) {
            return true;
        }
        choices[i] = 0;
    }
    return false;
}

static bool beats(dynq_cost a, dynq_cost b)
{
    return a.time <= b.time && a.bytes <= b.bytes && a.error <= b.error;
}

static bool equal(dynq_cost a, dynq_cost b)
{
    return beats(a, b) && beats(b, a);
}

Test(front, it_is_what_no_assignment_beats)
{
    for (uint32_t seed = 1; seed <= 60; seed++) {
        const sample all = sample_of(1 + seed % 5, 4, seed);
        dynq_front *front = front_of(&all, 0);
        const size_t count = dynq_front_count(front);
        double time = 0;
        for (size_t i = 0; i < count; i++) {
            size_t choices[MOST_NODES];
            dynq_cost cost, other;
            cr_assert_eq(dynq_front_get(front, i, &cost, choices), DYNQ_OK);
            cr_assert(equal(cost, cost_of(&all, choices)) && cost.time >= time);
            time = cost.time;
            for (size_t j = 0; j < count; j++) {
                dynq_front_get(front, j, &other, NULL);
                cr_assert(i == j || !beats(other, cost), "seed %u: %zu beats %zu", seed, j, i);
            }
        }
        size_t choices[MOST_NODES] = {0};
        do {
            const dynq_cost cost = cost_of(&all, choices);
            bool beaten = false;
            for (size_t i = 0; i < count && !beaten; i++) {
                dynq_cost one;
                dynq_front_get(front, i, &one, NULL);
                beaten = beats(one, cost);
            }
            cr_assert(beaten, "seed %u: an assignment is missing", seed);
        } while (next(&all, choices));
        cr_assert_eq(dynq_front_get(front, count, NULL, NULL), DYNQ_ERR_ARGUMENT);
        dynq_front_free(front);
    }
}

static double excess(dynq_cost cost, dynq_cost most)
{
    const double time = cost.time > most.time ? cost.time / most.time - 1 : 0;
    const double bytes = cost.bytes > most.bytes ? cost.bytes / most.bytes - 1 : 0;
    return time + bytes + (cost.error > most.error ? cost.error / most.error - 1 : 0);
}

static double wanted(dynq_goal goal, dynq_cost cost)
{
    return goal == DYNQ_GOAL_TIME ? cost.time : goal == DYNQ_GOAL_BYTES ? cost.bytes : cost.error;
}

/* With limits that leave much, little or nothing. */
static dynq_target target_of(const sample *all, uint32_t seed)
{
    const uint32_t room = (uint32_t)all->nodes * 30;
    return (dynq_target){.size = sizeof(dynq_target),
                         .most = {seed % 2 ? INFINITY : 1 + draw(&seed, room),
                                  seed % 3 ? INFINITY : 1 + draw(&seed, room),
                                  1 + draw(&seed, room)},
                         .least = (dynq_goal)(1 + seed % 3)};
}

Test(front, the_choice_is_the_best_of_all)
{
    size_t missed = 0;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        const sample all = sample_of(1 + seed % 6, 4, seed);
        const dynq_target target = target_of(&all, seed);
        dynq_front *front = front_of(&all, 0);
        size_t choices[MOST_NODES] = {0}, chosen[MOST_NODES];
        double least = INFINITY, least_excess = INFINITY;
        do {
            const dynq_cost cost = cost_of(&all, choices);
            least_excess = fmin(least_excess, excess(cost, target.most));
            least =
                excess(cost, target.most) == 0 ? fmin(least, wanted(target.least, cost)) : least;
        } while (next(&all, choices));
        dynq_cost cost;
        const dynq_status status = dynq_front_choose(front, &target, &cost, chosen, NULL);
        cr_assert(equal(cost, cost_of(&all, chosen)));
        cr_assert_eq(status, isfinite(least) ? DYNQ_OK : DYNQ_ERR_NOT_FOUND, "seed %u", seed);
        if (status == DYNQ_OK) {
            cr_assert_eq(wanted(target.least, cost), least, "seed %u", seed);
        } else {
            cr_assert_leq(excess(cost, target.most), least_excess + 1e-12, "seed %u", seed);
            missed++;
        }
        dynq_front_free(front);
    }
    cr_assert(missed > 20 && missed < 280, "%zu", missed);
}

/* The least time with an error of no more than `most`, exactly: errors are whole numbers. */
static double least_time(const sample *all, size_t most)
{
    double *best = calloc(2 * (most + 1), sizeof *best), *last = best + most + 1;
    size_t first = 0;
    for (size_t i = 0; i < all->nodes; i++) {
        memcpy(last, best, (most + 1) * sizeof *best);
        for (size_t e = 0; e <= most; e++) {
            best[e] = INFINITY;
            for (size_t c = 0; c < all->counts[i]; c++) {
                const dynq_cost *own = &all->costs[first + c];
                if ((size_t)own->error <= e) {
                    best[e] = fmin(best[e], last[e - (size_t)own->error] + own->time);
                }
            }
        }
        first += all->counts[i];
    }
    const double found = best[most];
    free(best);
    return found;
}

Test(front, a_thinned_front_stays_near_the_best)
{
    for (uint32_t seed = 1; seed <= 10; seed++) {
        sample all = sample_of(MOST_NODES, MOST_CHOICES, seed);
        dynq_front *front = front_of(&all, 512);
        cr_assert_leq(dynq_front_count(front), 512);
        size_t choices[MOST_NODES];
        for (size_t most = 300; most <= 700; most += 100) {
            const dynq_target target = {.size = sizeof target,
                                        .most = {INFINITY, INFINITY, (double)most},
                                        .least = DYNQ_GOAL_TIME};
            const double best = least_time(&all, most);
            dynq_cost cost;
            const dynq_status status = dynq_front_choose(front, &target, &cost, choices, NULL);
            cr_assert_eq(status, isfinite(best) ? DYNQ_OK : DYNQ_ERR_NOT_FOUND);
            cr_assert(status != DYNQ_OK || cost.time <= 1.02 * best, "seed %u: %g, best %g", seed,
                      cost.time, best);
        }
        dynq_front_free(front);
    }
}

Test(front, wrong_arguments_are_refused)
{
    sample all = sample_of(3, 3, 7);
    dynq_front_options options = {.size = sizeof options,
                                  .node_count = all.nodes,
                                  .choice_counts = all.counts,
                                  .costs = all.costs};
    dynq_front *front = NULL;
    cr_assert_eq(dynq_front_create(NULL, &front, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_front_create(&options, NULL, NULL), DYNQ_ERR_ARGUMENT);
    const double wrong[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        const dynq_cost before = all.costs[1];
        all.costs[1].error = wrong[i];
        cr_assert_eq(dynq_front_create(&options, &front, NULL), DYNQ_ERR_ARGUMENT);
        all.costs[1] = before;
    }
    options.most = SIZE_MAX;
    cr_assert_eq(dynq_front_create(&options, &front, NULL), DYNQ_ERR_LIMIT);
    options.most = 0;
    all.counts[2] = 0;
    cr_assert_eq(dynq_front_create(&options, &front, NULL), DYNQ_ERR_ARGUMENT);
    options.node_count = 2;
    cr_assert_eq(dynq_front_create(&options, &front, NULL), DYNQ_OK);
    size_t choices[MOST_NODES];
    dynq_target target = {
        .size = sizeof target, .most = {INFINITY, INFINITY, INFINITY}, .least = DYNQ_GOAL_TIME};
    cr_assert_eq(dynq_front_choose(front, &target, NULL, choices, NULL), DYNQ_OK);
    target.most.bytes = NAN;
    cr_assert_eq(dynq_front_choose(front, &target, NULL, choices, NULL), DYNQ_ERR_ARGUMENT);
    target.most.bytes = 0;
    target.least = 0;
    cr_assert_eq(dynq_front_choose(front, &target, NULL, choices, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_front_choose(NULL, &target, NULL, choices, NULL), DYNQ_ERR_ARGUMENT);
    dynq_front_free(front);
    dynq_front_free(NULL);
}

Test(front, every_failing_allocation_is_reported)
{
    const sample all = sample_of(4, 4, 3);
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_front_options options = {.size = sizeof options,
                                        .node_count = all.nodes,
                                        .choice_counts = all.counts,
                                        .costs = all.costs,
                                        .allocator = &allocator};
    size_t fail_at = 0;
    for (dynq_status status = DYNQ_ERR_MEMORY; status != DYNQ_OK; fail_at++) {
        dynq_front *front = NULL;
        memory.calls = 0;
        memory.fail_at = fail_at + 1;
        status = dynq_front_create(&options, &front, NULL);
        cr_assert(status == DYNQ_OK || (status == DYNQ_ERR_MEMORY && front == NULL));
        dynq_front_free(front);
        cr_assert_eq(memory.live, 0);
    }
    cr_assert_gt(fail_at, 8);
}
