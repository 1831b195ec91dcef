/* The reference kernel's functions of one float against libm, its ranges against plain loops, and
 * the edges whose results are stated. */
#include "kernels/ref_math.h"
#include "kernels/table.h"

#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <stdbool.h>

/* What exp does not reach is 0: less than 2^-125.5 by a rounding. */
#define EXP_LEAST 0x1.6a0ap-126

/* The largest errors of a function over all exponents of one sign; in ulp, of what is not flushed
 * to 0. */
typedef struct errors {
    double ulp, absolute, scaled; /* scaled: absolute / max(1, |x|) */
} errors;

static errors sweep(float (*function)(float), double (*exact)(double), bool negative)
{
    errors worst = {0};
    for (uint32_t bits = 0; bits < 0x7F800000u; bits += 499) {
        const float x = dynq_ref_from_bits(bits | (negative ? 0x80000000u : 0));
        const double y = exact((double)x), error = fabs((double)function(x) - y);
        int exponent;
        frexp(y, &exponent);
        const double ulp = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
        if (y >= EXP_LEAST || function(x) != 0.0f) {
            worst.ulp = fmax(worst.ulp, error / ulp);
        }
        worst.absolute = fmax(worst.absolute, error);
        worst.scaled = fmax(worst.scaled, error / fmax(1.0, fabs((double)x)));
        cr_assert(isfinite(function(x)), "%a", (double)x);
    }
    return worst;
}

static double exact_gelu(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2.0));
}

static double exact_sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

/* x / 2 * (1 + tanh(u / 2)) without its cancellation. */
static double exact_gelu_tanh(double x)
{
    return x * exact_sigmoid(2 * sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x));
}

Test(ref, exp_is_within_one_ulp_and_never_subnormal)
{
    cr_assert_lt(sweep(dynq_ref_exp, exp, true).ulp, 1.0);
    cr_assert_eq(dynq_ref_exp(0.0f), 1.0f);
    cr_assert_eq(dynq_ref_exp(-0.0f), 1.0f);
    cr_assert_eq(dynq_ref_exp(-INFINITY), 0.0f);
    /* Every float around the last result. */
    for (float x = -86.0f; x > -105.0f; x = nextafterf(x, -INFINITY)) {
        const double y = exp((double)x);
        const float found = dynq_ref_exp(x);
        if (found == 0.0f) {
            cr_assert_lt(y, EXP_LEAST, "%a", (double)x);
        } else {
            cr_assert(found >= FLT_MIN && fabs((double)found - y) <= ldexp(y, -23), "%a",
                      (double)x);
        }
    }
}

Test(ref, tanh_and_sigmoid_are_within_three_ulp)
{
    for (int negative = 0; negative <= 1; negative++) {
        cr_assert_lt(sweep(dynq_ref_tanh, tanh, negative).ulp, 3.0);
        cr_assert_lt(sweep(dynq_ref_sigmoid, exact_sigmoid, negative).ulp, 3.0);
    }
    cr_assert_eq(dynq_ref_tanh(FLT_MAX), 1.0f);
    cr_assert_eq(dynq_ref_tanh(-FLT_MAX), -1.0f);
    cr_assert_eq(dynq_ref_tanh(1e-45f), 1e-45f);
    cr_assert_eq(dynq_ref_sigmoid(FLT_MAX), 1.0f);
    cr_assert_eq(dynq_ref_sigmoid(-FLT_MAX), 0.0f);
    cr_assert_eq(dynq_ref_sigmoid(0.0f), 0.5f);
}

Test(ref, gelu_is_within_its_absolute_error)
{
    for (int negative = 0; negative <= 1; negative++) {
        cr_assert_lt(sweep(dynq_ref_gelu, exact_gelu, negative).scaled, 2.3e-7);
    }
    cr_assert_eq(dynq_ref_gelu(FLT_MAX), FLT_MAX);
    cr_assert_eq(dynq_ref_gelu(-FLT_MAX), 0.0f);
    cr_assert_eq(dynq_ref_gelu(10.0f), 10.0f);
    /* It ends before it is subnormal. */
    for (float x = -5.6f; x > -5.7f; x = nextafterf(x, -INFINITY)) {
        const float found = dynq_ref_gelu(x);
        cr_assert(found <= -FLT_MIN || (found == 0.0f && x < -5.67f), "%a", (double)x);
    }
}

