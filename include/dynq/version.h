/* The version of the headers and of the library. */
#ifndef DYNQ_VERSION_H
#define DYNQ_VERSION_H

#include <dynq/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DYNQ_VERSION_MAJOR 0
#define DYNQ_VERSION_MINOR 1
#define DYNQ_VERSION_PATCH 0

/* The version of the library that runs, "0.1.0". It may differ from the headers. Static storage. */
DYNQ_API const char *dynq_version(void);

#ifdef __cplusplus
}
#endif

#endif
