/* Cases of the functions that go over rows of floats. */
#include "tests/kernel_check.h"

#include <math.h>
#include <string.h>

static float *place_of(const case_output *output)
{
    return (float *)(void *)output->place;
}

static void make_x(kernel_case *c)
{
    dynq_float_block *b = &c->call.floats;
    const case_shape s = case_float_shape(c);
    *b = (dynq_float_block){.rows = s.rows, .columns = s.columns};
    b->x_stride = s.columns + case_gap(c, 7);
    b->x = case_floats(c, INPUT_X, case_span(s.rows, b->x_stride, s.columns), case_some_filling(c));
}

/* y and its range, in some cases in place of x. */
static void make_y(kernel_case *c)
{
    dynq_float_block *b = &c->call.floats;
    const int in_place = case_chance(c, 4);
    b->y_stride = in_place ? b->x_stride : b->columns + case_gap(c, 7);
    const case_output *y = case_result(c, OUTPUT_FLOATS, "y", b->rows, b->columns, b->y_stride);
    b->y = place_of(y);
    if (in_place) {
        memcpy(y->initial, b->x, y->bytes);
        b->x = b->y;
    }
    b->range = case_result_range(c, b->rows, &b->range_step);
}

static void make_range(kernel_case *c)
{
    dynq_float_block *b = &c->call.floats;
    make_x(c);
    do {
        c->output_count = 0;
        b->range = case_result_range(c, b->rows, &b->range_step);
    } while (b->range == NULL);
    c->outputs[0].kind = OUTPUT_RANGES;
}

static void make_activate(kernel_case *c)
{
    make_x(c);
    c->call.floats.activation = case_activation(c);
    make_y(c);
}

static void make_pair(kernel_case *c)
{
    dynq_float_block *b = &c->call.floats;
    make_x(c);
    b->other_stride = case_chance(c, 4) ? 0 : b->columns + case_gap(c, 7);
    b->other = case_floats(c, INPUT_OTHER, case_span(b->rows, b->other_stride, b->columns),
                           case_some_filling(c));
    make_y(c);
}

static void make_alone(kernel_case *c)
{
    make_x(c);
    make_y(c);
}

static void make_layer_norm(kernel_case *c)
{
    dynq_float_block *b = &c->call.floats;
    make_x(c);
    const case_filling filling = case_chance(c, 8) ? FILLING_ANY : FILLING_MODERATE;
    b->weight = case_floats(c, INPUT_WEIGHT, b->columns, filling);
    b->bias = case_floats(c, INPUT_BIAS, b->columns, filling);
    b->epsilon = case_chance(c, 2) ? 1e-5f : 1e-12f;
    make_y(c);
}

static void run_range(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->range(&c->call.floats);
}

static void run_activate(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->activate(&c->call.floats);
}

static void run_add(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->add(&c->call.floats);
}

static void run_multiply(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->multiply(&c->call.floats);
}

static void run_softmax(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->softmax(&c->call.floats);
}

static void run_layer_norm(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->layer_norm(&c->call.floats);
}

static void run_normalize(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->normalize(&c->call.floats);
}

static void describe_floats(const kernel_case *c, FILE *out)
{
    const dynq_float_block *b = &c->call.floats;
    fprintf(out, "rows %zu, columns %zu, x_stride %zu, activation %d, %s numbers", b->rows,
            b->columns, b->x_stride, (int)b->activation, case_filling_names[c->filling]);
    if (b->y != NULL) {
        fprintf(out, ", y_stride %zu%s", b->y_stride, b->x == b->y ? ", in place" : "");
    }
    if (b->other != NULL) {
        fprintf(out, ", other_stride %zu", b->other_stride);
    }
    if (b->range != NULL) {
        fprintf(out, ", range_step %zu", b->range_step);
    }
}

/* Ranges as they are, too small ones of a static model, so that codes are clamped, and none. */
static float some_inverse(kernel_case *c)
{
    if (c->timed != NULL) {
        return 100.0f;
    }
    switch (case_between(c, 0, 15)) {
    case 0:
    case 1: return 0.0f;
    case 2:
    case 3:
    case 4: return 0.5f; /* many ties */
    case 5: return ldexpf(1.0f, (int)case_between(c, 0, 200) - 100);
    default: return 255.0f * (float)case_between(c, 1, 1 << 20) * 0x1p-20f;
    }
}

