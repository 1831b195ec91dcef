/* Every kernel of the table against "ref", bit for bit: the functions of floats, on operands that
 * end at, or begin behind, an unmapped page. */
#include "kernels/kernel.h"
#include "tests/guarded.h"
#include "tests/kernel_cases.h"

#include <criterion/criterion.h>
#include <math.h>

typedef enum operation {
    OPERATION_RANGE,
    OPERATION_ACTIVATE,
    OPERATION_ADD,
    OPERATION_MULTIPLY,
    OPERATION_SOFTMAX,
    OPERATION_LAYER_NORM,
    OPERATION_COUNT
} operation;

static const char *const operation_names[] = {"range",    "activate", "add",
                                              "multiply", "softmax",  "layer_norm"};

typedef enum filling {
    FILLING_MODERATE, /* what networks have */
    FILLING_EQUAL,    /* one value */
    FILLING_FINITE,   /* any exponent */
    FILLING_ANY,      /* infinities and NaN as well */
    FILLING_COUNT
} filling;

enum { SLOT_X, SLOT_OTHER, SLOT_WEIGHT, SLOT_BIAS, SLOT_Y, SLOT_RANGE, SLOT_COUNT };

typedef struct bench {
    guarded slots[SLOT_COUNT];
    float *expected;
    dynq_range_bits *expected_range;
    uint64_t random;
    int at_end;
} bench;

static bench bench_create(size_t rows, size_t columns, uint64_t seed)
{
    bench b = {.random = seed};
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        b.slots[slot] = guarded_create(rows * (columns + 80) * sizeof(float));
    }
    b.expected = malloc(rows * (columns + 80) * sizeof(float));
    b.expected_range = malloc(rows * sizeof *b.expected_range);
    cr_assert(b.expected && b.expected_range);
    return b;
}

static void bench_free(bench *b)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        guarded_free(&b->slots[slot]);
    }
    free(b->expected);
    free(b->expected_range);
}

static void *place(bench *b, int slot, size_t bytes)
{
    return guarded_place(&b->slots[slot], bytes, b->at_end);
}

static float *place_floats(bench *b, int slot, size_t count, filling how)
{
    float *floats = place(b, slot, count * sizeof(float));
    const float scale = ldexpf(1.0f, (int)case_between(&b->random, 0, 8) - 4);
    const float value = case_float(&b->random, 4.0f);
    for (size_t i = 0; i < count; i++) {
        switch (how) {
        case FILLING_EQUAL: floats[i] = value; break;
        case FILLING_FINITE: do { floats[i] = case_any_float(&b->random);
            } while (!isfinite(floats[i]));
            break;
        case FILLING_ANY: floats[i] = case_any_float(&b->random); break;
        default: floats[i] = case_float(&b->random, scale); break;
        }
    }
    return floats;
}

static dynq_float_block random_block(bench *b, size_t rows, size_t columns, filling how)
{
    b->at_end = (int)case_between(&b->random, 0, 1);
    dynq_float_block block = {.rows = rows, .columns = columns};
    block.x_stride = columns + case_between(&b->random, 0, 7);
    block.other_stride = columns + case_between(&b->random, 0, 7);
    block.y_stride = columns + case_between(&b->random, 0, 7);
    block.x = place_floats(b, SLOT_X, case_span(rows, block.x_stride, columns), how);
    block.other = place_floats(b, SLOT_OTHER, case_span(rows, block.other_stride, columns), how);
    block.weight = place_floats(b, SLOT_WEIGHT, columns, FILLING_MODERATE);
    block.bias = place_floats(b, SLOT_BIAS, columns, FILLING_MODERATE);
    block.epsilon = case_between(&b->random, 0, 1) ? 1e-5f : 1e-12f;
    block.activation = (dynq_activation)case_between(&b->random, 0, 4);
    block.range_step = case_between(&b->random, 0, 1);
    return block;
}

