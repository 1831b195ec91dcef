#include <dynq/compare.h>

#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 64 /* elements of the matrices in the golden file */

/* All measures: the values are class scores as well. */
static void add_all(dynq_metrics *metrics, size_t rows, size_t columns, const float *reference,
                    size_t reference_stride, const float *value, size_t value_stride)
{
    dynq_metrics_add(metrics, rows, columns, reference, reference_stride, value, value_stride);
    dynq_metrics_add_classes(metrics, DYNQ_SCORES_LOGITS, rows, columns, reference,
                             reference_stride, value, value_stride);
}

Test(compare, nothing_added)
{
    dynq_metrics metrics = {0};
    const float x = 1.0f;
    add_all(&metrics, 0, 4, &x, 0, &x, 0);
    add_all(&metrics, 4, 0, &x, 0, &x, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    cr_assert(isnan(s.sqnr_db) && isnan(s.cosine_mean) && isnan(s.cosine_min));
    cr_assert(isnan(s.mean_abs_error) && isnan(s.mean_abs_pct_error) && isnan(s.top1_agreement));
    cr_assert(isnan(s.divergence_mean) && isnan(s.divergence_max));
    cr_assert(s.max_abs_error == 0.0 && s.max_abs_row == 0 && s.max_abs_column == 0);
}

Test(compare, by_hand)
{
    const float reference[] = {3.0f, 4.0f, 0.0f, 0.0f, 1.0f, 2.0f};
    const float value[] = {4.0f, 3.0f, 0.0f, 1.0f, 1.0f, 4.0f};
    dynq_metrics metrics = {0};
    add_all(&metrics, 3, 2, reference, 0, value, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    const double second = 9.0 / sqrt(5.0 * 17.0);
    cr_assert_float_eq(s.sqnr_db, 10.0 * log10(30.0 / 7.0), 1e-12);
    cr_assert_float_eq(s.cosine_mean, (0.96 + second) / 2.0, 1e-15);
    cr_assert_float_eq(s.cosine_min, 0.96, 1e-15);
    cr_assert_eq(s.max_abs_error, 2.0);
    cr_assert_float_eq(s.mean_abs_error, 5.0 / 6.0, 1e-15);
    cr_assert_float_eq(s.mean_abs_pct_error, 100.0 * (1.0 / 3.0 + 0.25 + 0.0 + 1.0) / 4.0, 1e-12);
    cr_assert_float_eq(s.top1_agreement, 1.0 / 3.0, 1e-15);
    cr_assert(s.max_abs_row == 2 && s.max_abs_column == 1);
}

Test(compare, the_first_of_equal_errors_is_where_the_largest_is)
{
    const float reference[] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    const float value[] = {0.0f, 1.0f, 0.0f, -2.0f, 2.0f, 2.0f};
    dynq_metrics metrics = {0};
    for (size_t call = 0; call < 3; call++) {
        add_all(&metrics, 1, 6, reference, 0, reference, 0);
        add_all(&metrics, 2, 3, reference, 0, value, 0);
    }
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    cr_assert(s.max_abs_error == 2.0 && s.max_abs_row == 2 && s.max_abs_column == 0);
}

Test(compare, divergence_by_hand)
{
    const float p[] = {0.5f, 0.25f, 0.25f}, q[] = {0.25f, 0.25f, 0.5f};
    const float p_logits[] = {88.0f, 88.0f - logf(2.0f), 88.0f - logf(2.0f)};
    const float q_logits[] = {-700.0f, -700.0f, -700.0f + logf(2.0f)};
    const double expected = 0.25 * log(2.0);
    dynq_metrics probabilities = {0}, logits = {0};
    dynq_metrics_add_classes(&probabilities, DYNQ_SCORES_PROBABILITIES, 1, 3, p, 0, q, 0);
    dynq_metrics_add_classes(&probabilities, DYNQ_SCORES_PROBABILITIES, 1, 3, p, 0, p, 0);
    dynq_metrics_add_classes(&logits, DYNQ_SCORES_LOGITS, 1, 3, p_logits, 0, q_logits, 0);
    const dynq_metrics_summary of_probabilities = dynq_metrics_result(&probabilities);
    cr_assert_float_eq(of_probabilities.divergence_max, expected, 1e-15);
    cr_assert_float_eq(of_probabilities.divergence_mean, expected / 2.0, 1e-15);
    cr_assert_eq(of_probabilities.top1_agreement, 0.5);
    cr_assert_float_eq(dynq_metrics_result(&logits).divergence_mean, expected, 1e-5);
    cr_assert(isnan(of_probabilities.sqnr_db) && probabilities.rows == 0);
}

Test(compare, divergence_of_a_class_ruled_out_is_finite)
{
    const float p[] = {0.5f, 0.5f}, q[] = {1.0f, 0.0f};
    dynq_metrics metrics = {0}, far = {0};
    dynq_metrics_add_classes(&metrics, DYNQ_SCORES_PROBABILITIES, 1, 2, p, 0, q, 0);
    cr_assert_float_eq(dynq_metrics_result(&metrics).divergence_max,
                       0.5 * log(0.5) + 0.5 * (log(0.5) - log((double)FLT_MIN)), 1e-12);
    const float a[] = {FLT_MAX, -FLT_MAX}, b[] = {-FLT_MAX, FLT_MAX};
    dynq_metrics_add_classes(&far, DYNQ_SCORES_LOGITS, 1, 2, a, 0, b, 0);
    cr_assert_eq(dynq_metrics_result(&far).divergence_max, 2.0 * (double)FLT_MAX);
}

Test(compare, the_first_of_equal_elements_is_the_largest)
{
    const float reference[] = {5.0f, 5.0f, 1.0f}, first[] = {2.0f, 1.0f, 2.0f},
                second[] = {1.0f, 2.0f, 2.0f};
    dynq_metrics same = {0}, other = {0};
    add_all(&same, 1, 3, reference, 0, first, 0);
    add_all(&other, 1, 3, reference, 0, second, 0);
    cr_assert_eq(dynq_metrics_result(&same).top1_agreement, 1.0);
    cr_assert_eq(dynq_metrics_result(&other).top1_agreement, 0.0);
}

Test(compare, a_row_with_itself_has_cosine_1_and_no_noise)
{
    const float x[] = {0.1f, -0.3f, 0.7f, 1e-20f, 123.0f, FLT_MAX, 1e-45f, 1e-45f, 1e-45f};
    dynq_metrics metrics = {0};
    add_all(&metrics, 3, 3, x, 0, x, 0);
    const dynq_metrics_summary s = dynq_metrics_result(&metrics);
    cr_assert(s.cosine_mean == 1.0 && s.cosine_min == 1.0 && s.top1_agreement == 1.0);
    cr_assert(isinf(s.sqnr_db) && s.sqnr_db > 0.0 && s.max_abs_error == 0.0);
    cr_assert(s.mean_abs_error == 0.0 && s.mean_abs_pct_error == 0.0);
}

Test(compare, the_smallest_cosine_may_be_negative_or_come_first)
{
    const float reference[] = {1.0f, 0.0f, 1.0f, 0.0f}, value[] = {-1.0f, 0.0f, 1.0f, 0.0f};
    dynq_metrics metrics = {0};
    add_all(&metrics, 2, 2, reference, 0, value, 0);
    cr_assert_eq(dynq_metrics_result(&metrics).cosine_min, -1.0);
    cr_assert_eq(dynq_metrics_result(&metrics).cosine_mean, 0.0);
    dynq_metrics positive = {0};
    add_all(&positive, 1, 2, reference + 2, 0, value + 2, 0);
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
    add_all(&one, ROWS, COLUMNS, reference, 0, value, 0);
    add_all(&strided, ROWS, COLUMNS, wide, 5, wider, 7);
    for (size_t r = 0; r < ROWS; r++) {
        const size_t at = r * COLUMNS;
        add_all(&several, 1, COLUMNS, reference + at, 0, value + at, COLUMNS);
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
        add_all(&metrics, rows, columns, reference, 0, value, 0);
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
