/* Lines of text as requests: reading them, and the tokenizer that a model carries. */
#ifndef DYNQ_TOOLS_TEXTS_H
#define DYNQ_TOOLS_TEXTS_H

#include "tools/command.h"
#include "tools/inputs.h"

#include <dynq/model.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dynq_tokenizer dynq_tokenizer;

/* A model's tokenizer. */
typedef struct texts {
    dynq_tokenizer *tokenizer;
    size_t most;  /* tokens of a text, with the two around it; what is longer is cut */
    int32_t *ids; /* of the text that was encoded last */
    size_t count;
    size_t truncated; /* texts that were cut so far */
} texts;

/* Whether this build has the tokenizer; without it texts_open() fails. */
int texts_built(void);

/* Makes the tokenizer of the model for its input `slot`. `most` is the caller's limit of tokens; 0:
 * the model's own. On failure prints the error and returns its exit code. What is all zero may be
 * closed. */
exit_code texts_open(const command_call *call, const dynq_model *model, const model_slot *slot,
                     size_t most, texts *self);
void texts_close(texts *self);

/* Sets ids and count. Any bytes are a text; `cut`: they are only the beginning of it. */
void texts_encode(texts *self, const char *text, size_t bytes, bool cut);

/* Texts laid end to end. */
typedef struct text_ids {
    int32_t *ids;
    size_t *offsets; /* [count + 1] */
    size_t count, truncated;
} text_ids;

/* Encodes every line of a file. DYNQ_ERR_... prints the error and returns its exit code; ids and
 * offsets are released with free(). */
exit_code texts_read(const command_call *call, texts *self, const char *path, text_ids *result);

#endif