static void run_operation(const dynq_kernel *kernel, operation op, const dynq_float_block *block)
{
    switch (op) {
    case OPERATION_RANGE: kernel->range(block); break;
    case OPERATION_ACTIVATE: kernel->activate(block); break;
    case OPERATION_ADD: kernel->add(block); break;
    case OPERATION_MULTIPLY: kernel->multiply(block); break;
    case OPERATION_SOFTMAX: kernel->softmax(block); break;
    default: kernel->layer_norm(block); break;
    }
}

static size_t y_count(const dynq_float_block *block)
{
    return case_span(block->rows, block->y_stride, block->columns);
}

static size_t range_bytes(const dynq_float_block *block)
{
    return (block->range_step ? block->rows : 1) * sizeof(dynq_range_bits);
}

static void run_into(const dynq_kernel *kernel, operation op, dynq_float_block *block, float *y,
                     dynq_range_bits *range)
{
    memset(y, 0x5A, y_count(block) * sizeof(float));
    memset(range, 0, range_bytes(block));
    block->y = y;
    block->range = range;
    run_operation(kernel, op, block);
}

static int finite_range(dynq_range_bits range)
{
    return range.high < 0x7F800000 && range.low < 0xFF800000;
}

/* A NaN that a function makes may have either sign and any payload, so then only what the range is
 * asked for counts: that it is not finite. */
static void check_ranges(const bench *b, const dynq_float_block *block, operation op,
                         const char *kernel, uint64_t seed)
{
    for (size_t m = 0; m < range_bytes(block) / sizeof(dynq_range_bits); m++) {
        const dynq_range_bits a = b->expected_range[m], c = block->range[m];
        const int both_not_finite = op != OPERATION_RANGE && !finite_range(a) && !finite_range(c);
        cr_assert(both_not_finite || (a.high == c.high && a.low == c.low),
                  "%s of %s, %zu x %zu, seed %" PRIu64 ": another range of row %zu",
                  operation_names[op], kernel, block->rows, block->columns, seed, m);
    }
}

static void check_y(const bench *b, const dynq_float_block *block, operation op, const char *kernel,
                    uint64_t seed)
{
    const size_t at = case_first_difference(block->y, b->expected, y_count(block));
    cr_assert_eq(at, y_count(block),
                 "%s of %s, %zu x %zu, activation %d, seed %" PRIu64 ": %a is not %a",
                 operation_names[op], kernel, block->rows, block->columns, block->activation, seed,
                 block->y[at], b->expected[at]);
}

static void check_in_place(bench *b, const dynq_kernel *kernel, operation op,
                           const dynq_float_block *block, uint64_t seed)
{
    dynq_float_block moved = *block;
    const size_t bytes = case_span(block->rows, block->x_stride, block->columns) * sizeof(float);
    moved.y = place(b, SLOT_Y, bytes);
    memcpy(moved.y, block->x, bytes);
    moved.x = moved.y;
    moved.y_stride = block->x_stride;
    moved.range = NULL;
    run_operation(kernel, op, &moved);
    for (size_t m = 0; m < block->rows; m++) {
        cr_assert_eq(case_first_difference(moved.y + m * moved.y_stride,
                                           b->expected + m * block->y_stride, block->columns),
                     block->columns, "%s in place of %s, %zu x %zu, seed %" PRIu64,
                     operation_names[op], kernel->name, block->rows, block->columns, seed);
    }
}

static void check(bench *b, operation op, size_t rows, size_t columns, filling how)
{
    const uint64_t seed = b->random;
    dynq_float_block block = random_block(b, rows, columns, how);
    run_into(case_reference(), op, &block, b->expected, b->expected_range);
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        float *y = place(b, SLOT_Y, y_count(&block) * sizeof(float));
        run_into(kernel, op, &block, y, place(b, SLOT_RANGE, range_bytes(&block)));
        check_ranges(b, &block, op, kernel->name, seed);
        check_y(b, &block, op, kernel->name, seed);
        if (op != OPERATION_RANGE) {
            check_in_place(b, kernel, op, &block, seed);
        }
    }
}

