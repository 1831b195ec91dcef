/* The graph builder: makes an FP32 model from named nodes.
 *
 * A builder never fails half-way. Each call returns a value even after an error; the builder keeps
 * its first error, and dynq_graph_finish() says it, naming the node. Every value is a matrix with
 * one row per activation row of the batch; the builder infers its columns. The graph says what is
 * computed, not how: fusing nodes is the session's work. A builder serves one thread at a time. */
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
/* y = x * transpose(weight) + bias: x [M][K], weight [N][K] (the layout of torch.nn.Linear), bias
 * [N] or NULL for none, y [M][N]. */
DYNQ_API dynq_value dynq_linear(dynq_graph *graph, const char *name, dynq_value x,
                                const dynq_tensor *weight, const dynq_tensor *bias);
/* Element by element: max(x, 0); 0.5 x (1 + erf(x / sqrt 2)); tanh x; 1 / (1 + exp(-x)). */
DYNQ_API dynq_value dynq_relu(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_gelu(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_tanh(dynq_graph *graph, const char *name, dynq_value x);
DYNQ_API dynq_value dynq_sigmoid(dynq_graph *graph, const char *name, dynq_value x);
/* Element by element, two values of the same shape. */
DYNQ_API dynq_value dynq_add(dynq_graph *graph, const char *name, dynq_value a, dynq_value b);
DYNQ_API dynq_value dynq_mul(dynq_graph *graph, const char *name, dynq_value a, dynq_value b);
/* Over the columns of each row: exp(x - max x) / sum exp(x - max x). */
DYNQ_API dynq_value dynq_softmax(dynq_graph *graph, const char *name, dynq_value x);
/* Over the columns of each row: (x - mean) / sqrt(var + epsilon) * weight + bias, var the mean
 * squared deviation; weight and bias [columns]. */
DYNQ_API dynq_value dynq_layer_norm(dynq_graph *graph, const char *name, dynq_value x,
                                    const dynq_tensor *weight, const dynq_tensor *bias,
                                    float epsilon);

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
