#include "tools/allocate.h"

#include "tools/exit_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values of a session begin at a line; those of the command, too, so that a layer measured alone
 * runs as in a network. */
#define CACHE_LINE 64

_Noreturn void allocate_failed(void)
{
    fputs("dynq: out of memory: use smaller data or fewer rows at a time\n", stderr);
    exit(EXIT_CODE_MEMORY);
}

void *allocate(size_t count, size_t size)
{
    void *pointer = NULL;
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        posix_memalign(&pointer, CACHE_LINE, bytes == 0 ? 1 : bytes) != 0) {
        allocate_failed();
    }
    return memset(pointer, 0, bytes);
}

void *allocate_again(void *pointer, size_t count, size_t size)
{
    void *larger = reallocarray(pointer, count == 0 ? 1 : count, size == 0 ? 1 : size);
    if (larger == NULL) {
        allocate_failed();
    }
    return larger;
}

char *allocate_text(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    return memcpy(allocate(bytes, 1), text, bytes);
}
