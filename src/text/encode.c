/* Text to ids, word by word: nothing grows with the text. */
#include "src/error.h"
#include "src/text/tokenizer.h"
#include "src/text/unicode.h"

#include <string.h>
#include <utf8proc.h>

enum { MAX_CHARACTERS = DYNQ_TOKENIZER_MAX_CHARACTERS, MAX_CHARACTER_BYTES = 4 };

typedef struct encoder {
    const dynq_tokenizer *tokenizer;
    int32_t *ids;
    size_t count, room; /* room leaves a place for the end */
    /* The word that is being collected. One with too many characters is only counted. */
    size_t characters, bytes;
    size_t run; /* where the last character of order 0 ended: from there marks are in order */
    char word[MAX_CHARACTERS * MAX_CHARACTER_BYTES];
} encoder;

static void emit(encoder *e, int32_t id)
{
    if (e->count < e->room) {
        e->ids[e->count++] = id;
    }
}

/* The longest token that is `prefix` and the beginning of a piece of the word; its length in bytes
 * without the prefix, or 0. */
static size_t longest_piece(const encoder *e, size_t begin, int32_t *id)
{
    const dynq_tokenizer *tokenizer = e->tokenizer;
    const size_t prefix_bytes = begin == 0 ? 0 : tokenizer->prefix_bytes;
    const char *piece = e->word + begin;
    struct {
        uint64_t hash;
        size_t bytes;
    } ends[MAX_CHARACTERS]; /* of the characters */
    size_t count = 0;
    uint64_t hash = begin == 0 ? tokenizer->vocabulary.seed : tokenizer->prefix_hash;
    for (size_t i = 0; begin + i < e->bytes && prefix_bytes + i < tokenizer->vocabulary.longest;) {
        hash = dynq_vocabulary_hash(hash, (unsigned char)piece[i++]);
        const bool inside = begin + i < e->bytes && ((unsigned char)piece[i] & 0xC0) == 0x80;
        if (!inside) {
            ends[count].hash = hash;
            ends[count++].bytes = i;
        }
    }
    while (count-- > 0) {
        *id = dynq_vocabulary_find(&tokenizer->vocabulary, ends[count].hash, tokenizer->prefix,
                                   prefix_bytes, piece, ends[count].bytes);
        if (*id >= 0) {
            return ends[count].bytes;
        }
    }
    return 0;
}

/* The pieces of the word go straight into the ids, and out again if the rest has none. */
static void emit_pieces(encoder *e)
{
    const size_t before = e->count;
    for (size_t begin = 0; begin < e->bytes;) {
        int32_t id = 0;
        const size_t bytes = longest_piece(e, begin, &id);
        if (bytes == 0) {
            e->count = before;
            emit(e, e->tokenizer->unknown);
            return;
        }
        emit(e, id);
        begin += bytes;
    }
}

static void end_word(encoder *e)
{
    if (e->characters > e->tokenizer->max_word_characters) {
        emit(e, e->tokenizer->unknown);
    } else {
        emit_pieces(e);
    }
    e->characters = e->bytes = e->run = 0;
}

/* Where a mark belongs among the marks at the end of the word: before those of a higher order. */
static size_t place_of_mark(const encoder *e, int order)
{
    size_t place = e->bytes;
    while (place > e->run) {
        size_t previous = place - 1;
        while (((unsigned char)e->word[previous] & 0xC0) == 0x80) {
            previous--;
        }
        int32_t c = 0;
        utf8proc_iterate((const utf8proc_uint8_t *)e->word + previous,
                         (utf8proc_ssize_t)(place - previous), &c);
        if (dynq_text_look_up(c).order <= order) {
            break;
        }
        place = previous;
    }
    return place;
}

static void append(encoder *e, int32_t c, int order)
{
    if (e->characters >= e->tokenizer->max_word_characters) {
        e->characters = e->tokenizer->max_word_characters + 1;
        return;
    }
    const size_t place = order == 0 ? e->bytes : place_of_mark(e, order);
    utf8proc_uint8_t encoded[MAX_CHARACTER_BYTES];
    const size_t bytes = (size_t)utf8proc_encode_char(c, encoded);
    memmove(e->word + place + bytes, e->word + place, e->bytes - place);
    memcpy(e->word + place, encoded, bytes);
    e->characters++;
    e->bytes += bytes;
    e->run = order == 0 ? e->bytes : e->run;
}

