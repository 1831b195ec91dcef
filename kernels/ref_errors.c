/* Errors of rows, a function of the reference kernel. */
#include "kernels/errors.h"
#include "kernels/ref_pool.h"

void dynq_ref_errors(const dynq_error_block *block)
{
    *block->sums = (dynq_error_sums){0};
    for (size_t c = 0; c < block->columns; c += DYNQ_ERROR_LANES) {
        const size_t left = block->columns - c;
        errors_add(block->sums, left < DYNQ_ERROR_LANES ? left : DYNQ_ERROR_LANES,
                   block->reference + c, block->value + c);
    }
}
