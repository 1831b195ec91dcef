#include "src/chunks.h"

#include "src/memory.h"
#include "src/pack.h"

/* A shared step costs about half a microsecond: the other threads must see it and be seen to have
 * finished. What they read comes from the caller's cache, which costs more than that. Cut by rows,
 * it is the other way round: what they made they had better read. */
#define SHARED_NANOSECONDS         4000
#define SHARED_BY_ROWS_NANOSECONDS 400

/* Steps of which runs by rows must consist on average. */
#define BY_ROWS_NANOSECONDS 1500

/* The smallest chunk: well above a claim and a call. */
#define CHUNK_NANOSECONDS 4000

/* Chunks for each thread, where the step is large enough: a delayed thread's work can be taken over
 * up to the chunk it has in hand. */
#define CHUNKS_PER_THREAD 8

/* Rows for each thread, where they are cut by rows: enough for a tile of a kernel. */
#define ROWS_PER_THREAD 8

/* Fewer rows for each thread make tiles less efficient, and more columns make up for reading what
 * another thread has made: such layers are cut by columns all the same. */
#define EFFICIENT_ROWS 32
#define WIDE_COLUMNS   1024

#define TILE_COLUMNS 64 /* columns that a kernel's widest tile works on */
#define ROW_STEP     8  /* rows of a chunk are a multiple, for the sake of the tiles */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static uint64_t nanoseconds_of(size_t a, size_t b, size_t c, uint32_t picoseconds)
{
    return (uint64_t)((double)a * (double)b * (double)c * picoseconds * 1e-3);
}

/* The weights have to come from the cache as well, whence the additional row. */
static uint64_t linear_nanoseconds(size_t rows, size_t k, size_t columns, uint32_t picoseconds)
{
    return nanoseconds_of(rows + 1, k, columns, picoseconds);
}

/* How many chunks are useful, a multiple of the threads. */
static size_t useful_chunks(uint64_t nanoseconds, uint32_t threads)
{
    const size_t most = (size_t)threads * CHUNKS_PER_THREAD;
    const uint64_t large_enough = nanoseconds / CHUNK_NANOSECONDS / threads * threads;
    return large_enough < threads ? threads : large_enough < most ? (size_t)large_enough : most;
}

static bool worth_sharing(uint64_t nanoseconds, dynq_cut cut)
{
    return cut.threads > 1 &&
           nanoseconds >= (cut.by_rows ? SHARED_BY_ROWS_NANOSECONDS : SHARED_NANOSECONDS);
}

bool dynq_cut_by_rows_pays(size_t rows, uint32_t threads, uint64_t nanoseconds, size_t steps)
{
    return rows >= (size_t)threads * ROWS_PER_THREAD && nanoseconds >= steps * BY_ROWS_NANOSECONDS;
}

/* Rows in `chunks` parts, or more of DYNQ_ROW_BLOCK, at multiples of `unit`. */
static void cut_rows(dynq_layout *layout, size_t chunks, size_t unit)
{
    const size_t least = dynq_divide_up(layout->rows, DYNQ_ROW_BLOCK / unit * unit);
    layout->row_unit = unit;
    layout->row_units = dynq_divide_up(layout->rows, unit);
    layout->row_chunks = smaller(chunks > least ? chunks : least, layout->row_units);
}

/* The largest number of parts, `most` at most and not much below, that a multiple of the threads
 * and equal parts allow. */
static size_t equal_parts(size_t units, size_t most, uint32_t threads)
{
    size_t parts = most;
    while (units % parts != 0 && parts > most / 2 && parts > threads) {
        parts -= threads;
    }
    return smaller(units % parts == 0 ? parts : most, units);
}

static void cut_columns(dynq_layout *layout, size_t unit, uint32_t threads)
{
    const size_t useful = useful_chunks(layout->nanoseconds, threads);
    const size_t wanted =
        dynq_divide_up(dynq_divide_up(useful, layout->row_chunks), threads) * threads;
    layout->column_unit = unit;
    layout->column_units = dynq_divide_up(layout->columns, unit);
    layout->column_chunks = equal_parts(layout->column_units, wanted, threads);
}

static bool prefers_columns(const dynq_layout *layout, uint32_t threads)
{
    return layout->rows < (size_t)threads * EFFICIENT_ROWS && layout->columns >= WIDE_COLUMNS;
}

/* The same number of rows for each thread; columns are cut only to have more chunks. */
static void cut_linear_by_rows(dynq_layout *layout, uint32_t threads)
{
    const size_t row_blocks = dynq_divide_up(layout->rows, DYNQ_ROW_BLOCK);
    layout->by_rows = true;
    cut_rows(layout, dynq_divide_up(row_blocks, threads) * threads, ROW_STEP);
    cut_columns(layout, TILE_COLUMNS, threads);
}

/* The same number of tiles for each thread, whatever the rows. Where tiles do not divide evenly,
 * many rows are divided in two dimensions, and few rows at any panel. */
