#include "tools/allocate.h"

#include "tools/exit_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void allocate_failed(void)
{
    fputs("dynq: out of memory: use smaller data or fewer rows at a time\n", stderr);
    exit(EXIT_CODE_MEMORY);
}

void *allocate(size_t count, size_t size)
{
    void *pointer = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    if (pointer == NULL) {
        allocate_failed();
    }
    return pointer;
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
