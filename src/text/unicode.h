/* What the tokenizer asks of a character. */
#ifndef DYNQ_SRC_TEXT_UNICODE_H
#define DYNQ_SRC_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dynq_text_kind {
    DYNQ_TEXT_WORD,        /* part of a word */
    DYNQ_TEXT_SPACE,       /* separates words */
    DYNQ_TEXT_REMOVED,     /* control, format, private use, NUL, U+FFFD */
    DYNQ_TEXT_MARK,        /* category Mn: removed with accents, otherwise part of a word */
    DYNQ_TEXT_PUNCTUATION, /* a word of its own */
} dynq_text_kind;

typedef struct dynq_text_character {
    dynq_text_kind kind;
    int order; /* the canonical combining class, 0 to 254: marks in a row are sorted by it */
} dynq_text_character;

enum { DYNQ_TEXT_MAX_PARTS = 4 };

/* `c` is a code point, never a surrogate. */
dynq_text_character dynq_text_look_up(int32_t c);

/* Writes the canonical decomposition and returns its length, 1 to DYNQ_TEXT_MAX_PARTS. */
size_t dynq_text_decompose(int32_t c, int32_t parts[DYNQ_TEXT_MAX_PARTS]);

/* The full lower case of one character; returns its length, 1 or 2. */
size_t dynq_text_lower(int32_t c, int32_t lower[2]);

/* In a block that BERT calls Chinese. */
bool dynq_text_is_chinese(int32_t c);

#endif
