/* Assignments that no other beats, node by node (dynamic programming): an assignment to the first
 * nodes that another one beats cannot become part of a best one, as costs add up. */
#include "src/front.h"

#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MOST          4096
#define LEAST_MOST    16
#define MOST_CHOICES  65535
#define MOST_EXPANDED ((size_t)1 << 31)
/* Sums of the same numbers in another order differ by so little. */
#define ROUNDING 1e-12

/* An assignment to the nodes so far. */
typedef struct state {
    dynq_cost cost;
    uint32_t parent;
    uint16_t choice;
} state;

/* What the nodes in turn work in. */
typedef struct workspace {
    state *states;    /* those that extend the level before */
    dynq_cost *stair; /* of those kept so far: bytes ascend, errors descend */
    uint32_t *cells;  /* the state that a cell keeps, plus 1 */
    dynq_cost *costs; /* of the level before */
    size_t most, sides;
} workspace;

static int by_number(double a, double b)
{
    return (a > b) - (a < b);
}

static int by_cost(const void *left, const void *right)
{
    const state *const a = left, *const b = right;
    int order = by_number(a->cost.time, b->cost.time);
    order = order != 0 ? order : by_number(a->cost.bytes, b->cost.bytes);
    order = order != 0 ? order : by_number(a->cost.error, b->cost.error);
    order = order != 0 ? order : (a->parent > b->parent) - (a->parent < b->parent);
    return order != 0 ? order : (int)a->choice - (int)b->choice;
}

/* Adds the state to the stair unless one of no more time has no more bytes and no more error. */
static bool add_to_stair(dynq_cost *stair, size_t *count, dynq_cost cost)
{
    size_t low = 0, high = *count;
    while (low < high) { /* the first step with more bytes */
        const size_t middle = low + (high - low) / 2;
        if (stair[middle].bytes <= cost.bytes) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > 0 && stair[low - 1].error <= cost.error * (1 + ROUNDING)) {
        return false;
    }
    size_t end = low;
    while (end < *count && stair[end].error >= cost.error) {
        end++;
    }
    low -= low > 0 && stair[low - 1].bytes == cost.bytes; /* of the same bytes and more error */
    memmove(stair + low + 1, stair + end, (*count - end) * sizeof *stair);
    *count = *count - end + low + 1;
    stair[low] = cost;
    return true;
}

/* Sorts the states and keeps those that no other beats; how many they are. */
static size_t keep_best(workspace *work, size_t count)
{
    size_t kept = 0, steps = 0;
    qsort(work->states, count, sizeof *work->states, by_cost);
    for (size_t i = 0; i < count; i++) {
        if (add_to_stair(work->stair, &steps, work->states[i].cost)) {
            work->states[kept++] = work->states[i];
        }
    }
    return kept;
}

static size_t cell_of(double value, double low, double high, size_t sides)
{
    const double share = high > low ? (value - low) / (high - low) : 0;
    const size_t cell = (size_t)(share * (double)sides);
    return cell < sides ? cell : sides - 1;
}

/* Leaves the state with the least error in each cell of a grid over time and bytes, and those with
 * the least time and the fewest bytes of all. */
static size_t thin(workspace *work, size_t count)
{
    state *const states = work->states;
    size_t fewest = 0, most = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        fewest = states[i].cost.bytes < states[fewest].cost.bytes ? i : fewest;
        most = states[i].cost.bytes > states[most].cost.bytes ? i : most;
    }
    const double times[] = {states[0].cost.time, states[count - 1].cost.time};
    const double bytes[] = {states[fewest].cost.bytes, states[most].cost.bytes};
    memset(work->cells, 0, work->sides * work->sides * sizeof *work->cells);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < count; i++) {
            const dynq_cost *cost = &states[i].cost;
            uint32_t *cell =
                &work->cells[cell_of(cost->time, times[0], times[1], work->sides) * work->sides +
                             cell_of(cost->bytes, bytes[0], bytes[1], work->sides)];
            if (pass == 0) {
                const bool better = *cell == 0 || cost->error < states[*cell - 1].cost.error;
                *cell = better ? (uint32_t)(i + 1) : *cell;
            } else if (*cell == i + 1 || i == 0 || i == fewest) {
                states[kept++] = states[i];
            }
        }
    }
    return kept;
}

/* Extends the assignments of the level before by every choice of node `node`. */
static dynq_status add_level(dynq_front *front, workspace *work, size_t node, dynq_error *error)
{
    const size_t before = node > 0 ? front->levels[node - 1].count : 1;
    const size_t choices = front->first[node + 1] - front->first[node];
    size_t count = 0;
    for (size_t i = 0; i < before; i++) {
        for (size_t c = 0; c < choices; c++) {
            const dynq_cost own = front->costs[front->first[node] + c];
            work->states[count++] =
                (state){.cost = node > 0 ? dynq_cost_sum(work->costs[i], own) : own,
                        .parent = (uint32_t)i,
                        .choice = (uint16_t)c};
        }
    }
    count = keep_best(work, count);
    count = count > work->most ? thin(work, count) : count;
    dynq_front_level *level = &front->levels[node];
    level->parent = dynq_alloc(&front->allocator, count, sizeof *level->parent);
    level->choice = dynq_alloc(&front->allocator, count, sizeof *level->choice);
    if (level->parent == NULL || level->choice == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for assignments");
    }
    level->count = count;
    for (size_t i = 0; i < count; i++) {
        level->parent[i] = work->states[i].parent;
        level->choice[i] = work->states[i].choice;
        work->costs[i] = work->states[i].cost;
    }
    return DYNQ_OK;
}

