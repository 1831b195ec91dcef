/* The reference's way through panels of codes and groups, one weight at a time. README.md has the
 * layouts and the formulas. */
#include "kernels/ref_codes.h"
#include "kernels/ref_epilogue.h"
#include "kernels/ref_math.h"

#include <string.h>

enum {
    PANEL = 16,     /* columns of a panel */
    HEAD = 64,      /* bytes of a group before its codes: factors, then sums */
    ENTRY_BYTES = 2 /* of each of them */
};

/* A panel, or the codes of a group of it. */
typedef struct panel_codes {
    unsigned bits; /* 8, 4 or 2 */
    const uint8_t *codes;
    const int8_t *levels; /* of 4 and 2 bits */
} panel_codes;

/* The weight of input `k` of `column`. A byte has inputs that are four apart. */
static int8_t weight_at(const panel_codes *panel, size_t k, size_t column)
{
    const size_t inputs = 8 / panel->bits, place = k / 4 % inputs;
    const uint8_t byte = panel->codes[k / (4 * inputs) * 64 + column * 4 + k % 4];
    if (panel->bits == 8) {
        return (int8_t)byte;
    }
    return panel->levels[byte >> (place * panel->bits) & ((1u << panel->bits) - 1)];
}

/* Over `depth` inputs of a column, modulo 2^32. */
static uint32_t multiply(const panel_codes *panel, const uint8_t *q, size_t depth, size_t column)
{
    uint32_t sum = 0;
    for (size_t k = 0; k < depth; k++) {
        sum += (uint32_t)(q[k] * weight_at(panel, k, column));
    }
    return sum;
}

/* One result before its scale: the groups of a column, each with its factor. */
static float multiply_groups(const dynq_gemm_s8 *gemm, panel_codes part, size_t row, size_t column)
{
    const uint8_t *q = gemm->q + row * gemm->q_stride;
    const size_t group = gemm->codes.group;
    const uint32_t zero = (uint32_t)gemm->dequantize.row_zero[row * gemm->dequantize.row_step];
    float t = 0.0f;
    for (size_t k = 0; k < gemm->kpad; k += group) {
        const size_t depth = group < gemm->kpad - k ? group : gemm->kpad - k;
        const uint8_t *entry = part.codes + column * ENTRY_BYTES;
        uint16_t factor;
        int16_t group_sum;
        memcpy(&factor, entry, sizeof factor);
        memcpy(&group_sum, entry + PANEL * ENTRY_BYTES, sizeof group_sum);
        part.codes += HEAD;
        const uint32_t sum = multiply(&part, q + k, depth, column);
        const int32_t acc = (int32_t)(sum - zero * (uint32_t)group_sum);
        t = fmaf((float)acc, dynq_ref_from_fp16(factor), t);
        part.codes += depth * 2 * part.bits;
    }
    return t;
}

/* Column `column` of the panel that begins with column `first`. */
static void emit_one(const dynq_gemm_s8 *gemm, panel_codes panel, size_t row, size_t first,
                     size_t column)
{
    const dynq_dequantize *d = &gemm->dequantize;
    const dynq_epilogue *e = &gemm->epilogue;
    const size_t n = first + column;
    if (gemm->codes.group != 0) {
        const float scale = d->row_scale[row * d->row_step] * d->column_scale[n];
        const float t = multiply_groups(gemm, panel, row, column);
        dynq_ref_emit(e, row, n, fmaf(t, scale, dynq_ref_bias(e, n)));
        return;
    }
    const uint32_t sum = multiply(&panel, gemm->q + row * gemm->q_stride, gemm->kpad, column);
    if (gemm->sums != NULL) {
        gemm->sums[row * gemm->sums_stride + n] = (int32_t)sum;
        return;
    }
    const uint32_t zero = (uint32_t)d->row_zero[row * d->row_step];
    const int32_t acc = (int32_t)(sum - zero * (uint32_t)d->column_sum[n]);
    const float scale = d->row_scale[row * d->row_step] * d->column_scale[n];
    dynq_ref_emit(e, row, n, fmaf((float)acc, scale, dynq_ref_bias(e, n)));
}

void dynq_ref_gemm_codes(const dynq_gemm_s8 *gemm)
{
    const dynq_weight_codes *codes = &gemm->codes;
    const size_t bytes = dynq_panel_bytes(codes, gemm->kpad);
    panel_codes panel = {.bits = codes->bits == 0 ? 8 : codes->bits};
    for (size_t first = 0; first < gemm->columns; first += PANEL) {
        const size_t number = first / PANEL, left = gemm->columns - first;
        panel.codes = (const uint8_t *)gemm->panels + number * bytes;
        panel.levels = panel.bits == 8 ? NULL : codes->levels + number * codes->levels_step;
        for (size_t m = 0; m < gemm->rows; m++) {
            for (size_t c = 0; c < (left < PANEL ? left : PANEL); c++) {
                emit_one(gemm, panel, m, first, c);
            }
        }
    }
}
