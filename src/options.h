/* Option, batch and result structs begin with their own size, so that they can grow. */
#ifndef DYNQ_SRC_OPTIONS_H
#define DYNQ_SRC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Copies the caller's struct into one of `size` bytes: fields the caller's version did not have
 * become 0, fields this version does not know must be 0. NULL gives all zero. false if the caller
 * did not set the size, or set a field that this version does not know. */
static inline bool dynq_options_copy(void *to, size_t size, const void *from)
{
    memset(to, 0, size);
    if (from == NULL) {
        return true;
    }
    size_t given = 0;
    memcpy(&given, from, sizeof given);
    if (given < sizeof given) {
        return false;
    }
    for (size_t i = size; i < given; i++) {
        if (((const unsigned char *)from)[i] != 0) {
            return false;
        }
    }
    memcpy(to, from, given < size ? given : size);
    return true;
}

/* Writes as much of `from` as the caller's struct has room for (its size field stays). */
static inline void dynq_result_copy(void *to, const void *from, size_t size)
{
    size_t given = 0;
    memcpy(&given, to, sizeof given);
    if (given > sizeof given) {
        const size_t end = given < size ? given : size;
        memcpy((char *)to + sizeof given, (const char *)from + sizeof given, end - sizeof given);
    }
}

#endif
