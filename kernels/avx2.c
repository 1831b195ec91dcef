/* AVX2 without any dot-product instruction. */
#include "kernels/lanes_avx2.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS                                                                         \
    1 /* 8 accumulators, and of more rows 6 by 1 panel: 12, of 16 registers */
#include "kernels/gemm_f32_lanes.h"

/* Rows that the s8 tile takes: 8 accumulators, 2 weights, 2 constants, a, |a| and two products fill
 * the 16 registers. */
#define S8_ROWS 4

/* The sums are of (q - 128) * w: |q - 128| is an unsigned byte again and its sign can move to the
 * weight, and then the 16-bit sums of vpmaddubsw cannot saturate: 2 * 128 * 127 < 32768. */
#define S8_OFFSET 128

LANES_INLINE __m256i broadcast4(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

LANES_INLINE lanes_s32 load_weights(const int8_t *w)
{
    return (lanes_s32){_mm256_load_si256((const __m256i *)w),
                       _mm256_load_si256((const __m256i *)(w + 32))};
}

/* acc + the sums of four products of `a` (magnitude and sign apart) and b in each lane. */
LANES_INLINE __m256i multiply_add(__m256i acc, __m256i magnitude, __m256i a, __m256i b)
{
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LANES_INLINE lanes_s32 multiply_row(lanes_s32 acc, const uint8_t *q, lanes_s32 b)
{
    const __m256i a = _mm256_xor_si256(broadcast4(q), _mm256_set1_epi8(-S8_OFFSET));
    const __m256i magnitude = _mm256_abs_epi8(a);
    return (lanes_s32){multiply_add(acc.low, magnitude, a, b.low),
                       multiply_add(acc.high, magnitude, a, b.high)};
}

/* `rows` (1 to 4) is a constant where it is called, so that the accumulators stay in registers.
 * Loops over a constant number with the condition inside: Clang leaves a loop alone whose pragma
 * names another number than the loop has turns. */
LANES_INLINE void tile(const int rows, const dynq_gemm_s8 *gemm, const uint8_t *q, const int8_t *w,
                       int32_t *out)
{
    lanes_s32 acc[S8_ROWS] = {0};
    for (size_t k = 0; k < gemm->kpad; k += 4) {
        const lanes_s32 b = load_weights(w + k * 16);
#pragma GCC unroll 4
        for (int m = 0; m < S8_ROWS; m++) {
            if (m < rows) {
                acc[m] = multiply_row(acc[m], q + (size_t)m * gemm->q_stride + k, b);
            }
        }
    }
#pragma GCC unroll 4
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            lanes_store_s32(out + m * TILE_COLUMNS, acc[m]);
        }
    }
}

static void tile_block(size_t rows, size_t panels, const dynq_gemm_s8 *gemm, const uint8_t *q,
                       const int8_t *w, int32_t *out)
{
    for (size_t p = 0; p < panels; p++) {
        const int8_t *panel = w + p * gemm->kpad * 16;
        switch (rows) {
        case 1: tile(1, gemm, q, panel, out + 16 * p); break;
        case 2: tile(2, gemm, q, panel, out + 16 * p); break;
        case 3: tile(3, gemm, q, panel, out + 16 * p); break;
        default: tile(4, gemm, q, panel, out + 16 * p); break;
        }
    }
}

/* What the sums of (q - 128) * w lack to those of q * w: 128 times the sum of each column. */
static void tile_correction(size_t panels, const dynq_gemm_s8 *gemm, const int8_t *w,
                            int32_t *correction)
{
    const __m256i magnitude = _mm256_set1_epi8(1);
    for (size_t p = 0; p < panels; p++) {
        lanes_s32 sum = {0};
        for (size_t k = 0; k < gemm->kpad; k += 4) {
            const lanes_s32 b = load_weights(w + (p * gemm->kpad + k) * 16);
            sum.low = multiply_add(sum.low, magnitude, magnitude, b.low);
            sum.high = multiply_add(sum.high, magnitude, magnitude, b.high);
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

/* Panels stay in the cache while all rows pass. With the zero point at hand, the epilogue takes
 * the offset out of it; without, the sums are corrected. */
static void gemm_s8(const dynq_gemm_s8 *gemm)
{
    int32_t sums[S8_ROWS * TILE_COLUMNS], correction[TILE_COLUMNS];
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const size_t panels = (columns + 15) / 16;
        const int8_t *w = gemm->panels + column * gemm->kpad;
        if (gemm->sums != NULL) {
            tile_correction(panels, gemm, w, correction);
        }
        for (size_t row = 0; row < gemm->rows; row += S8_ROWS) {
            const size_t rows = lanes_smaller(S8_ROWS, gemm->rows - row);
            tile_block(rows, panels, gemm, gemm->q + row * gemm->q_stride, w, sums);
            if (gemm->sums != NULL) {
                correct(rows, panels, correction, sums);
            }
            gemm_s8_finish(gemm, row, rows, column, columns, sums, S8_OFFSET);
        }
    }
}

const dynq_kernel dynq_kernel_avx2 = {
    .name = "avx2",
    .features = DYNQ_CPU_AVX2,
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
