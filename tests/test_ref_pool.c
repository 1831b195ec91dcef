/* The reference kernel's embeddings, pooling and rows of length 1 against their formulas in double,
 * and the edges whose results are stated. */
#include "kernels/ref_math.h"
#include "kernels/table.h"

#include <criterion/criterion.h>
#include <float.h>
#include <stdlib.h>

enum { ROWS = 5, WIDTH = 83, COUNT = 7, STRIDE = 90, OTHER_STRIDE = 85 };

static const int32_t ids[] = {6, -1, 0, -1, 3, -1, 6, -1, 1, -1}; /* every second one is read */

/* The values of a test; the same every time. */
typedef struct embed_case {
    float table[COUNT * WIDTH], scale[COUNT], other[ROWS * OTHER_STRIDE], y[ROWS * STRIDE];
    int8_t codes[COUNT * WIDTH];
    dynq_range_bits range[ROWS];
} embed_case;

static void fill(float *x, size_t count, float limit)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = limit * ((float)(state >> 8) * 0x1p-23f - 1.0f);
    }
}

static dynq_embed_block embed_begin(embed_case *s)
{
    memset(s->range, 0, sizeof s->range);
    fill(s->table, COUNT * WIDTH, 2.0f);
    fill(s->scale, COUNT, 0.01f);
    fill(s->other, ROWS * OTHER_STRIDE, 3.0f);
    fill(s->y, ROWS * STRIDE, 1.0f);
    for (size_t i = 0; i < COUNT * WIDTH; i++) {
        s->codes[i] = (int8_t)((int)(i * 37 % 255) - 127);
    }
    return (dynq_embed_block){.rows = ROWS,
                              .columns = WIDTH,
                              .ids = ids,
                              .id_stride = 2,
                              .y = s->y,
                              .y_stride = STRIDE,
                              .range = s->range,
                              .range_step = 1};
}

/* The ranges are those of the results, and nothing is written between rows. */
static void check_around(embed_case *s)
{
    static embed_case untouched;
    dynq_range_bits expected[ROWS] = {0};
    embed_begin(&untouched);
    for (size_t m = 0; m < ROWS; m++) {
        dynq_ref_join(&expected[m], s->y + m * STRIDE, WIDTH);
        cr_assert_eq(memcmp(s->y + m * STRIDE + WIDTH, untouched.y + m * STRIDE + WIDTH,
                            (STRIDE - WIDTH) * sizeof(float)),
                     0);
    }
    cr_assert_eq(memcmp(s->range, expected, sizeof expected), 0);
}

/* Every result is rounded once. */
static void check_embed(embed_case *s, const dynq_embed_block *block)
{
    static embed_case before;
    memcpy(&before, s, sizeof before);
    dynq_kernel_ref.embed(block);
    for (size_t m = 0; m < ROWS; m++) {
        const size_t id = block->ids != NULL ? (size_t)ids[2 * m] : block->first + m;
        for (size_t c = 0; c < WIDTH; c++) {
            const size_t at = id * WIDTH + c;
            double exact = block->table != NULL ? (double)s->table[at]
                                                : (double)s->codes[at] * (double)s->scale[id];
            if (block->other != NULL) {
                exact += block->other == s->y ? (double)before.y[m * STRIDE + c]
                                              : (double)s->other[m * OTHER_STRIDE + c];
            }
            const double error = fabs((double)s->y[m * STRIDE + c] - exact);
            cr_assert_leq(error, ldexp(fabs(exact), -24) * 1.0001, "row %zu column %zu", m, c);
        }
    }
    check_around(s);
}

Test(ref_pool, embed_finds_rows_of_floats_and_codes_and_adds)
{
    embed_case *s = calloc(1, sizeof *s);
    for (int kind = 0; kind < 12; kind++) {
        dynq_embed_block block = embed_begin(s);
        if (kind % 2 == 0) {
            block.table = s->table;
        } else {
            block.codes = s->codes;
            block.scale = s->scale;
        }
        if (kind / 2 % 2 == 1) {
            block.ids = NULL;
            block.first = 2;
        }
        if (kind / 4 > 0) {
            block.other = kind / 4 == 1 ? s->other : s->y;
            block.other_stride = kind / 4 == 1 ? OTHER_STRIDE : STRIDE;
        }
        check_embed(s, &block);
    }
    free(s);
}

