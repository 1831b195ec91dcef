/* NEON with USMMLA: 2 rows by 2 columns by 8 inputs, 32 products of bytes, in an instruction. */
#include "kernels/lanes_neon.h"
#include "kernels/codes_neon.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/pool_lanes.h"
#include "kernels/error_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS                                                                         \
    1 /* 16 accumulators, and of more rows 6 by 1 panel: 24, of 32 registers */
#include "kernels/gemm_f32_lanes.h"

/* What attention, weights of codes and weights in groups are multiplied with: one row at a time, as
 * sums of pairs of rows would have to be taken apart for every group. */
#define S8_ROWS          6 /* by one panel: 24 sums, 4 weights and a row's codes in 32 registers */
#define S8_MANY_ROWS     6
#define S8_SLOW_ROWS     0
#define S8_COLUMNS       64
#define CODES_PANELS     1
#define S8_GROUP_PANELS  1
#define S8_GROUP_ROWS    3
#define S8_GROUP_COLUMNS 16
#define S8_OFFSET        0

typedef uint8x16_t dot_codes;

LANES_INLINE dot_codes dot_broadcast(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return vreinterpretq_u8_s32(vdupq_n_s32(bytes));
}

LANES_INLINE lanes_s32 dot_weights(const int8_t *w)
{
    return lanes_load_s32((const int32_t *)(const void *)w, 16);
}

LANES_INLINE lanes_s32 dot_add(lanes_s32 acc, dot_codes q, lanes_s32 w)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        acc.part[i] = vusdotq_s32(acc.part[i], q, vreinterpretq_s8_s32(w.part[i]));
    }
    return acc;
}

/* acc + the products of four codes and four weights in each lane. */
LANES_INLINE lanes_s32 dot_lanes(lanes_s32 acc, lanes_s32 q, lanes_s32 w)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        acc.part[i] = vusdotq_s32(acc.part[i], vreinterpretq_u8_s32(q.part[i]),
                                  vreinterpretq_s8_s32(w.part[i]));
    }
    return acc;
}

#include "kernels/gemm_s8_lanes.h"

static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row, size_t columns,
                         const s8_sums *out)
{
    switch (rows) {
    case 1: s8_across(1, 1, 4, c, row, columns, out); break;
    case 2: s8_across(2, 1, 2, c, row, columns, out); break;
    case 3: s8_across(3, 1, 1, c, row, columns, out); break;
    case 4: s8_across(4, 1, 1, c, row, columns, out); break;
    case 5: s8_across(5, 1, 1, c, row, columns, out); break;
    default: s8_across(6, 1, 1, c, row, columns, out); break;
    }
}

static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s, size_t row,
                          size_t columns)
{
    switch (rows) {
    case 1: s8_group_across(8, 1, 1, c, s, row, columns); break;
    case 2: s8_group_across(8, 2, 1, c, s, row, columns); break;
    default: s8_group_across(8, 3, 1, c, s, row, columns); break;
    }
}

LANES_INLINE dot_codes dot_load(const uint8_t *q)
{
    return vld1q_u8(q);
}

/* The number of the lane is part of the instruction. */
LANES_INLINE int32x4_t dot_part(const int lane, int32x4_t acc, int8x16_t w, dot_codes a)
{
    switch (lane) {
    case 0: return vsudotq_laneq_s32(acc, w, a, 0);
    case 1: return vsudotq_laneq_s32(acc, w, a, 1);
    case 2: return vsudotq_laneq_s32(acc, w, a, 2);
    default: return vsudotq_laneq_s32(acc, w, a, 3);
    }
}

/* Four inputs of one row by a panel. */
LANES_INLINE lanes_s32 dot_step(const int lane, lanes_s32 acc, const int8_t *w, dot_codes a)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        acc.part[i] = dot_part(lane, acc.part[i], vld1q_s8(w + 16 * i), a);
    }
    return acc;
}

/* One row by a panel: four sets of sums under way, for the latency of the instruction. */
static void dot_tile(const dynq_gemm_s8 *gemm, const uint8_t *q, const int8_t *w, int32_t *out)
{
    lanes_s32 acc[4] = {0};
    for (size_t k = 0; k < gemm->kpad; k += 16) {
        const dot_codes a = dot_load(q + k);
#pragma GCC unroll 4
        for (int lane = 0; lane < 4; lane++) {
            acc[lane] = dot_step(lane, acc[lane], w + k * 16 + lane * 64, a);
        }
    }
    lanes_store_s32(out,
                    lanes_add_s32(lanes_add_s32(acc[0], acc[1]), lanes_add_s32(acc[2], acc[3])));
}

enum { TILE_PAIRS = TILE_ROWS / 2 };

/* Two rows by a panel; a register holds columns 2 i and 2 i + 1 of the upper row, then of the lower
 * one. */
typedef struct pair_sums {
    int32x4_t part[8];
} pair_sums;

