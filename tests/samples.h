/* What several test files need: small models, an allocator that fails on demand, files. */
#ifndef DYNQ_TESTS_SAMPLES_H
#define DYNQ_TESTS_SAMPLES_H

#include "src/model.h"

#include <dynq/dynq.h>
#include <stdatomic.h>

/* Fills `count` floats in [-1, 1) that depend on the seed alone. */
void samples_fill(float *x, size_t count, uint32_t seed);

/* x(5) -> fc1(18, bias) -> act(relu) -> fc2(7, no bias) -> norm -> p(softmax); outputs "logits"
 * (norm) and "p". */
dynq_model *samples_fp32(const dynq_allocator *allocator);
/* The same with fc1 (static range) and fc2 (dynamic, per row, symmetric) in INT8. */
dynq_model *samples_int8(const dynq_allocator *allocator);

/* An allocator that counts, and fails call number `fail_at` (from 1; 0: never). */
typedef struct samples_memory {
    atomic_size_t calls, live;
    size_t fail_at;
} samples_memory;
dynq_allocator samples_allocator(samples_memory *memory);

/* A new empty directory; `path` gets its name and must hold 64 bytes. */
void samples_directory(char *path);
/* Removes it with its files; returns how many there were. */
size_t samples_remove(const char *directory);

/* A whole file, from malloc. */
unsigned char *samples_read(const char *path, size_t *size);
void samples_write(const char *path, const void *bytes, size_t size);
/* The bytes a model is saved as, from malloc. */
unsigned char *samples_saved(const dynq_model *model, size_t *size);

#endif
