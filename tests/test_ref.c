/* The reference kernel against numpy (golden/kernels.txt, written by golden/kernels.py).
 * test_ref_math.c has its functions of one float and its edges; the other kernels are compared with
 * this one. */
#include "kernels/ref_math.h"
#include "kernels/table.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { S8_ROWS = 3, S8_K = 70, S8_KPAD = 128, COLUMNS = 19, F32_ROWS = 2, F32_K = 37, PANELS = 2 };

static const char *const activation_names[] = {"none", "relu",    "gelu",
                                               "tanh", "sigmoid", "gelu_tanh"};

/* An entry of the golden file, to be freed. */
static double *golden(const char *name, size_t count)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/kernels.txt", "r");
    cr_assert_not_null(file);
    char entry[64];
    size_t found = 0;
    while (fscanf(file, "%63s %zu", entry, &found) == 2) {
        double *values = malloc(found * sizeof *values);
        for (size_t i = 0; i < found; i++) {
            cr_assert_eq(fscanf(file, "%lf", &values[i]), 1);
        }
        if (strcmp(entry, name) == 0) {
            fclose(file);
            cr_assert_eq(found, count, "%s has %zu values", name, found);
            return values;
        }
        free(values);
    }
    cr_assert_fail("no entry %s", name);
    return NULL;
}

static double *golden_of(const char *prefix, const char *suffix, size_t count)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    return golden(name, count);
}

static float *golden_floats(const char *name, size_t count)
{
    double *values = golden(name, count);
    float *floats = malloc(count * sizeof *floats);
    for (size_t i = 0; i < count; i++) {
        floats[i] = (float)values[i];
    }
    free(values);
    return floats;
}

static int32_t *golden_integers(const char *name, size_t count)
{
    double *values = golden(name, count);
    int32_t *integers = malloc(count * sizeof *integers);
    for (size_t i = 0; i < count; i++) {
        integers[i] = (int32_t)values[i];
    }
    free(values);
    return integers;
}

static void check_codes(const char *name, int32_t qmin)
{
    enum { ROWS = 3, WIDTH = 18, PADDED = 24, STRIDE = 25 };
    char entry[64];
    snprintf(entry, sizeof entry, "%s_x", name);
    float *x = golden_floats(entry, ROWS * WIDTH);
    snprintf(entry, sizeof entry, "%s_inverse", name);
    float *inverse = golden_floats(entry, ROWS);
    snprintf(entry, sizeof entry, "%s_zero", name);
    int32_t *zero = golden_integers(entry, ROWS);
    snprintf(entry, sizeof entry, "%s_codes", name);
    int32_t *codes = golden_integers(entry, ROWS * WIDTH);
    uint8_t q[ROWS * STRIDE];
    memset(q, 0xA5, sizeof q);
    dynq_range_bits range = {0};
    const dynq_quantize_block block = {.rows = ROWS,
                                       .columns = WIDTH,
                                       .padded = PADDED,
                                       .x = x,
                                       .x_stride = WIDTH,
                                       .row_inverse = inverse,
                                       .row_zero = zero,
                                       .row_step = 1,
                                       .qmin = qmin,
                                       .q = q,
                                       .q_stride = STRIDE,
                                       .range = &range};
    dynq_kernel_ref.quantize(&block);
    for (int m = 0; m < ROWS; m++) {
        for (int c = 0; c < STRIDE; c++) {
            const int expected = c < WIDTH ? codes[m * WIDTH + c] : c < PADDED ? zero[m] : 0xA5;
            cr_assert_eq(q[m * STRIDE + c], expected, "%s row %d column %d: %d, not %d", name, m, c,
                         q[m * STRIDE + c], expected);
        }
    }
    cr_assert_eq(dynq_ref_from_bits((uint32_t)range.high), 3e38f);
    cr_assert_eq(dynq_ref_from_bits(range.low), -3e38f);
    free(x);
    free(inverse);
    free(zero);
    free(codes);
}

