/* INT16 against sums of 128 bits and roundings of the C library, in memory that ends at an unmapped
 * page. */
#include "kernels/kernel.h"
#include "kernels/ref_epilogue.h"
#include "tests/guarded.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { PANEL = 16, LIMIT = 32767 };

typedef struct product {
    size_t rows, columns, kpad, q_stride, y_stride, row_step, range_step;
    guarded q, panels, y;
    float *column_scale, *row_scale, *bias, *residual;
    dynq_range_bits *range;
} product;

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float *floats(uint32_t *state, size_t count, float scale)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = scale * ((float)next_random(state) * 0x1p-23f - 1.0f);
    }
    return values;
}

static void *end_of(const guarded *memory, size_t bytes, size_t alignment)
{
    const size_t offset = guarded_offset(memory, bytes, 0, 1);
    cr_assert_eq(offset % alignment, 0);
    return memory->fill + offset;
}

/* Codes of one magnitude, `extreme`, or else of any. */
static void fill(int16_t *codes, size_t count, int extreme, uint32_t *state)
{
    for (size_t i = 0; i < count; i++) {
        codes[i] = extreme != 0 ? (int16_t)extreme : (int16_t)(next_random(state) % 65535 - LIMIT);
    }
}

static product product_create(size_t rows, size_t columns, size_t kpad, int extreme)
{
    uint32_t state = (uint32_t)(rows * 31 + columns * 7 + kpad);
    product p = {.rows = rows, .columns = columns, .kpad = kpad};
    p.q_stride = kpad + next_random(&state) % 3;
    p.y_stride = columns + next_random(&state) % 3;
    p.row_step = next_random(&state) % 2;
    p.range_step = next_random(&state) % 2;
    const size_t panels = (columns + PANEL - 1) / PANEL * PANEL * kpad;
    const size_t codes = (rows - 1) * p.q_stride + kpad;
    p.q = guarded_create(codes * sizeof(int16_t), 0);
    p.panels = guarded_create(panels * sizeof(int16_t), 0);
    p.y = guarded_create(((rows - 1) * p.y_stride + columns) * sizeof(float), 1);
    fill(end_of(&p.q, codes * sizeof(int16_t), 2), codes, extreme, &state);
    fill(end_of(&p.panels, panels * sizeof(int16_t), 64), panels, extreme < 0 ? -extreme : extreme,
         &state);
    p.column_scale = floats(&state, columns, 1e-3f);
    p.row_scale = floats(&state, rows, 1e-3f);
    p.bias = floats(&state, columns, 1e3f);
    p.residual = floats(&state, rows * columns, 1e3f);
    p.range = calloc(rows, sizeof *p.range);
    return p;
}

static void product_free(product *p)
{
    guarded_free(&p->q);
    guarded_free(&p->panels);
    guarded_free(&p->y);
    free(p->column_scale);
    free(p->row_scale);
    free(p->bias);
    free(p->residual);
    free(p->range);
}

static dynq_gemm_s16 gemm_of(const product *p, dynq_activation activation, int bare)
{
    const size_t codes = ((p->rows - 1) * p->q_stride + p->kpad) * sizeof(int16_t);
    const size_t panels = (p->columns + PANEL - 1) / PANEL * PANEL * p->kpad * sizeof(int16_t);
    const size_t results = ((p->rows - 1) * p->y_stride + p->columns) * sizeof(float);
    dynq_gemm_s16 gemm = {.rows = p->rows,
                          .columns = p->columns,
                          .kpad = p->kpad,
                          .q_stride = p->q_stride,
                          .column_scale = p->column_scale,
                          .row_scale = p->row_scale,
                          .row_step = p->row_step};
    gemm.q = (const int16_t *)(const void *)(p->q.bytes + guarded_offset(&p->q, codes, 0, 1));
    gemm.panels =
        (const int16_t *)(const void *)(p->panels.bytes + guarded_offset(&p->panels, panels, 0, 1));
    gemm.epilogue = (dynq_epilogue){
        .activation = activation, .y_stride = p->y_stride, .residual_stride = p->columns};
    gemm.epilogue.y = (float *)(void *)(p->y.bytes + guarded_offset(&p->y, results, 0, 1));
    if (!bare) {
        gemm.epilogue.bias = p->bias;
        gemm.epilogue.residual = p->residual;
        gemm.epilogue.range = p->range;
        gemm.epilogue.range_step = p->range_step;
    }
    return gemm;
}

