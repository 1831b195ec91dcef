/* Quantizing a model: FP32 in, INT8 and what lies beside it out. */
#ifndef DYNQ_QUANTIZE_H
#define DYNQ_QUANTIZE_H

#include <dynq/calibration.h>
#include <dynq/format.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/second_moments.h>
#include <dynq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What shares one weight scale. Models that compute with codes have scales by column, all the same
 * where the tensor shares one, or by group; the last two only exist where codes are simulated. */
typedef enum dynq_weight_granularity {
    DYNQ_WEIGHTS_PER_COLUMN = 1, /* the k weights of one output, also called a channel */
    DYNQ_WEIGHTS_PER_TENSOR,
    DYNQ_WEIGHTS_PER_GROUP_32, /* so many consecutive inputs of one output; the last group of a */
    DYNQ_WEIGHTS_PER_GROUP_64, /* column may have fewer. INT8, INT4 and INT2 */
    DYNQ_WEIGHTS_PER_GROUP_128,
    DYNQ_WEIGHTS_PER_ROW,    /* the n weights of one input */
    DYNQ_WEIGHTS_PER_ELEMENT /* each has its own: the limiting case */
} dynq_weight_granularity;

/* "column", "tensor", "group-32", "group-64", "group-128", "row", "element". Static storage; NULL
 * for a value outside the enumeration. */
DYNQ_API const char *dynq_weight_granularity_name(dynq_weight_granularity granularity);

typedef enum dynq_switch { DYNQ_SWITCH_ON = 1, DYNQ_SWITCH_OFF } dynq_switch;

/* The levels of a table that is not chosen for the weights, ascending: INT4 and INT2, uniform and
 * log. Returns how many, 16 or 4, or 0 for anything else. */
DYNQ_API size_t dynq_fixed_levels(dynq_format format, dynq_levels levels, int8_t table[16]);

/* One rule for the linear layers, embeddings and attention nodes whose name matches `pattern` (a
 * shell glob: * ? [...]). Fields that are 0 leave that property as it is. Rules apply in order, so
 * for each property the last match wins. All but the precision is about linear layers: it is
 * nothing to other nodes, and an error if the rule matches no linear layer. Static ranges are per
 * tensor whatever the scope. */
typedef struct dynq_quantize_rule {
    const char *pattern;
    dynq_precision precision;
    dynq_range_kind range;
    dynq_scope scope;
    dynq_scheme scheme;
    dynq_calibration_method method; /* of a static range, or of the limits of a dynamic one */
    dynq_weight_granularity weight_granularity;
    dynq_switch clip_weights, clip_ranges, correct_bias;
    dynq_format weights;    /* goes with the precision: FP32, FP16 and BF16 with FP32, INT16 with
                             * INT16, INT8, INT4 and INT2 with INT8. 0 beside a precision: FP32,
                             * INT16, INT8. Of embeddings and attention only the precision counts:
                             * INT16 is FP32 there */
    dynq_levels levels;     /* of INT4 and INT2 */
    dynq_table_scope table; /* of INT4 and INT2: what shares their levels */
    dynq_switch feedback;   /* error-feedback rounding */
} dynq_quantize_rule;

/* Reads "GLOB=VALUE[,VALUE]" into *rule: VALUE is fp32, fp16, bf16, int16, int8, int4, int2
 * (precision and weights), static, dynamic, segment, tensor, row, affine, symmetric, max, entropy,
 * percentile, mse, average, weights-column (or weights-channel), weights-tensor, weights-group-32,
 * -64 or -128, weights-row, weights-element, uniform, log, clusters, levels-affine, table-tensor,
 * table-panel, clip-weights, clip-ranges, correct-bias or feedback, these four also with no- before
 * them. `buffer`
 * receives the pattern, which rule->pattern then points to; it needs strlen(text) + 1 bytes.
 * DYNQ_ERR_ARGUMENT says what is wrong with the text. */
DYNQ_API dynq_status dynq_quantize_rule_parse(const char *text, char *buffer, size_t buffer_size,
                                              dynq_quantize_rule *rule, dynq_error *error);

/* What training has found for one linear layer, in the place of what quantizing would choose. */
typedef struct dynq_trained_layer {
    const char *node;
    const float *column_scale; /* [n], above 0: the code of a weight is the level that is nearest to
                                * weight / scale, ties to the even number of a level; NULL: chosen
                                * as ever. Scales by column only */
    const float *range; /* [2]: lo <= 0 <= hi of a static range; NULL: as options and rules say */
} dynq_trained_layer;

