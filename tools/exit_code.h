/* What the command's exit code says. */
#ifndef DYNQ_TOOLS_EXIT_CODE_H
#define DYNQ_TOOLS_EXIT_CODE_H

#include <dynq/status.h>

typedef enum exit_code {
    EXIT_CODE_DONE = 0,
    EXIT_CODE_MISSED = 1, /* a threshold that the caller set was missed */
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_DATA = 3, /* a bad model or data file */
    EXIT_CODE_IO = 4,
    EXIT_CODE_MEMORY = 5
} exit_code;

/* The exit code for the failure of a library call. */
exit_code exit_code_of(dynq_status status);

#endif
