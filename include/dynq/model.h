/* Models: immutable networks, from a file, from memory or from the graph builder. */
#ifndef DYNQ_MODEL_H
#define DYNQ_MODEL_H

#include <dynq/format.h>
#include <dynq/memory.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable and reference counted; any number of threads and sessions may use one at the same time.
 */
typedef struct dynq_model dynq_model;

/* The largest K of an INT8 linear layer: 255 * 127 * K stays below 2^31. */
#define DYNQ_MAX_INT8_K 66311
/* The longest name of a node or output, in bytes without the terminator. */
#define DYNQ_MAX_NAME 255
/* The most columns of a value, so that the sizes of a row never overflow. */
#define DYNQ_MAX_COLUMNS 0x1000000
/* The most nodes that a node reads. */
#define DYNQ_MAX_INPUTS 3
/* The most columns of one attention head. */
#define DYNQ_MAX_HEAD 512

typedef enum dynq_op {
    DYNQ_OP_INPUT = 1,
    DYNQ_OP_LINEAR,
    DYNQ_OP_RELU,
    DYNQ_OP_GELU,
    DYNQ_OP_TANH,
    DYNQ_OP_SIGMOID,
    DYNQ_OP_ADD,
    DYNQ_OP_MUL,
    DYNQ_OP_SOFTMAX,
    DYNQ_OP_LAYER_NORM,
    DYNQ_OP_IDS,
    DYNQ_OP_EMBEDDING,
    DYNQ_OP_POSITION,
    DYNQ_OP_GELU_TANH,
    DYNQ_OP_ATTENTION,
    DYNQ_OP_POOL,
    DYNQ_OP_NORMALIZE,
    DYNQ_OP_SCALE
} dynq_op;

/* What a row of a value stands for: a token (a row of the batch), or a whole segment, as after
 * pooling. A batch without segments is one segment. */
typedef enum dynq_domain { DYNQ_DOMAIN_TOKENS = 1, DYNQ_DOMAIN_SEGMENTS } dynq_domain;

/* How the rows of a segment become one: their mean, the first of them, the largest of each column.
 */
typedef enum dynq_pooling { DYNQ_POOL_MEAN = 1, DYNQ_POOL_CLS, DYNQ_POOL_MAX } dynq_pooling;

/* What a node computes in. How its weights are stored is their format (dynq_node_info). */
typedef enum dynq_precision {
    DYNQ_PRECISION_FP32 = 1,
    DYNQ_PRECISION_INT8, /* u8 activations times s8 weights, which may be stored in 4 or 2 bits */
    DYNQ_PRECISION_INT16 /* s16 times s16 with sums of 64 bits; linear layers only */
} dynq_precision;

/* Which levels codes of 4 or 2 bits stand for. Kernels only see a table; the file says how it was
 * made, for those who look. */
typedef enum dynq_levels {
    DYNQ_LEVELS_UNIFORM = 1, /* equal steps */
    DYNQ_LEVELS_LOG,         /* 0 and signed powers of two */
    DYNQ_LEVELS_CLUSTERS,    /* chosen for the weights (k-means) */
    DYNQ_LEVELS_AFFINE       /* equal steps from the least to the largest weight; in the lab only */
} dynq_levels;

/* What shares one table of levels. */
typedef enum dynq_table_scope {
    DYNQ_TABLE_PER_TENSOR = 1,
    DYNQ_TABLE_PER_PANEL /* 16 columns */
} dynq_table_scope;

/* Where the range of a linear layer's input comes from. */
typedef enum dynq_range_kind { DYNQ_RANGE_DYNAMIC = 1, DYNQ_RANGE_STATIC } dynq_range_kind;

/* How much of the input shares one range. Static ranges are always DYNQ_SCOPE_TENSOR. */
typedef enum dynq_scope {
    DYNQ_SCOPE_SEGMENT = 1, /* the rows of one request; a batch without segments is one segment */
    DYNQ_SCOPE_TENSOR,      /* the whole batch, whatever its segments */
    DYNQ_SCOPE_ROW
} dynq_scope;

