/* The FP32 product, written once over the lanes. Include after a lanes header, float_lanes.h and a
 * definition of GEMM_F32_WIDE_ROWS: how many rows by 4 panels of accumulators fit the registers; a
 * tile of more rows takes one panel at a time. */
#ifndef DYNQ_KERNELS_GEMM_F32_LANES_H
#define DYNQ_KERNELS_GEMM_F32_LANES_H

#include "kernels/kernel.h"

enum {
    GEMM_F32_DEPTH = 128,      /* inputs of four panels that are widened at once: 32 KiB */
    GEMM_F32_BLOCK_ROWS = 96,  /* rows that pass while these are in the cache */
    GEMM_F32_WIDENED_ROWS = 12 /* from so many rows on, weights are widened once for all of them */
};

/* Loops run over a constant number with the condition inside: Clang leaves a loop alone whose
 * pragma names another number than the loop has turns. */

/* What all tiles of a pass over the weights have in common. */
typedef struct gemm_f32_pass {
    dynq_format format;
    size_t k, x_stride;
    size_t panel_bytes;
    int resumed; /* the sums go on from those in the tile */
} gemm_f32_pass;

/* The accumulators of one row: 16 columns in each of up to four panels. */
typedef struct gemm_f32_quad {
    lanes_f32 panel[4];
} gemm_f32_quad;

/* Bytes from the weights of one step to those of the next: of one input, or of two in BF16. */
LANES_INLINE size_t gemm_f32_row_bytes(const dynq_format format)
{
    return format == DYNQ_FORMAT_FP16 ? 32 : 64;
}

/* Sixteen weights, widened; `odd`: the second input of a pair. */
LANES_INLINE lanes_f32 gemm_f32_weights(const dynq_format format, const int odd, const uint8_t *w)
{
    if (format == DYNQ_FORMAT_FP16) {
        return lanes_load_fp16((const uint16_t *)(const void *)w);
    }
    if (format == DYNQ_FORMAT_BF16) {
        const lanes_s32 pairs = lanes_load_s32((const int32_t *)(const void *)w, 16);
        return lanes_from_bits(odd ? lanes_and(pairs, lanes_set_s32((int32_t)0xFFFF0000))
                                   : lanes_shift_left_16(pairs));
    }
    return lanes_load((const float *)(const void *)w, 16);
}

LANES_INLINE gemm_f32_quad gemm_f32_load(const dynq_format format, const int odd, const int panels,
                                         const uint8_t *w, size_t panel_bytes)
{
    gemm_f32_quad quad = {0};
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            quad.panel[p] = gemm_f32_weights(format, odd, w + (size_t)p * panel_bytes);
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

/* One input of all rows: acc[m] = x[m] * w + acc[m]. */
LANES_INLINE void gemm_f32_input(const int rows, const int panels, const float *x, size_t x_stride,
                                 const gemm_f32_quad weights, gemm_f32_quad acc[TILE_ROWS])
{
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            const lanes_f32 a = lanes_set(x[(size_t)m * x_stride]);
            acc[m] = gemm_f32_step(panels, acc[m], a, weights);
        }
    }
}

/* `rows`, `panels` and `format` are constants where it is called, so that the accumulators stay in
 * registers. */
LANES_INLINE void gemm_f32_tile(const int rows, const int panels, const dynq_format format,
                                const gemm_f32_pass *pass, const float *x, const uint8_t *w,
                                float *out)
{
    const size_t inputs = format == DYNQ_FORMAT_BF16 ? 2 : 1;
    const size_t x_stride = pass->x_stride, panel_bytes = pass->panel_bytes;
    gemm_f32_quad acc[TILE_ROWS] = {0};
    if (pass->resumed) {
#pragma GCC unroll 6
        for (int m = 0; m < TILE_ROWS; m++) {
            if (m < rows) {
                acc[m] = gemm_f32_load(DYNQ_FORMAT_FP32, 0, panels,
                                       (const uint8_t *)(out + m * TILE_COLUMNS), 64);
            }
        }
    }
    size_t k = 0;
    for (; k + inputs <= pass->k; k += inputs, w += gemm_f32_row_bytes(format)) {
        gemm_f32_input(rows, panels, x + k, x_stride,
                       gemm_f32_load(format, 0, panels, w, panel_bytes), acc);
        if (format == DYNQ_FORMAT_BF16) {
            gemm_f32_input(rows, panels, x + k + 1, x_stride,
                           gemm_f32_load(format, 1, panels, w, panel_bytes), acc);
        }
    }
    if (k < pass->k) {
        gemm_f32_input(rows, panels, x + k, x_stride,
                       gemm_f32_load(format, 0, panels, w, panel_bytes), acc);
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE_ROWS; m++) {
        if (m < rows) {
            gemm_f32_store(panels, out + m * TILE_COLUMNS, acc[m]);
        }
    }
}

