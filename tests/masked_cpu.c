/* Takes features away from the CPU: what is linked with -Wl,--wrap=dynq_cpu_features asks here. The
 * names in the environment's DYNQ_TEST_WITHOUT, e.g. "avx512_vnni,avx2", are those of `dynq info`.
 */
#include "src/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t __real_dynq_cpu_features(void);
uint32_t __wrap_dynq_cpu_features(void);

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
