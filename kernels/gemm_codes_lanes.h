/* Weights of 4 and 2 bits become s8 again: numbers of levels are looked up. For a few rows, which
 * wait for memory, a tile does that itself, in registers. For more, it is done once for all of
 * them: some inputs of up to four panels at a time, to a place in the cache where tiles take them
 * for p16x4. */
#ifndef DYNQ_KERNELS_GEMM_CODES_LANES_H
#define DYNQ_KERNELS_GEMM_CODES_LANES_H

#include "kernels/gemm_s8_tile_lanes.h"

#define CODES_FEW_ROWS 3 /* up to here memory is what a product waits for */

enum {
    CODES_INPUTS = 256,   /* at most at a time: 16 KiB of weights, half of an L1 */
    CODES_HEAD = 64,      /* bytes of a group before its codes: 16 factors, ... */
    CODES_HEAD_SUMS = 32, /* ... from here on 16 sums */
    CODES_LEVELS = 16     /* that a shuffle chooses from */
};

static inline int s8_has_codes(const dynq_gemm_s8 *g)
{
    return g->codes.bits % 8 != 0;
}

/* What numbers stand for: of 4 bits the levels; of 2 bits, of which a shuffle sees two, the level
 * of the lower one and that of the upper one. */
typedef struct codes_levels {
    int8_t lower[CODES_LEVELS], upper[CODES_LEVELS];
} codes_levels;

/* A block of up to four panels. */
typedef struct codes_block {
    const dynq_gemm_s8 *gemm;
    const int8_t *first;              /* panel */
    const int8_t *next;               /* what will be read behind the last one */
    size_t panels, panel_bytes, most; /* inputs at a time */
    codes_levels levels[4];
} codes_block;

static void codes_levels_prepare(codes_block *b, size_t panel, const int8_t *levels)
{
    codes_levels *to = &b->levels[panel];
    if (b->gemm->codes.bits == 4) {
        memcpy(to->lower, levels, CODES_LEVELS);
        return;
    }
    for (size_t i = 0; i < CODES_LEVELS; i++) {
        to->lower[i] = levels[i % 4];
        to->upper[i] = levels[i / 4];
    }
}

/* c->panels: the first panel. */
static codes_block codes_block_of(const s8_columns *c, size_t columns)
{
    const dynq_gemm_s8 *g = c->gemm;
    const dynq_weight_codes *codes = &g->codes;
    codes_block b = {.gemm = g, .first = c->panels, .next = c->ahead};
    b.panels = (columns + 15) / 16;
    b.panel_bytes = dynq_panel_bytes(codes, g->kpad);
    const size_t parts = (g->kpad + CODES_INPUTS - 1) / CODES_INPUTS;
    b.most = ((g->kpad + parts - 1) / parts + 127) / 128 * 128; /* whole groups */
    for (size_t p = 0; p < b.panels && s8_has_codes(g); p++) {
        codes_levels_prepare(&b, p, codes->levels + (c->column / 16 + p) * codes->levels_step);
    }
    return b;
}

/* Inputs from k on that go together. */
static size_t codes_depth(const codes_block *b, size_t k)
{
    return lanes_smaller(b->most, b->gemm->kpad - k);
}

typedef struct codes_tables {
    codes_table lower, upper;
} codes_tables;

LANES_INLINE codes_tables codes_tables_load(const codes_levels *levels)
{
    return (codes_tables){codes_table_load(levels->lower), codes_table_load(levels->upper)};
}

/* Row `turn`, a constant, of the p16x4 that a row of codes stands for. */
LANES_INLINE lanes_s32 codes_weights(const int bits, const int turn, const codes_tables *tables,
                                     lanes_s32 bytes)
{
    if (bits == 8) {
        return bytes;
    }
    const lanes_s32 half = turn < 4 / bits ? codes_low(bytes) : codes_high(bytes);
    return codes_look_up(bits == 2 && turn % 2 == 1 ? tables->upper : tables->lower, half);
}

/* Rows of 64 bytes of codes. */
LANES_INLINE void codes_look_up_rows(const int bits, const codes_tables *tables, const int8_t *from,
                                     size_t rows, int8_t *to)
{
    for (const int8_t *end = from + rows * 64; from < end; from += 64) {
        const lanes_s32 bytes = dot_weights(from);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            if (i < 8 / bits) {
                lanes_store_s32((int32_t *)(void *)to, codes_weights(bits, i, tables, bytes));
                to += 64;
            }
        }
    }
}

/* `depth` inputs of a panel, whose groups are parts of it. */
LANES_INLINE void codes_look_up_panel(const int bits, const codes_levels *levels, size_t group,
                                      const int8_t *from, size_t depth, int8_t *to)
{
    const codes_tables tables = codes_tables_load(levels);
    const size_t head = group == 0 ? 0 : CODES_HEAD, step = group == 0 ? depth : group;
    for (size_t k = 0; k < depth; k += step) {
        const size_t rows = lanes_smaller(step, depth - k) * (size_t)bits / 32;
        from += head;
        codes_look_up_rows(bits, &tables, from, rows, to + k * 16);
        from += rows * 64;
    }
}

/* Where input k of a panel is, k at the border of a group. */
static size_t codes_offset(const dynq_weight_codes *codes, size_t k)
{
    const size_t bits = codes->bits == 0 ? 8 : codes->bits;
    return k * 2 * bits + (codes->group == 0 ? 0 : k / codes->group * CODES_HEAD);
}

