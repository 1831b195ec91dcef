#include "tools/machine.h"

#include <dynq/version.h>
#include <stdio.h>

#include "tools/baseline.h"
#include "tools/engines.h"

#include "commit.h"

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)
#if defined(__clang__)
static const char compiler[] =
    "clang " TEXT(__clang_major__) "." TEXT(__clang_minor__) "." TEXT(__clang_patchlevel__);
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

const char *machine_kernel(const command_call *call)
{
    size_t index = 0;
    while (dynq_kernel_name(index) != NULL && !dynq_kernel_supported(dynq_kernel_name(index))) {
        index++;
    }
    return call->common.kernel != NULL ? call->common.kernel : dynq_kernel_name(index);
}

void machine_describe(const dynq_cpu *cpu, const char *kernel, char *text, size_t size)
{
    char engines[200];
    baseline_describe(engines, sizeof engines);
    snprintf(text, size, "%s, %u usable CPU%s, kernel %s, dynq %s (%s) built with %s; %s",
             cpu->name, cpu->usable, cpu->usable == 1 ? "" : "s", kernel, dynq_version(),
             DYNQ_COMMIT, compiler, engines);
}

json_t *machine_json(const dynq_cpu *cpu, const char *kernel)
{
    json_t *machine = command_json_object();
    json_t *engines = command_json_object();
    const engine_choice *choice = NULL;
    for (size_t i = 0; (choice = engine_at(i)) != NULL; i++) {
        const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
        if (choice->built) {
            command_json_set(
                engines, choice->name,
                command_json_string(engine != NULL ? engine->version : dynq_version()));
        }
    }
    command_json_set(machine, "cpu", command_json_string(cpu->name));
    command_json_set(machine, "kernel", command_json_string(kernel));
    command_json_set(machine, "usable_cpus", command_json_integer(cpu->usable));
    command_json_set(machine, "compiler", command_json_string(compiler));
    command_json_set(machine, "version", command_json_string(dynq_version()));
    command_json_set(machine, "commit", command_json_string(DYNQ_COMMIT));
    command_json_set(machine, "engines", engines);
    return machine;
}
