/* Which kernel works for a caller. */
#ifndef DYNQ_SRC_KERNEL_CHOICE_H
#define DYNQ_SRC_KERNEL_CHOICE_H

#include "kernels/kernel.h"

#include <dynq/status.h>

/* The kernel of that name, or for NULL the best that this CPU runs. DYNQ_ERR_NOT_FOUND,
 * DYNQ_ERR_UNSUPPORTED. */
dynq_status dynq_kernel_choose(const char *name, const dynq_kernel **kernel, dynq_error *error);

#endif
