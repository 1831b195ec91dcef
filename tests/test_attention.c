/* Attention against its formula in double precision, and its edges. kernel_check_attention.c
 * compares the kernels with each other. */
#include "kernels/kernel.h"
#include "src/cpu.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 5 };

/* A head with operands and results of its own. */
typedef struct head {
    dynq_attention_block block;
    float *memory;
    double *truth;
    dynq_range_bits *ranges;
} head;

static float *operand(const head *h, size_t index)
{
    return h->memory + index * h->block.keys * h->block.q_stride;
}

static head head_create(size_t keys, size_t dim, int causal)
{
    const size_t stride = dim + GAP, count = keys * stride;
    head h = {.memory = calloc(4 * count, sizeof *h.memory),
              .truth = calloc(keys * dim, sizeof *h.truth),
              .ranges = calloc(keys, sizeof *h.ranges)};
    h.block = (dynq_attention_block){.keys = keys, .queries = keys, .dim = dim, .causal = causal};
    h.block.q_stride = h.block.k_stride = h.block.v_stride = h.block.y_stride = stride;
    h.block.scale = 1.0f / sqrtf((float)dim);
    h.block.range = h.ranges;
    h.block.range_step = 1;
    h.block.prepared = aligned_alloc(64, dynq_attention_bytes(keys, dim));
    samples_fill(h.memory, 3 * count, (uint32_t)(keys * 1000 + dim));
    for (size_t i = 0; i < 2 * count; i++) {
        h.memory[i] *= 3.0f;
    }
    h.block.q = operand(&h, 0);
    h.block.k = operand(&h, 1);
    h.block.v = operand(&h, 2);
    h.block.y = operand(&h, 3);
    return h;
}

static void head_free(head *h)
{
    free(h->block.prepared);
    free(h->ranges);
    free(h->truth);
    free(h->memory);
}

/* Row `i` of the result in double precision. */
static void solve_row(const head *h, size_t i)
{
    const dynq_attention_block *b = &h->block;
    const size_t seen = b->causal ? i + 1 : b->keys;
    double *score = calloc(seen, sizeof *score), most = -INFINITY, total = 0.0;
    for (size_t j = 0; j < seen; j++) {
        for (size_t d = 0; d < b->dim; d++) {
            score[j] += (double)b->q[i * b->q_stride + d] * (double)b->k[j * b->k_stride + d];
        }
        score[j] *= (double)b->scale;
        most = fmax(most, score[j]);
    }
    for (size_t j = 0; j < seen; j++) {
        score[j] = exp(score[j] - most);
        total += score[j];
    }
    for (size_t d = 0; d < b->dim; d++) {
        h->truth[i * b->dim + d] = 0.0;
        for (size_t j = 0; j < seen; j++) {
            h->truth[i * b->dim + d] += score[j] / total * (double)b->v[j * b->v_stride + d];
        }
    }
    free(score);
}

static void solve(const head *h)
{
    for (size_t i = 0; i < h->block.keys; i++) {
        solve_row(h, i);
    }
}

static void run(const dynq_kernel *kernel, int int8, const dynq_attention_block *block)
{
    if (int8) {
        kernel->attention_prepare(block);
        kernel->attention_s8(block);
    } else {
        kernel->attention_f32(block);
    }
}

static const dynq_kernel *kernel_at(int index)
{
    return index == 0 ? dynq_kernel_best(0) : dynq_kernel_best(dynq_cpu_features());
}

/* The largest difference. */
static double difference(const head *h)
{
    double most = 0.0;
    for (size_t i = 0; i < h->block.keys; i++) {
        for (size_t d = 0; d < h->block.dim; d++) {
            const double y = (double)h->block.y[i * h->block.y_stride + d];
            if (isnan(y)) {
                return INFINITY; /* fmax() would pass over it */
            }
            most = fmax(most, fabs(y - h->truth[i * h->block.dim + d]));
        }
    }
    return most;
}

