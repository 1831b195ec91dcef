/* Status values and error descriptions.
 *
 * Every function of dynq that can fail returns a dynq_status. Results leave through pointers and
 * are written only on success. Functions that read outside data, or that can fail for more than one
 * reason, also fill an optional dynq_error. */
#ifndef DYNQ_STATUS_H
#define DYNQ_STATUS_H

#include <dynq/api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dynq_status {
    DYNQ_OK = 0,
    DYNQ_ERR_ARGUMENT,    /* a parameter of the call is wrong: the caller's mistake */
    DYNQ_ERR_MEMORY,      /* the allocator returned NULL */
    DYNQ_ERR_IO,          /* the operating system refused: open, read, write, map, rename */
    DYNQ_ERR_FORMAT,      /* the bytes of a file are not what its format asks for */
    DYNQ_ERR_VERSION,     /* the file was written by a newer, incompatible version */
    DYNQ_ERR_SHAPE,       /* shapes do not fit each other */
    DYNQ_ERR_TYPE,        /* an element type that is not accepted here */
    DYNQ_ERR_LIMIT,       /* over a documented limit: rows, segments, K, name length */
    DYNQ_ERR_NOT_FOUND,   /* a name, a pattern or a kernel that matches nothing */
    DYNQ_ERR_NOT_FINITE,  /* NaN or Inf in an activation, a weight or a product of scales */
    DYNQ_ERR_UNSUPPORTED, /* this CPU, engine or build cannot do it */
    DYNQ_ERR_ENGINE,      /* a foreign engine reported a failure */
    DYNQ_ERR_CANCELLED    /* the caller's cancel flag was set */
} dynq_status;

/* The value of dynq_error.offset where no position in a file is known. */
#define DYNQ_NO_OFFSET UINT64_MAX

/* What went wrong, for a person. The caller owns it; the library only fills it, and only on
 * failure. `message` is one line without a newline, always terminated: what, where (file, tensor,
 * node, position) and how to mend it. Passing NULL instead of a dynq_error is always allowed. */
typedef struct dynq_error {
    dynq_status status;
    uint64_t offset; /* byte offset in the file that was read, or DYNQ_NO_OFFSET */
    char message[496];
} dynq_error;

/* A short English phrase for a status ("out of memory"). Never NULL; static storage. */
DYNQ_API const char *dynq_status_text(dynq_status status);

#ifdef __cplusplus
}
#endif

#endif
