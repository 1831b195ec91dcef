/* How much the answers of requests change with their neighbours in a batch. */
#include "src/cpu.h"
#include "src/error.h"
#include "src/model.h"
#include "src/options.h"

#include <dynq/comparison.h>
#include <math.h>
#include <string.h>

#define DEFAULT_REQUESTS 200
#define DEFAULT_ROUNDS   4
#define DEFAULT_TOGETHER 32

typedef struct effect {
    dynq_allocator allocator;
    dynq_batch_effect_options options; /* complete */
    dynq_model *model;
    const dynq_request_set *requests;
    size_t output;         /* of the model: what is looked at */
    const dynq_node *node; /* whose result that is */
    size_t input_count;
    size_t *drawn; /* requests, in the order of their answers alone */
    size_t *order; /* of the drawn ones, in batches */
    size_t *first; /* where answers of the drawn requests begin in `alone` */
    size_t count;
    size_t max_rows, max_together;
    size_t *offsets;        /* of a batch */
    dynq_binding *bindings; /* inputs, then outputs */
    dynq_session *session;
    float *alone; /* answers */
    uint64_t random;
    double sum, worst;
    bool identical;
} effect;

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The first `count` of `all` numbers become a random choice in random order. */
static void shuffle(size_t *numbers, size_t all, size_t count, uint64_t *state)
{
    for (size_t i = 0; i < count && i + 1 < all; i++) {
        const size_t j = i + (size_t)(draw(state) % (all - i));
        const size_t other = numbers[j];
        numbers[j] = numbers[i];
        numbers[i] = other;
    }
}

static size_t request_rows(const effect *self, size_t request)
{
    return self->requests->offsets[request + 1] - self->requests->offsets[request];
}

/* Rows of the answer to a request of so many rows. */
static size_t answer_rows(const dynq_node *node, size_t rows)
{
    return node->domain == DYNQ_DOMAIN_SEGMENTS ? 1 : rows;
}

/* ---- preparation ---- */

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a batch effect");
}

static dynq_status check_call(effect *self, const dynq_batch_effect_options *options,
                              dynq_error *error)
{
    dynq_batch_effect_options *o = &self->options;
    const dynq_request_set *set = self->requests;
    if (self->model == NULL || set == NULL || set->size < sizeof *set || set->count == 0 ||
        set->offsets == NULL || set->inputs == NULL || !dynq_options_copy(o, sizeof *o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "batch effect: no model, no requests, or a struct of another version");
    }
    for (size_t i = 0; i < set->count; i++) {
        if (set->offsets[i + 1] <= set->offsets[i]) {
            return dynq_fail(error, DYNQ_ERR_SHAPE, "batch effect: request %zu has no rows", i);
        }
    }
    o->requests = o->requests == 0 ? DEFAULT_REQUESTS : o->requests;
    o->requests = o->requests < set->count ? o->requests : set->count;
    o->rounds = o->rounds == 0 ? DEFAULT_ROUNDS : o->rounds;
    o->together = o->together == 0 ? DEFAULT_TOGETHER : o->together;
    o->most_rows = o->most_rows == 0 ? SIZE_MAX : o->most_rows;
    const dynq_model *model = self->model;
    while (o->output != NULL && self->output < model->output_count &&
           strcmp(model->outputs[self->output].name, o->output) != 0) {
        self->output++;
    }
    if (self->output == model->output_count) {
        return dynq_fail(error, DYNQ_ERR_NOT_FOUND, "batch effect: there is no output '%s'",
                         o->output);
    }
    self->node = &model->nodes[model->outputs[self->output].node];
    return DYNQ_OK;
}

