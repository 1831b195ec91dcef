/* Memory through the caller's allocator. */
#ifndef DYNQ_SRC_MEMORY_H
#define DYNQ_SRC_MEMORY_H

#include <dynq/memory.h>
#include <stdbool.h>
#include <stddef.h>

#define DYNQ_ALIGNMENT 64 /* a cache line, a zmm register, an AMX tile row */

/* *allocator, or the C library's for NULL. */
dynq_allocator dynq_allocator_or_default(const dynq_allocator *allocator);

/* count * size zeroed bytes, aligned to DYNQ_ALIGNMENT; NULL if the product overflows or memory is
 * out. A product of 0 allocates one byte, so that NULL always means failure. */
void *dynq_alloc(const dynq_allocator *allocator, size_t count, size_t size);
/* A copy of a string. */
char *dynq_alloc_string(const dynq_allocator *allocator, const char *string);
/* NULL is fine. */
void dynq_release(const dynq_allocator *allocator, void *pointer);

/* Grows an array to hold at least `needed` elements: returns the new memory with the first `count`
 * elements moved and the old memory released, or NULL (the old memory is then untouched). *capacity
 * is updated. Returns `array` itself while it is large enough. */
void *dynq_grow(const dynq_allocator *allocator, void *array, size_t count, size_t needed,
                size_t size, size_t *capacity);

/* false on overflow, and *result is then untouched. */
bool dynq_size_multiply(size_t a, size_t b, size_t *result);
bool dynq_size_add(size_t a, size_t b, size_t *result);

/* The smallest multiple of `step` (a power of two) that is not below n; n must not be within `step`
 * of SIZE_MAX. */
static inline size_t dynq_round_up(size_t n, size_t step)
{
    return (n + step - 1) & ~(step - 1);
}

static inline size_t dynq_divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

#endif
