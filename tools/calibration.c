#include "tools/calibration.h"

#include "tools/allocate.h"
#include "tools/inputs.h"

#include <stdio.h>
#include <stdlib.h>

/* Requests of several rows in one call: a second or two of an encoder. */
#define CALL_REQUESTS 128
/* Rows of floats in one call: whole batches of the calibrator, and not more than some megabytes. */
#define BATCH_ROWS 256
#define CALL_BYTES ((size_t)8 << 20)
#define CALL_ROWS  4096

static dynq_status make_moments(const calibration_target *target, dynq_model *model, size_t longest,
                                uint32_t threads, calibration_feed *self, dynq_error *error)
{
    const dynq_second_moments_options options = {
        .size = sizeof options, .max_rows = longest, .threads = threads};
    const dynq_status status = dynq_second_moments_create(model, &options, target->moments, error);
    self->moments = status == DYNQ_OK ? *target->moments : NULL;
    return status;
}

dynq_status calibration_open(const calibration_target *target, dynq_model *model, size_t longest,
                             uint32_t threads, calibration_feed *self, dynq_error *error)
{
    const dynq_calibrator_options options = {
        .size = sizeof options, .max_rows = longest, .threads = threads};
    *self = (calibration_feed){0};
    dynq_status status = target->calibration == NULL
                             ? DYNQ_OK
                             : dynq_calibrator_create(target->calibration, model, &options,
                                                      &self->calibrator, error);
    if (status == DYNQ_OK && target->moments != NULL) {
        status = make_moments(target, model, longest, threads, self, error);
    }
    if (status != DYNQ_OK) {
        calibration_close(self);
        return status;
    }
    model_slot *inputs = NULL;
    model_inputs(model, &inputs);
    self->slot = dynq_calibrator_slot(self->calibrator, inputs[0].name);
    self->moments_slot = dynq_second_moments_slot(self->moments, inputs[0].name);
    free(inputs);
    return DYNQ_OK;
}

void calibration_close(calibration_feed *self)
{
    dynq_calibrator_free(self->calibrator);
    free(self->offsets);
    *self = (calibration_feed){0};
}

size_t calibration_call(const dynq_model *model)
{
    model_slot *inputs = NULL;
    model_inputs(model, &inputs);
    const model_slot input = inputs[0];
    free(inputs);
    if (input.ids) {
        return CALL_REQUESTS;
    }
    const size_t rows = CALL_BYTES / (input.columns * sizeof(float)) / BATCH_ROWS * BATCH_ROWS;
    return rows < BATCH_ROWS ? BATCH_ROWS : rows > CALL_ROWS ? CALL_ROWS : rows;
}

/* The sessions of both have their inputs in the same slot only by chance. */
static dynq_status add_moments(const calibration_feed *self, const dynq_batch *batch,
                               dynq_binding binding, dynq_error *error)
{
    binding.slot = self->moments_slot;
    return dynq_second_moments_run(self->moments, batch, &binding, 1, error);
}

dynq_status calibration_add(calibration_feed *self, const requests *data, size_t first,
                            size_t count, size_t before, const volatile int *cancel,
                            dynq_error *error)
{
    if (count + 1 > self->room) {
        self->room = count + 1;
        self->offsets = allocate_again(self->offsets, self->room, sizeof *self->offsets);
    }
    for (size_t i = 0; i <= count; i++) {
        self->offsets[i] = data->offsets[first + i] - data->offsets[first];
    }
    const dynq_batch batch = {.size = sizeof batch,
                              .rows = self->offsets[count],
                              .segments = count,
                              .offsets = self->offsets,
                              .cancel = cancel};
    const dynq_binding binding = {.slot = self->slot,
                                  /* Not const because outputs use it too; inputs are only read. */
                                  .data = (void *)(uintptr_t)requests_at(data, first),
                                  .bytes = batch.rows * data->columns * sizeof(float)};
    dynq_error found = {0};
    dynq_status status = self->calibrator == NULL
                             ? DYNQ_OK
                             : dynq_calibrator_run(self->calibrator, &batch, &binding, 1, &found);
    if (status == DYNQ_OK && self->moments != NULL) {
        status = add_moments(self, &batch, binding, &found);
    }
    if (status != DYNQ_OK) {
        error->status = status;
        error->offset = DYNQ_NO_OFFSET;
        snprintf(error->message, sizeof error->message, "requests %zu to %zu: %.400s", before,
                 before + count - 1, found.message);
    }
    return status;
}

dynq_status calibration_run(const calibration_target *target, dynq_model *model,
                            const requests *data, size_t count, uint32_t threads,
                            void (*advance)(void *context, double share), void *context,
                            dynq_error *error)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t rows = data->offsets[i + 1] - data->offsets[i];
        longest = rows > longest ? rows : longest;
    }
    calibration_feed feed;
    const size_t most = calibration_call(model);
    dynq_status status = calibration_open(target, model, longest, threads, &feed, error);
    for (size_t first = 0; status == DYNQ_OK && first < count;) {
        const size_t part = count - first < most ? count - first : most;
        status = calibration_add(&feed, data, first, part, first, NULL, error);
        first += part;
        if (status == DYNQ_OK && advance != NULL) {
            advance(context, (double)first / (double)count);
        }
    }
    calibration_close(&feed);
    return status;
}
