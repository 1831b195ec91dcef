/* x86-64: CPUID, XGETBV and MXCSR. */
#include "src/cpu.h"

#include <cpuid.h>
#include <string.h>
#include <xmmintrin.h>

/* The register sets that the operating system saves and restores (XCR0). */
static uint64_t saved_state(void)
{
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static uint32_t has(uint32_t word, unsigned bit)
{
    return word >> bit & 1;
}

uint32_t dynq_cpu_features(void)
{
    enum { STATE_YMM = 0x6, STATE_ZMM = 0xe6, STATE_TILE = 0x60000 };
    uint32_t a = 0, b = 0, c = 0, d = 0, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return 0;
    }
    const uint32_t osxsave = has(c, 27), avx = has(c, 28), fma = has(c, 12), f16c = has(c, 29);
    if (!osxsave || !avx || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) {
        return 0;
    }
    if (a >= 1) {
        __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    }
    const uint64_t state = saved_state();
    uint32_t features = 0;
    if ((state & STATE_YMM) != STATE_YMM || !has(b7, 5) || !fma || !f16c) {
        return 0;
    }
    features |= DYNQ_CPU_AVX2;
    features |= has(a71, 4) ? DYNQ_CPU_AVX_VNNI : 0;
    if ((state & STATE_ZMM) == STATE_ZMM && has(b7, 16) && has(b7, 17) && has(b7, 30) &&
        has(b7, 31)) {
        features |= DYNQ_CPU_AVX512;
        features |= has(c7, 11) ? DYNQ_CPU_AVX512_VNNI : 0;
        features |= has(a71, 5) ? DYNQ_CPU_AVX512_BF16 : 0;
    }
    if ((state & STATE_TILE) == STATE_TILE && has(d7, 24) && has(d7, 25)) {
        features |= DYNQ_CPU_AMX_INT8;
    }
    return features;
}

void dynq_cpu_read_name(char name[64])
{
    uint32_t words[12] = {0};
    uint32_t highest = __get_cpuid_max(0x80000000u, NULL);
    if (highest < 0x80000004u) {
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t *w = words + 4 * i;
        __get_cpuid(0x80000002u + i, &w[0], &w[1], &w[2], &w[3]);
    }
    char text[sizeof words + 1] = {0};
    memcpy(text, words, sizeof words);
    const char *start = text + strspn(text, " ");
    if (*start != '\0') {
        memcpy(name, start, strlen(start) + 1);
    }
}

void dynq_cpu_relax(void)
{
    _mm_pause();
}

dynq_float_state dynq_float_state_set_default(void)
{
    enum { MXCSR_DEFAULT = 0x1f80 };
    const dynq_float_state before = {_mm_getcsr()};
    _mm_setcsr(MXCSR_DEFAULT);
    return before;
}

void dynq_float_state_restore(dynq_float_state state)
{
    _mm_setcsr((unsigned)state.bits);
}
