#include <dynq/quantizer.h>

#include <criterion/criterion.h>
#include <fenv.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LARGEST      64 /* elements of the matrices here */

static dynq_quantizer make(dynq_mapping mapping, unsigned bits)
{
    return (dynq_quantizer){.mapping = mapping, .granularity = DYNQ_PER_TENSOR, .bits = bits};
}

typedef struct result {
    dynq_quant_params params;
    int16_t q[LARGEST];
    float restored[LARGEST];
} result;

/* One row through all three calls, with one set of parameters. */
static result round_trip(dynq_quantizer quantizer, const float *x, size_t count)
{
    result r = {0};
    cr_assert_eq(dynq_quantizer_fit(&quantizer, x, 1, count, &r.params, 1, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantizer_quantize(&quantizer, &r.params, x, 1, count, r.q, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantizer_dequantize(&quantizer, &r.params, r.q, 1, count, r.restored, NULL),
                 DYNQ_OK);
    return r;
}

static void check_near(const float *values, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert_lt(fabsf(values[i] - expected[i]), 0.00005f, "element %zu: %.6f, expected %.4f",
                     i, (double)values[i], (double)expected[i]);
    }
}

Test(quantizer, worked_example_min_max)
{
    const float x[] = {-10.0f, -5.0f, 0.0f, 5.0f, 10.0f};
    const int16_t codes[] = {-127, -64, 0, 64, 127};
    const float back[] = {-9.9608f, -5.0196f, 0.0f, 5.0196f, 9.9608f};
    const float absolute[] = {0.0392f, 0.0196f, 0.0f, 0.0196f, 0.0392f};
    const float percentage[] = {0.3922f, 0.3922f, 0.0f, 0.3922f, 0.3922f};
    const result r = round_trip(make(DYNQ_MAPPING_MINMAX, 8), x, COUNT(x));
    float errors[COUNT(x)];
    cr_assert_eq(r.params.scale, (float)(20.0 / 255.0));
    cr_assert_eq(memcmp(r.q, codes, sizeof codes), 0);
    check_near(r.restored, back, COUNT(x));
    dynq_absolute_error(x, r.restored, COUNT(x), errors);
    check_near(errors, absolute, COUNT(x));
    dynq_percentage_error(x, r.restored, COUNT(x), errors);
    check_near(errors, percentage, COUNT(x));
}

Test(quantizer, worked_example_symmetric)
{
    const float x[] = {-2.3f, -1.1f, 0.0f, 1.5f, 2.8f, 4.0f};
    const int16_t codes[] = {-73, -35, 0, 48, 89, 127};
    const result r = round_trip(make(DYNQ_MAPPING_SYMMETRIC, 8), x, COUNT(x));
    cr_assert_eq(r.params.factor, 31.75f);
    cr_assert_eq(r.params.zero, 0);
    cr_assert_eq(memcmp(r.q, codes, sizeof codes), 0);
    cr_assert_eq(r.restored[5], 4.0f);
}

Test(quantizer, worked_example_affine)
{
    /* S = (3 - -1) / 255, Z = round(-128 - -1 / S) = round(-128 + 63.75) */
    const float x[] = {-1.0f, 0.0f, 1.0f, 3.0f};
    const int16_t codes[] = {-128, -64, 0, 127};
    const result r = round_trip(make(DYNQ_MAPPING_AFFINE, 8), x, COUNT(x));
    cr_assert_eq(r.params.scale, (float)(4.0 / 255.0));
    cr_assert_eq(r.params.zero, -64);
    cr_assert_eq(memcmp(r.q, codes, sizeof codes), 0);
    cr_assert_eq(r.restored[1], 0.0f);
}

Test(quantizer, affine_range_always_holds_zero)
{
    const float positive[] = {2.0f, 5.1f}, negative[] = {-5.1f, -2.0f};
    const result high = round_trip(make(DYNQ_MAPPING_AFFINE, 8), positive, 2);
    const result low = round_trip(make(DYNQ_MAPPING_AFFINE, 8), negative, 2);
    cr_assert(high.params.zero == -128 && high.q[0] == -28 && high.q[1] == 127);
    cr_assert(low.params.zero == 127 && low.q[0] == -128 && low.q[1] == 27);
}

Test(quantizer, values_outside_the_range_are_clamped)
{
    static const int16_t limits[][2] = {{-128, 127}, {-127, 127}, {-128, 127}};
    const float fit[] = {-1.0f, 1.0f}, x[] = {-1000.0f, 1000.0f, -FLT_MAX, FLT_MAX};
    for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping++) {
        const dynq_quantizer quantizer = make((dynq_mapping)mapping, 8);
        dynq_quant_params params;
        int16_t q[COUNT(x)];
        cr_assert_eq(dynq_quantizer_fit(&quantizer, fit, 1, 2, &params, 1, NULL), DYNQ_OK);
        cr_assert_eq(dynq_quantizer_quantize(&quantizer, &params, x, 1, COUNT(x), q, NULL),
                     DYNQ_OK);
        for (size_t i = 0; i < COUNT(x); i++) {
            cr_assert_eq(q[i], limits[mapping - 1][i % 2], "mapping %d, element %zu", mapping, i);
        }
    }
}

