/* Cases of the products and their epilogues. */
#include "tests/kernel_check.h"

#include <inttypes.h>
#include <string.h>

enum { PANEL = 16, K_STEP = 64 };

/* The first cases go through all small shapes; then sizes are random, small ones more often.
 * `deepest` is 8 at least. */
static case_shape gemm_shape(kernel_case *c, size_t deepest)
{
    enum { ROWS = 13, COLUMNS = 80 };
    if (c->timed != NULL) {
        return *c->timed;
    }
    if (c->index < ROWS * COLUMNS) {
        return (case_shape){1 + c->index % ROWS, 1 + c->index / ROWS, case_between(c, 1, 128)};
    }
    static const size_t most_rows[] = {8, 8, 8, 24, 40}, most_columns[] = {48, 112, 112, 200};
    case_shape s;
    s.rows = case_between(c, 1, most_rows[case_between(c, 0, 4)]);
    s.columns = case_between(c, 1, most_columns[case_between(c, 0, 3)]);
    s.k = case_between(c, 1, deepest >> case_between(c, 0, 2));
    return s;
}

static size_t panel_count(size_t columns)
{
    return (columns + PANEL - 1) / PANEL;
}

static void make_epilogue(kernel_case *c, size_t rows, size_t columns, dynq_epilogue *e)
{
    const case_filling filling = case_chance(c, 16) ? FILLING_ANY : FILLING_MODERATE;
    *e = (dynq_epilogue){.activation = case_activation(c), .y_stride = columns + case_gap(c, 7)};
    if (!case_chance(c, 4)) {
        e->bias = case_floats(c, INPUT_BIAS, columns, filling);
    }
    if (case_chance(c, 2)) {
        e->residual_stride = columns + case_gap(c, 7);
        e->residual =
            case_floats(c, INPUT_RESIDUAL, case_span(rows, e->residual_stride, columns), filling);
    }
    e->y = (float *)(void *)case_result(c, OUTPUT_FLOATS, "y", rows, columns, e->y_stride)->place;
    e->range = case_result_range(c, rows, &e->range_step);
}

static void describe_epilogue(const dynq_epilogue *e, FILE *out)
{
    static const char *const activations[] = {"none", "relu", "gelu", "tanh", "sigmoid"};
    fprintf(out, ", %s, activation %s, y_stride %zu", e->bias != NULL ? "bias" : "no bias",
            activations[e->activation], e->y_stride);
    if (e->residual != NULL) {
        fprintf(out, ", residual_stride %zu", e->residual_stride);
    }
    if (e->range != NULL) {
        fprintf(out, ", range_step %zu", e->range_step);
    }
}

/* All but the column sums. */
static void make_dequantize(kernel_case *c, size_t rows, size_t columns, dynq_dequantize *d)
{
    const case_filling filling = case_chance(c, 32) ? FILLING_ANY : FILLING_MODERATE;
    const size_t row_step = (size_t)case_chance(c, 2), ranges = row_step == 1 ? rows : 1;
    const int64_t border = case_chance(c, 4) ? 255 * (int64_t)case_between(c, 0, 1) : -1;
    *d = (dynq_dequantize){.row_step = row_step};
    d->column_scale = case_floats(c, INPUT_COLUMN_SCALE, columns, filling);
    d->row_scale = case_floats(c, INPUT_ROW_SCALE, ranges, FILLING_MODERATE);
    d->row_zero = case_integers(c, INPUT_ROW_ZERO, ranges, border < 0 ? 0 : border,
                                border < 0 ? 255 : border);
}

static void describe_dequantize(const dynq_dequantize *d, FILE *out)
{
    fprintf(out, ", row_step %zu, row_zero[0] %" PRId32, d->row_step, d->row_zero[0]);
}

static void fill_random(kernel_case *c, uint8_t *bytes, size_t count)
{
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= count; i += sizeof(uint64_t)) {
        const uint64_t r = case_random(c);
        memcpy(bytes + i, &r, sizeof r);
    }
    for (; i < count; i++) {
        bytes[i] = (uint8_t)case_random(c);
    }
}

typedef enum code_kind { CODES_RANDOM, CODES_CORNERS, CODES_EXTREME, CODES_COUNT } code_kind;

static const char *const code_names[] = {"random codes", "corner codes", "extreme codes"};

static void fill_codes(kernel_case *c, code_kind kind, uint8_t *q, size_t count)
{
    static const uint8_t corners[] = {0, 1, 127, 128, 254, 255, 0, 255};
    fill_random(c, q, count);
    if (kind == CODES_CORNERS) {
        for (size_t i = 0; i < count; i++) {
            q[i] = corners[q[i] % sizeof corners];
        }
    } else if (kind == CODES_EXTREME) {
        memset(q, case_chance(c, 8) ? 0 : 255, count);
    }
}