/* A character in lower case, into the word or as one of its own. */
static void add(encoder *e, int32_t c, dynq_text_character known)
{
    const bool alone = known.kind == DYNQ_TEXT_PUNCTUATION;
    int32_t lower[2] = {c, 0};
    const size_t count = e->tokenizer->lower_case ? dynq_text_lower(c, lower) : 1;
    if (alone) {
        end_word(e);
    }
    for (size_t i = 0; i < count; i++) {
        append(e, lower[i], known.order);
    }
    if (alone) {
        end_word(e);
    }
}

static void add_without_accents(encoder *e, int32_t c)
{
    int32_t parts[DYNQ_TEXT_MAX_PARTS];
    const size_t count = dynq_text_decompose(c, parts);
    for (size_t i = 0; i < count; i++) {
        const dynq_text_character known = dynq_text_look_up(parts[i]);
        if (known.kind != DYNQ_TEXT_MARK) {
            add(e, parts[i], known);
        } else if (known.order == 0) {
            e->run = e->bytes;
        }
    }
}

/* Any character of the text. */
static void take(encoder *e, int32_t c)
{
    dynq_text_character known = dynq_text_look_up(c);
    if (known.kind == DYNQ_TEXT_REMOVED) {
        return;
    }
    if (known.kind == DYNQ_TEXT_SPACE) {
        end_word(e);
        return;
    }
    const bool alone = e->tokenizer->separate_chinese && dynq_text_is_chinese(c);
    if (alone) {
        end_word(e);
    }
    if (e->tokenizer->strip_accents) {
        add_without_accents(e, c);
    } else {
        known.order = 0; /* nothing is sorted */
        add(e, c, known);
    }
    if (alone) {
        end_word(e);
    }
}

static void take_ascii(encoder *e, unsigned char c)
{
    const dynq_tokenizer *tokenizer = e->tokenizer;
    if (tokenizer->ascii_kind[c] != DYNQ_TEXT_WORD) {
        take(e, c);
    } else if (e->characters < tokenizer->max_word_characters) {
        e->word[e->bytes++] = (char)tokenizer->ascii[c];
        e->run = e->bytes;
        e->characters++;
    } else {
        e->characters = tokenizer->max_word_characters + 1;
    }
}

/* The longest special token that begins the text; its length, or 0. */
static size_t find_special(const dynq_tokenizer *tokenizer, const char *text, size_t bytes,
                           int32_t *id)
{
    size_t longest = 0;
    for (size_t i = 0; i < tokenizer->special_count; i++) {
        size_t length = 0;
        const char *token =
            dynq_vocabulary_token(&tokenizer->vocabulary, (size_t)tokenizer->specials[i], &length);
        if (length <= bytes && length > longest && memcmp(text, token, length) == 0) {
            longest = length;
            *id = tokenizer->specials[i];
        }
    }
    return longest;
}

/* Takes what is next in the text, and returns how many bytes that was. */
static size_t step(encoder *e, const char *text, size_t bytes)
{
    const unsigned char first = (unsigned char)text[0];
    if (e->tokenizer->begins_special[first]) {
        int32_t id = 0;
        const size_t length = find_special(e->tokenizer, text, bytes, &id);
        if (length > 0) {
            end_word(e);
            emit(e, id);
            return length;
        }
    }
    if (first < 0x80) {
        take_ascii(e, first);
        return 1;
    }
    int32_t c = 0;
    const size_t some = bytes < MAX_CHARACTER_BYTES ? bytes : MAX_CHARACTER_BYTES;
    const utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)some, &c);
    if (length <= 0) {
        /* Not UTF-8: would be U+FFFD, which is removed. What follows never is part of a character
         * that begins here. */
        return 1;
    }
    take(e, c);
    return (size_t)length;
}

dynq_status dynq_tokenizer_encode(const dynq_tokenizer *tokenizer, const char *text, size_t bytes,
                                  size_t max_ids, int32_t *ids, size_t *count, dynq_error *error)
{
    if (tokenizer == NULL || ids == NULL || count == NULL || (text == NULL && bytes > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "NULL for the tokenizer, the text, the ids or "
                         "the count");
    }
    if (max_ids < DYNQ_LEAST_TOKENS) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "max_ids is %zu; the two tokens around a text need 2", max_ids);
    }
    encoder e;
    e.tokenizer = tokenizer;
    e.ids = ids;
    e.count = e.characters = e.bytes = e.run = 0;
    e.room = max_ids - 1;
    emit(&e, tokenizer->start);
    for (size_t at = 0; at < bytes && e.count < e.room;) {
        at += step(&e, text + at, bytes - at);
    }
    end_word(&e);
    ids[e.count++] = tokenizer->end;
    *count = e.count;
    return DYNQ_OK;
}
