#include "src/chunks.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const size_t row_counts[] = {1, 2, 3, 16, 23, 64, 97, 130, 512};
static const size_t column_counts[] = {1, 10, 64, 100, 192, 384, 768, 1000, 1088, 3072};
static const uint32_t thread_counts[] = {1, 2, 3, 5, 16};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static dynq_cut by_columns(uint32_t threads)
{
    return (dynq_cut){.threads = threads};
}

static dynq_cut by_rows(uint32_t threads)
{
    return (dynq_cut){.threads = threads, .by_rows = true};
}

/* Every element of the result in exactly one chunk. */
static void check_cover(const dynq_layout *layout, size_t rows, size_t columns)
{
    unsigned char *hits = calloc(rows, columns);
    for (size_t chunk = 0; chunk < dynq_layout_chunks(layout); chunk++) {
        const dynq_block b = dynq_layout_block(layout, chunk);
        cr_assert(b.rows > 0 && b.columns > 0 && b.column % 16 == 0);
        cr_assert(b.row + b.rows <= rows && b.column + b.columns <= columns);
        cr_assert_leq(b.rows, (size_t)DYNQ_ROW_BLOCK);
        for (size_t m = b.row; m < b.row + b.rows; m++) {
            for (size_t n = b.column; n < b.column + b.columns; n++) {
                cr_assert_eq(hits[m * columns + n]++, 0);
            }
        }
    }
    for (size_t i = 0; i < rows * columns; i++) {
        cr_assert_eq(hits[i], 1);
    }
    free(hits);
}

Test(chunks, every_element_is_in_one_chunk)
{
    for (size_t r = 0; r < COUNT(row_counts); r++) {
        for (size_t c = 0; c < COUNT(column_counts); c++) {
            for (size_t t = 0; t < COUNT(thread_counts); t++) {
                const size_t rows = row_counts[r], columns = column_counts[c];
                const dynq_layout linear =
                    dynq_layout_linear(rows, 500, columns, 4, by_columns(thread_counts[t]));
                check_cover(&linear, rows, columns);
                const dynq_layout other =
                    dynq_layout_linear(rows, 500, columns, 4, by_rows(thread_counts[t]));
                check_cover(&other, rows, columns);
                const dynq_layout by_row =
                    dynq_layout_by_row(rows, columns, 400, by_rows(thread_counts[t]));
                check_cover(&by_row, rows, columns);
                cr_assert_eq(by_row.column_chunks, 1u);
            }
        }
    }
}

/* The elements of the result that one thread meets first. */
static size_t elements_of(const dynq_layout *layout, uint32_t thread, uint32_t threads)
{
    const size_t chunks = dynq_layout_chunks(layout);
    size_t elements = 0;
    for (size_t c = chunks * thread / threads; c < chunks * (thread + 1) / threads; c++) {
        const dynq_block b = dynq_layout_block(layout, c);
        elements += b.rows * b.columns;
    }
    return elements;
}

Test(chunks, two_threads_have_the_same_work)
{
    static const size_t rows[] = {16, 24, 32, 64, 128, 512};
    static const size_t shapes[][2] = {{384, 384},  {384, 1536},  {1536, 384}, {768, 3072},
                                       {3072, 768}, {4096, 4096}, {1024, 192}, {4096, 1088}};
    for (size_t r = 0; r < COUNT(rows); r++) {
        for (size_t s = 0; s < COUNT(shapes); s++) {
            const size_t n = shapes[s][1], half = rows[r] * n / 2;
            const dynq_layout layout =
                dynq_layout_linear(rows[r], shapes[s][0], n, 4, by_columns(2));
            cr_assert(layout.shared);
            cr_assert_leq(elements_of(&layout, 0, 2) * 100, half * 107, "%zu rows, %zu columns",
                          rows[r], n);
            cr_assert_leq(elements_of(&layout, 1, 2) * 100, half * 107, "%zu rows, %zu columns",
                          rows[r], n);
        }
    }
    const dynq_layout by_row = dynq_layout_by_row(64, 768, 100, by_columns(2));
    cr_assert(by_row.shared);
    cr_assert_eq(elements_of(&by_row, 0, 2), elements_of(&by_row, 1, 2));
}

Test(chunks, a_thread_keeps_its_columns_for_every_number_of_rows)
{
    static const size_t rows[] = {2, 16, 64, 97, 512};
    static const size_t columns[] = {384, 768, 1536, 3072, 4096};
    for (size_t r = 0; r < COUNT(rows); r++) {
        for (size_t c = 0; c < COUNT(columns); c++) {
            const dynq_layout layout =
                dynq_layout_linear(rows[r], 4096, columns[c], 4, by_columns(2));
            const size_t chunks = dynq_layout_chunks(&layout);
            for (size_t chunk = 0; chunk < chunks; chunk++) {
                const dynq_block b = dynq_layout_block(&layout, chunk);
                cr_assert_eq(b.column % 64, 0u);
                cr_assert_eq(b.column < columns[c] / 2, chunk < chunks / 2);
                cr_assert_eq(b.column + b.columns <= columns[c] / 2, chunk < chunks / 2);
            }
        }
    }
}

Test(chunks, small_steps_stay_on_the_calling_thread)
{
    cr_assert_not(dynq_layout_linear(1, 384, 384, 4, by_columns(2)).shared);
    cr_assert(dynq_layout_linear(1, 4096, 4096, 4, by_columns(2)).shared);
    cr_assert_not(dynq_layout_linear(64, 4096, 4096, 4, by_columns(1)).shared);
    cr_assert_not(dynq_layout_by_row(4, 768, 100, by_columns(2)).shared);
    cr_assert_not(dynq_layout_by_row(1, 1000000, 100, by_columns(2)).shared);
    const dynq_layout alone = dynq_layout_linear(16, 64, 200, 4, by_columns(2));
    cr_assert_not(alone.shared);
    cr_assert_eq(dynq_layout_chunks(&alone), 1u);
    cr_assert_eq(dynq_layout_block(&alone, 0).columns, 200u);
}

Test(chunks, a_thread_keeps_its_rows_where_they_are_cut_by_rows)
{
    static const size_t rows[] = {64, 128, 512};
    for (size_t r = 0; r < COUNT(rows); r++) {
        const dynq_layout linear = dynq_layout_linear(rows[r], 768, 1536, 4, by_rows(2));
        const size_t chunks = dynq_layout_chunks(&linear);
        cr_assert(linear.by_rows && chunks >= 8);
        const size_t middle = dynq_layout_block(&linear, chunks / 2).row;
        cr_assert_leq(middle * 100, rows[r] / 2 * 113);
        cr_assert_geq(middle * 113, rows[r] / 2 * 100);
        for (size_t chunk = 0; chunk < chunks; chunk++) {
            const dynq_block b = dynq_layout_block(&linear, chunk);
            cr_assert_eq(b.row < middle, chunk < chunks / 2);
        }
    }
    cr_assert(dynq_layout_linear(16, 768, 512, 4, by_rows(2)).by_rows);
    cr_assert_not(dynq_layout_linear(16, 384, 1536, 4, by_rows(2)).by_rows);
    cr_assert(dynq_cut_by_rows_pays(16, 2, 20000, 3));
    cr_assert_not(dynq_cut_by_rows_pays(15, 2, 20000, 3));
    cr_assert_not(dynq_cut_by_rows_pays(16, 3, 20000, 3));
    cr_assert_not(dynq_cut_by_rows_pays(64, 2, 2000, 3));
}
