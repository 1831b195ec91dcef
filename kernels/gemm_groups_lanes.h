/* The INT8 product of weights whose groups of inputs have factors of their own: a tile holds the
 * sums of a group and the floats that groups are added up in. */
#ifndef DYNQ_KERNELS_GEMM_GROUPS_LANES_H
#define DYNQ_KERNELS_GEMM_GROUPS_LANES_H

#include "kernels/gemm_codes_lanes.h"

/* Some inputs of a block. */
typedef struct s8_groups {
    const int8_t *heads;                                       /* of the first panel and group */
    const int8_t *weights;                                     /* s8, in the panels or looked up */
    size_t head_step, head_panel, weights_step, weights_panel; /* bytes to the next group, panel */
    size_t group, depth;
    const uint8_t *q;
    float *sums;                 /* [rows][TILE_COLUMNS] */
    const codes_levels *levels;  /* not NULL: of the panels, for tiles that look weights up */
    ptrdiff_t distance;          /* from such weights to what is fetched meanwhile */
    int32_t zero[S8_BLOCK_ROWS]; /* what sums of weights are multiplied with, by row */
} s8_groups;

typedef struct s8_totals {
    lanes_f32 panel[4];
} s8_totals;

LANES_INLINE s8_totals s8_totals_load(const int panels, const float *sums)
{
    s8_totals totals;
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            totals.panel[p] = lanes_load(sums + 16 * p, 16);
        }
    }
    return totals;
}

LANES_INLINE void s8_totals_store(const int panels, const s8_totals totals, float *sums)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            lanes_store(sums + 16 * p, totals.panel[p], 16);
        }
    }
}

/* The zero points' shares in the sums of a group. */
LANES_INLINE void s8_group_start(const int rows, const int panels, const s8_groups *s, size_t row,
                                 const int8_t *head, s8_panels *acc)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            const lanes_s32 sums = codes_sums(head + (size_t)p * s->head_panel + CODES_HEAD_SUMS);
#pragma GCC unroll 12
            for (int m = 0; m < S8_ROWS; m++) {
                if (m < rows) {
                    const lanes_s32 zero = lanes_set_s32(s->zero[row + (size_t)m]);
                    acc[m].panel[p] = codes_times(zero, sums);
                }
            }
        }
    }
}

LANES_INLINE void s8_group_end(const int rows, const int panels, const s8_groups *s,
                               const int8_t *head, const s8_panels *acc, s8_totals *totals)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            const int8_t *halves = head + (size_t)p * s->head_panel;
            const lanes_f32 factors = lanes_load_fp16((const uint16_t *)(const void *)halves);
#pragma GCC unroll 12
            for (int m = 0; m < S8_ROWS; m++) {
                if (m < rows) {
                    totals[m].panel[p] =
                        lanes_fma(lanes_from_s32(acc[m].panel[p]), factors, totals[m].panel[p]);
                }
            }
        }
    }
}

/* A tile's share of what is read next, while it has the inputs of a group. */
LANES_INLINE const int8_t *s8_group_fetch(const s8_columns *c, const int8_t *ahead, size_t inputs)
{
    const int8_t *const end = ahead + c->ahead_step * (inputs / 4);
    for (const int8_t *line = ahead; line < end; line += 64) {
        __builtin_prefetch(line, 0, 2);
    }
    return end;
}

/* As s8_tile: `bits`, `rows` and `panels` are constants where it is called. */
LANES_INLINE void s8_group_tile(const int bits, const int rows, const int panels,
                                const s8_columns *c, const s8_groups *s, size_t row, size_t at)
{
    const size_t stride = c->gemm->q_stride;
    const int8_t *head = s->heads + at / 16 * s->head_panel;
    const int8_t *weights = s->weights + at / 16 * s->weights_panel, *ahead = c->ahead;
    float *const sums = s->sums + row * TILE_COLUMNS + at;
    s8_codes r = {.stride = stride};
    s8_totals totals[S8_ROWS];
    codes_tables tables[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (bits != 8 && p < panels) {
            tables[p] = codes_tables_load(&s->levels[at / 16 + (size_t)p]);
        }
    }
    for (int i = 0; i < (S8_ROWS + 2) / 3; i++) {
        r.three[i] = s->q + (row + 3 * (size_t)i) * stride;
    }
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            totals[m] = s8_totals_load(panels, sums + m * TILE_COLUMNS);
        }
    }
    size_t left = s->depth;
    do {
        s8_panels acc[S8_ROWS];
        const size_t inputs = lanes_smaller(s->group, left);
        const int8_t *w = weights, *const end = w + inputs * 2 * bits;
        s8_group_start(rows, panels, s, row, head, acc);
        if (bits == 8) {
            ahead = s8_group_fetch(c, ahead, inputs);
        } else {
            s8_fetch(panels, head + s->distance, s->head_panel);
        }
        do {
            r = s8_codes_hide(rows, r);
            if (bits == 8) {
                s8_step(rows, panels, acc, &r, 0, s8_load(panels, w, s->weights_panel));
            } else {
                codes_step(bits, rows, panels, tables, acc, &r, w, s->weights_panel, s->distance);
            }
            for (int i = 0; i < (S8_ROWS + 2) / 3; i++) {
                r.three[i] += 4 * 8 / bits;
            }
            w += 64;
        } while (w < end);
        s8_group_end(rows, panels, s, head, acc, totals);
        head += s->head_step;
        weights += s->weights_step;
        left -= inputs;
    } while (left > 0);
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            s8_totals_store(panels, totals[m], sums + m * TILE_COLUMNS);
        }
    }
}