/* A whole panel; -128 is no weight. */
static void fill_weights(kernel_case *c, code_kind kind, int8_t *w, size_t count)
{
    static const int8_t corners[] = {-127, -1, 0, 1, 127, -127, 127, 127};
    fill_random(c, (uint8_t *)w, count);
    const int8_t extreme = case_chance(c, 2) ? -127 : 127;
    for (size_t i = 0; i < count; i++) {
        if (kind == CODES_RANDOM) {
            w[i] = w[i] == -128 ? -127 : w[i];
        } else {
            w[i] = kind == CODES_EXTREME ? extreme : corners[(uint8_t)w[i] % sizeof corners];
        }
    }
}

/* Zeros where there is no column or no input, and the sums of the `width` columns of a panel. */
static void finish_panel(int8_t *panel, size_t width, size_t k, size_t kpad, int32_t *column_sum)
{
    enum { GROUP = 4 };
    memset(column_sum, 0, width * sizeof *column_sum);
    for (size_t first = 0; first < kpad; first += GROUP) {
        int8_t *row = panel + first * PANEL;
        memset(row + width * GROUP, 0, (PANEL - width) * GROUP);
        for (size_t i = 0; i < width * GROUP; i++) {
            row[i] = first + i % GROUP < k ? row[i] : 0;
            column_sum[i / GROUP] += row[i];
        }
    }
}

/* An address that may be fetched ahead but not read: the unmapped page behind the panels. */
static const int8_t *unreadable(const kernel_case *c)
{
    const guarded *memory = &c->inputs[INPUT_PANELS];
    return (const int8_t *)memory->bytes + memory->size;
}

/* Panels of s8 weights without groups. */
static void make_weights(kernel_case *c, code_kind kind, size_t k, dynq_gemm_s8 *g,
                         int32_t *column_sum)
{
    const size_t panels = panel_count(g->columns), bytes = g->kpad * PANEL;
    int8_t *weights = case_room(c, INPUT_PANELS, panels * bytes);
    for (size_t p = 0; p < panels; p++) {
        const size_t left = g->columns - p * PANEL;
        fill_weights(c, kind, weights + p * bytes, bytes);
        finish_panel(weights + p * bytes, left < PANEL ? left : PANEL, k, g->kpad,
                     column_sum + p * PANEL);
    }
    g->panels = case_view(c, INPUT_PANELS, weights);
}

static weight_kind coded_weights(kernel_case *c, code_kind kind)
{
    switch (kind) {
    case CODES_CORNERS: return WEIGHTS_CORNERS;
    case CODES_EXTREME: return case_chance(c, 2) ? WEIGHTS_LOWEST : WEIGHTS_HIGHEST;
    default: return WEIGHTS_RANDOM;
    }
}

static void make_gemm_s8(kernel_case *c)
{
    dynq_gemm_s8 *g = &c->call.gemm_s8;
    case_shape s = gemm_shape(c, 700);
    code_kind kind = CODES_RANDOM;
    if (case_chance(c, 3)) {
        kind = (code_kind)case_between(c, CODES_CORNERS, CODES_EXTREME);
    }
    if (case_chance(c, 512)) { /* sums beyond 2^31 */
        s.rows = case_between(c, 1, 2);
        s.columns = case_between(c, 1, 20);
        s.k = 70016;
        kind = CODES_EXTREME;
    } else if (case_chance(c, 32)) { /* more rows than a kernel passes over its weights at once */
        s.rows = case_between(c, 80, 200);
        s.columns = case_between(c, 1, case_chance(c, 4) ? 140 : 40);
        s.k = case_between(c, 1, 100);
    }
    c->codes = code_names[kind];
    *g = (dynq_gemm_s8){.rows = s.rows, .columns = s.columns};
    g->kpad = (s.k + K_STEP - 1) / K_STEP * K_STEP;
    g->q_stride = g->kpad + case_gap(c, 63);
    const size_t codes = case_span(g->rows, g->q_stride, g->kpad);
    uint8_t *q = case_room(c, INPUT_X, codes);
    fill_codes(c, kind, q, codes);
    g->q = case_view(c, INPUT_X, q);

    int32_t *column_sum = case_room(c, INPUT_COLUMN_SUM, g->columns * sizeof *column_sum);
    const int coded = c->timed != NULL ? c->timed_codes.bits != 0 : case_chance(c, 2);
    const int hostile = coded && case_chance(c, 32);
    if (coded) {
        case_codes(c, hostile ? WEIGHTS_HOSTILE : coded_weights(c, kind), g, column_sum);
    } else {
        make_weights(c, kind, s.k, g, column_sum);
    }
    g->next = case_chance(c, 2) ? unreadable(c) : NULL;
    if (g->codes.group == 0 && case_chance(c, 4)) {
        g->sums_stride = g->columns + case_gap(c, 7);
        g->sums = (int32_t *)(void *)case_result(c, OUTPUT_INTEGERS, "sums", g->rows, g->columns,
                                                 g->sums_stride)
                      ->place;
    } else {
        make_dequantize(c, g->rows, g->columns, &g->dequantize);
        g->dequantize.column_sum =
            g->codes.group == 0 ? case_view(c, INPUT_COLUMN_SUM, column_sum) : NULL;
        make_epilogue(c, g->rows, g->columns, &g->epilogue);
    }
    for (size_t i = 0; i < c->output_count && hostile; i++) {
        c->outputs[i].kind = OUTPUT_SCRATCH;
    }
}