Test(ref, gelu_tanh_is_within_its_absolute_error)
{
    for (int negative = 0; negative <= 1; negative++) {
        cr_assert_lt(sweep(dynq_ref_gelu_tanh, exact_gelu_tanh, negative).scaled, 1.0e-7);
    }
    cr_assert_eq(dynq_ref_gelu_tanh(FLT_MAX), FLT_MAX);
    cr_assert_eq(dynq_ref_gelu_tanh(-FLT_MAX), 0.0f);
    cr_assert_eq(dynq_ref_gelu_tanh(11.0f), 11.0f);
    /* Its tail keeps most of its digits, and ends before it is subnormal. */
    for (float x = -5.0f; x > -11.0f; x = nextafterf(x, -INFINITY)) {
        const double y = exact_gelu_tanh((double)x);
        const float found = dynq_ref_gelu_tanh(x);
        if (found == 0.0f) {
            cr_assert_gt(y, 11 * -EXP_LEAST, "%a", (double)x);
        } else {
            cr_assert(found <= -FLT_MIN && fabs((double)found / y - 1) < 2e-5, "%a", (double)x);
        }
    }
}

/* Over results of one function at all exponents and both signs; any NaN counts as the same. */
static uint64_t hash_of(dynq_activation activation)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4999) {
        const float y = dynq_ref_activate(activation, dynq_ref_from_bits((uint32_t)bits));
        hash = (hash ^ (isnan(y) ? UINT32_MAX : dynq_ref_bits(y))) * 1099511628211u;
    }
    return hash;
}

/* The other tests compare kernels with the reference of the same build; this one compares builds.
 */
Test(ref, activations_give_the_same_bits_in_every_build)
{
    static const uint64_t expected[] = {
        [DYNQ_ACTIVATION_NONE] = 0x3a864a246a18b2f2u,
        [DYNQ_ACTIVATION_RELU] = 0x599a1f2b68c90c75u,
        [DYNQ_ACTIVATION_GELU] = 0x6a6a0967b881c656u,
        [DYNQ_ACTIVATION_TANH] = 0x625077ec5c6ea246u,
        [DYNQ_ACTIVATION_SIGMOID] = 0xd448dc9c4c21393du,
        [DYNQ_ACTIVATION_GELU_TANH] = 0x4661af33de24a68fu,
    };
    for (int i = DYNQ_ACTIVATION_NONE; i <= DYNQ_ACTIVATION_GELU_TANH; i++) {
        const uint64_t hash = hash_of((dynq_activation)i);
        cr_assert_eq(hash, expected[i], "activation %d: %#" PRIx64, i, hash);
    }
}

Test(ref, activations_hide_nothing_that_is_not_finite)
{
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int a = DYNQ_ACTIVATION_RELU; a <= DYNQ_ACTIVATION_GELU_TANH; a++) {
        for (size_t i = 0; i < 4; i++) {
            cr_assert(isnan(dynq_ref_activate(a, bad[i])), "activation %d", a);
        }
        const float zero = dynq_ref_activate(a, -0.0f);
        cr_assert_eq(dynq_ref_bits(zero), dynq_ref_bits(dynq_ref_activate(a, 0.0f)));
        cr_assert_eq(signbit(zero), 0);
    }
    cr_assert_eq(dynq_ref_relu(-1e-45f), 0.0f);
    cr_assert_eq(dynq_ref_relu(1e-45f), 1e-45f);
    cr_assert_eq(dynq_ref_relu(-FLT_MAX), 0.0f);
}

/* Values whose bit patterns are all the cases of a range. */
static const float range_values[] = {0.0f,    -0.0f,   1.0f,     -1.0f,    2.5f,      -7.0f, 1e-45f,
                                     -1e-45f, FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN,   -NAN};
enum { RANGE_VALUES = sizeof range_values / sizeof *range_values };

/* What the design says of bits {high, low} of finite values: hi = high, lo = low if its sign bit is
 * set, else 0. */
Test(ref, range_bits_mean_the_range_and_find_what_is_not_finite)
{
    for (uint32_t set = 0; set < 1u << RANGE_VALUES; set++) {
        float x[RANGE_VALUES], lo = 0.0f, hi = 0.0f;
        size_t count = 0;
        bool finite = true;
        for (int i = 0; i < RANGE_VALUES; i++) {
            if (set >> i & 1) {
                const float v = range_values[i];
                x[count++] = v;
                finite = finite && isfinite(v);
                lo = v < lo ? v : lo;
                hi = v > hi ? v : hi;
            }
        }
        dynq_range_bits range = {0};
        const dynq_float_block block = {
            .rows = 1, .columns = count, .x = x, .x_stride = RANGE_VALUES, .range = &range};
        dynq_kernel_ref.range(&block);
        cr_assert_eq(finite, range.high < 0x7F800000 && range.low < 0xFF800000u);
        if (finite) {
            cr_assert_eq(dynq_ref_from_bits((uint32_t)range.high), hi);
            cr_assert_eq(range.low >> 31 ? dynq_ref_from_bits(range.low) : 0.0f, lo);
        }
    }
}