static void cut_linear_by_columns(dynq_layout *layout, uint32_t threads)
{
    const size_t tiles = dynq_divide_up(layout->columns, TILE_COLUMNS);
    if (tiles % threads == 0) {
        cut_columns(layout, TILE_COLUMNS, threads);
    } else if (layout->rows >= (size_t)threads * 2 * ROW_STEP) {
        const size_t row_blocks = dynq_divide_up(layout->rows, DYNQ_ROW_BLOCK);
        cut_rows(layout, dynq_divide_up(row_blocks, threads) * threads, ROW_STEP);
        cut_columns(layout, TILE_COLUMNS, threads);
    } else {
        cut_columns(layout, DYNQ_PANEL, threads);
    }
}

dynq_layout dynq_layout_linear(size_t rows, size_t k, size_t columns, uint32_t picoseconds,
                               dynq_cut cut)
{
    dynq_layout layout = {
        .rows = rows,
        .columns = columns,
        .column_unit = columns,
        .column_units = 1,
        .column_chunks = 1,
        .nanoseconds = linear_nanoseconds(rows, k, columns, picoseconds),
    };
    layout.shared = worth_sharing(layout.nanoseconds, cut);
    cut_rows(&layout, 1, DYNQ_ROW_BLOCK);
    if (layout.shared && cut.by_rows && !prefers_columns(&layout, cut.threads)) {
        cut_linear_by_rows(&layout, cut.threads);
    } else if (layout.shared) {
        cut_linear_by_columns(&layout, cut.threads);
    }
    return layout;
}

dynq_layout dynq_layout_by_row(size_t rows, size_t columns, uint32_t picoseconds, dynq_cut cut)
{
    dynq_layout layout = {
        .rows = rows,
        .columns = columns,
        .column_unit = columns,
        .column_units = 1,
        .column_chunks = 1,
        .nanoseconds = nanoseconds_of(rows, columns, 1, picoseconds),
    };
    layout.shared = rows > 1 && worth_sharing(layout.nanoseconds, cut);
    cut_rows(&layout, layout.shared ? useful_chunks(layout.nanoseconds, cut.threads) : 1, 1);
    return layout;
}

dynq_layout dynq_layout_heads(size_t segments, size_t heads, uint64_t nanoseconds, dynq_cut cut)
{
    dynq_layout layout = {
        .rows = segments,
        .columns = heads,
        .column_unit = 1,
        .column_units = heads,
        .column_chunks = 1,
        .nanoseconds = nanoseconds,
        .by_rows = true,
    };
    layout.shared = segments * heads > 1 && worth_sharing(nanoseconds, cut);
    cut_rows(&layout, layout.shared ? useful_chunks(nanoseconds, cut.threads) : 1, 1);
    if (layout.shared && layout.row_chunks < useful_chunks(nanoseconds, cut.threads)) {
        cut_columns(&layout, 1, cut.threads);
    }
    return layout;
}

dynq_layout dynq_layout_blocks(size_t rows, uint64_t nanoseconds, uint32_t threads)
{
    dynq_layout layout = {
        .rows = rows,
        .columns = 1,
        .column_unit = 1,
        .column_units = 1,
        .column_chunks = 1,
        .nanoseconds = nanoseconds,
        .by_rows = true,
        .shared = threads > 1,
    };
    const size_t blocks = dynq_divide_up(rows, DYNQ_ROW_BLOCK);
    cut_rows(&layout, dynq_divide_up(blocks, threads) * threads, 1);
    return layout;
}

dynq_layout dynq_layout_fixed(size_t rows, size_t k, size_t columns, size_t blocks,
                              size_t block_columns, uint32_t picoseconds)
{
    const uint64_t nanoseconds = linear_nanoseconds(rows, k, columns, picoseconds);
    return (dynq_layout){
        .rows = rows,
        .columns = columns,
        .row_unit = rows,
        .row_units = 1,
        .row_chunks = 1,
        .column_unit = block_columns,
        .column_units = blocks,
        .column_chunks = blocks,
        .nanoseconds = nanoseconds,
        .shared = blocks > 1 && nanoseconds >= SHARED_NANOSECONDS,
    };
}

/* Where part `index` of `parts` of [0, total) begins, at a multiple of `unit`. */
static size_t border(size_t total, size_t unit, size_t units, size_t parts, size_t index)
{
    return smaller(units * index / parts * unit, total);
}

dynq_block dynq_layout_block(const dynq_layout *layout, size_t chunk)
{
    const dynq_layout *l = layout;
    const size_t r = l->by_rows ? chunk / l->column_chunks : chunk % l->row_chunks;
    const size_t c = l->by_rows ? chunk % l->column_chunks : chunk / l->row_chunks;
    const size_t row = border(l->rows, l->row_unit, l->row_units, l->row_chunks, r);
    const size_t column = border(l->columns, l->column_unit, l->column_units, l->column_chunks, c);
    return (dynq_block){
        .row = row,
        .rows = border(l->rows, l->row_unit, l->row_units, l->row_chunks, r + 1) - row,
        .column = column,
        .columns =
            border(l->columns, l->column_unit, l->column_units, l->column_chunks, c + 1) - column,
    };
}
