/* Tiles of the INT8 product, written once over the lanes: their sums stay in registers from the
 * zero point's share to the float that is stored. Included by gemm_s8_lanes.h, which wants a
 * definition of
 *
 *   S8_ROWS       rows of the tallest tile
 *   S8_MANY_ROWS  rows of a tile where one tile is not enough for all
 *   S8_COLUMNS    16 to 64: columns that all tiles pass before the next, so that their weights
 *                 stay in L1
 *   S8_SLOW_ROWS  0: tiles are about equally tall. Or a number of rows whose tile is slow: tiles
 *                 are as tall as they may be, and a rest, unless that were so many rows
 *   CODES_PANELS  of a tile of up to three rows that looks up weights of 4 and 2 bits itself
 *   S8_GROUP_ROWS and S8_GROUP_COLUMNS: of the tallest tile of weights in groups
 *   S8_OFFSET     what dot_broadcast takes from every code: 0, or 128 where an instruction
 *                 multiplies signed bytes with signed bytes
 *   dot_codes     four codes of a row, repeated in all lanes
 *   dot_broadcast (const uint8_t *q): dot_codes
 *   dot_weights   (const int8_t *w): lanes_s32, a row of a panel
 *   dot_add       (lanes_s32 acc, dot_codes q, lanes_s32 w): acc + the four products in each lane
 *
 * and s8_tile_rows and s8_group_rows afterwards, which say what tiles the registers hold. */
#ifndef DYNQ_KERNELS_GEMM_S8_TILE_LANES_H
#define DYNQ_KERNELS_GEMM_S8_TILE_LANES_H

#include "kernels/float_lanes.h"

enum {
    S8_TURNS = 4,       /* most steps along k that a tile has under way in sums of their own */
    S8_BLOCK_ROWS = 96, /* rows that pass while four panels stay in the cache */
    S8_STREAM = 1024,   /* bytes of a panel that are fetched ahead where a tile streams them */
    S8_FAR_STREAM = 4096,
    S8_L1_SHARE = 32768 /* a tile's weights up to here leave room for the next tile's in L1 */
};

/* What happens on the way to y: scale and bias, alike for all rows, with or without a range; or
 * anything. */
typedef enum s8_kind { S8_ANY, S8_PLAIN, S8_PLAIN_UNRANGED } s8_kind;

/* Where the sums of a tile go if not to y. */
typedef struct s8_sums {
    int32_t *sums; /* [rows][stride]; NULL: to y */
    size_t stride;
} s8_sums;

/* A block of up to four panels: what its tiles begin with, end with and fetch ahead. */
typedef struct s8_columns {
    _Alignas(64) int32_t start[TILE_COLUMNS]; /* of the sums: the zero point's share, or what it is
                                               * multiplied with where each row has its own */
    _Alignas(64) float scale[TILE_COLUMNS], bias[TILE_COLUMNS];
    const dynq_gemm_s8 *gemm;
    const int8_t
        *panels;      /* of s8 weights: of the whole depth, or of the inputs that are under way */
    const uint8_t *q; /* as far: [rows][q_stride] */
    size_t depth;
    const int32_t *carried; /* sums of the inputs before, [rows][TILE_COLUMNS]; NULL: none */
    const struct codes_block *codes; /* not NULL: tiles look weights up themselves */
    int32_t *carry; /* where sums wait for the inputs behind; NULL: there are none */
    size_t column;
    s8_kind kind;
    size_t stream;       /* bytes from a weight to the one to fetch meanwhile; 0: nothing */
    const int8_t *ahead; /* the next block's weights, of which a tile fetches its share */
    size_t ahead_step;   /* bytes for each step along k; 0: nothing */
    int ahead_pairs;     /* two lines at a step */
    range_lanes *ranges; /* of y: [rows] or [1] */
} s8_columns;

typedef struct s8_panels {
    lanes_s32 panel[4];
} s8_panels;

