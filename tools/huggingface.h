/* What the JSON files of a Hugging Face folder say of an encoder and its tokenizer. */
#ifndef DYNQ_TOOLS_HUGGINGFACE_H
#define DYNQ_TOOLS_HUGGINGFACE_H

#include "models/bert.h"

#include <dynq/status.h>
#include <jansson.h>
#include <stddef.h>

typedef struct huggingface {
    char *folder;  /* of config.json and the weights: a folder of modules.json, or the one given */
    char type[16]; /* "bert", "roberta", "xlm-roberta", "camembert", "distilbert" */
    bert_config encoder; /* its outputs are for the caller to choose */
    int described;       /* modules.json says how tokens become an embedding */
    size_t max_tokens;   /* of a sentence, special ones included */
    char *vocabulary;    /* a token per line, the line is the id; NULL: see `reason` */
    char *tokenizer;     /* how text becomes tokens: JSON, compact; NULL: see `reason` */
    char reason[160];    /* why there is no tokenizer that dynq knows */
} huggingface;

/* Reads modules.json, config.json and those of pooling and tokenizer. huggingface_free() is to be
 * called in any case. Errors: DYNQ_ERR_IO, DYNQ_ERR_FORMAT (naming file and key), DYNQ_ERR_LIMIT.
 */
dynq_status huggingface_read(const char *folder, huggingface *self, dynq_error *error);
void huggingface_free(huggingface *self);

/* Its steps. config.json: `type` and `encoder`. Keys that change what is computed must have the
 * value that does not; a key that dynq has never heard of is an error. */
dynq_status huggingface_config(huggingface *self, dynq_error *error);
/* `max_tokens`, `vocabulary` and `tokenizer`, after huggingface_config(). */
dynq_status huggingface_tokenizer(huggingface *self, dynq_error *error);

/* DYNQ_ERR_FORMAT "FILE: 'key' is VALUE; WANTED", or that the key is missing (`value` NULL). */
dynq_status huggingface_bad_key(const char *folder, const char *file, const char *key,
                                const json_t *value, const char *wanted, dynq_error *error);

#endif
