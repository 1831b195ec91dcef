/* What codes of levels and heads of groups become in four q registers. The same names as in
 * codes_avx512.h, which says what they are. */
#ifndef DYNQ_KERNELS_CODES_NEON_H
#define DYNQ_KERNELS_CODES_NEON_H

#include "kernels/lanes_neon.h"

typedef int8x16_t codes_table;

LANES_INLINE codes_table codes_table_load(const int8_t levels[16])
{
    return vld1q_s8(levels);
}

LANES_INLINE lanes_s32 codes_low(lanes_s32 bytes)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const uint8x16_t part = vreinterpretq_u8_s32(bytes.part[i]);
        bytes.part[i] = vreinterpretq_s32_u8(vandq_u8(part, vdupq_n_u8(0x0F)));
    }
    return bytes;
}

LANES_INLINE lanes_s32 codes_high(lanes_s32 bytes)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const uint8x16_t part = vreinterpretq_u8_s32(bytes.part[i]);
        bytes.part[i] = vreinterpretq_s32_u8(vshrq_n_u8(part, 4));
    }
    return bytes;
}

LANES_INLINE lanes_s32 codes_look_up(codes_table table, lanes_s32 numbers)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const uint8x16_t part = vreinterpretq_u8_s32(numbers.part[i]);
        numbers.part[i] = vreinterpretq_s32_s8(vqtbl1q_s8(table, part));
    }
    return numbers;
}

LANES_INLINE lanes_s32 codes_sums(const int8_t *sums)
{
    lanes_s32 wide;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        wide.part[i] = vmovl_s16(vreinterpret_s16_s8(vld1_s8(sums + 8 * i)));
    }
    return wide;
}

LANES_INLINE lanes_s32 codes_times(lanes_s32 factors, lanes_s32 sums)
{
    return lanes_mul_s32(factors, sums);
}

#endif
