/* Error-feedback rounding of a linear layer: the second moments of what it reads, and steps as the
 * file has them. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/weight_feedback.h"

static dynq_status find_matrix(const dynq_weights_job *job, const double **matrix,
                               dynq_error *error)
{
    const dynq_quantize_options *o = job->options;
    if (o->moments == NULL || o->algebra == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "node '%s': error-feedback rounding needs second moments of its inputs "
                         "and an algebra; measure the model on example data first",
                         job->node->name);
    }
    size_t columns = 0;
    uint64_t rows = 0;
    const dynq_status status =
        dynq_second_moments_get(o->moments, job->input, &columns, &rows, matrix);
    if (status == DYNQ_ERR_LIMIT) {
        return dynq_fail(error, status,
                         "node '%s' reads %zu columns; error-feedback rounding takes up to %d: "
                         "leave it out with a rule '%s=no-feedback'",
                         job->node->name, columns, DYNQ_MAX_MOMENTS_COLUMNS, job->node->name);
    }
    if (status != DYNQ_OK || rows == 0) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND,
                         "the second moments saw no row of value '%s'; measure this model on data",
                         job->input);
    }
    if (columns != job->node->k) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "node '%s' reads %zu columns, but the second moments have %zu of '%s': "
                         "they are of another model",
                         job->node->name, job->node->k, columns, job->input);
    }
    return DYNQ_OK;
}

dynq_status dynq_quantize_feedback(const dynq_weights_job *job, dynq_weight_choice *choice,
                                   int16_t *numbers, dynq_error *error)
{
    const double *matrix = NULL;
    dynq_status status = find_matrix(job, &matrix, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_trained_layer *trained = dynq_quantize_trained(job->options, job->node->name);
    const dynq_feedback_task task = {.grid = &choice->grid,
                                     .w = job->weight,
                                     .matrix = matrix,
                                     .scale = choice->groups > 0 ? choice->scale : NULL,
                                     .keep_steps = trained != NULL && trained->column_scale != NULL,
                                     .algebra = job->options->algebra,
                                     .allocator = &job->model->allocator};
    dynq_error found = {0};
    status = dynq_feedback_round(&task, numbers, &found);
    if (status != DYNQ_OK) {
        return dynq_fail(error, status, "node '%s': %.400s", job->node->name, found.message);
    }
    dynq_weight_keep_factors(choice);
    return DYNQ_OK;
}

const double *dynq_quantize_matrix(const dynq_weights_job *job)
{
    const double *matrix = NULL;
    const bool found =
        job->wish->feedback == DYNQ_SWITCH_ON && find_matrix(job, &matrix, NULL) == DYNQ_OK;
    return found ? matrix : NULL;
}
