/* Sixteen lanes of float or int32, in one zmm register. The same names as in lanes_avx2.h, so that
 * float_lanes.h is written once. Every function is the exact IEEE or modulo-2^32 operation in each
 * lane. `count` is 1 to 16; lanes from `count` on are neither read from memory nor written to it,
 * and read as zero. */
#ifndef DYNQ_KERNELS_LANES_AVX512_H
#define DYNQ_KERNELS_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Of a register. */
#define LANES_DOUBLES 8

#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef __m512 lanes_f32;
typedef __m512i lanes_s32;
typedef __mmask16 lanes_mask;

/* The lanes below `count`. */
LANES_INLINE lanes_mask lanes_below(size_t count)
{
    return (lanes_mask)((1u << count) - 1);
}

LANES_INLINE lanes_f32 lanes_load(const float *p, size_t count)
{
    return count == 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes_below(count), p);
}

LANES_INLINE lanes_s32 lanes_load_s32(const int32_t *p, size_t count)
{
    return count == 16 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi32(lanes_below(count), p);
}

/* From FP16, exactly. */
LANES_INLINE lanes_f32 lanes_load_fp16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* From bytes. */
LANES_INLINE lanes_s32 lanes_load_s8(const int8_t *p, size_t count)
{
    return _mm512_cvtepi8_epi32(count == 16 ? _mm_loadu_si128((const __m128i *)p)
                                            : _mm_maskz_loadu_epi8(lanes_below(count), p));
}

LANES_INLINE void lanes_store(float *p, lanes_f32 a, size_t count)
{
    if (count == 16) {
        _mm512_storeu_ps(p, a);
    } else {
        _mm512_mask_storeu_ps(p, lanes_below(count), a);
    }
}

LANES_INLINE void lanes_store_s32(int32_t *p, lanes_s32 a)
{
    _mm512_storeu_si512(p, a);
}

/* The low bytes. */
LANES_INLINE void lanes_store_u8(uint8_t *p, lanes_s32 a, size_t count)
{
    if (count == 16) {
        _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
    } else {
        _mm512_mask_cvtepi32_storeu_epi8(p, lanes_below(count), a);
    }
}

/* What turns rounded values to codes. */
typedef struct lanes_codes {
    __m512i zero, least; /* 32 words, 64 bytes */
} lanes_codes;

LANES_INLINE lanes_codes lanes_codes_with(int32_t zero, int32_t least)
{
    return (lanes_codes){_mm512_set1_epi16((int16_t)zero), _mm512_set1_epi8((int8_t)least)};
}

/* 64 codes: value + zero, not below `least` (0 or 1) and not above 255. */
LANES_INLINE void lanes_store_codes(uint8_t *p, const lanes_s32 value[4], lanes_codes with)
{
    const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(value[0], value[1]), with.zero);
    const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(value[2], value[3]), with.zero);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
    _mm512_storeu_si512(p, _mm512_max_epu8(bytes, with.least));
}

LANES_INLINE lanes_f32 lanes_set(float a)
{
    return _mm512_set1_ps(a);
}

LANES_INLINE lanes_s32 lanes_set_s32(int32_t a)
{
    return _mm512_set1_epi32(a);
}

LANES_INLINE lanes_f32 lanes_add(lanes_f32 a, lanes_f32 b)
{
    return _mm512_add_ps(a, b);
}

LANES_INLINE lanes_f32 lanes_sub(lanes_f32 a, lanes_f32 b)
{
    return _mm512_sub_ps(a, b);
}

LANES_INLINE lanes_f32 lanes_mul(lanes_f32 a, lanes_f32 b)
{
    return _mm512_mul_ps(a, b);
}

LANES_INLINE lanes_f32 lanes_div(lanes_f32 a, lanes_f32 b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c, rounded once. */
LANES_INLINE lanes_f32 lanes_fma(lanes_f32 a, lanes_f32 b, lanes_f32 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a > b ? a : b, so b if either is NaN. */
LANES_INLINE lanes_f32 lanes_max(lanes_f32 a, lanes_f32 b)
{
    return _mm512_max_ps(a, b);
}

/* a < b ? a : b, so b if either is NaN. */
LANES_INLINE lanes_f32 lanes_min(lanes_f32 a, lanes_f32 b)
{
    return _mm512_min_ps(a, b);
}

LANES_INLINE lanes_s32 lanes_bits(lanes_f32 a)
{
    return _mm512_castps_si512(a);
}

LANES_INLINE lanes_f32 lanes_from_bits(lanes_s32 a)
{
    return _mm512_castsi512_ps(a);
}

/* To the nearest integer, ties to even; out of range and NaN give INT32_MIN. */
LANES_INLINE lanes_s32 lanes_round_s32(lanes_f32 a)
{
    return _mm512_cvtps_epi32(a);
}

/* min(a, highest), `highest` below 2^31, to the nearest integer, ties to even; what is below
 * -65536, and NaN, gives -65536 or less. */
LANES_INLINE lanes_s32 lanes_round_code(lanes_f32 a, lanes_f32 highest)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(highest, a));
}

