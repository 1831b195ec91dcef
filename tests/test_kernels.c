/* Every kernel of the table against "ref", bit for bit: the products and their epilogues, on
 * operands that end at, or begin behind, an unmapped page. */
#include "kernels/kernel.h"
#include "tests/guarded.h"
#include "tests/kernel_cases.h"

#include <criterion/criterion.h>

enum {
    SLOT_X, /* q or x */
    SLOT_PANELS,
    SLOT_BIAS,
    SLOT_RESIDUAL,
    SLOT_COLUMN_SCALE,
    SLOT_COLUMN_SUM,
    SLOT_ROW_SCALE,
    SLOT_ROW_ZERO,
    SLOT_PRODUCTS, /* sums or products */
    SLOT_Y,
    SLOT_RANGE,
    SLOT_COUNT
};

typedef struct shape {
    size_t rows, columns, k;
} shape;

/* Operands of one case; every array lies against an unmapped page, at its end or its beginning. */
typedef struct bench {
    guarded slots[SLOT_COUNT];
    void *expected_products, *expected_y;
    dynq_range_bits *expected_range;
    uint64_t random;
    int at_end, corners;
} bench;

static const shape largest = {21, 160, 400};

static size_t padded_k(size_t k)
{
    return (k + 63) / 64 * 64;
}

static bench bench_create(shape limit, uint64_t seed)
{
    const size_t cells = limit.rows * (limit.columns + 8) * 4, row = limit.rows * 4;
    const size_t depth = (padded_k(limit.k) + 64) * 4, column = (limit.columns + 16) * 4;
    const size_t sizes[SLOT_COUNT] = {[SLOT_X] = limit.rows * depth,
                                      [SLOT_PANELS] = column * (depth / 4 + 64),
                                      [SLOT_BIAS] = column,
                                      [SLOT_RESIDUAL] = cells,
                                      [SLOT_COLUMN_SCALE] = column,
                                      [SLOT_COLUMN_SUM] = column,
                                      [SLOT_ROW_SCALE] = row,
                                      [SLOT_ROW_ZERO] = row,
                                      [SLOT_PRODUCTS] = cells,
                                      [SLOT_Y] = cells,
                                      [SLOT_RANGE] = limit.rows * sizeof(dynq_range_bits)};
    bench b = {.random = seed};
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        b.slots[slot] = guarded_create(sizes[slot]);
    }
    b.expected_products = malloc(cells);
    b.expected_y = malloc(cells);
    b.expected_range = malloc(limit.rows * sizeof(dynq_range_bits));
    cr_assert(b.expected_products && b.expected_y && b.expected_range);
    return b;
}

static void bench_free(bench *b)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        guarded_free(&b->slots[slot]);
    }
    free(b->expected_products);
    free(b->expected_y);
    free(b->expected_range);
}

static void *place(bench *b, int slot, size_t bytes)
{
    return guarded_place(&b->slots[slot], bytes, b->at_end);
}

static float *place_floats(bench *b, int slot, size_t count, float limit)
{
    float *floats = place(b, slot, count * sizeof(float));
    case_floats(&b->random, limit, count, floats);
    return floats;
}

static uint8_t some_code(bench *b)
{
    static const uint8_t corners[] = {0, 1, 127, 128, 255};
    const uint64_t r = case_random(&b->random) >> 32;
    return b->corners ? corners[r % 5] : (uint8_t)r;
}

static int8_t some_weight(bench *b)
{
    static const int8_t corners[] = {-127, 0, 127};
    const uint64_t r = case_random(&b->random) >> 32;
    return b->corners ? corners[r % 3] : (int8_t)((int)(r % 255) - 127);
}

/* Everything but where y and its range go. */
static dynq_epilogue random_epilogue(bench *b, shape s)
{
    dynq_epilogue e = {.activation = (dynq_activation)case_between(&b->random, 0, 4)};
    e.y_stride = s.columns + case_between(&b->random, 0, 7);
    if (case_between(&b->random, 0, 3) > 0) {
        e.bias = place_floats(b, SLOT_BIAS, s.columns, 2.0f);
    }
    if (case_between(&b->random, 0, 1) > 0) {
        e.residual_stride = s.columns + case_between(&b->random, 0, 7);
        e.residual =
            place_floats(b, SLOT_RESIDUAL, case_span(s.rows, e.residual_stride, s.columns), 2.0f);
    }
    e.range_step = case_between(&b->random, 0, 1);
    return e;
}

