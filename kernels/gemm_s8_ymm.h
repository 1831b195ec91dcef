/* The INT8 product with vpdpbusd on ymm registers, for both encodings of the instruction. Include
 * after the definitions of numbers that gemm_s8_lanes.h asks for, and define s8_tile_rows
 * afterwards. */
#ifndef DYNQ_KERNELS_GEMM_S8_YMM_H
#define DYNQ_KERNELS_GEMM_S8_YMM_H

#include "kernels/lanes_avx2.h"
#include "kernels/vpdpbusd.h"

#include <string.h>

#define S8_OFFSET 0

typedef __m256i dot_codes;

LANES_INLINE dot_codes dot_broadcast(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

LANES_INLINE lanes_s32 dot_weights(const int8_t *w)
{
    return (lanes_s32){_mm256_load_si256((const __m256i *)w),
                       _mm256_load_si256((const __m256i *)(w + 32))};
}

LANES_INLINE lanes_s32 dot_add(lanes_s32 acc, dot_codes q, lanes_s32 w)
{
    return (lanes_s32){vpdpbusd_ymm(acc.low, q, w.low), vpdpbusd_ymm(acc.high, q, w.high)};
}

/* acc + the products of four codes and four weights in each lane. */
LANES_INLINE lanes_s32 dot_lanes(lanes_s32 acc, lanes_s32 q, lanes_s32 w)
{
    return (lanes_s32){vpdpbusd_ymm(acc.low, q.low, w.low), vpdpbusd_ymm(acc.high, q.high, w.high)};
}

#include "kernels/gemm_s8_lanes.h"

LANES_INLINE lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
{
    return dot_add(acc, u8s.low, s8s);
}

#endif
