/* Attention in INT8 over sixteen lanes. Include after a lanes header, the numbers that
 * attention_lanes.h asks for, and, as gemm_s8_lanes.h, S8_OFFSET, dot_broadcast, dot_weights,
 * dot_add and
 *
 *   dot_lanes     (lanes_s32 acc, lanes_s32 q, lanes_s32 w): acc + the products of four codes and
 *                 four weights in each lane */
#ifndef DYNQ_KERNELS_ATTENTION_S8_LANES_H
#define DYNQ_KERNELS_ATTENTION_S8_LANES_H

#include "kernels/attention_f32_lanes.h"
#include "kernels/attention_prepare_lanes.h"

/* Codes of queries, and of the probabilities of a block. */
typedef struct attention_s8_turn {
    _Alignas(64) uint8_t queries[ATTENTION_NUMBERS];                      /* [group][quad][16][4] */
    _Alignas(64) uint8_t codes[ATTENTION_GROUPS][ATTENTION_KEYS / 4][64]; /* [16][4] */
    lanes_f32 zero[ATTENTION_GROUPS]; /* S8_OFFSET less the zero point */
    lanes_f32 scale[ATTENTION_GROUPS], exponent[ATTENTION_GROUPS], drop[ATTENTION_GROUPS];
    lanes_f32 top[ATTENTION_GROUPS], base[ATTENTION_GROUPS]; /* the largest score of all blocks; the
                                                              * one that sums are relative to */
    attention_turn turn;
} attention_s8_turn;

/* The columns of sixteen queries to `numbers`; returns their ranges. */
LANES_INLINE range_lanes attention_s8_read(const attention_turn *t, size_t group, float *numbers)
{
    const dynq_attention_block *b = t->block;
    const size_t query = t->first + 16 * group;
    const float *row[16];
    range_lanes range = range_none();
    attention_rows(b->q + query * b->q_stride, b->q_stride,
                   lanes_smaller(16, t->queries - 16 * group), row);
    for (size_t d = 0; d < b->dim; d += 4) {
        lanes_f32 columns[4];
        attention_columns(row, d, b->dim, columns);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            range = range_with(range, columns[i], 16);
            lanes_store(numbers + 16 * (d + i), columns[i], 16);
        }
    }
    return range;
}

static void attention_s8_queries(attention_s8_turn *s, size_t group)
{
    const dynq_attention_block *b = s->turn.block;
    const size_t quads = dynq_attention_quads(b->dim);
    float *const numbers = s->turn.rows;
    const range_lanes range = attention_s8_read(&s->turn, group, numbers);
    const lanes_f32 nothing = lanes_set(0.0f), shift = lanes_set(DYNQ_ATTENTION_SHIFT);
    const lanes_f32 low = lanes_min(nothing, lanes_from_bits(range.low));
    const lanes_f32 width = lanes_sub(lanes_from_bits(range.high), low);
    const lanes_mask none = lanes_less(width, lanes_set(DYNQ_ATTENTION_LEAST));
    const lanes_f32 inverse = lanes_select(none, nothing, lanes_div(lanes_set(255.0f), width));
    const lanes_f32 zero = lanes_fma(lanes_sub(nothing, low), inverse, shift);
    const lanes_f32 highest = lanes_set(DYNQ_ATTENTION_SHIFT + 255.0f);
    for (size_t d = 0; d < quads; d++) {
        lanes_s32 codes[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const lanes_f32 x = lanes_load(numbers + 16 * (4 * d + i), 16);
            codes[i] = lanes_bits(lanes_min(lanes_fma(x, inverse, zero), highest));
        }
        lanes_store_s32((int32_t *)(void *)(s->queries + (group * quads + d) * 64),
                        lanes_join_bytes(codes));
    }
    const lanes_f32 scale =
        lanes_select(none, lanes_set(1.0f), lanes_div(width, lanes_set(255.0f)));
    s->zero[group] = lanes_sub(lanes_set(DYNQ_ATTENTION_SHIFT + S8_OFFSET), zero);
    s->scale[group] = lanes_mul(scale, lanes_set(b->scale));
    s->exponent[group] = lanes_mul(s->scale[group], lanes_set(DYNQ_ATTENTION_LOG2_E));
    s->drop[group] = lanes_div(lanes_set(DYNQ_ATTENTION_DROP), s->scale[group]);
    s->top[group] = s->base[group] = lanes_set(-INFINITY);
}

/* Scores of some keys, from `key` on. What the loops read is in variables of their own, as in an
 * attention_way. In a narrow head a sum begins with the bits of
 * DYNQ_ATTENTION_SHIFT less the zero point's share, and so is a float all the time. */
