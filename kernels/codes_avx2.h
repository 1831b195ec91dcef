/* What codes of levels and heads of groups become in two ymm registers. The same names as in
 * codes_avx512.h, which says what they are. */
#ifndef DYNQ_KERNELS_CODES_AVX2_H
#define DYNQ_KERNELS_CODES_AVX2_H

#include "kernels/lanes_avx2.h"

typedef __m256i codes_table;

LANES_INLINE codes_table codes_table_load(const int8_t levels[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)levels));
}

LANES_INLINE lanes_s32 codes_low(lanes_s32 bytes)
{
    const __m256i mask = _mm256_set1_epi8(0x0F);
    return (lanes_s32){_mm256_and_si256(bytes.low, mask), _mm256_and_si256(bytes.high, mask)};
}

LANES_INLINE lanes_s32 codes_high(lanes_s32 bytes)
{
    return codes_low(
        (lanes_s32){_mm256_srli_epi32(bytes.low, 4), _mm256_srli_epi32(bytes.high, 4)});
}

LANES_INLINE lanes_s32 codes_look_up(codes_table table, lanes_s32 numbers)
{
    return (lanes_s32){_mm256_shuffle_epi8(table, numbers.low),
                       _mm256_shuffle_epi8(table, numbers.high)};
}

/* By arithmetic, as F16C is a feature of its own: a product with 2^112 corrects the exponent and
 * makes subnormals normal, Inf and NaN get all bits of theirs. */
LANES_INLINE __m256 codes_widen(__m128i halves)
{
    const __m256i bits = _mm256_cvtepi16_epi32(halves);
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFF));
    const __m256i special = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7BFF));
    const __m256 placed = _mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 13));
    const __m256 finite = _mm256_mul_ps(placed, _mm256_set1_ps(0x1p112f));
    const __m256i rest = _mm256_or_si256(_mm256_and_si256(special, _mm256_set1_epi32(0x7F800000)),
                                         _mm256_andnot_si256(_mm256_set1_epi32(0x7FFFFFFF), bits));
    return _mm256_or_ps(finite, _mm256_castsi256_ps(rest));
}

LANES_INLINE lanes_f32 codes_factors(const int8_t *halves)
{
    return (lanes_f32){codes_widen(_mm_loadu_si128((const __m128i *)halves)),
                       codes_widen(_mm_loadu_si128((const __m128i *)(halves + 16)))};
}

LANES_INLINE lanes_s32 codes_sums(const int8_t *sums)
{
    return (lanes_s32){_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)sums)),
                       _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(sums + 16)))};
}

LANES_INLINE lanes_s32 codes_times(lanes_s32 factors, lanes_s32 sums)
{
    return (lanes_s32){_mm256_madd_epi16(factors.low, sums.low),
                       _mm256_madd_epi16(factors.high, sums.high)};
}

#endif
