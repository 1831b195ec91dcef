/* Attention in FP32 over sixteen lanes. Include after attention_lanes.h. */
#ifndef DYNQ_KERNELS_ATTENTION_F32_LANES_H
#define DYNQ_KERNELS_ATTENTION_F32_LANES_H

#include "kernels/attention_lanes.h"

typedef struct attention_f32_turn {
    _Alignas(64) float queries[ATTENTION_NUMBERS]; /* [group][column][16], times the scale */
    attention_turn turn;
} attention_f32_turn;

static void attention_f32_queries(attention_f32_turn *f)
{
    const attention_turn *t = &f->turn;
    const dynq_attention_block *b = t->block;
    const lanes_f32 scale = lanes_set(b->scale);
    for (size_t g = 0; g < (size_t)t->groups; g++) {
        const size_t query = t->first + 16 * g;
        const float *row[16];
        float *to = f->queries + g * 16 * b->dim;
        attention_rows(b->q + query * b->q_stride, b->q_stride,
                       lanes_smaller(16, t->queries - 16 * g), row);
        for (size_t d = 0; d < b->dim; d += 4) {
            lanes_f32 columns[4];
            attention_columns(row, d, b->dim, columns);
            for (size_t c = 0; c < 4 && d + c < b->dim; c++) {
                lanes_store(to + 16 * (d + c), lanes_mul(columns[c], scale), 16);
            }
        }
    }
}

/* Scores of some keys; behind the last one, of the last one. */
LANES_INLINE void attention_f32_tile(const int groups, attention_f32_turn *f, size_t key)
{
    attention_turn *t = &f->turn;
    const dynq_attention_block *b = t->block;
    const size_t dim = b->dim;
    const int is_masked = t->is_masked;
    const float *const queries = f->queries, *row[ATTENTION_TILE_KEYS];
    lanes_f32 acc[ATTENTION_GROUPS][ATTENTION_TILE_KEYS];
#pragma GCC unroll 8
    for (size_t i = 0; i < ATTENTION_TILE_KEYS; i++) {
        row[i] = b->k + (t->key + lanes_smaller(key + i, t->keys - 1)) * b->k_stride;
#pragma GCC unroll 2
        for (int g = 0; g < ATTENTION_GROUPS; g++) {
            acc[g][i] = lanes_set(0.0f);
        }
    }
    for (size_t d = 0; d < dim; d++) {
#pragma GCC unroll 8
        for (int i = 0; i < ATTENTION_TILE_KEYS; i++) {
            const lanes_f32 k = lanes_set(row[i][d]);
#pragma GCC unroll 2
            for (int g = 0; g < ATTENTION_GROUPS; g++) {
                if (g < groups) {
                    const lanes_f32 q = lanes_load(queries + ((size_t)g * dim + d) * 16, 16);
                    acc[g][i] = lanes_fma(q, k, acc[g][i]);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int g = 0; g < ATTENTION_GROUPS; g++) {
        if (g < groups) {
            lanes_f32 max = t->max[g];
#pragma GCC unroll 8
            for (size_t i = 0; i < ATTENTION_TILE_KEYS; i++) {
                lanes_f32 score = acc[g][i];
                if (is_masked) {
                    score = attention_mask(t, g, key + i, score, -INFINITY);
                }
                lanes_store(t->scores[g][key + i], score, 16);
                max = lanes_max(score, max);
            }
            t->max[g] = max;
        }
    }
}

static void attention_f32_scores(attention_f32_turn *f)
{
    for (size_t key = 0; key < f->turn.keys; key += ATTENTION_TILE_KEYS) {
        if (f->turn.groups == ATTENTION_GROUPS) {
            attention_f32_tile(ATTENTION_GROUPS, f, key);
        } else {
            attention_f32_tile(1, f, key);
        }
    }
}

/* Scores of a group become probabilities, not yet divided by their total. */
static void attention_f32_softmax(attention_turn *t, int g, lanes_f32 old)
{
    const lanes_f32 max = t->max[g], zero = lanes_set(0.0f);
    const size_t keys = t->keys;
    const int is_masked = t->is_masked;
    lanes_f32 sums[4] = {zero, zero, zero, zero};
    for (size_t key = 0; key < keys; key += 4) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            if (key + i < keys) {
                const lanes_f32 score = lanes_load(t->scores[g][key + i], 16);
                lanes_f32 p = lanes_taint(lanes_exp(lanes_sub(score, max)), score);
                if (is_masked) {
                    p = attention_mask(t, g, key + i, p, 0.0f);
                }
                lanes_store(t->scores[g][key + i], p, 16);
                sums[i] = lanes_add(sums[i], p);
            }
        }
    }
    const lanes_f32 alpha = lanes_exp(lanes_sub(old, max));
    const lanes_f32 sum = lanes_add(lanes_add(sums[0], sums[1]), lanes_add(sums[2], sums[3]));
    t->total[g] = lanes_fma(t->total[g], alpha, sum);
    lanes_store(t->alpha + 16 * g, alpha, 16);
    if (t->is_last) {
        attention_invert(t, g, zero);
    }
}

/* 16 columns in each of some panels. */
typedef struct attention_f32_columns {
    lanes_f32 panel[ATTENTION_TILE_PANELS];
} attention_f32_columns;

/* The last panel has `last` columns. */
LANES_INLINE attention_f32_columns attention_f32_load(const int panels, const float *v, size_t last)
{
    attention_f32_columns values;
#pragma GCC unroll 2
    for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
        if (i < panels) {
            values.panel[i] = lanes_load(v + 16 * i, i + 1 < panels ? 16 : last);
        }
    }
    return values;
}

