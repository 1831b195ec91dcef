#include "tools/engines.h"

#include <string.h>

#ifdef DYNQ_HAVE_ONEDNN
#include <dynq/onednn.h>
#endif
#ifdef DYNQ_HAVE_OPENBLAS
#include <dynq/openblas.h>
#endif

static const engine_choice choices[] = {
    {.name = "native", .built = 1},
#ifdef DYNQ_HAVE_ONEDNN
    {.name = "onednn", .built = 1, .engine = dynq_onednn_engine},
#else
    {.name = "onednn"},
#endif
#ifdef DYNQ_HAVE_OPENBLAS
    {.name = "openblas", .built = 1, .engine = dynq_openblas_engine},
#else
    {.name = "openblas"},
#endif
};

const engine_choice *engine_at(size_t index)
{
    return index < sizeof choices / sizeof *choices ? &choices[index] : NULL;
}

const engine_choice *engine_find(const char *name)
{
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(choices[i].name, name) == 0) {
            return &choices[i];
        }
    }
    return NULL;
}

const dynq_engine *engine_table(const engine_choice *choice)
{
    return choice->engine != NULL ? choice->engine() : NULL;
}

const dynq_algebra *engine_algebra(void)
{
#ifdef DYNQ_HAVE_OPENBLAS
    return dynq_openblas_algebra();
#else
    return NULL;
#endif
}
