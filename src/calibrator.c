#include "src/calibrate.h"

#include "src/cpu.h"
#include "src/error.h"
#include "src/model.h"
#include "src/options.h"
#include "src/threads.h"

#include <dynq/calibrator.h>
#include <string.h>

/* Rows of a part: enough to be fast, little memory, and never dependent on the threads. */
#define PART_ROWS 256

/* What a part takes at least. Nothing is shared with workers that would not come in time. */
#define PART_NANOSECONDS 10000000

typedef struct worker worker;

/* What the tap of one value knows. */
typedef struct observer {
    worker *worker;
    dynq_value_statistics *statistics;
    bool by_segment; /* the value has a row for each request */
} observer;

/* Whole requests that run together. */
typedef struct part {
    size_t row, rows, segment, segments;
} part;

/* What runs one part at a time. Workers know nothing of each other. */
struct worker {
    const dynq_calibrator *calibrator;
    dynq_session *session;
    dynq_calibration *scratch; /* of the part */
    observer *observers;
    float **outputs;
    dynq_binding *bindings; /* the inputs as the caller's, then the outputs */
    size_t *offsets;        /* [PART_ROWS + 1] */
    part part;
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

static bool is_input(const dynq_node *node)
{
    return node->op == DYNQ_OP_INPUT || node->op == DYNQ_OP_IDS;
}

static size_t part_rows(const dynq_calibrator *self)
{
    return self->options.max_rows > PART_ROWS ? self->options.max_rows : PART_ROWS;
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
    w->offsets = dynq_alloc(allocator, PART_ROWS + 1, sizeof *w->offsets);
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
                                          .max_segments = PART_ROWS,
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
        self->input_count += is_input(&model->nodes[i]);
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

int dynq_calibrator_slot(const dynq_calibrator *calibrator, const char *name)
{
    if (calibrator == NULL || name == NULL) {
        return -1;
    }
    const long node = dynq_model_find(calibrator->model, name);
    return node < 0 || !is_input(&calibrator->model->nodes[node])
               ? -1
               : dynq_session_slot(calibrator->workers[0].session, name);
}

/* ---- running ---- */

/* The part that begins where `before` ends: as many requests as fit, one at least. */
static part next_part(const dynq_batch *batch, part before)
{
    part next = {.row = before.row + before.rows, .segment = before.segment + before.segments};
    if (batch->segments == 0) {
        const size_t left = batch->rows - next.row;
        next.rows = left < PART_ROWS ? left : PART_ROWS;
        next.segments = next.rows;
        return next;
    }
    do {
        next.segments++;
        next.rows = batch->offsets[next.segment + next.segments] - next.row;
    } while (next.segment + next.segments < batch->segments &&
             batch->offsets[next.segment + next.segments + 1] - next.row <= PART_ROWS);
    return next;
}

static void bind_inputs(worker *w)
{
    const dynq_calibrator *self = w->calibrator;
    for (size_t i = 0; i < self->input_count; i++) {
        dynq_binding *binding = &w->bindings[i];
        *binding = self->bindings[i];
        /* Floats and ids have the same size. */
        const size_t skipped = w->part.row * binding->row_stride * sizeof(float);
        binding->data = (char *)binding->data + skipped;
        binding->bytes -= skipped;
    }
}

static void run_part(void *context, size_t index)
{
    const dynq_calibrator *self = context;
    worker *w = &self->workers[index];
    const part *p = &w->part;
    for (size_t i = 0; i <= p->segments; i++) {
        w->offsets[i] =
            self->batch->segments == 0 ? i : self->batch->offsets[p->segment + i] - p->row;
    }
    const dynq_batch batch = {.size = sizeof batch,
                              .rows = p->rows,
                              .segments = p->segments,
                              .offsets = w->offsets,
                              .cancel = self->batch->cancel};
    dynq_error error = {0};
    bind_inputs(w);
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
    part last = {0};
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
                last = next_part(self->batch, last);
                self->workers[count++].part = last;
            }
        }
        if (status == DYNQ_OK) {
            status = run_wave(self, count, error);
        }
    }
    return status;
}

static dynq_status check_batch(const dynq_calibrator *self, const dynq_batch *batch,
                               dynq_error *error)
{
    if (batch->segments > 0 && (batch->offsets == NULL || batch->offsets[0] != 0 ||
                                batch->offsets[batch->segments] != batch->rows)) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "calibrator: the offsets of segments do not go from 0 to the %zu rows",
                         batch->rows);
    }
    for (size_t i = 0; i < batch->segments; i++) {
        const size_t first = batch->offsets[i], end = batch->offsets[i + 1];
        if (first >= end || end > batch->rows) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "calibrator: segment %zu is empty or out of order", i);
        }
        if (end - first > part_rows(self)) {
            return dynq_fail(error, DYNQ_ERR_LIMIT,
                             "calibrator: segment %zu has %zu rows, over the maximum of %zu", i,
                             end - first, part_rows(self));
        }
    }
    return DYNQ_OK;
}

/* Whether a binding is an input's and its memory holds the rows. Sets its stride. */
static dynq_status check_binding(const dynq_calibrator *self, size_t rows, dynq_binding *binding,
                                 dynq_error *error)
{
    for (size_t i = 0; i < self->model->node_count; i++) {
        const dynq_node *node = &self->model->nodes[i];
        if (!is_input(node) || dynq_calibrator_slot(self, node->name) != binding->slot) {
            continue;
        }
        size_t needed = 0;
        binding->row_stride = binding->row_stride == 0 ? node->n : binding->row_stride;
        if (binding->data == NULL || binding->row_stride < node->n ||
            !dynq_size_multiply(rows - 1, binding->row_stride, &needed) ||
            !dynq_size_add(needed, node->n, &needed) ||
            !dynq_size_multiply(needed, sizeof(float), &needed) || needed > binding->bytes) {
            return dynq_fail(
                error, DYNQ_ERR_ARGUMENT,
                "calibrator: %zu rows of %zu columns with row stride %zu do not fit in "
                "the %zu bytes bound to '%s'",
                rows, node->n, binding->row_stride, binding->bytes, node->name);
        }
        return DYNQ_OK;
    }
    return dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibrator: there is no input with slot %d",
                     binding->slot);
}

static dynq_status check_run(const dynq_calibrator *self, const dynq_batch *batch,
                             dynq_binding *bindings, dynq_error *error)
{
    dynq_status status = check_batch(self, batch, error);
    for (size_t i = 0; status == DYNQ_OK && i < self->input_count; i++) {
        status = check_binding(self, batch->rows, &bindings[i], error);
        for (size_t j = 0; status == DYNQ_OK && j < i; j++) {
            if (bindings[i].slot == bindings[j].slot) {
                status = dynq_fail(error, DYNQ_ERR_ARGUMENT, "calibrator: slot %d is bound twice",
                                   bindings[i].slot);
            }
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
    dynq_status status = check_run(calibrator, &b, bound, error);
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
