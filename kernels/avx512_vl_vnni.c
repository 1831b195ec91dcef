/* AVX-512 VL with VNNI: 32 products of bytes in an instruction and twice the registers of avx_vnni,
 * for CPUs that slow down for zmm. */
#include "kernels/lanes_avx2.h"
#include "kernels/codes_avx2.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/pool_lanes.h"
#include "kernels/error_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>

#define GEMM_F32_WIDE_ROWS 2 /* 16 accumulators, 8 weights and a broadcast in 32 registers */
#include "kernels/gemm_f32_lanes.h"

#define S8_ROWS          6 /* by two panels: 24 sums, 4 weights and a broadcast in 32 registers */
#define S8_MANY_ROWS     6
#define S8_SLOW_ROWS     0
#define S8_COLUMNS       32 /* as wide as a tile */
#define CODES_PANELS     2
#define S8_GROUP_PANELS  2
#define S8_GROUP_ROWS    6
#define S8_GROUP_COLUMNS 16
#include "kernels/gemm_s8_ymm.h"

static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row, size_t columns,
                         const s8_sums *out)
{
    switch (rows) {
    case 1: s8_across(1, 4, 2, c, row, columns, out); break;
    case 2: s8_across(2, 2, 2, c, row, columns, out); break;
    case 3: s8_across(3, 2, 2, c, row, columns, out); break;
    case 4: s8_across(4, 2, 1, c, row, columns, out); break;
    case 5: s8_across(5, 2, 1, c, row, columns, out); break;
    default: s8_across(6, 2, 1, c, row, columns, out); break;
    }
}

static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s, size_t row,
                          size_t columns)
{
    switch (rows) {
    case 1: s8_group_across(8, 1, 2, c, s, row, columns); break;
    case 2: s8_group_across(8, 2, 2, c, s, row, columns); break;
    case 3: s8_group_across(8, 3, 1, c, s, row, columns); break;
    case 4: s8_group_across(8, 4, 1, c, s, row, columns); break;
    case 5: s8_group_across(8, 5, 1, c, s, row, columns); break;
    default: s8_group_across(8, 6, 1, c, s, row, columns); break;
    }
}

#define ATTENTION_GROUPS      1
#define ATTENTION_TILE_KEYS   8
#define ATTENTION_TILE_ROWS   4
#define ATTENTION_TILE_PANELS 2
#include "kernels/attention_s8_lanes.h"

#define PROBE_WIDTH    12
#define PROBE_PRODUCTS 4
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_avx512_vl_vnni = {
    .name = "avx512_vl_vnni",
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
