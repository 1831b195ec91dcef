/* AVX-512 with BF16: an instruction multiplies pairs of BF16 with pairs and adds both products to a
 * float, the second one first, each sum rounded once. README.md has the formula. */
#include "kernels/lanes_avx512.h"
#include "kernels/epilogue.h"
#include "kernels/table.h"

#include <dynq/cpu.h>
#include <string.h>

enum {
    TILE = 6,          /* rows by four panels: 24 sums, 4 weights and a broadcast in 32 registers */
    MANY_ROWS = 24,    /* rows that are rounded at once ... */
    DEPTH = 512,       /* ... so many inputs of them: 24 KiB ... */
    MANY_COLUMNS = 256 /* ... and then multiplied with so many columns, to sums of 24 KiB */
};

/* A piece of x, rounded, pair by pair; behind the last input there are zeros. */
typedef struct rounded_rows {
    _Alignas(64) uint32_t pairs[MANY_ROWS][DEPTH / 2];
} rounded_rows;

typedef struct along_k {
    size_t pairs;       /* of inputs in this piece */
    size_t panel_bytes; /* of all inputs */
    int resumed;        /* the sums go on from those that are there */
} along_k;

typedef struct quad {
    __m512 panel[4];
} quad;

static void round_rows(size_t rows, size_t count, const float *x, size_t x_stride,
                       rounded_rows *rounded)
{
    for (size_t m = 0; m < rows; m++) {
        for (size_t k = 0; k < count; k += 16) {
            const size_t left = count - k;
            const __m512 values = lanes_load(x + m * x_stride + k, left < 16 ? left : 16);
            const __m256i halves = (__m256i)_mm512_cvtneps_pbh(values);
            _mm256_store_si256((__m256i *)&rounded->pairs[m][k / 2], halves);
        }
    }
}

/* acc[m] += the products of a pair of inputs, of all rows. */
LANES_INLINE void multiply_pair(const int rows, const int panels, const uint32_t *x,
                                const uint8_t *w, size_t panel_bytes, quad acc[TILE])
{
    __m512bh weights[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            weights[p] = (__m512bh)_mm512_load_si512(w + (size_t)p * panel_bytes);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE; m++) {
        if (m < rows) {
            const __m512bh a = (__m512bh)_mm512_set1_epi32((int)x[m * (DEPTH / 2)]);
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                if (p < panels) {
                    acc[m].panel[p] = _mm512_dpbf16_ps(acc[m].panel[p], a, weights[p]);
                }
            }
        }
    }
}

/* `rows` and `panels` are constants where it is called, so that the sums stay in registers. */
LANES_INLINE void multiply_tile(const int rows, const int panels, const along_k *piece,
                                const uint32_t *x, const uint8_t *w, float *sums)
{
    quad acc[TILE] = {0};
#pragma GCC unroll 6
    for (int m = 0; m < TILE; m++) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            if (m < rows && p < panels && piece->resumed) {
                acc[m].panel[p] = _mm512_load_ps(sums + m * MANY_COLUMNS + p * 16);
            }
        }
    }
    for (size_t pair = 0; pair < piece->pairs; pair++) {
        multiply_pair(rows, panels, x + pair, w + pair * 64, piece->panel_bytes, acc);
    }
#pragma GCC unroll 6
    for (int m = 0; m < TILE; m++) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            if (m < rows && p < panels) {
                _mm512_store_ps(sums + m * MANY_COLUMNS + p * 16, acc[m].panel[p]);
            }
        }
    }
}

LANES_INLINE void multiply_rows(const int rows, size_t panels, const along_k *piece,
                                const uint32_t *x, const uint8_t *w, float *sums)
{
    size_t p = 0;
    for (; p + 4 <= panels; p += 4) {
        multiply_tile(rows, 4, piece, x, w + p * piece->panel_bytes, sums + p * 16);
    }
    for (; p < panels; p++) {
        multiply_tile(rows, 1, piece, x, w + p * piece->panel_bytes, sums + p * 16);
    }
}

static void multiply_some(size_t rows, size_t panels, const along_k *piece, const uint32_t *x,
                          const uint8_t *w, float *sums)
{
    switch (rows) {
    case 1: multiply_rows(1, panels, piece, x, w, sums); break;
    case 2: multiply_rows(2, panels, piece, x, w, sums); break;
    case 3: multiply_rows(3, panels, piece, x, w, sums); break;
    case 4: multiply_rows(4, panels, piece, x, w, sums); break;
    case 5: multiply_rows(5, panels, piece, x, w, sums); break;
    default: multiply_rows(6, panels, piece, x, w, sums); break;
    }
}

/* Sums of up to MANY_ROWS rows with up to MANY_COLUMNS columns, piece by piece along k. */
static void multiply(const dynq_gemm_f32 *gemm, size_t row, size_t rows, size_t panels,
                     const uint8_t *w, float *sums)
{
    rounded_rows rounded;
    along_k piece = {.panel_bytes = (gemm->k + 1) / 2 * 64};
    for (size_t k = 0; k < gemm->k; k += DEPTH) {
        const size_t count = gemm->k - k < DEPTH ? gemm->k - k : DEPTH;
        round_rows(rows, count, gemm->x + row * gemm->x_stride + k, gemm->x_stride, &rounded);
        piece.pairs = (count + 1) / 2;
        piece.resumed = k > 0;
        for (size_t m = 0; m < rows; m += TILE) {
            multiply_some(rows - m < TILE ? rows - m : TILE, panels, &piece, rounded.pairs[m],
                          w + k * 32, sums + m * MANY_COLUMNS);
        }
    }
}

static void finish(const dynq_gemm_f32 *gemm, size_t row, size_t rows, size_t column,
                   size_t columns, const float *sums)
{
    if (gemm->products == NULL) {
        const dynq_epilogue epilogue = epilogue_at(&gemm->epilogue, row, column);
        dynq_kernel_avx512_vnni.epilogue_f32(rows, columns, sums, MANY_COLUMNS, &epilogue);
        return;
    }
    for (size_t m = 0; m < rows; m++) {
        memcpy(gemm->products + (row + m) * gemm->products_stride + column, sums + m * MANY_COLUMNS,
               columns * sizeof *sums);
    }
}

void dynq_avx512_gemm_bf16(const dynq_gemm_f32 *gemm)
{
    _Alignas(64) float sums[MANY_ROWS * MANY_COLUMNS];
    const size_t panel_bytes = (gemm->k + 1) / 2 * 64;
    for (size_t column = 0; column < gemm->columns; column += MANY_COLUMNS) {
        const size_t left = gemm->columns - column;
        const size_t columns = left < MANY_COLUMNS ? left : MANY_COLUMNS;
        const uint8_t *w = (const uint8_t *)gemm->panels + column / 16 * panel_bytes;
        for (size_t row = 0; row < gemm->rows; row += MANY_ROWS) {
            const size_t rows = gemm->rows - row < MANY_ROWS ? gemm->rows - row : MANY_ROWS;
            multiply(gemm, row, rows, (columns + 15) / 16, w, sums);
            finish(gemm, row, rows, column, columns, sums);
        }
    }
}
