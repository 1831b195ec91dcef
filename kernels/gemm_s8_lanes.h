/* The INT8 product: which tiles pass over which weights, and what is fetched ahead. Include after a
 * lanes header and the definitions that gemm_s8_tile_lanes.h asks for, and define s8_tile_rows and
 * s8_group_rows afterwards. */
#ifndef DYNQ_KERNELS_GEMM_S8_LANES_H
#define DYNQ_KERNELS_GEMM_S8_LANES_H

#include "kernels/gemm_codes_lanes.h"
#include "kernels/gemm_groups_lanes.h"
#include "kernels/gemm_s8_tile_lanes.h"

/* The constants of a block; lanes past the last column are zeros that nobody looks at. */
static void s8_columns_prepare(s8_columns *c, size_t columns)
{
    const dynq_gemm_s8 *g = c->gemm;
    const dynq_dequantize *d = &g->dequantize;
    const float *bias = g->epilogue.bias;
    c->panels = g->panels + c->column / 16 * dynq_panel_bytes(&g->codes, g->kpad);
    if (g->sums != NULL) {
        if (s8_has_codes(g)) {
            memset(c->start, 0, sizeof c->start);
        } else {
            s8_correction(c, (columns + 15) / 16 * 16, c->start);
        }
        return;
    }
    for (size_t i = 0; i < columns; i += 16) {
        const size_t count = lanes_smaller(16, columns - i), column = c->column + i;
        lanes_s32 start = lanes_load_s32(d->column_sum + column, count);
        lanes_f32 scale = lanes_load(d->column_scale + column, count);
        if (d->row_step == 0) {
            start = lanes_mul_s32(lanes_set_s32(S8_OFFSET - d->row_zero[0]), start);
            scale = lanes_mul(lanes_set(d->row_scale[0]), scale);
        }
        lanes_store_s32(c->start + i, start);
        lanes_store(c->scale + i, scale, 16);
        lanes_store(c->bias + i, bias == NULL ? lanes_set(0.0f) : lanes_load(bias + column, count),
                    16);
    }
}

/* What is fetched ahead. One tile for all rows streams its weights once: from two rows on (one is
 * no faster for it, and slower where the weights are in L2) it fetches what it needs itself a
 * little later, or, if a whole tile's weights fit L1 twice, the next tile's. Several tiles share
 * the next block's weights evenly, so that memory is busy all the time. */
static void s8_plan_ahead(s8_columns *c, size_t tiles)
{
    const dynq_gemm_s8 *g = c->gemm;
    const size_t panels = g->rows > S8_MANY_ROWS ? 2 : 4, tile_bytes = panels * g->kpad * 16;
    const size_t far = g->rows > S8_MANY_ROWS ? S8_FAR_STREAM : S8_STREAM;
    if (s8_has_codes(g)) {
        codes_plan_ahead(c, tiles);
    } else if (tiles == 1) {
        c->stream = g->rows > 4 && tile_bytes <= S8_L1_SHARE ? tile_bytes : far;
    } else {
        c->ahead_step = (4 * S8_COLUMNS + tiles - 1) / tiles;
        c->ahead_pairs = tiles < 4;
    }
}

static void s8_block_columns(s8_columns *c, size_t columns, size_t tiles)
{
    const dynq_gemm_s8 *g = c->gemm;
    const int whole = columns % 16 == 0;
    const int to_y = g->sums == NULL && whole && g->epilogue.activation <= DYNQ_ACTIVATION_RELU;
    int32_t sums[S8_ROWS * TILE_COLUMNS];
    const int even = S8_SLOW_ROWS == 0 || g->rows % S8_MANY_ROWS == S8_SLOW_ROWS;
    size_t row = 0;
    for (size_t i = 0; i < tiles; i++) {
        const size_t rows = even ? g->rows / tiles + (i < g->rows % tiles)
                                 : lanes_smaller(S8_MANY_ROWS, g->rows - row);
        s8_sums out = {.sums = to_y ? NULL : sums, .stride = TILE_COLUMNS};
        if (c->carry != NULL) {
            out = (s8_sums){c->carry + row * TILE_COLUMNS, TILE_COLUMNS};
        } else if (g->sums != NULL && whole) {
            out = (s8_sums){g->sums + row * g->sums_stride + c->column, g->sums_stride};
        }
        if (c->codes != NULL) {
            codes_tile_rows(rows, c, c->codes, c->codes->panels * 16, &out);
        } else {
            s8_tile_rows(rows, c, row, (columns + 15) / 16 * 16, &out);
        }
        if (out.sums == sums) {
            gemm_s8_finish(g, row, rows, c->column, columns, sums, 1, c->ranges);
        }
        c->ahead += c->ahead_step * (c->depth / 4);
        row += rows;
    }
}