Test(quantizer, empty_input_has_no_sets)
{
    const dynq_quantizer quantizer = make(DYNQ_MAPPING_AFFINE, 8);
    cr_assert_eq(dynq_quantizer_sets(&quantizer, 0, 5), 0);
    cr_assert_eq(dynq_quantizer_sets(&quantizer, 5, 0), 0);
    cr_assert_eq(dynq_quantizer_fit(&quantizer, NULL, 0, 5, NULL, 0, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantizer_quantize(&quantizer, NULL, NULL, 5, 0, NULL, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantizer_dequantize(&quantizer, NULL, NULL, 0, 0, NULL, NULL), DYNQ_OK);
}

static void check_no_range(const result *r, size_t count, int16_t code)
{
    cr_assert(r->params.scale == 1.0f && r->params.factor == 1.0f && r->params.zero == 0);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(r->q[i], code);
        cr_assert_eq(r->restored[i], (float)code);
    }
}

Test(quantizer, all_zero_and_subnormal_input_becomes_zero)
{
    const float zeros[] = {0.0f, -0.0f, 0.0f}, subnormal[] = {1e-45f, -1e-40f, 1e-39f};
    for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping++) {
        const result zero = round_trip(make((dynq_mapping)mapping, 8), zeros, 3);
        const result tiny = round_trip(make((dynq_mapping)mapping, 8), subnormal, 3);
        check_no_range(&zero, 3, 0);
        check_no_range(&tiny, 3, 0);
    }
}

Test(quantizer, a_scale_of_flt_min_is_the_smallest)
{
    const float range = 255.0f * FLT_MIN, below = nextafterf(range, 0.0f);
    const float good[] = {0.0f, range}, bad[] = {0.0f, below};
    for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping += 2) {
        const result usable = round_trip(make((dynq_mapping)mapping, 8), good, 2);
        const result degenerate = round_trip(make((dynq_mapping)mapping, 8), bad, 2);
        cr_assert(usable.params.scale == FLT_MIN && usable.params.factor == 1.0f / FLT_MIN);
        cr_assert_eq(usable.q[1], 127);
        check_no_range(&degenerate, 2, 0);
    }
    const float peak[] = {127.0f * FLT_MIN}, less[] = {nextafterf(127.0f * FLT_MIN, 0.0f)};
    const result usable = round_trip(make(DYNQ_MAPPING_SYMMETRIC, 8), peak, 1);
    const result degenerate = round_trip(make(DYNQ_MAPPING_SYMMETRIC, 8), less, 1);
    cr_assert(usable.q[0] == 127 && usable.restored[0] == peak[0]);
    check_no_range(&degenerate, 1, 0);
}

Test(quantizer, constant_input)
{
    const float x[] = {3.5f, 3.5f, 3.5f}, far[] = {-1000.0f, -1000.0f};
    const result minmax = round_trip(make(DYNQ_MAPPING_MINMAX, 8), x, 3);
    const result clamped = round_trip(make(DYNQ_MAPPING_MINMAX, 8), far, 2);
    const result symmetric = round_trip(make(DYNQ_MAPPING_SYMMETRIC, 8), far, 2);
    const result affine = round_trip(make(DYNQ_MAPPING_AFFINE, 8), x, 3);
    check_no_range(&minmax, 3, 4);
    check_no_range(&clamped, 2, -128);
    cr_assert_eq(symmetric.q[0], -127);
    cr_assert_lt(fabsf(symmetric.restored[1] + 1000.0f), 1e-3f);
    cr_assert(affine.params.zero == -128 && affine.q[2] == 127);
    cr_assert_lt(fabsf(affine.restored[2] - 3.5f), 1e-6f);
}

