#include "src/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *dynq_status_text(dynq_status status)
{
    switch (status) {
    case DYNQ_OK: return "success";
    case DYNQ_ERR_ARGUMENT: return "invalid argument";
    case DYNQ_ERR_MEMORY: return "out of memory";
    case DYNQ_ERR_IO: return "input or output error";
    case DYNQ_ERR_FORMAT: return "malformed file";
    case DYNQ_ERR_VERSION: return "file of a newer version";
    case DYNQ_ERR_SHAPE: return "shapes do not fit";
    case DYNQ_ERR_TYPE: return "wrong element type";
    case DYNQ_ERR_LIMIT: return "over a limit";
    case DYNQ_ERR_NOT_FOUND: return "not found";
    case DYNQ_ERR_NOT_FINITE: return "NaN or Inf";
    case DYNQ_ERR_UNSUPPORTED: return "not supported here";
    case DYNQ_ERR_ENGINE: return "engine failure";
    case DYNQ_ERR_CANCELLED: return "cancelled";
    }
    return "unknown status";
}

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
