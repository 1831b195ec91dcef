/* What a calibration says of what it saw: ranges, summaries, histograms, columns. */
#include <dynq/calibration.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define COLUMNS      5 /* of the sample model's input */

static void observe(dynq_calibration *calibration, const float *x, size_t rows)
{
    cr_assert_eq(dynq_calibration_observe(calibration, "x", rows, COLUMNS, x, 0, NULL), DYNQ_OK);
}

Test(calibrate_ranges, ranges_hold_zero)
{
    static const float cases[][4] = {
        {-2.0f, 3.0f, -2.0f, 3.0f}, {1.0f, 3.0f, 0.0f, 3.0f}, {-3.0f, -1.0f, -3.0f, 0.0f}};
    float lo = 0.0f, hi = 0.0f;
    for (size_t i = 0; i < COUNT(cases); i++) {
        dynq_calibration *calibration = samples_calibration();
        const float x[] = {cases[i][0], cases[i][1], cases[i][0], cases[i][1], cases[i][0]};
        observe(calibration, x, 1);
        cr_assert_eq(dynq_calibration_range(calibration, "x", NULL, &lo, &hi, NULL), DYNQ_OK);
        cr_assert(lo == cases[i][2] && hi == cases[i][3] && !signbit(hi));
        dynq_calibration_free(calibration);
    }
}

Test(calibrate_ranges, ranges_that_are_not_there)
{
    dynq_calibration *calibration = samples_calibration();
    float lo = 5.0f, hi = 6.0f;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_range(calibration, "fc1", NULL, &lo, &hi, &error),
                 DYNQ_ERR_NOT_FOUND);
    cr_assert(strstr(error.message, "has no value 'fc1'") != NULL, "%s", error.message);
    cr_assert_eq(dynq_calibration_range(calibration, "act", NULL, &lo, &hi, &error),
                 DYNQ_ERR_NOT_FOUND);
    cr_assert(strstr(error.message, "saw no row of value 'act'") != NULL, "%s", error.message);
    cr_assert_eq(dynq_calibration_range(calibration, "x",
                                        &(dynq_range_choice){.size = sizeof(dynq_range_choice),
                                                             .method = (dynq_calibration_method)99},
                                        &lo, &hi, NULL),
                 DYNQ_ERR_ARGUMENT);
    cr_assert(lo == 5.0f && hi == 6.0f);
    cr_assert_str_eq(dynq_calibration_method_name(DYNQ_METHOD_MAX), "max");
    cr_assert_null(dynq_calibration_method_name((dynq_calibration_method)6));
    dynq_calibration_free(calibration);
}

static void expect_range(const dynq_calibration *calibration, dynq_calibration_method method,
                         float lo, float hi)
{
    const dynq_range_choice choice = {.size = sizeof choice, .method = method};
    float found_lo = NAN, found_hi = NAN;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_range(calibration, "x", &choice, &found_lo, &found_hi, &error),
                 DYNQ_OK, "%s", error.message);
    cr_assert(fabsf(found_lo - lo) <= 1e-6f && fabsf(found_hi - hi) <= 1e-6f, "[%.9g, %.9g]",
              (double)found_lo, (double)found_hi);
}

Test(calibrate_ranges, choices_that_are_not_there)
{
    dynq_calibration *calibration = samples_calibration();
    const float x[COLUMNS] = {1.0f};
    observe(calibration, x, 1);
    const dynq_range_choice bad[] = {
        {.size = sizeof bad[0], .method = DYNQ_METHOD_PERCENTILE, .percentile = NAN},
        {.size = sizeof bad[0], .method = DYNQ_METHOD_PERCENTILE, .percentile = -1.0},
        {.size = sizeof bad[0], .method = DYNQ_METHOD_PERCENTILE, .percentile = 100.1},
        {.size = sizeof bad[0], .scheme = (dynq_scheme)7},
        {.size = 0},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        float lo = 5.0f, hi = 5.0f;
        cr_assert_eq(dynq_calibration_range(calibration, "x", &bad[i], &lo, &hi, NULL),
                     DYNQ_ERR_ARGUMENT, "choice %zu", i);
        cr_assert(lo == 5.0f && hi == 5.0f);
    }
    dynq_calibration_free(calibration);
}

Test(calibrate_ranges, the_moving_average_has_no_beginning_to_forget)
{
    dynq_calibration *calibration = samples_calibration(), *other = samples_calibration(),
                     *none = samples_calibration();
    const float first[] = {-1.0f, 2.0f, 0.0f, 0.0f, 0.0f},
                second[] = {-3.0f, 4.0f, 1.0f, 1.0f, 1.0f};
    observe(calibration, first, 1);
    expect_range(calibration, DYNQ_METHOD_AVERAGE, -1.0f, 2.0f);
    observe(calibration, second, 1);
    expect_range(calibration, DYNQ_METHOD_AVERAGE, -3.99f / 1.99f, 5.98f / 1.99f);
    /* What was merged has no order, even into nothing; merging nothing changes nothing. */
    cr_assert_eq(dynq_calibration_merge(calibration, other, NULL), DYNQ_OK);
    expect_range(calibration, DYNQ_METHOD_AVERAGE, -3.99f / 1.99f, 5.98f / 1.99f);
    cr_assert_eq(dynq_calibration_merge(none, calibration, NULL), DYNQ_OK);
    const dynq_range_choice average = {.size = sizeof average, .method = DYNQ_METHOD_AVERAGE};
    float lo = 0.0f, hi = 0.0f;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_range(none, "x", &average, &lo, &hi, &error),
                 DYNQ_ERR_UNSUPPORTED);
    cr_assert(strstr(error.message, "'x' has no moving average") != NULL, "%s", error.message);
    dynq_calibration_free(calibration);
    dynq_calibration_free(other);
    dynq_calibration_free(none);
}

