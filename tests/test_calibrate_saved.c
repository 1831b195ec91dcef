/* What was saved and opened again is what was seen. */
#include <dynq/calibration.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct place {
    char directory[64], path[96];
} place;

static place make_place(void)
{
    place p;
    samples_directory(p.directory);
    snprintf(p.path, sizeof p.path, "%s/calibration.json", p.directory);
    return p;
}

static dynq_calibration *create(void)
{
    dynq_model *model = samples_fp32(NULL);
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    dynq_model_free(model);
    return calibration;
}

static void observe(dynq_calibration *calibration, const char *value, float min, float max)
{
    float x[18];
    const size_t columns = strcmp(value, "x") == 0 ? 5 : 18;
    for (size_t i = 0; i < columns; i++) {
        x[i] = i % 2 == 0 ? min : max;
    }
    cr_assert_eq(dynq_calibration_observe(calibration, value, 1, columns, x, 0, NULL), DYNQ_OK);
}

Test(calibrate_saved, every_float_comes_back_exactly)
{
    static const float ranges[][2] = {
        {-0.1f, 0.1f},
        {-FLT_MAX, FLT_MAX},
        {1e-45f, 1e-44f},
        {-FLT_MIN, FLT_EPSILON},
        {0.0f, 0.0f},
        {-3.0f, 16777217.0f},
        {1.0f, 1.00000012f},
        {0.3f, 0.300000012f},
        {-123456.789f, -0.000123456789f},
        {8.5899346e9f, 8.5899356e9f},
    };
    const place p = make_place();
    for (size_t i = 0; i < COUNT(ranges); i++) {
        dynq_calibration *calibration = create(), *opened = NULL;
        observe(calibration, "x", ranges[i][0], ranges[i][1]);
        observe(calibration, "x", ranges[i][0], ranges[i][0]);
        cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, NULL), DYNQ_OK);
        dynq_calibration_entry x = {.size = sizeof x}, act = {.size = sizeof act};
        cr_assert_eq(dynq_calibration_count(opened), 2);
        cr_assert_eq(dynq_calibration_get(opened, 0, &x), DYNQ_OK);
        cr_assert_eq(dynq_calibration_get(opened, 1, &act), DYNQ_OK);
        cr_assert_str_eq(x.value, "x");
        cr_assert_str_eq(act.value, "act");
        cr_assert(x.min == ranges[i][0] && x.max == ranges[i][1], "range %zu", i);
        cr_assert(x.rows == 2 && x.elements == 10 && act.rows == 0 && act.elements == 0);
        dynq_calibration_free(calibration);
        dynq_calibration_free(opened);
    }
    cr_assert_eq(samples_remove(p.directory), 1);
}

Test(calibrate_saved, random_floats_come_back_exactly)
{
    const place p = make_place();
    uint32_t bits = 1;
    for (size_t i = 0; i < 300; i++) {
        float value = 0.0f, lo = 0.0f, hi = 0.0f;
        do {
            bits = bits * 1664525u + 1013904223u;
            memcpy(&value, &bits, sizeof value);
        } while (!isfinite(value));
        dynq_calibration *calibration = create(), *opened = NULL;
        observe(calibration, "act", value, value);
        cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_range(opened, "act", NULL, &lo, &hi, NULL), DYNQ_OK);
        cr_assert_eq(value < 0.0f ? lo : hi, value, "%a", (double)value);
        dynq_calibration_free(calibration);
        dynq_calibration_free(opened);
    }
    samples_remove(p.directory);
}

/* Element i of data that are hard on sums: nearly constant far from 0, at both ends of float, with
 * one outlier. */
static float hard_value(size_t kind, size_t i)
{
    const float noise = (float)(i * 2654435761u % 65536u) / 65536.0f - 0.5f;
    switch (kind) {
    case 0: return 1e8f + (i == 777 ? 8.0f : 0.0f);
    case 1: return -1e8f + 64.0f * noise;
    case 2: return i % 2 == 0 ? FLT_MAX : -FLT_MAX;
    case 3: return i % 3 == 0 ? 1e-45f : 0.0f;
    case 4: return i == 3001 ? 1e30f : noise;
    case 5: return 0.1f;
    case 6: return i % 500 < 490 ? 0.0f : noise;
    default: return noise;
    }
}

/* The checks of what a file says refuse nothing that was ever seen, however rounding went. */
Test(calibrate_saved, whatever_was_seen_comes_back)
{
    enum { KINDS = 8, ROWS = 4000, COLUMNS = 5 };
    const place p = make_place();
    float *x = malloc(ROWS * COLUMNS * sizeof *x);
    for (size_t kind = 0; kind < KINDS; kind++) {
        dynq_calibration *calibration = create(), *opened = NULL;
        dynq_error error = {0};
        for (size_t i = 0; i < ROWS * COLUMNS; i++) {
            x[i] = hard_value(kind, i);
        }
        for (size_t row = 0, rows = 1; row < ROWS; row += rows, rows = rows % 7 + 1) {
            rows = rows < ROWS - row ? rows : ROWS - row;
            cr_assert_eq(dynq_calibration_observe(calibration, "x", rows, COLUMNS,
                                                  x + row * COLUMNS, 0, NULL),
                         DYNQ_OK);
        }
        cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, &error), DYNQ_OK, "%zu: %s", kind,
                     error.message);
        dynq_value_summary s = {.size = sizeof s};
        cr_assert_eq(dynq_calibration_summary(opened, "x", &s), DYNQ_OK);
        cr_assert(!isinf(s.kurtosis) && !isinf(s.outlier_index) && isnan(s.kurtosis) == (kind == 5),
                  "%zu: %g %g", kind, s.kurtosis, s.outlier_index);
        dynq_calibration_free(calibration);
        dynq_calibration_free(opened);
    }
    free(x);
    cr_assert_eq(samples_remove(p.directory), 1);
}
