/* The FP32 product, written once over the lanes. Include after a lanes header, float_lanes.h and a
 * definition of GEMM_F32_WIDE_ROWS: how many rows by 4 panels of accumulators fit the registers; a
 * tile of more rows takes one panel at a time. */
#ifndef DYNQ_KERNELS_GEMM_F32_LANES_H
#define DYNQ_KERNELS_GEMM_F32_LANES_H

#include "kernels/kernel.h"

/* Loops run over a constant number with the condition inside: Clang leaves a loop alone whose
 * pragma names another number than the loop has turns. */

/* The accumulators of one row: 16 columns in each of up to four panels. */
typedef struct gemm_f32_quad {
    lanes_f32 panel[4];
} gemm_f32_quad;

LANES_INLINE gemm_f32_quad gemm_f32_load(const int panels, const float *w, size_t panel_size)
{
    gemm_f32_quad quad = {0};
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            quad.panel[p] = lanes_load(w + (size_t)p * panel_size, 16);
        }
    }
    return quad;
}

/* acc = x * w + acc: one step along k. */
LANES_INLINE gemm_f32_quad gemm_f32_step(const int panels, gemm_f32_quad acc, lanes_f32 x,
                                         const gemm_f32_quad w)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            acc.panel[p] = lanes_fma(x, w.panel[p], acc.panel[p]);
        }
    }
    return acc;
}

LANES_INLINE void gemm_f32_store(const int panels, float *out, const gemm_f32_quad acc)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            lanes_store(out + 16 * p, acc.panel[p], 16);
        }
    }
}

/* `rows` and `panels` are constants where it is called, so that the accumulators stay in registers.
 */
LANES_INLINE void gemm_f32_tile(const int rows, const int panels, const dynq_gemm_f32 *gemm,
                                const float *x, const float *w, float *out)
{
    gemm_f32_quad acc[TILE_ROWS] = {0};
    for (size_t k = 0; k < gemm->k; k++) {
        const gemm_f32_quad weights = gemm_f32_load(panels, w + k * 16, gemm->k * 16);
#pragma GCC unroll 6
        for (int m = 0; m < TILE_ROWS; m++) {
            if (m < rows) {
                const lanes_f32 a = lanes_set(x[(size_t)m * gemm->x_stride + k]);
                acc[m] = gemm_f32_step(panels, acc[m], a, weights);
            }
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            gemm_f32_store(panels, out + m * TILE_COLUMNS, acc[m]);
        }
    }
}

LANES_INLINE void gemm_f32_rows(const int rows, size_t panels, const dynq_gemm_f32 *gemm,
                                const float *x, const float *w, float *out)
{
    if (rows <= GEMM_F32_WIDE_ROWS && panels == 4) {
        gemm_f32_tile(rows, 4, gemm, x, w, out);
        return;
    }
    for (size_t p = 0; p < panels; p++) {
        gemm_f32_tile(rows, 1, gemm, x, w + p * gemm->k * 16, out + 16 * p);
    }
}

static void gemm_f32_block(size_t rows, size_t panels, const dynq_gemm_f32 *gemm, const float *x,
                           const float *w, float *out)
{
    switch (rows) {
    case 1: gemm_f32_rows(1, panels, gemm, x, w, out); break;
    case 2: gemm_f32_rows(2, panels, gemm, x, w, out); break;
    case 3: gemm_f32_rows(3, panels, gemm, x, w, out); break;
    case 4: gemm_f32_rows(4, panels, gemm, x, w, out); break;
    case 5: gemm_f32_rows(5, panels, gemm, x, w, out); break;
    default: gemm_f32_rows(6, panels, gemm, x, w, out); break;
    }
}

/* Four panels at a time stay in the cache while all rows pass. */
static void gemm_f32(const dynq_gemm_f32 *gemm)
{
    float products[TILE_ROWS * TILE_COLUMNS];
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const float *w = (const float *)gemm->panels + column * gemm->k;
        for (size_t row = 0; row < gemm->rows; row += TILE_ROWS) {
            const size_t rows = lanes_smaller(TILE_ROWS, gemm->rows - row);
            gemm_f32_block(rows, (columns + 15) / 16, gemm, gemm->x + row * gemm->x_stride, w,
                           products);
            if (gemm->products != NULL) {
                for (size_t m = 0; m < rows; m++) {
                    memcpy(gemm->products + (row + m) * gemm->products_stride + column,
                           products + m * TILE_COLUMNS, columns * sizeof(float));
                }
            } else {
                const dynq_epilogue epilogue = epilogue_at(&gemm->epilogue, row, column);
                epilogue_f32(rows, columns, products, TILE_COLUMNS, &epilogue);
            }
        }
    }
}

#endif
