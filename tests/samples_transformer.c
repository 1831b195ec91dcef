#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { WIDTH = 32, HIDDEN = 64, HEADS = 4, WORDS = 50, PLACES = 20, LAYERS = 2 };

/* Deterministic parameters, each tensor with a seed of its own. */
typedef struct builder {
    dynq_graph *graph;
    uint32_t seed;
    char prefix[8];
    char name[32];
    float numbers[HIDDEN * WIDTH];
} builder;

static const char *named(builder *b, const char *what)
{
    snprintf(b->name, sizeof b->name, "%s%s", b->prefix, what);
    return b->name;
}

static dynq_tensor filled(float *numbers, size_t rows, size_t columns, float size, float middle,
                          uint32_t seed)
{
    const size_t count = rows * columns;
    samples_fill(numbers, count, seed);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = middle + size * numbers[i];
    }
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 2, .shape = {rows, columns}, .data = numbers};
}

static dynq_tensor vector(float *numbers, size_t count, float size, float middle, uint32_t seed)
{
    const dynq_tensor row = filled(numbers, 1, count, size, middle, seed);
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 1, .shape = {count}, .data = row.data};
}

static dynq_value linear(builder *b, const char *what, dynq_value x, size_t k, size_t n)
{
    float shift[HIDDEN];
    const dynq_tensor weight = filled(b->numbers, n, k, 0.25f, 0.0f, b->seed++);
    const dynq_tensor bias = vector(shift, n, 0.1f, 0.0f, b->seed++);
    return dynq_linear(b->graph, named(b, what), x, &weight, &bias);
}

static dynq_value norm(builder *b, const char *what, dynq_value x)
{
    float gain[WIDTH], shift[WIDTH];
    const dynq_tensor weight = vector(gain, WIDTH, 0.5f, 1.0f, b->seed++);
    const dynq_tensor bias = vector(shift, WIDTH, 0.1f, 0.0f, b->seed++);
    return dynq_layer_norm(b->graph, named(b, what), x, &weight, &bias, 1e-12f);
}

static dynq_value embeddings(builder *b)
{
    dynq_graph *g = b->graph;
    const dynq_value ids = dynq_ids(g, "ids");
    dynq_tensor table = filled(b->numbers, WORDS, WIDTH, 1.0f, 0.0f, b->seed++);
    const dynq_value words = dynq_embedding(g, "words", ids, &table);
    table = filled(b->numbers, PLACES, WIDTH, 0.5f, 0.0f, b->seed++);
    const dynq_value places = dynq_position_embedding(g, "places", ids, &table, 0);
    return norm(b, "norm", dynq_add(g, "sum", words, places));
}

static dynq_value layer(builder *b, int index, dynq_value x, bool causal)
{
    dynq_graph *g = b->graph;
    const dynq_attention_options options = {
        .size = sizeof options, .heads = HEADS, .causal = causal};
    snprintf(b->prefix, sizeof b->prefix, "l%d.", index);
    const dynq_value q = linear(b, "q", x, WIDTH, WIDTH), k = linear(b, "k", x, WIDTH, WIDTH),
                     v = linear(b, "v", x, WIDTH, WIDTH);
    const dynq_value a = dynq_attention(g, named(b, "heads"), q, k, v, &options);
    const dynq_value o = linear(b, "out", a, WIDTH, WIDTH);
    const dynq_value h = norm(b, "norm1", dynq_add(g, named(b, "sum1"), o, x));
    dynq_value f = linear(b, "fc1", h, WIDTH, HIDDEN);
    f = index == 0 ? dynq_gelu(g, named(b, "act"), f) : dynq_gelu_tanh(g, named(b, "act"), f);
    f = linear(b, "fc2", f, HIDDEN, WIDTH);
    return norm(b, "norm2", dynq_add(g, named(b, "sum2"), f, h));
}

dynq_model *samples_transformer(const dynq_allocator *allocator, bool causal)
{
    builder b = {.graph = dynq_graph_create(allocator), .seed = 100};
    dynq_graph *g = b.graph;
    dynq_value x = embeddings(&b);
    for (int i = 0; i < LAYERS; i++) {
        x = layer(&b, i, x, causal);
    }
    b.prefix[0] = '\0';
    dynq_output(g, "tokens", x);
    dynq_output(g, "sentence", dynq_normalize(g, "unit", dynq_pool(g, "mean", x, DYNQ_POOL_MEAN)));
    const dynq_value first = dynq_pool(g, "first", x, DYNQ_POOL_CLS);
    dynq_output(g, "pooled", dynq_tanh(g, "bounded", linear(&b, "pooler", first, WIDTH, WIDTH)));
    dynq_attach(g, "vocabulary", "[PAD]\n[UNK]\nword\n", 17);
    dynq_attach(g, "pooling-1_b", "\0", 1);
    dynq_model *model = NULL;
    return dynq_graph_finish(g, &model, NULL) == DYNQ_OK ? model : NULL;
}

static dynq_model *quantized(dynq_model *from, const dynq_allocator *allocator)
{
    const dynq_quantize_rule rule = {.pattern = "places", .precision = DYNQ_PRECISION_INT8};
    const dynq_quantize_options options = {
        .size = sizeof options, .rules = &rule, .rule_count = 1, .allocator = allocator};
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

dynq_model *samples_transformer_int8(const dynq_allocator *allocator, bool causal)
{
    return quantized(samples_transformer(NULL, causal), allocator);
}

dynq_model *samples_encoder(bool int8)
{
    float numbers[24];
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_attention_options options = {
        .size = sizeof options, .heads = 2, .scale = 0.25f, .causal = 1};
    const dynq_value ids = dynq_ids(g, "ids");
    dynq_tensor table = filled(numbers, 6, 4, 1.0f, 0.0f, 1);
    const dynq_value words = dynq_embedding(g, "words", ids, &table);
    table = filled(numbers, 5, 4, 1.0f, 0.0f, 2);
    const dynq_value places = dynq_position_embedding(g, "places", ids, &table, 1);
    const dynq_value heads = dynq_attention(g, "heads", words, places, words, &options);
    const dynq_value most = dynq_pool(g, "most", heads, DYNQ_POOL_MAX);
    dynq_output(g, "y", dynq_normalize(g, "unit", most));
    dynq_attach(g, "vocabulary", "[UNK]\na\nb", 9);
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &model, &error), DYNQ_OK, "%s", error.message);
    return int8 ? quantized(model, NULL) : model;
}
