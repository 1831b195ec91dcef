#include "src/kernel_choice.h"

#include "src/cpu.h"
#include "src/error.h"

dynq_status dynq_kernel_choose(const char *name, const dynq_kernel **kernel, dynq_error *error)
{
    const uint32_t features = dynq_cpu_features();
    if (name == NULL) {
        *kernel = dynq_kernel_best(features);
        return DYNQ_OK;
    }
    const dynq_kernel *found = dynq_kernel_find(name);
    if (found == NULL) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         "there is no kernel '%s'; dynq_kernel_name() lists them", name);
    }
    if ((found->features & features) != found->features) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED, "this CPU cannot run kernel '%s'", name);
    }
    *kernel = found;
    return DYNQ_OK;
}
