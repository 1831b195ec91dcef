/* The entries of the kernel table, one per file. Only kernels.c and tests name them; everybody else
 * asks the table (kernel.h). */
#ifndef DYNQ_KERNELS_TABLE_H
#define DYNQ_KERNELS_TABLE_H

#include "kernels/kernel.h"

extern const dynq_kernel dynq_kernel_ref;
/* In builds for x86-64 only. */
extern const dynq_kernel dynq_kernel_avx2;
extern const dynq_kernel dynq_kernel_avx_vnni;
extern const dynq_kernel dynq_kernel_avx512_vl_vnni;
extern const dynq_kernel dynq_kernel_avx512_vnni;
/* What dynq_kernel_bf16() has for the two above; it is avx512_vnni that finishes the results. */
void dynq_avx512_gemm_bf16(const dynq_gemm_f32 *gemm);
/* In builds for aarch64 only. */
extern const dynq_kernel dynq_kernel_neon_dotprod;
extern const dynq_kernel dynq_kernel_neon_i8mm;

#endif
