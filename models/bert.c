#include "models/bert.h"

#include <dynq/graph.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The parts of a layer, in the words of the published files. */
typedef struct part_names {
    const char *layer; /* in front, then its number */
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *inner, *output, *output_norm;
} part_names;

static const part_names names_of[] = {
    [BERT_NAMES_BERT] = {"encoder.layer", "attention.self.query", "attention.self.key",
                         "attention.self.value", "attention.output.dense",
                         "attention.output.LayerNorm", "intermediate.dense", "output.dense",
                         "output.LayerNorm"},
    [BERT_NAMES_DISTILBERT] = {"transformer.layer", "attention.q_lin", "attention.k_lin",
                               "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1",
                               "ffn.lin2", "output_layer_norm"},
};

typedef struct name {
    char text[64];
} name;

/* What the steps of one build share. */
typedef struct bert {
    const bert_config *config;
    const part_names *names;
    const bert_weights *weights;
    const dynq_allocator *allocator; /* NULL: the C library's */
    dynq_graph *graph;
    dynq_status status; /* of the first weight that was not found */
    dynq_error *error;
} bert;

static name part_name(const bert *b, size_t layer, const char *part)
{
    name result;
    snprintf(result.text, sizeof result.text, "%s.%zu.%s", b->names->layer, layer, part);
    return result;
}

/* The matrix [rows][columns] "NODE.PART", with rows 0 the vector [columns]. Where it is not found
 * it has no data: the builder then remembers an error of its own, and ours is the one to say. */
static dynq_tensor find(bert *b, const char *node, const char *part, size_t rows, size_t columns)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", node, part);
    dynq_tensor tensor = {.dtype = DYNQ_F32, .rank = 1, .shape = {columns}};
    if (rows > 0) {
        tensor.rank = 2;
        tensor.shape[0] = rows;
        tensor.shape[1] = columns;
    }
    const float *values = NULL;
    if (b->status == DYNQ_OK) {
        b->status = b->weights->find(b->weights->context, full, tensor.rank, tensor.shape, &values,
                                     b->error);
    }
    tensor.data = values;
    return tensor;
}

static dynq_value linear(bert *b, const char *node, dynq_value x, size_t inputs, size_t outputs)
{
    const dynq_tensor weight = find(b, node, "weight", outputs, inputs);
    const dynq_tensor bias = find(b, node, "bias", 0, outputs);
    return dynq_linear(b->graph, node, x, &weight, &bias);
}

/* LayerNorm(x + residual), as behind attention and at the end of a layer. */
static dynq_value add_and_norm(bert *b, const char *sum, const char *node, dynq_value x,
                               dynq_value residual)
{
    const dynq_tensor weight = find(b, node, "weight", 0, b->config->width);
    const dynq_tensor bias = find(b, node, "bias", 0, b->config->width);
    const dynq_value added = dynq_add(b->graph, sum, x, residual);
    return dynq_layer_norm(b->graph, node, added, &weight, &bias, b->config->epsilon);
}

static void *take_memory(const dynq_allocator *allocator, size_t size)
{
    return allocator == NULL ? malloc(size)
                             : allocator->allocate(allocator->context, size, alignof(max_align_t));
}

static void give_back(const dynq_allocator *allocator, void *memory)
{
    if (allocator == NULL) {
        free(memory);
    } else if (memory != NULL) {
        allocator->release(allocator->context, memory);
    }
}

/* Of the table of token types only row 0 is used, for all tokens alike: it is added to the table of
 * positions, which costs one rounding now and a node less in every run. */
static dynq_value positions(bert *b, dynq_value ids)
{
    const bert_config *config = b->config;
    const char *const node = "embeddings.position_embeddings";
    dynq_tensor table = find(b, node, "weight", config->positions, config->width);
    float *sum = NULL;
    if (config->types > 0) {
        const dynq_tensor types =
            find(b, "embeddings.token_type_embeddings", "weight", config->types, config->width);
        const float *position = table.data, *type = types.data;
        sum = position == NULL || type == NULL
                  ? NULL
                  : take_memory(b->allocator, config->positions * config->width * sizeof *sum);
        for (size_t i = 0; sum != NULL && i < config->positions * config->width; i++) {
            sum[i] = position[i] + type[i % config->width];
        }
        if (sum == NULL && b->status == DYNQ_OK) {
            b->status = DYNQ_ERR_MEMORY;
        }
        table.data = sum;
    }
    const dynq_value value =
        dynq_position_embedding(b->graph, node, ids, &table, config->first_position);
    give_back(b->allocator, sum);
    return value;
}

