/* Writing a file so that its name holds the old contents or all of the new. */
#ifndef DYNQ_TOOLS_REPLACE_H
#define DYNQ_TOOLS_REPLACE_H

#include <dynq/status.h>
#include <stddef.h>

/* Writes a temporary file beside `path`, syncs and renames it. DYNQ_ERR_MEMORY, DYNQ_ERR_IO. */
dynq_status replace_file(const char *path, const void *bytes, size_t size, dynq_error *error);

#endif
