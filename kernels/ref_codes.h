/* The reference's INT8 product of codes of levels and of groups. */
#ifndef DYNQ_KERNELS_REF_CODES_H
#define DYNQ_KERNELS_REF_CODES_H

#include "kernels/kernel.h"

/* Bits 8, 4 or 2 with groups, bits 4 or 2 without. */
void dynq_ref_gemm_codes(const dynq_gemm_s8 *gemm);

#endif
