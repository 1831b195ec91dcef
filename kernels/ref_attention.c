/* Attention of the reference kernel, one query at a time: the specification of every other kernel.
 * README.md has the formulas. */
#include "kernels/attention.h"
#include "kernels/ref_math.h"

#include <string.h>

enum { KEYS = DYNQ_ATTENTION_KEYS };

size_t dynq_attention_bytes(size_t keys, size_t dim)
{
    return (keys + KEYS - 1) / KEYS * dynq_attention_part_bytes(dim);
}

static void join(dynq_range_bits *range, float x)
{
    const uint32_t bits = dynq_ref_bits(x);
    if ((int32_t)bits > range->high) {
        range->high = (int32_t)bits;
    }
    if (bits > range->low) {
        range->low = bits;
    }
}

/* A query on its way through the blocks of keys. */
typedef struct state {
    float max, base, total; /* INT8: the largest score, and the one that sums are relative to */
    float acc[DYNQ_MAX_HEAD];
} state;

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void finish(const dynq_attention_block *block, size_t query, const state *s, float inverse)
{
    float *y = block->y + query * block->y_stride;
    for (size_t d = 0; d < block->dim; d++) {
        y[d] = dynq_ref_taint(s->acc[d] * inverse, s->acc[d]);
        if (block->range != NULL) {
            join(&block->range[(query - block->first) * block->range_step], y[d]);
        }
    }
}

/* Query `query` with `count` keys from `first` on. */
static void attend_f32(const dynq_attention_block *block, size_t query, size_t first, size_t count,
                       state *s)
{
    const float *q = block->q + query * block->q_stride, *v = block->v + first * block->v_stride;
    const float old = s->max;
    float p[KEYS], sums[4] = {0};
    for (size_t j = 0; j < count; j++) {
        const float *k = block->k + (first + j) * block->k_stride;
        p[j] = 0.0f;
        for (size_t d = 0; d < block->dim; d++) {
            p[j] = fmaf(q[d] * block->scale, k[d], p[j]);
        }
        s->max = dynq_ref_max(p[j], s->max);
    }
    for (size_t j = 0; j < count; j++) {
        p[j] = dynq_ref_taint(dynq_ref_exp(p[j] - s->max), p[j]);
        sums[j % 4] += p[j];
    }
    const float alpha = dynq_ref_exp(old - s->max);
    s->total = fmaf(s->total, alpha, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (size_t d = 0; d < block->dim; d++) {
        s->acc[d] *= alpha;
        for (size_t j = 0; j < count; j++) {
            s->acc[d] = fmaf(p[j], v[j * block->v_stride + d], s->acc[d]);
        }
    }
}

void dynq_ref_attention_f32(const dynq_attention_block *block)
{
    for (size_t i = block->first; i < block->first + block->queries; i++) {
        const size_t seen = dynq_attention_seen(block, i);
        state s = {.max = -INFINITY};
        for (size_t first = 0; first < seen; first += KEYS) {
            attend_f32(block, i, first, smaller(KEYS, seen - first), &s);
        }
        finish(block, i, &s, 1.0f / s.total);
    }
}

/* The scale and the inverse of signed codes for numbers up to `most`, which may be NaN. */
typedef struct symmetric {
    float scale, inverse;
} symmetric;

static symmetric symmetric_of(float most)
{
    if (most < DYNQ_ATTENTION_LEAST) {
        return (symmetric){1.0f, 0.0f};
    }
    if (!(most < DYNQ_ATTENTION_MOST)) {
        return (symmetric){NAN, 0.0f};
    }
    return (symmetric){most * DYNQ_ATTENTION_PER_127, 127.0f / most};
}

/* The largest magnitude of `count` numbers, or the bits of some NaN. */
static float most_of(const float *x, size_t count, size_t step)
{
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = dynq_ref_bits(x[i * step]) & INT32_MAX;
        most = bits > most ? bits : most;
    }
    return dynq_ref_from_bits(most);
}

/* The low byte of a number rounded. */
static uint8_t code_of(float shifted)
{
    return (uint8_t)dynq_ref_bits(shifted);
}

static void prepare_key(const dynq_attention_block *block, const dynq_attention_part *part,
                        size_t first, size_t j)
{
    const float *k = block->k + (first + j) * block->k_stride;
    const symmetric with = symmetric_of(most_of(k, block->dim, 1));
    int8_t *codes = part->keys + j * block->dim;
    int32_t sum = 0;
    for (size_t d = 0; d < block->dim; d++) {
        codes[d] = (int8_t)code_of(fmaf(k[d], with.inverse, DYNQ_ATTENTION_SHIFT));
        sum += codes[d];
    }
    part->key_scale[j] = dynq_ref_from_bits(dynq_ref_bits(with.scale) & ~3u);
    part->key_sum[j] = (float)sum;
    *part->taint = dynq_ref_taint(*part->taint, with.scale);
}

static void prepare_values(const dynq_attention_block *block, const dynq_attention_part *part,
                           size_t first, size_t count, size_t d)
{
    const float *v = block->v + first * block->v_stride + d;
    const symmetric with = symmetric_of(most_of(v, count, block->v_stride));
    for (size_t j = 0; j < count; j++) {
        const float shifted = fmaf(v[j * block->v_stride], with.inverse, DYNQ_ATTENTION_SHIFT);
        part->values[j * block->dim + d] = (int8_t)code_of(shifted);
    }
    part->value_scale[d] = with.scale;
}

