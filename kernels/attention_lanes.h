/* What both kinds of attention over sixteen lanes have in common; what each computes is said in
 * kernel.h and fixed by ref_attention.c. A lane is a query where scores become probabilities, and
 * nothing crosses lanes there; a lane is a column where these are multiplied with values. Include
 * after float_lanes.h and a definition of
 *
 *   ATTENTION_GROUPS       1 or 2: groups of 16 queries that read keys and values together
 *   ATTENTION_TILE_KEYS    4 or 8: keys by all groups, whose scores fit the registers
 *   ATTENTION_TILE_ROWS    4 or 8: queries by ...
 *   ATTENTION_TILE_PANELS  1 or 2: ... panels of 16 columns of values, which fit them too */
#ifndef DYNQ_KERNELS_ATTENTION_LANES_H
#define DYNQ_KERNELS_ATTENTION_LANES_H

#include "kernels/attention.h"
#include "kernels/float_lanes.h"

#include <math.h>

enum {
    ATTENTION_QUERIES = 16 * ATTENTION_GROUPS,
    ATTENTION_KEYS = DYNQ_ATTENTION_KEYS,
    ATTENTION_NUMBERS = 16 * DYNQ_MAX_HEAD /* of a group of queries, or more in a narrow head */
};

_Static_assert(ATTENTION_GROUPS *DYNQ_ATTENTION_NARROW <= DYNQ_MAX_HEAD,
               "all groups of a narrow head take no more room than one of a wide head");

/* Queries on their way through the blocks of keys. */
typedef struct attention_turn {
    _Alignas(64) float rows[ATTENTION_NUMBERS]; /* [query][16 * panels]: sums of earlier blocks */
    _Alignas(64) float scores[ATTENTION_GROUPS][ATTENTION_KEYS][16];
    _Alignas(64) float alpha[ATTENTION_QUERIES], inverse[ATTENTION_QUERIES];
    lanes_f32 max[ATTENTION_GROUPS], total[ATTENTION_GROUPS];
    range_lanes seen[ATTENTION_QUERIES];
    const dynq_attention_block *block;
    size_t first, queries; /* of the segment; they never lie on both sides of a multiple of 16 *
                            * groups, so that all see the same blocks */
    int groups;
    size_t panels;
    size_t key, keys; /* those of the block that is worked on, as many as the last query sees */
    int is_first, is_last, is_masked;
} attention_turn;

/* Where the rows of queries or keys begin; those behind the last are it once more. */
LANES_INLINE void attention_rows(const float *x, size_t stride, size_t rows, const float *row[16])
{
    for (size_t i = 0; i < 16; i++) {
        row[i] = x;
        x += i + 1 < rows ? stride : 0;
    }
}

/* Columns `at` to `at` + 3 of sixteen rows; zeros behind the last column. */
LANES_INLINE void attention_columns(const float *const row[16], size_t at, size_t dim,
                                    lanes_f32 columns[4])
{
    if (at + 4 <= dim) {
        lanes_columns(row, at, columns);
        return;
    }
    for (size_t c = 0; c < 4; c++) {
        float column[16] = {0};
        for (size_t i = 0; i < 16 && at + c < dim; i++) {
            column[i] = row[i][at + c];
        }
        columns[c] = lanes_load(column, 16);
    }
}

/* The queries from `query` on that go together. */
static void attention_begin(attention_turn *t, const dynq_attention_block *block, size_t query)
{
    const size_t together = block->dim <= DYNQ_ATTENTION_NARROW ? ATTENTION_QUERIES : 16;
    const size_t end = (query / together + 1) * together;
    t->block = block;
    t->first = query;
    t->queries = lanes_smaller(end, block->first + block->queries) - query;
    t->groups = (int)((t->queries + 15) / 16);
    t->panels = dynq_attention_panels(block->dim);
    for (int g = 0; g < ATTENTION_GROUPS; g++) {
        t->max[g] = lanes_set(-INFINITY);
        t->total[g] = lanes_set(0.0f);
    }
    if (block->range_step != 0) {
        for (int i = 0; i < 16 * t->groups; i++) {
            t->seen[i] = range_none();
        }
    }
}

/* The block from key `key` on; whether there is one. */
static int attention_block_at(attention_turn *t, size_t key)
{
    const size_t seen = dynq_attention_seen(t->block, t->first + t->queries - 1);
    if (key >= seen) {
        return 0;
    }
    t->key = key;
    t->keys = lanes_smaller(ATTENTION_KEYS, seen - key);
    t->is_first = key == 0;
    t->is_last = key + ATTENTION_KEYS >= seen;
    t->is_masked = t->block->causal && t->is_last;
    return 1;
}

