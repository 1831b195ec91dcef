/* Codes of keys and values, over sixteen lanes. Include after attention_lanes.h and what
 * attention_s8_lanes.h asks for. */
#ifndef DYNQ_KERNELS_ATTENTION_PREPARE_LANES_H
#define DYNQ_KERNELS_ATTENTION_PREPARE_LANES_H

#include "kernels/attention_lanes.h"

/* Four equal bytes in each lane. */
LANES_INLINE lanes_s32 attention_bytes(uint8_t byte)
{
    return lanes_set_s32((int32_t)(0x01010101u * byte));
}

/* Scale and inverse of signed codes for numbers up to `most`. */
typedef struct attention_symmetric {
    lanes_f32 scale, inverse;
} attention_symmetric;

LANES_INLINE attention_symmetric attention_symmetric_of(lanes_s32 most)
{
    const lanes_f32 bound = lanes_from_bits(most), zero = lanes_set(0.0f);
    const lanes_mask none = lanes_less(bound, lanes_set(DYNQ_ATTENTION_LEAST));
    const lanes_mask finite = lanes_less(bound, lanes_set(DYNQ_ATTENTION_MOST));
    const lanes_f32 scale = lanes_mul(bound, lanes_set(DYNQ_ATTENTION_PER_127));
    const lanes_f32 inverse = lanes_div(lanes_set(127.0f), bound);
    return (attention_symmetric){
        .scale = lanes_select(finite, lanes_select(none, lanes_set(1.0f), scale), lanes_set(NAN)),
        .inverse = lanes_select(finite, lanes_select(none, zero, inverse), zero)};
}

LANES_INLINE lanes_s32 attention_magnitude(lanes_f32 x)
{
    return lanes_and(lanes_bits(x), lanes_set_s32(INT32_MAX));
}

/* Four signed codes in each lane. */
LANES_INLINE lanes_s32 attention_codes(const lanes_f32 x[4], lanes_f32 inverse)
{
    lanes_s32 codes[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        codes[i] = lanes_bits(lanes_fma(x[i], inverse, lanes_set(DYNQ_ATTENTION_SHIFT)));
    }
    return lanes_join_bytes(codes);
}

/* Sixteen keys; those behind the last of `count` are it once more. Four of them go at a time, as
 * sixteen addresses would not fit the registers. */
typedef struct attention_sixteen {
    const float *x;
    size_t stride, count, dim;
} attention_sixteen;

LANES_INLINE void attention_four(const attention_sixteen *keys, size_t first, const float *row[4])
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        row[i] = keys->x + lanes_smaller(first + i, keys->count - 1) * keys->stride;
    }
}

/* Columns from `at` on of a row; zeros behind the last. */
LANES_INLINE lanes_f32 attention_load(const attention_sixteen *keys, const float *row, size_t at)
{
    return at + 16 <= keys->dim ? lanes_load(row + at, 16) : lanes_load(row + at, keys->dim - at);
}

/* The largest magnitudes of the keys, a key to a lane. */
LANES_INLINE lanes_s32 attention_most(const attention_sixteen *keys)
{
    lanes_s32 most[16];
#pragma GCC unroll 1
    for (size_t first = 0; first < 16; first += 4) {
        const float *row[4];
        lanes_s32 four[4];
        attention_four(keys, first, row);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            four[i] = attention_magnitude(attention_load(keys, row[i], 0));
        }
        for (size_t d = 16; d < keys->dim; d += 16) {
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                const lanes_s32 x = attention_magnitude(attention_load(keys, row[i], d));
                four[i] = lanes_max_s32(four[i], x);
            }
        }
        memcpy(most + first, four, sizeof four);
    }
    return lanes_highest_rows(1, most);
}

/* Codes of the keys to [quad][16][4]: bytes change places, which are fewer than floats. */
LANES_INLINE void attention_key_codes(const attention_sixteen *keys, const float inverse[16],
                                      int8_t *to)
{
    const lanes_f32 shift = lanes_set(DYNQ_ATTENTION_SHIFT);
    const size_t quads = dynq_attention_quads(keys->dim);
    lanes_s32 joined[(DYNQ_MAX_HEAD + 15) / 16][4];
#pragma GCC unroll 1
    for (size_t r = 0; r < 4; r++) {
        const float *row[4];
        attention_four(keys, 4 * r, row);
        for (size_t d = 0; d < keys->dim; d += 16) {
            lanes_s32 codes[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                const lanes_f32 x = attention_load(keys, row[i], d);
                codes[i] = lanes_bits(lanes_fma(x, lanes_set(inverse[4 * r + i]), shift));
            }
            joined[d / 16][r] = lanes_join_rows(codes);
        }
    }
    for (size_t d = 0; d < quads; d += 4) {
        lanes_s32 codes[4];
        lanes_turn_quarters(joined[d / 4], codes);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            if (d + i < quads) {
                lanes_store_s32((int32_t *)(void *)(to + 64 * (d + i)), codes[i]);
            }
        }
    }
}

