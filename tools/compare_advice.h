/* What a comparison means: which layers are guilty, and what to do. Functions of results alone. */
#ifndef DYNQ_TOOLS_COMPARE_ADVICE_H
#define DYNQ_TOOLS_COMPARE_ADVICE_H

#include "tools/compare_recipe.h"
#include "tools/evaluate.h"

#include <dynq/calibration.h>
#include <stddef.h>

/* A linear layer of the reference. */
typedef struct compare_layer {
    const char *name, *value; /* its own, and that of the node it reads */
    const char *producer;     /* the linear layer whose result that is, seen through functions of
                               * single elements; NULL: none */
    /* Of the largest |w| of each output and of each input, the largest over the smallest; those
     * that are all zero are left out. */
    double output_spread, input_spread;
    dynq_value_summary seen; /* of what it reads */
} compare_layer;

typedef enum compare_cause {
    COMPARE_CAUSE_ERROR = 1, /* nothing else than its own error */
    COMPARE_CAUSE_OUTPUTS, /* its outputs have weights of very different sizes: who reads them loses
                            * the small ones */
    COMPARE_CAUSE_INPUTS   /* its inputs have: the weights of the small ones are lost */
} compare_cause;

typedef struct compare_guilt {
    const evaluate_node *node;
    double share; /* of the noise to signal that all nodes make alone, 0 to 1 */
    compare_cause cause;
    double spread;      /* of that cause */
    const char *reader; /* COMPARE_CAUSE_OUTPUTS: the layer with the largest own error that reads
                         * them; NULL: none */
} compare_guilt;

/* Fills guilty[node_count] with the nodes of a variant whose own error was taken, the guiltiest
 * first; how many there are. Layers whose weights are spread far more than those of the others come
 * before all that have nothing but an error. */
size_t compare_find_guilty(const evaluate_variant *variant, const compare_layer *layers,
                           size_t layer_count, compare_guilt *guilty);
/* "fc1: the weights of its outputs spread over 1e+04 times, which fc2 reads (own error 12.1 dB)".
 */
void compare_guilt_text(const compare_guilt *guilt, char *text, size_t size);

/* The node of a variant with that name, or NULL. */
const evaluate_node *compare_node(const evaluate_variant *variant, const char *name);
/* The first node whose error along the chain is below `limit_db`; NULL: none. */
const evaluate_node *compare_first_below(const evaluate_variant *variant, double limit_db);

/* A variant and what is said about it. */
typedef struct compare_subject {
    const evaluate_variant *variant;
    compare_recipe recipe;
    int known;        /* the recipe is what it was made with */
    double agreement; /* 0 to 1; NaN: says nothing about this model */
} compare_subject;

typedef struct compare_advice {
    double gain_db;                       /* NaN: a verdict, not a gain */
    const char *node;                     /* NULL: end to end */
    const char *better, *worse;           /* variants; may be NULL */
    char switches[COMPARE_SWITCHES_SIZE]; /* of `dynq quantize`; may be empty */
    char text[1000];
} compare_advice;

#define COMPARE_MOST_ADVICE 8

/* Verdicts first, then what gains most; subjects[0] is the reference. How many of
 * advice[COMPARE_MOST_ADVICE] were filled. */
size_t compare_advise(const compare_subject *subjects, size_t count, const compare_layer *layers,
                      size_t layer_count, compare_advice *advice);

#endif
