#include <dynq/status.h>

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
