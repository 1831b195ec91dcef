/* A last INT8 layer whose results overflow: its range is only looked for where scales, biases or a
 * residual make that possible (DYNQ_MODERATE), and then the run has to fail. */
#include "src/pack.h"
#include "src/range.h"
#include "tests/samples.h"

#ifdef DYNQ_HAVE_ONEDNN
#include <dynq/onednn.h>
#endif

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INPUTS = 20, MOST_COLUMNS = 48, ROWS = 50, LARGE_ROW = 33, LARGE_COLUMN = 37 };

/* Numbers of the one row of inputs, column of weights, bias and element of the residual that are
 * large; all others are below 1 in magnitude. */
typedef struct large {
    float x, weight, bias, residual; /* residual 0: none is added */
    dynq_range_rule rule;
} large;

static const dynq_range_rule by_tensor = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE,
                                          0, 0};
static const dynq_range_rule by_segment = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT,
                                           DYNQ_SCHEME_AFFINE, 0, 0};
static const dynq_range_rule by_row = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_ROW, DYNQ_SCHEME_SYMMETRIC, 0,
                                       0};
static const dynq_range_rule fixed = {DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE, 0,
                                      0x1p64f};

static float x[ROWS * INPUTS], residual[ROWS * MOST_COLUMNS], y[ROWS * MOST_COLUMNS];

/* x -> fc (INT8) -> (+ r) -> y */
static dynq_model *make_model(const large *numbers, size_t columns)
{
    static float w[MOST_COLUMNS * INPUTS], b[MOST_COLUMNS];
    samples_fill(w, columns * INPUTS, 1);
    samples_fill(b, columns, 2);
    for (size_t i = 0; i < INPUTS; i++) {
        w[LARGE_COLUMN * INPUTS + i] = numbers->weight;
    }
    b[LARGE_COLUMN] = numbers->bias;
    const dynq_tensor weight = {DYNQ_F32, 2, {columns, INPUTS}, w};
    const dynq_tensor bias = {DYNQ_F32, 1, {columns}, b};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_value v = dynq_linear(graph, "fc", dynq_input(graph, "x", INPUTS), &weight, &bias);
    if (numbers->residual != 0) {
        v = dynq_add(graph, "sum", v, dynq_input(graph, "r", columns));
    }
    dynq_output(graph, "y", v);
    dynq_model *fp32 = NULL, *int8 = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(graph, &fp32, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(fp32);
    int8->nodes[1].range = numbers->rule;
    return int8;
}

static dynq_status run(dynq_model *model, dynq_session_options options, size_t columns,
                       dynq_error *error)
{
    dynq_session *session = NULL;
    options.size = sizeof options;
    options.max_rows = ROWS;
    cr_assert_eq(dynq_session_create(model, &options, &session, error), DYNQ_OK, "%s",
                 error->message);
    const size_t offsets[] = {0, LARGE_ROW - 3, ROWS}, bytes = ROWS * columns * sizeof *y;
    const dynq_batch batch = {
        .size = sizeof batch, .rows = ROWS, .segments = 2, .offsets = offsets};
    const int slot = dynq_session_slot(session, "r");
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "y"), y, bytes, 0},
                               {slot, residual, bytes, 0}};
    memset(y, 0xff, sizeof y);
    const dynq_status status = dynq_session_run(session, &batch, io, slot < 0 ? 2 : 3, error);
    dynq_session_free(session);
    return status;
}

static void fill_inputs(const large *numbers, size_t columns)
{
    samples_fill(x, ROWS * INPUTS, 3);
    samples_fill(residual, ROWS * columns, 4);
    for (size_t i = 0; i < INPUTS; i++) {
        x[LARGE_ROW * INPUTS + i] = numbers->x;
    }
    residual[LARGE_ROW * columns + LARGE_COLUMN] = numbers->residual;
}

static void expect(const large *numbers, dynq_model *model, dynq_session_options options,
                   size_t columns, bool overflows)
{
    dynq_error error = {0};
    char message[80];
    snprintf(message, sizeof message, "node '%s': NaN or Inf at row %d, column %d",
             numbers->residual != 0 ? "sum" : "fc", LARGE_ROW, LARGE_COLUMN);
    const dynq_status status = run(model, options, columns, &error);
    const char *how = options.engine != NULL ? options.engine->name : options.kernel;
    cr_assert_eq(status, overflows ? DYNQ_ERR_NOT_FINITE : DYNQ_OK, "%s, %u threads: %d, %s", how,
                 options.threads, (int)status, error.message);
    if (overflows) {
        cr_assert_str_eq(error.message, message);
    }
}