/* Which requests are run, and the largest batches that they can make. */
static dynq_status draw_requests(effect *self, dynq_error *error)
{
    const dynq_batch_effect_options *o = &self->options;
    const size_t all = self->requests->count;
    self->drawn = dynq_alloc(&self->allocator, all, sizeof *self->drawn);
    self->order = dynq_alloc(&self->allocator, o->requests, sizeof *self->order);
    self->first = dynq_alloc(&self->allocator, o->requests + 1, sizeof *self->first);
    if (self->drawn == NULL || self->order == NULL || self->first == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < all; i++) {
        self->drawn[i] = i;
    }
    self->count = o->requests;
    self->random = o->seed;
    shuffle(self->drawn, all, self->count, &self->random);
    size_t longest = 0, total = 0;
    for (size_t i = 0; i < self->count; i++) {
        const size_t rows = request_rows(self, self->drawn[i]);
        longest = rows > longest ? rows : longest;
        total += rows;
        self->order[i] = i;
        self->first[i + 1] = self->first[i] + answer_rows(self->node, rows);
    }
    self->max_together = o->together < self->count ? o->together : self->count;
    self->max_rows = total / longest < self->max_together ? total : longest * self->max_together;
    self->max_rows = self->max_rows > o->most_rows ? o->most_rows : self->max_rows;
    self->max_rows = self->max_rows < longest ? longest : self->max_rows;
    return DYNQ_OK;
}

static dynq_status bind(effect *self, dynq_error *error)
{
    const dynq_model *model = self->model;
    self->bindings = dynq_alloc(&self->allocator, model->node_count + model->output_count,
                                sizeof *self->bindings);
    self->offsets = dynq_alloc(&self->allocator, self->max_together + 1, sizeof *self->offsets);
    self->alone =
        dynq_alloc(&self->allocator, self->first[self->count] * self->node->n, sizeof *self->alone);
    bool complete = self->bindings != NULL && self->offsets != NULL && self->alone != NULL;
    for (size_t i = 0; complete && i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->input_count == 0) {
            dynq_binding *binding = &self->bindings[self->input_count++];
            binding->slot = dynq_session_slot(self->session, node->name);
            binding->data = dynq_alloc(&self->allocator, self->max_rows * node->n, sizeof(float));
            complete = binding->data != NULL;
        }
    }
    for (size_t i = 0; complete && i < model->output_count; i++) {
        const dynq_node *node = &model->nodes[model->outputs[i].node];
        dynq_binding *binding = &self->bindings[self->input_count + i];
        binding->slot = dynq_session_output_slot(self->session, model->outputs[i].name);
        binding->data = dynq_alloc(&self->allocator, self->max_rows * node->n, sizeof(float));
        complete = binding->data != NULL;
    }
    return complete ? DYNQ_OK : out_of_memory(error);
}

static dynq_status prepare(effect *self, dynq_error *error)
{
    const dynq_batch_effect_options *o = &self->options;
    dynq_status status = draw_requests(self, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = self->max_rows,
                                          .max_segments = self->max_together,
                                          .threads = o->threads,
                                          .kernel = o->kernel,
                                          .engine = o->engine,
                                          .scope = o->scope,
                                          .allocator = &self->allocator};
    status = dynq_session_create(self->model, &options, &self->session, error);
    return status == DYNQ_OK ? bind(self, error) : status;
}

static void release(effect *self)
{
    dynq_session_free(self->session);
    const size_t room = self->model->node_count + self->model->output_count;
    for (size_t i = 0; self->bindings != NULL && i < room; i++) {
        dynq_release(&self->allocator, self->bindings[i].data);
    }
    dynq_release(&self->allocator, self->bindings);
    dynq_release(&self->allocator, self->offsets);
    dynq_release(&self->allocator, self->alone);
    dynq_release(&self->allocator, self->drawn);
    dynq_release(&self->allocator, self->order);
    dynq_release(&self->allocator, self->first);
}

/* ---- batches ---- */

/* Runs the drawn requests order[0] to order[count - 1] together. */
static dynq_status run_together(effect *self, const size_t *order, size_t count, dynq_error *error)
{
    const dynq_model *model = self->model;
    for (size_t i = 0; i < count; i++) {
        self->offsets[i + 1] = self->offsets[i] + request_rows(self, self->drawn[order[i]]);
    }
    const size_t rows = self->offsets[count];
    size_t input = 0;
    for (size_t n = 0; n < model->node_count; n++) {
        const size_t bytes = model->nodes[n].n * sizeof(float);
        for (size_t i = 0; model->nodes[n].input_count == 0 && i < count; i++) {
            const size_t first = self->requests->offsets[self->drawn[order[i]]];
            memcpy((char *)self->bindings[input].data + self->offsets[i] * bytes,
                   (const char *)self->requests->inputs[input] + first * bytes,
                   (self->offsets[i + 1] - self->offsets[i]) * bytes);
        }
        if (model->nodes[n].input_count == 0) {
            self->bindings[input++].bytes = rows * bytes;
        }
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const dynq_node *node = &model->nodes[model->outputs[i].node];
        const size_t all = node->domain == DYNQ_DOMAIN_SEGMENTS ? count : rows;
        self->bindings[input + i].bytes = all * node->n * sizeof(float);
    }
    const dynq_batch batch = {
        .size = sizeof batch, .rows = rows, .segments = count, .offsets = self->offsets};
    return dynq_session_run(self->session, &batch, self->bindings, input + model->output_count,
                            error);
}

