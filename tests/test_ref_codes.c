/* The reference's product of codes of levels and of groups against the formulas of
 * kernels/README.md, over weights that never were in a panel. kernel_check.c compares the other
 * kernels with this one. */
#include "kernels/kernel.h"
#include "kernels/table.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 3, COLUMNS = 21, PANELS = 2, K = 192, MOST_GROUPS = 6, TABLES = 2 };

typedef struct product {
    uint8_t q[ROWS][K];
    int8_t w[K][16 * PANELS]; /* what numbers stand for */
    uint8_t number[K][16 * PANELS];
    int8_t levels[TABLES * 16];
    float factor[MOST_GROUPS][16 * PANELS];
    uint16_t half[MOST_GROUPS][16 * PANELS];
    float column_scale[COLUMNS], row_scale[ROWS], bias[COLUMNS], y[ROWS][COLUMNS];
    int32_t column_sum[COLUMNS], row_zero[ROWS], sums[ROWS][COLUMNS];
    _Alignas(64) uint8_t panels[PANELS * (K * 16 + MOST_GROUPS * 64)];
} product;

static product p;

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void fill(unsigned bits, size_t tables)
{
    uint32_t state = bits;
    p = (product){0};
    for (size_t i = 0; i < sizeof p.levels; i++) {
        p.levels[i] = (int8_t)(next(&state) % 255 - 127);
    }
    for (size_t k = 0; k < K; k++) {
        for (size_t m = 0; m < ROWS; m++) {
            p.q[m][k] = (uint8_t)next(&state);
        }
        for (size_t n = 0; n < 16 * PANELS; n++) {
            const size_t table = tables == 1 ? 0 : n / 16;
            p.number[k][n] = (uint8_t)(next(&state) & ((1u << bits) - 1));
            p.w[k][n] = bits == 8 ? (int8_t)(p.number[k][n] % 255 - 127)
                                  : p.levels[(table << bits) + p.number[k][n]];
            if (n < COLUMNS) {
                p.column_sum[n] += p.w[k][n];
            }
        }
    }
    for (size_t n = 0; n < 16 * PANELS; n++) {
        for (size_t g = 0; g < MOST_GROUPS; g++) { /* (1 + fraction / 1024) * 2^-(n % 7) */
            const unsigned fraction = next(&state) % 1024;
            p.factor[g][n] = ldexpf(1.0f + (float)fraction / 1024.0f, -(int)(n % 7));
            p.half[g][n] = (uint16_t)((15 - n % 7) << 10 | fraction);
        }
    }
    for (size_t n = 0; n < COLUMNS; n++) {
        p.column_scale[n] = 0.001f * (float)(n + 1);
        p.bias[n] = (float)n - 7.5f;
    }
    for (size_t m = 0; m < ROWS; m++) {
        p.row_scale[m] = 0.37f + (float)m;
        p.row_zero[m] = (int32_t)(m * 101);
    }
}

/* Code of input k of column c of a panel, among those of a panel or of a group. */
static void put(uint8_t *codes, unsigned bits, size_t k, size_t c, unsigned code)
{
    if (bits == 8) {
        codes[k / 4 * 64 + 4 * c + k % 4] = (uint8_t)code;
    } else if (bits == 4) {
        codes[k / 8 * 64 + 4 * c + k % 4] |= (uint8_t)(code << (k % 8 < 4 ? 0 : 4));
    } else {
        codes[k / 16 * 64 + 4 * c + k % 4] |= (uint8_t)(code << 2 * (k % 16 / 4));
    }
}

