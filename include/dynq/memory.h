/* Memory from the caller. */
#ifndef DYNQ_MEMORY_H
#define DYNQ_MEMORY_H

#include <dynq/api.h>
#include <stddef.h>

/* Allocations of this size and more begin at a multiple of it and are advised to lie on huge pages
 * (Linux), where no allocator is given and in the engines of dynq: weights are read from one end to
 * the other, and need fewer entries of the TLB then. */
#define DYNQ_HUGE_BYTES ((size_t)2 << 20)

/* Where an object takes its memory from. Passing NULL for a `const dynq_allocator *` means the C
 * library's allocator. The struct is copied into each object made with it, so it may be a local
 * variable; what `context` points to must outlive those objects.
 *
 * Not covered, because the library behind it keeps a process-wide allocator: the JSON text of a
 * file while it is being parsed (jansson), and what foreign engines allocate.
 *
 * Thread rule: both functions may be called from any thread that creates or frees objects. No
 * function of dynq allocates while a session of the native engine runs. */
typedef struct dynq_allocator {
    /* Returns `size` bytes (never 0) aligned to `alignment` (a power of two, 64 at most on the part
     * of dynq), or NULL. */
    void *(*allocate)(void *context, size_t size, size_t alignment);
    /* Gives back what `allocate` returned. Never called with NULL. */
    void (*release)(void *context, void *pointer);
    void *context;
} dynq_allocator;

#endif
