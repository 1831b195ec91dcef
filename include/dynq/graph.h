/* The graph builder: makes an FP32 model from named nodes.
 *
 * A builder never fails half-way. Each call returns a value even after an error; the builder keeps
 * its first error, and dynq_graph_finish() says it, naming the node. Every value is a matrix with
 * one row per token (row of the batch) or, behind pooling, one per segment; the builder infers its
 * columns. Operands of one node have the same kind of rows. The graph says what is computed, not
 * how: fusing nodes is the session's work. A builder serves one thread at a time. */
#ifndef DYNQ_GRAPH_H
#define DYNQ_GRAPH_H

#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <dynq/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dynq_graph dynq_graph;

/* The result of a node, valid only with the builder that made it. */
typedef struct dynq_value {
    uint32_t node;
} dynq_value;

/* `allocator` may be NULL. Returns NULL only when memory is out. */
DYNQ_API dynq_graph *dynq_graph_create(const dynq_allocator *allocator);
/* Abandons a builder that was not finished. NULL is fine. */
DYNQ_API void dynq_graph_free(dynq_graph *graph);

/* Names are unique in a model, 1 to DYNQ_MAX_NAME bytes of printable UTF-8, and are copied. Tensors
 * are F32, borrowed for the call and copied; a NaN or Inf in one is an error. */

/* An input of `columns` (1 or more) floats per row. */
DYNQ_API dynq_value dynq_input(dynq_graph *graph, const char *name, size_t columns);
/* An input of one id per row, int32_t, which only embeddings read. */
DYNQ_API dynq_value dynq_ids(dynq_graph *graph, const char *name);
/* y[m] = table[ids[m]], table [count][columns]. A run with an id below 0 or not below `count` is an
 * error that names it. */
DYNQ_API dynq_value dynq_embedding(dynq_graph *graph, const char *name, dynq_value ids,
                                   const dynq_tensor *table);
/* y[m] = table[first + position of row m in its segment], table [count][columns]; a segment longer
 * than count - first rows is an error of the run. Of `rows`, any value with a row per token, only
 * the rows count. */
DYNQ_API dynq_value dynq_position_embedding(dynq_graph *graph, const char *name, dynq_value rows,
                                            const dynq_tensor *table, size_t first);
/* y = x * transpose(weight) + bias: x [M][K], weight [N][K] (the layout of torch.nn.Linear), bias
 * [N] or NULL for none, y [M][N]. */
DYNQ_API dynq_value dynq_linear(dynq_graph *graph, const char *name, dynq_value x,
                                const dynq_tensor *weight, const dynq_tensor *bias);
/* Element by element: max(x, 0); 0.5 x (1 + erf(x / sqrt 2)) and its approximation 0.5 x (1 +
 * tanh(sqrt(2 / pi) (x + 0.044715 x^3))); tanh x; 1 / (1 + exp(-x)). */
DYNQ_API dynq_value dynq_relu(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_gelu(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_gelu_tanh(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_tanh(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_sigmoid(dynq_graph *graph, const char *name, dynq_value x);
/* Element by element, two values of the same shape. */
DYNQ_API dynq_value dynq_add(dynq_graph *graph, const char *name, dynq_value a, dynq_value b);
DYNQ_API dynq_value dynq_mul(dynq_graph *graph, const char *name, dynq_value a, dynq_value b);
/* Column by column: y[m][c] = x[m][c] * weight[c], weight [columns]. */
DYNQ_API dynq_value dynq_scale(dynq_graph *graph, const char *name, dynq_value x,
                               const dynq_tensor *weight);
/* Over the columns of each row: exp(x - max x) / sum exp(x - max x). */
DYNQ_API dynq_value dynq_softmax(dynq_graph *graph, const char *name, dynq_value x);
/* Over the columns of each row: (x - mean) / sqrt(var + epsilon) * weight + bias, var the mean
 * squared deviation; weight and bias [columns]. */
DYNQ_API dynq_value dynq_layer_norm(dynq_graph *graph, const char *name, dynq_value x,
                                    const dynq_tensor *weight, const dynq_tensor *bias,
                                    float epsilon);

typedef struct dynq_attention_options {
    size_t size;  /* sizeof(dynq_attention_options) */
    size_t heads; /* that the columns are divided into, evenly; 0: 1 */
    float scale;  /* of the products; 0: 1 / sqrt(columns of a head of q) */
    int causal;   /* nonzero: a row sees no later rows of its segment */
} dynq_attention_options;

/* Multi-head attention of each segment to itself: for each head, y[i] = sum over the rows j of its
 * segment of p[j] v[j], p = softmax(scale * q[i] . k[j]). q, k and v have the same columns, 1 to
 * DYNQ_MAX_HEAD for each head, and y has as many. */
DYNQ_API dynq_value dynq_attention(dynq_graph *graph, const char *name, dynq_value q, dynq_value k,
                                   dynq_value v, const dynq_attention_options *options);
/* One row for each segment of x. */
DYNQ_API dynq_value dynq_pool(dynq_graph *graph, const char *name, dynq_value x,
                              dynq_pooling pooling);
/* Over the columns of each row: x / max(sqrt(sum of x^2), 1e-12). */
DYNQ_API dynq_value dynq_normalize(dynq_graph *graph, const char *name, dynq_value x);

/* Lets the model carry `size` bytes (1 or more; copied) under a name of a to z, 0 to 9, '-' and
 * '_': what is needed to use it, such as a vocabulary. See dynq_model_attachment(). */
DYNQ_API void dynq_attach(dynq_graph *graph, const char *name, const void *bytes, size_t size);

/* Makes `value` an output of the model under `name` (unique among outputs). */
DYNQ_API void dynq_output(dynq_graph *graph, const char *name, dynq_value value);

/* Validates, makes the model and frees the builder, whether it succeeds or not. On success *model
 * holds one reference, the caller's. Errors: the first error of any call above (DYNQ_ERR_ARGUMENT,
 * DYNQ_ERR_SHAPE, DYNQ_ERR_TYPE, DYNQ_ERR_LIMIT, DYNQ_ERR_NOT_FINITE, DYNQ_ERR_MEMORY), a graph
 * without inputs or outputs, a node that no output needs. */
DYNQ_API dynq_status dynq_graph_finish(dynq_graph *graph, dynq_model **model, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