/* Sixteen keys of a block from `at` on; those behind the last of `count` have scores of -Inf. */
static void attention_prepare_keys(const dynq_attention_block *b, const dynq_attention_part *part,
                                   size_t first, size_t at, size_t count)
{
    const attention_sixteen keys = {b->k + (first + at) * b->k_stride, b->k_stride, count, b->dim};
    const size_t quads = dynq_attention_quads(b->dim);
    int8_t *to = part->keys + at * 4 * quads;
    const attention_symmetric with = attention_symmetric_of(attention_most(&keys));
    _Alignas(64) float inverse[16];
    lanes_s32 sum = lanes_set_s32(0);
    lanes_store(inverse, with.inverse, 16);
    attention_key_codes(&keys, inverse, to);
    for (size_t d = 0; d < quads; d++) {
        const lanes_s32 codes = lanes_load_s32((const int32_t *)(const void *)(to + 64 * d), 16);
        sum = dot_lanes(sum, attention_bytes(S8_OFFSET + 1), codes);
    }
    const lanes_f32 scale = lanes_from_bits(lanes_and(lanes_bits(with.scale), lanes_set_s32(~3)));
    const float shift = b->dim <= DYNQ_ATTENTION_NARROW ? -DYNQ_ATTENTION_SHIFT : 0.0f;
    const lanes_f32 shifts = lanes_mul(scale, lanes_set(shift));
    lanes_store(part->key_scale + at, lanes_fill(scale, count, 0.0f), 16);
    lanes_store(part->key_shift + at, lanes_fill(shifts, count, -INFINITY), 16);
    lanes_store(part->key_sum + at, lanes_from_s32(sum), 16);
    lanes_store(part->taint, lanes_taint(lanes_load(part->taint, 16), with.scale), 16);
}

/* Some columns of a block of values. */
typedef struct attention_panel {
    const float *v;
    size_t stride, count; /* of the rows */
    size_t columns;       /* up to 16 */
    int8_t *to;           /* [rows / 4][16][4] */
} attention_panel;

/* `rows` rows from `at` on, up to four; zeros behind the last. */
LANES_INLINE void attention_values(const attention_panel *p, size_t at, const size_t rows,
                                   lanes_f32 values[4])
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        values[i] =
            i < rows ? lanes_load(p->v + (at + i) * p->stride, p->columns) : lanes_set(0.0f);
    }
}

/* `most` joined with the magnitudes of some rows. */
LANES_INLINE lanes_s32 attention_values_most(const attention_panel *p, size_t at, const size_t rows,
                                             lanes_s32 most)
{
    lanes_f32 values[4];
    attention_values(p, at, rows, values);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        most = lanes_max_s32(attention_magnitude(values[i]), most);
    }
    return most;
}

/* The codes of some rows; returns `sum` with their sums, where these are wanted. */
LANES_INLINE lanes_s32 attention_value_codes(const attention_panel *p, size_t at, const size_t rows,
                                             lanes_f32 inverse, lanes_s32 sum)
{
    lanes_f32 values[4];
    attention_values(p, at, rows, values);
    const lanes_s32 codes = attention_codes(values, inverse);
    lanes_store_s32((int32_t *)(void *)(p->to + 16 * at), codes);
    return S8_OFFSET == 0 ? sum : dot_lanes(sum, attention_bytes(S8_OFFSET + 1), codes);
}

/* Sixteen columns, from `column` on, of a block of values. Inline, so that the loops know how many
 * columns there are. */
LANES_INLINE void attention_prepare_panel(const attention_panel *p, const dynq_attention_part *part,
                                          size_t column)
{
    const size_t whole = p->count / 4 * 4, rest = p->count % 4;
    lanes_s32 most = lanes_set_s32(0), sum = most;
    for (size_t j = 0; j < whole; j += 4) {
        most = attention_values_most(p, j, 4, most);
    }
    if (rest > 0) {
        most = attention_values_most(p, whole, rest, most);
    }
    const attention_symmetric with = attention_symmetric_of(most);
    for (size_t j = 0; j < whole; j += 4) {
        sum = attention_value_codes(p, j, 4, with.inverse, sum);
    }
    if (rest > 0) {
        sum = attention_value_codes(p, whole, rest, with.inverse, sum);
    }
    lanes_store(part->value_scale + column, with.scale, 16);
    lanes_store_s32(part->value_sum + column, lanes_mul_s32(sum, lanes_set_s32(S8_OFFSET)));
}

static void attention_prepare_values(const dynq_attention_block *b, const dynq_attention_part *part,
                                     const float *v, size_t column, size_t count)
{
    attention_panel panel = {.v = v + column,
                             .stride = b->v_stride,
                             .count = count,
                             .columns = 16,
                             .to = part->values + column * ATTENTION_KEYS};
    if (column + 16 <= b->dim) {
        attention_prepare_panel(&panel, part, column);
    } else {
        panel.columns = b->dim - column;
        attention_prepare_panel(&panel, part, column);
    }
}

static void attention_prepare(const dynq_attention_block *b)
{
    for (size_t first = 0; first < b->keys; first += ATTENTION_KEYS) {
        const dynq_attention_part part = dynq_attention_part_at(b, first / ATTENTION_KEYS);
        const size_t count = lanes_smaller(ATTENTION_KEYS, b->keys - first);
        lanes_store(part.taint, lanes_set(0.0f), 16);
        for (size_t at = 0; at < count; at += 16) {
            attention_prepare_keys(b, &part, first, at, lanes_smaller(16, count - at));
        }
        for (size_t column = 0; column < b->dim; column += 16) {
            attention_prepare_values(b, &part, b->v + first * b->v_stride, column, count);
        }
        lanes_store(part.taint, lanes_set(lanes_fold(lanes_load(part.taint, 16))), 16);
    }
}

#endif
