/* Tables of levels chosen for the weights: clusters of weight / step, and steps that suit them. */
#include "src/weight_choice.h"

#include "src/memory.h"
#include "src/pack.h"
#include "src/quantize.h"
#include "src/weight_clusters.h"
#include "src/weight_steps.h"

#include <math.h>
#include <string.h>

#define ROUNDS 3 /* of better steps for the levels, then better levels for the steps */

/* One table: its columns, and what its levels are. */
typedef struct table_work {
    const dynq_weight_task *task;
    dynq_weight_choice *choice;
    size_t first, columns;
    float *levels;
    float largest_step;         /* of the whole layer */
    dynq_cluster_point *points; /* [columns][k] */
} table_work;

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool steps_by_column(const dynq_weight_task *task)
{
    return task->wish->weight_granularity == DYNQ_WEIGHTS_PER_COLUMN ||
           dynq_weight_group(task->wish->weight_granularity) != 0;
}

/* The weight with the largest magnitude. */
static float farthest(const float *w, size_t count)
{
    float far = 0.0f;
    for (size_t i = 0; i < count; i++) {
        far = fabsf(w[i]) > fabsf(far) ? w[i] : far;
    }
    return fabsf(far) < DYNQ_TINY_WEIGHT ? 0.0f : far;
}

/* The first steps divide weights by their largest. Where a step may be negative, that one becomes
 * +1, so that weights pile up at one end only. */
static void first_steps(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    for (size_t c = 0; c < task->n; c++) {
        const float *w = task->w + c * task->k;
        for (size_t i = 0; i < task->k; i++) {
            float *step = &grid->step[dynq_grid_block(grid, c, i)];
            if (!steps_by_column(task)) { /* of all weights, of a row, of one */
                *step = fabsf(w[i]) > *step ? fabsf(w[i]) : *step;
            } else if (i % grid->group == 0) {
                const float far = farthest(w + i, smaller(grid->group, task->k - i));
                *step = choice->groups > 0 ? far : fabsf(far);
            }
        }
    }
}

static float importance_of(const dynq_weight_task *task, size_t input)
{
    return task->importance == NULL ? 1.0f : task->importance[input];
}

/* Weights over their steps; an error of these counts as much as the step makes of it. */
static size_t gather_points(const table_work *t)
{
    const dynq_weight_task *task = t->task;
    const dynq_weight_grid *grid = &t->choice->grid;
    size_t count = 0;
    for (size_t c = t->first; c < t->first + t->columns; c++) {
        for (size_t i = 0; i < task->k; i++) {
            const float step = grid->step[dynq_grid_block(grid, c, i)];
            if (step != 0.0f) {
                const float share = step / t->largest_step;
                t->points[count++] =
                    (dynq_cluster_point){.x = task->w[c * task->k + i] / step,
                                         .importance = importance_of(task, i) * share * share};
            }
        }
    }
    return count;
}

/* Steps for the table as it is: all of them tried, or only those at hand made better. */
static void better_steps(const table_work *t, bool afresh)
{
    const dynq_weight_task *task = t->task;
    dynq_weight_grid *grid = &t->choice->grid;
    const dynq_step_levels levels = {.levels = t->levels, .count = grid->level_count};
    for (size_t c = t->first; c < t->first + t->columns; c++) {
        for (size_t i = 0; i < task->k; i += grid->group) {
            float *step = &grid->step[dynq_grid_block(grid, c, i)];
            const dynq_step_block block = {
                .w = task->w + c * task->k + i,
                .importance = task->importance == NULL ? NULL : task->importance + i,
                .count = smaller(grid->group, task->k - i),
                .negative = t->choice->groups > 0,
                .search = true,
                .start = afresh ? 0.0f : *step};
            *step = dynq_choose_step(&levels, &block);
        }
    }
}

