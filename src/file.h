/* Files: mapping or reading a whole one, and replacing one so that it is never half written. */
#ifndef DYNQ_SRC_FILE_H
#define DYNQ_SRC_FILE_H

#include "src/memory.h"

#include <dynq/status.h>
#include <stdio.h>

/* The bytes of a file. `bytes` is 64-byte aligned and read-only. */
typedef struct dynq_file {
    const void *bytes;
    size_t size;
    int mapped; /* from mmap, otherwise from the allocator */
} dynq_file;

/* Maps (or with `copy` reads) a regular file. An empty file has size 0 and bytes NULL. */
dynq_status dynq_file_open(const char *path, int copy, const dynq_allocator *allocator,
                           dynq_file *file, dynq_error *error);
void dynq_file_close(dynq_file *file, const dynq_allocator *allocator);

/* A file being written beside its final place. */
typedef struct dynq_replacement {
    FILE *stream;     /* write here; errors are noticed by the commit */
    char *temporary;  /* its name; NULL: `path` is a device or a pipe and is written directly */
    char *target;     /* the file to replace: `path` with symbolic links followed */
    const char *path; /* for messages */
} dynq_replacement;

/* `path` is borrowed until commit or abandon. DYNQ_ERR_IO, DYNQ_ERR_MEMORY. */
dynq_status dynq_replacement_begin(const char *path, dynq_replacement *replacement,
                                   dynq_error *error);
/* Syncs and renames; on failure nothing is left behind and `path` has its old contents. */
dynq_status dynq_replacement_commit(dynq_replacement *replacement, dynq_error *error);
void dynq_replacement_abandon(dynq_replacement *replacement);

#endif
