/* Error-feedback rounding: against numpy (tests/golden/feedback.py), against plain rounding, and
 * with matrices that are none. */
#include "src/weight_feedback.h"

#include "src/memory.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <dynq/format.h>
#include <dynq/openblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = 150, N = 70, ROWS = 400, DEAD = 7 };

static float w[N * K], inputs[ROWS * K];
static double matrix[K * K];

/* The data of feedback.py. */
static void make_data(void)
{
    samples_fill(w, N * K, 3);
    samples_fill(inputs, ROWS * K, 4);
    for (size_t r = 0; r < ROWS; r++) {
        float *x = inputs + r * K;
        for (size_t i = 1; i < K; i++) {
            x[i] = 0.5f * x[i] + 0.75f * x[i - 1];
        }
        x[DEAD] = 0.0f;
    }
    memset(matrix, 0, sizeof matrix);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < K * K; i++) {
            matrix[i] += (double)inputs[r * K + i / K] * (double)inputs[r * K + i % K];
        }
    }
}

static const float table[] = {-127.0f, -40.0f, 45.0f, 127.0f};
static float steps[N * K], scale[N];

/* Steps by the largest weight of a group. */
static dynq_weight_grid make_grid(int low, int high, const float *levels, size_t group,
                                  float largest)
{
    dynq_weight_grid grid = {.k = K,
                             .n = N,
                             .low = low,
                             .high = high,
                             .levels = levels,
                             .level_count = levels == NULL ? 0 : 4,
                             .table_columns = N,
                             .column_stride = (K + group - 1) / group,
                             .group = group,
                             .step = steps};
    memset(steps, 0, sizeof steps);
    for (size_t i = 0; i < N * K; i++) {
        float *step = &steps[dynq_grid_block(&grid, i / K, i % K)];
        *step = fmaxf(*step, fabsf(w[i]));
    }
    for (size_t c = 0; c < N; c++) {
        float *own = steps + c * grid.column_stride;
        scale[c] = 0.0f;
        for (size_t g = 0; g < grid.column_stride; g++) {
            own[g] /= largest;
            scale[c] = fmaxf(scale[c], own[g]);
        }
        for (size_t g = 0; g < grid.column_stride && group < K; g++) {
            const float share = own[g] / scale[c];
            uint16_t factor = 0;
            dynq_fp16_from_fp32(&share, 1, &factor);
            dynq_fp32_from_fp16(&factor, 1, &own[g]);
            own[g] *= scale[c];
        }
    }
    return grid;
}

static dynq_feedback_task task_of(dynq_weight_grid *grid, const dynq_allocator *allocator)
{
    return (dynq_feedback_task){.grid = grid,
                                .w = w,
                                .matrix = matrix,
                                .scale = grid->group < K ? scale : NULL,
                                .algebra = dynq_openblas_algebra(),
                                .allocator = allocator};
}

static void expect_round(dynq_weight_grid *grid, int16_t *numbers)
{
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    const dynq_feedback_task task = task_of(grid, &allocator);
    dynq_error error = {0};
    cr_assert_eq(dynq_feedback_round(&task, numbers, &error), DYNQ_OK, "%s", error.message);
}

/* The sum of squares of what the numbers change of the results. */
static double error_of(const dynq_weight_grid *grid, const int16_t *numbers)
{
    double sum = 0.0;
    for (size_t c = 0; c < grid->n; c++) {
        for (size_t r = 0; r < ROWS; r++) {
            double off = 0.0;
            for (size_t i = 0; i < grid->k; i++) {
                const float value = dynq_grid_value(grid, c, i, numbers[c * grid->k + i]);
                off += (double)(value - w[c * K + i]) * (double)inputs[r * K + i];
            }
            sum += off * off;
        }
    }
    return sum;
}

static void expect_golden(FILE *file, const char *name, dynq_weight_grid grid)
{
    static int16_t numbers[N * K], plain[N * K];
    char found[32];
    dynq_grid_round(&grid, w, plain);
    const double before = error_of(&grid, plain);
    expect_round(&grid, numbers);
    cr_assert_eq(fscanf(file, "%31s", found), 1);
    cr_assert_str_eq(found, name);
    for (size_t c = 0; c < N; c++) {
        for (size_t i = 0; i < K; i++) {
            int number = 0;
            cr_assert_eq(fscanf(file, "%d", &number), 1);
            cr_assert_eq(numbers[c * K + i], number, "%s: column %zu, input %zu", name, c, i);
        }
        for (size_t g = 0; g < grid.column_stride; g++) {
            double step = 0.0;
            cr_assert_eq(fscanf(file, "%lf", &step), 1);
            cr_assert_leq(fabs((double)steps[c * grid.column_stride + g] / step - 1.0), 1e-6,
                          "%s: step of column %zu, group %zu: %g, not %g", name, c, g,
                          (double)steps[c * grid.column_stride + g], step);
        }
    }
    cr_assert_lt(error_of(&grid, numbers), 0.6 * before, "%s", name);
}