/* Each level becomes what its weights want: sum h s w / sum h s^2. */
static void better_levels(const table_work *t)
{
    const dynq_weight_task *task = t->task;
    const dynq_weight_grid *grid = &t->choice->grid;
    double wanted[256] = {0}, count[256] = {0};
    for (size_t c = t->first; c < t->first + t->columns; c++) {
        for (size_t i = 0; i < task->k; i++) {
            const float w = task->w[c * task->k + i];
            const double step = (double)grid->step[dynq_grid_block(grid, c, i)];
            const double weighted = (double)importance_of(task, i) * step;
            const int number = dynq_grid_number(grid, c, i, w);
            wanted[number] += weighted * (double)w;
            count[number] += weighted * step;
        }
    }
    for (size_t j = 0; j < grid->level_count; j++) {
        if (count[j] > 0.0) {
            t->levels[j] = (float)(wanted[j] / count[j]);
        }
    }
}

/* Levels to s8, of which 127 is the farthest. Steps that columns of other tables share stay with
 * what they were made for, the weight that is 1. */
static void round_levels(const table_work *t)
{
    dynq_weight_grid *grid = &t->choice->grid;
    const bool own_steps = steps_by_column(t->task);
    const float far = own_steps ? fabsf(farthest(t->levels, grid->level_count)) : 1.0f;
    const float unit = far > 0.0f ? far / 127.0f : 1.0f;
    for (size_t j = 0; j < grid->level_count; j++) {
        t->levels[j] = rintf(t->levels[j] / unit);
    }
    for (size_t c = t->first; own_steps && c < t->first + t->columns; c++) {
        for (size_t i = 0; i < grid->k; i += grid->group) {
            grid->step[dynq_grid_block(grid, c, i)] *= unit;
        }
    }
}

static dynq_status choose_table(const table_work *t)
{
    const dynq_weight_task *task = t->task;
    const size_t clusters = t->choice->grid.level_count;
    const bool search = steps_by_column(task) && task->wish->clip_weights == DYNQ_SWITCH_ON;
    const size_t count = gather_points(t);
    const size_t found = dynq_cluster(t->points, count, clusters, task->allocator, t->levels);
    if (found == 0) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t j = found; j < clusters; j++) { /* fewer different weights than levels */
        t->levels[j] = t->levels[found - 1];
    }
    for (int round = 0; search && round < ROUNDS; round++) {
        better_steps(t, round == 0);
        better_levels(t);
    }
    if (task->clusters == 0 && task->wish->weights != DYNQ_FORMAT_INT8) {
        round_levels(t);
    }
    if (search) {
        better_steps(t, true);
    }
    return DYNQ_OK;
}

dynq_status dynq_weight_choose_clusters(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    const size_t numbers = (size_t)1 << dynq_format_bits(task->wish->weights);
    grid->levels = choice->levels;
    grid->level_count = task->clusters != 0 ? task->clusters : numbers;
    first_steps(task, choice);
    table_work t = {.task = task, .choice = choice};
    for (size_t i = 0; i < choice->blocks; i++) {
        t.largest_step = fmaxf(t.largest_step, fabsf(grid->step[i]));
    }
    t.points = dynq_alloc(task->allocator, smaller(grid->table_columns, task->n) * task->k,
                          sizeof *t.points);
    dynq_status status = t.points == NULL ? DYNQ_ERR_MEMORY : DYNQ_OK;
    for (size_t table = 0; table < choice->tables && status == DYNQ_OK; table++) {
        t.first = table * grid->table_columns;
        t.columns = smaller(grid->table_columns, task->n - t.first);
        t.levels = choice->levels + table * grid->level_count;
        status = choose_table(&t);
    }
    dynq_release(task->allocator, t.points);
    const bool rounded = task->clusters == 0 && task->wish->weights != DYNQ_FORMAT_INT8;
    for (size_t i = 0; rounded && !steps_by_column(task) && i < choice->blocks; i++) {
        grid->step[i] /= 127.0f;
    }
    return status;
}
