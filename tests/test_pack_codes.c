/* Packed weights of 8, 4 and 2 bits and in groups, byte by byte as kernels/README.md shows them. */
#include "src/pack.h"

#include "src/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* A matrix of random codes, and it packed into memory full of ones. */
typedef struct matrix {
    dynq_coded_weights coded;
    uint8_t *numbers;
    int8_t *levels;
    float *scale;
    uint16_t *factors;
    uint8_t *packed;
    int32_t *sums;
    size_t bytes;
} matrix;

static matrix make(unsigned bits, size_t group, bool by_panel, size_t k, size_t n)
{
    const size_t count = bits == 8 ? 256 : (size_t)1 << bits;
    const size_t panels = dynq_packed_panels(n), groups = group == 0 ? 0 : dynq_divide_up(k, group);
    matrix m = {.numbers = malloc(k * n),
                .levels = malloc(panels * count),
                .factors = malloc((n * groups + 1) * 2),
                .sums = malloc(n * sizeof(int32_t))};
    cr_assert(m.numbers != NULL && m.levels != NULL && m.factors != NULL && m.sums != NULL);
    for (size_t i = 0; i < k * n; i++) {
        m.numbers[i] = (uint8_t)(bits == 8 ? next() % 255 + 129 : next() % count);
    }
    for (size_t i = 0; i < panels * count; i++) {
        m.levels[i] = (int8_t)((int)(next() % 255) - 127);
    }
    for (size_t i = 0; i < n * groups; i++) {
        m.factors[i] = (uint16_t)(next() % 0x7c00);
    }
    m.coded = (dynq_coded_weights){.k = k,
                                   .n = n,
                                   .codes = {.bits = bits, .group = group},
                                   .tables = by_panel ? panels : 1,
                                   .factors = m.factors};
    if (bits == 8) {
        m.coded.weights = (const int8_t *)m.numbers;
    } else {
        m.coded.numbers = m.numbers;
        m.coded.codes.levels = m.levels;
        m.coded.codes.levels_step = by_panel ? count : 0;
    }
    m.bytes = dynq_packed_bytes(&m.coded.codes, k, n);
    m.packed = malloc(m.bytes);
    cr_assert(m.packed != NULL);
    memset(m.packed, 0xff, m.bytes);
    memset(m.sums, 0xff, n * sizeof *m.sums);
    dynq_pack_codes(&m.coded, m.packed, group == 0 ? m.sums : NULL);
    return m;
}

static void release(matrix *m)
{
    free(m->numbers);
    free(m->levels);
    free(m->factors);
    free(m->packed);
    free(m->sums);
}

/* Of padding: the first number of the level that is nearest to 0. */
static uint8_t padding(const matrix *m, size_t panel)
{
    const int8_t *levels = m->coded.codes.levels;
    uint8_t best = 0;
    if (levels == NULL) {
        return 0;
    }
    levels += panel * m->coded.codes.levels_step;
    for (unsigned i = 1; i < 1u << m->coded.codes.bits; i++) {
        best = abs(levels[i]) < abs(levels[best]) ? (uint8_t)i : best;
    }
    return best;
}

static uint8_t number_at(const matrix *m, size_t column, size_t input)
{
    return column < m->coded.n && input < m->coded.k ? m->numbers[column * m->coded.k + input]
                                                     : padding(m, column / DYNQ_PANEL);
}

static int weight_at(const matrix *m, size_t column, size_t input)
{
    const uint8_t number = number_at(m, column, input);
    const dynq_weight_codes *codes = &m->coded.codes;
    return codes->levels == NULL ? (int8_t)number
                                 : codes->levels[column / DYNQ_PANEL * codes->levels_step + number];
}

/* The codes of inputs [first, end) of a panel from `bytes` on, in the order of the bytes; returns
 * what follows them. */