Test(ref, ranges_join_what_is_there_by_row_or_for_all_rows)
{
    const float x[] = {1.0f, -2.0f, 99.0f, 3.0f, 4.0f, 99.0f};
    const dynq_range_bits start = {.high = (int32_t)dynq_ref_bits(2.0f), .low = 0};
    dynq_range_bits ranges[2] = {start, start};
    dynq_float_block block = {
        .rows = 2, .columns = 2, .x = x, .x_stride = 3, .range = ranges, .range_step = 1};
    dynq_kernel_ref.range(&block);
    cr_assert_eq((uint32_t)ranges[0].high, dynq_ref_bits(2.0f));
    cr_assert_eq(ranges[0].low, dynq_ref_bits(-2.0f));
    cr_assert_eq((uint32_t)ranges[1].high, dynq_ref_bits(4.0f));
    cr_assert_eq(ranges[1].low, dynq_ref_bits(4.0f));
    ranges[0] = ranges[1] = start;
    block.range_step = 0;
    dynq_kernel_ref.range(&block);
    cr_assert_eq((uint32_t)ranges[0].high, dynq_ref_bits(4.0f));
    cr_assert_eq(ranges[0].low, dynq_ref_bits(-2.0f));
    cr_assert_eq(memcmp(&ranges[1], &start, sizeof start), 0);
}

Test(ref, activate_in_place_gives_the_same_and_none_copies_bits)
{
    for (int a = DYNQ_ACTIVATION_NONE; a <= DYNQ_ACTIVATION_GELU_TANH; a++) {
        float y[RANGE_VALUES], in_place[RANGE_VALUES];
        dynq_range_bits range = {0}, expected = {0};
        memcpy(in_place, range_values, sizeof in_place);
        dynq_float_block block = {.rows = 1,
                                  .columns = RANGE_VALUES,
                                  .x = range_values,
                                  .x_stride = RANGE_VALUES,
                                  .activation = a,
                                  .y = y,
                                  .y_stride = RANGE_VALUES,
                                  .range = &range};
        dynq_kernel_ref.activate(&block);
        block.x = block.y = in_place;
        block.range = NULL;
        dynq_kernel_ref.activate(&block);
        cr_assert_eq(memcmp(y, in_place, sizeof y), 0);
        if (a == DYNQ_ACTIVATION_NONE) {
            cr_assert_eq(memcmp(y, range_values, sizeof y), 0);
        }
        block.range = &expected;
        dynq_kernel_ref.range(&block);
        cr_assert_eq(memcmp(&range, &expected, sizeof range), 0);
    }
}

Test(ref, rows_in_place_come_out_the_same)
{
    void (*const functions[])(const dynq_float_block *) = {
        dynq_kernel_ref.add, dynq_kernel_ref.multiply, dynq_kernel_ref.softmax,
        dynq_kernel_ref.layer_norm};
    const float x[] = {1.0f, -2.0f, 50.0f, 3.0f, 0.25f, -4.0f, 7.0f, 0.5f};
    const float other[] = {10.0f, 20.0f, 30.0f, -40.0f, 0.125f, 3.0f, -1.0f, 2.0f};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        float y[8], in_place[8];
        memcpy(in_place, x, sizeof x);
        dynq_float_block block = {.rows = 2,
                                  .columns = 4,
                                  .x = x,
                                  .x_stride = 4,
                                  .other = other,
                                  .other_stride = 4,
                                  .weight = other,
                                  .bias = other + 4,
                                  .epsilon = 1e-5f,
                                  .y = y,
                                  .y_stride = 4};
        functions[i](&block);
        block.x = block.y = in_place;
        functions[i](&block);
        cr_assert_eq(memcmp(y, in_place, sizeof y), 0);
        cr_assert_neq(memcmp(y, x, sizeof y), 0);
    }
}

Test(ref, add_and_multiply_touch_only_their_columns)
{
    const float x[] = {1.0f, 2.0f, 50.0f, 3.0f, -4.0f, 50.0f},
                other[] = {10.0f, 20.0f, 30.0f, -40.0f};
    const float sums[] = {11.0f, 22.0f, -7.0f, 33.0f, -44.0f, -7.0f};
    const float products[] = {10.0f, 40.0f, -7.0f, 90.0f, 160.0f, -7.0f};
    float y[] = {-7.0f, -7.0f, -7.0f, -7.0f, -7.0f, -7.0f};
    dynq_range_bits range = {0};
    const dynq_float_block block = {.rows = 2,
                                    .columns = 2,
                                    .x = x,
                                    .x_stride = 3,
                                    .other = other,
                                    .other_stride = 2,
                                    .y = y,
                                    .y_stride = 3,
                                    .range = &range};
    dynq_kernel_ref.add(&block);
    cr_assert_eq(memcmp(y, sums, sizeof y), 0);
    cr_assert_eq((uint32_t)range.high, dynq_ref_bits(33.0f));
    cr_assert_eq(range.low, dynq_ref_bits(-44.0f));
    dynq_kernel_ref.multiply(&block);
    cr_assert_eq(memcmp(y, products, sizeof y), 0);
}