Test(ref_pool, embed_copies_bits_and_fuses_the_product)
{
    /* code * scale rounds; the sum with -rounded is what rounding took. */
    const float table[] = {NAN, -0.0f, INFINITY}, scale = 0.1f, other = -(7 * 0.1f);
    const int8_t code = 7;
    float y[3];
    dynq_range_bits range = {0};
    dynq_embed_block block = {
        .rows = 1, .columns = 3, .table = table, .y = y, .y_stride = 3, .range = &range};
    dynq_kernel_ref.embed(&block);
    cr_assert_eq(memcmp(y, table, sizeof y), 0);
    cr_assert_geq(range.high, 0x7F800000);
    block = (dynq_embed_block){
        .rows = 1, .columns = 1, .codes = &code, .scale = &scale, .other = &other, .y = y};
    dynq_kernel_ref.embed(&block);
    cr_assert_eq(y[0], (float)(7 * (double)scale + (double)other));
    cr_assert_neq(y[0], 0.0f);
}

static void pool(dynq_pooling pooling, size_t rows, size_t columns, const float *x, size_t stride,
                 float *y, dynq_range_bits *range)
{
    const dynq_pool_block block = {.pooling = pooling,
                                   .rows = rows,
                                   .columns = columns,
                                   .x = x,
                                   .x_stride = stride,
                                   .y = y,
                                   .range = range};
    dynq_kernel_ref.pool(&block);
}

/* A mean is off by a rounding for each addition, of at most the sum of absolute values, and one of
 * the division. */
Test(ref_pool, pooling_agrees_with_plain_loops)
{
    enum { MOST = 40 };
    float x[MOST * STRIDE], mean[WIDTH], cls[WIDTH], max[WIDTH];
    fill(x, MOST * STRIDE, 5.0f);
    for (size_t rows = 1; rows <= MOST; rows++) {
        dynq_range_bits range = {0}, expected = {0};
        pool(DYNQ_POOL_MEAN, rows, WIDTH, x, STRIDE, mean, &range);
        pool(DYNQ_POOL_CLS, rows, WIDTH, x, STRIDE, cls, NULL);
        pool(DYNQ_POOL_MAX, rows, WIDTH, x, STRIDE, max, NULL);
        dynq_ref_join(&expected, mean, WIDTH);
        cr_assert_eq(memcmp(&range, &expected, sizeof range), 0);
        cr_assert_eq(memcmp(cls, x, sizeof cls), 0);
        for (size_t c = 0; c < WIDTH; c++) {
            double sum = 0, magnitude = 0;
            float largest = -FLT_MAX;
            for (size_t m = 0; m < rows; m++) {
                sum += (double)x[m * STRIDE + c];
                magnitude += fabs((double)x[m * STRIDE + c]);
                largest = fmaxf(largest, x[m * STRIDE + c]);
            }
            cr_assert_eq(max[c], largest);
            cr_assert_leq(fabs((double)mean[c] - sum / (double)rows),
                          ldexp(magnitude, -24) * 1.0001, "rows %zu column %zu", rows, c);
        }
    }
}

Test(ref_pool, a_mean_adds_in_order_and_divides)
{
    /* 2^24 + 1 - 2^24: 0 in this order, since 2^24 + 1 rounds to 2^24. */
    const float x[] = {16777216.0f, 1.0f, -16777216.0f}, thirds[] = {1.0f, 3.0f, 1.0f};
    float y;
    pool(DYNQ_POOL_MEAN, 3, 1, x, 1, &y, NULL);
    cr_assert_eq(dynq_ref_bits(y), 0);
    pool(DYNQ_POOL_MEAN, 3, 1, thirds, 1, &y, NULL);
    cr_assert_eq(y, 5.0f / 3.0f);
    cr_assert_neq(5.0f / 3.0f, 5.0f * (1.0f / 3.0f));
}

