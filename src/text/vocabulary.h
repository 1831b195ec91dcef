/* The tokens of a vocabulary and a hash table to find them. */
#ifndef DYNQ_SRC_TEXT_VOCABULARY_H
#define DYNQ_SRC_TEXT_VOCABULARY_H

#include <dynq/memory.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dynq_vocabulary_slot {
    uint32_t tag; /* bits of the hash that the place does not tell */
    uint32_t id1; /* id + 1; 0: empty */
} dynq_vocabulary_slot;

typedef struct dynq_vocabulary {
    char *text;       /* all tokens, end to end */
    uint32_t *starts; /* [count + 1]: token i is text[starts[i]] to text[starts[i + 1]] */
    size_t count;
    size_t longest;              /* bytes of the longest token */
    dynq_vocabulary_slot *slots; /* [slot_mask + 1], at most half of them full */
    size_t slot_mask;
    uint64_t seed; /* the hash of nothing */
} dynq_vocabulary;

/* Fills a zeroed vocabulary from the text of a vocab.txt; after a failure, too, it must be
 * released.
 */
dynq_status dynq_vocabulary_read(dynq_vocabulary *vocabulary, const char *text, size_t bytes,
                                 const dynq_allocator *allocator, dynq_error *error);
void dynq_vocabulary_release(dynq_vocabulary *vocabulary, const dynq_allocator *allocator);

/* The hash of a text, byte by byte, beginning with `seed` (FNV-1a). */
static inline uint64_t dynq_vocabulary_hash(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001B3);
}

/* The id of the token that is `prefix` followed by `piece`, or -1. `hash` is the hash of both. */
int32_t dynq_vocabulary_find(const dynq_vocabulary *vocabulary, uint64_t hash, const char *prefix,
                             size_t prefix_bytes, const char *piece, size_t piece_bytes);

/* The same for a whole token. */
int32_t dynq_vocabulary_find_text(const dynq_vocabulary *vocabulary, const char *token);

static inline const char *dynq_vocabulary_token(const dynq_vocabulary *vocabulary, size_t id,
                                                size_t *bytes)
{
    *bytes = vocabulary->starts[id + 1] - vocabulary->starts[id];
    return vocabulary->text + vocabulary->starts[id];
}

#endif
