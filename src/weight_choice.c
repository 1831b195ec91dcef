#include "src/weight_choice.h"

#include "src/memory.h"
#include "src/pack.h"
#include "src/quantize.h"
#include "src/weight_steps.h"

#include <math.h>
#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Which weights share a step. */
static void lay_out(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    const size_t k = task->k, n = task->n,
                 group = dynq_weight_group(task->wish->weight_granularity);
    grid->k = k;
    grid->n = n;
    grid->group = k;
    switch (task->wish->weight_granularity) {
    case DYNQ_WEIGHTS_PER_TENSOR:
        grid->column_stride = 0;
        choice->blocks = 1;
        break;
    case DYNQ_WEIGHTS_PER_ROW:
        grid->column_stride = 0;
        grid->group = 1;
        choice->blocks = k;
        break;
    case DYNQ_WEIGHTS_PER_ELEMENT:
        grid->column_stride = k;
        grid->group = 1;
        choice->blocks = n * k;
        break;
    case DYNQ_WEIGHTS_PER_COLUMN:
        grid->column_stride = 1;
        choice->blocks = n;
        break;
    case DYNQ_WEIGHTS_PER_GROUP_32:
    case DYNQ_WEIGHTS_PER_GROUP_64:
    case DYNQ_WEIGHTS_PER_GROUP_128:
        grid->group = group;
        choice->groups = dynq_divide_up(k, group);
        grid->column_stride = choice->groups;
        choice->blocks = n * choice->groups;
        break;
    }
}

static dynq_levels levels_of(const dynq_weight_task *task)
{
    return dynq_weights_have_levels(task->wish, task->simulate) ? task->wish->levels
                                                                : DYNQ_LEVELS_UNIFORM;
}

/* 8 and 16 bits have as many steps to both sides, and weights are multiplied by an inverse. */
static bool many_steps(const dynq_weight_task *task)
{
    const dynq_format weights = task->wish->weights;
    return levels_of(task) == DYNQ_LEVELS_UNIFORM &&
           (weights == DYNQ_FORMAT_INT8 || weights == DYNQ_FORMAT_INT16);
}

/* 0 and signed powers of two, in 8 bits: 255 of them. */
static void fill_log_256(float *levels)
{
    for (int i = 0; i < 127; i++) {
        levels[i] = -ldexpf(1.0f, -i);
        levels[254 - i] = ldexpf(1.0f, -i);
    }
    levels[127] = 0.0f;
    levels[255] = 1.0f;
}

static void take_integers(dynq_weight_grid *grid, int low, int high)
{
    grid->low = low;
    grid->high = high;
}

/* Levels that do not depend on the weights. */
static void fix_levels(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    const dynq_quantize_rule *wish = task->wish;
    int8_t table[16];
    if (levels_of(task) == DYNQ_LEVELS_AFFINE) {
        take_integers(grid, 0, (1 << dynq_format_bits(wish->weights)) - 1);
    } else if (wish->weights == DYNQ_FORMAT_INT16) {
        take_integers(grid, -32767, 32767);
    } else if (wish->weights == DYNQ_FORMAT_INT8 && levels_of(task) == DYNQ_LEVELS_LOG) {
        fill_log_256(choice->levels);
        grid->levels = choice->levels;
        grid->level_count = 256;
    } else if (wish->weights == DYNQ_FORMAT_INT8) {
        take_integers(grid, -127, 127);
    } else if (wish->weights == DYNQ_FORMAT_INT4 && wish->levels == DYNQ_LEVELS_UNIFORM) {
        take_integers(grid, -8, 7);
    } else {
        grid->level_count = dynq_fixed_levels(wish->weights, wish->levels, table);
        for (size_t i = 0; i < grid->level_count; i++) {
            choice->levels[i] = (float)table[i];
        }
        grid->levels = choice->levels;
    }
}