/* The sum in 128 bits, which is rounded once. */
static float expected(const dynq_gemm_s16 *gemm, size_t m, size_t n)
{
    __int128 sum = 0;
    for (size_t k = 0; k < gemm->kpad; k++) {
        const size_t pair = (n / PANEL * gemm->kpad / 2 + k / 2) * PANEL + n % PANEL;
        sum += (__int128)gemm->q[m * gemm->q_stride + k] * gemm->panels[pair * 2 + k % 2];
    }
    const dynq_epilogue *e = &gemm->epilogue;
    const float scale = gemm->row_scale[m * gemm->row_step] * gemm->column_scale[n];
    const float v = fmaf((float)sum, scale, e->bias != NULL ? e->bias[n] : 0.0f);
    const float y = dynq_ref_activate(e->activation, v);
    return e->residual != NULL ? y + e->residual[m * e->residual_stride + n] : y;
}

static void check_product(size_t rows, size_t columns, size_t kpad, int extreme,
                          dynq_activation activation, int bare)
{
    product p = product_create(rows, columns, kpad, extreme);
    const dynq_gemm_s16 gemm = gemm_of(&p, activation, bare);
    dynq_range_bits *range = calloc(rows, sizeof *range);
    memset(p.y.fill, 0x5A, p.y.size);
    dynq_portable_gemm_s16(&gemm);
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < columns; n++) {
            const float want = expected(&gemm, m, n), got = gemm.epilogue.y[m * p.y_stride + n];
            cr_assert_eq(memcmp(&want, &got, sizeof got), 0,
                         "[%zu][%zu] of %zu x %zu x %zu is %a, not %a", m, n, rows, kpad, columns,
                         (double)got, (double)want);
            if (!bare) {
                dynq_ref_join(&range[m * p.range_step], &want, 1);
            }
        }
        for (size_t n = columns; n < p.y_stride && m + 1 < rows; n++) {
            cr_assert_eq(dynq_ref_bits(gemm.epilogue.y[m * p.y_stride + n]), 0x5A5A5A5A);
        }
    }
    cr_assert_eq(memcmp(range, p.range, rows * sizeof *range), 0);
    free(range);
    product_free(&p);
}

Test(portable_s16, sums_are_exact)
{
    static const size_t depths[] = {2, 6, 30, 64, 510, 512, 514, 1100};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        for (size_t columns = 1; columns <= 35; columns += 3) {
            const dynq_activation activation = (dynq_activation)((i + columns) % 6);
            check_product(1 + (columns + i) % 5, columns, depths[i], 0, activation,
                          (i + columns) % 4 == 0);
        }
    }
    check_product(33, 17, 70, 0, DYNQ_ACTIVATION_NONE, 1);
    check_product(70, 5, 514, 0, DYNQ_ACTIVATION_GELU, 0);
}

/* Sums far beyond 2^32, all products of one sign. */
Test(portable_s16, largest_codes)
{
    check_product(2, 18, 512, LIMIT, DYNQ_ACTIVATION_NONE, 1);
    check_product(2, 18, 514, -LIMIT, DYNQ_ACTIVATION_NONE, 1);
    check_product(2, 3, 70016, LIMIT, DYNQ_ACTIVATION_NONE, 1);
    check_product(1, 3, 70016, -LIMIT, DYNQ_ACTIVATION_RELU, 0);
}

/* A sum that a double of its float would round twice, or an int32 not hold: 2^24 + 1 and more. */
Test(portable_s16, sums_are_rounded_once)
{
    enum { K = 4 };
    _Alignas(64) int16_t panels[K * PANEL] = {0};
    const int16_t q[K] = {LIMIT, LIMIT, 1, 0};
    const float one = 1.0f;
    panels[0] = panels[1] = LIMIT;
    float y = 0.0f;
    dynq_gemm_s16 gemm = {.rows = 1,
                          .columns = 1,
                          .kpad = K,
                          .q = q,
                          .q_stride = K,
                          .panels = panels,
                          .column_scale = &one,
                          .row_scale = &one,
                          .epilogue = {.y = &y, .y_stride = 1}};
    for (int last = -200; last <= 200; last++) {
        panels[2 * PANEL] = (int16_t)last;
        dynq_portable_gemm_s16(&gemm);
        cr_assert_float_eq((double)y, (double)(float)(2LL * LIMIT * LIMIT + last), 0.0);
    }
}

