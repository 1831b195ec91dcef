/* The engines that can be asked for, and which of them this build has. */
#ifndef DYNQ_TOOLS_ENGINES_H
#define DYNQ_TOOLS_ENGINES_H

#include <dynq/engine.h>
#include <dynq/second_moments.h>
#include <stddef.h>

typedef struct engine_choice {
    const char *name;
    int built;                          /* whether this build has it */
    const dynq_engine *(*engine)(void); /* NULL for native and for engines that are not built */
} engine_choice;

/* Entry 0, 1, ...; NULL past the last. The first is "native". */
const engine_choice *engine_at(size_t index);
/* NULL for an unknown name. */
const engine_choice *engine_find(const char *name);
/* The table of a choice for dynq_session_options.engine: NULL for native. The choice must be
 * built. */
const dynq_engine *engine_table(const engine_choice *choice);
/* Cholesky factors for error-feedback rounding; NULL: this build has none. */
const dynq_algebra *engine_algebra(void);

#endif
