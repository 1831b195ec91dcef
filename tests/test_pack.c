#include "src/pack.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static float *random_weights(size_t count, uint64_t seed)
{
    float *w = malloc(count * sizeof *w);
    cr_assert(w != NULL);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        w[i] = (float)(int32_t)(seed >> 32) * 0x1p-31f;
    }
    return w;
}

typedef struct packed_matrix {
    size_t k, n, bytes;
    float *w;
    int8_t *codes;
    float *scale;
    int32_t *sums;
} packed_matrix;

/* Packs w, which the result then owns, into memory full of ones: padding must be written. */
static packed_matrix pack(float *w, size_t k, size_t n)
{
    packed_matrix m = {.k = k, .n = n, .w = w, .bytes = dynq_packed_s8_bytes(k, n)};
    m.codes = malloc(m.bytes);
    m.scale = malloc(n * sizeof *m.scale);
    m.sums = malloc(n * sizeof *m.sums);
    cr_assert(m.codes != NULL && m.scale != NULL && m.sums != NULL);
    memset(m.codes, 1, m.bytes);
    dynq_pack_s8(w, k, n, m.codes, m.scale, m.sums);
    return m;
}

static void release(packed_matrix *m)
{
    free(m->w);
    free(m->codes);
    free(m->scale);
    free(m->sums);
}

/* Walks the packed bytes in their own order and says what each must be. */
static void check_matrix(const packed_matrix *m)
{
    const size_t kpad = dynq_packed_k(m->k);
    int32_t *sums = calloc(m->n, sizeof *sums);
    for (size_t at = 0; at < m->bytes; at++) {
        const size_t panel = at / (kpad * 16), group = at / 64 % (kpad / 4);
        const size_t column = panel * 16 + at / 4 % 16, input = group * 4 + at % 4;
        if (column >= m->n || input >= m->k) {
            cr_assert_eq(m->codes[at], 0, "padding at %zu", at);
            continue;
        }
        float largest = 0.0f;
        for (size_t i = 0; i < m->k; i++) {
            largest = fmaxf(largest, fabsf(m->w[column * m->k + i]));
        }
        const long expected = lrintf(m->w[column * m->k + input] * (127.0f / largest));
        cr_assert_eq(m->codes[at], expected, "column %zu, input %zu", column, input);
        cr_assert_eq(m->scale[column], largest / 127.0f);
        sums[column] += m->codes[at];
    }
    cr_assert_eq(memcmp(sums, m->sums, m->n * sizeof *sums), 0);
    free(sums);
}

Test(pack, sizes)
{
    cr_assert_eq(dynq_packed_k(1), 64);
    cr_assert_eq(dynq_packed_k(64), 64);
    cr_assert_eq(dynq_packed_k(65), 128);
    cr_assert_eq(dynq_packed_panels(1), 1);
    cr_assert_eq(dynq_packed_panels(16), 1);
    cr_assert_eq(dynq_packed_panels(17), 2);
    cr_assert_eq(dynq_packed_s8_bytes(65, 17), 2 * 128 * 16);
    cr_assert_eq(dynq_packed_f32_count(65, 17), 2 * 65 * 16);
}

Test(pack, sizes_that_do_not_fit_are_the_largest_size)
{
    cr_assert_eq(dynq_packed_k(SIZE_MAX), SIZE_MAX);
    cr_assert_eq(dynq_packed_s8_bytes(SIZE_MAX, 1), SIZE_MAX);
    cr_assert_eq(dynq_packed_s8_bytes(1, SIZE_MAX), SIZE_MAX);
    cr_assert_eq(dynq_packed_s8_bytes(1, SIZE_MAX / 64), SIZE_MAX);
    cr_assert_eq(dynq_packed_f32_count(SIZE_MAX / 2, 1), SIZE_MAX);
    cr_assert_eq(dynq_packed_f32_count(1, SIZE_MAX), SIZE_MAX);
}

Test(pack, every_byte_of_the_layout)
{
    static const size_t shapes[][2] = {{1, 1},   {3, 2},   {4, 16},   {63, 15}, {64, 16},
                                       {65, 17}, {130, 5}, {200, 33}, {784, 10}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        const size_t k = shapes[i][0], n = shapes[i][1];
        packed_matrix m = pack(random_weights(k * n, i), k, n);
        check_matrix(&m);
        release(&m);
    }
}

