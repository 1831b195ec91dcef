/* Error measures with a kernel that is chosen already. */
#ifndef DYNQ_SRC_COMPARE_H
#define DYNQ_SRC_COMPARE_H

#include "kernels/kernel.h"

#include <dynq/compare.h>

/* dynq_metrics_add(); the same bits with any kernel. */
void dynq_metrics_add_with(const dynq_kernel *kernel, dynq_metrics *metrics, size_t rows,
                           size_t columns, const float *reference, size_t reference_stride,
                           const float *value, size_t value_stride);

#endif
