/* What a sentence encoder does besides its layers, over sixteen lanes: embeddings, pooling, rows to
 * length 1; what each computes is said in kernel.h and fixed by ref_pool.c. Include after
 * row_lanes.h. */
#ifndef DYNQ_KERNELS_POOL_LANES_H
#define DYNQ_KERNELS_POOL_LANES_H

#include "kernels/row_lanes.h"

#include <math.h>

/* One row of it; `table` or `codes` begin at the row that is looked up. */
typedef struct embed_row {
    const float *table;
    const int8_t *codes;
    const float *other; /* NULL: none */
    lanes_f32 scale;
} embed_row;

LANES_INLINE embed_row embed_row_at(const dynq_embed_block *block, size_t row)
{
    const size_t id =
        block->ids != NULL ? (size_t)block->ids[row * block->id_stride] : block->first + row;
    embed_row r = {.other = block->other != NULL ? block->other + row * block->other_stride : NULL};
    if (block->table != NULL) {
        r.table = block->table + id * block->columns;
    } else {
        r.codes = block->codes + id * block->columns;
        r.scale = lanes_set(block->scale[id]);
    }
    return r;
}

LANES_INLINE range_lanes embed_step(const embed_row *row, float *y, size_t c, size_t count,
                                    range_lanes seen)
{
    lanes_f32 value;
    if (row->table != NULL) {
        value = lanes_load(row->table + c, count);
        if (row->other != NULL) {
            value = lanes_add(value, lanes_load(row->other + c, count));
        }
    } else {
        value = lanes_from_s32(lanes_load_s8(row->codes + c, count));
        value = row->other != NULL ? lanes_fma(value, row->scale, lanes_load(row->other + c, count))
                                   : lanes_mul(value, row->scale);
    }
    lanes_store(y + c, value, count);
    return range_with(seen, value, count);
}

static void embed(const dynq_embed_block *block)
{
    const size_t columns = block->columns;
    range_lanes seen = range_none();
    for (size_t m = 0; m < block->rows; m++) {
        const embed_row row = embed_row_at(block, m);
        float *y = block->y + m * block->y_stride;
        size_t c = 0;
        for (; c + 16 <= columns; c += 16) {
            seen = embed_step(&row, y, c, 16, seen);
        }
        if (c < columns) {
            seen = embed_step(&row, y, c, columns - c, seen);
        }
        seen = range_row_end(block->range, block->range_step, m, block->rows, seen);
    }
}

/* The next row's numbers join those of the rows before. For the maximum, `taint` is +0 or NaN. */
typedef struct pool_lanes {
    lanes_f32 value, taint;
} pool_lanes;

LANES_INLINE pool_lanes pool_with(const dynq_pooling pooling, pool_lanes before, lanes_f32 x)
{
    if (pooling == DYNQ_POOL_MEAN) {
        return (pool_lanes){.value = lanes_add(before.value, x), .taint = before.taint};
    }
    return (pool_lanes){.value = lanes_max(x, before.value), .taint = lanes_taint(before.taint, x)};
}

/* `vectors` times sixteen columns, the last of them `count`: all rows of them, then the next, so
 * that results stay in registers. */
LANES_INLINE range_lanes pool_columns(const dynq_pooling pooling, const size_t vectors,
                                      const dynq_pool_block *block, size_t c, size_t count,
                                      range_lanes seen)
{
    const lanes_f32 zero = lanes_set(0.0f);
    const lanes_f32 start = pooling == DYNQ_POOL_MAX ? lanes_set(-INFINITY) : zero;
    const lanes_f32 rows = lanes_set((float)block->rows);
    pool_lanes pooled[4] = {{start, zero}, {start, zero}, {start, zero}, {start, zero}};
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride + c;
#pragma GCC unroll 4
        for (size_t i = 0; i < vectors; i++) {
            pooled[i] = pool_with(pooling, pooled[i], lanes_load(x + 16 * i, count));
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < vectors; i++) {
        const lanes_f32 y = pooling == DYNQ_POOL_MEAN ? lanes_div(pooled[i].value, rows)
                                                      : lanes_add(pooled[i].value, pooled[i].taint);
        lanes_store(block->y + c + 16 * i, y, count);
        seen = range_with(seen, y, count);
    }
    return seen;
}

LANES_INLINE range_lanes pool_all(const dynq_pooling pooling, const dynq_pool_block *block)
{
    range_lanes seen = range_none();
    size_t c = 0;
    for (; c + 64 <= block->columns; c += 64) {
        seen = pool_columns(pooling, 4, block, c, 16, seen);
    }
    for (; c < block->columns; c += 16) {
        seen = pool_columns(pooling, 1, block, c, lanes_smaller(16, block->columns - c), seen);
    }
    return seen;
}

static void pool(const dynq_pool_block *block)
{
    range_lanes seen = range_none();
    switch (block->pooling) {
    case DYNQ_POOL_MEAN: seen = pool_all(DYNQ_POOL_MEAN, block); break;
    case DYNQ_POOL_MAX: seen = pool_all(DYNQ_POOL_MAX, block); break;
    case DYNQ_POOL_CLS:
        memcpy(block->y, block->x, block->columns * sizeof *block->y);
        seen = range_row(block->y, block->columns, seen);
        break;
    }
    if (block->range != NULL) {
        range_join(block->range, seen);
    }
}

LANES_INLINE range_lanes normalize_step(const float *x, float *y, size_t count, lanes_f32 r,
                                        range_lanes seen)
{
    const lanes_f32 value = lanes_mul(lanes_load(x, count), r);
    lanes_store(y, value, count);
    return range_with(seen, value, count);
}

static void normalize(const dynq_float_block *block)
{
    range_lanes seen = range_none();
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        float *y = block->y + m * block->y_stride;
        const float sum = row_total(ROW_SQUARES, x, y, block->columns, 0.0f);
        const float length = sqrtf(sum);
        const float divisor = length > DYNQ_SHORTEST ? length : DYNQ_SHORTEST;
        const lanes_f32 r = lanes_set(fmaf(sum, 0.0f, 1.0f / divisor));
        for (size_t c = 0; c < block->columns; c += 16) {
            const size_t count = lanes_smaller(16, block->columns - c);
            seen = normalize_step(x + c, y + c, count, r, seen);
        }
        seen = range_row_end(block->range, block->range_step, m, block->rows, seen);
    }
}

#endif
