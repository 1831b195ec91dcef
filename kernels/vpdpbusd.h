/* The one instruction that INT8 lives on, wrapped so that compilers keep accumulators in registers.
 */
#ifndef DYNQ_KERNELS_VPDPBUSD_H
#define DYNQ_KERNELS_VPDPBUSD_H

#include <immintrin.h>

/* acc + the four products of unsigned and signed bytes, in each of 16 lanes, modulo 2^32. Not the
 * intrinsic: GCC 12 copies and spills accumulators around _mm512_dpbusd_epi32, which halves the
 * speed of a tile. With "+v" an accumulator has one register from its first use to its last. */
static inline __m512i vpdpbusd(__m512i acc, __m512i unsigned_bytes, __m512i signed_bytes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
    return acc;
}

#endif