/* Loops run over a constant number with the condition inside: Clang leaves a loop alone whose
 * pragma names another number than the loop has turns. */
LANES_INLINE s8_panels s8_load(const int panels, const int8_t *w, size_t panel_size)
{
    s8_panels weights;
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            weights.panel[p] = dot_weights(w + (size_t)p * panel_size);
        }
    }
    return weights;
}

LANES_INLINE s8_panels s8_multiply(const int panels, s8_panels acc, dot_codes q, const s8_panels w)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            acc.panel[p] = dot_add(acc.panel[p], q, w.panel[p]);
        }
    }
    return acc;
}

LANES_INLINE s8_panels s8_add(const int panels, s8_panels a, const s8_panels b)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            a.panel[p] = lanes_add_s32(a.panel[p], b.panel[p]);
        }
    }
    return a;
}

LANES_INLINE s8_panels s8_start(const int panels, const s8_columns *c, size_t row, size_t at)
{
    s8_panels acc;
    const dynq_dequantize *d = &c->gemm->dequantize;
    const int by_row = c->gemm->sums == NULL && d->row_step != 0;
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            acc.panel[p] = lanes_load_s32(c->start + at + 16 * p, 16);
            if (by_row) {
                const lanes_s32 zero = lanes_set_s32(S8_OFFSET - d->row_zero[row]);
                acc.panel[p] = lanes_mul_s32(zero, acc.panel[p]);
            }
            if (c->carried != NULL) {
                const int32_t *carried = c->carried + row * TILE_COLUMNS + at + 16 * (size_t)p;
                acc.panel[p] = lanes_add_s32(acc.panel[p], lanes_load_s32(carried, 16));
            }
        }
    }
    return acc;
}

/* The way of a row's sums to y. */
typedef struct s8_way {
    const float *residual; /* NULL: none */
    float *y;
    int relu, by_row;
    lanes_f32 row_scale;
} s8_way;

LANES_INLINE lanes_f32 s8_value(const s8_columns *c, const s8_way *way, size_t at, size_t column,
                                lanes_s32 acc)
{
    lanes_f32 scale = lanes_load(c->scale + at + column, 16);
    if (way->by_row) {
        scale = lanes_mul(way->row_scale, scale);
    }
    lanes_f32 y = lanes_fma(lanes_from_s32(acc), scale, lanes_load(c->bias + at + column, 16));
    if (way->relu) {
        y = lanes_activate(DYNQ_ACTIVATION_RELU, y);
    }
    if (way->residual != NULL) {
        y = lanes_add(y, lanes_load(way->residual + column, 16));
    }
    return y;
}

/* From the registers to y. All that is in memory is read before the first store, which might hide
 * it from the compiler. `kind` is a constant. */
LANES_INLINE void s8_finish(const s8_kind kind, const int rows, const int panels,
                            const s8_columns *c, size_t row, size_t at, const s8_panels *acc)
{
    const dynq_gemm_s8 *g = c->gemm;
    const dynq_epilogue *e = &g->epilogue;
    const size_t step = e->range_step, stride = e->y_stride, residual_stride = e->residual_stride;
    const float *const row_scale = g->dequantize.row_scale + row;
    range_lanes *const ranges = c->ranges;
    const int ranged = kind != S8_PLAIN_UNRANGED && e->range != NULL;
    range_lanes range = ranges[0];
    const int plain = kind != S8_ANY;
    s8_way way = {.residual = plain || e->residual == NULL
                                  ? NULL
                                  : e->residual + row * residual_stride + c->column + at,
                  .y = e->y + row * stride + c->column + at,
                  .relu = !plain && e->activation == DYNQ_ACTIVATION_RELU,
                  .by_row = !plain && g->dequantize.row_step != 0};
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            if (step != 0) {
                range = ranges[row + (size_t)m];
            }
            if (way.by_row) {
                way.row_scale = lanes_set(row_scale[m]);
            }
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                if (p < panels) {
                    const size_t column = 16 * (size_t)p;
                    const lanes_f32 y = s8_value(c, &way, at, column, acc[m].panel[p]);
                    lanes_store(way.y + column, y, 16);
                    if (ranged) {
                        range = range_with(range, y, 16);
                    }
                }
            }
            way.y += stride;
            way.residual = way.residual == NULL ? NULL : way.residual + residual_stride;
            if (step != 0) {
                ranges[row + (size_t)m] = range;
            }
        }
    }
    if (step == 0) {
        ranges[0] = range;
    }
}