/* a in the lanes that see key `key` of the block, b in the others. */
LANES_INLINE lanes_f32 attention_mask(const attention_turn *t, int group, size_t key, lanes_f32 a,
                                      float b)
{
    const size_t first = t->first + 16 * (size_t)group;
    const size_t blind = t->key + key > first ? t->key + key - first : 0;
    return lanes_select(lanes_below(lanes_smaller(blind, 16)), lanes_set(b), a);
}

/* 1 / total, ready to be multiplied with. */
LANES_INLINE void attention_invert(attention_turn *t, int group, lanes_f32 taint)
{
    const lanes_f32 inverse = lanes_div(lanes_set(1.0f), t->total[group]);
    lanes_store(t->inverse + 16 * group, lanes_taint(inverse, taint), 16);
}

/* How a row of sums begins and where it goes, in variables of their own: what is stored could be
 * part of the turn, for all that a compiler knows. */
typedef struct attention_way {
    float *rows, *y;
    const float *alpha, *inverse;
    range_lanes *seen; /* NULL: no range is wanted */
    size_t stride, y_stride, queries;
    int is_first, is_last, is_shared; /* one range for all rows */
} attention_way;

/* Of the rows from `row` on, columns from `column` on. */
LANES_INLINE attention_way attention_way_of(attention_turn *t, size_t row, size_t column)
{
    const dynq_attention_block *b = t->block;
    return (attention_way){.rows = t->rows + row * 16 * t->panels + column,
                           .y = b->y + (t->first + row) * b->y_stride + column,
                           .alpha = t->alpha + row,
                           .inverse = t->inverse + row,
                           .seen = b->range == NULL     ? NULL
                                   : b->range_step == 0 ? t->seen
                                                        : t->seen + row,
                           .stride = 16 * t->panels,
                           .y_stride = b->y_stride,
                           .queries = t->queries > row ? t->queries - row : 0,
                           .is_first = t->is_first,
                           .is_last = t->is_last,
                           .is_shared = b->range_step == 0};
}

/* The sums of earlier blocks with the factor that the maximum's rise gives them. */
LANES_INLINE lanes_f32 attention_earlier(const attention_way *way, size_t row, size_t column)
{
    if (way->is_first) {
        return lanes_set(0.0f);
    }
    const lanes_f32 earlier = lanes_load(way->rows + row * way->stride + column, 16);
    return lanes_mul(earlier, lanes_set(way->alpha[row]));
}

/* Sums of some panels, the last with `last` columns, go to later blocks or to y. */
LANES_INLINE range_lanes attention_store(const int panels, const attention_way *way, size_t row,
                                         const lanes_f32 *acc, size_t last, range_lanes seen)
{
    if (!way->is_last) {
#pragma GCC unroll 2
        for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < panels) {
                lanes_store(way->rows + row * way->stride + 16 * i, acc[i], 16);
            }
        }
    } else if (row < way->queries) {
        const lanes_f32 inverse = lanes_set(way->inverse[row]);
#pragma GCC unroll 2
        for (int i = 0; i < ATTENTION_TILE_PANELS; i++) {
            if (i < panels) {
                const size_t count = i + 1 < panels ? 16 : last;
                const lanes_f32 y = lanes_taint(lanes_mul(acc[i], inverse), acc[i]);
                lanes_store(way->y + row * way->y_stride + 16 * i, y, count);
                seen = range_with(seen, y, count);
            }
        }
        if (way->seen != NULL && !way->is_shared) {
            way->seen[row] = range_both(way->seen[row], seen);
            seen = range_none();
        }
    }
    return seen;
}

/* Behind all rows of a tile. */
LANES_INLINE void attention_join(const attention_way *way, range_lanes seen)
{
    if (way->is_last && way->seen != NULL && way->is_shared) {
        *way->seen = range_both(*way->seen, seen);
    }
}

/* Joins the ranges of sixteen queries, of which `count` are wanted. */
static void attention_end_rows(const range_lanes *seen, dynq_range_bits *range, size_t count)
{
    const range_lanes rows = range_rows(seen);
    _Alignas(64) int32_t high[16], low[16];
    lanes_store_s32(high, rows.high);
    lanes_store_s32(low, rows.low);
    for (size_t i = 0; i < count; i++) {
        const uint32_t lowest = (uint32_t)low[i];
        range[i].high = range[i].high > high[i] ? range[i].high : high[i];
        range[i].low = range[i].low > lowest ? range[i].low : lowest;
    }
}

static void attention_end(const attention_turn *t)
{
    const dynq_attention_block *block = t->block;
    if (block->range != NULL && block->range_step != 0) {
        dynq_range_bits *range = block->range + (t->first - block->first);
        for (size_t i = 0; i < t->queries; i += 16) {
            attention_end_rows(t->seen + i, range + i, lanes_smaller(16, t->queries - i));
        }
    }
}

#endif