Test(feedback, as_numpy_rounds)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/feedback.txt", "r");
    cr_assert_not_null(file);
    make_data();
    expect_golden(file, "int8", make_grid(-127, 127, NULL, K, 127.0f));
    expect_golden(file, "int4", make_grid(-8, 7, NULL, 32, 7.0f));
    expect_golden(file, "table", make_grid(0, 0, table, K, 127.0f));
    fclose(file);
}

/* Inverses of steps follow them. */
Test(feedback, inverses)
{
    static int16_t numbers[N * K], expected[N * K];
    static float inverse[N];
    make_data();
    dynq_weight_grid grid = make_grid(-7, 7, NULL, K, 7.0f);
    expect_round(&grid, expected);
    grid = make_grid(-7, 7, NULL, K, 7.0f);
    for (size_t c = 0; c < N; c++) {
        inverse[c] = 1.0f / steps[c];
    }
    grid.inverse = inverse;
    expect_round(&grid, numbers);
    size_t others = 0;
    for (size_t i = 0; i < N * K; i++) {
        others += numbers[i] != expected[i];
    }
    cr_assert_leq(others, N * K / 1000);
    for (size_t c = 0; c < N; c++) {
        cr_assert_eq(inverse[c], 1.0f / steps[c]);
    }
}

/* A dead input, or all of them dead: plain rounding. Weights that are all the same: as well. */
Test(feedback, nothing_to_feed_back)
{
    static int16_t numbers[N * K], plain[N * K];
    make_data();
    dynq_weight_grid grid = make_grid(-127, 127, NULL, K, 127.0f);
    dynq_grid_round(&grid, w, plain);
    expect_round(&grid, numbers);
    for (size_t c = 0; c < N; c++) {
        cr_assert_eq(numbers[c * K + DEAD], plain[c * K + DEAD]);
    }
    memset(matrix, 0, sizeof matrix);
    expect_round(&grid, numbers);
    cr_assert_eq(memcmp(numbers, plain, sizeof plain), 0);
    make_data();
    for (size_t i = 0; i < N * K; i++) {
        w[i] = 0.25f;
    }
    grid = make_grid(-7, 7, NULL, K, 7.0f);
    expect_round(&grid, numbers);
    for (size_t i = 0; i < N * K; i++) {
        cr_assert_eq(numbers[i], 7);
    }
}

/* As many equal inputs as there are: only damping makes the matrix positive definite. One that is
 * indefinite needs more of it, or has none. */
Test(feedback, matrices_without_inverse)
{
    static int16_t numbers[N * K];
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    make_data();
    dynq_weight_grid grid = make_grid(-127, 127, NULL, K, 127.0f);
    for (size_t i = 0; i < K * K; i++) {
        matrix[i] = 1.0;
    }
    expect_round(&grid, numbers);
    for (size_t i = 0; i < K * K; i++) {
        matrix[i] = i / K == i % K ? 1.0 : 0.0;
    }
    matrix[1] = matrix[K] = 1.05; /* the least eigenvalue is -0.05 */
    expect_round(&grid, numbers);
    matrix[1] = matrix[K] = 1000.0;
    const dynq_feedback_task task = task_of(&grid, &allocator);
    dynq_error error = {0};
    cr_assert_eq(dynq_feedback_round(&task, numbers, &error), DYNQ_ERR_NOT_FINITE);
    cr_assert_not_null(strstr(error.message, "no inverse"), "%s", error.message);
    matrix[5 * K + 6] = NAN;
    cr_assert_eq(dynq_feedback_round(&task, numbers, &error), DYNQ_ERR_NOT_FINITE);
    cr_assert_not_null(strstr(error.message, "inputs 5 and 6"), "%s", error.message);
}

Test(feedback, any_allocation_can_fail)
{
    static int16_t numbers[N * K];
    make_data();
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status == DYNQ_ERR_MEMORY; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_weight_grid grid = make_grid(-127, 127, NULL, K, 127.0f);
        const dynq_feedback_task task = task_of(&grid, &allocator);
        status = dynq_feedback_round(&task, numbers, NULL);
        cr_assert_eq(atomic_load(&memory.live), 0);
    }
    cr_assert_eq(status, DYNQ_OK);
}