/* The weights of `depth` inputs from `k` on, panel after panel, p16x4. */
static void codes_look_up_inputs(const codes_block *b, size_t k, size_t depth, int8_t *to)
{
    const dynq_weight_codes *codes = &b->gemm->codes;
    const size_t offset = codes_offset(codes, k);
    for (size_t p = 0; p < b->panels; p++, to += depth * 16) {
        const int8_t *from = b->first + p * b->panel_bytes + offset;
        if (codes->bits == 4) {
            codes_look_up_panel(4, &b->levels[p], codes->group, from, depth, to);
        } else {
            codes_look_up_panel(2, &b->levels[p], codes->group, from, depth, to);
        }
    }
}

/* One row of codes of each panel, whose numbers are looked up in registers, by a few rows. What is
 * `distance` away is fetched meanwhile. */
LANES_INLINE void codes_step(const int bits, const int rows, const int panels,
                             const codes_tables *tables, s8_panels *acc, const s8_codes *r,
                             const int8_t *from, size_t panel_bytes, ptrdiff_t distance)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            const int8_t *row = from + (size_t)p * panel_bytes;
            const lanes_s32 bytes = dot_weights(row);
            __builtin_prefetch(row + distance, 0, 2);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
                if (t < 8 / bits) {
                    const lanes_s32 weights = codes_weights(bits, t, &tables[p], bytes);
#pragma GCC unroll 3
                    for (int m = 0; m < CODES_FEW_ROWS; m++) {
                        if (m < rows) {
                            const uint8_t *q = r->three[0] + (size_t)m * r->stride + 4 * t;
                            acc[m].panel[p] = dot_add(acc[m].panel[p], dot_broadcast(q), weights);
                        }
                    }
                }
            }
        }
    }
}

/* As s8_tile, of a few rows, from the first one on. */
LANES_INLINE void codes_tile(const int bits, const int rows, const int panels, const s8_columns *c,
                             const codes_block *b, size_t at, const s8_sums *out)
{
    const int8_t *from = b->first + at / 16 * b->panel_bytes;
    const ptrdiff_t distance = (ptrdiff_t)((uintptr_t)b->next - (uintptr_t)b->first);
    s8_codes r = {.three = {c->q}, .stride = c->gemm->q_stride};
    codes_tables tables[4];
    s8_panels acc[CODES_FEW_ROWS];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            tables[p] = codes_tables_load(&b->levels[at / 16 + (size_t)p]);
        }
    }
#pragma GCC unroll 3
    for (int m = 0; m < CODES_FEW_ROWS; m++) {
        if (m < rows) {
            acc[m] = s8_start(panels, c, (size_t)m, at);
        }
    }
    for (const int8_t *end = from + b->panel_bytes; from < end; from += 64) {
        r = s8_codes_hide(1, r);
        codes_step(bits, rows, panels, tables, acc, &r, from, b->panel_bytes, distance);
        r.three[0] += 4 * 8 / bits;
    }
    s8_end(rows, panels, c, 0, at, out, acc);
}

/* As s8_across. */
LANES_INLINE void codes_across(const int bits, const int rows, const int panels,
                               const s8_columns *c, const codes_block *b, size_t columns,
                               const s8_sums *out)
{
    const size_t width = 16 * (size_t)panels;
    size_t at = 0;
    for (; at + width <= columns; at += width) {
        codes_tile(bits, rows, panels, c, b, at, out);
    }
    for (; panels > 1 && at < columns; at += 16) {
        codes_tile(bits, rows, 1, c, b, at, out);
    }
}

/* `rows` (1 to CODES_FEW_ROWS) by `columns` (16 to 64, whole panels). As s8_tile_rows. */
__attribute__((noinline)) static void codes_tile_rows(size_t rows, const s8_columns *c,
                                                      const codes_block *b, size_t columns,
                                                      const s8_sums *out)
{
    const int four = b->gemm->codes.bits == 4;
    switch (rows) {
    case 1:
        if (four) {
            codes_across(4, 1, CODES_PANELS, c, b, columns, out);
        } else {
            codes_across(2, 1, CODES_PANELS, c, b, columns, out);
        }
        break;
#if S8_ROWS >= CODES_FEW_ROWS
    case 2:
        if (four) {
            codes_across(4, 2, CODES_PANELS, c, b, columns, out);
        } else {
            codes_across(2, 2, CODES_PANELS, c, b, columns, out);
        }
        break;
    default:
        if (four) {
            codes_across(4, 3, CODES_PANELS, c, b, columns, out);
        } else {
            codes_across(2, 3, CODES_PANELS, c, b, columns, out);
        }
        break;
#endif
    }
}

/* More than a few rows: their tiles share what the next block has evenly. */
static void codes_plan_ahead(s8_columns *c, size_t tiles)
{
    const dynq_gemm_s8 *g = c->gemm;
    const size_t columns = tiles == 1 ? TILE_COLUMNS : S8_COLUMNS;
    if (g->rows > CODES_FEW_ROWS) {
        const size_t bytes = columns / 16 * dynq_panel_bytes(&g->codes, g->kpad);
        const size_t steps = g->kpad / 4 * tiles;
        c->ahead_step = (bytes + steps - 1) / steps;
        c->ahead_pairs = c->ahead_step > 64;
    }
}

#endif
