#include "src/file.h"

#include "src/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary names of one process that may exist at a time in a directory. */
#define MAX_TEMPORARIES 1000

static dynq_status read_all(int descriptor, const char *path, char *bytes, size_t size,
                            dynq_error *error)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t got = read(descriptor, bytes + done, size - done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            return dynq_fail_at(error, DYNQ_ERR_IO, done, "%s: became shorter while it was read",
                                path);
        } else if (errno != EINTR) {
            return dynq_fail_at(error, DYNQ_ERR_IO, done, "%s: cannot read: %s", path,
                                strerror(errno));
        }
    }
    return DYNQ_OK;
}

static dynq_status load(int descriptor, const char *path, int copy, const dynq_allocator *allocator,
                        dynq_file *file, dynq_error *error)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        return dynq_fail(error, DYNQ_ERR_IO, "%s: cannot read its size: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return dynq_fail(error, DYNQ_ERR_IO, "%s: is %s, not a regular file", path,
                         S_ISDIR(info.st_mode) ? "a directory" : "a device or a pipe");
    }
    if (info.st_size == 0) {
        *file = (dynq_file){0};
        return DYNQ_OK;
    }
    if ((uintmax_t)info.st_size > SIZE_MAX) {
        return dynq_fail(error, DYNQ_ERR_IO, "%s: is too large for this machine", path);
    }
    const size_t size = (size_t)info.st_size;
    if (!copy) {
        void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (bytes == MAP_FAILED) {
            return dynq_fail(error, DYNQ_ERR_IO, "%s: cannot map it: %s", path, strerror(errno));
        }
        *file = (dynq_file){.bytes = bytes, .size = size, .mapped = 1};
        return DYNQ_OK;
    }
    char *bytes = dynq_alloc(allocator, size, 1);
    if (bytes == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: no memory for its %zu bytes", path, size);
    }
    const dynq_status status = read_all(descriptor, path, bytes, size, error);
    if (status != DYNQ_OK) {
        dynq_release(allocator, bytes);
        return status;
    }
    *file = (dynq_file){.bytes = bytes, .size = size};
    return DYNQ_OK;
}

dynq_status dynq_file_open(const char *path, int copy, const dynq_allocator *allocator,
                           dynq_file *file, dynq_error *error)
{
    /* O_NONBLOCK: opening a pipe must fail below, not wait for a writer. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return dynq_fail(error, DYNQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    const dynq_status status = load(descriptor, path, copy, allocator, file, error);
    close(descriptor);
    return status;
}

void dynq_file_close(dynq_file *file, const dynq_allocator *allocator)
{
    if (file->bytes != NULL) {
        void *bytes = (void *)(uintptr_t)file->bytes; /* ours, only read-only for users */
        if (file->mapped) {
            munmap(bytes, file->size);
        } else {
            dynq_release(allocator, bytes);
        }
    }
    *file = (dynq_file){0};
}

static void forget(dynq_replacement *replacement)
{
    free(replacement->temporary);
    free(replacement->target);
    *replacement = (dynq_replacement){0};
}

/* The length of the directory part of a path, with the slash; 0 for the working directory. */
static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* Creates a file of a new name beside the target: a descriptor, or -1 with errno. Its mode is what
 * fopen would give. The name is short, so that it fits wherever the target's does. */
static int create_temporary(dynq_replacement *replacement)
{
    const size_t directory = directory_length(replacement->target);
    const size_t size = directory + sizeof ".dynq--.tmp" + 2 * 20;
    replacement->temporary = malloc(size);
    if (replacement->temporary == NULL) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(replacement->temporary, replacement->target, directory);
    for (int i = 0; i < MAX_TEMPORARIES; i++) {
        snprintf(replacement->temporary + directory, size - directory, ".dynq-%ld-%d.tmp",
                 (long)getpid(), i);
        const int descriptor =
            open(replacement->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST) {
            return descriptor;
        }
    }
    return -1;
}