static const uint8_t *check_codes(const matrix *m, const uint8_t *bytes, size_t panel, size_t first,
                                  size_t end)
{
    const unsigned bits = m->coded.codes.bits;
    for (size_t row = first; row < end; row += 32 / bits) {
        for (size_t column = panel * 16; column < panel * 16 + 16; column++) {
            for (size_t b = 0; b < 4; b++, bytes++) {
                unsigned expected = 0;
                for (unsigned r = 0; r < 8 / bits; r++) {
                    expected |= (unsigned)number_at(m, column, row + 4 * r + b) << r * bits;
                }
                cr_assert_eq(*bytes, expected, "%u bits, column %zu, input %zu", bits, column, row);
            }
        }
    }
    return bytes;
}

static const uint8_t *check_head(const matrix *m, const uint8_t *bytes, size_t panel, size_t first,
                                 size_t end)
{
    for (size_t part = 0; part < 2; part++) {
        for (size_t c = panel * 16; c < panel * 16 + 16; c++, bytes += 2) {
            const size_t group = m->coded.codes.group, groups = dynq_divide_up(m->coded.k, group);
            const bool inside = c < m->coded.n && first < m->coded.k;
            int sum = 0;
            for (size_t i = first; i < end; i++) {
                sum += weight_at(m, c, i);
            }
            const uint16_t factor = inside ? m->factors[c * groups + first / group] : 0;
            const uint16_t expected = part == 0 ? factor : (uint16_t)sum;
            cr_assert_eq(bytes[0] | bytes[1] << 8, expected, "column %zu, input %zu", c, first);
        }
    }
    return bytes;
}

static void check(const matrix *m)
{
    const size_t kpad = dynq_packed_k(m->coded.k), group = m->coded.codes.group;
    const uint8_t *bytes = m->packed;
    for (size_t panel = 0; panel < dynq_packed_panels(m->coded.n); panel++) {
        for (size_t first = 0; group != 0 && first < kpad; first += group) {
            const size_t end = first + group < kpad ? first + group : kpad;
            bytes = check_head(m, bytes, panel, first, end);
            bytes = check_codes(m, bytes, panel, first, end);
        }
        if (group == 0) {
            bytes = check_codes(m, bytes, panel, 0, kpad);
        }
    }
    cr_assert_eq((size_t)(bytes - m->packed), m->bytes);
    for (size_t c = 0; group == 0 && c < m->coded.n; c++) {
        int32_t sum = 0;
        for (size_t i = 0; i < kpad; i++) {
            sum += weight_at(m, c, i);
        }
        cr_assert_eq(m->sums[c], sum);
    }
}

/* Reading back one code, factor and sum at a time. */
static void check_reading(const matrix *m)
{
    const size_t kpad = dynq_packed_k(m->coded.k), group = m->coded.codes.group;
    const size_t panel_bytes = dynq_panel_bytes(&m->coded.codes, kpad);
    for (size_t c = 0; c < m->coded.n; c++) {
        const int8_t *panel = (const int8_t *)m->packed + c / 16 * panel_bytes;
        dynq_weight_codes codes = m->coded.codes;
        if (codes.levels != NULL) {
            codes.levels += c / 16 * codes.levels_step;
        }
        int sum = 0;
        for (size_t i = 0; i < m->coded.k; i++) {
            cr_assert_eq(dynq_panel_number(&codes, panel, c % 16, i), number_at(m, c, i));
            cr_assert_eq(dynq_panel_weight(&codes, panel, c % 16, i), weight_at(m, c, i));
            sum = group != 0 && i % group == 0 ? 0 : sum;
            sum += weight_at(m, c, i);
            if (group != 0 && (i + 1) % group == 0) {
                const size_t g = i / group, groups = dynq_divide_up(m->coded.k, group);
                cr_assert_eq(dynq_panel_factor(&codes, panel, c % 16, g),
                             m->factors[c * groups + g]);
                cr_assert_eq(dynq_panel_sum(&codes, panel, c % 16, g), sum);
            }
        }
    }
}