static void check_codes(const float *x, const int16_t *codes, size_t count, float inverse,
                        const dynq_range_bits *range)
{
    int16_t q[64];
    dynq_range_bits seen = {0, 0};
    memset(q, 0x5A, sizeof q);
    const dynq_quantize_s16 block = {.rows = 1,
                                     .columns = count,
                                     .padded = count + 1,
                                     .x = x,
                                     .x_stride = count,
                                     .row_inverse = &inverse,
                                     .q = q,
                                     .q_stride = count + 1,
                                     .range = &seen};
    dynq_portable_quantize_s16(&block);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(q[i], codes[i], "code %zu is %d, not %d", i, q[i], codes[i]);
    }
    cr_assert_eq(q[count], 0);
    cr_assert_eq(q[count + 1], 0x5A5A);
    cr_assert_eq(memcmp(&seen, range, sizeof seen), 0);
}

Test(portable_s16, edges_of_codes)
{
    static const float x[] = {0.5f,     1.5f,      2.5f,      -0.5f,     -1.5f,     -2.5f,
                              32766.5f, -32766.5f, 32767.4f,  32768.0f,  -32768.0f, 1e38f,
                              -1e38f,   INFINITY,  -INFINITY, 0x1p-149f, -0.0f,     0.49999997f,
                              0x1p31f,  -0x1p31f,  3e9f};
    static const int16_t codes[] = {0,      2,     2,     0,      -2,    -2,     32766,
                                    -32766, 32767, 32767, -32767, 32767, -32767, 32767,
                                    -32767, 0,     0,     0,      32767, -32767, 32767};
    const dynq_range_bits range = {0x7F800000, 0xFF800000};
    check_codes(x, codes, sizeof x / sizeof x[0], 1.0f, &range);
    const float nan[] = {NAN, 1.0f, -NAN};
    const int16_t least[] = {-LIMIT, 3, -LIMIT};
    dynq_range_bits of_nan = {0, 0};
    dynq_ref_join(&of_nan, nan, 3);
    check_codes(nan, least, 3, 3.0f, &of_nan);
}

/* All widths, strides and inverses, against rintf and clamping in the obvious way. */
Test(portable_s16, quantizes_rows)
{
    enum { ROWS = 3, MOST = 70 };
    uint32_t state = 1;
    for (size_t columns = 1; columns <= MOST; columns++) {
        const size_t padded = columns + columns % 2, stride = padded + 3;
        const size_t step = columns % 3 == 0, count = 2 * stride + padded;
        float *x = floats(&state, ROWS * columns, 40000.0f);
        const float inverse[ROWS] = {1.0f, 0.37f, 1.9f};
        guarded memory = guarded_create(count * sizeof(int16_t), 1);
        int16_t *q = end_of(&memory, count * sizeof(int16_t), 2);
        const dynq_quantize_s16 block = {.rows = ROWS,
                                         .columns = columns,
                                         .padded = padded,
                                         .x = x,
                                         .x_stride = columns,
                                         .row_inverse = inverse,
                                         .row_step = step,
                                         .q = q,
                                         .q_stride = stride};
        memset(q, 0x5A, count * sizeof *q);
        dynq_portable_quantize_s16(&block);
        for (size_t i = 0; i < count; i++) {
            const size_t m = i / stride, c = i % stride;
            const float v = c < columns ? rintf(x[m * columns + c] * inverse[m * step]) : 0.0f;
            const float clamped = v > LIMIT ? LIMIT : v < -LIMIT ? -LIMIT : v;
            cr_assert_eq(q[i], c < padded ? (int16_t)clamped : 0x5A5A);
        }
        guarded_free(&memory);
        free(x);
    }
}
