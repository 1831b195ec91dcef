/* NEON with SDOT: 16 products of bytes, both signed, in an instruction. */
#include "kernels/lanes_neon.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS                                                                         \
    1 /* 16 accumulators, and of more rows 6 by 1 panel: 24, of 32 registers */
#include "kernels/gemm_f32_lanes.h"

/* A code less 128 is a signed byte; the sums are of (q - 128) * w. */
#define S8_OFFSET 128

typedef int8x16_t dot_codes;

LANES_INLINE dot_codes dot_load(const uint8_t *q)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(q), vdupq_n_u8(S8_OFFSET)));
}

/* The number of the lane is part of the instruction. */
LANES_INLINE int32x4_t dot_part(const int lane, int32x4_t acc, int8x16_t w, dot_codes a)
{
    switch (lane) {
    case 0: return vdotq_laneq_s32(acc, w, a, 0);
    case 1: return vdotq_laneq_s32(acc, w, a, 1);
    case 2: return vdotq_laneq_s32(acc, w, a, 2);
    default: return vdotq_laneq_s32(acc, w, a, 3);
    }
}

#include "kernels/dot_tile_neon.h"

static void tile_block(size_t rows, size_t panels, const dynq_gemm_s8 *gemm, const uint8_t *q,
                       const int8_t *w, int32_t *out)
{
    for (size_t p = 0; p < panels; p++) {
        const int8_t *panel = w + p * gemm->kpad * 16;
        switch (rows) {
        case 1: dot_tile(1, gemm, q, panel, out + 16 * p); break;
        case 2: dot_tile(2, gemm, q, panel, out + 16 * p); break;
        case 3: dot_tile(3, gemm, q, panel, out + 16 * p); break;
        case 4: dot_tile(4, gemm, q, panel, out + 16 * p); break;
        case 5: dot_tile(5, gemm, q, panel, out + 16 * p); break;
        default: dot_tile(6, gemm, q, panel, out + 16 * p); break;
        }
    }
}

/* What the sums of (q - 128) * w lack to those of q * w: 128 times the sum of each column. */
static void tile_correction(size_t panels, const dynq_gemm_s8 *gemm, const int8_t *w,
                            int32_t *correction)
{
    const dot_codes ones = vdupq_n_s8(1);
    for (size_t p = 0; p < panels; p++) {
        lanes_s32 sum = lanes_set_s32(0);
        for (size_t k = 0; k < gemm->kpad; k += 4) {
            dot_step(1, 0, &sum, w + (p * gemm->kpad + k) * 16, &ones);
        }
        lanes_store_s32(correction + 16 * p, lanes_mul_s32(sum, lanes_set_s32(S8_OFFSET)));
    }
}

static void correct(size_t rows, size_t panels, const int32_t *correction, int32_t *sums)
{
    for (size_t m = 0; m < rows; m++) {
        for (size_t p = 0; p < panels; p++) {
            int32_t *sum = sums + m * TILE_COLUMNS + 16 * p;
            lanes_store_s32(sum, lanes_add_s32(lanes_load_s32(sum, 16),
                                               lanes_load_s32(correction + 16 * p, 16)));
        }
    }
}

/* Four panels at a time stay in the cache while all rows pass. With the zero point at hand, the
 * epilogue takes the offset out of it; without, the sums are corrected. */
static void gemm_s8(const dynq_gemm_s8 *gemm)
{
    int32_t sums[TILE_ROWS * TILE_COLUMNS], correction[TILE_COLUMNS];
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const size_t panels = (columns + 15) / 16;
        const int8_t *w = gemm->panels + column * gemm->kpad;
        if (gemm->sums != NULL) {
            tile_correction(panels, gemm, w, correction);
        }
        for (size_t row = 0; row < gemm->rows; row += TILE_ROWS) {
            const size_t rows = lanes_smaller(TILE_ROWS, gemm->rows - row);
            tile_block(rows, panels, gemm, gemm->q + row * gemm->q_stride, w, sums);
            if (gemm->sums != NULL) {
                correct(rows, panels, correction, sums);
            }
            gemm_s8_finish(gemm, row, rows, column, columns, sums, S8_OFFSET);
        }
    }
}

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
};