static void run_gemm_s8(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->gemm_s8(&c->call.gemm_s8);
}

static void describe_gemm_s8(const kernel_case *c, FILE *out)
{
    const dynq_gemm_s8 *g = &c->call.gemm_s8;
    fprintf(out, "rows %zu, columns %zu, kpad %zu, q_stride %zu, %s%s", g->rows, g->columns,
            g->kpad, g->q_stride, c->codes, g->next != NULL ? ", next" : "");
    if (g->codes.bits != 0) {
        fprintf(out, ", bits %u, levels_step %zu, group %zu", g->codes.bits, g->codes.levels_step,
                g->codes.group);
    }
    if (g->sums != NULL) {
        fprintf(out, ", sums_stride %zu", g->sums_stride);
        return;
    }
    describe_dequantize(&g->dequantize, out);
    describe_epilogue(&g->epilogue, out);
}

/* What networks have, or any finite numbers, subnormals among them, in FP16 or BF16. */
static uint16_t random_half(kernel_case *c, dynq_format format, int moderate)
{
    const unsigned exponent_bits = format == DYNQ_FORMAT_BF16 ? 8 : 5, place = 15 - exponent_bits;
    const unsigned largest = (1u << exponent_bits) - 1, bias = largest / 2;
    const unsigned bits = (unsigned)(case_random(c) & 0xFFFF), exponent = bits >> place & largest;
    if (moderate) {
        return (uint16_t)((bits & ~(largest << place)) | (bias - 6 + exponent % 8) << place);
    }
    return (uint16_t)(exponent == largest ? bits ^ 1u << place : bits);
}

/* Panels of halves; zeros where there is no column and no input. */
static const void *make_halves(kernel_case *c, const dynq_gemm_f32 *g)
{
    const int bf16 = g->format == DYNQ_FORMAT_BF16, moderate = !case_chance(c, 4);
    const size_t inputs = bf16 ? 2 : 1, steps = (g->k + inputs - 1) / inputs;
    const size_t count = panel_count(g->columns) * steps * PANEL * inputs;
    uint16_t *halves = case_room(c, INPUT_PANELS, count * sizeof *halves);
    for (size_t i = 0; i < count; i++) {
        const size_t row = i / inputs / PANEL, column = i / inputs % PANEL + row / steps * PANEL;
        const size_t k = row % steps * inputs + i % inputs;
        const uint16_t half = random_half(c, g->format, moderate);
        halves[i] = column < g->columns && k < g->k ? half : 0;
    }
    return case_view(c, INPUT_PANELS, halves);
}

static const void *make_floats(kernel_case *c, const dynq_gemm_f32 *g)
{
    const size_t panels = panel_count(g->columns), count = panels * PANEL * g->k;
    const float *weights = case_floats(c, INPUT_PANELS, count, FILLING_MODERATE);
    float *last = case_room(c, INPUT_PANELS, count * sizeof *last);
    last += (panels - 1) * PANEL * g->k;
    for (size_t i = 0; i < PANEL * g->k; i++) {
        last[i] = (panels - 1) * PANEL + i % PANEL < g->columns ? last[i] : 0.0f;
    }
    return weights;
}

static void make_gemm_f32(kernel_case *c)
{
    static const dynq_format formats[] = {(dynq_format)0, DYNQ_FORMAT_FP32, DYNQ_FORMAT_FP16,
                                          DYNQ_FORMAT_BF16};
    dynq_gemm_f32 *g = &c->call.gemm_f32;
    case_shape s = gemm_shape(c, 200);
    const case_filling filling = case_chance(c, 8) ? case_some_filling(c) : FILLING_MODERATE;
    if (case_chance(c, 64)) { /* more than a kernel widens at once */
        s.rows = case_between(c, 12, 110);
        s.k = case_between(c, 120, 400);
    }
    *g = (dynq_gemm_f32){.rows = s.rows, .columns = s.columns, .k = s.k};
    g->format = c->timed != NULL ? c->timed_format : formats[case_between(c, 0, 3)];
    g->x_stride = s.k + case_gap(c, 7);
    g->x = case_floats(c, INPUT_X, case_span(s.rows, g->x_stride, s.k), filling);
    g->panels = g->format == DYNQ_FORMAT_FP16 || g->format == DYNQ_FORMAT_BF16 ? make_halves(c, g)
                                                                               : make_floats(c, g);
    if (case_chance(c, 4)) {
        g->products_stride = s.columns + case_gap(c, 7);
        g->products = (float *)(void *)case_result(c, OUTPUT_FLOATS, "products", s.rows, s.columns,
                                                   g->products_stride)
                          ->place;
    } else {
        make_epilogue(c, s.rows, s.columns, &g->epilogue);
    }
}