Test(quantizer, one_element)
{
    const float x[] = {-2.5f};
    const result minmax = round_trip(make(DYNQ_MAPPING_MINMAX, 4), x, 1);
    const result symmetric = round_trip(make(DYNQ_MAPPING_SYMMETRIC, 4), x, 1);
    const result affine = round_trip(make(DYNQ_MAPPING_AFFINE, 4), x, 1);
    check_no_range(&minmax, 1, -2);
    cr_assert(symmetric.q[0] == -7 && symmetric.restored[0] == -2.5f);
    cr_assert(affine.params.zero == 7 && affine.q[0] == -8);
    cr_assert_lt(fabsf(affine.restored[0] + 2.5f), 1e-6f);
}

Test(quantizer, range_above_flt_max)
{
    static const unsigned widths[] = {2, 3, 4, 5, 6, 7, 8, 16};
    const float x[] = {-FLT_MAX, -0.5f * FLT_MAX, 0.0f, FLT_MAX};
    for (size_t w = 0; w < COUNT(widths); w++) {
        for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping++) {
            const result r = round_trip(make((dynq_mapping)mapping, widths[w]), x, COUNT(x));
            cr_assert(isfinite(r.params.scale) && isfinite(r.params.factor) && r.params.factor > 0);
            for (size_t i = 0; i < COUNT(x); i++) {
                const double error = fabs((double)r.restored[i] - (double)x[i]);
                cr_assert(isfinite(r.restored[i]));
                cr_assert_leq(error, 1.001 * (double)r.params.scale, "%d: %zu", mapping, i);
            }
            cr_assert(r.restored[0] < 0.0f && r.restored[3] > 0.0f);
        }
    }
}

Test(quantizer, restored_values_saturate_at_flt_max)
{
    const dynq_quant_params params = {.scale = FLT_MAX / 2.0f, .factor = 2.0f / FLT_MAX};
    const int16_t q[] = {-32768, -3, 2, 3, 32767};
    for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping++) {
        const dynq_quantizer quantizer = make((dynq_mapping)mapping, 16);
        float x[COUNT(q)];
        cr_assert_eq(dynq_quantizer_dequantize(&quantizer, &params, q, 1, COUNT(q), x, NULL),
                     DYNQ_OK);
        cr_assert(x[0] == -FLT_MAX && x[1] == -FLT_MAX && x[3] == FLT_MAX && x[4] == FLT_MAX);
    }
}

Test(quantizer, nan_and_inf_are_named_and_nothing_is_written)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const dynq_quantizer quantizer = make(DYNQ_MAPPING_MINMAX, 8);
    for (size_t i = 0; i < COUNT(bad); i++) {
        const float x[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, bad[i]};
        const dynq_quant_params untouched = {7.0f, 8.0f, 9};
        dynq_quant_params params = untouched;
        int16_t q[COUNT(x)] = {11};
        dynq_error error = {0};
        cr_assert_eq(dynq_quantizer_fit(&quantizer, x, 2, 3, &params, 1, &error),
                     DYNQ_ERR_NOT_FINITE);
        cr_assert(strstr(error.message, "row 1, column 2") != NULL, "%s", error.message);
        cr_assert(strstr(error.message, i == 0 ? "NaN" : "Inf") != NULL, "%s", error.message);
        cr_assert_eq(memcmp(&params, &untouched, sizeof params), 0);
        cr_assert_eq(dynq_quantizer_quantize(&quantizer, &params, x, 2, 3, q, &error),
                     DYNQ_ERR_NOT_FINITE);
        cr_assert_eq(q[0], 11);
    }
}

Test(quantizer, parameters_that_no_fit_made_are_harmless)
{
    static const dynq_quant_params odd[] = {
        {0.0f, 0.0f, 0},           {NAN, NAN, INT32_MAX}, {INFINITY, INFINITY, INT32_MIN},
        {-1.0f, -1.0f, INT32_MAX}, {1e-45f, 1e38f, 5},
    };
    const float x[] = {0.0f, 1.0f, -FLT_MAX};
    for (size_t i = 0; i < COUNT(odd); i++) {
        for (int mapping = DYNQ_MAPPING_MINMAX; mapping <= DYNQ_MAPPING_AFFINE; mapping++) {
            const dynq_quantizer quantizer = make((dynq_mapping)mapping, 4);
            int16_t q[COUNT(x)];
            float back[COUNT(x)];
            dynq_quantizer_quantize(&quantizer, &odd[i], x, 1, COUNT(x), q, NULL);
            for (size_t j = 0; j < COUNT(x); j++) {
                cr_assert(q[j] >= -8 && q[j] <= 7);
            }
            dynq_quantizer_dequantize(&quantizer, &odd[i], q, 1, COUNT(x), back, NULL);
        }
    }
}