/* As lanes_round_code for an `a` below 2^31. */
LANES_INLINE lanes_s32 lanes_round_bounded(lanes_f32 a)
{
    return _mm512_cvtps_epi32(a);
}

LANES_INLINE lanes_f32 lanes_from_s32(lanes_s32 a)
{
    return _mm512_cvtepi32_ps(a);
}

LANES_INLINE lanes_s32 lanes_add_s32(lanes_s32 a, lanes_s32 b)
{
    return _mm512_add_epi32(a, b);
}

LANES_INLINE lanes_s32 lanes_sub_s32(lanes_s32 a, lanes_s32 b)
{
    return _mm512_sub_epi32(a, b);
}

LANES_INLINE lanes_s32 lanes_mul_s32(lanes_s32 a, lanes_s32 b)
{
    return _mm512_mullo_epi32(a, b);
}

LANES_INLINE lanes_s32 lanes_and(lanes_s32 a, lanes_s32 b)
{
    return _mm512_and_si512(a, b);
}

LANES_INLINE lanes_s32 lanes_or(lanes_s32 a, lanes_s32 b)
{
    return _mm512_or_si512(a, b);
}

/* Into the place of the exponent. */
LANES_INLINE lanes_s32 lanes_shift_left_23(lanes_s32 a)
{
    return _mm512_slli_epi32(a, 23);
}

/* Into the upper half. */
LANES_INLINE lanes_s32 lanes_shift_left_16(lanes_s32 a)
{
    return _mm512_slli_epi32(a, 16);
}

LANES_INLINE lanes_s32 lanes_max_s32(lanes_s32 a, lanes_s32 b)
{
    return _mm512_max_epi32(a, b);
}

LANES_INLINE lanes_s32 lanes_max_u32(lanes_s32 a, lanes_s32 b)
{
    return _mm512_max_epu32(a, b);
}

LANES_INLINE int32_t lanes_highest_s32(lanes_s32 a)
{
    return _mm512_reduce_max_epi32(a);
}

LANES_INLINE uint32_t lanes_highest_u32(lanes_s32 a)
{
    return _mm512_reduce_max_epu32(a);
}

/* The largest lane of a, none of which is NaN; of zeros, either. */
LANES_INLINE float lanes_highest(lanes_f32 a)
{
    return _mm512_reduce_max_ps(a);
}

/* The sum of the lanes: the upper half is added to the lower one, four times. */
LANES_INLINE float lanes_fold(lanes_f32 a)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Ordered: false if either is NaN. */
LANES_INLINE lanes_mask lanes_less(lanes_f32 a, lanes_f32 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

/* mask ? a : b */
LANES_INLINE lanes_f32 lanes_select(lanes_mask mask, lanes_f32 a, lanes_f32 b)
{
    return _mm512_mask_blend_ps(mask, b, a);
}

/* a in the lanes below `count`, zero in the others. */
LANES_INLINE lanes_f32 lanes_keep(lanes_f32 a, size_t count)
{
    return count == 16 ? a : _mm512_maskz_mov_ps(lanes_below(count), a);
}

/* a in the lanes below `count`, b in the others. */
LANES_INLINE lanes_f32 lanes_fill(lanes_f32 a, size_t count, float b)
{
    return count == 16 ? a : _mm512_mask_mov_ps(_mm512_set1_ps(b), lanes_below(count), a);
}

/* Columns 0 to 3 of sixteen rows, a row to a lane. */
LANES_INLINE void lanes_columns(const float *const row[16], size_t at, lanes_f32 columns[4])
{
    __m512 part[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        part[i] = _mm512_castps128_ps512(_mm_loadu_ps(row[i] + at));
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps(row[i + 4] + at), 1);
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps(row[i + 8] + at), 2);
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps(row[i + 12] + at), 3);
    }
    const __m512d low = _mm512_castps_pd(_mm512_unpacklo_ps(part[0], part[1]));
    const __m512d more = _mm512_castps_pd(_mm512_unpacklo_ps(part[2], part[3]));
    const __m512d high = _mm512_castps_pd(_mm512_unpackhi_ps(part[0], part[1]));
    const __m512d most = _mm512_castps_pd(_mm512_unpackhi_ps(part[2], part[3]));
    columns[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, more));
    columns[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, more));
    columns[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, most));
    columns[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, most));
}

