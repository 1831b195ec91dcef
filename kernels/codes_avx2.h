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
