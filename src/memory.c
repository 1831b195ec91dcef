#include "src/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *default_allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    void *pointer = NULL;
    if (alignment < sizeof(void *)) {
        alignment = sizeof(void *);
    }
    const bool huge = size >= DYNQ_HUGE_BYTES;
    if (posix_memalign(&pointer, huge ? DYNQ_HUGE_BYTES : alignment, size) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (huge) {
        madvise(pointer, size / DYNQ_HUGE_BYTES * DYNQ_HUGE_BYTES, MADV_HUGEPAGE); /* only advice */
    }
#endif
    return pointer;
}

static void default_release(void *context, void *pointer)
{
    (void)context;
    free(pointer);
}

dynq_allocator dynq_allocator_or_default(const dynq_allocator *allocator)
{
    if (allocator != NULL) {
        return *allocator;
    }
    return (dynq_allocator){.allocate = default_allocate, .release = default_release};
}

void *dynq_alloc(const dynq_allocator *allocator, size_t count, size_t size)
{
    size_t bytes = 0;
    if (!dynq_size_multiply(count, size, &bytes)) {
        return NULL;
    }
    bytes = bytes == 0 ? 1 : bytes;
    void *pointer = allocator->allocate(allocator->context, bytes, DYNQ_ALIGNMENT);
    if (pointer != NULL) {
        memset(pointer, 0, bytes);
    }
    return pointer;
}

char *dynq_alloc_string(const dynq_allocator *allocator, const char *string)
{
    const size_t length = strlen(string);
    char *copy = dynq_alloc(allocator, length + 1, 1);
    if (copy != NULL) {
        memcpy(copy, string, length);
    }
    return copy;
}

void dynq_release(const dynq_allocator *allocator, void *pointer)
{
    if (pointer != NULL) {
        allocator->release(allocator->context, pointer);
    }
}

void *dynq_grow(const dynq_allocator *allocator, void *array, size_t count, size_t needed,
                size_t size, size_t *capacity)
{
    if (needed <= *capacity) {
        return array;
    }
    size_t room = *capacity < 8 ? 8 : *capacity;
    while (room < needed) {
        if (!dynq_size_multiply(room, 2, &room)) {
            return NULL;
        }
    }
    void *larger = dynq_alloc(allocator, room, size);
    if (larger == NULL) {
        return NULL;
    }
    if (count > 0) {
        memcpy(larger, array, count * size);
    }
    dynq_release(allocator, array);
    *capacity = room;
    return larger;
}

bool dynq_size_multiply(size_t a, size_t b, size_t *result)
{
    return !__builtin_mul_overflow(a, b, result);
}

bool dynq_size_add(size_t a, size_t b, size_t *result)
{
    return !__builtin_add_overflow(a, b, result);
}
