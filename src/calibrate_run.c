#include "src/calibrate.h"

#include "src/error.h"
#include "src/model.h"

#include <dynq/calibrator.h>

/* The number of input nodes, ids included; *input becomes the first. */
static size_t find_inputs(const dynq_model *model, size_t *input)
{
    size_t count = 0;
    for (size_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_INPUT || model->nodes[i].op == DYNQ_OP_IDS) {
            *input = count == 0 ? i : *input;
            count++;
        }
    }
    return count;
}

static dynq_status check_call(const dynq_calibration *calibration, const dynq_model *model,
                              const float *x, size_t rows, size_t *row_stride, size_t *input,
                              dynq_error *error)
{
    if (calibration == NULL || model == NULL || (x == NULL && rows > 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibration: model or data is NULL");
    }
    const size_t inputs = find_inputs(model, input);
    if (inputs != 1) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: the model has %zu inputs, not one; run it with "
                         "dynq_calibrator_run()",
                         inputs);
    }
    if (model->nodes[*input].op == DYNQ_OP_IDS) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: input '%s' of the model takes ids, not floats; run it with "
                         "dynq_calibrator_run()",
                         model->nodes[*input].name);
    }
    const size_t columns = model->nodes[*input].n;
    *row_stride = *row_stride == 0 ? columns : *row_stride;
    size_t bytes = 0;
    if (*row_stride < columns || !dynq_size_multiply(rows, *row_stride, &bytes) ||
        !dynq_size_multiply(bytes, sizeof *x, &bytes)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: %zu rows of %zu columns cannot be %zu floats apart", rows,
                         columns, *row_stride);
    }
    return DYNQ_OK;
}

dynq_status dynq_calibration_run(dynq_calibration *calibration, dynq_model *model, const float *x,
                                 size_t rows, size_t row_stride, uint32_t threads,
                                 dynq_error *error)
{
    size_t input = 0;
    dynq_status status = check_call(calibration, model, x, rows, &row_stride, &input, error);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_calibrator *calibrator = NULL;
    const dynq_calibrator_options options = {
        .size = sizeof options, .threads = threads, .allocator = &calibration->allocator};
    status = dynq_calibrator_create(calibration, model, &options, &calibrator, error);
    if (status == DYNQ_OK && rows > 0) {
        const size_t columns = model->nodes[input].n;
        const dynq_binding binding = {
            .slot = dynq_calibrator_slot(calibrator, model->nodes[input].name),
            .data = (void *)(uintptr_t)x, /* only read */
            .bytes = ((rows - 1) * row_stride + columns) * sizeof *x,
            .row_stride = row_stride};
        const dynq_batch batch = {.size = sizeof batch, .rows = rows};
        status = dynq_calibrator_run(calibrator, &batch, &binding, 1, error);
    }
    dynq_calibrator_free(calibrator);
    return status;
}
