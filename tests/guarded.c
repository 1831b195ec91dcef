#include "tests/guarded.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void require(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

static void *map(void *address, size_t size, int access, int flags, int file)
{
    void *memory = mmap(address, size, access, flags, file, 0);
    require(memory != MAP_FAILED, "mmap");
    return memory;
}

guarded guarded_create(size_t size, int writable)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded memory = {.size = (size + page - 1) / page * page};
    const int file = memfd_create("guarded", 0);
    require(file >= 0 && ftruncate(file, (off_t)memory.size) == 0, "memfd_create");
    memory.mapping_bytes = memory.size + 2 * page;
    memory.mapping = map(NULL, memory.mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memory.bytes = map(memory.mapping + page, memory.size,
                       writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED, file);
    memory.fill = map(NULL, memory.size, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    close(file);
    return memory;
}

void guarded_free(guarded *memory)
{
    munmap(memory->mapping, memory->mapping_bytes);
    munmap(memory->fill, memory->size);
    *memory = (guarded){0};
}

size_t guarded_offset(const guarded *memory, size_t size, size_t slack, int at_end)
{
    if (size > memory->size || slack > memory->size - size) {
        fprintf(stderr, "guarded memory: %zu bytes wanted, %zu there\n", size, memory->size);
        exit(EXIT_FAILURE);
    }
    return at_end ? memory->size - size - slack : slack;
}