static dynq_value embeddings(bert *b)
{
    const bert_config *config = b->config;
    const char *const node = "embeddings.word_embeddings";
    const dynq_value ids = dynq_ids(b->graph, "input_ids");
    const dynq_tensor words = find(b, node, "weight", config->vocabulary, config->width);
    const dynq_value word = dynq_embedding(b->graph, node, ids, &words);
    const dynq_value position = positions(b, ids);
    return add_and_norm(b, "embeddings.add", "embeddings.LayerNorm", word, position);
}

static dynq_value attention(bert *b, size_t layer, dynq_value x)
{
    const size_t width = b->config->width;
    const part_names *names = b->names;
    const dynq_value q = linear(b, part_name(b, layer, names->query).text, x, width, width);
    const dynq_value k = linear(b, part_name(b, layer, names->key).text, x, width, width);
    const dynq_value v = linear(b, part_name(b, layer, names->value).text, x, width, width);
    const dynq_attention_options options = {.size = sizeof options, .heads = b->config->heads};
    const dynq_value y =
        dynq_attention(b->graph, part_name(b, layer, "attention").text, q, k, v, &options);
    const dynq_value dense =
        linear(b, part_name(b, layer, names->attention_output).text, y, width, width);
    return add_and_norm(b, part_name(b, layer, "attention.add").text,
                        part_name(b, layer, names->attention_norm).text, dense, x);
}

static dynq_value feed_forward(bert *b, size_t layer, dynq_value x)
{
    const size_t width = b->config->width, inner = b->config->inner;
    const name act = part_name(b, layer, "act");
    dynq_value y = linear(b, part_name(b, layer, b->names->inner).text, x, width, inner);
    switch (b->config->activation) {
    case BERT_GELU: y = dynq_gelu(b->graph, act.text, y); break;
    case BERT_GELU_TANH: y = dynq_gelu_tanh(b->graph, act.text, y); break;
    case BERT_RELU: y = dynq_relu(b->graph, act.text, y); break;
    }
    y = linear(b, part_name(b, layer, b->names->output).text, y, inner, width);
    return add_and_norm(b, part_name(b, layer, "add").text,
                        part_name(b, layer, b->names->output_norm).text, y, x);
}

static dynq_value sentence(bert *b, dynq_value x)
{
    const bert_config *config = b->config;
    dynq_pooling pooling = DYNQ_POOL_CLS;
    if (config->pooling == BERT_POOL_MEAN) {
        pooling = DYNQ_POOL_MEAN;
    } else if (config->pooling == BERT_POOL_MAX) {
        pooling = DYNQ_POOL_MAX;
    }
    x = dynq_pool(b->graph, "pooling", x, pooling);
    if (config->pooling == BERT_POOL_POOLER) {
        x = linear(b, "pooler.dense", x, config->width, config->width);
        x = dynq_tanh(b->graph, "pooler.act", x);
    }
    return config->normalize ? dynq_normalize(b->graph, "normalize", x) : x;
}

static dynq_status finish(bert *b, dynq_model **model)
{
    if (b->graph != NULL && b->status == DYNQ_OK) {
        return dynq_graph_finish(b->graph, model, b->error);
    }
    dynq_graph_free(b->graph);
    const dynq_status status = b->graph == NULL ? DYNQ_ERR_MEMORY : b->status;
    if (status == DYNQ_ERR_MEMORY && b->error != NULL) {
        *b->error = (dynq_error){.status = status, .offset = DYNQ_NO_OFFSET};
        strcpy(b->error->message, "out of memory");
    }
    return status;
}

dynq_status bert_build(const bert_config *config, const bert_weights *weights,
                       const bert_attachment *attachments, size_t attachment_count,
                       const dynq_allocator *allocator, dynq_model **model, dynq_error *error)
{
    bert b = {.config = config,
              .names = &names_of[config->names],
              .weights = weights,
              .allocator = allocator,
              .graph = dynq_graph_create(allocator),
              .error = error};
    if (b.graph == NULL) {
        return finish(&b, model);
    }
    dynq_value x = embeddings(&b);
    for (size_t l = 0; l < config->layers && b.status == DYNQ_OK; l++) {
        x = attention(&b, l, x);
        x = feed_forward(&b, l, x);
    }
    if (config->tokens) {
        dynq_output(b.graph, "last_hidden_state", x);
    }
    if (config->sentence) {
        dynq_output(b.graph, "sentence_embedding", sentence(&b, x));
    }
    for (size_t i = 0; i < attachment_count; i++) {
        dynq_attach(b.graph, attachments[i].name, attachments[i].bytes, attachments[i].size);
    }
    return finish(&b, model);
}
