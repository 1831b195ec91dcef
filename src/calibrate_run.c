#include "src/calibrate.h"

#include "src/error.h"
#include "src/model.h"

#include <dynq/session.h>

#define BATCH_ROWS 256 /* rows run at a time: enough to be fast, little memory */

typedef struct run run;

/* What the tap of one value knows. */
typedef struct observer {
    run *run;
    dynq_value_statistics *statistics;
} observer;

struct run {
    const dynq_model *model;
    size_t input;              /* the node */
    dynq_calibration *scratch; /* joins the caller's only when all went well */
    observer *observers;
    dynq_tap *taps;
    float **outputs;
    dynq_binding *bindings; /* the input, then the outputs */
    size_t first_row, max_rows;
    dynq_status status; /* of the first observation that failed */
    dynq_session *session;
    dynq_error *error;
};

static void observe(void *context, size_t node, size_t rows, size_t columns, const float *data,
                    size_t row_stride)
{
    const observer *self = context;
    run *r = self->run;
    (void)node;
    if (r->status == DYNQ_OK) {
        r->status = dynq_value_statistics_add(self->statistics, r->first_row, rows, columns, data,
                                              row_stride, r->error);
    }
}

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

static bool take_memory(run *r, const dynq_allocator *allocator)
{
    const dynq_model *model = r->model;
    r->observers = dynq_alloc(allocator, r->scratch->count, sizeof *r->observers);
    r->taps = dynq_alloc(allocator, r->scratch->count, sizeof *r->taps);
    r->outputs = dynq_alloc(allocator, model->output_count, sizeof *r->outputs);
    r->bindings = dynq_alloc(allocator, model->output_count + 1, sizeof *r->bindings);
    if (r->observers == NULL || r->taps == NULL || r->outputs == NULL || r->bindings == NULL) {
        return false;
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const size_t columns = model->nodes[model->outputs[i].node].n;
        r->outputs[i] = dynq_alloc(allocator, r->max_rows * columns, sizeof **r->outputs);
        if (r->outputs[i] == NULL) {
            return false;
        }
    }
    return true;
}

static void release(run *r, const dynq_allocator *allocator)
{
    dynq_session_free(r->session);
    for (size_t i = 0; r->outputs != NULL && i < r->model->output_count; i++) {
        dynq_release(allocator, r->outputs[i]);
    }
    dynq_release(allocator, r->outputs);
    dynq_release(allocator, r->bindings);
    dynq_release(allocator, r->taps);
    dynq_release(allocator, r->observers);
    dynq_calibration_free(r->scratch);
}

static dynq_status start_session(run *r, dynq_model *model, uint32_t threads,
                                 const dynq_allocator *allocator)
{
    if (!take_memory(r, allocator)) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "out of memory for a calibration run");
    }
    for (size_t i = 0; i < r->scratch->count; i++) {
        r->observers[i] = (observer){.run = r, .statistics = &r->scratch->values[i]};
        r->taps[i] = (dynq_tap){
            .node = r->scratch->values[i].name, .function = observe, .context = &r->observers[i]};
    }
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = r->max_rows,
                                          .threads = threads,
                                          .precision = DYNQ_PRECISION_FP32,
                                          .allocator = allocator,
                                          .taps = r->taps,
                                          .tap_count = r->scratch->count};
    const dynq_status status = dynq_session_create(model, &options, &r->session, r->error);
    if (status != DYNQ_OK) {
        return status;
    }
    r->bindings[0].slot = dynq_session_slot(r->session, model->nodes[r->input].name);
    for (size_t i = 0; i < model->output_count; i++) {
        const size_t columns = model->nodes[model->outputs[i].node].n;
        r->bindings[i + 1] =
            (dynq_binding){.slot = dynq_session_output_slot(r->session, model->outputs[i].name),
                           .data = r->outputs[i],
                           .bytes = r->max_rows * columns * sizeof **r->outputs};
    }
    return DYNQ_OK;
}

static dynq_status run_batches(run *r, const float *x, size_t rows, size_t row_stride)
{
    const size_t columns = r->model->nodes[r->input].n;
    dynq_status status = DYNQ_OK;
    while (status == DYNQ_OK && r->first_row < rows) {
        const size_t left = rows - r->first_row;
        const size_t count = left < r->max_rows ? left : r->max_rows;
        const dynq_batch batch = {.size = sizeof batch, .rows = count};
        r->bindings[0].data = (void *)(uintptr_t)(x + r->first_row * row_stride); /* only read */
        r->bindings[0].bytes = ((count - 1) * row_stride + columns) * sizeof *x;
        r->bindings[0].row_stride = row_stride;
        /* A failed observation stands before whatever the run found further down the graph. */
        dynq_error found = {0};
        status =
            dynq_session_run(r->session, &batch, r->bindings, r->model->output_count + 1, &found);
        if (r->status != DYNQ_OK) {
            return r->status;
        }
        if (status != DYNQ_OK) {
            return dynq_fail(r->error, status, "rows %zu to %zu: %s", r->first_row,
                             r->first_row + count - 1, found.message);
        }
        r->first_row += count;
    }
    return status;
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
                         "calibration: the model has %zu inputs, not one; run it with taps and "
                         "pass what they see to dynq_calibration_observe()",
                         inputs);
    }
    if (model->nodes[*input].op == DYNQ_OP_IDS) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibration: input '%s' of the model takes ids, not floats; run it with "
                         "taps and pass what they see to dynq_calibration_observe()",
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
    run r = {.model = model, .error = error};
    dynq_status status = check_call(calibration, model, x, rows, &row_stride, &r.input, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_allocator *allocator = &calibration->allocator;
    r.max_rows = rows < BATCH_ROWS ? rows : BATCH_ROWS;
    status = dynq_calibration_create(model, allocator, &r.scratch, error);
    if (status == DYNQ_OK) {
        status = dynq_calibration_check_same(calibration, r.scratch, error);
    }
    if (status == DYNQ_OK && rows > 0) {
        status = start_session(&r, model, threads, allocator);
        if (status == DYNQ_OK) {
            status = run_batches(&r, x, rows, row_stride);
        }
        if (status == DYNQ_OK) {
            status = dynq_calibration_append(calibration, r.scratch, error);
        }
    }
    release(&r, allocator);
    return status;
}
