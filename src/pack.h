/* Packed weights: the layouts that kernels read. */
#ifndef DYNQ_SRC_PACK_H
#define DYNQ_SRC_PACK_H

#include "kernels/kernel.h"

#include <stddef.h>
#include <stdint.h>

#define DYNQ_PANEL  16 /* columns of a panel */
#define DYNQ_K_STEP 64 /* K is padded to a multiple of it in packed s8 weights */

#define DYNQ_TINY_WEIGHT 0x1p-100f /* weights whose largest is below it count as zero */

/* max|w|, of `count` weights. */
float dynq_largest_magnitude(const float *w, size_t count);

/* Layout p16x4: [ceil(n/16)][kpad/4][16][4] s8, kpad = k rounded up to 64, zeros as padding.
 * Entry [p][j][c][i] is the weight of column 16 p + c and input 4 j + i. A size that does not fit
 * is SIZE_MAX, here and in the FP32 layout. */
size_t dynq_packed_k(size_t k);
size_t dynq_packed_panels(size_t n);
size_t dynq_packed_s8_bytes(size_t k, size_t n);

/* FP32 layout p16: [ceil(n/16)][k][16] f32, zeros as padding columns. */
size_t dynq_packed_f32_count(size_t k, size_t n);

/* Quantizes w [n][k] (finite) by column, under the default floating-point state: scale[c] =
 * max|w[c][:]| / 127, code = rne(w * (127 / max)); a column whose max is below 2^-100 gets codes 0
 * and scale 1. Writes packed codes, scale[n] and colsum[n] = the sum of the column's codes. */
void dynq_pack_s8(const float *w, size_t k, size_t n, int8_t *packed, float *scale,
                  int32_t *colsum);
/* The same with largest[n] in place of max|w[c][:]|: what is beyond it becomes 127 or -127. `scale`
 * may be `largest`. */
void dynq_pack_s8_within(const float *w, size_t k, size_t n, const float *largest, int8_t *packed,
                         float *scale, int32_t *colsum);

/* One code of a packed matrix. */
static inline int8_t dynq_packed_code(const int8_t *packed, size_t kpad, size_t column,
                                      size_t input)
{
    const size_t panel = column / DYNQ_PANEL, lane = column % DYNQ_PANEL;
    return packed[panel * kpad * DYNQ_PANEL + (input / 4) * 64 + lane * 4 + input % 4];
}

/* Columns [first, first + count) as codes [count][k], and as floats code * scale [count][k]. */
void dynq_unpack_s8(const int8_t *packed, size_t k, size_t first, size_t count, int8_t *codes);
void dynq_dequantize_s8(const int8_t *packed, const float *scale, size_t k, size_t first,
                        size_t count, float *w);

/* Tables of embeddings: the same rule by row. Quantizes table [rows][columns] (finite) to codes
 * [rows][columns] and scale[rows]; writes rows [first, first + count) as code * scale. */
void dynq_quantize_rows_s8(const float *table, size_t rows, size_t columns, int8_t *codes,
                           float *scale);
void dynq_dequantize_rows_s8(const int8_t *codes, const float *scale, size_t columns, size_t first,
                             size_t count, float *rows);

/* Weights in codes of any INT8 node, before they are packed. */
typedef struct dynq_coded_weights {
    size_t k, n;
    dynq_weight_codes codes; /* bits, and group; levels: [tables][2^bits] */
    size_t tables;           /* 4 and 2 bits: 1, or one for each panel (levels_step set) */
    const uint8_t *numbers;  /* 4 and 2 bits: [n][k] of levels */
    const int8_t *weights;   /* 8 bits: [n][k] */
    const float *scale;      /* [n] */
    const uint16_t *factors; /* groups: [n][ceil(k / group)] in FP16, finite; a weight is level *
                              * factor * scale */
} dynq_coded_weights;

/* pack_codes.c: the other layouts, which kernels/README.md shows. */

/* The bytes of all panels; SIZE_MAX if that does not fit. */
size_t dynq_packed_bytes(const dynq_weight_codes *codes, size_t k, size_t n);
/* Packs them as kernels/README.md says, padding with numbers of the level that is nearest to 0
 * (their activations are the zero point, so that they add nothing) and factors 0. Without groups
 * also writes sum[n]. */
void dynq_pack_codes(const dynq_coded_weights *coded, void *packed, int32_t *sum);

/* Of a panel, whose levels `codes` has: the number that stands for input `input` of column `lane`
 * (8 bits: the weight itself); its weight, which is a level; and what a part of a group begins
 * with. */
uint8_t dynq_panel_number(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                          size_t input);
int8_t dynq_panel_weight(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                         size_t input);
uint16_t dynq_panel_factor(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                           size_t group);
int16_t dynq_panel_sum(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                       size_t group);

/* Words of 16 bits [n][k]: FP16 in layout p16, [ceil(n/16)][k][16]; BF16 and s16 in p16x2,
 * [ceil(n/16)][ceil(k/2)][16][2]. Padding is zeros. Bytes are SIZE_MAX where they do not fit. */
size_t dynq_packed_p16_bytes(size_t k, size_t n);
size_t dynq_packed_p16x2_bytes(size_t k, size_t n);
void dynq_pack_p16(const uint16_t *words, size_t k, size_t n, void *packed);
void dynq_pack_p16x2(const uint16_t *words, size_t k, size_t n, void *packed);

/* w [n][k] into layout p16. */
void dynq_pack_f32(const float *w, size_t k, size_t n, float *packed);

#endif
