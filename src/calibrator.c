#include "src/calibrate.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/model.h"
#include "src/options.h"
#include "src/parts.h"
#include "src/threads.h"

#include <dynq/calibrator.h>
#include <string.h>

/* What a part takes at least. Nothing is shared with workers that would not come in time. */
#define PART_NANOSECONDS 10000000

typedef struct worker worker;

/* What the tap of one value knows. */
typedef struct observer {
    worker *worker;
    dynq_value_statistics *statistics;
    bool by_segment; /* the value has a row for each request */
} observer;

/* What runs one part at a time. Workers know nothing of each other. */
struct worker {
    const dynq_calibrator *calibrator;
    dynq_session *session;
    dynq_calibration *scratch; /* of the part */
    observer *observers;
    float **outputs;
    dynq_binding *bindings; /* the inputs as the caller's, then the outputs */
    size_t *offsets;        /* [DYNQ_PART_ROWS + 1] */
    dynq_part part;
    dynq_status status, observed; /* of the run, of the first observation that failed */
    dynq_error error;
};

struct dynq_calibrator {
    dynq_allocator allocator;
    dynq_calibration *calibration;
    dynq_model *model;
    dynq_calibration *total; /* of a call */
    dynq_calibrator_options options;
    dynq_thread_pool *pool, *own_pool;
    size_t input_count;
    worker *workers;
    size_t worker_count, ready; /* those that have a session */
    /* The call under way. */
    const dynq_batch *batch;
    const dynq_binding *bindings;
};

/* ---- workers ---- */

static void observe(void *context, size_t node, size_t rows, size_t columns, const float *data,
                    size_t row_stride)
{
    const observer *self = context;
    worker *w = self->worker;
    (void)node;
    if (w->observed == DYNQ_OK) {
        w->observed = dynq_value_statistics_add(self->statistics,
                                                self->by_segment ? w->part.segment : w->part.row,
                                                rows, columns, data, row_stride, &w->error);
    }
}

static size_t part_rows(const dynq_calibrator *self)
{
    return dynq_parts_rows(self->options.max_rows);
}

static bool take_memory(worker *w, const dynq_calibrator *self)
{
    const dynq_model *model = self->model;
    const dynq_allocator *allocator = &self->allocator;
    w->scratch = dynq_calibration_new_like(self->total, allocator);
    w->observers = dynq_alloc(allocator, self->total->count, sizeof *w->observers);
    w->outputs = dynq_alloc(allocator, model->output_count, sizeof *w->outputs);
    w->bindings =
        dynq_alloc(allocator, self->input_count + model->output_count, sizeof *w->bindings);
    w->offsets = dynq_alloc(allocator, DYNQ_PART_ROWS + 1, sizeof *w->offsets);
    if (w->scratch == NULL || w->observers == NULL || w->outputs == NULL || w->bindings == NULL ||
        w->offsets == NULL) {
        return false;
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const size_t columns = model->nodes[model->outputs[i].node].n;
        size_t count = 0;
        w->outputs[i] = !dynq_size_multiply(part_rows(self), columns, &count)
                            ? NULL
                            : dynq_alloc(allocator, count, sizeof *w->outputs[i]);
        if (w->outputs[i] == NULL) {
            return false;
        }
    }
    return true;
}

static void release_worker(worker *w, const dynq_calibrator *self)
{
    const dynq_allocator *allocator = &self->allocator;
    dynq_session_free(w->session);
    for (size_t i = 0; w->outputs != NULL && i < self->model->output_count; i++) {
        dynq_release(allocator, w->outputs[i]);
    }
    dynq_release(allocator, w->outputs);
    dynq_release(allocator, w->bindings);
    dynq_release(allocator, w->observers);
    dynq_release(allocator, w->offsets);
    dynq_calibration_free(w->scratch);
    *w = (worker){0};
}

