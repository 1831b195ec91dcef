/* The one instruction that INT8 lives on, wrapped so that compilers keep accumulators in registers:
 * acc + the four products of unsigned and signed bytes, in each lane of 32 bits, modulo 2^32. Not
 * the intrinsics: GCC 12 copies and spills accumulators around them, which halves the speed of a
 * tile. With "+v" ("+x" for the 16 registers of VEX) an accumulator has one register from its first
 * use to its last. */
#ifndef DYNQ_KERNELS_VPDPBUSD_H
#define DYNQ_KERNELS_VPDPBUSD_H

#include <immintrin.h>

#ifdef __AVX512VNNI__
static inline __m512i vpdpbusd(__m512i acc, __m512i unsigned_bytes, __m512i signed_bytes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
    return acc;
}

/* One of 32 registers, EVEX-encoded. */
static inline __m256i vpdpbusd_ymm(__m256i acc, __m256i unsigned_bytes, __m256i signed_bytes)
{
    __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
    return acc;
}
#else
/* One of 16 registers. Without the prefix assemblers take EVEX, which a CPU with AVX-VNNI alone
 * does not know. */
static inline __m256i vpdpbusd_ymm(__m256i acc, __m256i unsigned_bytes, __m256i signed_bytes)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(unsigned_bytes), "x"(signed_bytes));
    return acc;
}
#endif

#endif
