/* FP32 products with weights of half the size: the reference against floats that are widened here
 * in another way. kernel_check.c compares the other kernels with it. */
#include "kernels/ref_math.h"
#include "kernels/table.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { PANEL = 16 };

static float widened(dynq_format format, uint16_t half)
{
    if (format == DYNQ_FORMAT_BF16) {
        return dynq_ref_from_bits((uint32_t)half << 16);
    }
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                            : exponent == 0 ? ldexpf((float)fraction, -24)
                                            : ldexpf((float)(fraction + 1024), exponent - 25);
    return half >> 15 ? -magnitude : magnitude;
}

/* One input of 1 by every number there is: the product is that number. */
static void check_every_half(dynq_format format)
{
    enum { COUNT = 1 << 16 };
    const float one = 1.0f;
    uint16_t *panels = aligned_alloc(64, COUNT * 2 * sizeof *panels);
    float *products = malloc(COUNT * sizeof *products);
    for (size_t i = 0; i < COUNT; i++) {
        panels[format == DYNQ_FORMAT_BF16 ? 2 * i : i] = (uint16_t)i;
        if (format == DYNQ_FORMAT_BF16) {
            panels[2 * i + 1] = 0;
        }
    }
    const dynq_gemm_f32 gemm = {.rows = 1,
                                .columns = COUNT,
                                .k = 1,
                                .x = &one,
                                .x_stride = 1,
                                .panels = panels,
                                .format = format,
                                .products = products,
                                .products_stride = COUNT};
    dynq_kernel_ref.gemm_f32(&gemm);
    for (size_t i = 0; i < COUNT; i++) {
        const float want = widened(format, (uint16_t)i) + 0.0f; /* no product is -0 */
        cr_assert(isnan(want) ? isnan(products[i]) : memcmp(&want, &products[i], sizeof want) == 0,
                  "%#zx is %a, not %a", i, (double)products[i], (double)want);
    }
    free(panels);
    free(products);
}

Test(halves, every_number)
{
    check_every_half(DYNQ_FORMAT_FP16);
    check_every_half(DYNQ_FORMAT_BF16);
}

/* The same bits as with FP32 weights of the same values. */
static void check_product(dynq_format format, size_t rows, size_t columns, size_t k)
{
    const size_t width = (columns + PANEL - 1) / PANEL * PANEL, deep = k + k % 2;
    uint16_t *halves = aligned_alloc(64, width * deep * sizeof *halves);
    float *w = aligned_alloc(64, width * deep * sizeof *w);
    float *x = malloc(rows * k * sizeof *x);
    float *y = calloc(2 * rows * columns, sizeof *y);
    uint32_t state = (uint32_t)(rows + columns + k);
    memset(halves, 0, width * deep * sizeof *halves);
    for (size_t i = 0; i < width * k; i++) {
        state = state * 1664525u + 1013904223u;
        const uint16_t half = (uint16_t)(state >> 16 & 0xBFFF);
        const size_t n = i / k, input = i % k, panel = n / PANEL, c = n % PANEL;
        const size_t pair = (panel * deep / 2 + input / 2) * PANEL + c;
        halves[format == DYNQ_FORMAT_BF16 ? pair * 2 + input % 2
                                          : (panel * k + input) * PANEL + c] = half;
        w[(panel * k + input) * PANEL + c] = widened(format, half);
    }
    for (size_t i = 0; i < rows * k; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
    dynq_gemm_f32 gemm = {.rows = rows, .columns = columns, .k = k, .x = x, .x_stride = k};
    gemm.epilogue = (dynq_epilogue){.y = y, .y_stride = columns};
    gemm.panels = w;
    dynq_kernel_ref.gemm_f32(&gemm);
    gemm.format = format;
    gemm.panels = halves;
    gemm.epilogue.y = y + rows * columns;
    dynq_kernel_ref.gemm_f32(&gemm);
    cr_assert_eq(memcmp(y, y + rows * columns, rows * columns * sizeof *y), 0);
    free(halves);
    free(w);
    free(x);
    free(y);
}

Test(halves, the_bits_of_widened_weights)
{
    for (size_t k = 1; k <= 9; k++) {
        for (size_t columns = 1; columns <= 34; columns += 3) {
            check_product(DYNQ_FORMAT_FP16, 3, columns, k);
            check_product(DYNQ_FORMAT_BF16, 3, columns, k);
        }
    }
}
