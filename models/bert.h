/* Encoders of the BERT family, with the public API only: BERT, RoBERTa, XLM-RoBERTa and CamemBERT,
 * which differ in numbers, and DistilBERT, which differs in names. */
#ifndef DYNQ_MODELS_BERT_H
#define DYNQ_MODELS_BERT_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>

/* How published files name the weights of a layer, and so the nodes. */
typedef enum bert_names { BERT_NAMES_BERT, BERT_NAMES_DISTILBERT } bert_names;

typedef enum bert_activation { BERT_GELU, BERT_GELU_TANH, BERT_RELU } bert_activation;

/* How the rows of a sentence become its embedding. BERT_POOL_POOLER: tanh of a linear layer, the
 * weights of "pooler.dense", on the first row. */
typedef enum bert_pooling {
    BERT_POOL_MEAN,
    BERT_POOL_CLS,
    BERT_POOL_MAX,
    BERT_POOL_POOLER
} bert_pooling;

typedef struct bert_config {
    bert_names names;
    size_t vocabulary;     /* rows of the table of words */
    size_t positions;      /* rows of the table of positions */
    size_t first_position; /* the row of a sentence's first token: 0, of RoBERTa 2 */
    size_t types;          /* rows of the table of token types, of which row 0 is used; 0: none */
    size_t width;          /* columns of a token */
    size_t layers, heads;  /* width is a multiple of heads */
    size_t inner;          /* columns between the two linear layers behind attention */
    bert_activation activation;
    float epsilon;        /* of every layer norm */
    int tokens;           /* nonzero: output "last_hidden_state", `width` columns per token */
    int sentence;         /* nonzero: output "sentence_embedding", `width` columns per segment */
    bert_pooling pooling; /* with `sentence` */
    int normalize;        /* nonzero: the embedding divided by its length */
} bert_config;

/* Where the weights come from. find() sets *values to the tensor of this name ("embeddings.
 * word_embeddings.weight", "encoder.layer.0.attention.self.query.bias": as published, without what
 * some files put in front) and of exactly this shape, row-major; it stays valid until bert_build()
 * returns. A failure ends the building with the same status, and fills *error if not NULL. */
typedef struct bert_weights {
    dynq_status (*find)(void *context, const char *name, uint32_t rank, const size_t *shape,
                        const float **values, dynq_error *error);
    void *context;
} bert_weights;

/* Something that the model carries (see dynq_attach()). */
typedef struct bert_attachment {
    const char *name;
    const void *bytes;
    size_t size;
} bert_attachment;

/* Makes the FP32 model: input "input_ids", one id per token; nodes that have weights are named as
 * these. Sentences are the segments of a batch, of at most positions - first_position tokens.
 * Everything given is borrowed for the call. On success *model holds one reference, the caller's.
 * Errors: those of find() and of dynq_graph_finish(). */
dynq_status bert_build(const bert_config *config, const bert_weights *weights,
                       const bert_attachment *attachments, size_t attachment_count,
                       const dynq_allocator *allocator, dynq_model **model, dynq_error *error);

#endif
