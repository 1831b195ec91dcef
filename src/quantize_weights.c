/* Weights of linear layers: codes on a grid that is chosen for them, or what these stand for. */
#include "src/quantize.h"

#include "src/calibrate.h"
#include "src/error.h"
#include "src/pack.h"

#include <math.h>
#include <string.h>

/* Inputs that the calibration has hardly seen still count by this share of the mean. */
#define LEAST_IMPORTANCE 0x1p-10

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a quantized model");
}

/* Sums of squares of the inputs that second moments or a calibration have, `*stride` apart; NULL
 * where neither is given, or they do not know the layer. */
static const double *find_squares(const dynq_weights_job *job, size_t *stride)
{
    dynq_column_view view = {.size = sizeof view};
    const dynq_calibration *calibration = job->options->calibration;
    const double *matrix = dynq_quantize_matrix(job);
    if (matrix != NULL) {
        *stride = job->node->k + 1;
        return matrix;
    }
    *stride = 1;
    return calibration != NULL &&
                   dynq_calibration_columns(calibration, job->input, &view) == DYNQ_OK &&
                   view.columns == job->node->k
               ? view.sum_of_squares
               : NULL;
}

/* Errors of weights count by the mean square of their input, relative to all inputs, where that is
 * known. *importance stays NULL otherwise. */
static dynq_status find_importance(const dynq_weights_job *job, float **importance)
{
    size_t stride = 0;
    const double *squares = find_squares(job, &stride);
    const size_t k = job->node->k;
    if (squares == NULL || !dynq_weights_have_importance(job->wish, job->options)) {
        return DYNQ_OK;
    }
    double mean = 0.0;
    for (size_t i = 0; i < k; i++) {
        mean += squares[i * stride] / (double)k;
    }
    if (!(mean > 0.0) || !isfinite(mean)) {
        return DYNQ_OK;
    }
    *importance = dynq_alloc(&job->model->allocator, k, sizeof **importance);
    if (*importance == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < k; i++) {
        (*importance)[i] = (float)fmax(squares[i * stride] / mean, LEAST_IMPORTANCE);
    }
    return DYNQ_OK;
}

static dynq_status choose_grid(const dynq_weights_job *job, dynq_weight_choice *choice)
{
    const dynq_trained_layer *trained = dynq_quantize_trained(job->options, job->node->name);
    float *importance = NULL;
    dynq_status status = find_importance(job, &importance);
    if (status == DYNQ_OK) {
        const dynq_weight_task task = {.w = job->weight,
                                       .k = job->node->k,
                                       .n = job->node->n,
                                       .wish = job->wish,
                                       .simulate = job->options->simulate == DYNQ_SWITCH_ON,
                                       .clusters = job->options->clusters,
                                       .importance = importance,
                                       .scale = trained == NULL ? NULL : trained->column_scale,
                                       .allocator = &job->model->allocator};
        status = dynq_weight_choose(&task, choice);
    }
    dynq_release(&job->model->allocator, importance);
    return status;
}

/* The new model's own floats: what the numbers stand for. */
static dynq_status simulate_codes(const dynq_weights_job *job, const dynq_weight_choice *choice,
                                  const int16_t *numbers, dynq_error *error)
{
    float *w = dynq_model_own(job->model, job->node->n * job->node->k, sizeof *w);
    if (w == NULL) {
        return out_of_memory(error);
    }
    dynq_grid_restore(&choice->grid, numbers, w);
    job->node->weight = w;
    return DYNQ_OK;
}

/* Tables of s8 as the file has them: also where all panels share levels that are the same. */
static dynq_status fill_tables(const dynq_weights_job *job, const dynq_weight_choice *choice,
                               int8_t **tables, dynq_coded_weights *coded)
{
    const dynq_weight_grid *grid = &choice->grid;
    const size_t count = (size_t)1 << coded->codes.bits;
    const bool panels = job->wish->table == DYNQ_TABLE_PER_PANEL;
    coded->tables = panels ? dynq_packed_panels(coded->n) : 1;
    coded->codes.levels_step = panels ? count : 0;
    *tables = dynq_alloc(&job->model->allocator, coded->tables * count, 1);
    if (*tables == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < coded->tables * count; i++) {
        const size_t from = choice->tables == 1 ? i % count : i;
        (*tables)[i] =
            (int8_t)(grid->levels == NULL ? grid->low + (int)from : (int)grid->levels[from]);
    }
    coded->codes.levels = *tables;
    return DYNQ_OK;
}

