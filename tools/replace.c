#include "tools/replace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes all and closes the descriptor; 0 or an errno. */
static int write_all(int descriptor, const char *bytes, size_t size)
{
    int failure = 0;
    for (size_t done = 0; done < size && failure == 0;) {
        const ssize_t count = write(descriptor, bytes + done, size - done);
        if (count >= 0) {
            done += (size_t)count;
        } else if (errno != EINTR) {
            failure = errno;
        }
    }
    /* A new file of mkstemp() is private; this is an ordinary one. */
    const mode_t mask = umask(0);
    umask(mask);
    if (failure == 0 && (fchmod(descriptor, 0666 & ~mask) != 0 || fsync(descriptor) != 0)) {
        failure = errno;
    }
    if (close(descriptor) != 0 && failure == 0) {
        failure = errno;
    }
    return failure;
}

static dynq_status fail(dynq_error *error, dynq_status status, const char *path, const char *why)
{
    error->status = status;
    error->offset = DYNQ_NO_OFFSET;
    snprintf(error->message, sizeof error->message, "cannot write %.300s: %s", path, why);
    return status;
}

dynq_status replace_file(const char *path, const void *bytes, size_t size, dynq_error *error)
{
    const size_t length = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(length);
    if (temporary == NULL) {
        return fail(error, DYNQ_ERR_MEMORY, path, "out of memory");
    }
    snprintf(temporary, length, "%s.XXXXXX", path);
    const int descriptor = mkstemp(temporary);
    if (descriptor < 0) {
        const int failure = errno;
        free(temporary);
        return fail(error, DYNQ_ERR_IO, path, strerror(failure));
    }
    int failure = write_all(descriptor, bytes, size);
    if (failure == 0 && rename(temporary, path) != 0) {
        failure = errno;
    }
    if (failure != 0) {
        unlink(temporary);
    }
    free(temporary);
    return failure == 0 ? DYNQ_OK : fail(error, DYNQ_ERR_IO, path, strerror(failure));
}