/* The cosine of all results and the truth. */
static double cosine(const head *h)
{
    double both = 0.0, own = 0.0, true_ones = 0.0;
    for (size_t i = 0; i < h->block.keys; i++) {
        for (size_t d = 0; d < h->block.dim; d++) {
            const double y = (double)h->block.y[i * h->block.y_stride + d];
            const double truth = h->truth[i * h->block.dim + d];
            both += y * truth;
            own += y * y;
            true_ones += truth * truth;
        }
    }
    return both / sqrt(own * true_ones);
}

static int row_is_nan(const head *h, size_t row)
{
    int nan = 0;
    for (size_t d = 0; d < h->block.dim; d++) {
        nan |= isnan(h->block.y[row * h->block.y_stride + d]);
    }
    return nan;
}

static const size_t shapes[][2] = {{1, 1},    {3, 7},    {16, 32}, {30, 32},  {64, 64},  {65, 33},
                                   {128, 32}, {200, 64}, {331, 5}, {70, 128}, {66, 130}, {20, 512}};

Test(attention, both_kinds_follow_the_formula)
{
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (int causal = 0; causal < 2; causal++) {
            head h = head_create(shapes[s][0], shapes[s][1], causal);
            solve(&h);
            for (int k = 0; k < 2; k++) {
                run(kernel_at(k), 0, &h.block);
                cr_assert_lt(difference(&h), 3e-6, "FP32, %zu x %zu: %g", shapes[s][0],
                             shapes[s][1], difference(&h));
                run(kernel_at(k), 1, &h.block);
                cr_assert_gt(cosine(&h), 0.9998, "INT8, %zu x %zu: %.6f", shapes[s][0],
                             shapes[s][1], cosine(&h));
                cr_assert_lt(difference(&h), 0.08, "INT8, %zu x %zu: %g", shapes[s][0],
                             shapes[s][1], difference(&h));
            }
            head_free(&h);
        }
    }
}

/* Each block has higher scores than the ones before, and the last ones nearly all the weight. */
Test(attention, a_maximum_that_rises_is_followed)
{
    head h = head_create(260, 8, 0);
    for (size_t i = 0; i < 260; i++) {
        for (size_t d = 0; d < 8; d++) {
            operand(&h, 0)[i * 13 + d] = 1.0f;
            operand(&h, 1)[i * 13 + d] = (float)i * 0.05f;
        }
    }
    solve(&h);
    for (int k = 0; k < 2; k++) {
        run(kernel_at(k), 0, &h.block);
        cr_assert_lt(difference(&h), 1e-5, "%g", difference(&h));
        run(kernel_at(k), 1, &h.block);
        cr_assert_lt(difference(&h), 0.02, "%g", difference(&h));
    }
    head_free(&h);
}

Test(attention, scores_of_any_size_are_one_hot_in_the_end)
{
    head h = head_create(70, 16, 0);
    for (size_t i = 0; i < 70 * 21; i++) {
        operand(&h, 1)[i] *= 1e12f;
    }
    solve(&h);
    run(kernel_at(1), 0, &h.block);
    cr_assert_lt(difference(&h), 1e-5, "%g", difference(&h));
    run(kernel_at(1), 1, &h.block);
    for (size_t i = 0; i < 70; i++) {
        cr_assert_not(row_is_nan(&h, i), "row %zu", i);
    }
    head_free(&h);
}

Test(attention, zeros_weigh_the_same_and_give_the_mean)
{
    for (int int8 = 0; int8 < 2; int8++) {
        for (int which = 0; which < 3; which++) { /* queries, keys, values */
            head h = head_create(75, 20, 0);
            memset(operand(&h, (size_t)which), 0, 75 * 25 * sizeof(float));
            solve(&h);
            run(kernel_at(1), int8, &h.block);
            cr_assert_lt(difference(&h), int8 ? 0.01 : 1e-6, "operand %d: %g", which,
                         difference(&h));
            head_free(&h);
        }
    }
}

