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
/* An empty calibration of it. */
dynq_calibration *samples_calibration(void);
/* The same model with fc1 (static range) and fc2 (dynamic, per row, symmetric) in INT8. */
dynq_model *samples_int8(const dynq_allocator *allocator);

/* A sentence encoder of 2 layers, width 32, 4 heads, 50 words, positions 0 to 19: ids -> words +
 * places -> norm -> for l0, l1: attention with residual and norm, fc1, gelu (l1: its tanh form),
 * fc2 with residual and norm. Outputs "tokens" (a row per token), "sentence" (mean pooling,
 * normalized) and "pooled" (cls pooling, linear, tanh), these two with a row per segment. Carries
 * the attachments "vocabulary" and "pooling-1_b". */
dynq_model *samples_transformer(const dynq_allocator *allocator, bool causal);
/* The same with all that can be in INT8, positions included. */
dynq_model *samples_transformer_int8(const dynq_allocator *allocator, bool causal);
/* Every operation on ids and segments in few nodes, so that its file is small: ids -> words(6x4) +
 * places(5x4, first 1) -> heads(attention, 2 heads, scale 0.25, causal) -> most(pool max) ->
 * unit(normalize), output "y", attachment "vocabulary". INT8 as above. */
dynq_model *samples_encoder(bool int8);

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