/* What a caller may promise of these operands, and does in half of the cases. */
static int some_bounded(kernel_case *c, const dynq_quantize_block *b)
{
    for (size_t m = 0; m < b->rows; m++) {
        const float inverse = b->row_inverse[m * b->row_step];
        for (size_t i = 0; i < b->columns; i++) {
            if (fabsf(b->x[m * b->x_stride + i] * inverse) >= 0x1p31f) {
                return 0;
            }
        }
    }
    return case_chance(c, 2);
}

static void make_quantize(kernel_case *c)
{
    dynq_quantize_block *b = &c->call.quantize;
    const case_shape s = case_float_shape(c);
    *b = (dynq_quantize_block){.rows = s.rows, .columns = s.columns};
    b->padded = b->columns + case_gap(c, 64);
    b->q_stride = b->padded + case_gap(c, 9);
    b->x_stride = b->columns + case_gap(c, 9);
    b->row_step = (size_t)case_chance(c, 2);
    b->qmin = case_chance(c, 2);
    b->x =
        case_floats(c, INPUT_X, case_span(b->rows, b->x_stride, b->columns), case_some_filling(c));
    const size_t ranges = b->row_step == 1 ? b->rows : 1;
    b->row_zero =
        case_integers(c, INPUT_ROW_ZERO, ranges, b->qmin == 1 ? 128 : 0, b->qmin == 1 ? 128 : 255);
    float *inverse = case_room(c, INPUT_ROW_SCALE, ranges * sizeof *inverse);
    for (size_t m = 0; m < ranges; m++) {
        inverse[m] = some_inverse(c);
    }
    b->row_inverse = case_view(c, INPUT_ROW_SCALE, inverse);
    b->bounded = some_bounded(c, b);
    b->q = case_result(c, OUTPUT_CODES, "q", b->rows, b->padded, b->q_stride)->place;
    if (case_chance(c, 2)) {
        case_output *range = case_result(c, OUTPUT_RANGES, "range", 1, 1, 1);
        memset(range->initial, 0, range->bytes);
        b->range = (dynq_range_bits *)(void *)range->place;
    }
}

static void run_quantize(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->quantize(&c->call.quantize);
}

static void describe_quantize(const kernel_case *c, FILE *out)
{
    const dynq_quantize_block *b = &c->call.quantize;
    fprintf(out,
            "rows %zu, columns %zu, padded %zu, x_stride %zu, q_stride %zu, row_step %zu, qmin %d, "
            "row_zero[0] %d, row_inverse[0] %g, %s numbers%s%s",
            b->rows, b->columns, b->padded, b->x_stride, b->q_stride, b->row_step, (int)b->qmin,
            (int)b->row_zero[0], (double)b->row_inverse[0], case_filling_names[c->filling],
            b->range != NULL ? ", range" : "", b->bounded ? ", bounded" : "");
}

const check_function check_range = {
    .name = "range", .make = make_range, .run = run_range, .describe = describe_floats};
const check_function check_quantize = {
    .name = "quantize", .make = make_quantize, .run = run_quantize, .describe = describe_quantize};
const check_function check_activate = {
    .name = "activate", .make = make_activate, .run = run_activate, .describe = describe_floats};
const check_function check_add = {
    .name = "add", .make = make_pair, .run = run_add, .describe = describe_floats};
const check_function check_multiply = {
    .name = "multiply", .make = make_pair, .run = run_multiply, .describe = describe_floats};
const check_function check_softmax = {
    .name = "softmax", .make = make_alone, .run = run_softmax, .describe = describe_floats};
const check_function check_layer_norm = {.name = "layer_norm",
                                         .make = make_layer_norm,
                                         .run = run_layer_norm,
                                         .describe = describe_floats};
const check_function check_normalize = {
    .name = "normalize", .make = make_alone, .run = run_normalize, .describe = describe_floats};
