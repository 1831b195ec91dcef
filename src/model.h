/* The inside of a model: nodes, parameters and where their memory comes from. */
#ifndef DYNQ_SRC_MODEL_H
#define DYNQ_SRC_MODEL_H

#include "kernels/kernel.h"
#include "src/file.h"
#include "src/memory.h"
#include "src/pack.h"

#include <dynq/model.h>
#include <dynq/quantize.h>
#include <stdatomic.h>
#include <stdbool.h>

#define DYNQ_FORMAT_MAJOR 1 /* a file with another major version is refused */
#define DYNQ_FORMAT_MINOR 3

/* How quantizing made codes of weights. */
typedef struct dynq_codes_settings {
    dynq_format weights;
    dynq_weight_granularity granularity;
    dynq_levels levels;
    dynq_table_scope table;
    size_t clusters;
    bool clipped, simulated;
} dynq_codes_settings;

/* A node and its parameters. Pointers lead into the file or into memory of the model (see `owned`).
 */
typedef struct dynq_node {
    char *name;
    dynq_op op;
    uint32_t input_count;
    uint32_t inputs[DYNQ_MAX_INPUTS];
    dynq_domain domain; /* of the result */
    size_t k, n; /* columns of the first input (of an input node: n), columns of the result */

    dynq_precision precision; /* linear, embeddings, attention */

    /* linear */
    dynq_range_rule range;
    const float *weight;       /* FP32: [n][k] */
    const int8_t *packed;      /* any other format: panels as pack.h lays them out, 64-byte
                                * aligned; INT8 by column: p16x4 */
    dynq_format weight_format; /* never 0 once a model is checked */
    size_t weight_group;       /* 0, 32, 64, 128 */
    dynq_levels weight_levels; /* INT4, INT2 */
    dynq_table_scope table_scope;
    const int8_t *levels;      /* INT4: [1 or panels][16]; INT2: [1 or panels][4] */
    const float *weight_scale; /* INT8, INT16: [n]; groups have a factor to it in the panel */
    const int32_t *weight_sum; /* INT8: [n], sums of codes (of levels); NULL with groups */
    const float *bias;         /* [n]; linear: may be NULL; layer norm: never */

    /* layer norm, scale */
    const float *gain; /* [n] */
    float epsilon;

    /* embeddings: FP32 rows in `weight` [table_rows][n], or INT8 rows with `weight_scale`
     * [table_rows] */
    size_t table_rows;
    size_t first; /* position embedding: the row of a segment's first token */
    const int8_t *table_codes;

    /* attention */
    size_t heads;
    float scale;
    bool causal;

    dynq_pooling pooling;

    /* What quantizing made the codes of; NULL: they came otherwise. Only compared, never read. */
    const float *codes_of;
    dynq_codes_settings codes;

    const float *column_scale; /* [n], any operation: what smoothing has divided the columns of the
                                * result by; NULL: nothing. Runs do not look at it */
} dynq_node;

typedef struct dynq_model_attachment_entry {
    char *name;
    const void *bytes; /* in the file or of the model */
    size_t size;
} dynq_model_attachment_entry;

typedef struct dynq_model_output_entry {
    char *name;
    uint32_t node;
} dynq_model_output_entry;

struct dynq_model {
    dynq_allocator allocator;
    atomic_uint references;
    dynq_node *nodes;
    size_t node_count, node_capacity;
    dynq_model_output_entry *outputs;
    size_t output_count, output_capacity;
    dynq_model_attachment_entry *attachments;
    size_t attachment_count, attachment_capacity;
    void **owned; /* blocks of parameters that the model frees */
    size_t owned_count, owned_capacity;
    dynq_model *parent; /* whose parameters are used, or NULL */
    dynq_model *twin;   /* quantized from the same model, some of whose codes are used, or NULL */
    dynq_file file; /* bytes == NULL: none, or borrowed from the caller; size 0: not from a file */
};

/* model_weights.c: linear nodes whose weights are in any format. */