static dynq_gemm_s8 random_gemm_s8(bench *b, shape s)
{
    b->at_end = (int)case_between(&b->random, 0, 1);
    dynq_gemm_s8 g = {.rows = s.rows, .columns = s.columns, .kpad = padded_k(s.k)};
    g.q_stride = g.kpad + case_between(&b->random, 0, 63);
    const size_t codes = case_span(s.rows, g.q_stride, g.kpad);
    uint8_t *q = place(b, SLOT_X, codes);
    for (size_t i = 0; i < codes; i++) {
        q[i] = some_code(b);
    }
    const size_t weights = (s.columns + 15) / 16 * 16 * g.kpad;
    int8_t *panels = place(b, SLOT_PANELS, weights);
    int32_t *column_sum = place(b, SLOT_COLUMN_SUM, s.columns * sizeof *column_sum);
    memset(column_sum, 0, s.columns * sizeof *column_sum);
    for (size_t i = 0; i < weights; i++) {
        const size_t column = i / (g.kpad * 16) * 16 + i % 64 / 4;
        panels[i] = column < s.columns ? some_weight(b) : 0;
        if (column < s.columns) {
            column_sum[column] += panels[i];
        }
    }
    const size_t row_step = case_between(&b->random, 0, 1), ranges = row_step ? s.rows : 1;
    int32_t *row_zero = place(b, SLOT_ROW_ZERO, ranges * sizeof *row_zero);
    for (size_t m = 0; m < ranges; m++) {
        row_zero[m] = some_code(b);
    }
    g.q = q;
    g.panels = panels;
    g.sums_stride = s.columns + case_between(&b->random, 0, 7);
    g.dequantize =
        (dynq_dequantize){.column_scale = place_floats(b, SLOT_COLUMN_SCALE, s.columns, 0.01f),
                          .column_sum = column_sum,
                          .row_scale = place_floats(b, SLOT_ROW_SCALE, ranges, 0.05f),
                          .row_zero = row_zero,
                          .row_step = row_step};
    g.epilogue = random_epilogue(b, s);
    return g;
}

static dynq_gemm_f32 random_gemm_f32(bench *b, shape s)
{
    b->at_end = (int)case_between(&b->random, 0, 1);
    dynq_gemm_f32 g = {.rows = s.rows, .columns = s.columns, .k = s.k};
    g.x_stride = s.k + case_between(&b->random, 0, 7);
    g.x = place_floats(b, SLOT_X, case_span(s.rows, g.x_stride, s.k), 1.0f);
    /* 64 bytes to a row of a panel, so both places are aligned */
    g.panels = place_floats(b, SLOT_PANELS, (s.columns + 15) / 16 * 16 * s.k, 1.0f);
    g.products_stride = s.columns + case_between(&b->random, 0, 7);
    g.epilogue = random_epilogue(b, s);
    return g;
}

/* Gives the epilogue a y and a range with a known filling. */
static size_t point_epilogue(dynq_epilogue *e, shape s, void *y, dynq_range_bits *range)
{
    const size_t bytes = case_span(s.rows, e->y_stride, s.columns) * sizeof(float);
    memset(y, 0x5A, bytes);
    for (size_t m = 0; m < (e->range_step ? s.rows : 1); m++) {
        range[m] = (dynq_range_bits){0x3C000000, m % 2 == 0 ? 0xBC000000 : 0};
    }
    e->y = y;
    e->range = range;
    return bytes;
}

static void use_reference(bench *b, dynq_epilogue *e, shape s)
{
    point_epilogue(e, s, b->expected_y, b->expected_range);
}

static void use_kernel(bench *b, dynq_epilogue *e, shape s)
{
    const size_t bytes = case_span(s.rows, e->y_stride, s.columns) * sizeof(float);
    const size_t ranges = e->range_step ? s.rows : 1;
    point_epilogue(e, s, place(b, SLOT_Y, bytes),
                   place(b, SLOT_RANGE, ranges * sizeof(dynq_range_bits)));
}

static void check_epilogue(bench *b, const dynq_epilogue *e, shape s, const char *what,
                           const char *kernel, uint64_t seed)
{
    const size_t bytes = case_span(s.rows, e->y_stride, s.columns) * sizeof(float);
    const size_t ranges = e->range_step ? s.rows : 1;
    cr_assert(memcmp(e->y, b->expected_y, bytes) == 0,
              "%s of %s, %zu x %zu x %zu, activation %d, seed %" PRIu64 ": another y", what, kernel,
              s.rows, s.columns, s.k, e->activation, seed);
    cr_assert(e->range == NULL ||
                  memcmp(e->range, b->expected_range, ranges * sizeof(dynq_range_bits)) == 0,
              "%s of %s, %zu x %zu x %zu, activation %d, seed %" PRIu64 ": another range", what,
              kernel, s.rows, s.columns, s.k, e->activation, seed);
}