typedef enum dynq_scheme {
    DYNQ_SCHEME_AFFINE = 1, /* u8 with a zero point, 255 steps over [min(0, lo), max(0, hi)] */
    DYNQ_SCHEME_SYMMETRIC   /* zero point 128, 127 steps on each side of 0 */
} dynq_scheme;

/* English names as the command and the file use them ("layer_norm", "int8", "dynamic", "segment",
 * "affine"). Static storage; NULL for a value outside the enumeration. */
DYNQ_API const char *dynq_op_name(dynq_op op);
DYNQ_API const char *dynq_precision_name(dynq_precision precision);
DYNQ_API const char *dynq_range_kind_name(dynq_range_kind kind);
DYNQ_API const char *dynq_scope_name(dynq_scope scope);
DYNQ_API const char *dynq_scheme_name(dynq_scheme scheme);
DYNQ_API const char *dynq_domain_name(dynq_domain domain);
DYNQ_API const char *dynq_pooling_name(dynq_pooling pooling);
DYNQ_API const char *dynq_levels_name(dynq_levels levels); /* "uniform", "log", "clusters", ... */
DYNQ_API const char *dynq_table_scope_name(dynq_table_scope scope); /* "tensor", "panel" */

/* How the input of an INT8 linear layer is quantized. */
typedef struct dynq_range_rule {
    dynq_range_kind kind;
    dynq_scope scope;
    dynq_scheme scheme;
    float lo,
        hi; /* lo <= 0 <= hi, finite; dynamic: limits that the range is cut to, both 0: none */
} dynq_range_rule;

typedef struct dynq_open_options {
    size_t size; /* sizeof(dynq_open_options) */
    const dynq_allocator *allocator;
    int copy; /* nonzero: read the file into memory instead of mapping it. A mapped file must not be
               * truncated while the model lives; a copied one may be. */
} dynq_open_options;

/* Opens a model file (safetensors with a dynq graph, FP32 or INT8). The file is mapped, so opening
 * reads only its header, scales and biases; processes that open the same file share its weights.
 * `options` may be NULL. On success *model holds one reference, the caller's.
 * Errors: DYNQ_ERR_IO; DYNQ_ERR_FORMAT, DYNQ_ERR_SHAPE, DYNQ_ERR_TYPE with the byte offset;
 * DYNQ_ERR_VERSION; DYNQ_ERR_NOT_FINITE (a scale, bias or range); DYNQ_ERR_LIMIT; DYNQ_ERR_MEMORY.
 */
DYNQ_API dynq_status dynq_model_open(const char *path, const dynq_open_options *options,
                                     dynq_model **model, dynq_error *error);

/* The same for a file that is already in memory. The bytes are borrowed and must stay unchanged
 * until the last reference is gone, unless options->copy is set. Any alignment is accepted; with an
 * alignment of 64 nothing is copied. */
DYNQ_API dynq_status dynq_model_open_memory(const void *bytes, size_t size,
                                            const dynq_open_options *options, dynq_model **model,
                                            dynq_error *error);

/* Writes the model to `path`: a temporary file beside it, synced, then renamed, so that `path`
 * holds either the old contents or all of the new. The same model gives the same bytes. Errors:
 * DYNQ_ERR_IO, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_model_save(const dynq_model *model, const char *path, dynq_error *error);

/* Reads every weight and checks what opening leaves out, because it would read the whole file:
 * codes of -128, nonzero padding, wrong column sums, non-finite FP32 weights; also in the tables of
 * embeddings. DYNQ_ERR_FORMAT or DYNQ_ERR_NOT_FINITE names the node. */
DYNQ_API dynq_status dynq_model_verify(const dynq_model *model, dynq_error *error);

/* One more reference; returns `model`. */
DYNQ_API dynq_model *dynq_model_retain(dynq_model *model);
/* Drops a reference and frees the model with the last one. NULL is fine. */
DYNQ_API void dynq_model_free(dynq_model *model);