Test(kernels, float_functions_of_every_width)
{
    bench b = bench_create(7, 1040, case_seed() + 10);
    for (int op = 0; op < OPERATION_COUNT; op++) {
        for (int how = 0; how < FILLING_COUNT; how++) {
            for (size_t columns = 1; columns <= 70; columns++) {
                for (size_t rows = 1; rows <= 7; rows += 3) {
                    check(&b, (operation)op, rows, columns, (filling)how);
                }
            }
            check(&b, (operation)op, 2, 1000, (filling)how);
            check(&b, (operation)op, 2, 1040, (filling)how);
        }
    }
    bench_free(&b);
}

Test(kernels, random_float_functions)
{
    bench b = bench_create(7, 200, case_seed() + 11);
    const size_t cases = case_count(10000);
    for (size_t i = 0; i < cases; i++) {
        check(&b, (operation)case_between(&b.random, 0, OPERATION_COUNT - 1),
              case_between(&b.random, 1, 7), case_between(&b.random, 1, 200),
              (filling)case_between(&b.random, 0, FILLING_COUNT - 1));
    }
    bench_free(&b);
}

/* Every sign and exponent with many fractions, through every activation. */
Test(kernels, activations_over_all_exponents)
{
    enum { LOW = 16, COLUMNS = 512 * LOW };
    float *x = malloc(COLUMNS * sizeof *x), *y = malloc(COLUMNS * sizeof *y);
    bench b = bench_create(1, COLUMNS, case_seed() + 12);
    cr_assert(x && y);
    for (uint32_t fraction = 0; fraction < 1u << 23; fraction += (1u << 23) / 128) {
        for (uint32_t i = 0; i < COLUMNS; i++) {
            const uint32_t noise = (uint32_t)case_random(&b.random) % ((1u << 23) / 128);
            x[i] = case_from_bits(i / LOW << 23 | fraction | (i % LOW == 0 ? 0 : noise));
        }
        for (int activation = 0; activation <= DYNQ_ACTIVATION_SIGMOID; activation++) {
            dynq_float_block block = {
                .rows = 1, .columns = COLUMNS, .x = x, .x_stride = COLUMNS, .y_stride = COLUMNS};
            block.activation = (dynq_activation)activation;
            run_into(case_reference(), OPERATION_ACTIVATE, &block, b.expected, b.expected_range);
            const dynq_kernel *kernel;
            for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
                dynq_range_bits range;
                run_into(kernel, OPERATION_ACTIVATE, &block, y, &range);
                check_y(&b, &block, OPERATION_ACTIVATE, kernel->name, fraction);
            }
        }
    }
    bench_free(&b);
    free(x);
    free(y);
}

/* Codes of numbers are equal; the code of a NaN is any. */
static void check_codes(const bench *b, const dynq_quantize_block *block, const uint8_t *expected,
                        const char *kernel, uint64_t seed)
{
    for (size_t m = 0; m < block->rows; m++) {
        for (size_t c = 0; c < block->q_stride && (m + 1 < block->rows || c < block->padded); c++) {
            const size_t at = m * block->q_stride + c;
            const float x = c < block->columns ? block->x[m * block->x_stride + c] : 0.0f;
            cr_assert(isnan(x * block->row_inverse[m * block->row_step]) ||
                          block->q[at] == expected[at],
                      "quantize of %s, %zu x %zu, seed %" PRIu64 ": %a gives %d, not %d", kernel,
                      block->rows, block->columns, seed, x, block->q[at], expected[at]);
        }
    }
    cr_assert(block->range == NULL ||
              memcmp(block->range, b->expected_range, sizeof(dynq_range_bits)) == 0);
}