/* One shape through every kernel: stopped at int32, the epilogue alone, and both fused. */
static void check_gemm_s8(bench *b, shape s)
{
    const uint64_t seed = b->random;
    dynq_gemm_s8 g = random_gemm_s8(b, s);
    const size_t bytes = case_span(s.rows, g.sums_stride, s.columns) * sizeof(int32_t);
    use_reference(b, &g.epilogue, s);
    case_reference()->gemm_s8(&g);
    memset(b->expected_products, 0x5A, bytes);
    g.sums = b->expected_products;
    case_reference()->gemm_s8(&g);
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        g.sums = NULL;
        use_kernel(b, &g.epilogue, s);
        kernel->gemm_s8(&g);
        check_epilogue(b, &g.epilogue, s, "gemm_s8", kernel->name, seed);
        g.sums = place(b, SLOT_PRODUCTS, bytes);
        memset(g.sums, 0x5A, bytes);
        kernel->gemm_s8(&g);
        cr_assert(memcmp(g.sums, b->expected_products, bytes) == 0,
                  "gemm_s8 of %s, %zu x %zu x %zu, seed %" PRIu64 ": other sums", kernel->name,
                  s.rows, s.columns, s.k, seed);
        use_kernel(b, &g.epilogue, s);
        kernel->epilogue_s32(s.rows, s.columns, g.sums, g.sums_stride, &g.dequantize, &g.epilogue);
        check_epilogue(b, &g.epilogue, s, "epilogue_s32", kernel->name, seed);
    }
}

/* The same in FP32, and the epilogue in place. */
static void check_gemm_f32(bench *b, shape s)
{
    const uint64_t seed = b->random;
    dynq_gemm_f32 g = random_gemm_f32(b, s);
    const size_t bytes = case_span(s.rows, g.products_stride, s.columns) * sizeof(float);
    use_reference(b, &g.epilogue, s);
    case_reference()->gemm_f32(&g);
    memset(b->expected_products, 0x5A, bytes);
    g.products = b->expected_products;
    case_reference()->gemm_f32(&g);
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        g.products = NULL;
        use_kernel(b, &g.epilogue, s);
        kernel->gemm_f32(&g);
        check_epilogue(b, &g.epilogue, s, "gemm_f32", kernel->name, seed);
        g.products = place(b, SLOT_PRODUCTS, bytes);
        memset(g.products, 0x5A, bytes);
        kernel->gemm_f32(&g);
        cr_assert(memcmp(g.products, b->expected_products, bytes) == 0,
                  "gemm_f32 of %s, %zu x %zu x %zu, seed %" PRIu64 ": other products", kernel->name,
                  s.rows, s.columns, s.k, seed);
        use_kernel(b, &g.epilogue, s);
        kernel->epilogue_f32(s.rows, s.columns, g.products, g.products_stride, &g.epilogue);
        check_epilogue(b, &g.epilogue, s, "epilogue_f32", kernel->name, seed);
        use_kernel(b, &g.epilogue, s);
        for (size_t m = 0; m < s.rows; m++) {
            memcpy(g.epilogue.y + m * g.epilogue.y_stride, g.products + m * g.products_stride,
                   s.columns * sizeof(float));
        }
        kernel->epilogue_f32(s.rows, s.columns, g.epilogue.y, g.epilogue.y_stride, &g.epilogue);
        check_epilogue(b, &g.epilogue, s, "epilogue_f32 in place", kernel->name, seed);
    }
}

static void check_both(bench *b, shape s)
{
    check_gemm_s8(b, s);
    check_gemm_f32(b, s);
}

Test(kernels, random_products)
{
    bench b = bench_create(largest, case_seed());
    const size_t cases = case_count(20000);
    for (size_t i = 0; i < cases; i++) {
        const int large = case_between(&b.random, 0, 19) == 0;
        const shape s = {case_between(&b.random, 1, large ? largest.rows : 9),
                         case_between(&b.random, 1, large ? largest.columns : 40),
                         case_between(&b.random, 1, large ? largest.k : 70)};
        b.corners = case_between(&b.random, 0, 4) == 0;
        if (i % 4 == 0) {
            check_gemm_f32(&b, s);
        } else {
            check_gemm_s8(&b, s);
        }
    }
    bench_free(&b);
}

Test(kernels, every_small_shape)
{
    bench b = bench_create(largest, case_seed() + 1);
    for (size_t rows = 1; rows <= 13; rows++) {
        for (size_t columns = 1; columns <= 130; columns += columns < 34 ? 1 : 13) {
            check_both(&b, (shape){rows, columns, case_between(&b.random, 1, 64)});
        }
    }
    for (size_t k = 1; k <= 200; k++) {
        check_both(&b, (shape){1, 1, k});
        check_both(&b, (shape){7, 67, k});
    }
    bench_free(&b);
}

