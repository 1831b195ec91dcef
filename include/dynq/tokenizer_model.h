/* The tokenizer that a model carries. Library dynq-text. */
#ifndef DYNQ_TOKENIZER_MODEL_H
#define DYNQ_TOKENIZER_MODEL_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <dynq/tokenizer.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the tokenizer of two attachments of a model, as `dynq convert` writes them: "vocabulary",
 * the text of a vocab.txt, and "tokenizer", a JSON object that has all of these fields and no
 * others:
 *
 *     "type": "wordpiece"            what it is
 *     "lower_case": true             text becomes lower case
 *     "strip_accents": null          marks are removed; null: as lower_case
 *     "chinese_spaces": true         a Chinese character stands alone
 *     "max_tokens": 256              of a text, with the two around it: 2 or more
 *     "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "prefix": "##"
 *     "max_word_characters": 100     a longer word is unknown
 *
 * *result is the caller's, for dynq_tokenizer_free(); it needs the model no more. *max_tokens (may
 * be NULL) is what dynq_tokenizer_encode() takes as max_ids. Any thread. Errors: DYNQ_ERR_ARGUMENT,
 * DYNQ_ERR_NOT_FOUND (the model lacks an attachment, or the vocabulary a token; the message names
 * it), DYNQ_ERR_FORMAT (the JSON; the message names the field), DYNQ_ERR_UNSUPPORTED (another
 * type), DYNQ_ERR_LIMIT, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_tokenizer_from_model(const dynq_model *model,
                                               const dynq_allocator *allocator,
                                               dynq_tokenizer **result, size_t *max_tokens,
                                               dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
