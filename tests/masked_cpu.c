/* Another CPU and another table of kernels, for tests: programs that are linked with -Wl,--wrap of
 * these functions ask here. The CPU lacks the features in the environment's DYNQ_TEST_WITHOUT,
 * named as `dynq info` does, e.g. "avx512_vnni,avx2". The kernel in DYNQ_TEST_KERNEL stands before
 * those that need the same. */
#include "kernels/kernel.h"
#include "src/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t __real_dynq_cpu_features(void);
uint32_t __wrap_dynq_cpu_features(void);
const dynq_kernel *__real_dynq_kernel_at(size_t index);
const dynq_kernel *__wrap_dynq_kernel_at(size_t index);
const dynq_kernel *__real_dynq_kernel_best(uint32_t features);
const dynq_kernel *__wrap_dynq_kernel_best(uint32_t features);
const char *__wrap_dynq_kernel_name(size_t index);

static uint32_t feature_of(const char *name, size_t length)
{
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        const char *known = dynq_cpu_feature_name(bit);
        if (known != NULL && strlen(known) == length && memcmp(known, name, length) == 0) {
            return bit;
        }
    }
    fprintf(stderr, "DYNQ_TEST_WITHOUT: no feature is called %.*s\n", (int)length, name);
    exit(EXIT_FAILURE);
}

uint32_t __wrap_dynq_cpu_features(void)
{
    uint32_t features = __real_dynq_cpu_features();
    const char *name = getenv("DYNQ_TEST_WITHOUT");
    while (name != NULL && *name != '\0') {
        const size_t length = strcspn(name, ",");
        features &= ~feature_of(name, length);
        name += length + (name[length] == ',');
    }
    return features;
}

/* What stands in the place of this entry: the wanted one and the first that needs the same have
 * changed theirs. */
static const dynq_kernel *exchange(const dynq_kernel *kernel)
{
    const dynq_kernel *wanted = dynq_kernel_find(getenv("DYNQ_TEST_KERNEL"));
    if (wanted == NULL) {
        return kernel;
    }
    const dynq_kernel *first = __real_dynq_kernel_best(wanted->features);
    return kernel == first ? wanted : kernel == wanted ? first : kernel;
}

const dynq_kernel *__wrap_dynq_kernel_at(size_t index)
{
    return exchange(__real_dynq_kernel_at(index));
}

const dynq_kernel *__wrap_dynq_kernel_best(uint32_t features)
{
    return exchange(__real_dynq_kernel_best(features));
}

const char *__wrap_dynq_kernel_name(size_t index)
{
    const dynq_kernel *kernel = __wrap_dynq_kernel_at(index);
    return kernel == NULL ? NULL : kernel->name;
}