Test(kernels, sums_wrap_modulo_2_32)
{
    bench b = bench_create((shape){2, 83, 70016}, case_seed() + 2);
    const shape s = {2, 83, 70016};
    dynq_gemm_s8 g = random_gemm_s8(&b, s);
    memset(place(&b, SLOT_X, case_span(s.rows, g.q_stride, g.kpad)), 255,
           case_span(s.rows, g.q_stride, g.kpad));
    memset(place(&b, SLOT_PANELS, 96 * g.kpad), 127, 96 * g.kpad);
    int32_t *column_sum = place(&b, SLOT_COLUMN_SUM, s.columns * sizeof *column_sum);
    for (size_t c = 0; c < s.columns; c++) {
        column_sum[c] = 127 * 70016;
    }
    const uint64_t sum = UINT64_C(255) * 127 * 70016;
    cr_assert_gt(sum, INT32_MAX);
    use_reference(&b, &g.epilogue, s);
    case_reference()->gemm_s8(&g);
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        g.sums = NULL;
        use_kernel(&b, &g.epilogue, s);
        kernel->gemm_s8(&g);
        check_epilogue(&b, &g.epilogue, s, "gemm_s8", kernel->name, 0);
        g.sums = place(&b, SLOT_PRODUCTS, case_span(2, g.sums_stride, s.columns) * 4);
        kernel->gemm_s8(&g);
        for (size_t c = 0; c < s.columns; c++) {
            cr_assert_eq((uint32_t)g.sums[c], (uint32_t)sum, "kernel %s", kernel->name);
            cr_assert_eq((uint32_t)g.sums[g.sums_stride + c], (uint32_t)sum);
        }
    }
    bench_free(&b);
}

/* The reference itself against a sum written down directly, so that all cannot be wrong alike. */
Test(kernels, the_product_is_the_product)
{
    bench b = bench_create(largest, case_seed() + 3);
    const shape s = {3, 21, 77};
    dynq_gemm_s8 g = random_gemm_s8(&b, s);
    g.sums = b.expected_products;
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        kernel->gemm_s8(&g);
        for (size_t m = 0; m < s.rows; m++) {
            for (size_t n = 0; n < s.columns; n++) {
                int32_t sum = 0;
                for (size_t k = 0; k < g.kpad; k++) {
                    sum += g.q[m * g.q_stride + k] *
                           g.panels[n / 16 * 16 * g.kpad + k / 4 * 64 + n % 16 * 4 + k % 4];
                }
                cr_assert_eq(g.sums[m * g.sums_stride + n], sum, "kernel %s", kernel->name);
            }
        }
    }
    bench_free(&b);
}

Test(kernels, without_a_range)
{
    bench b = bench_create(largest, case_seed() + 4);
    const shape s = {5, 39, 64};
    dynq_gemm_s8 g = random_gemm_s8(&b, s);
    use_reference(&b, &g.epilogue, s);
    g.epilogue.range = NULL;
    case_reference()->gemm_s8(&g);
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        use_kernel(&b, &g.epilogue, s);
        g.epilogue.range = NULL;
        kernel->gemm_s8(&g);
        check_epilogue(&b, &g.epilogue, s, "gemm_s8", kernel->name, 0);
    }
    bench_free(&b);
}

Test(kernels, the_table)
{
    size_t count = 0;
    while (dynq_kernel_at(count) != NULL) {
        const dynq_kernel *kernel = dynq_kernel_at(count);
        cr_assert_str_eq(dynq_kernel_name(count), kernel->name);
        cr_assert_eq(dynq_kernel_find(kernel->name), kernel);
        cr_assert_eq(dynq_kernel_best(kernel->features), kernel);
        cr_assert_eq(!!dynq_kernel_supported(kernel->name),
                     (kernel->features & ~dynq_cpu_features()) == 0);
        count++;
    }
    cr_assert_geq(count, 1);
    cr_assert_null(dynq_kernel_name(count));
    cr_assert_null(dynq_kernel_at(count + 1));
    cr_assert_str_eq(dynq_kernel_at(count - 1)->name, "ref");
    cr_assert_eq(dynq_kernel_best(0), dynq_kernel_at(count - 1));
    cr_assert_null(dynq_kernel_find("no such kernel"));
    cr_assert_null(dynq_kernel_find(NULL));
    cr_assert_eq(dynq_kernel_supported("no such kernel"), 0);
    cr_assert(dynq_kernel_supported("ref"));
}
