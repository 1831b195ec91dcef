#include <dynq/compare.h>

#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 64 /* elements of the matrices in the golden file */

Test(compare, nothing_added)
{
    dynq_metrics metrics = {0};
    const float x = 1.0f;
    dynq_metrics_add(&metrics, 0, 4, &x, 0, &x, 0);
    dynq_metrics_add(&metrics, 4, 0, &x, 0, &x, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    cr_assert(isnan(s.sqnr_db) && isnan(s.cosine_mean) && isnan(s.cosine_min));
    cr_assert(isnan(s.mean_abs_error) && isnan(s.mean_abs_pct_error) && isnan(s.top1_agreement));
    cr_assert_eq(s.max_abs_error, 0.0);
}

Test(compare, by_hand)
{
    const float reference[] = {3.0f, 4.0f, 0.0f, 0.0f, 1.0f, 2.0f};
    const float value[] = {4.0f, 3.0f, 0.0f, 1.0f, 1.0f, 4.0f};
    dynq_metrics metrics = {0};
    dynq_metrics_add(&metrics, 3, 2, reference, 0, value, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    const double second = 9.0 / sqrt(5.0 * 17.0);
    cr_assert_float_eq(s.sqnr_db, 10.0 * log10(30.0 / 7.0), 1e-12);
    cr_assert_float_eq(s.cosine_mean, (0.96 + second) / 2.0, 1e-15);
    cr_assert_float_eq(s.cosine_min, 0.96, 1e-15);
    cr_assert_eq(s.max_abs_error, 2.0);
    cr_assert_float_eq(s.mean_abs_error, 5.0 / 6.0, 1e-15);
    cr_assert_float_eq(s.mean_abs_pct_error, 100.0 * (1.0 / 3.0 + 0.25 + 0.0 + 1.0) / 4.0, 1e-12);
    cr_assert_float_eq(s.top1_agreement, 1.0 / 3.0, 1e-15);
}

Test(compare, the_first_of_equal_elements_is_the_largest)
{
    const float reference[] = {5.0f, 5.0f, 1.0f}, first[] = {2.0f, 1.0f, 2.0f},
                second[] = {1.0f, 2.0f, 2.0f};
    dynq_metrics same = {0}, other = {0};
    dynq_metrics_add(&same, 1, 3, reference, 0, first, 0);
    dynq_metrics_add(&other, 1, 3, reference, 0, second, 0);
    cr_assert_eq(dynq_metrics_result(&same).top1_agreement, 1.0);
    cr_assert_eq(dynq_metrics_result(&other).top1_agreement, 0.0);
}

Test(compare, a_row_with_itself_has_cosine_1_and_no_noise)
{
    const float x[] = {0.1f, -0.3f, 0.7f, 1e-20f, 123.0f, FLT_MAX, 1e-45f, 1e-45f, 1e-45f};
    dynq_metrics metrics = {0};
    dynq_metrics_add(&metrics, 3, 3, x, 0, x, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    cr_assert(s.cosine_mean == 1.0 && s.cosine_min == 1.0 && s.top1_agreement == 1.0);
    cr_assert(isinf(s.sqnr_db) && s.sqnr_db > 0.0 && s.max_abs_error == 0.0);
    cr_assert(s.mean_abs_error == 0.0 && s.mean_abs_pct_error == 0.0);
}

Test(compare, the_smallest_cosine_may_be_negative_or_come_first)
{
    const float reference[] = {1.0f, 0.0f, 1.0f, 0.0f}, value[] = {-1.0f, 0.0f, 1.0f, 0.0f};
    dynq_metrics metrics = {0};
    dynq_metrics_add(&metrics, 2, 2, reference, 0, value, 0);
    cr_assert_eq(dynq_metrics_result(&metrics).cosine_min, -1.0);
    cr_assert_eq(dynq_metrics_result(&metrics).cosine_mean, 0.0);
    dynq_metrics positive = {0};
    dynq_metrics_add(&positive, 1, 2, reference + 2, 0, value + 2, 0);
    cr_assert_eq(dynq_metrics_result(&positive).cosine_min, 1.0);
}

Test(compare, strides_and_calls_do_not_matter)
{
    enum { ROWS = 4, COLUMNS = 3 };
    float reference[ROWS * COLUMNS], value[ROWS * COLUMNS], wide[ROWS * 5], wider[ROWS * 7];
    memset(wide, 0x7f, sizeof wide);
    memset(wider, 0x7f, sizeof wider);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        reference[i] = sinf((float)i);
        value[i] = sinf((float)i * 1.01f);
        wide[i / COLUMNS * 5 + i % COLUMNS] = reference[i];
        wider[i / COLUMNS * 7 + i % COLUMNS] = value[i];
    }
    dynq_metrics one = {0}, strided = {0}, several = {0};
    dynq_metrics_add(&one, ROWS, COLUMNS, reference, 0, value, 0);
    dynq_metrics_add(&strided, ROWS, COLUMNS, wide, 5, wider, 7);
    for (size_t r = 0; r < ROWS; r++) {
        const size_t at = r * COLUMNS;
        dynq_metrics_add(&several, 1, COLUMNS, reference + at, 0, value + at, COLUMNS);
    }
    cr_assert_eq(memcmp(&one, &strided, sizeof one), 0);
    cr_assert_eq(memcmp(&one, &several, sizeof one), 0);
}

/* The golden file; compare.py beside it describes the format. */
static void read_floats(FILE *file, float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        cr_assert_eq(fscanf(file, "%" SCNx32, &bits), 1);
        memcpy(&values[i], &bits, sizeof bits);
    }
}

static void check_measure(FILE *file, const char *name, size_t number, double measure)
{
    double expected = 0.0;
    cr_assert_eq(fscanf(file, "%lf", &expected), 1);
    const bool same = (isnan(expected) && isnan(measure)) || measure == expected ||
                      fabs(measure - expected) <= 1e-12 * fabs(expected);
    cr_assert(same, "case %zu, %s: %.17g, numpy has %.17g", number, name, measure, expected);
}

Test(compare, golden)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/compare.txt", "r");
    cr_assert(file != NULL);
    size_t cases = 0, rows = 0, columns = 0;
    while (fscanf(file, " case %zu %zu", &rows, &columns) == 2) {
        float reference[LARGEST], value[LARGEST];
        cr_assert_leq(rows * columns, LARGEST);
        read_floats(file, reference, rows * columns);
        read_floats(file, value, rows * columns);
        dynq_metrics metrics = {0};
        dynq_metrics_add(&metrics, rows, columns, reference, 0, value, 0);
        const dynq_metrics_summary s = dynq_metrics_result(&metrics);
        check_measure(file, "sqnr_db", cases, s.sqnr_db);
        check_measure(file, "cosine_mean", cases, s.cosine_mean);
        check_measure(file, "cosine_min", cases, s.cosine_min);
        check_measure(file, "max_abs_error", cases, s.max_abs_error);
        check_measure(file, "mean_abs_error", cases, s.mean_abs_error);
        check_measure(file, "mean_abs_pct_error", cases, s.mean_abs_pct_error);
        check_measure(file, "top1_agreement", cases, s.top1_agreement);
        cases++;
    }
    fclose(file);
    cr_assert_eq(cases, 8);
}
