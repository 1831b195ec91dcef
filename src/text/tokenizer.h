/* A tokenizer as its files see it. */
#ifndef DYNQ_SRC_TEXT_TOKENIZER_H
#define DYNQ_SRC_TEXT_TOKENIZER_H

#include "src/text/vocabulary.h"

#include <dynq/tokenizer.h>
#include <stdbool.h>

enum { DYNQ_TEXT_SPECIALS = 5 };

struct dynq_tokenizer {
    dynq_allocator allocator;
    dynq_vocabulary vocabulary;
    char *prefix;
    size_t prefix_bytes;
    uint64_t prefix_hash;
    size_t max_word_characters;
    bool lower_case, strip_accents, separate_chinese;
    int32_t unknown, start, end;
    /* Special tokens that are recognised in texts, and which bytes may begin one. */
    int32_t specials[DYNQ_TEXT_SPECIALS];
    size_t special_count;
    bool begins_special[256];
    /* Of the first 128 characters: the kind (dynq_text_kind) and, for a word, what becomes of it.
     */
    unsigned char ascii_kind[128], ascii[128];
};

#endif
