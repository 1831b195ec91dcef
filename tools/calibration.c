#include "tools/calibration.h"

#include "tools/allocate.h"
#include "tools/runner.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH 256 /* requests that run together: enough to be fast, little memory */

/* What the taps share. */
typedef struct observer {
    dynq_calibration *calibration;
    const dynq_model *model;
    dynq_status status; /* of the first observation that failed */
    dynq_error error;
} observer;

static void observe(void *context, size_t index, size_t rows, size_t columns, const float *data,
                    size_t row_stride)
{
    observer *self = context;
    dynq_node_info node = {.size = sizeof node};
    if (self->status == DYNQ_OK && dynq_model_node(self->model, index, &node) == DYNQ_OK) {
        self->status = dynq_calibration_observe(self->calibration, node.name, rows, columns, data,
                                                row_stride, &self->error);
    }
}

static dynq_status run_batches(observer *self, runner *runs, const requests *data, size_t end,
                               void (*advance)(void *context, double share), void *context,
                               dynq_error *error)
{
    for (size_t first = 0; first < end;) {
        const size_t count = requests_batch(data, first, end, BATCH);
        const void *x = requests_at(data, first);
        const runner_batch batch = {
            .inputs = &x, .offsets = data->offsets + first, .segments = count};
        dynq_error found = {0};
        dynq_status status = runner_run(runs, &batch, &found);
        /* A failed observation stands before whatever the run found further down the graph. */
        if (self->status != DYNQ_OK) {
            status = self->status;
            found = self->error;
        }
        if (status != DYNQ_OK) {
            error->status = status;
            error->offset = DYNQ_NO_OFFSET;
            snprintf(error->message, sizeof error->message, "requests %zu to %zu: %.400s", first,
                     first + count - 1, found.message);
            return status;
        }
        first += count;
        if (advance != NULL) {
            advance(context, (double)first / (double)end);
        }
    }
    return DYNQ_OK;
}

dynq_status calibration_run(dynq_calibration *calibration, dynq_model *model, const requests *data,
                            size_t count, uint32_t threads,
                            void (*advance)(void *context, double share), void *context,
                            dynq_error *error)
{
    observer self = {.calibration = calibration, .model = model};
    const size_t values = dynq_calibration_count(calibration);
    dynq_tap *taps = allocate(values, sizeof *taps);
    for (size_t i = 0; i < values; i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        taps[i] = (dynq_tap){.node = entry.value, .function = observe, .context = &self};
    }
    dynq_session_options options = {.size = sizeof options,
                                    .threads = threads,
                                    .precision = DYNQ_PRECISION_FP32,
                                    .taps = taps,
                                    .tap_count = values};
    requests_largest_batch(data, 0, count, BATCH, &options.max_rows, &options.max_segments);
    runner runs = {0};
    dynq_status status = runner_create(model, &options, &runs, error);
    if (status == DYNQ_OK) {
        status = run_batches(&self, &runs, data, count, advance, context, error);
    }
    runner_free(&runs);
    free(taps);
    return status;
}