Test(quantizer, wrong_arguments)
{
    const float x[] = {1.0f, 2.0f};
    const dynq_quantizer wrong[] = {
        {DYNQ_MAPPING_MINMAX, DYNQ_PER_TENSOR, 1, 0},
        {DYNQ_MAPPING_MINMAX, DYNQ_PER_TENSOR, 9, 0},
        {DYNQ_MAPPING_MINMAX, DYNQ_PER_TENSOR, 17, 0},
        {DYNQ_MAPPING_MINMAX, DYNQ_PER_TENSOR, 0, 0},
        {(dynq_mapping)0, DYNQ_PER_TENSOR, 8, 0},
        {(dynq_mapping)4, DYNQ_PER_TENSOR, 8, 0},
        {DYNQ_MAPPING_MINMAX, (dynq_granularity)0, 8, 0},
        {DYNQ_MAPPING_MINMAX, (dynq_granularity)6, 8, 0},
        {DYNQ_MAPPING_MINMAX, DYNQ_PER_GROUP, 8, 0},
    };
    dynq_quant_params params[2];
    for (size_t i = 0; i < COUNT(wrong); i++) {
        cr_assert_eq(dynq_quantizer_fit(&wrong[i], x, 1, 2, params, 2, NULL), DYNQ_ERR_ARGUMENT,
                     "case %zu", i);
        cr_assert_eq(dynq_quantizer_sets(&wrong[i], 1, 2), 0);
    }
    dynq_quantizer quantizer = make(DYNQ_MAPPING_MINMAX, 8);
    cr_assert_eq(dynq_quantizer_fit(NULL, x, 1, 2, params, 2, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_quantizer_fit(&quantizer, NULL, 1, 2, params, 2, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_quantizer_fit(&quantizer, x, SIZE_MAX, 2, params, 2, NULL),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_quantizer_sets(&quantizer, SIZE_MAX, 2), 0);
    quantizer.granularity = DYNQ_PER_COLUMN;
    cr_assert_eq(dynq_quantizer_fit(&quantizer, x, 1, 2, params, 1, NULL), DYNQ_ERR_LIMIT);
}

Test(quantizer, groups_of_any_size)
{
    dynq_quantizer quantizer = make(DYNQ_MAPPING_SYMMETRIC, 8);
    quantizer.granularity = DYNQ_PER_GROUP;
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const float last[][4] = {{1, 2, 3, 4}, {2, 4, 5, 7}, {3, 5, 8, 10}};
    for (size_t size = 1; size <= 3; size++) {
        dynq_quant_params params[10];
        quantizer.group_size = size;
        const size_t sets = dynq_quantizer_sets(&quantizer, 2, 5);
        cr_assert_eq(sets, 2 * ((5 + size - 1) / size));
        cr_assert_eq(dynq_quantizer_fit(&quantizer, x, 2, 5, params, 10, NULL), DYNQ_OK);
        for (size_t i = 0; i < (sets < 4 ? sets : 4); i++) {
            cr_assert_eq(params[i].factor, 127.0f / last[size - 1][i], "size %zu, %zu", size, i);
        }
    }
    quantizer.group_size = SIZE_MAX;
    cr_assert_eq(dynq_quantizer_sets(&quantizer, 2, 5), 2);
}

Test(quantizer, the_callers_rounding_mode_does_not_matter)
{
    const float x[] = {-0.7f, 0.1f, 0.33f, 0.9f};
    const result nearest = round_trip(make(DYNQ_MAPPING_AFFINE, 8), x, COUNT(x));
    cr_assert_eq(fesetround(FE_UPWARD), 0);
    const result upward = round_trip(make(DYNQ_MAPPING_AFFINE, 8), x, COUNT(x));
    const int mode = fegetround();
    fesetround(FE_TONEAREST);
    cr_assert_eq(mode, FE_UPWARD);
    cr_assert_eq(memcmp(&nearest, &upward, sizeof nearest), 0);
}

Test(quantizer, errors_at_zero_and_at_the_limits)
{
    const float x[] = {0.0f, 0.0f, -2.0f, FLT_MAX, 1e-45f};
    const float restored[] = {0.0f, 1.0f, -3.0f, -FLT_MAX, 1.0f};
    float errors[COUNT(x)];
    dynq_absolute_error(x, restored, COUNT(x), errors);
    cr_assert(errors[0] == 0.0f && errors[1] == 1.0f && errors[2] == 1.0f && isinf(errors[3]));
    dynq_percentage_error(x, restored, COUNT(x), errors);
    cr_assert(errors[0] == 0.0f && isnan(errors[1]) && errors[2] == 50.0f);
    cr_assert(errors[3] == 200.0f && isinf(errors[4]));
}

/* The golden file; quantizer.py beside it describes the format. */
static float read_float(FILE *file)
{
    uint32_t bits = 0;
    float value = 0.0f;
    cr_assert_eq(fscanf(file, "%" SCNx32, &bits), 1);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void expect_word(FILE *file, const char *word)
{
    char text[16] = {0};
    cr_assert_eq(fscanf(file, "%15s", text), 1);
    cr_assert_str_eq(text, word);
}

typedef struct matrix {
    size_t rows, columns;
    float x[LARGEST];
} matrix;

static void read_matrix(FILE *file, matrix *m)
{
    cr_assert_eq(fscanf(file, "%zu %zu", &m->rows, &m->columns), 2);
    cr_assert_leq(m->rows * m->columns, LARGEST);
    for (size_t i = 0; i < m->rows * m->columns; i++) {
        m->x[i] = read_float(file);
    }
}

static void check_case(FILE *file, const dynq_quantizer *quantizer, const matrix *m, size_t sets)
{
    const size_t elements = m->rows * m->columns;
    dynq_quant_params params[LARGEST];
    int16_t q[LARGEST];
    float restored[LARGEST];
    cr_assert_eq(dynq_quantizer_sets(quantizer, m->rows, m->columns), sets);
    cr_assert_eq(dynq_quantizer_fit(quantizer, m->x, m->rows, m->columns, params, LARGEST, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_quantizer_quantize(quantizer, params, m->x, m->rows, m->columns, q, NULL),
                 DYNQ_OK);
    cr_assert_eq(
        dynq_quantizer_dequantize(quantizer, params, q, m->rows, m->columns, restored, NULL),
        DYNQ_OK);
    const int mapping = (int)quantizer->mapping, granularity = (int)quantizer->granularity;
    expect_word(file, "params");
    for (size_t i = 0; i < sets; i++) {
        const float scale = read_float(file), factor = read_float(file);
        int zero = 0;
        cr_assert_eq(fscanf(file, "%d", &zero), 1);
        cr_assert(params[i].scale == scale && params[i].factor == factor && params[i].zero == zero,
                  "mapping %d, granularity %d, %u bits: set %zu", mapping, granularity,
                  quantizer->bits, i);
    }
    expect_word(file, "codes");
    for (size_t i = 0; i < elements; i++) {
        int code = 0;
        cr_assert_eq(fscanf(file, "%d", &code), 1);
        cr_assert_eq(q[i], code, "mapping %d, granularity %d, %u bits: code %zu", mapping,
                     granularity, quantizer->bits, i);
    }
    expect_word(file, "restored");
    for (size_t i = 0; i < elements; i++) {
        cr_assert_eq(restored[i], read_float(file), "mapping %d, granularity %d, %u bits: %zu",
                     mapping, granularity, quantizer->bits, i);
    }
}

Test(quantizer, golden)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/quantizer.txt", "r");
    cr_assert(file != NULL);
    matrix inputs[4];
    for (size_t i = 0; i < COUNT(inputs); i++) {
        expect_word(file, "input");
        read_matrix(file, &inputs[i]);
    }
    char word[16];
    size_t cases = 0;
    while (fscanf(file, "%15s", word) == 1) {
        size_t input = 0, group = 0, sets = 0;
        unsigned mapping = 0, granularity = 0, bits = 0;
        cr_assert_str_eq(word, "case");
        cr_assert_eq(fscanf(file, "%zu %u %u %u %zu %zu", &input, &mapping, &granularity, &bits,
                            &group, &sets),
                     6);
        cr_assert_lt(input, COUNT(inputs));
        const dynq_quantizer quantizer = {(dynq_mapping)mapping, (dynq_granularity)granularity,
                                          bits, group};
        check_case(file, &quantizer, &inputs[input], sets);
        cases++;
    }
    fclose(file);
    cr_assert_eq(cases, 3 * 5 * 8);
}