static dynq_status create_session(worker *w, const dynq_calibrator *self, dynq_tap *taps,
                                  dynq_error *error)
{
    const dynq_model *model = self->model;
    for (size_t i = 0; i < w->scratch->count; i++) {
        dynq_value_statistics *value = &w->scratch->values[i];
        const dynq_node *node = &model->nodes[dynq_model_find(model, value->name)];
        w->observers[i] = (observer){
            .worker = w, .statistics = value, .by_segment = node->domain == DYNQ_DOMAIN_SEGMENTS};
        taps[i] = (dynq_tap){.node = value->name, .function = observe, .context = &w->observers[i]};
    }
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = part_rows(self),
                                          .max_segments = DYNQ_PART_ROWS,
                                          .kernel = self->options.kernel,
                                          .precision = DYNQ_PRECISION_FP32,
                                          .allocator = &self->allocator,
                                          .taps = taps,
                                          .tap_count = w->scratch->count};
    const dynq_status status = dynq_session_create(self->model, &options, &w->session, error);
    for (size_t i = 0; status == DYNQ_OK && i < model->output_count; i++) {
        const size_t columns = model->nodes[model->outputs[i].node].n;
        w->bindings[self->input_count + i] =
            (dynq_binding){.slot = dynq_session_output_slot(w->session, model->outputs[i].name),
                           .data = w->outputs[i],
                           .bytes = part_rows(self) * columns * sizeof *w->outputs[i]};
    }
    return status;
}

/* Makes the next worker ready. */
static dynq_status start_worker(dynq_calibrator *self, dynq_error *error)
{
    worker *w = &self->workers[self->ready];
    w->calibrator = self;
    dynq_tap *taps = dynq_alloc(&self->allocator, self->total->count, sizeof *taps);
    dynq_status status = taps != NULL && take_memory(w, self)
                             ? create_session(w, self, taps, error)
                             : dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibrator");
    dynq_release(&self->allocator, taps);
    if (status != DYNQ_OK) {
        release_worker(w, self);
        return status;
    }
    self->ready++;
    return DYNQ_OK;
}

/* ---- creation ---- */

static dynq_status take_threads(dynq_calibrator *self, dynq_error *error)
{
    self->pool = self->options.pool;
    if (self->pool == NULL && self->options.threads > 1) {
        const dynq_thread_pool_options options = {.size = sizeof options,
                                                  .threads = self->options.threads,
                                                  .allocator = &self->allocator};
        const dynq_status status = dynq_thread_pool_create(&options, &self->own_pool, error);
        if (status != DYNQ_OK) {
            return status;
        }
        self->pool = self->own_pool;
    }
    self->worker_count = self->pool == NULL ? 1 : dynq_thread_pool_threads(self->pool);
    self->workers = dynq_alloc(&self->allocator, self->worker_count, sizeof *self->workers);
    return self->workers != NULL
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibrator");
}

dynq_status dynq_calibrator_create(dynq_calibration *calibration, dynq_model *model,
                                   const dynq_calibrator_options *options, dynq_calibrator **result,
                                   dynq_error *error)
{
    dynq_calibrator_options o;
    if (calibration == NULL || model == NULL || result == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibrator: something needed is NULL");
    }
    if (!dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(
            error, DYNQ_ERR_ARGUMENT,
            "calibrator options: size is not set, or a field is unknown to this version");
    }
    const dynq_allocator allocator = dynq_allocator_or_default(o.allocator);
    dynq_calibrator *self = dynq_alloc(&allocator, 1, sizeof *self);
    if (self == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibrator");
    }
    self->allocator = allocator;
    self->options = o;
    self->calibration = calibration;
    self->model = dynq_model_retain(model);
    for (size_t i = 0; i < model->node_count; i++) {
        self->input_count += dynq_is_input(&model->nodes[i]);
    }
    dynq_status status = dynq_calibration_create(model, &allocator, &self->total, error);
    if (status == DYNQ_OK) {
        status = dynq_calibration_check_same(calibration, self->total, error);
    }
    if (status == DYNQ_OK) {
        status = take_threads(self, error);
    }
    if (status == DYNQ_OK) {
        status = start_worker(self, error);
    }
    if (status != DYNQ_OK) {
        dynq_calibrator_free(self);
        return status;
    }
    *result = self;
    return DYNQ_OK;
}

void dynq_calibrator_free(dynq_calibrator *calibrator)
{
    if (calibrator == NULL) {
        return;
    }
    const dynq_allocator allocator = calibrator->allocator;
    for (size_t i = 0; i < calibrator->ready; i++) {
        release_worker(&calibrator->workers[i], calibrator);
    }
    dynq_release(&allocator, calibrator->workers);
    dynq_thread_pool_free(calibrator->own_pool);
    dynq_calibration_free(calibrator->total);
    dynq_model_free(calibrator->model);
    dynq_release(&allocator, calibrator);
}