/* Eight inputs of two columns from four of each in successive panel rows. */
LANES_INLINE int8x16_t zip_low(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

LANES_INLINE int8x16_t zip_high(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

LANES_INLINE int32x4_t upper_row(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

LANES_INLINE int32x4_t lower_row(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

/* Eight inputs of rows 2 * pair and the next, zeros in place of a row that is not there. */
LANES_INLINE uint8x16_t load_pair(const int rows, const int pair, const dynq_gemm_s8 *gemm,
                                  const uint8_t *q)
{
    const uint8_t *upper = q + (size_t)(2 * pair) * gemm->q_stride;
    const int lower = 2 * pair + 1 < rows;
    return vcombine_u8(vld1_u8(upper), lower ? vld1_u8(upper + gemm->q_stride) : vdup_n_u8(0));
}

LANES_INLINE void store_pair(const int rows, const int pair, const pair_sums acc, int32_t *out)
{
    int32_t *upper = out + 2 * pair * TILE_COLUMNS, *lower = upper + TILE_COLUMNS;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vst1q_s32(upper + 4 * i, upper_row(acc.part[2 * i], acc.part[2 * i + 1]));
        if (2 * pair + 1 < rows) {
            vst1q_s32(lower + 4 * i, lower_row(acc.part[2 * i], acc.part[2 * i + 1]));
        }
    }
}

/* One panel by `rows` (2 to 6), a constant where it is called, so that the accumulators stay in
 * registers. Half of a pair may be empty: that costs no more than a row by itself would. */
LANES_INLINE void pair_tile(const int rows, const dynq_gemm_s8 *gemm, const uint8_t *q,
                            const int8_t *w, int32_t *out)
{
    pair_sums acc[TILE_PAIRS] = {0};
    for (size_t k = 0; k < gemm->kpad; k += 8) {
        uint8x16_t a[TILE_PAIRS];
#pragma GCC unroll 3
        for (int pair = 0; pair < TILE_PAIRS; pair++) {
            if (2 * pair < rows) {
                a[pair] = load_pair(rows, pair, gemm, q + k);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const int8x16_t first = vld1q_s8(w + k * 16 + i * 16);
            const int8x16_t second = vld1q_s8(w + k * 16 + 64 + i * 16);
            const int8x16_t low = zip_low(first, second), high = zip_high(first, second);
#pragma GCC unroll 3
            for (int pair = 0; pair < TILE_PAIRS; pair++) {
                if (2 * pair < rows) {
                    int32x4_t *sums = acc[pair].part + 2 * i;
                    sums[0] = vusmmlaq_s32(sums[0], a[pair], low);
                    sums[1] = vusmmlaq_s32(sums[1], a[pair], high);
                }
            }
        }
    }
#pragma GCC unroll 3
    for (int pair = 0; pair < TILE_PAIRS; pair++) {
        if (2 * pair < rows) {
            store_pair(rows, pair, acc[pair], out);
        }
    }
}

static void tile_block(size_t rows, size_t panels, const dynq_gemm_s8 *gemm, const uint8_t *q,
                       const int8_t *w, int32_t *out)
{
    for (size_t p = 0; p < panels; p++) {
        const int8_t *panel = w + p * gemm->kpad * 16;
        switch (rows) {
        case 1: dot_tile(gemm, q, panel, out + 16 * p); break;
        case 2: pair_tile(2, gemm, q, panel, out + 16 * p); break;
        case 3: pair_tile(3, gemm, q, panel, out + 16 * p); break;
        case 4: pair_tile(4, gemm, q, panel, out + 16 * p); break;
        case 5: pair_tile(5, gemm, q, panel, out + 16 * p); break;
        default: pair_tile(6, gemm, q, panel, out + 16 * p); break;
        }
    }
}

/* Four panels at a time stay in the cache while all rows pass. */
static void gemm_pairs(const dynq_gemm_s8 *gemm)
{
    int32_t sums[TILE_ROWS * TILE_COLUMNS];
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const int8_t *w = gemm->panels + column * gemm->kpad;
        for (size_t row = 0; row < gemm->rows; row += TILE_ROWS) {
            const size_t rows = lanes_smaller(TILE_ROWS, gemm->rows - row);
            tile_block(rows, (columns + 15) / 16, gemm, gemm->q + row * gemm->q_stride, w, sums);
            gemm_s8_finish(gemm, row, rows, column, columns, sums, 0, NULL);
        }
    }
}

static void gemm_any(const dynq_gemm_s8 *gemm)
{
    if (s8_has_codes(gemm) || gemm->codes.group != 0) {
        gemm_s8(gemm);
    } else {
        gemm_pairs(gemm);
    }
}

#define ATTENTION_GROUPS      1
#define ATTENTION_TILE_KEYS   4
#define ATTENTION_TILE_ROWS   4
#define ATTENTION_TILE_PANELS 1
#include "kernels/attention_s8_lanes.h"

#define PROBE_WIDTH    6
#define PROBE_PRODUCTS 8
LANES_INLINE lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        acc.part[i] = vusmmlaq_s32(acc.part[i], vreinterpretq_u8_s32(u8s.part[0]),
                                   vreinterpretq_s8_s32(s8s.part[0]));
    }
    return acc;
}
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_neon_i8mm = {
    .name = "neon_i8mm",
    .features = DYNQ_CPU_NEON_I8MM,
    .gemm_s8 = gemm_any,
    .gemm_f32 = gemm_f32,
    .epilogue_s32 = epilogue_s32,
    .epilogue_f32 = epilogue_f32,
    .range = range,
    .quantize = quantize,
    .activate = activate,
    .add = add,
    .multiply = multiply,
    .softmax = softmax,
    .layer_norm = layer_norm,
    .embed = embed,
    .pool = pool,
    .normalize = normalize,
    .attention_f32 = attention_f32,
    .attention_prepare = attention_prepare,
    .attention_s8 = attention_s8,
    .errors = errors,
    .probe_s8 = probe_s8,
    .probe_f32 = probe_f32,
    .probe_read = probe_read,
};
