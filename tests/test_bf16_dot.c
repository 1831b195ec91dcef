/* The product with the CPU's dot product of BF16 against what kernels/README.md says of it, bit for
 * bit, and against sums in double precision. On other CPUs only that there is none. */
#include "kernels/ref_epilogue.h"
#include "src/cpu.h"
#include "tests/guarded.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { PANEL = 16 };

typedef struct product {
    dynq_gemm_f32 gemm;
    guarded x, panels, y;
    uint32_t random;
} product;

/* The product of this CPU, or NULL. */
static dynq_gemm_bf16 *dot_product(void)
{
    return dynq_kernel_bf16(dynq_kernel_best(dynq_cpu_features()), dynq_cpu_features());
}

Test(bf16_dot, who_has_it)
{
    const dynq_kernel *kernel = NULL;
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        const int has = dynq_kernel_bf16(kernel, UINT32_MAX) != NULL;
        cr_assert_eq(has, strncmp(kernel->name, "avx512", strlen("avx512")) == 0);
        cr_assert_null(dynq_kernel_bf16(kernel, UINT32_MAX & ~(uint32_t)DYNQ_CPU_AVX512_BF16));
        for (uint32_t bit = 1; bit != 0; bit <<= 1) {
            if ((kernel->features & bit) != 0) {
                cr_assert_null(dynq_kernel_bf16(kernel, ~bit));
            }
        }
    }
}

static uint32_t random_bits(product *p)
{
    p->random = p->random * 1664525u + 1013904223u;
    return p->random >> 8;
}

/* Of a moderate size, or else any finite number. */
static uint32_t random_float(product *p, int moderate)
{
    const uint32_t sign = random_bits(p) << 31, fraction = random_bits(p) & 0x7FFFFF;
    const uint32_t exponent = moderate ? 120 + random_bits(p) % 10 : random_bits(p) % 255;
    return sign | exponent << 23 | fraction;
}

static uint8_t *end_of(uint8_t *side, const guarded *memory, size_t bytes)
{
    return side + guarded_offset(memory, bytes, 0, 1);
}

static product product_create(size_t rows, size_t columns, size_t k, int moderate)
{
    product p = {.random = (uint32_t)(rows * 97 + columns * 13 + k)};
    const size_t x_stride = k + random_bits(&p) % 3, y_stride = columns + random_bits(&p) % 3;
    const size_t x_bytes = ((rows - 1) * x_stride + k) * sizeof(float);
    const size_t y_bytes = ((rows - 1) * y_stride + columns) * sizeof(float);
    const size_t pairs = (k + 1) / 2, panels = (columns + PANEL - 1) / PANEL;
    const size_t panel_bytes = panels * pairs * PANEL * 2 * sizeof(uint16_t);
    p.x = guarded_create(x_bytes, 0);
    p.panels = guarded_create(panel_bytes, 0);
    p.y = guarded_create(y_bytes, 1);
    uint32_t *x = (uint32_t *)(void *)end_of(p.x.fill, &p.x, x_bytes);
    uint16_t *w = (uint16_t *)(void *)end_of(p.panels.fill, &p.panels, panel_bytes);
    for (size_t i = 0; i < x_bytes / sizeof *x; i++) {
        x[i] = random_float(&p, moderate);
    }
    for (size_t i = 0; i < panel_bytes / sizeof *w; i++) {
        const size_t column = i / 2 / PANEL / pairs * PANEL + i / 2 % PANEL;
        const size_t input = i / 2 / PANEL % pairs * 2 + i % 2;
        const uint16_t half = (uint16_t)(random_float(&p, moderate) >> 16);
        w[i] = column < columns && input < k ? half : 0;
    }
    p.gemm = (dynq_gemm_f32){.rows = rows,
                             .columns = columns,
                             .k = k,
                             .x = (const float *)(void *)end_of(p.x.bytes, &p.x, x_bytes),
                             .x_stride = x_stride,
                             .panels = end_of(p.panels.bytes, &p.panels, panel_bytes),
                             .format = DYNQ_FORMAT_BF16};
    p.gemm.products = (float *)(void *)end_of(p.y.bytes, &p.y, y_bytes);
    p.gemm.products_stride = y_stride;
    return p;
}

static void product_free(product *p)
{
    guarded_free(&p->x);
    guarded_free(&p->panels);
    guarded_free(&p->y);
}

static float flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* To the nearest BF16, ties to even. */
static float rounded(float x)
{
    const uint32_t bits = dynq_ref_bits(flushed(x));
    return dynq_ref_from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}

static float weight_of(const dynq_gemm_f32 *gemm, size_t n, size_t k)
{
    const uint16_t *w = gemm->panels;
    const size_t pair = n / PANEL * ((gemm->k + 1) / 2) + k / 2;
    return dynq_ref_from_bf16(w[(pair * PANEL + n % PANEL) * 2 + k % 2]);
}