/* How kernels are told of the weights of an INT8 linear node, from panel `panel` on. */
dynq_weight_codes dynq_node_codes(const dynq_node *node, size_t panel);
/* The first panel of an INT8 linear node, or the one of a later column (a multiple of 16). */
const int8_t *dynq_node_panel(const dynq_node *node, size_t column);
/* The bytes of `packed`, whatever the format; SIZE_MAX if that does not fit. */
size_t dynq_node_packed_bytes(const dynq_node *node);
/* The format that a precision has unless a node says otherwise. */
dynq_format dynq_format_of(dynq_precision precision);
/* A node that is quantized already, if only its weights are: quantizing and smoothing refuse it. */
bool dynq_node_is_quantized(const dynq_node *node);
/* INT8 with scales by column. */
bool dynq_node_is_p16x4(const dynq_node *node);
/* Tables of levels, and levels of each; 0 without. */
size_t dynq_node_tables(const dynq_node *node);
size_t dynq_node_table_levels(const dynq_node *node);
/* A weight in FP16, BF16 or INT16 as it is stored, padding included. */
uint16_t dynq_node_word(const dynq_node *node, size_t column, size_t input);
/* Columns [first, first + count) of an INT8 linear node without groups as weights [count][k]. */
void dynq_node_unpack_s8(const dynq_node *node, size_t first, size_t count, int8_t *weights);
/* Columns [first, first + count) of a linear node in any format as floats [count][k]: what is
 * stored, or code * scale, or level * factor * scale. */
void dynq_node_dequantize(const dynq_node *node, size_t first, size_t count, float *w);

/* Give a linear node of a new model its weights [n][k], of which the model will own what it keeps;
 * k, n and precision are there already. They fill weight_format and what comes with it. Levels are
 * as coded->tables says one table or one for each panel; what they are called (weight_levels) is
 * left to the caller. */
dynq_status dynq_model_take_coded(dynq_model *model, dynq_node *node,
                                  const dynq_coded_weights *coded, dynq_error *error);
/* codes of [-32767, 32767], scale [n]. */
dynq_status dynq_model_take_s16(dynq_model *model, dynq_node *node, const int16_t *codes,
                                const float *scale, dynq_error *error);
/* Rounded to FP16 or BF16. DYNQ_ERR_NOT_FINITE: a weight is beyond the format. */
dynq_status dynq_model_take_halves(dynq_model *model, dynq_node *node, dynq_format format,
                                   const float *weight, dynq_error *error);

/* Embeddings: a node with a table. */
static inline bool dynq_op_has_table(dynq_op op)
{
    return op == DYNQ_OP_EMBEDDING || op == DYNQ_OP_POSITION;
}

/* Whether nodes of this operation are FP32 or INT8. */
static inline bool dynq_op_has_precision(dynq_op op)
{
    return op == DYNQ_OP_LINEAR || op == DYNQ_OP_ATTENTION || dynq_op_has_table(op);
}

/* An empty model with one reference; NULL when memory is out. */
dynq_model *dynq_model_new(const dynq_allocator *allocator);

/* Adds a zeroed node with a copy of the name and returns it (valid until the next one is added), or
 * NULL when memory is out. */
dynq_node *dynq_model_add_node(dynq_model *model, const char *name, dynq_op op);
dynq_status dynq_model_add_output(dynq_model *model, const char *name, uint32_t node);
/* Adds an attachment with a copy of the name; its bytes are borrowed. */
dynq_status dynq_model_add_attachment(dynq_model *model, const char *name, const void *bytes,
                                      size_t size);
/* The same with a copy of the bytes that the model owns. */
dynq_status dynq_model_attach_copy(dynq_model *model, const char *name, const void *bytes,
                                   size_t size);
/* Zeroed memory for parameters that the model will free; NULL when memory is out. */
void *dynq_model_own(dynq_model *model, size_t count, size_t size);

/* A name of a node or output: 1 to DYNQ_MAX_NAME bytes of printable UTF-8. `what` ("node",
 * "output") and `index` are for the message. DYNQ_ERR_ARGUMENT or DYNQ_ERR_LIMIT. */
dynq_status dynq_model_check_name(const char *what, size_t index, const char *name,
                                  dynq_error *error);
/* The name of an attachment: 1 to DYNQ_MAX_NAME bytes of a to z, 0 to 9, '-' and '_'. */
dynq_status dynq_model_check_attachment_name(const char *name, dynq_error *error);
/* The rules for one node, after those it reads: operand count, shapes, columns, limits. Fills its
 * domain, k and n (linear, embedding and input nodes bring their own n). */
dynq_status dynq_model_check_node(dynq_model *model, size_t index, dynq_error *error);

/* The rules that every model obeys however it was made: names, operand counts and shapes, columns,
 * limits, all nodes used, at least one input and output, names of attachments. Fills domain, k and
 * n of nodes from their inputs (linear, embedding and input nodes bring their own n). Reads no
 * parameters and no bytes of attachments. */
dynq_status dynq_model_check(dynq_model *model, dynq_error *error);

#endif
