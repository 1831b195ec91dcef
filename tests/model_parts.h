/* Model files taken apart, for tests of files whose bytes are wrong. */
#ifndef DYNQ_TESTS_MODEL_PARTS_H
#define DYNQ_TESTS_MODEL_PARTS_H

#include "src/safetensors.h"

#include <dynq/model.h>
#include <stdbool.h>

#define PARTS_TENSORS 16

/* A file taken apart, so that a test can change a part and put it together again. */
typedef struct model_parts {
    unsigned char *bytes; /* of the whole file */
    size_t size;
    dynq_st_header header;
    dynq_st_source sources[PARTS_TENSORS];
    size_t count;
    dynq_st_metadata metadata[3];
} model_parts;

/* The file of a model, which is freed. */
model_parts parts_of(dynq_model *model);
void parts_free(model_parts *p);

/* Opens what the parts make together. */
dynq_status parts_open(const model_parts *p, dynq_model **model, dynq_error *error);
/* The same where it must fail, with `text` in the message. */
void parts_expect(const model_parts *p, dynq_status status, const char *text);
/* What opening leaves to dynq_model_verify(). */
void parts_expect_verify(const model_parts *p, dynq_status status, const char *text);

dynq_tensor *parts_tensor(model_parts *p, const char *name);
/* The value of a metadata key, from malloc, and its index. */
char *parts_metadata(model_parts *p, const char *key, size_t *index);
/* `text` with the first `from` replaced by `to`, from malloc. */
char *parts_replace(const char *text, const char *from, const char *to);

/* Whether bytes open, in a block of exactly their size, so that reading beyond is noticed. */
bool parts_opens(const unsigned char *bytes, size_t size);

#endif
