#include "kernels/kernel.h"
#include "kernels/table.h"
#include "src/cpu.h"

#include <string.h>

/* Best first. The only place that says which kernels there are and which one wins. */
static const dynq_kernel *const table[] = {
#ifdef DYNQ_HAVE_X86
    &dynq_kernel_avx512_vnni,    /* 64 products an instruction */
    &dynq_kernel_avx512_vl_vnni, /* 32, on the same CPUs: for who wants to spare them zmm */
    &dynq_kernel_avx_vnni,       /* 32, in half as many registers */
    &dynq_kernel_avx2,
#endif
#ifdef DYNQ_HAVE_AARCH64
    &dynq_kernel_neon_i8mm,    /* 32 */
    &dynq_kernel_neon_dotprod, /* 16 */
#endif
    &dynq_kernel_ref,
};

const dynq_kernel *dynq_kernel_at(size_t index)
{
    return index < sizeof table / sizeof table[0] ? table[index] : NULL;
}

const dynq_kernel *dynq_kernel_find(const char *name)
{
    const dynq_kernel *kernel = NULL;
    if (name == NULL) {
        return NULL;
    }
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        if (strcmp(kernel->name, name) == 0) {
            return kernel;
        }
    }
    return NULL;
}

const dynq_kernel *dynq_kernel_best(uint32_t features)
{
    size_t index = 0;
    while ((dynq_kernel_at(index)->features & ~features) != 0) {
        index++; /* "ref" is last and needs nothing */
    }
    return dynq_kernel_at(index);
}

dynq_gemm_bf16 *dynq_kernel_bf16(const dynq_kernel *kernel, uint32_t features)
{
    dynq_gemm_bf16 *gemm = NULL;
    uint32_t needed = kernel->features;
#ifdef DYNQ_HAVE_X86
    if (kernel == &dynq_kernel_avx512_vnni || kernel == &dynq_kernel_avx512_vl_vnni) {
        gemm = dynq_avx512_gemm_bf16;
        needed |= DYNQ_CPU_AVX512_BF16;
    }
#endif
    return (needed & ~features) == 0 ? gemm : NULL;
}

const char *dynq_kernel_name(size_t index)
{
    const dynq_kernel *kernel = dynq_kernel_at(index);
    return kernel == NULL ? NULL : kernel->name;
}

int dynq_kernel_supported(const char *name)
{
    const dynq_kernel *kernel = dynq_kernel_find(name);
    return kernel != NULL && (kernel->features & ~dynq_cpu_features()) == 0;
}
