/* AVX-512 with VNNI: 64 products of bytes in an instruction. */
#include "kernels/lanes_avx512.h"
#include "kernels/codes_avx512.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/pool_lanes.h"
#include "kernels/error_lanes.h"
#include "kernels/table.h"
#include "kernels/vpdpbusd.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS 6 /* 24 accumulators, 4 weights and a broadcast in 32 registers */
#include "kernels/gemm_f32_lanes.h"

#define S8_ROWS          12 /* by two panels: 24 sums, 2 weights and a broadcast in 32 registers */
#define S8_MANY_ROWS     6  /* by four panels */
#define S8_SLOW_ROWS     0
#define S8_COLUMNS       64
#define CODES_PANELS     4
#define S8_GROUP_PANELS  4
#define S8_GROUP_ROWS    6
#define S8_GROUP_COLUMNS 32
#define S8_OFFSET        0

typedef __m512i dot_codes;

LANES_INLINE dot_codes dot_broadcast(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

LANES_INLINE lanes_s32 dot_weights(const int8_t *w)
{
    return _mm512_load_si512(w);
}

LANES_INLINE lanes_s32 dot_add(lanes_s32 acc, dot_codes q, lanes_s32 w)
{
    return vpdpbusd(acc, q, w);
}

/* acc + the products of four codes and four weights in each lane. */
LANES_INLINE lanes_s32 dot_lanes(lanes_s32 acc, lanes_s32 q, lanes_s32 w)
{
    return vpdpbusd(acc, q, w);
}

#include "kernels/gemm_s8_lanes.h"

static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row, size_t columns,
                         const s8_sums *out)
{
    switch (rows) {
    case 1: s8_across(1, 4, 2, c, row, columns, out); break;
    case 2: s8_across(2, 4, 2, c, row, columns, out); break;
    case 3: s8_across(3, 4, 2, c, row, columns, out); break;
    case 4: s8_across(4, 4, 1, c, row, columns, out); break;
    case 5: s8_across(5, 4, 1, c, row, columns, out); break;
    case 6: s8_across(6, 4, 1, c, row, columns, out); break;
    case 7: s8_across(7, 2, 1, c, row, columns, out); break;
    case 8: s8_across(8, 2, 1, c, row, columns, out); break;
    case 9: s8_across(9, 2, 1, c, row, columns, out); break;
    case 10: s8_across(10, 2, 1, c, row, columns, out); break;
    case 11: s8_across(11, 2, 1, c, row, columns, out); break;
    default: s8_across(12, 2, 1, c, row, columns, out); break;
    }
}

static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s, size_t row,
                          size_t columns)
{
    switch (rows) {
    case 1: s8_group_across(8, 1, 4, c, s, row, columns); break;
    case 2: s8_group_across(8, 2, 4, c, s, row, columns); break;
    case 3: s8_group_across(8, 3, 2, c, s, row, columns); break;
    case 4: s8_group_across(8, 4, 2, c, s, row, columns); break;
    case 5: s8_group_across(8, 5, 2, c, s, row, columns); break;
    default: s8_group_across(8, 6, 2, c, s, row, columns); break;
    }
}

#define ATTENTION_GROUPS      2
#define ATTENTION_TILE_KEYS   8
#define ATTENTION_TILE_ROWS   8
#define ATTENTION_TILE_PANELS 2
#include "kernels/attention_s8_lanes.h"

#define PROBE_WIDTH    16
#define PROBE_PRODUCTS 4
LANES_INLINE lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
{
    return dot_add(acc, u8s, s8s);
}
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_avx512_vnni = {
    .name = "avx512_vnni",
    .features = DYNQ_CPU_AVX2 | DYNQ_CPU_AVX512 | DYNQ_CPU_AVX512_VNNI,
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