LANES_INLINE void attention_s8_tile(const int groups, const int narrow, attention_s8_turn *s,
                                    const dynq_attention_part *part, size_t key)
{
    attention_turn *t = &s->turn;
    const size_t quads = dynq_attention_quads(t->block->dim);
    const int8_t *k = part->keys + key / 16 * 64 * quads + key % 16 * 4;
    const uint8_t *q = s->queries;
    const float *const key_scale = part->key_scale + key, *const key_shift = part->key_shift + key;
    const int is_masked = t->is_masked;
    const lanes_f32 start = lanes_set(narrow ? DYNQ_ATTENTION_SHIFT : 0.0f);
    lanes_s32 acc[ATTENTION_GROUPS][ATTENTION_TILE_KEYS];
#pragma GCC unroll 2
    for (int g = 0; g < ATTENTION_GROUPS; g++) {
#pragma GCC unroll 8
        for (size_t i = 0; i < ATTENTION_TILE_KEYS; i++) {
            if (g < groups) {
                const lanes_f32 sum = lanes_set(part->key_sum[key + i]);
                const lanes_f32 from = lanes_fma(s->zero[g], sum, start);
                acc[g][i] = narrow ? lanes_bits(from) : lanes_round_s32(from);
            }
        }
    }
    for (size_t d = 0; d < quads; d++) {
#pragma GCC unroll 8
        for (int i = 0; i < ATTENTION_TILE_KEYS; i++) {
            int32_t four;
            memcpy(&four, k + 64 * d + 4 * i, sizeof four);
            const lanes_s32 codes = lanes_set_s32(four);
#pragma GCC unroll 2
            for (int g = 0; g < ATTENTION_GROUPS; g++) {
                if (g < groups) {
                    const void *at = q + ((size_t)g * quads + d) * 64;
                    acc[g][i] = dot_lanes(acc[g][i], lanes_load_s32(at, 16), codes);
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
                const lanes_f32 sum =
                    narrow ? lanes_from_bits(acc[g][i]) : lanes_from_s32(acc[g][i]);
                lanes_f32 score = lanes_fma(sum, lanes_set(key_scale[i]), lanes_set(key_shift[i]));
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

static void attention_s8_scores(attention_s8_turn *s, const dynq_attention_part *part)
{
    const int narrow = s->turn.block->dim <= DYNQ_ATTENTION_NARROW;
    for (size_t key = 0; key < s->turn.keys; key += ATTENTION_TILE_KEYS) {
        if (!narrow) {
            attention_s8_tile(1, 0, s, part, key);
        } else if (s->turn.groups == ATTENTION_GROUPS) {
            attention_s8_tile(ATTENTION_GROUPS, 1, s, part, key);
        } else {
            attention_s8_tile(1, 1, s, part, key);
        }
    }
}

/* 255 * 2^(below * exponent) in the low byte, rounded: for below <= 0, or NaN, which gives 0. */
LANES_INLINE lanes_s32 attention_probability(lanes_f32 below, lanes_f32 exponent)
{
    const lanes_f32 shifted = lanes_fma(below, exponent, lanes_set(DYNQ_ATTENTION_TOP));
    const lanes_s32 bits = lanes_round_s32(lanes_max(shifted, lanes_set(DYNQ_ATTENTION_FLOOR)));
    const lanes_s32 fraction = lanes_and(bits, lanes_set_s32(0x7FFFFF));
    const lanes_f32 mantissa = lanes_from_bits(lanes_or(fraction, lanes_set_s32(0x3F800000)));
    const lanes_f32 bend = lanes_horner(dynq_bend_terms, DYNQ_BEND_TERMS, mantissa);
    return lanes_bits(lanes_fma(lanes_from_bits(bits), bend, lanes_set(DYNQ_ATTENTION_SHIFT)));
}

/* Scores of a group become codes. */
static void attention_s8_softmax(attention_s8_turn *s, const dynq_attention_part *part, int g)
{
    attention_turn *t = &s->turn;
    const lanes_f32 top = lanes_max(t->max[g], s->top[g]), old = s->base[g];
    const lanes_f32 base = lanes_max(lanes_sub(top, s->drop[g]), t->max[g]);
    const lanes_f32 exponent = s->exponent[g];
    s->top[g] = top;
    s->base[g] = base;
    const size_t quads = (t->keys + 3) / 4;
    const lanes_s32 ones = attention_bytes(1);
    lanes_s32 count = lanes_set_s32((int32_t)(4 * S8_OFFSET * quads));
    for (size_t j = 0; j < quads; j++) {
        lanes_s32 codes[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const lanes_f32 score = lanes_load(t->scores[g][4 * j + i], 16);
            codes[i] = attention_probability(lanes_sub(score, base), exponent);
        }
        const lanes_s32 four = lanes_join_bytes(codes);
        lanes_store_s32((int32_t *)(void *)s->codes[g][j], four);
        count = dot_lanes(count, four, ones);
    }
    const lanes_f32 alpha = lanes_exp(lanes_mul(lanes_sub(old, base), s->scale[g]));
    const lanes_f32 sum = lanes_add(lanes_from_s32(count), lanes_load(part->taint, 16));
    t->total[g] = lanes_fma(t->total[g], alpha, sum);
    lanes_store(t->alpha + 16 * g, alpha, 16);
    if (t->is_last) {
        attention_invert(t, g, exponent);
    }
}

/* Sums of codes become floats and join those of earlier blocks. */
LANES_INLINE void attention_s8_finish(const int panels, const attention_way *way,
                                      const float *value_scale,
                                      lanes_s32 acc[ATTENTION_TILE_ROWS][ATTENTION_TILE_PANELS],
                                      size_t last)
{
    range_lanes seen = range_none();
    lanes_f32 scale[ATTENTION_TILE_PANELS];
#pragma GCC unroll 2
    for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
        if (i < panels) {
            scale[i] = lanes_load(value_scale + 16 * i, 16);
        }
    }
#pragma GCC unroll 8
    for (size_t m = 0; m < ATTENTION_TILE_ROWS; m++) {
        lanes_f32 sums[ATTENTION_TILE_PANELS];
#pragma GCC unroll 2
        for (size_t i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < (size_t)panels) {
                sums[i] = lanes_fma(lanes_from_s32(acc[m][i]), scale[i],
                                    attention_earlier(way, m, 16 * i));
            }
        }
        seen = attention_store(panels, way, m, sums, last, seen);
    }
    attention_join(way, seen);
}

/* Queries from `row` on by panels from `column` on. */
LANES_INLINE void attention_s8_tile_values(const int panels, attention_s8_turn *s,
                                           const dynq_attention_part *part, size_t row,
                                           size_t column)
{
    attention_turn *t = &s->turn;
    const uint8_t *p = s->codes[row / 16][0] + row % 16 * 4;
    const int8_t *v = part->values + column * ATTENTION_KEYS;
    const attention_way way = attention_way_of(t, row, column);
    const size_t last = lanes_smaller(16, t->block->dim - column - 16 * ((size_t)panels - 1));
    lanes_s32 acc[ATTENTION_TILE_ROWS][ATTENTION_TILE_PANELS];
#pragma GCC unroll 8
    for (int m = 0; m < ATTENTION_TILE_ROWS; m++) {
#pragma GCC unroll 2
        for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < panels) {
                acc[m][i] = S8_OFFSET == 0 ? lanes_set_s32(0)
                                           : lanes_load_s32(part->value_sum + column + 16 * i, 16);
            }
        }
    }
    for (const uint8_t *end = p + (t->keys + 3) / 4 * 64; p < end; p += 64) {
        lanes_s32 values[ATTENTION_TILE_PANELS];
#pragma GCC unroll 2
        for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < panels) {
                values[i] = dot_weights(v + 16 * ATTENTION_KEYS * i);
            }
        }
#pragma GCC unroll 8
        for (int m = 0; m < ATTENTION_TILE_ROWS; m++) {
            const dot_codes codes = dot_broadcast(p + 4 * m);
#pragma GCC unroll 2
            for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
                if (i < panels) {
                    acc[m][i] = dot_add(acc[m][i], codes, values[i]);
                }
            }
        }
        v += 64;
    }
    attention_s8_finish(panels, &way, part->value_scale + column, acc, last);
}