Test(ref, quantize_gives_zero_points_for_no_range_and_finds_what_is_not_finite)
{
    const float x[] = {3e38f, -3e38f, 0.0f, NAN, -INFINITY};
    const float inverse = 0.0f;
    const int32_t zero = 128;
    uint8_t q[5];
    dynq_range_bits range = {0};
    dynq_quantize_block block = {.rows = 1,
                                 .columns = 3,
                                 .padded = 3,
                                 .x = x,
                                 .x_stride = 5,
                                 .row_inverse = &inverse,
                                 .row_zero = &zero,
                                 .qmin = 1,
                                 .q = q,
                                 .q_stride = 5,
                                 .range = &range};
    dynq_kernel_ref.quantize(&block);
    cr_assert(q[0] == 128 && q[1] == 128 && q[2] == 128);
    cr_assert(range.high < 0x7F800000 && range.low < 0xFF800000u);
    block.columns = block.padded = 5;
    dynq_kernel_ref.quantize(&block);
    cr_assert(range.high >= 0x7F800000 && range.low >= 0xFF800000u);
}

Test(ref, sums_wrap_modulo_two_to_the_32)
{
    const int32_t sum = INT32_MIN, column_sum = INT32_MAX, zero = 255;
    const float one = 1.0f;
    float y;
    const dynq_dequantize dequantize = {
        .column_scale = &one, .column_sum = &column_sum, .row_scale = &one, .row_zero = &zero};
    const dynq_epilogue epilogue = {.y = &y, .y_stride = 1};
    dynq_kernel_ref.epilogue_s32(1, 1, &sum, 1, &dequantize, &epilogue);
    /* -2^31 - 255 (2^31 - 1) = -2^39 + 255, which is 255 modulo 2^32 */
    cr_assert_eq(y, 255.0f);
}

Test(ref, no_bias_is_positive_zero_and_order_of_k_is_kept)
{
    /* 2^24 + 1 - 2^24: 0 in this order, since 2^24 + 1 rounds to 2^24; 1 in another. */
    const float x[] = {16777216.0f, 1.0f, -16777216.0f};
    _Alignas(64) float panel[3 * 16];
    for (size_t i = 0; i < 48; i++) {
        panel[i] = 1.0f;
    }
    float y;
    const dynq_gemm_f32 gemm = {.rows = 1,
                                .columns = 1,
                                .k = 3,
                                .x = x,
                                .x_stride = 3,
                                .panels = panel,
                                .epilogue = {.y = &y, .y_stride = 1}};
    dynq_kernel_ref.gemm_f32(&gemm);
    cr_assert_eq(dynq_ref_bits(y), 0);
    const float product = -0.0f;
    dynq_kernel_ref.epilogue_f32(1, 1, &product, 1, &gemm.epilogue);
    cr_assert_eq(dynq_ref_bits(y), 0);
}

Test(ref, softmax_of_edges)
{
    float y[3] = {-5.0f, 0.0f, 0.0f};
    dynq_float_block block = {
        .rows = 1, .columns = 1, .x = y, .x_stride = 3, .y = y, .y_stride = 3};
    dynq_kernel_ref.softmax(&block);
    cr_assert_eq(y[0], 1.0f);
    block.columns = 3;
    const float wide[] = {-FLT_MAX, FLT_MAX, 0.0f};
    memcpy(y, wide, sizeof y);
    dynq_kernel_ref.softmax(&block);
    cr_assert(y[0] == 0.0f && y[1] == 1.0f && y[2] == 0.0f);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t at = 0; at < 3; at++) {
        for (size_t i = 0; i < 3; i++) {
            memset(y, 0, sizeof y);
            y[at] = bad[i];
            dynq_kernel_ref.softmax(&block);
            cr_assert(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
        }
    }
}

Test(ref, layer_norm_hides_no_overflow)
{
    const float x[] = {1e30f, -1e30f, 0.0f}, ones[] = {1.0f, 1.0f, 1.0f};
    float y[3];
    dynq_range_bits range = {0};
    const dynq_float_block block = {.rows = 1,
                                    .columns = 3,
                                    .x = x,
                                    .x_stride = 3,
                                    .weight = ones,
                                    .bias = ones,
                                    .epsilon = 1e-5f,
                                    .y = y,
                                    .y_stride = 3,
                                    .range = &range};
    dynq_kernel_ref.layer_norm(&block);
    cr_assert(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
    cr_assert(range.high >= 0x7F800000 || range.low >= 0xFF800000u);
}
