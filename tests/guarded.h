/* Memory between two unmapped pages: reading or writing one byte too far is a crash, not luck. */
#ifndef DYNQ_TESTS_GUARDED_H
#define DYNQ_TESTS_GUARDED_H

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct guarded {
    uint8_t *mapping;
    size_t mapping_bytes;
    uint8_t *bytes; /* what may be used, between the two pages */
    size_t size;
} guarded;

/* At least `size` usable bytes. */
static inline guarded guarded_create(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded memory = {.size = (size + page - 1) / page * page};
    memory.mapping_bytes = memory.size + 2 * page;
    memory.mapping =
        mmap(NULL, memory.mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)memory.mapping, MAP_FAILED);
    memory.bytes = memory.mapping + page;
    if (memory.size > 0) {
        cr_assert_eq(mprotect(memory.bytes, memory.size, PROT_READ | PROT_WRITE), 0);
    }
    return memory;
}

static inline void guarded_free(guarded *memory)
{
    munmap(memory->mapping, memory->mapping_bytes);
    *memory = (guarded){0};
}

/* `size` bytes that end at the unmapped page (at_end), or begin right after the one before. */
static inline void *guarded_place(const guarded *memory, size_t size, int at_end)
{
    cr_assert_leq(size, memory->size);
    return at_end ? memory->bytes + memory->size - size : memory->bytes;
}

#endif