/* The low bytes of four numbers, those of the first lowest. */
LANES_INLINE lanes_s32 lanes_join_bytes(const lanes_s32 a[4])
{
    const __m512i byte = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    __m512i joined = a[0];
    joined = _mm512_mask_shuffle_epi8(joined, 0x2222222222222222, a[1], byte);
    joined = _mm512_mask_shuffle_epi8(joined, 0x4444444444444444, a[2], byte);
    return _mm512_mask_shuffle_epi8(joined, 0x8888888888888888, a[3], byte);
}

/* The low bytes of four rows: quarter i has the columns 4 * i to 4 * i + 3 of the first row, then
 * of the second and so on. */
LANES_INLINE lanes_s32 lanes_join_rows(const lanes_s32 rows[4])
{
    const __m512i first = _mm512_set4_epi32(-1, -1, -1, 0x0C080400);
    const __m512i byte = _mm512_set1_epi32(0x0C080400);
    __m512i joined = _mm512_shuffle_epi8(rows[0], first);
    joined = _mm512_mask_shuffle_epi8(joined, 0x00F000F000F000F0, rows[1], byte);
    joined = _mm512_mask_shuffle_epi8(joined, 0x0F000F000F000F00, rows[2], byte);
    return _mm512_mask_shuffle_epi8(joined, 0xF000F000F000F000, rows[3], byte);
}

/* Quarters change places: quarter j of turned[i] is quarter i of a[j]. */
LANES_INLINE void lanes_turn_quarters(const lanes_s32 a[4], lanes_s32 turned[4])
{
    const __m512i low = _mm512_shuffle_i32x4(a[0], a[1], _MM_SHUFFLE(1, 0, 1, 0));
    const __m512i high = _mm512_shuffle_i32x4(a[0], a[1], _MM_SHUFFLE(3, 2, 3, 2));
    const __m512i more = _mm512_shuffle_i32x4(a[2], a[3], _MM_SHUFFLE(1, 0, 1, 0));
    const __m512i most = _mm512_shuffle_i32x4(a[2], a[3], _MM_SHUFFLE(3, 2, 3, 2));
    turned[0] = _mm512_shuffle_i32x4(low, more, _MM_SHUFFLE(2, 0, 2, 0));
    turned[1] = _mm512_shuffle_i32x4(low, more, _MM_SHUFFLE(3, 1, 3, 1));
    turned[2] = _mm512_shuffle_i32x4(high, most, _MM_SHUFFLE(2, 0, 2, 0));
    turned[3] = _mm512_shuffle_i32x4(high, most, _MM_SHUFFLE(3, 1, 3, 1));
}

/* Two rows in pairs of lanes: the larger ones of the pairs of each. */
LANES_INLINE lanes_s32 lanes_max_pairs(const int is_signed, lanes_s32 a, lanes_s32 b)
{
    const __m512i low = _mm512_unpacklo_epi32(a, b), high = _mm512_unpackhi_epi32(a, b);
    return is_signed ? _mm512_max_epi32(low, high) : _mm512_max_epu32(low, high);
}

/* The largest lane of each of sixteen rows, a row to a lane. */
LANES_INLINE lanes_s32 lanes_highest_rows(const int is_signed, const lanes_s32 rows[16])
{
    lanes_s32 part[4], turned[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m512i even = lanes_max_pairs(is_signed, rows[4 * i], rows[4 * i + 2]);
        const __m512i odd = lanes_max_pairs(is_signed, rows[4 * i + 1], rows[4 * i + 3]);
        part[i] = lanes_max_pairs(is_signed, even, odd);
    }
    lanes_turn_quarters(part, turned);
    if (is_signed) {
        return _mm512_max_epi32(_mm512_max_epi32(turned[0], turned[1]),
                                _mm512_max_epi32(turned[2], turned[3]));
    }
    return _mm512_max_epu32(_mm512_max_epu32(turned[0], turned[1]),
                            _mm512_max_epu32(turned[2], turned[3]));
}

#endif