typedef struct dynq_quantize_options {
    size_t size;                         /* sizeof(dynq_quantize_options) */
    dynq_range_kind range;               /* 0: dynamic */
    dynq_scope scope;                    /* of dynamic ranges; 0: segment */
    dynq_scheme scheme;                  /* 0: affine; INT16 is always symmetric */
    const dynq_calibration *calibration; /* needed for static ranges; borrowed for the call */
    dynq_calibration_method method;      /* 0: max */
    double percentile;                   /* of that method; 0: 99.99 */
    dynq_weight_granularity weight_granularity; /* 0: per column */
    dynq_switch clip_weights; /* on: scales with the least squared error of the weights that share
                               * them, which clips the largest ones; off: scales by the largest
                               * weight; 0: on for INT4, INT2 and groups, otherwise off */
    dynq_switch clip_ranges;  /* on: a dynamic range is cut to what `clip_method` chooses from the
                               * calibration, so that one outlier does not cost all others; 0: off */
    dynq_calibration_method clip_method; /* 0: mse */
    dynq_switch correct_bias; /* on: takes the mean error that quantized weights make over the
                               * calibration's inputs away from the bias, by its share in the
                               * squared error: mean^2 / (mean^2 + variance); 0: off */
    const dynq_quantize_rule *rules;
    size_t rule_count;
    const dynq_allocator *allocator; /* of the new model */
    dynq_model *twin; /* an earlier result for the very same `model`, or NULL: codes of weights and
                       * tables that would be the same again are its own, which saves their memory
                       * and time; a reference is kept. The new model is as it would be without */
    dynq_format weights;    /* as a rule for all nodes but positions, which stay in FP32; 0: INT8 */
    dynq_levels levels;     /* of INT4 and INT2; 0: uniform */
    dynq_table_scope table; /* what shares them; 0: the tensor where levels are uniform or log, a
                             * panel where they are clusters */
    size_t clusters;        /* simulated clusters only: 2 to 256 levels, no more than a tensor (or
                             * panel) has weights; 0: what the format has */
    dynq_switch feedback;   /* on: error-feedback rounding (the GPTQ method): weights are rounded
                             * input by input, and those still to come make up for the error,
                             * weighed by `moments`, which it needs as well as `algebra`; 0: off */
    const dynq_second_moments *moments; /* borrowed for the call */
    const dynq_algebra *algebra;        /* Cholesky factors, e.g. dynq_openblas_algebra() */
    dynq_switch simulate; /* on: the new model computes in FP32 on weights that are rounded to what
                           * the format, granularity and levels allow ("weights only"), so that
                           * any combination can be measured; 0: off */
    const dynq_trained_layer *trained; /* borrowed for the call */
    size_t trained_count;
} dynq_quantize_options;

/* Makes an INT8 model, unless options say otherwise: weights of linear layers to s8 with one scale
 * per output column (max|w| / 127), packed; tables of embeddings to s8 with one scale per row
 * (max|row| / 127), those of positions only where a rule says int8; attention to INT8 products.
 * Nodes that rules leave in FP32 keep their weights. Attachments are copied. `options` may be NULL.
 * `model` is not changed and may be freed afterwards. Errors: DYNQ_ERR_ARGUMENT (already quantized;
 * static without calibration; a rule about ranges for nodes without), DYNQ_ERR_NOT_FOUND (a rule
 * that matches nothing; a value without calibration data), DYNQ_ERR_LIMIT (K over DYNQ_MAX_INT8_K;
 * a group larger than K; more clusters than weights that share them; clusters not 2 to 256),
 * DYNQ_ERR_UNSUPPORTED (what can only be simulated), DYNQ_ERR_NOT_FINITE, DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_quantize(const dynq_model *model, const dynq_quantize_options *options,
                                   dynq_model **quantized, dynq_error *error);

/* What options and rules together want of node `index` of a model, without quantizing it: the
 * fields of *resolved that concern the node are not 0, and its pattern is the name of the node. The
 * method is the one that chooses a static range, or the limits where clip_ranges is on. Errors as
 * above. */
DYNQ_API dynq_status dynq_quantize_resolve(const dynq_model *model,
                                           const dynq_quantize_options *options, size_t index,
                                           dynq_quantize_rule *resolved, dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
