#include "src/cpu.h"

#include <sched.h>
#include <unistd.h>

uint32_t dynq_cpu_usable(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static size_t cache_bytes(int name)
{
    const long bytes = sysconf(name);
    return bytes > 0 ? (size_t)bytes : 0;
}

void dynq_cpu_query(dynq_cpu *cpu)
{
    *cpu =
        (dynq_cpu){.features = dynq_cpu_features(), .usable = dynq_cpu_usable(), .name = "unknown"};
    dynq_cpu_read_name(cpu->name);
    cpu->l1d_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    cpu->l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    cpu->l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
}

const char *dynq_cpu_feature_name(uint32_t bit)
{
    switch (bit) {
    case DYNQ_CPU_AVX2: return "avx2";
    case DYNQ_CPU_AVX512: return "avx512";
    case DYNQ_CPU_AVX512_VNNI: return "avx512_vnni";
    case DYNQ_CPU_AVX_VNNI: return "avx_vnni";
    case DYNQ_CPU_AMX_INT8: return "amx_int8";
    case DYNQ_CPU_NEON_DOTPROD: return "neon_dotprod";
    case DYNQ_CPU_NEON_I8MM: return "neon_i8mm";
    case DYNQ_CPU_AVX512_BF16: return "avx512_bf16";
    default: return NULL;
    }
}
