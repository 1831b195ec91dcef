/* What a variant is made with, and the name that says so. */
#ifndef DYNQ_TOOLS_COMPARE_RECIPE_H
#define DYNQ_TOOLS_COMPARE_RECIPE_H

#include <dynq/calibration.h>
#include <dynq/quantize.h>
#include <stddef.h>

/* Room for every name of a variant and for every list of switches. */
#define COMPARE_NAME_SIZE     160
#define COMPARE_SWITCHES_SIZE 384

/* Of names without a number. */
#define COMPARE_USUAL_PERCENTILE 99.99

typedef struct compare_recipe {
    dynq_format format;             /* of weights; 0: the FP32 reference, and nothing else is set */
    int simulate;                   /* computes in FP32 on rounded weights */
    dynq_range_kind range;          /* 0: activations are FP32 */
    dynq_scope scope;               /* of dynamic ranges */
    dynq_calibration_method method; /* of static ranges */
    double percentile;              /* of that method; 0: the usual one */
    dynq_scheme scheme;             /* of ranges */
    dynq_weight_granularity weights;
    dynq_levels levels;
    dynq_table_scope table; /* 0: the usual one */
    size_t clusters;        /* simulated; 0: as many as the format has */
    int smooth, clip_weights, clip_ranges, correct_bias, feedback;
} compare_recipe;

/* Reads a name such as "int8-static-percentile-99.9-symmetric-clip-weights": "fp32", "fp16",
 * "bf16", or a format (int16, int8, int4, int2) with "-static-METHOD", "-dynamic-SCOPE" or
 * "-simulated", then suffixes in any order. 0 for anything else. */
int compare_recipe_parse(const char *name, compare_recipe *recipe);
/* The name with its suffixes in the usual order. */
void compare_recipe_name(const compare_recipe *recipe, char name[COMPARE_NAME_SIZE]);
/* The options of `dynq quantize` that make it, without those that say what calibrates. */
void compare_recipe_switches(const compare_recipe *recipe, char text[COMPARE_SWITCHES_SIZE]);
/* Whether data has to be seen before it is made. */
int compare_recipe_calibrates(const compare_recipe *recipe);
int compare_recipe_equal(const compare_recipe *a, const compare_recipe *b);
/* Whether both quantize the weights of one model in the same way. */
int compare_recipe_same_weights(const compare_recipe *a, const compare_recipe *b);

/* The variants that are compared unless others are named, in order; NULL past the last. */
const char *compare_usual_variant(size_t index);
/* Some of every other scheme. */
const char *compare_further_variant(size_t index);

/* Appends to recipes[*count] what a list such as "usual,int4-*,int8-static-mse-smooth" names:
 * patterns choose from the usual variants or, where they fit none, from the further ones, in
 * their order; "usual" and "all" are lists of their own; nothing comes twice; fp32 is left out.
 * Where `percentile` is not 0, it is that of names without one. 0 on an item that names nothing or
 * that has no room left: *bad points to it and *bad_length is its length. */
int compare_recipe_list(const char *list, double percentile, compare_recipe *recipes, size_t room,
                        size_t *count, const char **bad, size_t *bad_length);

#endif