void dynq_ref_attention_prepare(const dynq_attention_block *block)
{
    for (size_t first = 0; first < block->keys; first += KEYS) {
        const dynq_attention_part part = dynq_attention_part_at(block, first / KEYS);
        const size_t count = smaller(KEYS, block->keys - first);
        *part.taint = 0.0f;
        for (size_t j = 0; j < count; j++) {
            prepare_key(block, &part, first, j);
        }
        for (size_t d = 0; d < block->dim; d++) {
            prepare_values(block, &part, first, count, d);
        }
    }
}

/* The codes of a query. `scale` is that of a score whose key has the scale 1; `exponent` makes of
 * it the exponent of a power of two, `drop` is DYNQ_ATTENTION_DROP as a difference of scores. */
typedef struct query {
    uint8_t codes[DYNQ_MAX_HEAD];
    float zero, scale, exponent, drop;
} query;

static query query_of(const dynq_attention_block *block, size_t index)
{
    const float *q = block->q + index * block->q_stride;
    dynq_range_bits range = {0};
    for (size_t d = 0; d < block->dim; d++) {
        join(&range, q[d]);
    }
    const float high = dynq_ref_from_bits((uint32_t)range.high);
    const float low = dynq_ref_min(0.0f, dynq_ref_from_bits(range.low));
    const float width = high - low;
    const int none = width < DYNQ_ATTENTION_LEAST;
    const float inverse = none ? 0.0f : 255.0f / width;
    const float zero = fmaf(-low, inverse, DYNQ_ATTENTION_SHIFT);
    query result;
    for (size_t d = 0; d < block->dim; d++) {
        result.codes[d] =
            code_of(dynq_ref_min(fmaf(q[d], inverse, zero), DYNQ_ATTENTION_SHIFT + 255.0f));
    }
    result.zero = zero - DYNQ_ATTENTION_SHIFT;
    result.scale = (none ? 1.0f : width / 255.0f) * block->scale;
    result.exponent = result.scale * DYNQ_ATTENTION_LOG2_E;
    result.drop = DYNQ_ATTENTION_DROP / result.scale;
    return result;
}

/* 255 * 2^(below * exponent), rounded: for below <= 0, or NaN, which gives 0. */
static uint8_t probability(float below, float exponent)
{
    const float shifted = fmaf(below, exponent, DYNQ_ATTENTION_TOP);
    const uint32_t bits = (uint32_t)rintf(dynq_ref_max(shifted, DYNQ_ATTENTION_FLOOR));
    const float mantissa = dynq_ref_from_bits((bits & 0x7FFFFF) | 0x3F800000);
    const float bend = dynq_ref_horner(dynq_bend_terms, DYNQ_BEND_TERMS, mantissa);
    return code_of(fmaf(dynq_ref_from_bits(bits), bend, DYNQ_ATTENTION_SHIFT));
}

/* The first `count` keys of a block. */
static void attend_s8(const dynq_attention_block *block, const query *q,
                      const dynq_attention_part *part, size_t count, state *s)
{
    const size_t dim = block->dim;
    const float old = s->base;
    float u[KEYS], most = -INFINITY;
    uint8_t p[KEYS];
    int32_t total = 0;
    for (size_t j = 0; j < count; j++) {
        int32_t sum = 0;
        for (size_t d = 0; d < dim; d++) {
            sum += q->codes[d] * part->keys[j * dim + d];
        }
        u[j] = fmaf(-q->zero, part->key_sum[j], (float)sum) * part->key_scale[j];
        most = dynq_ref_max(u[j], most);
    }
    s->max = dynq_ref_max(most, s->max);
    s->base = dynq_ref_max(s->max - q->drop, most);
    for (size_t j = 0; j < count; j++) {
        p[j] = probability(u[j] - s->base, q->exponent);
        total += p[j];
    }
    const float alpha = dynq_ref_exp((old - s->base) * q->scale);
    s->total = fmaf(s->total, alpha, (float)total + *part->taint);
    for (size_t d = 0; d < dim; d++) {
        int32_t sum = 0;
        for (size_t j = 0; j < count; j++) {
            sum += p[j] * part->values[j * dim + d];
        }
        s->acc[d] = fmaf((float)sum, part->value_scale[d], s->acc[d] * alpha);
    }
}

void dynq_ref_attention_s8(const dynq_attention_block *block)
{
    for (size_t i = block->first; i < block->first + block->queries; i++) {
        const query q = query_of(block, i);
        const size_t seen = dynq_attention_seen(block, i);
        state s = {.max = -INFINITY, .base = -INFINITY};
        for (size_t first = 0; first < seen; first += KEYS) {
            const dynq_attention_part part = dynq_attention_part_at(block, first / KEYS);
            attend_s8(block, &q, &part, smaller(KEYS, seen - first), &s);
        }
        finish(block, i, &s, dynq_ref_taint(1.0f / s.total, q.exponent));
    }
}