static void pack(unsigned bits, size_t group)
{
    uint8_t *to = p.panels;
    const size_t depth = group == 0 ? K : group;
    for (size_t panel = 0; panel < PANELS; panel++) {
        for (size_t k = 0; k < K; k += depth) {
            const size_t inputs = K - k < depth ? K - k : depth;
            int16_t sum[16] = {0};
            uint8_t *codes = to + (group == 0 ? 0 : 64);
            for (size_t i = 0; i < inputs * 16; i++) {
                const size_t n = panel * 16 + i % 16;
                const int8_t w = p.w[k + i / 16][n];
                put(codes, bits, i / 16, i % 16, bits == 8 ? (uint8_t)w : p.number[k + i / 16][n]);
                sum[i % 16] = (int16_t)(sum[i % 16] + w);
            }
            if (group != 0) {
                memcpy(to, &p.half[k / group][panel * 16], 32);
                memcpy(to + 32, sum, sizeof sum);
            }
            to = codes + inputs * 16 * bits / 8;
        }
    }
    const dynq_weight_codes codes = {.bits = bits, .group = group};
    cr_assert_eq((size_t)(to - p.panels), PANELS * dynq_panel_bytes(&codes, K));
}

/* One result. */
static float expected(size_t group, size_t m, size_t n)
{
    const float scale = p.row_scale[m] * p.column_scale[n];
    const size_t depth = group == 0 ? K : group;
    float t = 0.0f;
    for (size_t k = 0; k < K; k += depth) {
        int32_t acc = 0;
        for (size_t i = k; i < k + depth && i < K; i++) {
            acc += (p.q[m][i] - p.row_zero[m]) * p.w[i][n];
        }
        t = group == 0 ? (float)acc : fmaf((float)acc, p.factor[k / group][n], t);
    }
    return fmaf(t, scale, p.bias[n]);
}

static dynq_gemm_s8 gemm(unsigned bits, size_t group, size_t tables)
{
    return (dynq_gemm_s8){.rows = ROWS,
                          .columns = COLUMNS,
                          .kpad = K,
                          .q = p.q[0],
                          .q_stride = K,
                          .panels = (const int8_t *)p.panels,
                          .codes = {.bits = bits,
                                    .levels = bits == 8 ? NULL : p.levels,
                                    .levels_step = tables == 1 ? 0 : (size_t)1 << bits,
                                    .group = group},
                          .dequantize = {.column_scale = p.column_scale,
                                         .column_sum = group == 0 ? p.column_sum : NULL,
                                         .row_scale = p.row_scale,
                                         .row_zero = p.row_zero,
                                         .row_step = 1},
                          .epilogue = {.bias = p.bias, .y = p.y[0], .y_stride = COLUMNS}};
}

static void check(unsigned bits, size_t group, size_t tables)
{
    fill(bits, tables);
    pack(bits, group);
    dynq_gemm_s8 g = gemm(bits, group, tables);
    dynq_kernel_ref.gemm_s8(&g);
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t n = 0; n < COLUMNS; n++) {
            const float value = expected(group, m, n);
            cr_assert_eq(memcmp(&p.y[m][n], &value, sizeof value), 0,
                         "bits %u, group %zu, row %zu, column %zu: %a, not %a", bits, group, m, n,
                         (double)p.y[m][n], (double)value);
        }
    }
}

Test(ref_codes, levels_without_groups)
{
    check(4, 0, 1);
    check(4, 0, 2);
    check(2, 0, 1);
    check(2, 0, 2);
}

Test(ref_codes, groups_the_last_of_128_shorter)
{
    static const size_t groups[] = {32, 64, 128};
    for (size_t i = 0; i < 3; i++) {
        check(8, groups[i], 1);
        check(4, groups[i], 2);
        check(2, groups[i], 1);
    }
}

Test(ref_codes, sums_alone)
{
    for (unsigned bits = 2; bits <= 4; bits += 2) {
        fill(bits, 1);
        pack(bits, 0);
        dynq_gemm_s8 g = gemm(bits, 0, 1);
        g.sums = p.sums[0];
        g.sums_stride = COLUMNS;
        dynq_kernel_ref.gemm_s8(&g);
        for (size_t m = 0; m < ROWS; m++) {
            for (size_t n = 0; n < COLUMNS; n++) {
                int32_t sum = 0;
                for (size_t k = 0; k < K; k++) {
                    sum += p.q[m][k] * p.w[k][n];
                }
                cr_assert_eq(p.sums[m][n], sum);
            }
        }
    }
}