static dynq_quantize_block random_quantize(bench *b)
{
    b->at_end = (int)case_between(&b->random, 0, 1);
    dynq_quantize_block q = {.rows = case_between(&b->random, 1, 5),
                             .columns = case_between(&b->random, 1, 100)};
    q.padded = q.columns + case_between(&b->random, 0, 64);
    q.q_stride = q.padded + case_between(&b->random, 0, 9);
    q.x_stride = q.columns + case_between(&b->random, 0, 9);
    q.row_step = case_between(&b->random, 0, 1);
    q.qmin = (int32_t)case_between(&b->random, 0, 1);
    const filling how = (filling)case_between(&b->random, 0, FILLING_COUNT - 1);
    const size_t ranges = q.row_step ? q.rows : 1;
    q.x = place_floats(b, SLOT_X, case_span(q.rows, q.x_stride, q.columns), how);
    float *inverse = place(b, SLOT_OTHER, ranges * sizeof(float));
    int32_t *zero = place(b, SLOT_WEIGHT, ranges * sizeof *zero);
    for (size_t m = 0; m < ranges; m++) {
        inverse[m] = fabsf(case_float(&b->random, 255.0f));
        zero[m] = q.qmin == 1 ? 128 : (int32_t)case_between(&b->random, 0, 255);
        if (case_between(&b->random, 0, 9) == 0) {
            inverse[m] = 0.0f;
        } else if (case_between(&b->random, 0, 3) == 0) {
            inverse[m] = 0.5f; /* many ties */
        }
    }
    q.row_inverse = inverse;
    q.row_zero = zero;
    return q;
}

Test(kernels, random_quantize_blocks)
{
    bench b = bench_create(5, 200, case_seed() + 13);
    static uint8_t expected[5 * 200];
    const size_t cases = case_count(20000);
    for (size_t i = 0; i < cases; i++) {
        const uint64_t seed = b.random;
        dynq_quantize_block block = random_quantize(&b);
        const size_t bytes = case_span(block.rows, block.q_stride, block.padded);
        const int with_range = case_between(&b.random, 0, 1) == 1;
        memset(expected, 0x5A, sizeof expected);
        b.expected_range[0] = (dynq_range_bits){0};
        block.q = expected;
        block.range = with_range ? b.expected_range : NULL;
        case_reference()->quantize(&block);
        const dynq_kernel *kernel;
        for (size_t k = 0; (kernel = case_next_kernel(&k)) != NULL;) {
            dynq_range_bits range = {0};
            block.q = place(&b, SLOT_Y, bytes);
            block.range = with_range ? &range : NULL;
            memset(block.q, 0x5A, bytes);
            kernel->quantize(&block);
            check_codes(&b, &block, expected, kernel->name, seed);
        }
    }
    bench_free(&b);
}

/* Ties go to even, and what is beyond the codes stops at them. */
Test(kernels, quantize_by_hand)
{
    static const float x[] = {0.5f,  1.5f,   2.5f,     -0.5f,     -1.5f,
                              1e30f, -1e30f, INFINITY, -INFINITY, 0.0f};
    static const uint8_t affine[] = {100, 102, 102, 100, 98, 255, 0, 255, 0, 100, 100, 100};
    static const uint8_t symmetric[] = {128, 130, 130, 128, 126, 255, 1, 255, 1, 128, 128, 128};
    const float inverse = 1.0f;
    const int32_t zeros[] = {100, 128};
    const dynq_kernel *kernel;
    for (size_t i = 0; (kernel = case_next_kernel(&i)) != NULL;) {
        for (int32_t qmin = 0; qmin <= 1; qmin++) {
            uint8_t q[12];
            const dynq_quantize_block block = {.rows = 1,
                                               .columns = 10,
                                               .padded = 12,
                                               .x = x,
                                               .x_stride = 10,
                                               .row_inverse = &inverse,
                                               .row_zero = &zeros[qmin],
                                               .qmin = qmin,
                                               .q = q,
                                               .q_stride = 12};
            kernel->quantize(&block);
            cr_assert_eq(memcmp(q, qmin ? symmetric : affine, sizeof q), 0, "kernel %s",
                         kernel->name);
        }
    }
}
