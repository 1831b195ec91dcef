#include <dynq/calibration.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define COLUMNS      5 /* of the sample model's input */

static dynq_calibration_entry entry_of(const dynq_calibration *calibration, const char *value)
{
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        cr_assert_eq(dynq_calibration_get(calibration, i, &entry), DYNQ_OK);
        if (strcmp(entry.value, value) == 0) {
            return entry;
        }
    }
    cr_assert_fail("no value %s", value);
    return (dynq_calibration_entry){0};
}

static void expect_entry(const dynq_calibration *calibration, const char *value, float min,
                         float max, uint64_t rows, uint64_t elements)
{
    const dynq_calibration_entry entry = entry_of(calibration, value);
    cr_assert(memcmp(&entry.min, &min, sizeof min) == 0 &&
                  memcmp(&entry.max, &max, sizeof max) == 0,
              "%s: [%.9g, %.9g]", value, (double)entry.min, (double)entry.max);
    cr_assert(entry.rows == rows && entry.elements == elements);
}

static void expect_same(const dynq_calibration *a, const dynq_calibration *b)
{
    cr_assert_eq(dynq_calibration_count(a), dynq_calibration_count(b));
    for (size_t i = 0; i < dynq_calibration_count(a); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        cr_assert_eq(dynq_calibration_get(a, i, &entry), DYNQ_OK);
        expect_entry(b, entry.value, entry.min, entry.max, entry.rows, entry.elements);
    }
}

static void observe(dynq_calibration *calibration, const float *x, size_t rows)
{
    cr_assert_eq(dynq_calibration_observe(calibration, "x", rows, COLUMNS, x, 0, NULL), DYNQ_OK);
}

Test(calibrate, values_are_what_linear_layers_read)
{
    dynq_calibration *calibration = samples_calibration();
    cr_assert_eq(dynq_calibration_count(calibration), 2);
    expect_entry(calibration, "x", 0.0f, 0.0f, 0, 0);
    expect_entry(calibration, "act", 0.0f, 0.0f, 0, 0);
    dynq_calibration_entry entry = {.size = sizeof entry};
    cr_assert_eq(dynq_calibration_get(calibration, 2, &entry), DYNQ_ERR_ARGUMENT);
    dynq_calibration_free(calibration);
    dynq_calibration_free(NULL);
    cr_assert_eq(dynq_calibration_count(NULL), 0);
}

Test(calibrate, a_value_with_several_readers_stands_once)
{
    float w[9];
    samples_fill(w, 9, 1);
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {3, 3}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 3);
    const dynq_value q = dynq_linear(g, "q", x, &weight, NULL);
    const dynq_value k = dynq_linear(g, "k", x, &weight, NULL);
    dynq_output(g, "y", dynq_linear(g, "out", dynq_add(g, "sum", q, k), &weight, NULL));
    dynq_model *model = NULL;
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_count(calibration), 2);
    expect_entry(calibration, "sum", 0.0f, 0.0f, 0, 0);
    dynq_calibration_free(calibration);
    dynq_model_free(model);
}

Test(calibrate, an_entry_of_an_older_caller_is_not_overrun)
{
    dynq_calibration *calibration = samples_calibration();
    dynq_calibration_entry entry;
    memset(&entry, 0x55, sizeof entry);
    entry.size = offsetof(dynq_calibration_entry, min);
    const dynq_calibration_entry before = entry;
    cr_assert_eq(dynq_calibration_get(calibration, 0, &entry), DYNQ_OK);
    cr_assert_str_eq(entry.value, "x");
    cr_assert_eq(memcmp(&entry.min, &before.min, sizeof entry - entry.size), 0);
    entry.size = 0;
    cr_assert_eq(dynq_calibration_get(calibration, 0, &entry), DYNQ_ERR_ARGUMENT);
    dynq_calibration_free(calibration);
}

