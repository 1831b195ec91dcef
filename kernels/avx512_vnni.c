/* AVX-512 with VNNI: 64 products of bytes in an instruction. */
#include "kernels/lanes_avx512.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/table.h"
#include "kernels/vpdpbusd.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS 6 /* 24 accumulators, 4 weights and a broadcast in 32 registers */
#include "kernels/gemm_f32_lanes.h"

/* Four accumulators of one row: either four panels at one step along k, or one panel at four
 * successive steps, which are added at the end (integer sums may be taken in any order). */
typedef struct quad {
    __m512i part[4];
} quad;

LANES_INLINE __m512i broadcast4(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

LANES_INLINE quad load_weights(const int8_t *w, size_t distance)
{
    return (quad){{_mm512_load_si512(w), _mm512_load_si512(w + distance),
                   _mm512_load_si512(w + 2 * distance), _mm512_load_si512(w + 3 * distance)}};
}

LANES_INLINE quad multiply_row(const int panels, quad acc, const uint8_t *q, const quad w)
{
    const __m512i first = broadcast4(q);
    acc.part[0] = vpdpbusd(acc.part[0], first, w.part[0]);
    if (panels == 4) {
        acc.part[1] = vpdpbusd(acc.part[1], first, w.part[1]);
        acc.part[2] = vpdpbusd(acc.part[2], first, w.part[2]);
        acc.part[3] = vpdpbusd(acc.part[3], first, w.part[3]);
    } else {
        acc.part[1] = vpdpbusd(acc.part[1], broadcast4(q + 4), w.part[1]);
        acc.part[2] = vpdpbusd(acc.part[2], broadcast4(q + 8), w.part[2]);
        acc.part[3] = vpdpbusd(acc.part[3], broadcast4(q + 12), w.part[3]);
    }
    return acc;
}

LANES_INLINE void store_row(const int panels, int32_t *out, const quad acc)
{
    if (panels == 4) {
        lanes_store_s32(out, acc.part[0]);
        lanes_store_s32(out + 16, acc.part[1]);
        lanes_store_s32(out + 32, acc.part[2]);
        lanes_store_s32(out + 48, acc.part[3]);
    } else {
        const __m512i a = _mm512_add_epi32(acc.part[0], acc.part[1]);
        const __m512i b = _mm512_add_epi32(acc.part[2], acc.part[3]);
        lanes_store_s32(out, _mm512_add_epi32(a, b));
    }
}

LANES_INLINE quad add_quads(const quad a, const quad b)
{
    return (quad){{_mm512_add_epi32(a.part[0], b.part[0]), _mm512_add_epi32(a.part[1], b.part[1]),
                   _mm512_add_epi32(a.part[2], b.part[2]), _mm512_add_epi32(a.part[3], b.part[3])}};
}

/* Loops over a constant number with the condition inside: Clang leaves a loop alone whose pragma
 * names another number than the loop has turns. */
LANES_INLINE void tile_step(const int rows, const int panels, quad *acc, size_t q_stride,
                            const uint8_t *q, const quad weights)
{
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            acc[m] = multiply_row(panels, acc[m], q + (size_t)m * q_stride, weights);
        }
    }
}

/* `rows` (1 to 6) and `panels` (4 or 1) are constants where it is called, so that the accumulators
 * stay in registers. Few rows take two turns of k at a time, to have enough sums under way for the
 * latency of the instruction. */
LANES_INLINE void tile(const int rows, const int panels, const dynq_gemm_s8 *gemm, const uint8_t *q,
                       const int8_t *w, int32_t *out)
{
    const int turns = rows <= 3 ? 2 : 1;
    const size_t distance = panels == 4 ? gemm->kpad * 16 : 64;
    const size_t step = panels == 4 ? 4 : 16;
    quad acc[TILE_ROWS] = {0};
    for (size_t k = 0; k < gemm->kpad; k += step * (size_t)turns) {
        tile_step(rows, panels, acc, gemm->q_stride, q + k, load_weights(w + k * 16, distance));
        if (turns == 2) {
            const size_t next = k + step;
            tile_step(rows, panels, acc + rows, gemm->q_stride, q + next,
                      load_weights(w + next * 16, distance));
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            store_row(panels, out + m * TILE_COLUMNS,
                      turns == 2 ? add_quads(acc[m], acc[rows + m]) : acc[m]);
        }
    }
}

LANES_INLINE void tile_rows(const int rows, size_t panels, const dynq_gemm_s8 *gemm,
                            const uint8_t *q, const int8_t *w, int32_t *out)
{
    if (panels == 4) {
        tile(rows, 4, gemm, q, w, out);
        return;
    }
    for (size_t p = 0; p < panels; p++) {
        tile(rows, 1, gemm, q, w + p * gemm->kpad * 16, out + 16 * p);
    }
}

static void tile_block(size_t rows, size_t panels, const dynq_gemm_s8 *gemm, const uint8_t *q,
                       const int8_t *w, int32_t *out)
{
    switch (rows) {
    case 1: tile_rows(1, panels, gemm, q, w, out); break;
    case 2: tile_rows(2, panels, gemm, q, w, out); break;
    case 3: tile_rows(3, panels, gemm, q, w, out); break;
    case 4: tile_rows(4, panels, gemm, q, w, out); break;
    case 5: tile_rows(5, panels, gemm, q, w, out); break;
    default: tile_rows(6, panels, gemm, q, w, out); break;
    }
}

/* Four panels at a time stay in the cache while all rows pass. */
static void gemm_s8(const dynq_gemm_s8 *gemm)
{
    int32_t sums[TILE_ROWS * TILE_COLUMNS];
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const int8_t *w = gemm->panels + column * gemm->kpad;
        for (size_t row = 0; row < gemm->rows; row += TILE_ROWS) {
            const size_t rows = lanes_smaller(TILE_ROWS, gemm->rows - row);
            tile_block(rows, (columns + 15) / 16, gemm, gemm->q + row * gemm->q_stride, w, sums);
            gemm_s8_finish(gemm, row, rows, column, columns, sums, 0);
        }
    }
}

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
};
