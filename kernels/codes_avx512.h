/* What codes of levels and heads of groups become in one zmm register. The same names as in
 * codes_avx2.h and codes_neon.h. */
#ifndef DYNQ_KERNELS_CODES_AVX512_H
#define DYNQ_KERNELS_CODES_AVX512_H

#include "kernels/lanes_avx512.h"

typedef __m512i codes_table;

/* Sixteen levels, wherever a number may look for them. */
LANES_INLINE codes_table codes_table_load(const int8_t levels[16])
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)levels));
}

/* The numbers in the low and in the high half of each byte. */
LANES_INLINE lanes_s32 codes_low(lanes_s32 bytes)
{
    return _mm512_and_si512(bytes, _mm512_set1_epi8(0x0F));
}

LANES_INLINE lanes_s32 codes_high(lanes_s32 bytes)
{
    return _mm512_and_si512(_mm512_srli_epi32(bytes, 4), _mm512_set1_epi8(0x0F));
}

LANES_INLINE lanes_s32 codes_look_up(codes_table table, lanes_s32 numbers)
{
    return _mm512_shuffle_epi8(table, numbers);
}

/* From sixteen s16, for codes_times: the upper halves of lanes are zeros. */
LANES_INLINE lanes_s32 codes_sums(const int8_t *sums)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)sums));
}

/* Products of such sums and of factors from -32768 to 32767. */
LANES_INLINE lanes_s32 codes_times(lanes_s32 factors, lanes_s32 sums)
{
    return _mm512_madd_epi16(factors, sums);
}

#endif
