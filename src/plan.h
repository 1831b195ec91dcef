/* Plans: which steps a session runs, in which order, and where each value lives. */
#ifndef DYNQ_SRC_PLAN_H
#define DYNQ_SRC_PLAN_H

#include "kernels/kernel.h"
#include "src/model.h"

#include <stdbool.h>

typedef enum dynq_step_kind {
    DYNQ_STEP_RANGE,    /* the range of an input, which no epilogue has taken */
    DYNQ_STEP_QUANTIZE, /* a value to its u8 or s16 copy */
    DYNQ_STEP_LINEAR_S8,
    DYNQ_STEP_LINEAR_S16,
    DYNQ_STEP_LINEAR_F32,
    DYNQ_STEP_ACTIVATE, /* also copies */
    DYNQ_STEP_ADD,
    DYNQ_STEP_MULTIPLY,
    DYNQ_STEP_SOFTMAX,
    DYNQ_STEP_LAYER_NORM,
    DYNQ_STEP_NORMALIZE,
    DYNQ_STEP_EMBED,
    DYNQ_STEP_ATTENTION,
    DYNQ_STEP_POOL
} dynq_step_kind;

#define DYNQ_NONE UINT32_MAX

/* Scales (of rows by columns) and biases up to here are moderate: with sums below 2^31, results are
 * below 2^92. */
#define DYNQ_MODERATE 0x1p60f

typedef struct dynq_step {
    dynq_step_kind kind;
    uint32_t node; /* the node it works for: the linear layer or embedding of a fused group */
    uint32_t inputs[DYNQ_MAX_INPUTS]; /* values; DYNQ_NONE where there is none */
    uint32_t output;                  /* value; DYNQ_NONE for range and quantize */
    uint32_t copy;      /* quantized copy written (quantize) or read (linear s8 and s16) */
    uint32_t residual;  /* value added by the epilogue or the embedding, or DYNQ_NONE */
    uint32_t positions; /* embedding: the node of an FP32 position embedding that is added as well,
                         * or DYNQ_NONE */
    dynq_activation activation;
    bool int8;    /* attention whose products are in INT8 */
    bool bounded; /* INT8 by column or INT16, without residual and with moderate biases: moderate
                   * scales make all of its results finite. (Factors of groups are not known.) */
} dynq_step;

/* How the stages of a plan run: step by step, where no more memory is used than steps need, or by
 * blocks where they can, where memory is there for all of a stage. */
typedef enum dynq_way { DYNQ_STEPWISE, DYNQ_BY_BLOCKS, DYNQ_WAYS } dynq_way;

/* A value: the result of the node with the same index; a few more at the end are copies of a value
 * for a second output name. */
typedef struct dynq_plan_value {
    uint32_t node;
    size_t columns;
    dynq_domain domain; /* what its rows are */
    bool ids;           /* int32 instead of floats */
    uint32_t slot;      /* memory of the caller, or DYNQ_NONE: the arena */
    bool stored;        /* false: fused away */
    bool range_wanted;  /* some copy is quantized with the range found while running */
    bool range_by_row;  /* some copy needs a range for each row */
    bool range_by_segment;
    bool checked_by_quantize; /* input whose only readers are static copies: no range step */
    bool tapped;
    bool waits;               /* a range over several rows, or a tap, waits for all of them */
    bool local;               /* nobody outside of one stage needs it */
    size_t offset[DYNQ_WAYS]; /* in the arena */
    size_t block_offset;      /* of a local value: in the memory of a block */
} dynq_plan_value;

/* A quantized copy of a value, shared by all layers that want it the same way. */
typedef struct dynq_plan_copy {
    uint32_t value;
    dynq_range_rule rule;
    bool int16;                 /* s16 codes instead of u8 */
    size_t padded;              /* bytes of a row: K rounded up to DYNQ_K_STEP, or K; of s16 codes,
                                 * K rounded up to even */
    float largest_weight_scale; /* over the columns of all layers that read it ... */
    uint32_t largest_node;      /* ... and the layer that has it */
    bool local;                 /* as of values */
    size_t offset[DYNQ_WAYS];   /* codes in the arena, */
    size_t block_offset;        /* and in the memory of a block */
} dynq_plan_copy;

/* Consecutive steps. `by_blocks`: they can also run one after the other on a block of rows, then on
 * the next one, as none but the last needs anything of other rows. */
typedef struct dynq_stage {
    size_t first, count;
    bool by_blocks;
} dynq_stage;

typedef struct dynq_slot {
    const char *name; /* the model's */
    uint32_t value;
    bool output;
} dynq_slot;

typedef struct dynq_plan {
    dynq_allocator allocator;
    dynq_step *steps;
    size_t step_count, step_capacity;
    dynq_plan_value *values;
    size_t value_count;
    dynq_plan_copy *copies;
    size_t copy_count, copy_capacity;
    dynq_slot *slots; /* inputs in node order, then outputs */
    size_t slot_count;
    dynq_stage *stages;
    size_t stage_count;
    size_t arena_bytes;
    size_t block_bytes;     /* of what is local to a stage, for DYNQ_ROW_BLOCK rows */
    size_t attention_bytes; /* of what one thread needs beside it for attention */
} dynq_plan;

typedef struct dynq_plan_request {
    size_t max_rows, max_segments;
    size_t stepwise_rows; /* with more rows, stages run by blocks where they can */
    bool fp32;            /* every linear layer and attention in FP32 */
    bool dense;           /* a foreign engine takes INT8 layers by column: rows of codes without
                           * padding */
    dynq_scope scope;     /* nonzero: overrides dynamic scopes */
    const bool *tapped;   /* by node */
} dynq_plan_request;

dynq_status dynq_plan_create(const dynq_model *model, const dynq_plan_request *request,
                             const dynq_allocator *allocator, dynq_plan **plan, dynq_error *error);
void dynq_plan_free(dynq_plan *plan);

const char *dynq_step_name(dynq_step_kind kind);

/* A step of a linear layer. */
static inline bool dynq_step_is_linear(dynq_step_kind kind)
{
    return kind == DYNQ_STEP_LINEAR_S8 || kind == DYNQ_STEP_LINEAR_S16 ||
           kind == DYNQ_STEP_LINEAR_F32;
}

#endif