Test(calibrate, observations_add_up)
{
    dynq_calibration *calibration = samples_calibration();
    const float first[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f}, second[] = {3.0f, 0.5f, 1.0f, 9.0f, 2.0f};
    observe(calibration, first, 1);
    expect_entry(calibration, "x", 1.0f, 5.0f, 1, 5);
    observe(calibration, second, 1);
    expect_entry(calibration, "x", 0.5f, 9.0f, 2, 10);
    observe(calibration, NULL, 0);
    expect_entry(calibration, "x", 0.5f, 9.0f, 2, 10);
    expect_entry(calibration, "act", 0.0f, 0.0f, 0, 0);
    dynq_calibration_free(calibration);
}

Test(calibrate, what_stands_between_rows_is_not_seen)
{
    dynq_calibration *calibration = samples_calibration();
    float x[3 * 8];
    for (size_t i = 0; i < COUNT(x); i++) {
        x[i] = i % 8 < COLUMNS ? -1.0f - (float)i : NAN;
    }
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 3, COLUMNS, x, 8, NULL), DYNQ_OK);
    expect_entry(calibration, "x", -21.0f, -1.0f, 3, 15);
    dynq_calibration_free(calibration);
}

Test(calibrate, observations_that_are_refused_leave_no_trace)
{
    dynq_calibration *calibration = samples_calibration();
    const float good[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    observe(calibration, good, 1);
    for (size_t i = 0; i < COUNT(bad); i++) {
        const float x[] = {7.0f, 7.0f, 7.0f, 7.0f, 7.0f, -7.0f, -7.0f, bad[i], 7.0f, 7.0f};
        dynq_error error = {0};
        cr_assert_eq(dynq_calibration_observe(calibration, "x", 2, COLUMNS, x, 0, &error),
                     DYNQ_ERR_NOT_FINITE);
        cr_assert(strstr(error.message, "'x'") && strstr(error.message, "row 1, column 2"), "%s",
                  error.message);
    }
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 4, good, 0, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 0, good, 0, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 5, good, 4, NULL),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 5, NULL, 0, NULL),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_observe(calibration, "fc1", 1, 4, bad, 0, NULL), DYNQ_OK);
    expect_entry(calibration, "x", 1.0f, 5.0f, 1, 5);
    dynq_calibration_free(calibration);
}

Test(calibrate, negative_zero_depends_on_no_order)
{
    const float negative[] = {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f};
    const float mixed[] = {0.0f, -0.0f, 0.0f, -0.0f, 0.0f};
    dynq_calibration *a = samples_calibration(), *b = samples_calibration();
    observe(a, negative, 1);
    expect_entry(a, "x", 0.0f, 0.0f, 1, 5);
    observe(a, mixed, 1);
    observe(b, mixed, 1);
    observe(b, negative, 1);
    expect_same(a, b);
    dynq_calibration_free(a);
    dynq_calibration_free(b);
}

Test(calibrate, merging_in_any_order_is_observing_everything)
{
    enum { PARTS = 4 };
    static const size_t orders[][PARTS] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}};
    dynq_calibration *parts[PARTS], *all = samples_calibration();
    for (uint32_t i = 0; i < PARTS; i++) {
        float x[3 * COLUMNS];
        samples_fill(x, COUNT(x), i);
        parts[i] = samples_calibration();
        if (i != 2) { /* one without data */
            observe(parts[i], x, 3);
            observe(all, x, 3);
        }
    }
    for (size_t i = 0; i < COUNT(orders); i++) {
        dynq_calibration *merged = samples_calibration();
        for (size_t j = 0; j < PARTS; j++) {
            cr_assert_eq(dynq_calibration_merge(merged, parts[orders[i][j]], NULL), DYNQ_OK);
        }
        expect_same(merged, all);
        dynq_calibration_free(merged);
    }
    for (size_t i = 0; i < PARTS; i++) {
        dynq_calibration_free(parts[i]);
    }
    dynq_calibration_free(all);
}

/* ---- running a model ---- */

/* Rows of the sample model's input, from malloc. */
static float *make_rows(size_t rows)
{
    float *x = malloc(rows * COLUMNS * sizeof *x);
    cr_assert(x != NULL);
    samples_fill(x, rows * COLUMNS, 31);
    return x;
}

static dynq_calibration *run(dynq_model *model, const float *x, size_t rows, uint32_t threads)
{
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, rows, 0, threads, &error), DYNQ_OK,
                 "%s", error.message);
    return calibration;
}

