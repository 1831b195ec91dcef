/* Functions of the reference kernel that are not in ref.c: what a sentence encoder does besides its
 * layers (ref_pool.c), errors of rows (ref_errors.c). */
#ifndef DYNQ_KERNELS_REF_POOL_H
#define DYNQ_KERNELS_REF_POOL_H

#include "kernels/kernel.h"

void dynq_ref_embed(const dynq_embed_block *block);
void dynq_ref_pool(const dynq_pool_block *block);
void dynq_ref_normalize(const dynq_float_block *block);
void dynq_ref_errors(const dynq_error_block *block);

#endif
