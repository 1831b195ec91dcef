/* Epilogues, ranges and quantization over sixteen lanes; what each function computes is said in
 * kernel.h and fixed by ref.c. Include after a lanes header. */
#ifndef DYNQ_KERNELS_FLOAT_LANES_H
#define DYNQ_KERNELS_FLOAT_LANES_H

#include "kernels/epilogue.h"
#include "kernels/kernel.h"
#include "kernels/math_lanes.h"

#include <string.h>

/* A tile of sums or products waits for its epilogue on the stack: rows of four panels. */
enum { TILE_ROWS = 6, TILE_COLUMNS = 64 };

LANES_INLINE size_t lanes_smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The range of what the lanes have seen. */
typedef struct range_lanes {
    lanes_s32 high, low;
} range_lanes;

LANES_INLINE range_lanes range_none(void)
{
    return (range_lanes){lanes_set_s32(0), lanes_set_s32(0)};
}

LANES_INLINE range_lanes range_with(range_lanes range, lanes_f32 value, size_t count)
{
    const lanes_s32 bits = lanes_bits(lanes_keep(value, count));
    return (range_lanes){lanes_max_s32(range.high, bits), lanes_max_u32(range.low, bits)};
}

LANES_INLINE range_lanes range_both(range_lanes a, range_lanes b)
{
    return (range_lanes){lanes_max_s32(a.high, b.high), lanes_max_u32(a.low, b.low)};
}

static inline void range_join(dynq_range_bits *range, range_lanes seen)
{
    const int32_t high = lanes_highest_s32(seen.high);
    const uint32_t low = lanes_highest_u32(seen.low);
    range->high = range->high > high ? range->high : high;
    range->low = range->low > low ? range->low : low;
}

/* The ranges of sixteen rows, a row to a lane. */
LANES_INLINE range_lanes range_rows(const range_lanes seen[16])
{
    lanes_s32 high[16], low[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        high[i] = seen[i].high;
        low[i] = seen[i].low;
    }
    return (range_lanes){lanes_highest_rows(1, high), lanes_highest_rows(0, low)};
}

/* Behind row `row` of `rows`: what was seen is joined with the range of the row, or, where all rows
 * share one, with that behind the last row only, as folding lanes takes time. Returns what the next
 * row goes on with. `range` may be NULL. */
static inline range_lanes range_row_end(dynq_range_bits *range, size_t step, size_t row,
                                        size_t rows, range_lanes seen)
{
    if (range == NULL || (step == 0 && row + 1 < rows)) {
        return seen;
    }
    range_join(range + row * step, seen);
    return range_none();
}

/* What the values of an epilogue are made of. */
typedef enum epilogue_input {
    EPILOGUE_SUMS,           /* of a linear layer in INT8 */
    EPILOGUE_CORRECTED_SUMS, /* the zero point has been taken out of them */
    EPILOGUE_PRODUCTS,       /* of a linear layer in FP32 */
    EPILOGUE_GROUPS          /* of a linear layer in INT8 whose groups have been added up */
} epilogue_input;

typedef struct epilogue_source {
    const int32_t *sums;
    const float *products;
    size_t stride;
    const dynq_dequantize *dequantize; /* of sums and of groups */
} epilogue_source;

/* One row of it. */
typedef struct epilogue_row {
    const int32_t *sums;
    const float *products;
    const float *bias, *residual; /* NULL: none */
    const float *column_scale;
    const int32_t *column_sum;
    lanes_f32 scale;
    lanes_s32 zero;
    float *y;
} epilogue_row;

LANES_INLINE epilogue_row epilogue_row_at(const epilogue_input input, const epilogue_source *source,
                                          const dynq_epilogue *e, size_t row)
{
    epilogue_row r = {.bias = e->bias,
                      .residual =
                          e->residual == NULL ? NULL : e->residual + row * e->residual_stride,
                      .y = e->y + row * e->y_stride};
    if (input == EPILOGUE_PRODUCTS || input == EPILOGUE_GROUPS) {
        r.products = source->products + row * source->stride;
    }
    if (input == EPILOGUE_PRODUCTS) {
        return r;
    }
    const dynq_dequantize *d = source->dequantize;
    r.column_scale = d->column_scale;
    r.scale = lanes_set(d->row_scale[row * d->row_step]);
    if (input == EPILOGUE_GROUPS) {
        return r;
    }
    r.sums = source->sums + row * source->stride;
    r.column_sum = d->column_sum;
    r.zero = lanes_set_s32(d->row_zero[row * d->row_step]);
    return r;
}