/* The step of one block, whose first weight is that of column c and input i. */
static void choose_block(const dynq_weight_task *task, dynq_weight_choice *choice, size_t c,
                         size_t i, const dynq_step_block *block)
{
    dynq_weight_grid *grid = &choice->grid;
    const size_t at = dynq_grid_block(grid, c, i);
    const dynq_step_levels levels = {grid->low, grid->high, grid->levels, grid->level_count};
    if (levels_of(task) == DYNQ_LEVELS_AFFINE) {
        grid->step[at] = dynq_choose_affine_step(&levels, block, &grid->offset[at]);
        return;
    }
    const bool fine =
        task->wish->weights == DYNQ_FORMAT_INT16 || (many_steps(task) && choice->groups == 0);
    if (!fine) {
        grid->step[at] = dynq_choose_step(&levels, block);
        return;
    }
    float largest = dynq_largest_magnitude(block->w, block->count);
    const bool tiny = largest < DYNQ_TINY_WEIGHT;
    if (block->search && !tiny) {
        largest = dynq_clip_largest(block->w, block->count, grid->high, largest);
    }
    grid->step[at] = tiny ? 0.0f : largest / (float)grid->high;
    if (grid->inverse != NULL) {
        grid->inverse[at] = tiny ? 0.0f : (float)grid->high / largest;
    }
}

/* Whether another sign of the step gives other values. */
static bool lopsided(const dynq_weight_grid *grid)
{
    return grid->levels == NULL ? grid->low != -grid->high
                                : grid->levels[0] != -grid->levels[grid->level_count - 1];
}

static void choose_columns(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    const dynq_weight_grid *grid = &choice->grid;
    for (size_t c = 0; c < task->n; c++) {
        for (size_t i = 0; i < task->k; i += grid->group) {
            const dynq_step_block block = {
                .w = task->w + c * task->k + i,
                .importance = task->importance == NULL ? NULL : task->importance + i,
                .count = smaller(grid->group, task->k - i),
                .negative = choice->groups > 0 && lopsided(grid),
                .search = task->wish->clip_weights == DYNQ_SWITCH_ON};
            choose_block(task, choice, c, i, &block);
        }
    }
}

static dynq_status choose_rows(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    float *row = dynq_alloc(task->allocator, task->n, sizeof *row);
    if (row == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < task->k; i++) {
        for (size_t c = 0; c < task->n; c++) {
            row[c] = task->w[c * task->k + i];
        }
        const dynq_step_block block = {
            .w = row, .count = task->n, .search = task->wish->clip_weights == DYNQ_SWITCH_ON};
        choose_block(task, choice, 0, i, &block);
    }
    dynq_release(task->allocator, row);
    return DYNQ_OK;
}

/* A scale for each weight leaves nothing to round: it is the level that is farthest from 0. */
static void choose_elements(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    const float low = grid->levels == NULL ? (float)grid->low : grid->levels[0];
    const float high =
        grid->levels == NULL ? (float)grid->high : grid->levels[grid->level_count - 1];
    for (size_t i = 0; i < task->n * task->k; i++) {
        if (levels_of(task) == DYNQ_LEVELS_AFFINE) {
            grid->offset[i] = task->w[i];
        } else {
            grid->step[i] = task->w[i] / (-low > high ? low : high);
        }
    }
}

/* Steps for levels that are there. */
static dynq_status choose_steps(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    const dynq_step_block all = {.w = task->w,
                                 .count = task->n * task->k,
                                 .search = task->wish->clip_weights == DYNQ_SWITCH_ON};
    if (task->scale != NULL) {
        memcpy(choice->grid.step, task->scale, task->n * sizeof *task->scale);
        return DYNQ_OK;
    }
    switch (task->wish->weight_granularity) {
    case DYNQ_WEIGHTS_PER_TENSOR: choose_block(task, choice, 0, 0, &all); break;
    case DYNQ_WEIGHTS_PER_ROW: return choose_rows(task, choice);
    case DYNQ_WEIGHTS_PER_ELEMENT: choose_elements(task, choice); break;
    case DYNQ_WEIGHTS_PER_COLUMN:
    case DYNQ_WEIGHTS_PER_GROUP_32:
    case DYNQ_WEIGHTS_PER_GROUP_64:
    case DYNQ_WEIGHTS_PER_GROUP_128: choose_columns(task, choice); break;
    }
    return DYNQ_OK;
}

