/* AVX-VNNI: 32 products of bytes in an instruction, VEX-encoded, for CPUs without AVX-512. */
#include "kernels/lanes_avx2.h"
#include "kernels/codes_avx2.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/pool_lanes.h"
#include "kernels/error_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>

#define GEMM_F32_WIDE_ROWS                                                                         \
    1 /* 8 accumulators, and of more rows 6 by 1 panel: 12, of 16 registers */
#include "kernels/gemm_f32_lanes.h"

#define S8_ROWS          6 /* by one panel: 12 sums, 2 weights and a broadcast in 16 registers */
#define S8_MANY_ROWS     6
#define S8_SLOW_ROWS     4  /* 8 sums are too few for the latency of the instruction */
#define S8_COLUMNS       16 /* as wide as a tile */
#define CODES_PANELS     2
#define S8_GROUP_PANELS  1
#define S8_GROUP_ROWS    3
#define S8_GROUP_COLUMNS 16
#include "kernels/gemm_s8_ymm.h"

static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row, size_t columns,
                         const s8_sums *out)
{
    switch (rows) {
    case 1: s8_across(1, 4, 1, c, row, columns, out); break;
    case 2: s8_across(2, 1, 2, c, row, columns, out); break;
    case 3: s8_across(3, 1, 2, c, row, columns, out); break;
    case 4: s8_across(4, 1, 1, c, row, columns, out); break;
    case 5: s8_across(5, 1, 1, c, row, columns, out); break;
    default: s8_across(6, 1, 1, c, row, columns, out); break;
    }
}

static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s, size_t row,
                          size_t columns)
{
    switch (rows) {
    case 1: s8_group_across(8, 1, 2, c, s, row, columns); break;
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
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_avx_vnni = {
    .name = "avx_vnni",
    .features = DYNQ_CPU_AVX2 | DYNQ_CPU_AVX_VNNI,
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