Test(pack, ties_go_to_even_and_the_largest_to_127)
{
    /* 127 / 127 is 1, so a weight is its own code before rounding. */
    float w[] = {127.0f, -127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.0f};
    const int8_t expected[] = {127, -127, 0, 2, 2, 0, -2, -2, 0};
    int8_t packed[64 * 16], codes[COUNT(w)];
    float scale = 0.0f;
    int32_t sum = -1;
    dynq_pack_s8(w, COUNT(w), 1, packed, &scale, &sum);
    dynq_unpack_s8(packed, COUNT(w), 0, 1, codes);
    cr_assert_eq(memcmp(codes, expected, sizeof expected), 0);
    cr_assert_eq(scale, 1.0f);
    cr_assert_eq(sum, 0);
}

Test(pack, columns_at_the_ends_of_the_range)
{
    const float below = nextafterf(0x1p-100f, 0.0f);
    float w[] = {0.0f,       -0.0f,   below,    -below, 0x1p-100f,
                 -0x1p-101f, FLT_MAX, -FLT_MAX, 1e-45f, 0.0f};
    int8_t packed[64 * 16], codes[COUNT(w)];
    float scale[5];
    int32_t sums[5];
    dynq_pack_s8(w, 2, 5, packed, scale, sums);
    dynq_unpack_s8(packed, 2, 0, 5, codes);
    const int8_t expected[] = {0, 0, 0, 0, 127, -64, 127, -127, 0, 0};
    cr_assert_eq(memcmp(codes, expected, sizeof expected), 0);
    cr_assert(scale[0] == 1.0f && scale[1] == 1.0f && scale[4] == 1.0f);
    cr_assert(scale[2] == 0x1p-100f / 127.0f && scale[3] == FLT_MAX / 127.0f);
    cr_assert(sums[0] == 0 && sums[1] == 0 && sums[2] == 63 && sums[3] == 0 && sums[4] == 0);
}

Test(pack, no_code_is_below_minus_127)
{
    for (uint64_t seed = 0; seed < 2000; seed++) {
        float *w = random_weights(3, seed);
        packed_matrix m = pack(w, 3, 1);
        for (size_t i = 0; i < m.bytes; i++) {
            cr_assert_geq(m.codes[i], -127);
        }
        release(&m);
    }
}

Test(pack, unpack_and_dequantize_blocks_of_columns)
{
    const size_t k = 70, n = 37, first = 14, count = 20;
    packed_matrix m = pack(random_weights(k * n, 7), k, n);
    int8_t *codes = malloc(count * k);
    float *w = malloc(count * k * sizeof *w);
    dynq_unpack_s8(m.codes, k, first, count, codes);
    dynq_dequantize_s8(m.codes, m.scale, k, first, count, w);
    for (size_t c = 0; c < count; c++) {
        for (size_t i = 0; i < k; i++) {
            const float original = m.w[(first + c) * k + i], scale = m.scale[first + c];
            cr_assert_eq(w[c * k + i], (float)codes[c * k + i] * scale);
            cr_assert_leq(fabsf(w[c * k + i] - original), 0.5001f * scale);
        }
    }
    free(codes);
    free(w);
    release(&m);
}

Test(pack, f32_layout)
{
    const size_t k = 5, n = 19, count = dynq_packed_f32_count(k, n);
    float *w = random_weights(k * n, 3), *packed = malloc(count * sizeof *packed);
    memset(packed, 1, count * sizeof *packed);
    dynq_pack_f32(w, k, n, packed);
    for (size_t at = 0; at < count; at++) {
        const size_t column = at / (16 * k) * 16 + at % 16, input = at / 16 % k;
        cr_assert_eq(packed[at], column < n ? w[column * k + input] : 0.0f, "element %zu", at);
    }
    free(w);
    free(packed);
}

Test(pack, rows_of_tables)
{
    /* The largest is 127 either way, ties go to even, a tiny row counts as zero. */
    const float table[5][3] = {{1.0f, -2.0f, 0.5f},
                               {0.0f, 0.0f, 0.0f},
                               {0x1p-101f, -0x1p-102f, 0.0f},
                               {127.0f, 2.5f, -3.5f},
                               {FLT_MAX, -FLT_MAX, FLT_MIN}};
    const int8_t expected[5][3] = {{64, -127, 32}, {0}, {0}, {127, 2, -4}, {127, -127, 0}};
    const float scales[5] = {2.0f / 127.0f, 1.0f, 1.0f, 1.0f, FLT_MAX / 127.0f};
    int8_t codes[15];
    float scale[5], restored[6];
    memset(codes, 1, sizeof codes);
    dynq_quantize_rows_s8(table[0], 5, 3, codes, scale);
    cr_assert_eq(memcmp(codes, expected, sizeof codes), 0);
    cr_assert_eq(memcmp(scale, scales, sizeof scale), 0);
    dynq_dequantize_rows_s8(codes, scale, 3, 2, 2, restored);
    const float middle[6] = {0, 0, 0, 127, 2, -4};
    cr_assert_eq(memcmp(restored, middle, sizeof middle), 0);
}