/* Scales of columns are above 0, also where all weights are 0. */
static void mend_zero_steps(dynq_weight_grid *grid, size_t blocks)
{
    bool zero = grid->levels == NULL;
    for (size_t i = 0; i < grid->level_count && !zero; i++) {
        zero = grid->levels[i] == 0.0f;
    }
    for (size_t i = 0; i < blocks; i++) {
        if (grid->step[i] == 0.0f) {
            grid->step[i] = zero ? 1.0f : DYNQ_TINY_WEIGHT;
        }
    }
}

/* The scale of a column is its largest step, and all are multiples of it by an FP16 factor. */
static void split_steps(dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    for (size_t c = 0; c < grid->n; c++) {
        float *step = grid->step + c * choice->groups, largest = 0.0f;
        uint16_t *factors = choice->factors + c * choice->groups;
        for (size_t g = 0; g < choice->groups; g++) {
            largest = fmaxf(largest, fabsf(step[g]));
        }
        choice->scale[c] = largest > 0.0f ? largest : 1.0f;
        for (size_t g = 0; g < choice->groups; g++) {
            step[g] /= choice->scale[c];
        }
        dynq_fp16_from_fp32(step, choice->groups, factors);
        dynq_fp32_from_fp16(factors, choice->groups, step);
        for (size_t g = 0; g < choice->groups; g++) {
            step[g] *= choice->scale[c];
        }
    }
}

void dynq_weight_keep_factors(dynq_weight_choice *choice)
{
    for (size_t i = 0; choice->groups > 0 && i < choice->blocks; i++) {
        const float factor = choice->grid.step[i] / choice->scale[i / choice->groups];
        dynq_fp16_from_fp32(&factor, 1, &choice->factors[i]);
    }
}

static bool make_room(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    dynq_weight_grid *grid = &choice->grid;
    const bool panels =
        levels_of(task) == DYNQ_LEVELS_CLUSTERS && task->wish->table == DYNQ_TABLE_PER_PANEL;
    choice->tables = panels ? dynq_packed_panels(task->n) : 1;
    grid->table_columns = panels ? DYNQ_PANEL : task->n;
    choice->levels = dynq_alloc(task->allocator, choice->tables * 256, sizeof *choice->levels);
    choice->steps = dynq_alloc(task->allocator, choice->blocks, 3 * sizeof *choice->steps);
    if (choice->groups > 0) {
        choice->scale = dynq_alloc(task->allocator, task->n, sizeof *choice->scale);
        choice->factors = dynq_alloc(task->allocator, choice->blocks, sizeof *choice->factors);
    }
    if (choice->levels == NULL || choice->steps == NULL ||
        (choice->groups > 0 && (choice->scale == NULL || choice->factors == NULL))) {
        return false;
    }
    const bool multiply = many_steps(task) && choice->groups == 0 && task->scale == NULL &&
                          task->wish->weight_granularity != DYNQ_WEIGHTS_PER_ELEMENT;
    grid->step = choice->steps;
    grid->inverse = multiply ? choice->steps + choice->blocks : NULL;
    grid->offset =
        levels_of(task) == DYNQ_LEVELS_AFFINE ? choice->steps + 2 * choice->blocks : NULL;
    return true;
}

dynq_status dynq_weight_choose(const dynq_weight_task *task, dynq_weight_choice *choice)
{
    *choice = (dynq_weight_choice){.allocator = task->allocator};
    lay_out(task, choice);
    if (!make_room(task, choice)) {
        return DYNQ_ERR_MEMORY;
    }
    dynq_status status = DYNQ_OK;
    if (levels_of(task) == DYNQ_LEVELS_CLUSTERS) {
        status = dynq_weight_choose_clusters(task, choice);
    } else {
        fix_levels(task, choice);
        status = choose_steps(task, choice);
    }
    if (status != DYNQ_OK || choice->grid.offset != NULL) { /* affine is of the lab only */
        return status;
    }
    if (choice->groups > 0) {
        split_steps(choice);
    } else if (task->wish->weight_granularity != DYNQ_WEIGHTS_PER_ELEMENT) {
        mend_zero_steps(&choice->grid, choice->blocks);
    }
    return DYNQ_OK;
}

void dynq_weight_choice_release(dynq_weight_choice *choice)
{
    dynq_release(choice->allocator, choice->factors);
    dynq_release(choice->allocator, choice->scale);
    dynq_release(choice->allocator, choice->steps);
    dynq_release(choice->allocator, choice->levels);
}