/* In every operand, first, middle and last: nothing that is not finite is hidden. */
Test(attention, what_is_not_finite_ends_as_nan)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const size_t rows[] = {0, 40, 69};
    for (size_t i = 0; i < 2 * 3 * 3 * 3; i++) {
        const int int8 = i % 2 != 0, which = (int)(i / 2 % 3);
        const size_t row = rows[i / 18];
        head h = head_create(70, 33, 0);
        operand(&h, (size_t)which)[row * 38 + 32] = bad[i / 6 % 3];
        for (int k = 0; k < 2; k++) {
            run(kernel_at(k), int8, &h.block);
            for (size_t y = which == 0 ? row : 0; y < (which == 0 ? row + 1 : 70); y++) {
                cr_assert(row_is_nan(&h, y), "int8 %d, operand %d, row %zu, y %zu", int8, which,
                          row, y);
                cr_assert(h.ranges[y].high >= 0x7F800000 || h.ranges[y].low >= 0xFF800000);
            }
        }
        head_free(&h);
    }
}

Test(attention, what_overflows_ends_as_nan)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        head h = head_create(5, 4, 0);
        operand(&h, 0)[0] = 3e38f;
        operand(&h, 1)[0] = (float)sign * 3e38f;
        for (int k = 0; k < 2; k++) {
            run(kernel_at(k), 0, &h.block);
            cr_assert(row_is_nan(&h, 0));
            run(kernel_at(k), 1, &h.block);
            cr_assert(row_is_nan(&h, 0));
        }
        head_free(&h);
    }
    head h = head_create(5, 4, 0);
    operand(&h, 0)[0] = 3e38f;
    operand(&h, 0)[1] = -3e38f;
    run(kernel_at(1), 1, &h.block);
    cr_assert(row_is_nan(&h, 0));
    head_free(&h);
}

/* A causal query does not look at what comes later; INT8 codes of whole blocks do. */
Test(attention, a_causal_query_does_not_see_later_keys)
{
    enum { ROWS = 150, DIM = 32, STRIDE = DIM + GAP };
    for (int int8 = 0; int8 < 2; int8++) {
        head h = head_create(ROWS, DIM, 1);
        float before[ROWS * STRIDE];
        run(kernel_at(1), int8, &h.block);
        memcpy(before, h.block.y, sizeof before);
        const size_t seen = int8 ? 128 : 130;
        for (size_t i = seen; i < ROWS; i++) {
            operand(&h, 1)[i * STRIDE] = operand(&h, 2)[i * STRIDE] = i % 2 == 0 ? NAN : 1e30f;
        }
        run(kernel_at(1), int8, &h.block);
        cr_assert_eq(memcmp(before, h.block.y, seen * STRIDE * sizeof(float)), 0);
        cr_assert(row_is_nan(&h, seen));
        head_free(&h);
    }
}

Test(attention, a_row_does_not_depend_on_the_others_of_its_call)
{
    enum { ROWS = 140, DIM = 48, STRIDE = DIM + GAP };
    for (int i = 0; i < 8; i++) {
        const dynq_kernel *kernel = kernel_at(i % 2);
        head h = head_create(ROWS, DIM, i / 4);
        float whole[ROWS * STRIDE];
        dynq_range_bits ranges[ROWS], all = {0};
        run(kernel, i / 2 % 2, &h.block);
        memcpy(whole, h.block.y, sizeof whole);
        memcpy(ranges, h.ranges, sizeof ranges);
        memset(h.block.y, 0, sizeof whole);
        for (size_t first = 0; first < ROWS; first += h.block.queries) {
            h.block.first = first;
            h.block.queries = first + 23 < ROWS ? 23 : ROWS - first;
            h.block.range = &all;
            h.block.range_step = 0;
            run(kernel, i / 2 % 2, &h.block);
        }
        cr_assert_eq(memcmp(whole, h.block.y, sizeof whole), 0);
        for (size_t row = 0; row < ROWS; row++) {
            cr_assert(ranges[row].high <= all.high && ranges[row].low <= all.low);
        }
        head_free(&h);
    }
}

Test(attention, room_for_codes_grows_with_the_keys)
{
    for (size_t dim = 1; dim <= DYNQ_MAX_HEAD; dim++) {
        const size_t block = dynq_attention_bytes(64, dim);
        cr_assert_eq(block % 64, 0);
        cr_assert_eq(dynq_attention_bytes(1, dim), block);
        cr_assert_eq(dynq_attention_bytes(65, dim), 2 * block);
        cr_assert_eq(dynq_attention_bytes(6400, dim), 100 * block);
    }
}