Test(ref, quantize_gives_the_codes_of_numpy_and_pads_with_the_zero_point)
{
    check_codes("affine", 0);
    check_codes("symmetric", 1);
}

/* The operands of the INT8 case, packed as kernels want them. */
typedef struct s8_case {
    uint8_t q[S8_ROWS * S8_KPAD];
    _Alignas(64) int8_t panels[PANELS * S8_KPAD * 16];
    int32_t *zero, *column_sum;
    float *row_scale, *column_scale, *bias, *residual;
} s8_case;

static s8_case *s8_create(void)
{
    s8_case *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
    memset(s->panels, 0, sizeof s->panels);
    memset(s->q, 77, sizeof s->q); /* padding may be any code */
    int32_t *q = golden_integers("s8_q", S8_ROWS * S8_K);
    int32_t *w = golden_integers("s8_w", COLUMNS * S8_K);
    for (size_t k = 0; k < S8_K; k++) {
        for (size_t m = 0; m < S8_ROWS; m++) {
            s->q[m * S8_KPAD + k] = (uint8_t)q[m * S8_K + k];
        }
        for (size_t n = 0; n < COLUMNS; n++) {
            s->panels[n / 16 * 16 * S8_KPAD + k / 4 * 64 + n % 16 * 4 + k % 4] =
                (int8_t)w[n * S8_K + k];
        }
    }
    free(q);
    free(w);
    s->zero = golden_integers("s8_zero", S8_ROWS);
    s->column_sum = golden_integers("s8_column_sum", COLUMNS);
    s->row_scale = golden_floats("s8_row_scale", S8_ROWS);
    s->column_scale = golden_floats("s8_column_scale", COLUMNS);
    s->bias = golden_floats("s8_bias", COLUMNS);
    s->residual = golden_floats("s8_residual", S8_ROWS * COLUMNS);
    return s;
}

static void s8_free(s8_case *s)
{
    free(s->zero);
    free(s->column_sum);
    free(s->row_scale);
    free(s->column_scale);
    free(s->bias);
    free(s->residual);
    free(s);
}

static dynq_gemm_s8 s8_gemm(const s8_case *s)
{
    return (dynq_gemm_s8){.rows = S8_ROWS,
                          .columns = COLUMNS,
                          .kpad = S8_KPAD,
                          .q = s->q,
                          .q_stride = S8_KPAD,
                          .panels = s->panels,
                          .dequantize = {.column_scale = s->column_scale,
                                         .column_sum = s->column_sum,
                                         .row_scale = s->row_scale,
                                         .row_zero = s->zero,
                                         .row_step = 1},
                          .epilogue = {.bias = s->bias,
                                       .residual = s->residual,
                                       .residual_stride = COLUMNS,
                                       .y_stride = COLUMNS}};
}

/* `relative` counts roundings of v, each 2^-24 of its magnitude (the sum of the absolute terms). No
 * activation grows an error by more than 1.13; its own is below 3e-7 * max(1, |v|); the residual
 * add rounds once more. */
static void check_close(const char *prefix, const char *suffix, const float *y, size_t count,
                        double relative)
{
    double *expected = golden_of(prefix, suffix, count);
    double *magnitude = golden_of(prefix, "magnitude", count);
    for (size_t i = 0; i < count; i++) {
        const double tolerance = 1.13 * relative * ldexp(magnitude[i], -24) +
                                 3e-7 * fmax(1.0, magnitude[i]) + ldexp(fabs(expected[i]), -24);
        cr_assert_leq(fabs((double)y[i] - expected[i]), tolerance, "%s%s at %zu: %a, not %a",
                      prefix, suffix, i, (double)y[i], expected[i]);
    }
    free(expected);
    free(magnitude);
}