LANES_INLINE lanes_f32 epilogue_value(const epilogue_input input, const epilogue_row *row,
                                      size_t column, size_t count)
{
    const lanes_f32 bias =
        row->bias == NULL ? lanes_set(0.0f) : lanes_load(row->bias + column, count);
    if (input == EPILOGUE_PRODUCTS) {
        return lanes_add(bias, lanes_load(row->products + column, count));
    }
    const lanes_f32 scale = lanes_mul(row->scale, lanes_load(row->column_scale + column, count));
    if (input == EPILOGUE_GROUPS) {
        return lanes_fma(lanes_load(row->products + column, count), scale, bias);
    }
    lanes_s32 acc = lanes_load_s32(row->sums + column, count);
    if (input == EPILOGUE_SUMS) {
        const lanes_s32 column_sum = lanes_load_s32(row->column_sum + column, count);
        acc = lanes_sub_s32(acc, lanes_mul_s32(row->zero, column_sum));
    }
    return lanes_fma(lanes_from_s32(acc), scale, bias);
}

LANES_INLINE range_lanes epilogue_step(const epilogue_input input, const dynq_activation activation,
                                       const epilogue_row *row, size_t column, size_t count,
                                       range_lanes range)
{
    lanes_f32 y = lanes_activate(activation, epilogue_value(input, row, column, count));
    if (row->residual != NULL) {
        y = lanes_add(y, lanes_load(row->residual + column, count));
    }
    lanes_store(row->y + column, y, count);
    return range_with(range, y, count);
}

/* `kept`: where the lanes of ranges wait for further columns of the same rows, one for each row or
 * for all of them; NULL: they are folded and joined with e->range. */
LANES_INLINE void epilogue_rows(const epilogue_input input, const dynq_activation activation,
                                size_t rows, size_t columns, const epilogue_source *source,
                                const dynq_epilogue *e, range_lanes *kept)
{
    range_lanes range = range_none();
    for (size_t m = 0; m < rows; m++) {
        const epilogue_row row = epilogue_row_at(input, source, e, m);
        if (kept != NULL) {
            range = kept[m * e->range_step];
        }
        size_t c = 0;
        for (; c + 16 <= columns; c += 16) {
            range = epilogue_step(input, activation, &row, c, 16, range);
        }
        if (c < columns) {
            range = epilogue_step(input, activation, &row, c, columns - c, range);
        }
        if (kept != NULL) {
            kept[m * e->range_step] = range;
        } else {
            range = range_row_end(e->range, e->range_step, m, rows, range);
        }
    }
}

/* One loop for each function, chosen outside of it. */
LANES_INLINE void epilogue(const epilogue_input input, size_t rows, size_t columns,
                           const epilogue_source *source, const dynq_epilogue *e, range_lanes *kept)
{
    switch (e->activation) {
    case DYNQ_ACTIVATION_NONE:
        epilogue_rows(input, DYNQ_ACTIVATION_NONE, rows, columns, source, e, kept);
        break;
    case DYNQ_ACTIVATION_RELU:
        epilogue_rows(input, DYNQ_ACTIVATION_RELU, rows, columns, source, e, kept);
        break;
    case DYNQ_ACTIVATION_GELU:
        epilogue_rows(input, DYNQ_ACTIVATION_GELU, rows, columns, source, e, kept);
        break;
    case DYNQ_ACTIVATION_TANH:
        epilogue_rows(input, DYNQ_ACTIVATION_TANH, rows, columns, source, e, kept);
        break;
    case DYNQ_ACTIVATION_SIGMOID:
        epilogue_rows(input, DYNQ_ACTIVATION_SIGMOID, rows, columns, source, e, kept);
        break;
    case DYNQ_ACTIVATION_GELU_TANH:
        epilogue_rows(input, DYNQ_ACTIVATION_GELU_TANH, rows, columns, source, e, kept);
        break;
    }
}

static void epilogue_s32(size_t rows, size_t columns, const int32_t *sums, size_t sums_stride,
                         const dynq_dequantize *dequantize, const dynq_epilogue *e)
{
    const epilogue_source source = {.sums = sums, .stride = sums_stride, .dequantize = dequantize};
    epilogue(EPILOGUE_SUMS, rows, columns, &source, e, NULL);
}

static void epilogue_f32(size_t rows, size_t columns, const float *products, size_t products_stride,
                         const dynq_epilogue *e)
{
    const epilogue_source source = {.products = products, .stride = products_stride};
    epilogue(EPILOGUE_PRODUCTS, rows, columns, &source, e, NULL);
}

/* Takes a tile of sums (stride TILE_COLUMNS) to where the caller wants them: as they are to
 * gemm->sums, or through the epilogue to y. `corrected`: the zero point has been taken out of them,
 * which is not wanted for gemm->sums. `ranges`: as `kept` above, of the product's rows. */
static void gemm_s8_finish(const dynq_gemm_s8 *gemm, size_t row, size_t rows, size_t column,
                           size_t columns, const int32_t *sums, int corrected, range_lanes *ranges)
{
    if (gemm->sums != NULL) {
        for (size_t m = 0; m < rows; m++) {
            memcpy(gemm->sums + (row + m) * gemm->sums_stride + column, sums + m * TILE_COLUMNS,
                   columns * sizeof *sums);
        }
        return;
    }
    dynq_dequantize dequantize = gemm->dequantize;
    dequantize.column_scale += column;
    dequantize.column_sum += column;
    dequantize.row_scale += row * dequantize.row_step;
    dequantize.row_zero += row * dequantize.row_step;
    const dynq_epilogue part = epilogue_at(&gemm->epilogue, row, column);
    const epilogue_source source = {
        .sums = sums, .stride = TILE_COLUMNS, .dequantize = &dequantize};
    range_lanes *const kept = ranges == NULL ? NULL : ranges + row * part.range_step;
    if (corrected) {
        epilogue(EPILOGUE_CORRECTED_SUMS, rows, columns, &source, &part, kept);
    } else {
        epilogue(EPILOGUE_SUMS, rows, columns, &source, &part, kept);
    }
}

