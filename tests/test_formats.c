/* What `dynq formats` measures, against numpy (golden/formats_table.py). */
#include "tools/formats.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 24, COLUMNS = 70 };

static uint64_t hashed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* As tensor() of golden/formats_table.py. */
static void make(double *x)
{
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        const int row = (int)(i / COLUMNS);
        x[i] = ldexp((double)(hashed(i) >> 11) * 0x1p-53 - 0.5, -(row % 9));
        x[i] = row == 5 ? 0 : x[i];
    }
    x[7 * COLUMNS + 3] = 3.75;
}

static void check_close(double got, double expected, const char *what)
{
    cr_assert(got == expected || fabs(got - expected) <= 1e-8 * fabs(expected),
              "%s: %.12g, not %.12g", what, got, expected);
}

Test(formats, golden)
{
    static double x[ROWS * COLUMNS];
    formats_report tensor = {.name = NULL};
    make(x);
    formats_measure(x, ROWS, COLUMNS, &tensor);
    cr_assert_eq(tensor.values, ROWS * COLUMNS);
    cr_assert_eq(tensor.zeros, COLUMNS);
    cr_assert_eq(tensor.max, 3.75);
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/formats_table.txt", "r");
    cr_assert_not_null(file);
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        const formats_result *result = &tensor.results[kind];
        const char *scaling = formats_scaling_name(formats_kinds[kind].scaling);
        char name[16], how[16];
        double sqnr = 0, cosine = 0, error = 0, least = 0, largest = 0;
        unsigned long long bytes = 0;
        cr_assert_eq(fscanf(file, "%15s %15s %lf %lf %lf %lf %lf %llu", name, how, &sqnr, &cosine,
                            &error, &least, &largest, &bytes),
                     8);
        cr_assert_str_eq(name, dynq_format_name(formats_kinds[kind].format));
        cr_assert_str_eq(how, scaling[0] == '\0' ? "-" : scaling);
        cr_assert_eq(formats_kind_number(formats_kinds[kind]), kind);
        check_close(formats_sqnr(result), sqnr, name);
        check_close(formats_cosine(result), cosine, name);
        check_close(result->largest_error, error, name);
        check_close(result->least_scale, least, name);
        check_close(result->largest_scale, largest, name);
        cr_assert_eq(result->bytes, bytes);
        cr_assert(result->overflowed == 0);
    }
    fclose(file);
}

Test(formats, limits)
{
    const formats_limits single = formats_limits_of(DYNQ_FORMAT_FP32);
    cr_assert(single.largest == (double)FLT_MAX && single.least_normal == (double)FLT_MIN &&
              single.least == 0x1p-149 && single.epsilon == (double)FLT_EPSILON);
    const formats_limits wide = formats_limits_of(DYNQ_FORMAT_FP64);
    cr_assert(wide.largest == DBL_MAX && wide.least_normal == DBL_MIN && wide.least == 0x1p-1074 &&
              wide.epsilon == DBL_EPSILON);
    const formats_limits half = formats_limits_of(DYNQ_FORMAT_FP16);
    cr_assert(half.largest == 65504 && half.least_normal == 0x1p-14 && half.least == 0x1p-24);
    const formats_limits brain = formats_limits_of(DYNQ_FORMAT_BF16);
    cr_assert(brain.largest == 0x1.fep127 && brain.least == 0x1p-133 && brain.epsilon == 0x1p-7);
    cr_assert_eq(formats_limits_of(DYNQ_FORMAT_INT16).largest, 32767);
    cr_assert_eq(formats_limits_of(DYNQ_FORMAT_INT2).largest, 1);
    cr_assert_eq(formats_step_at(DYNQ_FORMAT_FP16, 1), 0x1p-10);
    cr_assert_eq(formats_step_at(DYNQ_FORMAT_FP16, 0x1.8p-20), 0x1p-24);
    cr_assert_eq(formats_step_at(DYNQ_FORMAT_BF16, 0.75), 0x1p-8);
}

/* What FP16 cannot hold, and tensors without anything to lose. */
Test(formats, extremes)
{
    const double x[] = {1e6, -1, 1e-9, 0};
    formats_report tensor = {.name = NULL}, all = {.name = NULL};
    formats_measure(x, 1, 4, &tensor);
    const formats_result *half = &tensor.results[formats_first_kind(DYNQ_FORMAT_FP16)];
    cr_assert(half->overflowed == 1 && half->vanished == 1);
    cr_assert(formats_sqnr(half) == -INFINITY && isnan(formats_cosine(half)));
    cr_assert_eq(formats_sqnr(&tensor.results[0]), INFINITY);
    formats_add(&all, &tensor);
    const double zeros[] = {0, 0};
    formats_measure(zeros, 2, 1, &tensor);
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        cr_assert(isnan(formats_sqnr(&tensor.results[kind])));
        cr_assert(isnan(formats_cosine(&tensor.results[kind])));
    }
    const double least = all.results[5].least_scale;
    formats_add(&all, &tensor);
    cr_assert(all.values == 6 && all.zeros == 3 && all.max == 1e6 && all.min == -1);
    cr_assert_eq(all.results[5].least_scale, least);
    const double huge[] = {DBL_MAX, 1e300, 0x1p-1074};
    formats_measure(huge, 1, 3, &tensor);
    cr_assert_eq(tensor.results[formats_first_kind(DYNQ_FORMAT_FP32)].overflowed, 2);
}
