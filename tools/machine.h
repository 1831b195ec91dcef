/* The machine and the build, as measurements name them. */
#ifndef DYNQ_TOOLS_MACHINE_H
#define DYNQ_TOOLS_MACHINE_H

#include "tools/command.h"
#include "tools/output.h"

#include <dynq/cpu.h>

/* The kernel that sessions take: the forced one, or the best. Static storage or the caller's. */
const char *machine_kernel(const command_call *call);
/* CPU, kernel, version, commit, compiler and engines in one line. */
void machine_describe(const dynq_cpu *cpu, const char *kernel, char *text, size_t size);
/* The same as an object. */
json_t *machine_json(const dynq_cpu *cpu, const char *kernel);

#endif