Test(ref_pool, pooling_hides_nothing_that_is_not_finite)
{
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    const float zeros[] = {-0.0f, -0.0f, -0.0f};
    float y;
    for (size_t at = 0; at < 3; at++) {
        for (size_t i = 0; i < 4; i++) {
            float x[] = {1.0f, -2.0f, 3.0f};
            x[at] = bad[i];
            pool(DYNQ_POOL_MAX, 3, 1, x, 1, &y, NULL);
            cr_assert(isnan(y));
            pool(DYNQ_POOL_MEAN, 3, 1, x, 1, &y, NULL);
            cr_assert_not(isfinite(y));
            pool(DYNQ_POOL_CLS, 3, 1, x, 1, &y, NULL);
            cr_assert_eq(memcmp(&y, x, sizeof y), 0);
        }
    }
    pool(DYNQ_POOL_MAX, 3, 1, zeros, 1, &y, NULL);
    cr_assert_eq(dynq_ref_bits(y), 0);
    pool(DYNQ_POOL_MEAN, 3, 1, zeros, 1, &y, NULL);
    cr_assert_eq(dynq_ref_bits(y), 0);
    const float lowest[] = {-FLT_MAX, -FLT_MAX};
    pool(DYNQ_POOL_MAX, 2, 1, lowest, 1, &y, NULL);
    cr_assert_eq(y, -FLT_MAX);
}

static void normalize(const float *x, float *y, size_t columns, dynq_range_bits *range)
{
    const dynq_float_block block = {.rows = 1,
                                    .columns = columns,
                                    .x = x,
                                    .x_stride = columns,
                                    .y = y,
                                    .y_stride = columns,
                                    .range = range};
    dynq_kernel_ref.normalize(&block);
}

/* A sum of squares is off by a rounding of each product's addition and six of folding, its root by
 * half of that and one, 1 / length and the product by one each. */
static void check_normalize(const float *x, size_t columns)
{
    float y[WIDTH], in_place[WIDTH];
    double sum = 0;
    dynq_range_bits range = {0}, expected = {0};
    for (size_t c = 0; c < columns; c++) {
        sum += (double)x[c] * (double)x[c];
    }
    const double length = fmax(sqrt(sum), 1e-12);
    memcpy(in_place, x, columns * sizeof *x);
    normalize(x, y, columns, &range);
    normalize(in_place, in_place, columns, NULL);
    cr_assert_eq(memcmp(y, in_place, columns * sizeof *y), 0);
    dynq_ref_join(&expected, y, columns);
    cr_assert_eq(memcmp(&range, &expected, sizeof range), 0);
    for (size_t c = 0; c < columns; c++) {
        const double exact = (double)x[c] / length;
        cr_assert_leq(fabs((double)y[c] - exact), ldexp(8 * fabs(exact), -24) + ldexp(1, -149),
                      "at %zu: %a, not %a", c, (double)y[c], exact);
    }
}

/* From lengths whose squares nearly overflow to those that are nothing: no underflow matters, as a
 * row below 1e-12 is not measured. */
Test(ref_pool, rows_get_the_length_one)
{
    float x[WIDTH];
    for (size_t columns = 1; columns <= WIDTH; columns++) {
        for (int exponent = -140; exponent <= 60; exponent += 4) {
            fill(x, columns, ldexpf(1.0f, exponent));
            check_normalize(x, columns);
        }
    }
}

Test(ref_pool, short_rows_are_not_blown_up_and_long_ones_not_hidden)
{
    float y[3];
    dynq_range_bits range = {0};
    const float zeros[] = {0.0f, -0.0f, 0.0f}, tiny[] = {3e-14f, -4e-14f, 0.0f};
    normalize(zeros, y, 3, NULL);
    cr_assert_eq(memcmp(y, zeros, sizeof y), 0);
    normalize(tiny, y, 3, NULL);
    cr_assert_float_eq(y[0], 0.03f, 1e-8f);
    cr_assert_float_eq(y[1], -0.04f, 1e-8f);
    const float bad[] = {1e20f, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 4; i++) {
        const float x[] = {1.0f, bad[i], 0.0f};
        normalize(x, y, 3, &range);
        cr_assert(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
        cr_assert(range.high >= 0x7F800000 || range.low >= 0xFF800000u);
    }
}