/* Opens the descriptor to write to. `found`: the target exists and `info` describes it. */
static int open_target(dynq_replacement *replacement, int found, const struct stat *info)
{
    if (found && S_ISDIR(info->st_mode)) {
        errno = EISDIR;
        return -1;
    }
    if (found && !S_ISREG(info->st_mode)) {
        return open(replacement->target, O_WRONLY | O_CLOEXEC);
    }
    if (found && faccessat(AT_FDCWD, replacement->target, W_OK, AT_EACCESS) != 0) {
        return -1; /* a rename would replace a file that is protected against writing */
    }
    const int descriptor = create_temporary(replacement);
    if (descriptor < 0) {
        free(replacement->temporary); /* the name is not ours */
        replacement->temporary = NULL;
    } else if (found && fchmod(descriptor, info->st_mode & 0777) != 0) {
        const int reason = errno;
        close(descriptor);
        unlink(replacement->temporary);
        errno = reason;
        return -1;
    }
    return descriptor;
}

dynq_status dynq_replacement_begin(const char *path, dynq_replacement *replacement,
                                   dynq_error *error)
{
    struct stat info;
    const int found = stat(path, &info) == 0;
    /* A device is opened by the name given: what /dev/stdout leads to often has no path. */
    const int regular = found && S_ISREG(info.st_mode);
    dynq_replacement begun = {.path = path};
    begun.target = regular ? realpath(path, NULL) : strdup(path);
    if (begun.target == NULL) {
        return dynq_fail(error, errno == ENOMEM ? DYNQ_ERR_MEMORY : DYNQ_ERR_IO,
                         "%s: cannot write: %s", path, strerror(errno));
    }
    if (!found && lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        forget(&begun);
        return dynq_fail(error, DYNQ_ERR_IO,
                         "%s: is a symbolic link that leads nowhere; remove it first", path);
    }
    const int descriptor = open_target(&begun, found, &info);
    if (descriptor >= 0) {
        begun.stream = fdopen(descriptor, "wb");
    }
    if (begun.stream == NULL) {
        const int reason = errno;
        if (descriptor >= 0) {
            close(descriptor);
            if (begun.temporary != NULL) {
                unlink(begun.temporary);
            }
        }
        forget(&begun);
        return dynq_fail(error, reason == ENOMEM ? DYNQ_ERR_MEMORY : DYNQ_ERR_IO,
                         "%s: cannot write: %s", path, strerror(reason));
    }
    *replacement = begun;
    return DYNQ_OK;
}

/* Makes the new name last over a crash where the file system can; the file is complete anyway. */
static void sync_directory(const char *path)
{
    const size_t length = directory_length(path);
    char *directory = length == 0 ? strdup(".") : strndup(path, length);
    if (directory == NULL) {
        return;
    }
    const int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        close(descriptor);
    }
    free(directory);
}

dynq_status dynq_replacement_commit(dynq_replacement *replacement, dynq_error *error)
{
    errno = 0;
    int failed = ferror(replacement->stream) != 0;
    failed = fflush(replacement->stream) != 0 || failed;
    if (!failed && replacement->temporary != NULL) {
        failed = fsync(fileno(replacement->stream)) != 0;
    }
    int reason = errno;
    if (fclose(replacement->stream) != 0 && !failed) {
        failed = 1;
        reason = errno;
    }
    if (!failed && replacement->temporary != NULL) {
        failed = rename(replacement->temporary, replacement->target) != 0;
        reason = errno;
    }
    dynq_status status = DYNQ_OK;
    if (failed) {
        if (replacement->temporary != NULL) {
            unlink(replacement->temporary);
        }
        status = dynq_fail(error, DYNQ_ERR_IO, "%s: cannot write: %s", replacement->path,
                           reason != 0 ? strerror(reason) : "a write failed (is the disk full?)");
    } else if (replacement->temporary != NULL) {
        sync_directory(replacement->target);
    }
    forget(replacement);
    return status;
}

void dynq_replacement_abandon(dynq_replacement *replacement)
{
    if (replacement->stream != NULL) {
        fclose(replacement->stream);
        if (replacement->temporary != NULL) {
            unlink(replacement->temporary);
        }
    }
    forget(replacement);
}
