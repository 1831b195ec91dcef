#include "src/error.h"

#include <stdarg.h>
#include <stdio.h>

static void fill(dynq_error *error, dynq_status status, uint64_t offset, const char *format,
                 va_list arguments)
{
    if (error == NULL) {
        return;
    }
    error->status = status;
    error->offset = offset;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    for (char *c = error->message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

dynq_status dynq_fail(dynq_error *error, dynq_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, DYNQ_NO_OFFSET, format, arguments);
    va_end(arguments);
    return status;
}

dynq_status dynq_fail_at(dynq_error *error, dynq_status status, uint64_t offset, const char *format,
                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, offset, format, arguments);
    va_end(arguments);
    return status;
}