typedef struct dynq_node_info {
    size_t size;      /* sizeof(dynq_node_info), set by the caller */
    const char *name; /* belongs to the model */
    dynq_op op;
    uint32_t input_count;             /* 0 to DYNQ_MAX_INPUTS */
    uint32_t inputs[DYNQ_MAX_INPUTS]; /* indices of the nodes it reads, all smaller than its own */
    size_t k;                         /* linear: inputs; otherwise the columns of its first input */
    size_t n;                         /* columns of its result */
    int has_bias;                     /* linear only */
    dynq_precision precision; /* linear, embeddings and attention, otherwise DYNQ_PRECISION_FP32 */
    dynq_range_rule range;    /* linear in INT8 only, otherwise all zero */
    uint64_t parameters;      /* weights and biases, as counted in FP32 */
    uint64_t weight_bytes;    /* of the parameters as stored, with scales, sums and padding */
    float epsilon;            /* layer norm only */
    dynq_domain domain;       /* of its result */
    size_t table_rows;        /* embeddings: rows of the table */
    size_t first;             /* position embedding: the row of a segment's first token */
    size_t heads;             /* attention */
    int causal;               /* attention */
    float scale;              /* attention: of q times k */
    dynq_pooling pooling;     /* pool */
    /* linear: how weights are stored; otherwise all zero */
    dynq_format weight_format;    /* FP32 nodes: FP32, FP16, BF16; INT16: INT16; INT8: INT8, INT4,
                                   * INT2 */
    size_t weight_group;          /* inputs that share a scale: 32, 64 or 128; 0: all of a column */
    dynq_levels weight_levels;    /* INT4, INT2 */
    dynq_table_scope table_scope; /* INT4, INT2 */
} dynq_node_info;

/* Nodes in execution order: a node stands after the nodes it reads. */
DYNQ_API size_t dynq_model_node_count(const dynq_model *model);
/* DYNQ_ERR_ARGUMENT if there is no such node. */
DYNQ_API dynq_status dynq_model_node(const dynq_model *model, size_t index, dynq_node_info *info);
/* The index of the node with that name, or -1. */
DYNQ_API long dynq_model_find(const dynq_model *model, const char *name);

/* Outputs: a name and the node whose result it is. */
DYNQ_API size_t dynq_model_output_count(const dynq_model *model);
/* Any of the two results may be NULL. *name belongs to the model. DYNQ_ERR_ARGUMENT past the last.
 */
DYNQ_API dynq_status dynq_model_output(const dynq_model *model, size_t index, const char **name,
                                       size_t *node);

/* Writes the n x k weights of linear node `index` as FP32, row-major [n][k], or the table of an
 * embedding, [table_rows][n] (dequantized where they are INT8: code * scale). `weights` has room
 * for `capacity` floats. Errors: DYNQ_ERR_ARGUMENT (neither of the two), DYNQ_ERR_LIMIT (capacity
 * below n * k or table_rows * n). */
DYNQ_API dynq_status dynq_model_weights(const dynq_model *model, size_t index, float *weights,
                                        size_t capacity);

/* What smoothing (dynq/smooth.h) has divided the columns of the result of node `index` by, one
 * float for each of its columns: times these, they compare with the result of the same node in the
 * model that was smoothed, those of a node "VALUE.smooth" with the result of VALUE. Belongs to the
 * model; NULL: the result was left as it is. Runs do not look at it. */
DYNQ_API const float *dynq_model_column_scale(const dynq_model *model, size_t index);

/* Attachments: named bytes that a model needs to be used and that nothing here looks into, such as
 * a vocabulary (see dynq_attach()). They are saved with the model, and a quantized model has those
 * of its source. Sets *bytes, which belong to the model and have no alignment, and *size; either
 * may be NULL. DYNQ_ERR_NOT_FOUND. */
DYNQ_API dynq_status dynq_model_attachment(const dynq_model *model, const char *name,
                                           const void **bytes, size_t *size);
/* The name of attachment `index`, NULL past the last. Belongs to the model. */
DYNQ_API const char *dynq_model_attachment_name(const dynq_model *model, size_t index);

/* The bytes of the file this model is or would be saved as. */
DYNQ_API uint64_t dynq_model_file_bytes(const dynq_model *model);

#ifdef __cplusplus
}
#endif

#endif
