/* Smoothing: outliers of activations moved into weights, before quantizing. */
#ifndef DYNQ_SMOOTH_H
#define DYNQ_SMOOTH_H

#include <dynq/calibration.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the columns of a value are divided. */
typedef enum dynq_fold {
    DYNQ_FOLD_NONE = 1, /* not at all: nothing to gain, or no way */
    DYNQ_FOLD_PRODUCER, /* by the parameters of the nodes that make it; costs nothing in a run */
    DYNQ_FOLD_NODE      /* by a node of its own, "VALUE.smooth", for the linear layers alone: the
                         * value has other readers as well (as the residual has in a BERT), or its
                         * producer cannot take factors (GELU); costs a pass over the value */
} dynq_fold;

/* What was done to a value that linear layers read. */
typedef struct dynq_smooth_note {
    const char *value; /* name of the node, valid during the call */
    dynq_fold fold;
    double gain_db; /* how much less error the products of its layers are expected to have; of
                     * DYNQ_FOLD_NONE, what was not worth it, or 0 */
} dynq_smooth_note;

typedef struct dynq_smooth_options {
    size_t size;      /* sizeof(dynq_smooth_options) */
    double alpha;     /* s_j = max|x_j|^alpha / max|w_j|^(1 - alpha), above 0 and below 1; 0: the
                       * factors with the least expected error, searched for each value */
    dynq_scope scope; /* that ranges will have when the model is quantized; 0: segment. Rows have
                       * smaller ranges than what all rows have together, and so gain less */
    int only_free;    /* nonzero: no DYNQ_FOLD_NODE */
    void (*note)(void *context, const dynq_smooth_note *note); /* told of each value; may be NULL */
    void *context;
    const dynq_allocator *allocator; /* of the new model */
} dynq_smooth_options;

/* Makes an FP32 model with the same answers, but for rounding, whose linear layers read values
 * without outliers: column j of what they read is divided by s_j and their weights are multiplied
 * by it (SmoothQuant: Xiao et al., 2022). The division is in the parameters of the layer norm,
 * linear layer (directly or through ReLU or attention) or scale node that makes the value where
 * nobody else reads it (see dynq_model_column_scale()), else in a node of its own.
 *
 * With alpha 0, s_j is what makes the quantized products least wrong: with x of mean square q_j,
 * the error of rounding x is proportional to range^2 * sum w_j^2 s_j^2, that of rounding weights to
 * sum max|w s|^2 * sum q_j / s_j^2; s_j = (q_j / sum w_j^2)^(1/4) is best where it does not
 * determine the range or a largest weight, and limits for these two are searched. Values are left
 * alone where that gains less than 1 dB. Columns that are always 0 have s_j = 1.
 *
 * Ranges of the new model are not those of the old one: calibrate again. `calibration` is of
 * `model`. `options` may be NULL. `model` is not changed and may be freed afterwards. Errors:
 * DYNQ_ERR_ARGUMENT (quantized already; alpha; a node has the name "VALUE.smooth"),
 * DYNQ_ERR_NOT_FOUND (a value without calibration data), DYNQ_ERR_SHAPE (a calibration of another
 * model), DYNQ_ERR_NOT_FINITE (a weight, or its product), DYNQ_ERR_LIMIT (the name of a new node is
 * too long), DYNQ_ERR_MEMORY. */
DYNQ_API dynq_status dynq_smooth(const dynq_model *model, const dynq_calibration *calibration,
                                 const dynq_smooth_options *options, dynq_model **smoothed,
                                 dynq_error *error);

#ifdef __cplusplus
}
#endif

#endif