Test(pack_codes, panels_are_as_the_readme_shows_them)
{
    const size_t sizes[][2] = {{1, 1}, {32, 16}, {63, 17}, {64, 16}, {65, 15}, {200, 33}};
    for (unsigned bits = 2; bits <= 8; bits *= 2) {
        for (size_t group = 0; group <= 128; group = group == 0 ? 32 : 2 * group) {
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                for (int by_panel = 0; by_panel < (bits == 8 ? 1 : 2); by_panel++) {
                    matrix m = make(bits, group, by_panel, sizes[i][0], sizes[i][1]);
                    check(&m);
                    check_reading(&m);
                    release(&m);
                }
            }
        }
    }
}

Test(pack_codes, eight_bits_by_column_are_p16x4)
{
    enum { K = 70, N = 35 };
    float w[N * K], scale[N];
    for (size_t i = 0; i < N * K; i++) {
        w[i] = (float)(int)(next() % 2001) - 1000.0f;
    }
    const size_t bytes = dynq_packed_s8_bytes(K, N);
    int8_t *first = malloc(bytes), *second = malloc(bytes), codes[N * K];
    int32_t first_sum[N], second_sum[N];
    dynq_pack_s8(w, K, N, first, scale, first_sum);
    dynq_unpack_s8(first, K, 0, N, codes);
    const dynq_coded_weights coded = {.k = K, .n = N, .weights = codes, .scale = scale};
    cr_assert_eq(dynq_packed_bytes(&coded.codes, K, N), bytes);
    dynq_pack_codes(&coded, second, second_sum);
    cr_assert_eq(memcmp(first, second, bytes), 0);
    cr_assert_eq(memcmp(first_sum, second_sum, sizeof first_sum), 0);
    free(first);
    free(second);
}

Test(pack_codes, words)
{
    const size_t sizes[][2] = {{1, 1}, {2, 16}, {7, 17}, {40, 33}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t k = sizes[s][0], n = sizes[s][1], panels = dynq_packed_panels(n);
        uint16_t words[40 * 33], *packed = malloc(dynq_packed_p16x2_bytes(k, n));
        for (size_t i = 0; i < k * n; i++) {
            words[i] = (uint16_t)(next() | 1);
        }
        cr_assert_eq(dynq_packed_p16_bytes(k, n), panels * k * 32);
        memset(packed, 0xff, dynq_packed_p16_bytes(k, n));
        dynq_pack_p16(words, k, n, packed);
        for (size_t i = 0; i < panels * k * 16; i++) {
            const size_t column = i / (16 * k) * 16 + i % 16, input = i / 16 % k;
            cr_assert_eq(packed[i], column < n ? words[column * k + input] : 0);
        }
        const size_t pairs = (k + 1) / 2;
        cr_assert_eq(dynq_packed_p16x2_bytes(k, n), panels * pairs * 64);
        memset(packed, 0xff, dynq_packed_p16x2_bytes(k, n));
        dynq_pack_p16x2(words, k, n, packed);
        for (size_t i = 0; i < panels * pairs * 32; i++) {
            const size_t column = i / (32 * pairs) * 16 + i / 2 % 16;
            const size_t input = i / 32 % pairs * 2 + i % 2;
            cr_assert_eq(packed[i], column < n && input < k ? words[column * k + input] : 0);
        }
        free(packed);
    }
}

Test(pack_codes, sizes_that_do_not_fit)
{
    const dynq_weight_codes codes = {.bits = 4, .group = 32};
    cr_assert_eq(dynq_packed_bytes(&codes, SIZE_MAX, 1), SIZE_MAX);
    cr_assert_eq(dynq_packed_bytes(&codes, SIZE_MAX / 256, 4096), SIZE_MAX);
    cr_assert_eq(dynq_packed_p16_bytes(SIZE_MAX / 4, 17), SIZE_MAX);
    cr_assert_eq(dynq_packed_p16x2_bytes(SIZE_MAX, 16), SIZE_MAX);
}
