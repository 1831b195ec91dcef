/* The inside of quantizing, shared by quantize.c (nodes), quantize_rules.c (what is wanted of
 * each), quantize_weights.c (weights) and quantize_bias.c (biases of linear layers). */
#ifndef DYNQ_SRC_QUANTIZE_H
#define DYNQ_SRC_QUANTIZE_H

#include "src/model.h"

#include <dynq/quantize.h>

/* Checks what options say, rules included, and puts defaults in the place of zeros. */
dynq_status dynq_quantize_check_options(const dynq_model *model, dynq_quantize_options *o,
                                        dynq_error *error);
/* What checked options and rules together want of a node that has a precision: nothing is 0. The
 * method is the one of the range, or of the limits of a dynamic one. */
dynq_quantize_rule dynq_quantize_wish(const dynq_quantize_options *o, const dynq_node *node);

/* Gives linear node `node` of the new `model` the finite weights [n][k] in INT8. */
dynq_status dynq_quantize_weights(dynq_model *model, dynq_node *node, const float *weight,
                                  const dynq_quantize_rule *wish, dynq_error *error);
/* Corrects the bias of the node, which has its weights and a copy of its bias (or none) already:
 * takes away the systematic part of what codes in the place of `weight` change of each output, over
 * the inputs that the calibration has of value `input`. */
dynq_status dynq_quantize_correct_bias(dynq_model *model, dynq_node *node, const float *weight,
                                       const dynq_calibration *calibration, const char *input,
                                       dynq_error *error);

#endif