/* As many inputs of a block's weights at a time as there is room for, looked up, go through the
 * same tiles as weights that need no looking up. Not inline, for its memory's sake. */
__attribute__((noinline)) static void s8_code_columns(const s8_columns *whole, size_t columns,
                                                      size_t tiles)
{
    const dynq_gemm_s8 *g = whole->gemm;
    _Alignas(64) int8_t weights[CODES_INPUTS * TILE_COLUMNS];
    _Alignas(64) int32_t carried[S8_BLOCK_ROWS * TILE_COLUMNS];
    const codes_block codes = codes_block_of(whole, columns);
    s8_columns c = *whole;
    if (tiles == 1 && g->rows <= CODES_FEW_ROWS && (S8_OFFSET == 0 || g->sums == NULL)) {
        c.codes = &codes;
        s8_block_columns(&c, columns, tiles);
        return;
    }
    c.panels = weights;
    for (size_t k = 0; k < g->kpad; k += c.depth) {
        c.depth = codes_depth(&codes, k);
        c.q = g->q + k;
        codes_look_up_inputs(&codes, k, c.depth, weights);
        if (g->sums != NULL) {
            s8_correction(&c, codes.panels * 16, c.start);
        } else if (k > 0) {
            memset(c.start, 0, sizeof c.start);
        }
        c.carried = k > 0 ? carried : NULL;
        c.carry = k + c.depth < g->kpad ? carried : NULL;
        s8_block_columns(&c, columns, tiles);
    }
}

static s8_kind s8_kind_of(const dynq_gemm_s8 *g)
{
    const dynq_epilogue *e = &g->epilogue;
    if (e->activation != DYNQ_ACTIVATION_NONE || e->residual != NULL ||
        g->dequantize.row_step != 0) {
        return S8_ANY;
    }
    return e->range != NULL ? S8_PLAIN : S8_PLAIN_UNRANGED;
}

/* All columns for at most S8_BLOCK_ROWS rows. */
static void s8_block(const dynq_gemm_s8 *g, range_lanes *ranges)
{
    const size_t tiles = g->rows <= S8_ROWS ? 1 : (g->rows + S8_MANY_ROWS - 1) / S8_MANY_ROWS;
    const size_t width = tiles == 1 ? TILE_COLUMNS : S8_COLUMNS;
    const size_t panel_bytes = dynq_panel_bytes(&g->codes, g->kpad);
    s8_columns c = {
        .gemm = g, .q = g->q, .depth = g->kpad, .kind = s8_kind_of(g), .ranges = ranges};
    s8_plan_ahead(&c, tiles);
    for (; c.column < g->columns; c.column += width) {
        const size_t columns = lanes_smaller(width, g->columns - c.column);
        s8_columns_prepare(&c, columns);
        c.ahead = c.panels + width / 16 * panel_bytes;
        if (c.column + columns == g->columns) {
            c.ahead = g->next == NULL ? c.panels : g->next;
        }
        if (s8_has_codes(g)) {
            s8_code_columns(&c, columns, tiles);
        } else {
            s8_block_columns(&c, columns, tiles);
        }
    }
}

/* The rows from `row` on, as many as a block takes. */
static dynq_gemm_s8 s8_part(const dynq_gemm_s8 *gemm, size_t row)
{
    dynq_gemm_s8 g = *gemm;
    g.rows = lanes_smaller(S8_BLOCK_ROWS, gemm->rows - row);
    g.q += row * gemm->q_stride;
    if (gemm->sums != NULL) {
        g.sums += row * gemm->sums_stride;
    } else {
        g.dequantize.row_scale += row * gemm->dequantize.row_step;
        g.dequantize.row_zero += row * gemm->dequantize.row_step;
        g.epilogue = epilogue_at(&gemm->epilogue, row, 0);
    }
    if (row + g.rows < gemm->rows) {
        g.next = gemm->panels;
    }
    return g;
}

static void gemm_s8(const dynq_gemm_s8 *gemm)
{
    range_lanes ranges[S8_BLOCK_ROWS];
    for (size_t row = 0; row < gemm->rows; row += S8_BLOCK_ROWS) {
        const dynq_gemm_s8 part = s8_part(gemm, row);
        const dynq_epilogue *e = &part.epilogue;
        const size_t count = gemm->sums != NULL || e->range_step == 0 ? 1 : part.rows;
        for (size_t i = 0; i < count; i++) {
            ranges[i] = range_none();
        }
        if (gemm->codes.group != 0) {
            s8_group_block(&part, ranges);
        } else {
            s8_block(&part, ranges);
        }
        for (size_t i = 0; i < count && gemm->sums == NULL && e->range != NULL; i++) {
            range_join(e->range + i, ranges[i]);
        }
    }
}

#endif
