/* WordPiece, the tokenizer of BERT: text to the numbers of pieces. Library dynq-text.
 *
 * Gives the ids that the `tokenizers` package of Hugging Face gives (BertNormalizer,
 * BertPreTokenizer, WordPiece, [CLS] and [SEP] around them; compared with its version 0.23.3). In
 * that order:
 *
 *   1. Special tokens that stand in the text ("[SEP]") give their ids.
 *   2. Bytes that are not UTF-8, U+FFFD, and control, format and private use characters are
 *      removed; white space becomes a space; a Chinese character stands alone.
 *   3. Canonical decomposition (NFD), and marks (category Mn) are removed: accents.
 *   4. Lower case, character by character.
 *   5. The text is cut into words at white space; every punctuation character is a word.
 *   6. A word becomes the longest piece of the vocabulary that begins it, then the longest piece
 *      with the prefix "##" that follows, and so on; [UNK] where no piece fits.
 *
 * The reference keeps several versions of Unicode: categories are those of Unicode 8,
 * decompositions those of 9, lower case that of 17. Newer marks therefore stay, and newer
 * punctuation stays in its word. So they do here, whichever version utf8proc has. */
#ifndef DYNQ_TOKENIZER_H
#define DYNQ_TOKENIZER_H

#include <dynq/memory.h>
#include <dynq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits. */
#define DYNQ_TOKENIZER_MAX_TOKENS     ((size_t)1 << 22) /* lines of a vocabulary */
#define DYNQ_TOKENIZER_MAX_BYTES      ((size_t)1 << 28) /* bytes of a vocabulary */
#define DYNQ_TOKENIZER_MAX_CHARACTERS ((size_t)1000)    /* max_word_characters */
/* The ids of the shortest text: `start` and `end`. */
#define DYNQ_LEAST_TOKENS 2

/* A vocabulary and rules. Immutable: any number of threads may use one at once. */
typedef struct dynq_tokenizer dynq_tokenizer;

typedef enum dynq_accents {
    DYNQ_ACCENTS_AS_CASE = 0, /* removed if the case is (BERT uncased), kept with keep_case */
    DYNQ_ACCENTS_REMOVE,
    DYNQ_ACCENTS_KEEP /* no decomposition either */
} dynq_accents;

/* Zero and NULL are the rules of BERT uncased. Everything is copied. */
typedef struct dynq_tokenizer_options {
    size_t size;                     /* sizeof(dynq_tokenizer_options) */
    const dynq_allocator *allocator; /* NULL: the C library's */
    int keep_case;                   /* 1: no lower case (BERT cased) */
    dynq_accents accents;            /* what becomes of marks */
    int keep_chinese_joined;         /* 1: a Chinese character does not stand alone */
    /* 1: step 1 above is left out, so that "[SEP]" in a text is a word in brackets. For text from
     * strangers, who could otherwise write what looks like the end of the text to the model. 0 does
     * as the reference does. */
    int specials_as_text;
    size_t max_word_characters; /* a longer word, after step 4, is [UNK]; 0: 100 */
    const char *prefix;         /* of pieces that continue a word; NULL: "##"; may be "" */
    /* Special tokens: never empty. The first three must be in the vocabulary. */
    const char *unknown; /* NULL: "[UNK]" */
    const char *start;   /* NULL: "[CLS]" */
    const char *end;     /* NULL: "[SEP]" */
    const char *padding; /* only recognised in texts (step 1); NULL: "[PAD]" */
    const char *mask;    /* likewise; NULL: "[MASK]" */
} dynq_tokenizer_options;

/* Makes a tokenizer from a vocabulary: the text of a vocab.txt, one token a line, whose id is the
 * number of the line, from 0. As in the reference, white space at the end of a line is not part of
 * the token (so lines may end in CR LF), the last line needs no newline, and of a token that stands
 * there twice the last line counts. `vocabulary` is borrowed for the call and copied; `options` may
 * be NULL. *result is the caller's, for dynq_tokenizer_free.
 *
 * Any thread. Errors: DYNQ_ERR_ARGUMENT (NULL; an option out of its range), DYNQ_ERR_FORMAT (an
 * empty vocabulary; bytes that are not UTF-8, with their offset), DYNQ_ERR_NOT_FOUND (`unknown`,
 * `start` or `end` is not in the vocabulary; the message names it), DYNQ_ERR_LIMIT (see above),
 * DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_tokenizer_create(const char *vocabulary, size_t bytes,
                                           const dynq_tokenizer_options *options,
                                           dynq_tokenizer **result, dynq_error *error);

/* NULL is fine. No thread may be using the tokenizer. */
DYNQ_API void dynq_tokenizer_free(dynq_tokenizer *tokenizer);

/* Lines of the vocabulary: ids are below this. 0 for NULL. */
DYNQ_API size_t dynq_tokenizer_size(const dynq_tokenizer *tokenizer);

/* The text of a token: *text points to *bytes bytes of UTF-8, not terminated, which belong to the
 * tokenizer. DYNQ_ERR_ARGUMENT for NULL or an id that is none. */
DYNQ_API dynq_status dynq_tokenizer_token(const dynq_tokenizer *tokenizer, size_t id,
                                          const char **text, size_t *bytes);

/* Writes the ids of a text: `start`, the pieces, `end`. *count is how many, at least 2 and at most
 * max_ids (at least DYNQ_LEAST_TOKENS): of a text with more pieces the first max_ids - 2 stay, and
 * the rest is not looked at. `text` is `bytes` bytes of anything: NUL and bytes that are not UTF-8
 * are left out (step 2). NULL is fine for an empty text, which gives `start` and `end`. `ids` has
 * room for max_ids numbers; those from *count on may be overwritten.
 *
 * Allocates nothing. Any number of threads at once. Errors: DYNQ_ERR_ARGUMENT (NULL, max_ids below
 * 2). */
DYNQ_API dynq_status dynq_tokenizer_encode(const dynq_tokenizer *tokenizer, const char *text,
                                           size_t bytes, size_t max_ids, int32_t *ids,
                                           size_t *count, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
