/* The inside of quantizing, shared by quantize.c (nodes), quantize_rules.c (what is wanted of each)
 * and quantize_weights.c (its weights). */
#ifndef DYNQ_SRC_QUANTIZE_H
#define DYNQ_SRC_QUANTIZE_H

#include "src/model.h"

#include <dynq/quantize.h>

/* What options and rules together want of one node. Nothing is 0. */
typedef struct dynq_node_wish {
    dynq_precision precision;
    dynq_range_kind range;
    dynq_scope scope;
    dynq_scheme scheme;
    dynq_calibration_method method;      /* of a static range */
    dynq_calibration_method clip_method; /* of the limits of a dynamic range */
    dynq_weight_granularity weight_granularity;
    bool clip_weights, clip_ranges, correct_bias;
} dynq_node_wish;

/* Checks what options say, rules included, and puts defaults in the place of zeros. */
dynq_status dynq_quantize_check_options(const dynq_model *model, dynq_quantize_options *o,
                                        dynq_error *error);
/* What checked options want of a node that has a precision. */
dynq_node_wish dynq_quantize_wish(const dynq_quantize_options *o, const dynq_node *node);

/* Gives linear node `node` of the new `model` the finite weights [n][k] in INT8. */
dynq_status dynq_quantize_weights(dynq_model *model, dynq_node *node, const float *weight,
                                  const dynq_node_wish *wish, dynq_error *error);

#endif