/* What a run of a sample model over x must find, from its first layer's weights as FP32. */
static dynq_calibration *expected_of(const dynq_model *model, const float *x, size_t rows)
{
    float w[18 * COLUMNS];
    dynq_calibration *expected = samples_calibration();
    cr_assert_eq(dynq_model_weights(model, 1, w, COUNT(w)), DYNQ_OK);
    for (size_t r = 0; r < rows; r++) {
        float hidden[18];
        for (size_t n = 0; n < COUNT(hidden); n++) {
            float sum = 0.0f;
            for (size_t k = 0; k < COLUMNS; k++) {
                sum = fmaf(x[r * COLUMNS + k], w[n * COLUMNS + k], sum);
            }
            hidden[n] = fmaxf(sum + model->nodes[1].bias[n], 0.0f);
        }
        observe(expected, x + r * COLUMNS, 1);
        cr_assert_eq(dynq_calibration_observe(expected, "act", 1, 18, hidden, 0, NULL), DYNQ_OK);
    }
    return expected;
}

static void check_run(dynq_model *model, size_t rows)
{
    float *x = make_rows(rows);
    dynq_calibration *calibration = run(model, x, rows, 1);
    dynq_calibration *expected = expected_of(model, x, rows);
    expect_same(calibration, expected);
    cr_assert_gt(entry_of(calibration, "act").max, 0.5f);
    dynq_calibration_free(calibration);
    dynq_calibration_free(expected);
    dynq_model_free(model);
    free(x);
}

Test(calibrate, a_run_sees_what_layers_read)
{
    check_run(samples_fp32(NULL), 700); /* several batches, the last one shorter */
}

Test(calibrate, a_quantized_model_runs_in_fp32_on_its_dequantized_weights)
{
    check_run(samples_int8(NULL), 20);
}

