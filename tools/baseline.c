#include "tools/baseline.h"

#include <dynq/cpu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/engines.h"

size_t baseline_engines(const dynq_engine *engines[BASELINE_MAX_ENGINES])
{
    static const char *const order[] = {"openblas", "onednn"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const engine_choice *choice = engine_find(order[i]);
        const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
        if (engine != NULL && engine->has_fp32) {
            engines[count++] = engine;
        }
    }
    return count;
}

void baseline_describe(char *text, size_t size)
{
    const dynq_engine *engines[BASELINE_MAX_ENGINES];
    const size_t count = baseline_engines(engines);
    snprintf(text, size, "no foreign engine");
    size_t used = 0;
    for (size_t i = 0; i < count && used < size; i++) {
        const int length = snprintf(text + used, size - used, "%s%s %s", i > 0 ? ", " : "",
                                    engines[i]->name, engines[i]->version);
        used += length > 0 ? (size_t)length : 0;
    }
}

/* Whether `text` ends with `word` after a space. */
static int ends_with(const char *text, const char *word)
{
    const char *space = strrchr(text, ' ');
    return space != NULL && strcmp(space + 1, word) == 0;
}

/* The kernels that OpenBLAS should use instead of the ones it fell back to; NULL: it knows the CPU.
 */
static const char *better_core(void)
{
    const engine_choice *choice = engine_find("openblas");
    const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    /* Prescott, SSE3, is what OpenBLAS takes for a CPU that it does not know. */
    if (engine == NULL || (cpu.features & DYNQ_CPU_AVX2) == 0 ||
        !ends_with(engine->version, "Prescott")) {
        return NULL;
    }
    return (cpu.features & DYNQ_CPU_AVX512) != 0 ? "SkylakeX" : "Haswell";
}

void baseline_restart_with_better_core(char **argv)
{
    const char *core = getenv("OPENBLAS_CORETYPE") == NULL ? better_core() : NULL;
    if (core != NULL && setenv("OPENBLAS_CORETYPE", core, 1) == 0) {
        execv("/proc/self/exe", argv); /* where that fails, baseline_warning() says what is wrong */
    }
}

int baseline_warning(char *text, size_t size)
{
    const char *core = better_core();
    if (core == NULL) {
        return 0;
    }
    snprintf(
        text, size,
        "OpenBLAS does not know this CPU and uses SSE3 kernels: its FP32 is several times "
        "slower than it could be. OPENBLAS_CORETYPE=%s in the environment chooses better ones.",
        core);
    return 1;
}