/* As s8_across. */
LANES_INLINE void s8_group_across(const int bits, const int rows, const int panels, s8_columns *c,
                                  const s8_groups *s, size_t row, size_t columns)
{
    const size_t width = 16 * (size_t)panels;
    size_t at = 0;
    for (; at + width <= columns; at += width) {
        s8_group_tile(bits, rows, panels, c, s, row, at);
        c->ahead += c->ahead_step * (s->depth / 4);
    }
    for (; panels > 1 && at < columns; at += 16) {
        s8_group_tile(bits, rows, 1, c, s, row, at);
    }
}

/* `rows` (1 to S8_GROUP_ROWS) by `columns` (16 to 64, whole panels) of weights in s8. As
 * s8_tile_rows. */
__attribute__((noinline)) static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s,
                                                    size_t row, size_t columns);

/* The same of a few rows, from the first one on, by weights of any bits as they are in panels. */
__attribute__((noinline)) static void s8_group_few(size_t rows, s8_columns *c, const s8_groups *s,
                                                   size_t columns)
{
    const int four = c->gemm->codes.bits == 4;
    switch (rows) {
    case 1:
        if (four) {
            s8_group_across(4, 1, S8_GROUP_PANELS, c, s, 0, columns);
        } else {
            s8_group_across(2, 1, S8_GROUP_PANELS, c, s, 0, columns);
        }
        break;
#if S8_GROUP_ROWS >= CODES_FEW_ROWS
    case 2:
        if (four) {
            s8_group_across(4, 2, S8_GROUP_PANELS, c, s, 0, columns);
        } else {
            s8_group_across(2, 2, S8_GROUP_PANELS, c, s, 0, columns);
        }
        break;
    default:
        if (four) {
            s8_group_across(4, 3, S8_GROUP_PANELS, c, s, 0, columns);
        } else {
            s8_group_across(2, 3, S8_GROUP_PANELS, c, s, 0, columns);
        }
        break;
#endif
    }
}

/* Groups of inputs [k, k + depth) of the block's panels. */
static void s8_group_inputs(s8_groups *s, const codes_block *b, size_t k, size_t depth,
                            int8_t *weights)
{
    const dynq_weight_codes *codes = &b->gemm->codes;
    s->q = b->gemm->q + k;
    s->depth = depth;
    s->heads = b->first + codes_offset(codes, k);
    s->head_step = codes_offset(codes, codes->group);
    s->head_panel = b->panel_bytes;
    if (s8_has_codes(b->gemm) && s->levels == NULL) {
        codes_look_up_inputs(b, k, depth, weights);
        s->weights = weights;
        s->weights_step = codes->group * 16;
        s->weights_panel = depth * 16;
    } else {
        s->weights = s->heads + CODES_HEAD;
        s->weights_step = s->head_step;
        s->weights_panel = b->panel_bytes;
    }
}

/* Epilogues of floats that groups were added up in. */
static void s8_group_finish(const s8_columns *c, size_t columns, const float *sums)
{
    const dynq_gemm_s8 *g = c->gemm;
    dynq_dequantize dequantize = g->dequantize;
    dequantize.column_scale += c->column;
    const dynq_epilogue part = epilogue_at(&g->epilogue, 0, c->column);
    const epilogue_source source = {
        .products = sums, .stride = TILE_COLUMNS, .dequantize = &dequantize};
    epilogue(EPILOGUE_GROUPS, g->rows, columns, &source, &part, c->ranges);
}

/* All columns for at most S8_BLOCK_ROWS rows. */
static void s8_group_block(const dynq_gemm_s8 *g, range_lanes *ranges)
{
    const size_t tiles = (g->rows + S8_GROUP_ROWS - 1) / S8_GROUP_ROWS;
    _Alignas(64) int8_t weights[CODES_INPUTS * TILE_COLUMNS];
    _Alignas(64) float sums[S8_BLOCK_ROWS * TILE_COLUMNS];
    const int few = s8_has_codes(g) && g->rows <= lanes_smaller(CODES_FEW_ROWS, S8_GROUP_ROWS);
    s8_groups s = {.group = g->codes.group, .sums = sums};
    s8_columns c = {.gemm = g, .ranges = ranges};
    for (size_t m = 0; m < g->rows; m++) {
        s.zero[m] = S8_OFFSET - g->dequantize.row_zero[m * g->dequantize.row_step];
    }
    codes_plan_ahead(&c, tiles * TILE_COLUMNS / S8_GROUP_COLUMNS);
    for (; c.column < g->columns; c.column += TILE_COLUMNS) {
        const size_t columns = lanes_smaller(TILE_COLUMNS, g->columns - c.column);
        const size_t bytes = dynq_panel_bytes(&g->codes, g->kpad);
        c.panels = g->panels + c.column / 16 * bytes;
        c.ahead = c.panels + 4 * bytes;
        if (c.column + columns == g->columns) {
            c.ahead = g->next == NULL ? g->panels : g->next;
        }
        const codes_block b = codes_block_of(&c, columns);
        s.levels = few ? b.levels : NULL;
        s.distance = (ptrdiff_t)((uintptr_t)b.next - (uintptr_t)b.first);
        memset(sums, 0, g->rows * TILE_COLUMNS * sizeof *sums);
        for (size_t k = 0; k < g->kpad; k += s.depth) {
            s8_group_inputs(&s, &b, k, codes_depth(&b, k), weights);
            if (few) {
                s8_group_few(g->rows, &c, &s, b.panels * 16);
                continue;
            }
            for (size_t i = 0, row = 0; i < tiles; i++) {
                const size_t rows = g->rows / tiles + (i < g->rows % tiles);
                s8_group_rows(rows, &c, &s, row, b.panels * 16);
                row += rows;
            }
        }
        s8_group_finish(&c, columns, sums);
    }
}

#endif