Test(calibrate_ranges, a_summary_of_rows_and_batches)
{
    dynq_calibration *calibration = samples_calibration();
    const float x[] = {-1.0f, 3.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, -0.0f};
    const float y[] = {4.0f, 4.0f, 4.0f, 4.0f, 4.0f};
    dynq_value_summary s = {.size = sizeof s};
    cr_assert_eq(dynq_calibration_summary(calibration, "x", &s), DYNQ_ERR_NOT_FOUND);
    observe(calibration, y, 1);
    cr_assert_eq(dynq_calibration_summary(calibration, "x", &s), DYNQ_OK);
    cr_assert(s.mean == 4.0 && s.deviation == 0.0 && isnan(s.kurtosis) && isnan(s.outlier_index));
    observe(calibration, x, 2);
    cr_assert_eq(dynq_calibration_summary(calibration, "x", &s), DYNQ_OK);
    const double mean = 22.0 / 15.0, squares = 90.0 / 15.0;
    cr_assert_float_eq(s.mean, mean, 1e-12);
    cr_assert_float_eq(s.deviation, sqrt(squares - mean * mean), 1e-12);
    cr_assert_float_eq(s.outlier_index, 4.0 / s.deviation, 1e-12);
    cr_assert_float_eq(s.zero_rows, 1.0 / 3.0, 1e-12);
    cr_assert_float_eq(s.row_low, -1.0 / 3.0, 1e-12);
    cr_assert_float_eq(s.row_high, 7.0 / 3.0, 1e-12);
    cr_assert(s.batches == 2 && s.batch_low == -0.5 && s.batch_high == 3.5);
    dynq_calibration_free(calibration);
}

Test(calibrate_ranges, a_small_deviation_of_a_large_mean)
{
    enum { ROWS = 400 };
    static float x[ROWS * COLUMNS];
    double sums[5] = {0};
    samples_fill(x, COUNT(x), 3);
    for (size_t i = 0; i < COUNT(x); i++) {
        x[i] += 1e4f;
        sums[1] += ((double)x[i] - 1e4) / (double)COUNT(x);
    }
    for (size_t i = 0; i < COUNT(x); i++) {
        sums[2] += pow((double)x[i] - 1e4 - sums[1], 2) / (double)COUNT(x);
        sums[4] += pow((double)x[i] - 1e4 - sums[1], 4) / (double)COUNT(x);
    }
    dynq_calibration *calibration = samples_calibration();
    for (size_t row = 0; row < ROWS; row += 50) {
        observe(calibration, x + row * COLUMNS, 50);
    }
    dynq_value_summary s = {.size = sizeof s};
    cr_assert_eq(dynq_calibration_summary(calibration, "x", &s), DYNQ_OK);
    cr_assert_float_eq(s.mean, 1e4 + sums[1], 1e-8);
    cr_assert_float_eq(s.deviation / sqrt(sums[2]), 1.0, 1e-8);
    cr_assert_float_eq(s.kurtosis / (sums[4] / (sums[2] * sums[2])), 1.0, 1e-8);
    dynq_calibration_free(calibration);
}

Test(calibrate_ranges, histogram_and_columns_of_what_was_seen)
{
    dynq_calibration *calibration = samples_calibration();
    const float x[] = {1.0f, -2.0f, 0.0f, 0.5f, 3.0f, 2.0f, -4.0f, -0.0f, 0.5f, 0.0f};
    dynq_histogram_view h = {.size = sizeof h};
    dynq_column_view c = {.size = sizeof c};
    cr_assert_eq(dynq_calibration_histogram(calibration, "x", &h), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_calibration_columns(calibration, "x", &c), DYNQ_ERR_NOT_FOUND);
    observe(calibration, x, 2);
    cr_assert_eq(dynq_calibration_histogram(calibration, "x", &h), DYNQ_OK);
    cr_assert_eq(dynq_calibration_columns(calibration, "x", &c), DYNQ_OK);
    cr_assert(h.limit == 8.0 && h.zeros == 3 && h.positive[128] == 2 && h.positive[256] == 1);
    cr_assert(h.negative[512] == 1 && h.negative[1024] == 1 && h.positive[768] == 1);
    static const float min[] = {1.0f, -4.0f, 0.0f, 0.5f, 0.0f};
    static const float max[] = {2.0f, -2.0f, 0.0f, 0.5f, 3.0f};
    static const double sum[] = {3.0, -6.0, 0.0, 1.0, 3.0}, squares[] = {5.0, 20.0, 0.0, 0.5, 9.0};
    cr_assert(c.columns == COLUMNS && c.rows == 2);
    cr_assert_eq(memcmp(c.min, min, sizeof min), 0);
    cr_assert_eq(memcmp(c.max, max, sizeof max), 0);
    cr_assert_eq(memcmp(c.sum, sum, sizeof sum), 0);
    cr_assert_eq(memcmp(c.sum_of_squares, squares, sizeof squares), 0);
    h.size = 0;
    c.size = 0;
    cr_assert_eq(dynq_calibration_histogram(calibration, "x", &h), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_columns(calibration, "x", &c), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_histogram(calibration, "x", NULL), DYNQ_ERR_ARGUMENT);
    dynq_calibration_free(calibration);
}