LANES_INLINE void gemm_f32_rows(const int rows, const dynq_format format, size_t panels,
                                const gemm_f32_pass *pass, const float *x, const uint8_t *w,
                                float *out)
{
    if (rows <= GEMM_F32_WIDE_ROWS && panels == 4) {
        gemm_f32_tile(rows, 4, format, pass, x, w, out);
        return;
    }
    for (size_t p = 0; p < panels; p++) {
        gemm_f32_tile(rows, 1, format, pass, x, w + p * pass->panel_bytes, out + 16 * p);
    }
}

LANES_INLINE void gemm_f32_block_of(const dynq_format format, size_t rows, size_t panels,
                                    const gemm_f32_pass *pass, const float *x, const uint8_t *w,
                                    float *out)
{
    switch (rows) {
    case 1: gemm_f32_rows(1, format, panels, pass, x, w, out); break;
    case 2: gemm_f32_rows(2, format, panels, pass, x, w, out); break;
    case 3: gemm_f32_rows(3, format, panels, pass, x, w, out); break;
    case 4: gemm_f32_rows(4, format, panels, pass, x, w, out); break;
    case 5: gemm_f32_rows(5, format, panels, pass, x, w, out); break;
    default: gemm_f32_rows(6, format, panels, pass, x, w, out); break;
    }
}

/* Up to TILE_ROWS rows by up to four panels. */
static void gemm_f32_block(size_t rows, size_t panels, const gemm_f32_pass *pass, const float *x,
                           const uint8_t *w, float *out)
{
    switch (pass->format) {
    case DYNQ_FORMAT_FP16:
        gemm_f32_block_of(DYNQ_FORMAT_FP16, rows, panels, pass, x, w, out);
        break;
    case DYNQ_FORMAT_BF16:
        gemm_f32_block_of(DYNQ_FORMAT_BF16, rows, panels, pass, x, w, out);
        break;
    default: gemm_f32_block_of(DYNQ_FORMAT_FP32, rows, panels, pass, x, w, out); break;
    }
}

/* Takes products to where the caller wants them. */
static void gemm_f32_finish(const dynq_gemm_f32 *gemm, size_t row, size_t rows, size_t column,
                            size_t columns, const float *products)
{
    if (gemm->products == NULL) {
        const dynq_epilogue epilogue = epilogue_at(&gemm->epilogue, row, column);
        epilogue_f32(rows, columns, products, TILE_COLUMNS, &epilogue);
        return;
    }
    for (size_t m = 0; m < rows; m++) {
        memcpy(gemm->products + (row + m) * gemm->products_stride + column,
               products + m * TILE_COLUMNS, columns * sizeof(float));
    }
}

/* Inputs [0, count) of halves from `w` on to panels of floats, one after the other. */
LANES_INLINE void gemm_f32_widen(const dynq_format format, size_t panels, size_t panel_bytes,
                                 size_t count, const uint8_t *w, float *floats)
{
    const size_t inputs = format == DYNQ_FORMAT_BF16 ? 2 : 1;
    for (size_t p = 0; p < panels; p++) {
        const uint8_t *row = w + p * panel_bytes;
        float *out = floats + p * count * 16;
        for (size_t k = 0; k < count; k += inputs, row += gemm_f32_row_bytes(format)) {
            lanes_store(out + k * 16, gemm_f32_weights(format, 0, row), 16);
            if (format == DYNQ_FORMAT_BF16 && k + 1 < count) {
                lanes_store(out + k * 16 + 16, gemm_f32_weights(format, 1, row), 16);
            }
        }
    }
}

