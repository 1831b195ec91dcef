/* What attention has in common in all kernels: the numbers behind the codes of its probabilities,
 * and where the codes of keys and values lie. README.md has the formulas. */
#ifndef DYNQ_KERNELS_ATTENTION_H
#define DYNQ_KERNELS_ATTENTION_H

#include "kernels/kernel.h"

enum {
    DYNQ_ATTENTION_KEYS = 64,   /* of a block, which share a maximum and the scales of values */
    DYNQ_ATTENTION_NARROW = 128 /* up to so wide a head, a product of codes is below 2^22 */
};

/* 1.5 * 2^23: added to a number, it leaves that number rounded in the low bits. */
#define DYNQ_ATTENTION_SHIFT 0x1.8p+23f
/* Ranges below and maxima from there on count as zero and as not finite. */
#define DYNQ_ATTENTION_LEAST   0x1p-100f
#define DYNQ_ATTENTION_MOST    0x1p+96f
#define DYNQ_ATTENTION_PER_127 0x1.020408p-7f
/* log2(e) * 2^23: the exponents of powers of two are fixed-point numbers, where a float has its own
 * exponent. */
#define DYNQ_ATTENTION_LOG2_E 0x1.715476p+23f
/* (127 + log2(255)) * 2^23, so that the largest code is 255, and an exponent whose code is 0. */
#define DYNQ_ATTENTION_TOP   0x1.0dfd1bp+30f
#define DYNQ_ATTENTION_FLOOR 0x1.f4p+29f

/* 4 ln 2: what codes of a block stand for is at most 2^4 below the largest of all blocks so far. */
#define DYNQ_ATTENTION_DROP 0x1.62e43p+1f

/* Codes and scales of a block of keys, wherever there are fewer than 64. */
typedef struct dynq_attention_part {
    float *key_scale, *key_shift, *key_sum; /* [64] */
    float *value_scale;                     /* [dim, a multiple of 16] */
    int32_t *value_sum;                     /* [dim, a multiple of 16] */
    float *taint;                           /* [16]; 0, or NaN if a key is not finite */
    int8_t *keys;                           /* [64 * dim, a multiple of 4] */
    int8_t *values;                         /* [64 * dim, a multiple of 16] */
} dynq_attention_part;

static inline size_t dynq_attention_panels(size_t dim)
{
    return (dim + 15) / 16;
}

static inline size_t dynq_attention_quads(size_t dim)
{
    return (dim + 3) / 4;
}

/* Of a block, a multiple of 64. */
static inline size_t dynq_attention_part_bytes(size_t dim)
{
    const size_t floats = 3 * DYNQ_ATTENTION_KEYS + 32 * dynq_attention_panels(dim) + 16;
    const size_t codes = 16 * dynq_attention_panels(dim) + 4 * dynq_attention_quads(dim);
    return floats * sizeof(float) + codes * DYNQ_ATTENTION_KEYS;
}

static inline dynq_attention_part dynq_attention_part_at(const dynq_attention_block *block,
                                                         size_t index)
{
    const size_t panels = dynq_attention_panels(block->dim);
    uint8_t *bytes = (uint8_t *)block->prepared + index * dynq_attention_part_bytes(block->dim);
    dynq_attention_part part = {.key_scale = (float *)(void *)bytes};
    part.key_shift = part.key_scale + DYNQ_ATTENTION_KEYS;
    part.key_sum = part.key_shift + DYNQ_ATTENTION_KEYS;
    part.value_scale = part.key_sum + DYNQ_ATTENTION_KEYS;
    part.value_sum = (int32_t *)(void *)(part.value_scale + 16 * panels);
    part.taint = (float *)(void *)(part.value_sum + 16 * panels);
    part.keys = (int8_t *)(void *)(part.taint + 16);
    part.values = part.keys + DYNQ_ATTENTION_KEYS * 4 * dynq_attention_quads(block->dim);
    return part;
}

/* The keys that a query sees. */
static inline size_t dynq_attention_seen(const dynq_attention_block *block, size_t query)
{
    return block->causal ? query + 1 : block->keys;
}

/* The reference's, in ref_attention.c. */
void dynq_ref_attention_f32(const dynq_attention_block *block);
void dynq_ref_attention_prepare(const dynq_attention_block *block);
void dynq_ref_attention_s8(const dynq_attention_block *block);

#endif
