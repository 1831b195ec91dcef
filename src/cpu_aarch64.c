/* aarch64 under Linux: the auxiliary vector, MIDR and FPCR. */
#include "src/cpu.h"

#include <stdio.h>
#include <sys/auxv.h>

uint32_t dynq_cpu_features(void)
{
    uint32_t features = 0;
    features |= (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? DYNQ_CPU_NEON_DOTPROD : 0;
    features |= (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0 ? DYNQ_CPU_NEON_I8MM : 0;
    return features;
}

/* There is no brand string: the numbers by which lists of CPUs go. */
void dynq_cpu_read_name(char name[64])
{
    if ((getauxval(AT_HWCAP) & HWCAP_CPUID) != 0) {
        uint64_t midr = 0;
        __asm__("mrs %0, midr_el1" : "=r"(midr));
        snprintf(name, 64, "aarch64 implementer 0x%02x part 0x%03x", (unsigned)(midr >> 24 & 0xff),
                 (unsigned)(midr >> 4 & 0xfff));
    }
}

void dynq_cpu_relax(void)
{
    __asm__ volatile("yield");
}

static void set_fpcr(uint64_t bits)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(bits) : "memory");
}

dynq_float_state dynq_float_state_set_default(void)
{
    dynq_float_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before.bits));
    set_fpcr(0);
    return before;
}

void dynq_float_state_restore(dynq_float_state state)
{
    set_fpcr(state.bits);
}