static void run_gemm_f32(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->gemm_f32(&c->call.gemm_f32);
}

static void describe_gemm_f32(const kernel_case *c, FILE *out)
{
    const dynq_gemm_f32 *g = &c->call.gemm_f32;
    static const char *const formats[] = {"FP32", "", "FP32", "FP16", "BF16"};
    fprintf(out, "rows %zu, columns %zu, k %zu, x_stride %zu, weights in %s", g->rows, g->columns,
            g->k, g->x_stride, formats[g->format]);
    if (g->products != NULL) {
        fprintf(out, ", products_stride %zu", g->products_stride);
        return;
    }
    describe_epilogue(&g->epilogue, out);
}

static void make_epilogue_s32(kernel_case *c)
{
    const case_shape s = gemm_shape(c, 8);
    const size_t stride = s.columns + case_gap(c, 7), count = case_span(s.rows, stride, s.columns);
    const int64_t limit = case_chance(c, 2) ? INT32_MAX : 1 << 20;
    c->call.products.rows = s.rows;
    c->call.products.columns = s.columns;
    c->call.products.stride = stride;
    c->call.products.products = case_integers(c, INPUT_PRODUCTS, count, -limit - 1, limit);
    make_dequantize(c, s.rows, s.columns, &c->call.products.dequantize);
    c->call.products.dequantize.column_sum =
        case_integers(c, INPUT_COLUMN_SUM, s.columns, -limit - 1, limit);
    make_epilogue(c, s.rows, s.columns, &c->call.products.epilogue);
}

static void run_epilogue_s32(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->epilogue_s32(c->call.products.rows, c->call.products.columns, c->call.products.products,
                         c->call.products.stride, &c->call.products.dequantize,
                         &c->call.products.epilogue);
}

/* Some cases work in place: the products lie where y comes. */
static void make_epilogue_f32(kernel_case *c)
{
    const case_shape s = gemm_shape(c, 8);
    size_t stride = s.columns + case_gap(c, 7);
    dynq_epilogue *e = &c->call.products.epilogue;
    make_epilogue(c, s.rows, s.columns, e);
    const int in_place = case_chance(c, 4);
    if (in_place) {
        stride = e->y_stride;
    }
    const size_t count = case_span(s.rows, stride, s.columns);
    const float *products = case_floats(c, INPUT_PRODUCTS, count, case_some_filling(c));
    if (in_place) {
        memcpy(c->outputs[0].initial, products, count * sizeof *products);
        products = e->y;
    }
    c->call.products.rows = s.rows;
    c->call.products.columns = s.columns;
    c->call.products.stride = stride;
    c->call.products.products = products;
}

static void run_epilogue_f32(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->epilogue_f32(c->call.products.rows, c->call.products.columns, c->call.products.products,
                         c->call.products.stride, &c->call.products.epilogue);
}

static void describe_products(const kernel_case *c, FILE *out)
{
    const dynq_epilogue *e = &c->call.products.epilogue;
    fprintf(out, "rows %zu, columns %zu, stride %zu%s", c->call.products.rows,
            c->call.products.columns, c->call.products.stride,
            c->call.products.products == e->y ? ", in place" : "");
    describe_epilogue(e, out);
}

static void describe_epilogue_s32(const kernel_case *c, FILE *out)
{
    describe_products(c, out);
    describe_dequantize(&c->call.products.dequantize, out);
}

const check_function check_gemm_s8 = {
    .name = "gemm_s8", .make = make_gemm_s8, .run = run_gemm_s8, .describe = describe_gemm_s8};
const check_function check_gemm_f32 = {
    .name = "gemm_f32", .make = make_gemm_f32, .run = run_gemm_f32, .describe = describe_gemm_f32};
const check_function check_epilogue_s32 = {.name = "epilogue_s32",
                                           .make = make_epilogue_s32,
                                           .run = run_epilogue_s32,
                                           .describe = describe_epilogue_s32};
const check_function check_epilogue_f32 = {.name = "epilogue_f32",
                                           .make = make_epilogue_f32,
                                           .run = run_epilogue_f32,
                                           .describe = describe_products};