Test(ref, gemm_s8_stops_at_the_exact_sums)
{
    s8_case *s = s8_create();
    int32_t *expected = golden_integers("s8_sums", S8_ROWS * COLUMNS);
    int32_t sums[S8_ROWS * COLUMNS];
    dynq_gemm_s8 gemm = s8_gemm(s);
    gemm.sums = sums;
    gemm.sums_stride = COLUMNS;
    dynq_kernel_ref.gemm_s8(&gemm);
    cr_assert_eq(memcmp(sums, expected, sizeof sums), 0);
    free(expected);
    s8_free(s);
}

Test(ref, gemm_s8_and_its_epilogue_agree_with_numpy)
{
    s8_case *s = s8_create();
    int32_t *sums = golden_integers("s8_sums", S8_ROWS * COLUMNS);
    for (int a = DYNQ_ACTIVATION_NONE; a <= DYNQ_ACTIVATION_GELU_TANH; a++) {
        float y[S8_ROWS * COLUMNS], again[S8_ROWS * COLUMNS];
        dynq_range_bits joint = {0}, rows[S8_ROWS] = {0};
        dynq_range_bits expected[S8_ROWS] = {0}, expected_joint = {0};
        dynq_gemm_s8 gemm = s8_gemm(s);
        gemm.epilogue.activation = a;
        gemm.epilogue.y = y;
        gemm.epilogue.range = &joint;
        dynq_kernel_ref.gemm_s8(&gemm);
        check_close("s8_", activation_names[a], y, S8_ROWS * COLUMNS, 3);

        gemm.epilogue.y = again;
        gemm.epilogue.range = rows;
        gemm.epilogue.range_step = 1;
        dynq_kernel_ref.epilogue_s32(S8_ROWS, COLUMNS, sums, COLUMNS, &gemm.dequantize,
                                     &gemm.epilogue);
        cr_assert_eq(memcmp(y, again, sizeof y), 0);
        dynq_float_block stored = {.rows = S8_ROWS,
                                   .columns = COLUMNS,
                                   .x = y,
                                   .x_stride = COLUMNS,
                                   .range = expected,
                                   .range_step = 1};
        dynq_kernel_ref.range(&stored);
        cr_assert_eq(memcmp(rows, expected, sizeof rows), 0);
        stored.range = &expected_joint;
        stored.range_step = 0;
        dynq_kernel_ref.range(&stored);
        cr_assert_eq(memcmp(&joint, &expected_joint, sizeof joint), 0);
    }
    free(sums);
    s8_free(s);
}

static float *pack_f32(const float *w)
{
    float *panels = calloc(PANELS * F32_K * 16, sizeof *panels);
    for (size_t n = 0; n < COLUMNS; n++) {
        for (size_t k = 0; k < F32_K; k++) {
            panels[n / 16 * 16 * F32_K + k * 16 + n % 16] = w[n * F32_K + k];
        }
    }
    return panels;
}

Test(ref, gemm_f32_and_its_epilogue_agree_with_numpy)
{
    enum { COUNT = F32_ROWS * COLUMNS };
    float *x = golden_floats("f32_x", F32_ROWS * F32_K),
          *w = golden_floats("f32_w", COLUMNS * F32_K);
    float *bias = golden_floats("f32_bias", COLUMNS),
          *residual = golden_floats("f32_residual", COUNT);
    float *panels = pack_f32(w), products[COUNT], y[COUNT];
    dynq_gemm_f32 gemm = {.rows = F32_ROWS,
                          .columns = COLUMNS,
                          .k = F32_K,
                          .x = x,
                          .x_stride = F32_K,
                          .panels = panels,
                          .products = products,
                          .products_stride = COLUMNS};
    dynq_kernel_ref.gemm_f32(&gemm);
    check_close("f32_", "products", products, COUNT, F32_K);
    gemm.products = NULL;
    for (int a = DYNQ_ACTIVATION_NONE; a <= DYNQ_ACTIVATION_GELU_TANH; a++) {
        gemm.epilogue = (dynq_epilogue){.bias = bias,
                                        .activation = a,
                                        .residual = residual,
                                        .residual_stride = COLUMNS,
                                        .y = y,
                                        .y_stride = COLUMNS};
        dynq_kernel_ref.gemm_f32(&gemm);
        check_close("f32_", activation_names[a], y, COUNT, F32_K + 1);
        float in_place[COUNT];
        memcpy(in_place, products, sizeof products);
        gemm.epilogue.y = in_place;
        dynq_kernel_ref.epilogue_f32(F32_ROWS, COLUMNS, in_place, COLUMNS, &gemm.epilogue);
        cr_assert_eq(memcmp(y, in_place, sizeof y), 0);
    }
    free(x);
    free(w);
    free(bias);
    free(residual);
    free(panels);
}

