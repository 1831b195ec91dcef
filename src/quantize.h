/* The inside of quantizing, shared by quantize.c (nodes), quantize_rules.c and quantize_options.c
 * (what is wanted of each), quantize_weights.c and quantize_feedback.c (weights) and
 * quantize_bias.c (biases of linear layers). */
#ifndef DYNQ_SRC_QUANTIZE_H
#define DYNQ_SRC_QUANTIZE_H

#include "src/model.h"
#include "src/weight_choice.h"

#include <dynq/quantize.h>

/* The precision that goes with weights of a format; 0 for a format that weights cannot have. */
dynq_precision dynq_precision_of(dynq_format weights);
/* Whether codes of these weights are numbers of levels, which can then be chosen. */
bool dynq_weights_have_levels(const dynq_quantize_rule *wish, bool simulate);
/* Whether a calibration has a say in how the weights are rounded: it says which inputs count. */
bool dynq_weights_have_importance(const dynq_quantize_rule *wish, const dynq_quantize_options *o);
/* Inputs that share a scale; 0 where these are no groups. */
size_t dynq_weight_group(dynq_weight_granularity granularity);

/* Each field of the rule is one of its enumeration or 0, and its weights go with its precision. */
bool dynq_quantize_rule_known(const dynq_quantize_rule *rule);
/* Whether the rule says what only linear layers have. */
bool dynq_quantize_rule_about_linear(const dynq_quantize_rule *rule);
/* What `rule` says takes the place of what `wish` says. */
void dynq_quantize_rule_add(dynq_quantize_rule *wish, const dynq_quantize_rule *rule);

/* Checks what options say, rules included, and puts defaults in the place of zeros. */
dynq_status dynq_quantize_check_options(const dynq_model *model, dynq_quantize_options *o,
                                        dynq_error *error);
/* What checked options and rules together want of a node that has a precision: nothing is 0. The
 * method is the one of the range, or of the limits of a dynamic one. */
dynq_quantize_rule dynq_quantize_wish(const dynq_quantize_options *o, const dynq_node *node);
/* Whether the node can have that. */
dynq_status dynq_quantize_check_wish(const dynq_quantize_options *o, const dynq_node *node,
                                     const dynq_quantize_rule *wish, dynq_error *error);
/* What training found for the node of that name; NULL: nothing. */
const dynq_trained_layer *dynq_quantize_trained(const dynq_quantize_options *o, const char *name);

/* A linear layer whose weights are to be made. */
typedef struct dynq_weights_job {
    dynq_model *model;   /* the new one */
    dynq_node *node;     /* of the new one: shape, precision and format are set */
    const float *weight; /* [n][k], finite */
    const char *input;   /* the name of the value that the layer reads */
    const dynq_quantize_rule *wish;
    const dynq_quantize_options *options;
} dynq_weights_job;

/* Gives the node its weights: in codes, or simulated ones. */
dynq_status dynq_quantize_weights(const dynq_weights_job *job, dynq_error *error);
/* Rounds them with error feedback to numbers [n][k] of the grid, whose steps are made to fit. */
dynq_status dynq_quantize_feedback(const dynq_weights_job *job, dynq_weight_choice *choice,
                                   int16_t *numbers, dynq_error *error);
/* The second moments [k][k] that the job is to heed; NULL: none. */
const double *dynq_quantize_matrix(const dynq_weights_job *job);
/* Corrects the bias of the node, which has its weights and a copy of its bias (or none) already:
 * takes away the systematic part of what codes in the place of `weight` change of each output, over
 * the inputs that the calibration has of value `input`. */
dynq_status dynq_quantize_correct_bias(const dynq_weights_job *job, dynq_error *error);

#endif