static void attention_s8_values(attention_s8_turn *s, const dynq_attention_part *part)
{
    const size_t wide = 16 * ATTENTION_TILE_PANELS, columns = 16 * s->turn.panels;
    for (size_t row = 0; row < s->turn.queries; row += ATTENTION_TILE_ROWS) {
        size_t column = 0;
        for (; column + wide <= columns; column += wide) {
            attention_s8_tile_values(ATTENTION_TILE_PANELS, s, part, row, column);
        }
        for (; column < columns; column += 16) {
            attention_s8_tile_values(1, s, part, row, column);
        }
    }
}

static void attention_s8(const dynq_attention_block *block)
{
    attention_s8_turn s;
    attention_turn *t = &s.turn;
    t->seen[0] = range_none();
    for (size_t i = 0; i < block->queries; i += t->queries) {
        attention_begin(t, block, block->first + i);
        for (int g = 0; g < t->groups; g++) {
            attention_s8_queries(&s, (size_t)g);
        }
        for (size_t key = 0; attention_block_at(t, key); key += ATTENTION_KEYS) {
            const dynq_attention_part part = dynq_attention_part_at(block, key / ATTENTION_KEYS);
            if (S8_OFFSET != 0) { /* the values' sums are of all keys of the block */
                t->keys = lanes_smaller(ATTENTION_KEYS, block->keys - key);
            }
            for (int g = 0; g < t->groups; g++) {
                t->max[g] = lanes_set(-INFINITY);
            }
            attention_s8_scores(&s, &part);
            for (int g = 0; g < t->groups; g++) {
                attention_s8_softmax(&s, &part, g);
            }
            attention_s8_values(&s, &part);
        }
        attention_end(t);
    }
    if (block->range != NULL && block->range_step == 0) {
        range_join(block->range, t->seen[0]);
    }
}

#endif
