/* `dynq info` without a model. */
#ifndef DYNQ_TOOLS_INFO_MACHINE_H
#define DYNQ_TOOLS_INFO_MACHINE_H

#include "tools/command.h"

/* Prints CPU, kernels and engines, or with only_kernels just the kernels. */
void info_machine(const command_call *call, int only_kernels);

#endif