Test(calibrate, threads_batches_and_strides_do_not_matter)
{
    enum { ROWS = 300, STRIDE = 9 };
    float *x = make_rows(ROWS), *wide = malloc(ROWS * STRIDE * sizeof *wide);
    dynq_model *model = samples_fp32(NULL);
    for (size_t i = 0; i < ROWS * STRIDE; i++) {
        const size_t column = i % STRIDE;
        wide[i] = column < COLUMNS ? x[i / STRIDE * COLUMNS + column] : NAN;
    }
    dynq_calibration *one = run(model, x, ROWS, 1), *three = run(model, x, ROWS, 3);
    dynq_calibration *parts = run(model, x, 41, 1), *strided = run(model, x, 0, 0);
    cr_assert_eq(dynq_calibration_run(parts, model, x + 41 * COLUMNS, ROWS - 41, COLUMNS, 2, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(strided, model, wide, ROWS, STRIDE, 1, NULL), DYNQ_OK);
    expect_same(one, three);
    expect_same(one, parts);
    expect_same(one, strided);
    dynq_calibration_free(one);
    dynq_calibration_free(three);
    dynq_calibration_free(parts);
    dynq_calibration_free(strided);
    dynq_model_free(model);
    free(x);
    free(wide);
}

Test(calibrate, a_run_that_fails_leaves_no_trace)
{
    enum { ROWS = 600 };
    float *x = make_rows(ROWS);
    dynq_model *model = samples_fp32(NULL);
    dynq_calibration *calibration = run(model, x, ROWS, 1), *same = run(model, x, ROWS, 1);
    dynq_error error = {0};
    x[0] = 1000.0f;
    x[555 * COLUMNS + 3] = NAN;
    cr_assert_eq(dynq_calibration_run(calibration, model, x, ROWS, 0, 2, &error),
                 DYNQ_ERR_NOT_FINITE);
    cr_assert(strstr(error.message, "'x' is NaN at row 555, column 3") != NULL, "%s",
              error.message);
    cr_assert_eq(dynq_calibration_run(calibration, model, NULL, 1, 0, 1, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, 1, 4, 1, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, SIZE_MAX, 0, 1, NULL),
                 DYNQ_ERR_ARGUMENT);
    expect_same(calibration, same);
    dynq_calibration_free(calibration);
    dynq_calibration_free(same);
    dynq_model_free(model);
    free(x);
}

/* One linear layer over the sum of two inputs, or over "x" alone. */
static dynq_model *small_model(bool two_inputs, size_t columns)
{
    float w[16];
    samples_fill(w, columns, 1);
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {1, columns}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_value x = dynq_input(g, "x", columns);
    if (two_inputs) {
        x = dynq_add(g, "sum", x, dynq_input(g, "other", columns));
    }
    dynq_output(g, "y", dynq_linear(g, "fc", x, &weight, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

Test(calibrate, models_that_do_not_fit)
{
    dynq_model *two = small_model(true, COLUMNS), *one = small_model(false, COLUMNS);
    dynq_model *wide = small_model(false, 8);
    dynq_calibration *sample = samples_calibration(), *of_two = NULL, *of_one = NULL,
                     *of_wide = NULL;
    const float x[16] = {0};
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_create(two, NULL, &of_two, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_create(one, NULL, &of_one, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_create(wide, NULL, &of_wide, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(of_two, two, x, 1, 0, 1, &error), DYNQ_ERR_ARGUMENT);
    cr_assert(strstr(error.message, "2 inputs") != NULL, "%s", error.message);
    cr_assert_eq(dynq_calibration_run(sample, one, x, 1, 0, 1, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_merge(sample, of_one, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_merge(of_one, of_two, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_merge(of_one, of_wide, &error), DYNQ_ERR_SHAPE);
    cr_assert(strstr(error.message, "5 columns here and 8 there") != NULL, "%s", error.message);
    cr_assert_eq(dynq_calibration_merge(of_one, NULL, NULL), DYNQ_ERR_ARGUMENT);
    dynq_calibration_free(sample);
    dynq_calibration_free(of_two);
    dynq_calibration_free(of_one);
    dynq_calibration_free(of_wide);
    dynq_model_free(two);
    dynq_model_free(one);
    dynq_model_free(wide);
}

Test(calibrate, any_allocation_can_fail)
{
    dynq_model *model = samples_fp32(NULL);
    float *x = make_rows(3);
    dynq_status status = DYNQ_ERR_MEMORY;
    size_t failures = 0;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_calibration *calibration = NULL;
        status = dynq_calibration_create(model, &allocator, &calibration, NULL);
        cr_assert((status == DYNQ_OK) == (calibration != NULL));
        if (status == DYNQ_OK) {
            status = dynq_calibration_run(calibration, model, x, 3, 0, 1, NULL);
            expect_entry(calibration, "x", status == DYNQ_OK ? entry_of(calibration, "x").min : 0,
                         status == DYNQ_OK ? entry_of(calibration, "x").max : 0,
                         status == DYNQ_OK ? 3 : 0, status == DYNQ_OK ? 15 : 0);
        }
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        failures += status != DYNQ_OK;
        dynq_calibration_free(calibration);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    cr_assert_gt(failures, 20);
    dynq_model_free(model);
    free(x);
}

Test(calibrate, ids_need_taps)
{
    const float x[4] = {0};
    dynq_model *model = samples_encoder(false), *transformer = samples_transformer(NULL, false);
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, x, 4, 0, 1, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "input 'ids' of the model takes ids"));
    cr_assert_eq(dynq_calibration_count(calibration), 0);
    dynq_calibration_free(calibration);
    /* Values with a row for each segment are values like others. */
    cr_assert_eq(dynq_calibration_create(transformer, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_count(calibration), 2 * 4 + 1);
    float first[32] = {-1, 2};
    cr_assert_eq(dynq_calibration_observe(calibration, "first", 1, 32, first, 0, NULL), DYNQ_OK);
    float lo = 0, hi = 0;
    cr_assert_eq(dynq_calibration_range(calibration, "first", NULL, &lo, &hi, NULL), DYNQ_OK);
    cr_assert(lo == -1.0f && hi == 2.0f);
    dynq_calibration_free(calibration);
    dynq_model_free(transformer);
    dynq_model_free(model);
}