LANES_INLINE range_lanes range_row(const float *x, size_t columns, range_lanes seen)
{
    range_lanes odd = range_none();
    size_t c = 0;
    for (; c + 64 <= columns; c += 64) {
        seen = range_with(seen, lanes_load(x + c, 16), 16);
        odd = range_with(odd, lanes_load(x + c + 16, 16), 16);
        seen = range_with(seen, lanes_load(x + c + 32, 16), 16);
        odd = range_with(odd, lanes_load(x + c + 48, 16), 16);
    }
    for (; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        seen = range_with(seen, lanes_load(x + c, count), count);
    }
    return range_both(seen, odd);
}

static void range(const dynq_float_block *block)
{
    range_lanes seen = range_none();
    for (size_t m = 0; m < block->rows; m++) {
        seen = range_row(block->x + m * block->x_stride, block->columns, seen);
        seen = range_row_end(block->range, block->range_step, m, block->rows, seen);
    }
}

typedef struct quantize_lanes {
    lanes_f32 inverse, low, high;
    lanes_s32 zero;
    lanes_codes codes;
} quantize_lanes;

LANES_INLINE range_lanes quantize_step(const quantize_lanes *with, const float *x, uint8_t *q,
                                       size_t count, range_lanes seen)
{
    const lanes_f32 value = lanes_load(x, count);
    const lanes_f32 scaled = lanes_max(lanes_mul(value, with->inverse), with->low);
    const lanes_s32 code = lanes_round_s32(lanes_min(scaled, with->high));
    lanes_store_u8(q, lanes_add_s32(code, with->zero), count);
    return range_with(seen, value, count);
}

typedef enum quantize_kind { QUANTIZE_ANY, QUANTIZE_CHECKED, QUANTIZE_BOUNDED } quantize_kind;

/* 64 at a time: what is below or above is clamped by the conversion to bytes, what is too large for
 * an int32 before. */
LANES_INLINE range_lanes quantize_wide(const quantize_kind kind, const quantize_lanes *with,
                                       const float *x, uint8_t *q, range_lanes seen)
{
    lanes_s32 code[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const lanes_f32 value = lanes_load(x + 16 * i, 16);
        const lanes_f32 scaled = lanes_mul(value, with->inverse);
        code[i] = kind == QUANTIZE_BOUNDED ? lanes_round_bounded(scaled)
                                           : lanes_round_code(scaled, with->high);
        if (kind == QUANTIZE_CHECKED) {
            seen = range_with(seen, value, 16);
        }
    }
    lanes_store_codes(q, code, with->codes);
    return seen;
}

LANES_INLINE range_lanes quantize_row(const quantize_kind kind, const quantize_lanes *with,
                                      const float *x, uint8_t *q, size_t columns, range_lanes seen)
{
    size_t c = 0;
    for (; c + 64 <= columns; c += 64) {
        seen = quantize_wide(kind, with, x + c, q + c, seen);
    }
    for (; c < columns; c += 16) {
        seen = quantize_step(with, x + c, q + c, lanes_smaller(16, columns - c), seen);
    }
    return seen;
}

LANES_INLINE quantize_lanes quantize_with(const dynq_quantize_block *block, size_t row)
{
    const int32_t zero = block->row_zero[row * block->row_step];
    return (quantize_lanes){.inverse = lanes_set(block->row_inverse[row * block->row_step]),
                            .low = lanes_set((float)(block->qmin - zero)),
                            .high = lanes_set((float)(255 - zero)),
                            .zero = lanes_set_s32(zero),
                            .codes = lanes_codes_with(zero, block->qmin)};
}

static void quantize(const dynq_quantize_block *block)
{
    const size_t columns = block->columns, padding = block->padded - columns;
    const int by_row = block->row_step != 0;
    range_lanes seen = range_none();
    quantize_lanes with = quantize_with(block, 0);
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        uint8_t *q = block->q + m * block->q_stride;
        if (by_row) {
            with = quantize_with(block, m);
        }
        if (block->range != NULL) {
            seen = quantize_row(QUANTIZE_CHECKED, &with, x, q, columns, seen);
        } else if (block->bounded) {
            seen = quantize_row(QUANTIZE_BOUNDED, &with, x, q, columns, seen);
        } else {
            seen = quantize_row(QUANTIZE_ANY, &with, x, q, columns, seen);
        }
        if (padding > 0) {
            memset(q + columns, block->row_zero[m * block->row_step], padding);
        }
    }
    if (block->range != NULL) {
        range_join(block->range, seen);
    }
}

#endif
