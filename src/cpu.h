/* What the runtime needs from the CPU beyond the public query. cpu.c has what is alike everywhere,
 * of the files cpu_*.c the build takes the one for its architecture. */
#ifndef DYNQ_SRC_CPU_H
#define DYNQ_SRC_CPU_H

#include <dynq/cpu.h>

/* The features alone: cheap, asks the CPU each time. */
uint32_t dynq_cpu_features(void);
/* Fills in the name, or leaves it as it is where none is known. */
void dynq_cpu_read_name(char name[64]);
/* Logical CPUs in the affinity mask of the process, at least 1. */
uint32_t dynq_cpu_usable(void);

/* Tells the CPU that this is a spin loop. */
void dynq_cpu_relax(void);

/* The floating-point control state (rounding, denormals, exception masks) of one thread. */
typedef struct dynq_float_state {
    uint64_t bits;
} dynq_float_state;

/* Sets the default state (round to nearest even, denormals kept, exceptions masked) and returns the
 * state that was, for dynq_float_state_restore() on the same thread. */
dynq_float_state dynq_float_state_set_default(void);
void dynq_float_state_restore(dynq_float_state state);

#endif