/* On every engine that may do the layer, with whole panels of columns and with others. */
static void expect_everywhere(const large *numbers, bool overflows)
{
    for (size_t columns = MOST_COLUMNS - 8; columns <= MOST_COLUMNS; columns += 8) {
        dynq_model *model = make_model(numbers, columns);
        fill_inputs(numbers, columns);
        for (uint32_t threads = 1; threads <= 2; threads++) {
            dynq_session_options options = {.threads = threads};
            for (size_t k = 0; (options.kernel = dynq_kernel_name(k)) != NULL; k++) {
                if (dynq_kernel_supported(options.kernel)) {
                    options.profile = 0;
                    expect(numbers, model, options, columns, overflows);
                    options.profile = 1;
                    expect(numbers, model, options, columns, overflows);
                }
            }
#ifdef DYNQ_HAVE_ONEDNN
            options = (dynq_session_options){.threads = threads, .engine = dynq_onednn_engine()};
            expect(numbers, model, options, columns, overflows);
#endif
        }
        dynq_model_free(model);
    }
}

/* The product of the scales is 2^113; all other results stay far below. */
Test(session, scales_whose_results_overflow)
{
    const dynq_range_rule rules[] = {by_tensor, by_segment, by_row, fixed};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        expect_everywhere(&(large){.x = 0x1p64f, .weight = 0x1p64f, .rule = rules[i]}, true);
        expect_everywhere(&(large){.x = 0x1p64f, .weight = -0x1p64f, .rule = rules[i]}, true);
    }
}

/* Products of 2^110, which alone are finite as the bias is: half a unit of FLT_MAX is 2^103. */
Test(session, a_bias_with_which_results_overflow)
{
    const dynq_range_rule rules[] = {by_tensor, by_row};
    for (size_t i = 0; i < 2; i++) {
        large numbers = {.x = 0x1p52f, .weight = 0x1p54f, .bias = FLT_MAX, .rule = rules[i]};
        expect_everywhere(&numbers, true);
        numbers.bias = -FLT_MAX;
        expect_everywhere(&numbers, false);
        numbers.bias = 1;
        expect_everywhere(&numbers, false);
    }
}

/* The second sum has moderate scales. */
Test(session, a_residual_with_which_results_overflow)
{
    const dynq_range_rule rules[] = {by_tensor, by_row};
    for (size_t i = 0; i < 2; i++) {
        large numbers = {.x = 0x1p52f, .weight = 0x1p54f, .residual = FLT_MAX, .rule = rules[i]};
        expect_everywhere(&numbers, true);
        numbers.residual = 1;
        expect_everywhere(&numbers, false);
        numbers =
            (large){.x = 1, .weight = 1, .bias = FLT_MAX, .residual = FLT_MAX, .rule = rules[i]};
        expect_everywhere(&numbers, true);
        numbers.residual = -FLT_MAX;
        expect_everywhere(&numbers, false);
    }
}

/* What the specification makes of a row and a column. */
static float specified(const dynq_node *fc, dynq_range_params p, const float *row, size_t column)
{
    int32_t acc = 0;
    for (size_t i = 0; i < INPUTS; i++) {
        const float least = (float)-p.zero, most = (float)(255 - p.zero);
        const float code = rintf(fminf(fmaxf(row[i] * p.inverse, least), most));
        acc += (int32_t)code * dynq_packed_code(fc->packed, dynq_packed_k(INPUTS), column, i);
    }
    return fmaf((float)acc, p.scale * fc->weight_scale[column], fc->bias[column]);
}

/* Scales of 2^-15, of 2^57, and with the largest bias: nobody looks at the first two's results. */
Test(session, results_that_cannot_overflow_have_the_specified_bits)
{
    static const large cases[] = {{.x = 1, .weight = 1, .bias = 1},
                                  {.x = 0x1p32f, .weight = 0x1p40f, .bias = 0x1p60f},
                                  {.x = 1, .weight = 1, .bias = FLT_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static float expected[ROWS * MOST_COLUMNS];
        large numbers = cases[i];
        numbers.rule = by_tensor;
        expect_everywhere(&numbers, false);
        dynq_model *model = make_model(&numbers, MOST_COLUMNS);
        float lo = 0, hi = 0;
        for (size_t j = 0; j < ROWS * INPUTS; j++) {
            lo = fminf(lo, x[j]);
            hi = fmaxf(hi, x[j]);
        }
        const dynq_range_params p = dynq_range_params_of(lo, hi, DYNQ_SCHEME_AFFINE);
        for (size_t j = 0; j < ROWS * MOST_COLUMNS; j++) {
            expected[j] =
                specified(&model->nodes[1], p, x + j / MOST_COLUMNS * INPUTS, j % MOST_COLUMNS);
        }
        dynq_error error = {0};
        for (size_t k = 0; dynq_kernel_name(k) != NULL; k++) {
            const dynq_session_options options = {.kernel = dynq_kernel_name(k), .threads = 1};
            if (dynq_kernel_supported(options.kernel)) {
                cr_assert_eq(run(model, options, MOST_COLUMNS, &error), DYNQ_OK);
                cr_assert_arr_eq(y, expected, sizeof y, "case %zu, %s", i, options.kernel);
            }
        }
        dynq_model_free(model);
    }
}
