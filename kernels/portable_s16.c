/* INT16: portable C for every CPU, written so that compilers turn the inner loops into whatever
 * multiplies pairs of 16 bits there (pmaddwd, smlal). README.md has the formulas. */
#include "kernels/kernel.h"
#include "kernels/ref_epilogue.h"

#include <stdint.h>

enum {
    PANEL = 16,
    DEPTH = 496, /* inputs whose products an int32 holds, with weights of -32768 (which files can
                  * have) as well: 496 * 2^7 * 2^15 < 2^31 */
    ROWS = 32    /* rows that pass while a panel's weights of so many inputs are at hand */
};

/* A code is 256 * high + low, low in [-128, 127], high in [-128, 128]. */
typedef struct split_codes {
    int16_t high[DEPTH], low[DEPTH];
} split_codes;

static void split(const int16_t *q, size_t count, split_codes *codes)
{
    for (size_t k = 0; k < count; k++) {
        const int low = ((q[k] + 128) & 255) - 128;
        codes->low[k] = (int16_t)low;
        codes->high[k] = (int16_t)((q[k] - low) / 256);
    }
}

/* Exact: neither sum leaves int32. */
static int64_t dot(const split_codes *codes, const int16_t *w, size_t count)
{
    int32_t high = 0, low = 0;
    for (size_t k = 0; k < count; k++) {
        high += codes->high[k] * w[k];
    }
    for (size_t k = 0; k < count; k++) {
        low += codes->low[k] * w[k];
    }
    return (int64_t)high * 256 + low;
}

/* Column by column, from pairs of inputs to inputs in a row. */
static void turn(const int16_t *panel, size_t count, int16_t w[PANEL][DEPTH])
{
    for (size_t c = 0; c < PANEL; c++) {
        for (size_t pair = 0; pair < count / 2; pair++) {
            w[c][2 * pair] = panel[(pair * PANEL + c) * 2];
            w[c][2 * pair + 1] = panel[(pair * PANEL + c) * 2 + 1];
        }
    }
}

/* Sums of up to ROWS rows with a panel. */
static void multiply(const dynq_gemm_s16 *gemm, size_t row, size_t rows, const int16_t *panel,
                     int64_t sums[ROWS][PANEL])
{
    int16_t w[PANEL][DEPTH];
    split_codes codes;
    memset(sums, 0, rows * sizeof *sums);
    for (size_t k = 0; k < gemm->kpad; k += DEPTH) {
        const size_t count = gemm->kpad - k < DEPTH ? gemm->kpad - k : DEPTH;
        turn(panel + k * PANEL, count, w);
        for (size_t m = 0; m < rows; m++) {
            split(gemm->q + (row + m) * gemm->q_stride + k, count, &codes);
            for (size_t c = 0; c < PANEL; c++) {
                sums[m][c] += dot(&codes, w[c], count);
            }
        }
    }
}

static void finish(const dynq_gemm_s16 *gemm, size_t row, size_t column, int64_t sum)
{
    const float scale = gemm->row_scale[row * gemm->row_step] * gemm->column_scale[column];
    const float v = fmaf((float)sum, scale, dynq_ref_bias(&gemm->epilogue, column));
    dynq_ref_emit(&gemm->epilogue, row, column, v);
}

void dynq_portable_gemm_s16(const dynq_gemm_s16 *gemm)
{
    int64_t sums[ROWS][PANEL];
    for (size_t first = 0; first < gemm->columns; first += PANEL) {
        const size_t columns = gemm->columns - first < PANEL ? gemm->columns - first : PANEL;
        for (size_t row = 0; row < gemm->rows; row += ROWS) {
            const size_t rows = gemm->rows - row < ROWS ? gemm->rows - row : ROWS;
            multiply(gemm, row, rows, gemm->panels + first * gemm->kpad, sums);
            for (size_t m = 0; m < rows; m++) {
                for (size_t c = 0; c < columns; c++) {
                    finish(gemm, row + m, first + c, sums[m][c]);
                }
            }
        }
    }
}

/* rne(clamp(v, -32767, 32767)), -32767 for NaN. Comparisons are of bits: compilers do not make
 * vectors of those of floats, which may trap. */
static int16_t code_of(float v)
{
    const int32_t sign = INT32_MIN, limit = 0x46FFFE00, infinity = 0x7F800000; /* limit: 32767.0f */
    const float shift = 0x1.8p23f; /* rounds what it is added to */
    const int32_t bits = (int32_t)dynq_ref_bits(v), magnitude = bits & INT32_MAX;
    const int32_t clamped = magnitude < limit ? magnitude : limit;
    const int32_t negative = magnitude > infinity ? sign : bits & sign;
    return (int16_t)(int32_t)(dynq_ref_from_bits((uint32_t)(clamped | negative)) + shift - shift);
}

void dynq_portable_quantize_s16(const dynq_quantize_s16 *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        int16_t *q = block->q + m * block->q_stride;
        const float inverse = block->row_inverse[m * block->row_step];
        for (size_t c = 0; c < block->columns; c++) {
            q[c] = code_of(x[c] * inverse);
        }
        for (size_t c = block->columns; c < block->padded; c++) {
            q[c] = 0;
        }
        if (block->range != NULL) {
            dynq_ref_join(block->range, x, block->columns);
        }
    }
}