/* Many rows by up to four panels of halves: piece by piece along k, a piece of weights is widened
 * once and all rows go on with it. */
static void gemm_f32_many(const dynq_gemm_f32 *gemm, const gemm_f32_pass *halves, size_t row,
                          size_t rows, size_t panels, const uint8_t *w, float *products)
{
    _Alignas(64) float floats[4 * GEMM_F32_DEPTH * 16];
    for (size_t k = 0; k < gemm->k; k += GEMM_F32_DEPTH) {
        const size_t count = lanes_smaller(GEMM_F32_DEPTH, gemm->k - k);
        const gemm_f32_pass pass = {.format = DYNQ_FORMAT_FP32,
                                    .k = count,
                                    .x_stride = gemm->x_stride,
                                    .panel_bytes = count * 64,
                                    .resumed = k > 0};
        if (halves->format == DYNQ_FORMAT_FP16) {
            gemm_f32_widen(DYNQ_FORMAT_FP16, panels, halves->panel_bytes, count, w + k * 32,
                           floats);
        } else {
            gemm_f32_widen(DYNQ_FORMAT_BF16, panels, halves->panel_bytes, count, w + k * 32,
                           floats);
        }
        for (size_t m = 0; m < rows; m += TILE_ROWS) {
            gemm_f32_block(lanes_smaller(TILE_ROWS, rows - m), panels, &pass,
                           gemm->x + (row + m) * gemm->x_stride + k, (const uint8_t *)floats,
                           products + m * TILE_COLUMNS);
        }
    }
}

/* Up to four panels of halves: a few rows read them as they are. */
static void gemm_f32_halves(const dynq_gemm_f32 *gemm, const gemm_f32_pass *pass, size_t column,
                            size_t columns, const uint8_t *w)
{
    _Alignas(64) float products[GEMM_F32_BLOCK_ROWS * TILE_COLUMNS];
    size_t row = 0;
    while (row < gemm->rows) {
        const size_t left = gemm->rows - row, panels = (columns + 15) / 16;
        const size_t rows = left < GEMM_F32_WIDENED_ROWS ? lanes_smaller(TILE_ROWS, left)
                                                         : lanes_smaller(GEMM_F32_BLOCK_ROWS, left);
        if (left < GEMM_F32_WIDENED_ROWS) {
            gemm_f32_block(rows, panels, pass, gemm->x + row * gemm->x_stride, w, products);
        } else {
            gemm_f32_many(gemm, pass, row, rows, panels, w, products);
        }
        gemm_f32_finish(gemm, row, rows, column, columns, products);
        row += rows;
    }
}

/* Four panels at a time stay in the cache while all rows pass. */
static void gemm_f32(const dynq_gemm_f32 *gemm)
{
    float products[TILE_ROWS * TILE_COLUMNS];
    const int halves = gemm->format == DYNQ_FORMAT_FP16 || gemm->format == DYNQ_FORMAT_BF16;
    const size_t k = gemm->format == DYNQ_FORMAT_BF16 ? gemm->k + gemm->k % 2 : gemm->k;
    const gemm_f32_pass pass = {.format = gemm->format,
                                .k = gemm->k,
                                .x_stride = gemm->x_stride,
                                .panel_bytes = k * (halves ? 32 : 64)};
    for (size_t column = 0; column < gemm->columns; column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, gemm->columns - column);
        const uint8_t *w = (const uint8_t *)gemm->panels + column / 16 * pass.panel_bytes;
        if (halves) {
            gemm_f32_halves(gemm, &pass, column, columns, w);
            continue;
        }
        for (size_t row = 0; row < gemm->rows; row += TILE_ROWS) {
            const size_t rows = lanes_smaller(TILE_ROWS, gemm->rows - row);
            gemm_f32_block(rows, (columns + 15) / 16, &pass, gemm->x + row * gemm->x_stride, w,
                           products);
            gemm_f32_finish(gemm, row, rows, column, columns, products);
        }
    }
}

#endif
