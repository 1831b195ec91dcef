/* Which values the weights of a linear layer may take: level * step (+ offset), and rounding to
 * them. */
#ifndef DYNQ_SRC_WEIGHT_GRID_H
#define DYNQ_SRC_WEIGHT_GRID_H

#include <stddef.h>
#include <stdint.h>

/* Levels: the integers [low, high], or a table. A weight becomes the level that is nearest to
 * (weight - offset) / step, ties to the even integer or the level of even number, and its number is
 * that integer, or the level's place in its table. */
typedef struct dynq_weight_grid {
    size_t k, n;
    int low, high;        /* without a table */
    const float *levels;  /* [tables][level_count], ascending; NULL: integers */
    size_t level_count;   /* 2 to 256 */
    size_t table_columns; /* columns that share a table */
    /* Step of column c and input i: entry c * column_stride + i / group of these arrays. */
    size_t column_stride, group;
    float *step;    /* may be negative; 0: all values are 0 */
    float *inverse; /* NULL: weights are divided by the step, else multiplied by this */
    float *offset;  /* NULL: 0 */
} dynq_weight_grid;

static inline size_t dynq_grid_block(const dynq_weight_grid *grid, size_t column, size_t input)
{
    return column * grid->column_stride + input / grid->group;
}

/* The table of a column. */
static inline const float *dynq_grid_levels(const dynq_weight_grid *grid, size_t column)
{
    return grid->levels + column / grid->table_columns * grid->level_count;
}

/* The number of the level that `weight` of that place is rounded to. */
int dynq_grid_number(const dynq_weight_grid *grid, size_t column, size_t input, float weight);
/* What that number stands for at that place. */
float dynq_grid_value(const dynq_weight_grid *grid, size_t column, size_t input, int number);

/* Rounds each of w [n][k] by itself. */
void dynq_grid_round(const dynq_weight_grid *grid, const float *w, int16_t *numbers);
/* numbers [n][k] to the values they stand for. */
void dynq_grid_restore(const dynq_weight_grid *grid, const int16_t *numbers, float *w);

#endif