LANES_INLINE void s8_store(const int rows, const int panels, const s8_sums *out, size_t at,
                           const s8_panels *acc)
{
    int32_t *const sums = out->sums + at;
    const size_t stride = out->stride;
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                if (p < panels) {
                    lanes_store_s32(sums + (size_t)m * stride + 16 * p, acc[m].panel[p]);
                }
            }
        }
    }
}

/* To `out` or to y. */
LANES_INLINE void s8_end(const int rows, const int panels, const s8_columns *c, size_t row,
                         size_t at, const s8_sums *out, const s8_panels *acc)
{
    if (out->sums != NULL) {
        s8_store(rows, panels, out, at, acc);
    } else if (c->kind == S8_PLAIN) {
        s8_finish(S8_PLAIN, rows, panels, c, row, at, acc);
    } else if (c->kind == S8_PLAIN_UNRANGED) {
        s8_finish(S8_PLAIN_UNRANGED, rows, panels, c, row, at, acc);
    } else {
        s8_finish(S8_ANY, rows, panels, c, row, at, acc);
    }
}

/* Codes of a tile, by three rows for one pointer: with a pointer for each row there are more than
 * general registers. */
typedef struct s8_codes {
    const uint8_t *three[(S8_ROWS + 2) / 3];
    size_t stride;
} s8_codes;

/* Hides from the compiler how the pointers hang together, or it makes one for each row again. */
LANES_INLINE s8_codes s8_codes_hide(const int rows, s8_codes r)
{
#pragma GCC unroll 4
    for (int i = 0; i < (S8_ROWS + 2) / 3; i++) {
        if (3 * i < rows) {
            __asm__("" : "+r"(r.three[i]));
        }
    }
    return r;
}

/* One step along k. */
LANES_INLINE void s8_step(const int rows, const int panels, s8_panels *acc, const s8_codes *r,
                          size_t k, const s8_panels weights)
{
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            const uint8_t *q = r->three[m / 3] + (size_t)(m % 3) * r->stride + k;
            acc[m] = s8_multiply(panels, acc[m], dot_broadcast(q), weights);
        }
    }
}

LANES_INLINE void s8_fetch(const int panels, const int8_t *w, size_t panel_size)
{
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        if (p < panels) {
            __builtin_prefetch(w + (size_t)p * panel_size, 0, 3);
        }
    }
}

LANES_INLINE void s8_fetch_ahead(const s8_columns *c, const int8_t *ahead)
{
    const int always = S8_ROWS == 1; /* Clang spills sums around a branch in so full a tile */
    if (always || c->ahead_step != 0) {
        __builtin_prefetch(ahead, 0, 2);
        if (always || c->ahead_pairs) {
            __builtin_prefetch(ahead + 64, 0, 2);
        }
    }
}

/* Rows from `row` on, panels from column `at` of the block on. `rows`, `panels` and `turns` are
 * constants where it is called, so that the sums stay in registers. Few rows take several turns of
 * k at a time, each with sums of its own, to have enough under way for the latency of the
 * instruction. */