/* Codes of 8 bits are integers, which numbers are already; fewer bits count levels from 0. */
static dynq_status pack_bytes(const dynq_weights_job *job, const dynq_weight_choice *choice,
                              const int16_t *numbers, dynq_error *error)
{
    const size_t count = job->node->n * job->node->k;
    const bool few = job->wish->weights != DYNQ_FORMAT_INT8;
    const dynq_allocator *allocator = &job->model->allocator;
    dynq_coded_weights coded = {.k = job->node->k,
                                .n = job->node->n,
                                .codes = {.bits = dynq_format_bits(job->wish->weights),
                                          .group = choice->groups > 0 ? choice->grid.group : 0},
                                .scale = choice->scale,
                                .factors = choice->factors};
    int8_t *tables = NULL;
    uint8_t *bytes = dynq_alloc(allocator, count, 1);
    float *scale = dynq_alloc(allocator, coded.n, sizeof *scale);
    dynq_status status = bytes == NULL || scale == NULL ? DYNQ_ERR_MEMORY : DYNQ_OK;
    if (status == DYNQ_OK && few) {
        status = fill_tables(job, choice, &tables, &coded);
    }
    if (status == DYNQ_OK) {
        const int first = few && choice->grid.levels == NULL ? choice->grid.low : 0;
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)(numbers[i] - first);
        }
        coded.numbers = bytes;
        coded.weights = (const int8_t *)bytes;
        for (size_t c = 0; c < coded.n && choice->groups == 0; c++) {
            scale[c] = choice->grid.step[dynq_grid_block(&choice->grid, c, 0)];
        }
        coded.scale = choice->groups > 0 ? choice->scale : scale;
        status = dynq_model_take_coded(job->model, job->node, &coded, error);
        job->node->weight_levels = few ? job->wish->levels : 0;
    } else {
        status = out_of_memory(error);
    }
    dynq_release(allocator, tables);
    dynq_release(allocator, scale);
    dynq_release(allocator, bytes);
    return status;
}

static dynq_status pack_words(const dynq_weights_job *job, const dynq_weight_choice *choice,
                              const int16_t *numbers, dynq_error *error)
{
    float *scale = dynq_alloc(&job->model->allocator, job->node->n, sizeof *scale);
    if (scale == NULL) {
        return out_of_memory(error);
    }
    for (size_t c = 0; c < job->node->n; c++) {
        scale[c] = choice->grid.step[dynq_grid_block(&choice->grid, c, 0)];
    }
    const dynq_status status = dynq_model_take_s16(job->model, job->node, numbers, scale, error);
    dynq_release(&job->model->allocator, scale);
    return status;
}

static dynq_status take_numbers(const dynq_weights_job *job, const dynq_weight_choice *choice,
                                const int16_t *numbers, dynq_error *error)
{
    if (job->options->simulate == DYNQ_SWITCH_ON) {
        return simulate_codes(job, choice, numbers, error);
    }
    return job->wish->weights == DYNQ_FORMAT_INT16 ? pack_words(job, choice, numbers, error)
                                                   : pack_bytes(job, choice, numbers, error);
}

static dynq_status quantize_codes(const dynq_weights_job *job, dynq_error *error)
{
    const dynq_allocator *allocator = &job->model->allocator;
    dynq_weight_choice choice = {.allocator = allocator};
    int16_t *numbers = dynq_alloc(allocator, job->node->n * job->node->k, sizeof *numbers);
    dynq_status status = DYNQ_OK;
    if (numbers == NULL || choose_grid(job, &choice) != DYNQ_OK) {
        status = out_of_memory(error);
    } else {
        if (job->wish->feedback == DYNQ_SWITCH_ON) {
            status = dynq_quantize_feedback(job, &choice, numbers, error);
        } else {
            dynq_grid_round(&choice.grid, job->weight, numbers);
        }
        if (status == DYNQ_OK) {
            status = take_numbers(job, &choice, numbers, error);
        }
    }
    dynq_weight_choice_release(&choice);
    dynq_release(allocator, numbers);
    return status;
}

/* The new model's own floats: weights rounded to a half and back. */
static dynq_status simulate_halves(const dynq_weights_job *job, dynq_error *error)
{
    const size_t count = job->node->n * job->node->k;
    const bool fp16 = job->wish->weights == DYNQ_FORMAT_FP16;
    float *w = dynq_model_own(job->model, count, sizeof *w);
    uint16_t *halves = dynq_alloc(&job->model->allocator, count, sizeof *halves);
    if (w == NULL || halves == NULL) {
        dynq_release(&job->model->allocator, halves);
        return out_of_memory(error);
    }
    (fp16 ? dynq_fp16_from_fp32 : dynq_bf16_from_fp32)(job->weight, count, halves);
    (fp16 ? dynq_fp32_from_fp16 : dynq_fp32_from_bf16)(halves, count, w);
    dynq_release(&job->model->allocator, halves);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(w[i])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                             "node '%s': element %zu of its weight, %g, is beyond %s",
                             job->node->name, i, (double)job->weight[i],
                             dynq_format_name(job->wish->weights));
        }
    }
    job->node->weight = w;
    return DYNQ_OK;
}

dynq_status dynq_quantize_weights(const dynq_weights_job *job, dynq_error *error)
{
    const dynq_format weights = job->wish->weights;
    if (weights != DYNQ_FORMAT_FP16 && weights != DYNQ_FORMAT_BF16) {
        return quantize_codes(job, error);
    }
    return job->options->simulate == DYNQ_SWITCH_ON
               ? simulate_halves(job, error)
               : dynq_model_take_halves(job->model, job->node, weights, job->weight, error);
}
