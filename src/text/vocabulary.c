#include "src/text/vocabulary.h"

#include "src/error.h"
#include "src/memory.h"
#include "src/text/unicode.h"

#include <dynq/tokenizer.h>
#include <string.h>
#include <utf8proc.h>

static uint64_t hash_bytes(uint64_t hash, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        hash = dynq_vocabulary_hash(hash, (unsigned char)text[i]);
    }
    return hash;
}

static size_t count_lines(const char *text, size_t bytes)
{
    size_t lines = 0;
    const char *end = text + bytes;
    for (const char *line = text; line < end; lines++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        line = newline == NULL ? end : newline + 1;
    }
    return lines;
}

/* The bytes of a line without the white space at its end; false where it is not UTF-8, and *length
 * is then the place. */
static bool trim(const char *line, size_t bytes, size_t *length)
{
    size_t at = 0, trimmed = 0;
    while (at < bytes) {
        int32_t c = (unsigned char)line[at];
        utf8proc_ssize_t step = 1;
        if (c >= 0x80) {
            step = utf8proc_iterate((const utf8proc_uint8_t *)line + at,
                                    (utf8proc_ssize_t)(bytes - at), &c);
        }
        if (step <= 0) {
            *length = at;
            return false;
        }
        at += (size_t)step;
        /* These three are control characters to a text and white space to the end of a line. */
        const bool other = c == 0x0B || c == 0x0C || c == 0x85;
        if (!other && dynq_text_look_up(c).kind != DYNQ_TEXT_SPACE) {
            trimmed = at;
        }
    }
    *length = trimmed;
    return true;
}

/* The high half chooses the slot, the low half is the tag. */
static uint64_t mix(uint64_t hash)
{
    return (hash ^ (hash >> 32)) * UINT64_C(0x9E3779B97F4A7C15);
}

/* The index of the slot of a token, or of the empty one where it belongs. */
static size_t find_slot(const dynq_vocabulary *vocabulary, uint64_t mixed, const char *prefix,
                        size_t prefix_bytes, const char *piece, size_t piece_bytes)
{
    size_t index = (size_t)(mixed >> 32) & vocabulary->slot_mask;
    for (;; index = (index + 1) & vocabulary->slot_mask) {
        const dynq_vocabulary_slot slot = vocabulary->slots[index];
        if (slot.id1 == 0) {
            return index;
        }
        if (slot.tag != (uint32_t)mixed) {
            continue;
        }
        size_t bytes = 0;
        const char *token = dynq_vocabulary_token(vocabulary, slot.id1 - 1, &bytes);
        if (bytes == prefix_bytes + piece_bytes && memcmp(token, prefix, prefix_bytes) == 0 &&
            memcmp(token + prefix_bytes, piece, piece_bytes) == 0) {
            return index;
        }
    }
}

static void insert_all(dynq_vocabulary *vocabulary)
{
    for (size_t id = 0; id < vocabulary->count; id++) {
        size_t bytes = 0;
        const char *token = dynq_vocabulary_token(vocabulary, id, &bytes);
        const uint64_t mixed = mix(hash_bytes(vocabulary->seed, token, bytes));
        vocabulary->slots[find_slot(vocabulary, mixed, "", 0, token, bytes)] =
            (dynq_vocabulary_slot){.tag = (uint32_t)mixed, .id1 = (uint32_t)id + 1};
    }
}

static dynq_status copy_tokens(dynq_vocabulary *vocabulary, const char *text, size_t bytes,
                               dynq_error *error)
{
    const char *line = text, *end = text + bytes;
    size_t used = 0;
    for (size_t id = 0; id < vocabulary->count; id++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t line_bytes = (size_t)((newline == NULL ? end : newline) - line);
        size_t length = 0;
        if (!trim(line, line_bytes, &length)) {
            return dynq_fail_at(error, DYNQ_ERR_FORMAT, (uint64_t)(line - text) + length,
                                "vocabulary, line %zu: bytes that are not UTF-8", id + 1);
        }
        memcpy(vocabulary->text + used, line, length);
        used += length;
        vocabulary->starts[id + 1] = (uint32_t)used;
        vocabulary->longest = length > vocabulary->longest ? length : vocabulary->longest;
        line += line_bytes + 1;
    }
    return DYNQ_OK;
}

dynq_status dynq_vocabulary_read(dynq_vocabulary *vocabulary, const char *text, size_t bytes,
                                 const dynq_allocator *allocator, dynq_error *error)
{
    if (bytes > DYNQ_TOKENIZER_MAX_BYTES) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "a vocabulary of %zu bytes; at most %zu are read",
                         bytes, DYNQ_TOKENIZER_MAX_BYTES);
    }
    vocabulary->count = count_lines(text, bytes);
    if (vocabulary->count == 0) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "the vocabulary is empty; it needs one token a line");
    }
    if (vocabulary->count > DYNQ_TOKENIZER_MAX_TOKENS) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "a vocabulary of %zu lines; at most %zu are read",
                         vocabulary->count, DYNQ_TOKENIZER_MAX_TOKENS);
    }
    size_t slots = 16;
    while (slots < 2 * vocabulary->count) {
        slots *= 2;
    }
    vocabulary->slot_mask = slots - 1;
    vocabulary->text = dynq_alloc(allocator, bytes, 1);
    vocabulary->starts = dynq_alloc(allocator, vocabulary->count + 1, sizeof vocabulary->starts[0]);
    vocabulary->slots = dynq_alloc(allocator, slots, sizeof vocabulary->slots[0]);
    if (vocabulary->text == NULL || vocabulary->starts == NULL || vocabulary->slots == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a vocabulary of %zu tokens",
                         vocabulary->count);
    }
    const dynq_status status = copy_tokens(vocabulary, text, bytes, error);
    if (status != DYNQ_OK) {
        return status;
    }
    /* Every token depends on the seed and the seed on every token: nobody can write a vocabulary
     * whose tokens all fall into one place. The number is the one FNV begins with. */
    vocabulary->seed = hash_bytes(UINT64_C(0xCBF29CE484222325), text, bytes);
    insert_all(vocabulary);
    return DYNQ_OK;
}

void dynq_vocabulary_release(dynq_vocabulary *vocabulary, const dynq_allocator *allocator)
{
    dynq_release(allocator, vocabulary->text);
    dynq_release(allocator, vocabulary->starts);
    dynq_release(allocator, vocabulary->slots);
}

int32_t dynq_vocabulary_find(const dynq_vocabulary *vocabulary, uint64_t hash, const char *prefix,
                             size_t prefix_bytes, const char *piece, size_t piece_bytes)
{
    const size_t index = find_slot(vocabulary, mix(hash), prefix, prefix_bytes, piece, piece_bytes);
    return (int32_t)vocabulary->slots[index].id1 - 1;
}

int32_t dynq_vocabulary_find_text(const dynq_vocabulary *vocabulary, const char *token)
{
    const size_t bytes = strlen(token);
    return dynq_vocabulary_find(vocabulary, hash_bytes(vocabulary->seed, token, bytes), "", 0,
                                token, bytes);
}
