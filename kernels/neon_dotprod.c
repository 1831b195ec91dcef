/* NEON with SDOT: 16 products of bytes, both signed, in an instruction. */
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

#define S8_ROWS          6 /* by one panel: 24 sums, 4 weights and a row's codes in 32 registers */
#define S8_MANY_ROWS     6
#define S8_SLOW_ROWS     0
#define S8_COLUMNS       64
#define CODES_PANELS     1
#define S8_GROUP_PANELS  1
#define S8_GROUP_ROWS    3
#define S8_GROUP_COLUMNS 16

/* A code less 128 is a signed byte; the sums are of (q - 128) * w. */
#define S8_OFFSET 128

typedef int8x16_t dot_codes;

LANES_INLINE dot_codes dot_broadcast(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return veorq_s8(vreinterpretq_s8_s32(vdupq_n_s32(bytes)), vdupq_n_s8(-S8_OFFSET));
}

LANES_INLINE lanes_s32 dot_weights(const int8_t *w)
{
    return (lanes_s32){{vreinterpretq_s32_s8(vld1q_s8(w)), vreinterpretq_s32_s8(vld1q_s8(w + 16)),
                        vreinterpretq_s32_s8(vld1q_s8(w + 32)),
                        vreinterpretq_s32_s8(vld1q_s8(w + 48))}};
}

LANES_INLINE lanes_s32 dot_add(lanes_s32 acc, dot_codes q, lanes_s32 w)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        acc.part[i] = vdotq_s32(acc.part[i], vreinterpretq_s8_s32(w.part[i]), q);
    }
    return acc;
}

/* acc + the products of four codes and four weights in each lane. */
LANES_INLINE lanes_s32 dot_lanes(lanes_s32 acc, lanes_s32 q, lanes_s32 w)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int8x16_t code = veorq_s8(vreinterpretq_s8_s32(q.part[i]), vdupq_n_s8(-S8_OFFSET));
        acc.part[i] = vdotq_s32(acc.part[i], vreinterpretq_s8_s32(w.part[i]), code);
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

#define ATTENTION_GROUPS      1
#define ATTENTION_TILE_KEYS   4
#define ATTENTION_TILE_ROWS   4
#define ATTENTION_TILE_PANELS 1
#include "kernels/attention_s8_lanes.h"

#define PROBE_WIDTH    6
#define PROBE_PRODUCTS 4
LANES_INLINE lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
{
    return dot_add(acc, vreinterpretq_s8_s32(u8s.part[0]), s8s);
}
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_neon_dotprod = {
    .name = "neon_dotprod",
    .features = DYNQ_CPU_NEON_DOTPROD,
    .gemm_s8 = gemm_s8,
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
