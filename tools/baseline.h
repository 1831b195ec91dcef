/* The engines that FP32 latency is measured on, and what has to be said about them. */
#ifndef DYNQ_TOOLS_BASELINE_H
#define DYNQ_TOOLS_BASELINE_H

#include <dynq/engine.h>
#include <stddef.h>

#define BASELINE_MAX_ENGINES 4

/* The foreign engines of this build that have FP32: OpenBLAS and oneDNN; how many. */
size_t baseline_engines(const dynq_engine *engines[BASELINE_MAX_ENGINES]);

/* "openblas 0.3.21 SkylakeX, onednn 2.6.3"; "no foreign engine" without any. */
void baseline_describe(char *text, size_t size);

/* OpenBLAS reads OPENBLAS_CORETYPE when it is loaded, before main(). Where it fell back to its
 * oldest kernels, because it does not know this CPU, and the caller has not set the variable, this
 * sets it and starts the program again; otherwise it returns. A baseline must be as fast as its
 * owner would make it. */
void baseline_restart_with_better_core(char **argv);

/* Whether OpenBLAS fell back to its oldest kernels, because it does not know this CPU: `text` then
 * says so, and how to mend it. A comparison with such a baseline flatters INT8. */
int baseline_warning(char *text, size_t size);

#endif