enum { ROWS = 4, WIDTH = 37 };

/* The relative error of e is that of x - max, rounded (|x - max| * 2^-24), and of exp (1 ulp,
 * 2^-23); the sum of positive numbers adds that of its largest term and 6 additions, 1 / sum and
 * the product one rounding each. What is below 2^-125 may be 0. */
Test(ref, softmax_agrees_with_numpy)
{
    float *x = golden_floats("rows_x", ROWS * WIDTH), y[ROWS * WIDTH];
    double *expected = golden("softmax", ROWS * WIDTH);
    const dynq_float_block block = {
        .rows = ROWS, .columns = WIDTH, .x = x, .x_stride = WIDTH, .y = y, .y_stride = WIDTH};
    dynq_kernel_ref.softmax(&block);
    for (size_t m = 0; m < ROWS; m++) {
        double sum = 0;
        for (size_t i = m * WIDTH; i < (m + 1) * WIDTH; i++) {
            const double spread = fabs(log(expected[i])) + log(WIDTH);
            const double tolerance =
                expected[i] * ldexp(2 * spread + 4 + 6 + 2, -24) + ldexp(1.0, -125);
            cr_assert_leq(fabs((double)y[i] - expected[i]), tolerance, "at %zu: %a, not %a", i,
                          (double)y[i], expected[i]);
            sum += (double)y[i];
        }
        cr_assert_float_eq(sum, 1.0, 1e-6);
    }
    free(x);
    free(expected);
}

/* The mean is off by at most 6 + 1 roundings of the largest |x|, the difference by one more;
 * the deviation r by a few roundings of itself, as its sum has only positive terms: 16 of each. */
Test(ref, layer_norm_agrees_with_numpy)
{
    float *x = golden_floats("rows_x", ROWS * WIDTH);
    float *weight = golden_floats("norm_weight", WIDTH), *bias = golden_floats("norm_bias", WIDTH);
    double *expected = golden("norm", ROWS * WIDTH), *r = golden("norm_inverse_deviation", ROWS);
    float *epsilon = golden_floats("norm_epsilon", 1), y[ROWS * WIDTH];
    const dynq_float_block block = {.rows = ROWS,
                                    .columns = WIDTH,
                                    .x = x,
                                    .x_stride = WIDTH,
                                    .weight = weight,
                                    .bias = bias,
                                    .epsilon = *epsilon,
                                    .y = y,
                                    .y_stride = WIDTH};
    dynq_kernel_ref.layer_norm(&block);
    for (size_t m = 0; m < ROWS; m++) {
        double largest = 0;
        for (size_t c = 0; c < WIDTH; c++) {
            const double magnitude = fabs((double)x[m * WIDTH + c]);
            largest = magnitude > largest ? magnitude : largest;
        }
        for (size_t c = 0; c < WIDTH; c++) {
            const size_t i = m * WIDTH + c;
            const double w = fabs((double)weight[c]), b = fabs((double)bias[c]);
            const double tolerance = ldexp(16 * (largest * r[m] * w + fabs(expected[i]) + b), -24);
            cr_assert_leq(fabs((double)y[i] - expected[i]), tolerance, "at %zu: %a, not %a", i,
                          (double)y[i], expected[i]);
        }
    }
    free(x);
    free(weight);
    free(bias);
    free(expected);
    free(r);
    free(epsilon);
}
