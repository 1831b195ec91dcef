#include "src/weight_grid.h"

#include <math.h>

#define ROUNDING 0x1.8p23f /* added and taken away, it rounds to nearest, ties to even */

#define FEW 16 /* levels up to which all are looked at, which needs no branch */

/* Whether x is beyond the middle between a level and the next one; on the middle the even number
 * wins. */
static int is_beyond(const float *levels, size_t level, float x)
{
    const float middle = (levels[level] + levels[level + 1]) * 0.5f;
    return (x > middle) | ((x == middle) & (int)(level & 1));
}

/* The number of the level of a table that is nearest to x. */
static int nearest_level(const float *levels, size_t count, float x)
{
    if (count <= FEW) {
        int number = 0;
        for (size_t level = 0; level + 1 < count; level++) {
            number += is_beyond(levels, level, x);
        }
        return number;
    }
    size_t low = 0, high = count - 1; /* the number sought is in [low, high] */
    while (low < high) {
        const size_t next = (low + high) / 2;
        const int above = is_beyond(levels, next, x);
        low = above ? next + 1 : low;
        high = above ? high : next;
    }
    return (int)low;
}

/* The integer of [low, high] that is nearest to x. */
static int nearest_integer(int low, int high, float x)
{
    const float clamped = x > (float)high ? (float)high : x < (float)low ? (float)low : x;
    return (int)((clamped + ROUNDING) - ROUNDING);
}

int dynq_grid_number(const dynq_weight_grid *grid, size_t column, size_t input, float weight)
{
    const size_t block = dynq_grid_block(grid, column, input);
    const float distance = grid->offset == NULL ? weight : weight - grid->offset[block];
    float x = 0.0f;
    if (grid->inverse != NULL) {
        x = distance * grid->inverse[block];
    } else if (grid->step[block] != 0.0f) {
        x = distance / grid->step[block];
    }
    return grid->levels == NULL
               ? nearest_integer(grid->low, grid->high, x)
               : nearest_level(dynq_grid_levels(grid, column), grid->level_count, x);
}

float dynq_grid_value(const dynq_weight_grid *grid, size_t column, size_t input, int number)
{
    const size_t block = dynq_grid_block(grid, column, input);
    const float level =
        grid->levels == NULL ? (float)number : dynq_grid_levels(grid, column)[number];
    const float value = level * grid->step[block];
    return grid->offset == NULL ? value : value + grid->offset[block];
}

void dynq_grid_round(const dynq_weight_grid *grid, const float *w, int16_t *numbers)
{
    for (size_t c = 0; c < grid->n; c++) {
        for (size_t i = 0; i < grid->k; i++) {
            const size_t at = c * grid->k + i;
            numbers[at] = (int16_t)dynq_grid_number(grid, c, i, w[at]);
        }
    }
}

void dynq_grid_restore(const dynq_weight_grid *grid, const int16_t *numbers, float *w)
{
    for (size_t c = 0; c < grid->n; c++) {
        for (size_t i = 0; i < grid->k; i++) {
            const size_t at = c * grid->k + i;
            w[at] = dynq_grid_value(grid, c, i, numbers[at]);
        }
    }
}