LANES_INLINE attention_f32_columns attention_f32_add(const int panels, attention_f32_columns acc,
                                                     float p, const attention_f32_columns values)
{
#pragma GCC unroll 2
    for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
        if (i < panels) {
            acc.panel[i] = lanes_fma(lanes_set(p), values.panel[i], acc.panel[i]);
        }
    }
    return acc;
}

/* Queries from `row` on by panels from `column` on, of which the last has `last` columns. All
 * queries see the first keys; where later ones are masked, each goes on by itself: a product with 0
 * would not be nothing. */
LANES_INLINE void attention_f32_tile_values(const int panels, attention_turn *t, size_t row,
                                            size_t column, size_t last)
{
    const dynq_attention_block *b = t->block;
    const size_t own = t->first + row + 1 - t->key, stride = b->v_stride;
    const size_t keys = t->is_masked ? lanes_smaller(t->keys, own) : t->keys;
    const float *p = t->scores[row / 16][0] + row % 16;
    const float *v = b->v + t->key * stride + column;
    const attention_way way = attention_way_of(t, row, column);
    attention_f32_columns acc[ATTENTION_TILE_ROWS];
    range_lanes seen = range_none();
#pragma GCC unroll 8
    for (size_t m = 0; m < ATTENTION_TILE_ROWS; m++) {
#pragma GCC unroll 2
        for (size_t i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < (size_t)panels) {
                acc[m].panel[i] = attention_earlier(&way, m, 16 * i);
            }
        }
    }
    for (size_t j = 0; j < keys; j++) {
        const attention_f32_columns values = attention_f32_load(panels, v + j * stride, last);
#pragma GCC unroll 8
        for (size_t m = 0; m < ATTENTION_TILE_ROWS; m++) {
            acc[m] = attention_f32_add(panels, acc[m], p[16 * j + m], values);
        }
    }
#pragma GCC unroll 8
    for (size_t m = 0; m < ATTENTION_TILE_ROWS; m++) {
        for (size_t j = keys; t->is_masked && j < lanes_smaller(t->keys, own + m); j++) {
            const attention_f32_columns values = attention_f32_load(panels, v + j * stride, last);
            acc[m] = attention_f32_add(panels, acc[m], p[16 * j + m], values);
        }
        seen = attention_store(panels, &way, m, acc[m].panel, last, seen);
    }
    attention_join(&way, seen);
}

static void attention_f32_values(attention_turn *t)
{
    const size_t dim = t->block->dim, wide = 16 * ATTENTION_TILE_PANELS;
    for (size_t row = 0; row < t->queries; row += ATTENTION_TILE_ROWS) {
        size_t column = 0;
        for (; column + wide <= dim; column += wide) {
            attention_f32_tile_values(ATTENTION_TILE_PANELS, t, row, column, 16);
        }
        for (; column < dim; column += 16) {
            attention_f32_tile_values(1, t, row, column, lanes_smaller(16, dim - column));
        }
    }
}

static void attention_f32(const dynq_attention_block *block)
{
    attention_f32_turn f;
    attention_turn *t = &f.turn;
    t->seen[0] = range_none();
    for (size_t i = 0; i < block->queries; i += t->queries) {
        attention_begin(t, block, block->first + i);
        attention_f32_queries(&f);
        for (size_t key = 0; attention_block_at(t, key); key += ATTENTION_KEYS) {
            lanes_f32 old[ATTENTION_GROUPS];
            memcpy(old, t->max, sizeof old);
            attention_f32_scores(&f);
            for (int g = 0; g < t->groups; g++) {
                attention_f32_softmax(t, g, old[g]);
            }
            attention_f32_values(t);
        }
        attention_end(t);
    }
    if (block->range != NULL && block->range_step == 0) {
        range_join(block->range, t->seen[0]);
    }
}

#endif
