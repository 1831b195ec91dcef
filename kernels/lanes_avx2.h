/* Sixteen lanes of float or int32, in two ymm registers. The same names as in lanes_avx512.h, so
 * that float_lanes.h is written once. Every function is the exact IEEE or modulo-2^32 operation in
 * each lane. `count` is 1 to 16; lanes from `count` on are neither read from memory nor written to
 * it, and read as zero. */
#ifndef DYNQ_KERNELS_LANES_AVX2_H
#define DYNQ_KERNELS_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of a register. */
#define LANES_DOUBLES 4

#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef struct lanes_f32 {
    __m256 low, high;
} lanes_f32;

typedef struct lanes_s32 {
    __m256i low, high;
} lanes_s32;

/* All bits of a lane are equal. */
typedef lanes_s32 lanes_mask;

/* The lanes below `count`. */
LANES_INLINE lanes_mask lanes_below(size_t count)
{
    const __m256i n = _mm256_set1_epi32((int)count);
    return (lanes_mask){_mm256_cmpgt_epi32(n, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                        _mm256_cmpgt_epi32(n, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
}

LANES_INLINE lanes_f32 lanes_load(const float *p, size_t count)
{
    if (count == 16) {
        return (lanes_f32){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
    }
    const lanes_mask mask = lanes_below(count);
    if (count <= 8) {
        return (lanes_f32){_mm256_maskload_ps(p, mask.low), _mm256_setzero_ps()};
    }
    return (lanes_f32){_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, mask.high)};
}

LANES_INLINE lanes_s32 lanes_load_s32(const int32_t *p, size_t count)
{
    const lanes_f32 a = lanes_load((const float *)p, count);
    return (lanes_s32){_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}

/* From FP16, exactly. */
LANES_INLINE lanes_f32 lanes_load_fp16(const uint16_t *p)
{
    return (lanes_f32){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                       _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

/* From bytes. */
LANES_INLINE lanes_s32 lanes_load_s8(const int8_t *p, size_t count)
{
    int8_t part[16] = {0};
    if (count < 16) {
        memcpy(part, p, count);
        p = part;
    }
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return (lanes_s32){_mm256_cvtepi8_epi32(bytes),
                       _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
}

LANES_INLINE void lanes_store(float *p, lanes_f32 a, size_t count)
{
    if (count == 16) {
        _mm256_storeu_ps(p, a.low);
        _mm256_storeu_ps(p + 8, a.high);
        return;
    }
    const lanes_mask mask = lanes_below(count);
    if (count <= 8) {
        _mm256_maskstore_ps(p, mask.low, a.low);
    } else {
        _mm256_storeu_ps(p, a.low);
        _mm256_maskstore_ps(p + 8, mask.high, a.high);
    }
}

LANES_INLINE void lanes_store_s32(int32_t *p, lanes_s32 a)
{
    _mm256_storeu_si256((__m256i *)p, a.low);
    _mm256_storeu_si256((__m256i *)(p + 8), a.high);
}

/* The low bytes of lanes that are 0 to 255. */
LANES_INLINE void lanes_store_u8(uint8_t *p, lanes_s32 a, size_t count)
{
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(a.low, a.high), _MM_SHUFFLE(3, 1, 2, 0));
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    if (count == 16) {
        _mm_storeu_si128((__m128i *)p, bytes);
    } else {
        uint8_t all[16];
        _mm_storeu_si128((__m128i *)all, bytes);
        memcpy(p, all, count);
    }
}

/* What turns rounded values to codes. */
typedef struct lanes_codes {
    __m256i zero, least; /* 16 words, 32 bytes */
} lanes_codes;

LANES_INLINE lanes_codes lanes_codes_with(int32_t zero, int32_t least)
{
    return (lanes_codes){_mm256_set1_epi16((int16_t)zero), _mm256_set1_epi8((int8_t)least)};
}

LANES_INLINE __m256i lanes_codes_of(const lanes_s32 a, const lanes_s32 b, const lanes_codes with)
{
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(a.low, a.high), with.zero);
    const __m256i more = _mm256_adds_epi16(_mm256_packs_epi32(b.low, b.high), with.zero);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, more), order);
    return _mm256_max_epu8(bytes, with.least);
}

/* 64 codes: value + zero, not below `least` (0 or 1) and not above 255. */
LANES_INLINE void lanes_store_codes(uint8_t *p, const lanes_s32 value[4], lanes_codes with)
{
    _mm256_storeu_si256((__m256i *)p, lanes_codes_of(value[0], value[1], with));
    _mm256_storeu_si256((__m256i *)(p + 32), lanes_codes_of(value[2], value[3], with));
}

LANES_INLINE lanes_f32 lanes_set(float a)
{
    return (lanes_f32){_mm256_set1_ps(a), _mm256_set1_ps(a)};
}

LANES_INLINE lanes_s32 lanes_set_s32(int32_t a)
{
    return (lanes_s32){_mm256_set1_epi32(a), _mm256_set1_epi32(a)};
}

LANES_INLINE lanes_f32 lanes_add(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

LANES_INLINE lanes_f32 lanes_sub(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

LANES_INLINE lanes_f32 lanes_mul(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

LANES_INLINE lanes_f32 lanes_div(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}

/* a * b + c, rounded once. */
LANES_INLINE lanes_f32 lanes_fma(lanes_f32 a, lanes_f32 b, lanes_f32 c)
{
    return (lanes_f32){_mm256_fmadd_ps(a.low, b.low, c.low),
                       _mm256_fmadd_ps(a.high, b.high, c.high)};
}

/* a > b ? a : b, so b if either is NaN. */
LANES_INLINE lanes_f32 lanes_max(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

/* a < b ? a : b, so b if either is NaN. */
LANES_INLINE lanes_f32 lanes_min(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_bits(lanes_f32 a)
{
    return (lanes_s32){_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}

LANES_INLINE lanes_f32 lanes_from_bits(lanes_s32 a)
{
    return (lanes_f32){_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}

/* To the nearest integer, ties to even; out of range and NaN give INT32_MIN. */
LANES_INLINE lanes_s32 lanes_round_s32(lanes_f32 a)
{
    return (lanes_s32){_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}

/* min(a, highest), `highest` below 2^31, to the nearest integer, ties to even; what is below
 * -65536, and NaN, gives -65536 or less. */
LANES_INLINE lanes_s32 lanes_round_code(lanes_f32 a, lanes_f32 highest)
{
    return (lanes_s32){_mm256_cvtps_epi32(_mm256_min_ps(highest.low, a.low)),
                       _mm256_cvtps_epi32(_mm256_min_ps(highest.high, a.high))};
}

/* As lanes_round_code for an `a` below 2^31. */
LANES_INLINE lanes_s32 lanes_round_bounded(lanes_f32 a)
{
    return (lanes_s32){_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}

LANES_INLINE lanes_f32 lanes_from_s32(lanes_s32 a)
{
    return (lanes_f32){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

LANES_INLINE lanes_s32 lanes_add_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_sub_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_mul_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_and(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_or(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}

/* Into the place of the exponent. */
LANES_INLINE lanes_s32 lanes_shift_left_23(lanes_s32 a)
{
    return (lanes_s32){_mm256_slli_epi32(a.low, 23), _mm256_slli_epi32(a.high, 23)};
}

/* Into the upper half. */
LANES_INLINE lanes_s32 lanes_shift_left_16(lanes_s32 a)
{
    return (lanes_s32){_mm256_slli_epi32(a.low, 16), _mm256_slli_epi32(a.high, 16)};
}

LANES_INLINE lanes_s32 lanes_max_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)};
}

LANES_INLINE lanes_s32 lanes_max_u32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){_mm256_max_epu32(a.low, b.low), _mm256_max_epu32(a.high, b.high)};
}

LANES_INLINE int32_t lanes_highest_s32(lanes_s32 a)
{
    const __m256i eight = _mm256_max_epi32(a.low, a.high);
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(m);
}

LANES_INLINE uint32_t lanes_highest_u32(lanes_s32 a)
{
    const __m256i eight = _mm256_max_epu32(a.low, a.high);
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* The largest lane of a, none of which is NaN; of zeros, either. */
LANES_INLINE float lanes_highest(lanes_f32 a)
{
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* The sum of the lanes: the upper half is added to the lower one, four times. */
LANES_INLINE float lanes_fold(lanes_f32 a)
{
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Ordered: false if either is NaN. */
LANES_INLINE lanes_mask lanes_less(lanes_f32 a, lanes_f32 b)
{
    return (lanes_mask){_mm256_castps_si256(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
                        _mm256_castps_si256(_mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}

/* mask ? a : b */
LANES_INLINE lanes_f32 lanes_select(lanes_mask mask, lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(mask.low)),
                       _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(mask.high))};
}

/* a in the lanes below `count`, zero in the others. */
LANES_INLINE lanes_f32 lanes_keep(lanes_f32 a, size_t count)
{
    return count == 16 ? a : lanes_from_bits(lanes_and(lanes_bits(a), lanes_below(count)));
}

/* a in the lanes below `count`, b in the others. */
LANES_INLINE lanes_f32 lanes_fill(lanes_f32 a, size_t count, float b)
{
    return count == 16 ? a : lanes_select(lanes_below(count), a, lanes_set(b));
}

/* lanes_columns for eight rows. */
LANES_INLINE void lanes_columns_half(const float *const row[8], size_t at, __m256 columns[4])
{
    __m256 part[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        part[i] = _mm256_castps128_ps256(_mm_loadu_ps(row[i] + at));
        part[i] = _mm256_insertf128_ps(part[i], _mm_loadu_ps(row[i + 4] + at), 1);
    }
    const __m256d low = _mm256_castps_pd(_mm256_unpacklo_ps(part[0], part[1]));
    const __m256d more = _mm256_castps_pd(_mm256_unpacklo_ps(part[2], part[3]));
    const __m256d high = _mm256_castps_pd(_mm256_unpackhi_ps(part[0], part[1]));
    const __m256d most = _mm256_castps_pd(_mm256_unpackhi_ps(part[2], part[3]));
    columns[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, more));
    columns[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, more));
    columns[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, most));
    columns[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, most));
}

/* Columns 0 to 3 of sixteen rows, a row to a lane. */
LANES_INLINE void lanes_columns(const float *const row[16], size_t at, lanes_f32 columns[4])
{
    __m256 low[4], high[4];
    lanes_columns_half(row, at, low);
    lanes_columns_half(row + 8, at, high);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        columns[i] = (lanes_f32){low[i], high[i]};
    }
}

LANES_INLINE __m256i lanes_join_half(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i bytes = _mm256_set1_epi32(0xFF00FF);
    const __m256i low = _mm256_blend_epi16(a, _mm256_slli_epi32(c, 16), 0xAA);
    const __m256i high = _mm256_blend_epi16(b, _mm256_slli_epi32(d, 16), 0xAA);
    return _mm256_or_si256(_mm256_and_si256(bytes, low),
                           _mm256_andnot_si256(bytes, _mm256_slli_epi32(high, 8)));
}

/* The low bytes of four numbers, those of the first lowest. */
LANES_INLINE lanes_s32 lanes_join_bytes(const lanes_s32 a[4])
{
    return (lanes_s32){lanes_join_half(a[0].low, a[1].low, a[2].low, a[3].low),
                       lanes_join_half(a[0].high, a[1].high, a[2].high, a[3].high)};
}

/* The low bytes of four rows: quarter i has the columns 4 * i to 4 * i + 3 of the first row, then
 * of the second and so on. */
LANES_INLINE lanes_s32 lanes_join_rows(const lanes_s32 rows[4])
{
    const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0,
                                           4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const lanes_s32 joined = lanes_join_bytes(rows);
    return (lanes_s32){_mm256_shuffle_epi8(joined.low, order),
                       _mm256_shuffle_epi8(joined.high, order)};
}

/* Quarters change places: quarter j of turned[i] is quarter i of a[j]. */
LANES_INLINE void lanes_turn_quarters(const lanes_s32 a[4], lanes_s32 turned[4])
{
    turned[0] = (lanes_s32){_mm256_permute2x128_si256(a[0].low, a[1].low, 0x20),
                            _mm256_permute2x128_si256(a[2].low, a[3].low, 0x20)};
    turned[1] = (lanes_s32){_mm256_permute2x128_si256(a[0].low, a[1].low, 0x31),
                            _mm256_permute2x128_si256(a[2].low, a[3].low, 0x31)};
    turned[2] = (lanes_s32){_mm256_permute2x128_si256(a[0].high, a[1].high, 0x20),
                            _mm256_permute2x128_si256(a[2].high, a[3].high, 0x20)};
    turned[3] = (lanes_s32){_mm256_permute2x128_si256(a[0].high, a[1].high, 0x31),
                            _mm256_permute2x128_si256(a[2].high, a[3].high, 0x31)};
}

LANES_INLINE __m256i lanes_max_half(const int is_signed, __m256i a, __m256i b)
{
    return is_signed ? _mm256_max_epi32(a, b) : _mm256_max_epu32(a, b);
}

/* Two rows in pairs of lanes: the larger ones of the pairs of each. */
LANES_INLINE __m256i lanes_max_pairs(const int is_signed, __m256i a, __m256i b)
{
    return lanes_max_half(is_signed, _mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}

/* The largest lane of each of sixteen rows, a row to a lane. */
LANES_INLINE lanes_s32 lanes_highest_rows(const int is_signed, const lanes_s32 rows[16])
{
    __m256i part[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i half[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            half[j] = lanes_max_half(is_signed, rows[4 * i + j].low, rows[4 * i + j].high);
        }
        const __m256i even = lanes_max_pairs(is_signed, half[0], half[2]);
        const __m256i odd = lanes_max_pairs(is_signed, half[1], half[3]);
        part[i] = lanes_max_pairs(is_signed, even, odd);
    }
    const lanes_s32 lower = {_mm256_permute2x128_si256(part[0], part[1], 0x20),
                             _mm256_permute2x128_si256(part[2], part[3], 0x20)};
    const lanes_s32 upper = {_mm256_permute2x128_si256(part[0], part[1], 0x31),
                             _mm256_permute2x128_si256(part[2], part[3], 0x31)};
    return (lanes_s32){lanes_max_half(is_signed, lower.low, upper.low),
                       lanes_max_half(is_signed, lower.high, upper.high)};
}

#endif
