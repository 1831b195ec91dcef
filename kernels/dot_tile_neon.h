/* The INT8 tile of instructions that multiply a panel row by four bytes of a row of activations.
 * Include after float_lanes.h and definitions of
 *     dot_codes                   sixteen activations in a register
 *     dot_load(q)                 from memory
 *     dot_part(lane, acc, w, a)   acc + the sums of four products of w and lane `lane` of a */
#ifndef DYNQ_KERNELS_DOT_TILE_NEON_H
#define DYNQ_KERNELS_DOT_TILE_NEON_H

#include "kernels/kernel.h"

/* The sums of four inputs of all rows; a weight is taken to all of them before the next is loaded.
 */
LANES_INLINE void dot_step(const int rows, const int lane, lanes_s32 *acc, const int8_t *w,
                           const dot_codes *a)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int8x16_t weights = vld1q_s8(w + 16 * i);
#pragma GCC unroll 6
        for (int m = 0; m < TILE_ROWS; m++) {
            if (m < rows) {
                acc[m].part[i] = dot_part(lane, acc[m].part[i], weights, a[m]);
            }
        }
    }
}

/* One panel by `rows` (1 to 6), a constant where it is called, so that the accumulators stay in
 * registers. One and two rows have four and two sets of sums under way, for the latency of the
 * instruction. Loops run over a constant number with the condition inside: Clang leaves a loop
 * alone whose pragma names another number than the loop has turns. */
LANES_INLINE void dot_tile(const int rows, const dynq_gemm_s8 *gemm, const uint8_t *q,
                           const int8_t *w, int32_t *out)
{
    const int sets = rows == 1 ? 4 : rows == 2 ? 2 : 1;
    lanes_s32 acc[TILE_ROWS] = {0};
    for (size_t k = 0; k < gemm->kpad; k += 16) {
        dot_codes a[TILE_ROWS];
#pragma GCC unroll 6
        for (int m = 0; m < TILE_ROWS; m++) {
            if (m < rows) {
                a[m] = dot_load(q + (size_t)m * gemm->q_stride + k);
            }
        }
#pragma GCC unroll 4
        for (int lane = 0; lane < 4; lane++) {
            dot_step(rows, lane, acc + lane % sets * rows, w + k * 16 + lane * 64, a);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            lanes_s32 sum = acc[m];
            for (int set = 1; set < sets; set++) {
                sum = lanes_add_s32(sum, acc[set * rows + m]);
            }
            lanes_store_s32(out + m * TILE_COLUMNS, sum);
        }
    }
}

#endif