static dynq_parts_owner owner_of(const dynq_calibrator *self)
{
    return (dynq_parts_owner){.name = "calibrator",
                              .model = self->model,
                              .session = self->workers[0].session,
                              .longest = part_rows(self)};
}

int dynq_calibrator_slot(const dynq_calibrator *calibrator, const char *name)
{
    if (calibrator == NULL || name == NULL) {
        return -1;
    }
    const dynq_parts_owner owner = owner_of(calibrator);
    return dynq_parts_slot(&owner, name);
}

/* ---- running ---- */

static void run_part(void *context, size_t index)
{
    const dynq_calibrator *self = context;
    worker *w = &self->workers[index];
    const dynq_part *p = &w->part;
    const dynq_batch batch = dynq_parts_batch(self->batch, *p, w->offsets);
    dynq_error error = {0};
    dynq_parts_bind(*p, self->bindings, self->input_count, w->bindings);
    dynq_calibration_clear(w->scratch);
    w->scratch->requests = p->segments;
    w->observed = DYNQ_OK;
    w->status = dynq_session_run(w->session, &batch, w->bindings,
                                 self->input_count + self->model->output_count, &error);
    /* A failed observation stands before whatever the run found further down the graph. */
    if (w->observed != DYNQ_OK) {
        w->status = w->observed;
    } else if (w->status != DYNQ_OK) {
        dynq_fail(&w->error, w->status, "rows %zu to %zu: %.400s", p->row, p->row + p->rows - 1,
                  error.message);
    }
}

/* Runs the parts of the first `count` workers and adds them in their order. */
static dynq_status run_wave(dynq_calibrator *self, size_t count, dynq_error *error)
{
    const dynq_task task = {.function = run_part,
                            .context = self,
                            .chunks = count,
                            .nanoseconds = count * PART_NANOSECONDS};
    if (count > 1 && dynq_thread_pool_take(self->pool)) {
        dynq_thread_pool_share(self->pool, &task);
        dynq_thread_pool_give(self->pool);
    } else {
        for (size_t i = 0; i < count; i++) {
            run_part(self, i);
        }
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < count; i++) {
        const worker *w = &self->workers[i];
        if (w->status != DYNQ_OK) {
            if (error != NULL) {
                *error = w->error;
            }
            return w->status;
        }
        status = dynq_calibration_append(self->total, w->scratch, error);
    }
    return status;
}

static dynq_status run_waves(dynq_calibrator *self, dynq_error *error)
{
    dynq_part last = {0};
    dynq_status status = DYNQ_OK;
    dynq_calibration_clear(self->total);
    while (status == DYNQ_OK && last.row + last.rows < self->batch->rows) {
        size_t count = 0;
        while (status == DYNQ_OK && count < self->worker_count &&
               last.row + last.rows < self->batch->rows) {
            if (count == self->ready) {
                status = start_worker(self, error);
            }
            if (status == DYNQ_OK) {
                last = dynq_parts_next(self->batch, last);
                self->workers[count++].part = last;
            }
        }
        if (status == DYNQ_OK) {
            status = run_wave(self, count, error);
        }
    }
    return status;
}

dynq_status dynq_calibrator_run(dynq_calibrator *calibrator, const dynq_batch *batch,
                                const dynq_binding *bindings, size_t binding_count,
                                dynq_error *error)
{
    dynq_batch b;
    if (calibrator == NULL || batch == NULL || !dynq_options_copy(&b, sizeof b, batch) ||
        bindings == NULL || binding_count != calibrator->input_count || b.rows == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "calibrator: it, the batch or bindings are NULL, or there is not one row "
                         "or more and one binding for each input");
    }
    dynq_binding *bound = dynq_alloc(&calibrator->allocator, binding_count, sizeof *bound);
    if (bound == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a calibrator");
    }
    memcpy(bound, bindings, binding_count * sizeof *bound);
    const dynq_float_state before = dynq_float_state_set_default();
    const dynq_parts_owner owner = owner_of(calibrator);
    dynq_status status = dynq_parts_check(&owner, &b, bound, binding_count, error);
    if (status == DYNQ_OK) {
        calibrator->batch = &b;
        calibrator->bindings = bound;
        status = run_waves(calibrator, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_calibration_append(calibrator->calibration, calibrator->total, error);
    }
    dynq_float_state_restore(before);
    dynq_release(&calibrator->allocator, bound);
    return status;
}