LANES_INLINE void s8_tile(const int rows, const int panels, const int turns, const s8_columns *c,
                          size_t row, size_t at, const s8_sums *out)
{
    const dynq_gemm_s8 *g = c->gemm;
    const size_t panel_size = c->depth * 16, stream = c->stream, stride = g->q_stride;
    const int8_t *w = c->panels + at * c->depth, *ahead = c->ahead;
    s8_codes r = {.stride = stride};
    s8_panels acc[S8_TURNS][S8_ROWS] = {0};
    for (int i = 0; i < (S8_ROWS + 2) / 3; i++) {
        r.three[i] = c->q + (row + 3 * (size_t)i) * stride;
    }
#pragma GCC unroll 12
    for (int m = 0; m < S8_ROWS; m++) {
        if (m < rows) {
            acc[0][m] = s8_start(panels, c, row + (size_t)m, at);
        }
    }
    for (const int8_t *end = w + panel_size; w < end; w += 64 * turns) {
        r = s8_codes_hide(rows, r);
#pragma GCC unroll 4
        for (int t = 0; t < S8_TURNS; t++) {
            if (t < turns) {
                const s8_panels weights = s8_load(panels, w + 64 * t, panel_size);
                if (rows > 1 && stream != 0) {
                    s8_fetch(panels, w + 64 * t + stream, panel_size);
                }
                s8_step(rows, panels, acc[t], &r, 4 * (size_t)t, weights);
            }
        }
        if (turns == 1) {
            s8_fetch_ahead(c, ahead);
            ahead += c->ahead_step;
        }
        for (int i = 0; i < (S8_ROWS + 2) / 3; i++) {
            r.three[i] += 4 * turns;
        }
    }
#pragma GCC unroll 4
    for (int t = 1; t < S8_TURNS; t++) {
#pragma GCC unroll 12
        for (int m = 0; m < S8_ROWS; m++) {
            if (t < turns && m < rows) {
                acc[0][m] = s8_add(panels, acc[0][m], acc[t][m]);
            }
        }
    }
    s8_end(rows, panels, c, row, at, out, acc[0]);
}

/* Some rows by all columns of a block, in tiles of `panels`, what is left one panel at a time. */
LANES_INLINE void s8_across(const int rows, const int panels, const int turns, const s8_columns *c,
                            size_t row, size_t columns, const s8_sums *out)
{
    const size_t width = 16 * (size_t)panels;
    size_t at = 0;
    for (; at + width <= columns; at += width) {
        s8_tile(rows, panels, turns, c, row, at, out);
    }
    for (; panels > 1 && at < columns; at += 16) {
        s8_tile(rows, 1, rows <= 3 ? 4 : rows <= 6 ? 2 : 1, c, row, at, out);
    }
}

/* `rows` (1 to S8_ROWS) by `columns` (16 to 64, whole panels): s8_across with the constants that
 * suit the registers. Not inline: GCC would keep constants of the loops around it in registers that
 * the sums need. */
__attribute__((noinline)) static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row,
                                                   size_t columns, const s8_sums *out);

#if S8_OFFSET != 0
/* What sums of (q - S8_OFFSET) * w lack to those of q * w. */
static void s8_correction(const s8_columns *c, size_t columns, int32_t *correction)
{
    static const uint8_t ones[4] = {S8_OFFSET + 1, S8_OFFSET + 1, S8_OFFSET + 1, S8_OFFSET + 1};
    const dot_codes one = dot_broadcast(ones);
    for (size_t i = 0; i < columns; i += 16) {
        const int8_t *w = c->panels + i * c->depth;
        lanes_s32 sum = lanes_set_s32(0);
        for (size_t k = 0; k < c->depth; k += 4) {
            sum = dot_add(sum, one, dot_weights(w + k * 16));
        }
        lanes_store_s32(correction + i, lanes_mul_s32(sum, lanes_set_s32(S8_OFFSET)));
    }
}
#else
static void s8_correction(const s8_columns *c, size_t columns, int32_t *correction)
{
    (void)c;
    memset(correction, 0, columns * sizeof *correction);
}
#endif

#endif
