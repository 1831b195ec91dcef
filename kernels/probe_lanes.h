/* What the machine can do at most, measured with the instructions that the kernels live on. Include
 * after a lanes header, with PROBE_WIDTH defined (accumulators of sixteen lanes that fit the
 * registers, enough for the latency of the instructions), PROBE_PRODUCTS and
 *
 *     lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
 *
 * the dot product of this instruction set: PROBE_PRODUCTS of bytes added to each lane. It must not
 * let the compiler see that its operands stay the same. */
#ifndef DYNQ_KERNELS_PROBE_LANES_H
#define DYNQ_KERNELS_PROBE_LANES_H

#include <stddef.h>
#include <stdint.h>

/* Results of a probe go here, so that they cannot be left out. */
LANES_INLINE void probe_keep(int32_t value)
{
    __asm__ volatile("" : : "r"(value));
}

/* 16 lanes of PROBE_PRODUCTS products, 2 operations each. */
static uint64_t probe_s8(uint64_t steps)
{
    const lanes_s32 u8s = lanes_set_s32(0x01020304), s8s = lanes_set_s32(0x01010101);
    lanes_s32 acc[PROBE_WIDTH];
    for (int i = 0; i < PROBE_WIDTH; i++) {
        acc[i] = lanes_set_s32(i);
    }
    for (uint64_t step = 0; step < steps; step++) {
#pragma GCC unroll 16
        for (int i = 0; i < PROBE_WIDTH; i++) {
            acc[i] = probe_dot(acc[i], u8s, s8s);
        }
    }
    for (int i = 0; i < PROBE_WIDTH; i++) {
        probe_keep(lanes_highest_s32(acc[i]));
    }
    return steps * PROBE_WIDTH * 16 * PROBE_PRODUCTS * 2;
}

/* 16 lanes of one product, 2 operations each. */
static uint64_t probe_f32(uint64_t steps)
{
    const lanes_f32 a = lanes_set(0.5f), b = lanes_set(0.25f);
    lanes_f32 acc[PROBE_WIDTH];
    for (int i = 0; i < PROBE_WIDTH; i++) {
        acc[i] = lanes_set((float)i);
    }
    for (uint64_t step = 0; step < steps; step++) {
#pragma GCC unroll 16
        for (int i = 0; i < PROBE_WIDTH; i++) {
            acc[i] = lanes_fma(a, b, acc[i]);
        }
    }
    for (int i = 0; i < PROBE_WIDTH; i++) {
        probe_keep(lanes_highest_s32(lanes_bits(acc[i])));
    }
    return steps * PROBE_WIDTH * 16 * 2;
}

enum { PROBE_STREAMS = 4, PROBE_LINE = 64 };

LANES_INLINE lanes_s32 probe_line(lanes_s32 seen, const uint8_t *p)
{
    return lanes_or(seen, lanes_load_s32((const int32_t *)(const void *)p, 16));
}

/* Several streams, as a tile reads several panels: hardware prefetches each by itself. What does
 * not divide evenly is read at the end. */
static uint32_t probe_read(const void *memory, size_t bytes)
{
    const uint8_t *p = memory;
    const size_t stream = bytes / (PROBE_STREAMS * PROBE_LINE) * PROBE_LINE;
    lanes_s32 seen[PROBE_STREAMS];
    for (int i = 0; i < PROBE_STREAMS; i++) {
        seen[i] = lanes_set_s32(0);
    }
    for (size_t at = 0; at < stream; at += PROBE_LINE) {
#pragma GCC unroll 4
        for (size_t i = 0; i < PROBE_STREAMS; i++) {
            seen[i] = probe_line(seen[i], p + i * stream + at);
        }
    }
    uint32_t rest = 0;
    size_t at = PROBE_STREAMS * stream;
    for (; at + PROBE_LINE <= bytes; at += PROBE_LINE) {
        seen[0] = probe_line(seen[0], p + at);
    }
    for (; at < bytes; at++) {
        rest |= p[at];
    }
    for (int i = 1; i < PROBE_STREAMS; i++) {
        seen[0] = lanes_or(seen[0], seen[i]);
    }
    return lanes_highest_u32(seen[0]) | rest;
}

#endif