static dynq_status check(const dynq_front_options *o, size_t *costs, size_t *widest,
                         dynq_error *error)
{
    *costs = *widest = 0;
    if (o->node_count == 0 || o->choice_counts == NULL || o->costs == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "front: no nodes, or no costs");
    }
    for (size_t i = 0; i < o->node_count; i++) {
        const size_t count = o->choice_counts[i];
        if (count == 0 || count > MOST_CHOICES) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "front: node %zu has %zu choices, not 1 to "
                             "%d",
                             i, count, MOST_CHOICES);
        }
        for (size_t c = 0; c < count; c++) {
            const dynq_cost *cost = &o->costs[*costs + c];
            if (!(cost->time >= 0 && cost->bytes >= 0 && cost->error >= 0) ||
                !isfinite(cost->time + cost->bytes + cost->error)) {
                return dynq_fail(
                    error, DYNQ_ERR_ARGUMENT,
                    "front: a cost of choice %zu of node %zu is negative or not finite", c, i);
            }
        }
        *costs += count;
        *widest = count > *widest ? count : *widest;
    }
    return DYNQ_OK;
}

static dynq_status copy_options(dynq_front *front, const dynq_front_options *o, size_t costs,
                                dynq_error *error)
{
    const dynq_allocator *allocator = &front->allocator;
    front->node_count = o->node_count;
    front->first = dynq_alloc(allocator, o->node_count + 1, sizeof *front->first);
    front->costs = dynq_alloc(allocator, costs, sizeof *front->costs);
    front->levels = dynq_alloc(allocator, o->node_count, sizeof *front->levels);
    if (front->first == NULL || front->costs == NULL || front->levels == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for assignments");
    }
    for (size_t i = 0; i < o->node_count; i++) {
        front->first[i + 1] = front->first[i] + o->choice_counts[i];
    }
    memcpy(front->costs, o->costs, costs * sizeof *front->costs);
    return DYNQ_OK;
}

static dynq_status add_levels(dynq_front *front, workspace *work, size_t widest, dynq_error *error)
{
    const dynq_allocator *allocator = &front->allocator;
    const size_t expanded = work->most * widest;
    work->states = dynq_alloc(allocator, expanded, sizeof *work->states);
    work->stair = dynq_alloc(allocator, expanded, sizeof *work->stair);
    work->cells = dynq_alloc(allocator, work->sides * work->sides, sizeof *work->cells);
    work->costs = dynq_alloc(allocator, work->most, sizeof *work->costs);
    dynq_status status = DYNQ_OK;
    if (work->states == NULL || work->stair == NULL || work->cells == NULL || work->costs == NULL) {
        status = dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for assignments");
    }
    for (size_t i = 0; i < front->node_count && status == DYNQ_OK; i++) {
        status = add_level(front, work, i, error);
    }
    front->totals = work->costs;
    dynq_release(allocator, work->states);
    dynq_release(allocator, work->stair);
    dynq_release(allocator, work->cells);
    return status;
}

dynq_status dynq_front_create(const dynq_front_options *options, dynq_front **result,
                              dynq_error *error)
{
    dynq_front_options o;
    size_t costs = 0, widest = 0;
    if (options == NULL || result == NULL || !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "front: options or result is NULL, or a field is unknown");
    }
    dynq_status status = check(&o, &costs, &widest, error);
    if (status != DYNQ_OK) {
        return status;
    }
    workspace work = {.most = o.most == 0 ? MOST : o.most < LEAST_MOST ? LEAST_MOST : o.most};
    if (work.most > MOST_EXPANDED / widest) {
        return dynq_fail(error, DYNQ_ERR_LIMIT,
                         "front: %zu assignments of %zu choices are too "
                         "many; keep fewer",
                         work.most, widest);
    }
    work.sides = (size_t)sqrt((double)(work.most - 2));
    const dynq_allocator allocator = dynq_allocator_or_default(o.allocator);
    dynq_front *front = dynq_alloc(&allocator, 1, sizeof *front);
    if (front == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for assignments");
    }
    front->allocator = allocator;
    status = copy_options(front, &o, costs, error);
    if (status == DYNQ_OK) {
        status = add_levels(front, &work, widest, error);
    }
    if (status != DYNQ_OK) {
        dynq_front_free(front);
        return status;
    }
    *result = front;
    return DYNQ_OK;
}

void dynq_front_free(dynq_front *front)
{
    if (front == NULL) {
        return;
    }
    const dynq_allocator allocator = front->allocator;
    for (size_t i = 0; front->levels != NULL && i < front->node_count; i++) {
        dynq_release(&allocator, front->levels[i].parent);
        dynq_release(&allocator, front->levels[i].choice);
    }
    dynq_release(&allocator, front->levels);
    dynq_release(&allocator, front->totals);
    dynq_release(&allocator, front->costs);
    dynq_release(&allocator, front->first);
    dynq_release(&allocator, front);
}

size_t dynq_front_count(const dynq_front *front)
{
    return front->levels[front->node_count - 1].count;
}

dynq_status dynq_front_get(const dynq_front *front, size_t index, dynq_cost *cost, size_t *choices)
{
    if (front == NULL || index >= dynq_front_count(front)) {
        return DYNQ_ERR_ARGUMENT;
    }
    if (cost != NULL) {
        *cost = front->totals[index];
    }
    for (size_t node = front->node_count; choices != NULL && node-- > 0;) {
        choices[node] = front->levels[node].choice[index];
        index = front->levels[node].parent[index];
    }
    return DYNQ_OK;
}