/* The second input of a pair first; behind an odd k, a product of zeros. */
static float expected(const dynq_gemm_f32 *gemm, size_t m, size_t n)
{
    const float *x = gemm->x + m * gemm->x_stride;
    float acc = 0.0f;
    for (size_t k = 0; k < gemm->k; k += 2) {
        const float odd = k + 1 < gemm->k ? rounded(x[k + 1]) : 0.0f;
        const float odd_weight = k + 1 < gemm->k ? weight_of(gemm, n, k + 1) : 0.0f;
        acc = flushed(fmaf(odd, flushed(odd_weight), acc));
        acc = flushed(fmaf(rounded(x[k]), flushed(weight_of(gemm, n, k)), acc));
    }
    return acc;
}

static void check_bits(size_t rows, size_t columns, size_t k, int moderate)
{
    product p = product_create(rows, columns, k, moderate);
    memset(p.y.fill, 0x5A, p.y.size);
    dot_product()(&p.gemm);
    for (size_t m = 0; m < rows; m++) {
        const float *products = p.gemm.products + m * p.gemm.products_stride;
        for (size_t n = 0; n < columns; n++) {
            const float want = expected(&p.gemm, m, n);
            cr_assert(memcmp(&products[n], &want, sizeof want) == 0 ||
                          (isnan(want) && isnan(products[n])),
                      "[%zu][%zu] of %zu x %zu x %zu is %a, not %a", m, n, rows, k, columns,
                      (double)products[n], (double)want);
        }
        for (size_t n = columns; n < p.gemm.products_stride && m + 1 < rows; n++) {
            cr_assert_eq(dynq_ref_bits(products[n]), 0x5A5A5A5A);
        }
    }
    product_free(&p);
}

Test(bf16_dot, the_bits_that_are_specified)
{
    for (size_t columns = 1; columns <= 80 && dot_product() != NULL; columns++) {
        for (size_t rows = 1; rows <= 7; rows++) {
            check_bits(rows, columns, 1 + (rows * 5 + columns * 3) % 37, columns % 4 != 0);
        }
    }
}

/* More rows, columns and inputs than go at once, odd and even. */
Test(bf16_dot, pieces)
{
    if (dot_product() != NULL) {
        check_bits(51, 21, 37, 1);
        check_bits(2, 530, 33, 1);
        check_bits(3, 35, 1029, 1);
        check_bits(26, 261, 514, 1);
    }
}

/* The products of both ways are as near as x is to a BF16: 2^-9 of each product, and roundings. */
Test(bf16_dot, near_sums_in_double_precision)
{
    enum { ROWS = 5, COLUMNS = 40, K = 301 };
    if (dot_product() == NULL) {
        return;
    }
    product p = product_create(ROWS, COLUMNS, K, 1);
    dot_product()(&p.gemm);
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t n = 0; n < COLUMNS; n++) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t k = 0; k < K; k++) {
                const double term =
                    (double)p.gemm.x[m * p.gemm.x_stride + k] * (double)weight_of(&p.gemm, n, k);
                sum += term;
                magnitude += fabs(term);
            }
            const double got = p.gemm.products[m * p.gemm.products_stride + n];
            cr_assert_leq(fabs(got - sum), magnitude * (0x1p-9 + K * 0x1p-24));
        }
    }
    product_free(&p);
}

/* Ties of x go to even; NaN and Inf are not hidden; the epilogue is the one of FP32. */
Test(bf16_dot, edges_and_epilogue)
{
    static const float x[] = {0x1.01p0f, 0x1.03p0f, -0x1.01p0f, 0x1.010002p0f,
                              3.4e38f,   1e-40f,    NAN,        INFINITY};
    static const float want[] = {2.0f, 0x1.04p0f + 1.0f, 0.0f, 0x1.02p0f + 1.0f, INFINITY, 1.0f,
                                 NAN,  INFINITY};
    enum { COUNT = sizeof x / sizeof x[0] };
    if (dot_product() == NULL) {
        return;
    }
    _Alignas(64) uint16_t panel[2 * PANEL] = {0x3F80};
    const float bias = 1.0f;
    float y[COUNT];
    const dynq_gemm_f32 gemm = {.rows = COUNT,
                                .columns = 1,
                                .k = 1,
                                .x = x,
                                .x_stride = 1,
                                .panels = panel,
                                .format = DYNQ_FORMAT_BF16,
                                .epilogue = {.bias = &bias, .y = y, .y_stride = 1}};
    dot_product()(&gemm);
    for (size_t m = 0; m < COUNT; m++) {
        cr_assert(isnan(want[m]) ? isnan(y[m]) : y[m] == want[m], "%zu is %a, not %a", m,
                  (double)y[m], (double)want[m]);
    }
}
