#include "src/text/tokenizer.h"

#include "src/error.h"
#include "src/memory.h"
#include "src/options.h"
#include "src/text/unicode.h"

#include <string.h>

/* Fills in what zero stands for. */
static dynq_status read_options(const dynq_tokenizer_options *given,
                                dynq_tokenizer_options *options, dynq_error *error)
{
    if (!dynq_options_copy(options, sizeof *options, given)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "options->size is not set, or a field of a newer version is");
    }
    if (options->max_word_characters > DYNQ_TOKENIZER_MAX_CHARACTERS) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "max_word_characters is %zu; at most %zu",
                         options->max_word_characters, DYNQ_TOKENIZER_MAX_CHARACTERS);
    }
    if (options->accents < DYNQ_ACCENTS_AS_CASE || options->accents > DYNQ_ACCENTS_KEEP) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "accents is %d, which means nothing",
                         (int)options->accents);
    }
    if (options->max_word_characters == 0) {
        options->max_word_characters = 100;
    }
    if (options->accents == DYNQ_ACCENTS_AS_CASE) {
        options->accents = options->keep_case ? DYNQ_ACCENTS_KEEP : DYNQ_ACCENTS_REMOVE;
    }
    options->prefix = options->prefix == NULL ? "##" : options->prefix;
    const struct {
        const char **name, *usual;
    } names[] = {{&options->unknown, "[UNK]"},
                 {&options->start, "[CLS]"},
                 {&options->end, "[SEP]"},
                 {&options->padding, "[PAD]"},
                 {&options->mask, "[MASK]"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (*names[i].name == NULL) {
            *names[i].name = names[i].usual;
        } else if (**names[i].name == '\0') {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "an empty name for the token %s",
                             names[i].usual);
        }
    }
    return DYNQ_OK;
}

static dynq_status find_specials(dynq_tokenizer *tokenizer, const dynq_tokenizer_options *options,
                                 dynq_error *error)
{
    const dynq_vocabulary *vocabulary = &tokenizer->vocabulary;
    const struct {
        const char *name;
        int32_t *id; /* NULL: need not be there */
    } names[DYNQ_TEXT_SPECIALS] = {{options->unknown, &tokenizer->unknown},
                                   {options->start, &tokenizer->start},
                                   {options->end, &tokenizer->end},
                                   {options->padding, NULL},
                                   {options->mask, NULL}};
    for (size_t i = 0; i < DYNQ_TEXT_SPECIALS; i++) {
        const int32_t id = dynq_vocabulary_find_text(vocabulary, names[i].name);
        if (id < 0 && names[i].id != NULL) {
            return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                             "the vocabulary of %zu tokens has no %.100s: take the one that the "
                             "model was trained with, or name its own token in the options",
                             vocabulary->count, names[i].name);
        }
        if (names[i].id != NULL) {
            *names[i].id = id;
        }
        if (id >= 0 && !options->specials_as_text) {
            tokenizer->specials[tokenizer->special_count++] = id;
            tokenizer->begins_special[(unsigned char)names[i].name[0]] = true;
        }
    }
    return DYNQ_OK;
}

static void fill_ascii(dynq_tokenizer *tokenizer)
{
    for (int32_t c = 0; c < 128; c++) {
        int32_t lower[2] = {c, 0};
        if (tokenizer->lower_case) {
            dynq_text_lower(c, lower);
        }
        tokenizer->ascii_kind[c] = (unsigned char)dynq_text_look_up(c).kind;
        tokenizer->ascii[c] = (unsigned char)lower[0];
    }
}

static dynq_status fill(dynq_tokenizer *tokenizer, const char *text, size_t bytes,
                        const dynq_tokenizer_options *options, dynq_error *error)
{
    const dynq_status status =
        dynq_vocabulary_read(&tokenizer->vocabulary, text, bytes, &tokenizer->allocator, error);
    if (status != DYNQ_OK) {
        return status;
    }
    tokenizer->prefix = dynq_alloc_string(&tokenizer->allocator, options->prefix);
    if (tokenizer->prefix == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a tokenizer");
    }
    tokenizer->prefix_bytes = strlen(tokenizer->prefix);
    tokenizer->prefix_hash = tokenizer->vocabulary.seed;
    for (size_t i = 0; i < tokenizer->prefix_bytes; i++) {
        tokenizer->prefix_hash =
            dynq_vocabulary_hash(tokenizer->prefix_hash, (unsigned char)tokenizer->prefix[i]);
    }
    tokenizer->max_word_characters = options->max_word_characters;
    tokenizer->lower_case = !options->keep_case;
    tokenizer->strip_accents = options->accents == DYNQ_ACCENTS_REMOVE;
    tokenizer->separate_chinese = !options->keep_chinese_joined;
    fill_ascii(tokenizer);
    return find_specials(tokenizer, options, error);
}

dynq_status dynq_tokenizer_create(const char *vocabulary, size_t bytes,
                                  const dynq_tokenizer_options *given, dynq_tokenizer **result,
                                  dynq_error *error)
{
    dynq_tokenizer_options options;
    if (vocabulary == NULL || result == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "NULL for %s",
                         vocabulary == NULL ? "the vocabulary" : "the result");
    }
    dynq_status status = read_options(given, &options, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_allocator allocator = dynq_allocator_or_default(options.allocator);
    dynq_tokenizer *tokenizer = dynq_alloc(&allocator, 1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a tokenizer");
    }
    tokenizer->allocator = allocator;
    status = fill(tokenizer, vocabulary, bytes, &options, error);
    if (status != DYNQ_OK) {
        dynq_tokenizer_free(tokenizer);
        return status;
    }
    *result = tokenizer;
    return DYNQ_OK;
}

void dynq_tokenizer_free(dynq_tokenizer *tokenizer)
{
    if (tokenizer == NULL) {
        return;
    }
    const dynq_allocator allocator = tokenizer->allocator;
    dynq_vocabulary_release(&tokenizer->vocabulary, &allocator);
    dynq_release(&allocator, tokenizer->prefix);
    dynq_release(&allocator, tokenizer);
}

size_t dynq_tokenizer_size(const dynq_tokenizer *tokenizer)
{
    return tokenizer == NULL ? 0 : tokenizer->vocabulary.count;
}

dynq_status dynq_tokenizer_token(const dynq_tokenizer *tokenizer, size_t id, const char **text,
                                 size_t *bytes)
{
    if (tokenizer == NULL || text == NULL || bytes == NULL || id >= tokenizer->vocabulary.count) {
        return DYNQ_ERR_ARGUMENT;
    }
    *text = dynq_vocabulary_token(&tokenizer->vocabulary, id, bytes);
    return DYNQ_OK;
}
