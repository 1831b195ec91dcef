/* Filling a dynq_error. */
#ifndef DYNQ_SRC_ERROR_H
#define DYNQ_SRC_ERROR_H

#include <dynq/status.h>

/* Both write `status`, the position and a formatted one-line message into *error (NULL is fine),
 * and return `status`, so that a caller can write `return dynq_fail(error, ...)`. A control
 * character that came in through a name is written as '?'. */
dynq_status dynq_fail(dynq_error *error, dynq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
dynq_status dynq_fail_at(dynq_error *error, dynq_status status, uint64_t offset, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

#endif
