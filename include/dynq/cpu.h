/* What the CPU can do, as far as the kernels ask. */
#ifndef DYNQ_CPU_H
#define DYNQ_CPU_H

#include <dynq/api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Feature bits. A bit is set only if the CPU has the instructions and the operating system saves
 * the registers they use (XGETBV; on Linux for aarch64, the auxiliary vector says both). */
enum {
    DYNQ_CPU_AVX2 = 1u << 0,        /* AVX2, FMA and F16C */
    DYNQ_CPU_AVX512 = 1u << 1,      /* AVX-512 F, BW, DQ, VL */
    DYNQ_CPU_AVX512_VNNI = 1u << 2, /* vpdpbusd on zmm, ymm and xmm, EVEX-encoded */
    DYNQ_CPU_AVX_VNNI = 1u << 3,    /* vpdpbusd on ymm and xmm, VEX-encoded */
    DYNQ_CPU_AMX_INT8 =
        1u << 4, /* tile registers and tdpbusd; the tile state must still be requested */
    DYNQ_CPU_NEON_DOTPROD = 1u << 5, /* sdot and udot */
    DYNQ_CPU_NEON_I8MM = 1u << 6,    /* usmmla, usdot and sudot */
    DYNQ_CPU_AVX512_BF16 = 1u << 7   /* vdpbf16ps on zmm, ymm and xmm */
};

typedef struct dynq_cpu {
    uint32_t features; /* DYNQ_CPU_... bits */
    uint32_t usable;   /* logical CPUs this process may run on (affinity mask), at least 1 */
    char name[64];     /* brand string, or on aarch64 the numbers of maker and model; "unknown" */
    size_t l1d_bytes;  /* data caches as the operating system reports them, 0 if unknown */
    size_t l2_bytes;
    size_t l3_bytes;
} dynq_cpu;

/* Fills *cpu by asking the CPU and the operating system. Cannot fail; what is unknown is 0. Any
 * thread; nothing is cached. */
DYNQ_API void dynq_cpu_query(dynq_cpu *cpu);

/* The name of one feature bit as `dynq info` prints it, e.g. "avx512_vnni", or NULL if `bit` is not
 * one of the bits above. Static storage. */
DYNQ_API const char *dynq_cpu_feature_name(uint32_t bit);

/* The micro-kernel families compiled into the library, best first: entry 0, 1, ... or NULL past the
 * last. Static storage. The last one, "ref", is portable C and the specification of the others. */
DYNQ_API const char *dynq_kernel_name(size_t index);

/* Whether this CPU can run the kernel of that name (0 for an unknown name too). A session takes the
 * first supported one unless its options force another. */
DYNQ_API int dynq_kernel_supported(const char *name);

#ifdef __cplusplus
}
#endif

#endif