/* |y - alone| / |alone| of one request. */
static double change(const float *y, const float *alone, size_t count)
{
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double error = (double)y[i] - (double)alone[i];
        difference += error * error;
        size += (double)alone[i] * (double)alone[i];
    }
    if (size == 0.0) {
        return difference == 0.0 ? 0.0 : 1.0;
    }
    return sqrt(difference / size);
}

static void compare(effect *self, const size_t *order, size_t count)
{
    const float *y = self->bindings[self->input_count + self->output].data;
    for (size_t i = 0; i < count; i++) {
        const float *alone = self->alone + self->first[order[i]] * self->node->n;
        const size_t floats = (self->first[order[i] + 1] - self->first[order[i]]) * self->node->n;
        const double changed = change(y, alone, floats);
        self->sum += changed;
        self->worst = fmax(self->worst, changed);
        self->identical = self->identical && memcmp(y, alone, floats * sizeof *y) == 0;
        y += floats;
    }
}

static dynq_status run_alone(effect *self, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < self->count && status == DYNQ_OK; i++) {
        status = run_together(self, &i, 1, error);
        if (status == DYNQ_OK) {
            const size_t rows = self->first[i + 1] - self->first[i];
            memcpy(self->alone + self->first[i] * self->node->n,
                   self->bindings[self->input_count + self->output].data,
                   rows * self->node->n * sizeof *self->alone);
        }
    }
    return status;
}

/* All drawn requests in batches as even as can be, so that none is alone where others are not. */
static dynq_status run_round(effect *self, dynq_error *error)
{
    const size_t batches = dynq_divide_up(self->count, self->max_together);
    const size_t even = dynq_divide_up(self->count, batches);
    dynq_status status = DYNQ_OK;
    shuffle(self->order, self->count, self->count, &self->random);
    for (size_t first = 0, count = 0; first < self->count && status == DYNQ_OK; first += count) {
        size_t rows = request_rows(self, self->drawn[self->order[first]]);
        for (count = 1; count < even && first + count < self->count; count++) {
            rows += request_rows(self, self->drawn[self->order[first + count]]);
            if (rows > self->max_rows) {
                break;
            }
        }
        status = run_together(self, self->order + first, count, error);
        if (status == DYNQ_OK) {
            compare(self, self->order + first, count);
        }
    }
    return status;
}

static dynq_status run(effect *self, dynq_error *error)
{
    dynq_status status = run_alone(self, error);
    for (size_t round = 0; round < self->options.rounds && status == DYNQ_OK; round++) {
        status = run_round(self, error);
    }
    return status;
}

dynq_status dynq_batch_effect(dynq_model *model, const dynq_request_set *requests,
                              const dynq_batch_effect_options *options,
                              dynq_batch_effect_result *result, dynq_error *error)
{
    effect self = {.model = model, .requests = requests, .identical = true};
    if (result == NULL || result->size < sizeof result->size) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "batch effect: there is no place for it");
    }
    dynq_status status = check_call(&self, options, error);
    if (status != DYNQ_OK) {
        return status;
    }
    self.allocator = dynq_allocator_or_default(self.options.allocator);
    status = prepare(&self, error);
    if (status == DYNQ_OK) {
        const dynq_float_state state = dynq_float_state_set_default();
        status = run(&self, error);
        dynq_float_state_restore(state);
    }
    release(&self);
    if (status == DYNQ_OK) {
        const double compared = (double)self.count * (double)self.options.rounds;
        const dynq_batch_effect_result full = {.requests = self.count,
                                               .rounds = self.options.rounds,
                                               .mean = self.sum / compared,
                                               .worst = self.worst,
                                               .identical = self.identical};
        dynq_result_copy(result, &full, sizeof full);
    }
    return status;
}
