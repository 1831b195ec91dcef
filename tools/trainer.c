#include "tools/trainer.h"

#include "tools/allocate.h"
#include "tools/trainer_step.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Batches that tell the ranges which training begins with. */
#define START_BATCHES 16

static float *place(const trainer_options *options, float *base, float **weights, float **biases)
{
    for (size_t l = 0; l < options->layers; l++) {
        weights[l] = base;
        base += options->widths[l] * options->widths[l + 1];
        biases[l] = base;
        base += options->widths[l + 1];
    }
    return base;
}

static void place_learned(trainer *self, float *parameters, float *gradients)
{
    for (size_t l = 0; l < self->options.layers; l++) {
        trainer_codes *codes = &self->codes[l];
        codes->step = parameters;
        codes->step_gradient = gradients;
        codes->edge = parameters + codes->n;
        codes->edge_gradient = gradients + codes->n;
        parameters += codes->n + 2;
        gradients += codes->n + 2;
    }
}

static void create_codes(trainer *self)
{
    const trainer_options *options = &self->options;
    for (size_t l = 0; l < options->layers; l++) {
        trainer_codes *codes = &self->codes[l];
        codes->k = options->widths[l];
        codes->n = options->widths[l + 1];
        codes->kind = options->range;
        codes->steps = options->steps;
        codes->learns_range = options->range == DYNQ_RANGE_STATIC && l > 0;
        trainer_codes_allocate(codes, options->weights, options->batch);
    }
}

static void create_buffers(trainer *self)
{
    const trainer_options *options = &self->options;
    self->losses = allocate(options->batch, sizeof *self->losses);
    self->hits = allocate(options->batch, sizeof *self->hits);
    for (size_t l = 0; l <= options->layers; l++) {
        const size_t count = options->batch * options->widths[l];
        self->activations[l] = allocate(count, sizeof(float));
        self->deltas[l] = allocate(count, sizeof(float));
    }
    for (size_t l = 0; l + 1 < options->layers; l++) {
        const size_t count = options->batch * options->widths[l + 1];
        self->dropped[l] = allocate(count + 3, sizeof *self->dropped[l]);
    }
}

trainer *trainer_create(const trainer_options *options)
{
    trainer *self = allocate(1, sizeof *self);
    self->options = *options;
    self->random = trainer_random_seed(options->seed);
    self->mean_power = 1.0;
    self->square_power = 1.0;
    self->workers = trainer_workers_create(options->threads);
    for (size_t l = 0; l < options->layers; l++) {
        self->count += (options->widths[l] + 1) * options->widths[l + 1];
        self->total += trainer_quantized(self) ? options->widths[l + 1] + 2 : 0;
    }
    self->total += self->count;
    self->parameters = allocate(self->total, sizeof(float));
    self->gradients = allocate(self->total, sizeof(float));
    self->mean = allocate(self->total, sizeof(float));
    self->square = allocate(self->total, sizeof(float));
    float *parameters = place(options, self->parameters, self->weights, self->biases);
    float *gradients =
        place(options, self->gradients, self->weight_gradients, self->bias_gradients);
    create_buffers(self);
    if (trainer_quantized(self)) {
        create_codes(self);
        place_learned(self, parameters, gradients);
    }
    for (size_t l = 0; l < options->layers; l++) {
        const size_t inputs = options->widths[l];
        const float deviation = sqrtf(2.0f / (float)inputs);
        for (size_t i = 0; i < inputs * options->widths[l + 1]; i++) {
            self->weights[l][i] = deviation * trainer_random_normal(&self->random);
        }
    }
    openblas_set_num_threads(1);
    return self;
}

void trainer_free(trainer *self)
{
    if (self == NULL) {
        return;
    }
    for (size_t l = 0; l <= self->options.layers; l++) {
        free(self->activations[l]);
        free(self->deltas[l]);
    }
    for (size_t l = 0; l < self->options.layers; l++) {
        free(self->dropped[l]);
        trainer_codes_free(&self->codes[l]);
    }
    free(self->losses);
    free(self->hits);
    free(self->parameters);
    free(self->gradients);
    free(self->mean);
    free(self->square);
    trainer_workers_free(self->workers);
    free(self);
}

void trainer_gradients(trainer *self, const int32_t *labels, size_t rows, int training,
                       double *loss, size_t *correct)
{
    trainer_forward(self, labels, rows, training, 1, loss, correct);
    trainer_learn(self, rows, 0.0);
}

/* Rises over the first half epoch, then falls to 0 along a cosine until the last step. */
static double rate_of_step(const trainer *self, size_t steps_per_epoch)
{
    const double step = (double)self->step + 1.0;
    const double warm = 0.5 * (double)steps_per_epoch;
    const double total = (double)(steps_per_epoch * self->options.epochs) + 1.0;
    if (step < warm) {
        return self->options.rate * step / warm;
    }
    const double pi = 3.141592653589793;
    return self->options.rate * 0.5 * (1.0 + cos(pi * (step - warm) / (total - warm)));
}

static void gather(trainer *self, const data_matrix *images, const uint32_t *order, size_t rows)
{
    const size_t columns = images->columns;
    for (size_t m = 0; m < rows; m++) {
        const float *image = images->values + (size_t)order[m] * columns;
        memcpy(self->activations[0] + m * columns, image, columns * sizeof *image);
    }
}

/* Rows of images, from `start` on, as many as fit. */
static size_t take(trainer *self, const data_matrix *images, size_t start)
{
    const size_t left = images->rows - start, columns = images->columns;
    const size_t rows = left < self->options.batch ? left : self->options.batch;
    memcpy(self->activations[0], images->values + start * columns, rows * columns * sizeof(float));
    return rows;
}

/* The range that batches have at each layer, in the mean; of the input the range of all images. */
static void start_ranges(trainer *self, const data_matrix *images)
{
    const size_t layers = self->options.layers, batch = self->options.batch;
    int32_t *labels = allocate(batch, sizeof *labels);
    double lo[TRAINER_MAX_LAYERS] = {0}, hi[TRAINER_MAX_LAYERS] = {0}, batches = 0.0;
    float low = 0.0f, high = 0.0f;
    for (size_t i = 0; i < images->rows * images->columns; i++) {
        low = images->values[i] < low ? images->values[i] : low;
        high = images->values[i] > high ? images->values[i] : high;
    }
    lo[0] = (double)low;
    hi[0] = (double)high;
    for (size_t start = 0; start < images->rows && batches < START_BATCHES; start += batch) {
        double loss = 0.0;
        size_t correct = 0;
        trainer_forward(self, labels, take(self, images, start), 0, 0, &loss, &correct);
        for (size_t l = 1; l < layers; l++) {
            trainer_codes_seen(&self->codes[l], &low, &high);
            lo[l] += (double)low;
            hi[l] += (double)high;
        }
        batches += 1.0;
    }
    for (size_t l = 0; l < layers; l++) {
        const double count = l == 0 ? 1.0 : batches;
        trainer_codes_start_range(&self->codes[l], (float)(lo[l] / count), (float)(hi[l] / count));
    }
    free(labels);
}

void trainer_start(trainer *self, const data_matrix *images)
{
    self->started = 1;
    if (!trainer_quantized(self)) {
        return;
    }
    const dynq_range_kind kind = self->options.range;
    for (size_t l = 0; l < self->options.layers; l++) {
        self->codes[l].kind = DYNQ_RANGE_DYNAMIC;
        trainer_codes_start(&self->codes[l], self->weights[l]);
    }
    start_ranges(self, images);
    for (size_t l = 0; l < self->options.layers; l++) {
        self->codes[l].kind = kind;
    }
}

static dynq_status diverged(const trainer *self, dynq_error *error)
{
    if (error != NULL) {
        error->status = DYNQ_ERR_NOT_FINITE;
        error->offset = DYNQ_NO_OFFSET;
        snprintf(error->message, sizeof error->message,
                 "training diverged: the loss is not finite at step %llu; use a smaller --rate",
                 (unsigned long long)self->step);
    }
    return DYNQ_ERR_NOT_FINITE;
}

dynq_status trainer_epoch(trainer *self, const data_matrix *images, const int32_t *labels,
                          trainer_score *result, dynq_error *error)
{
    const size_t batch = self->options.batch;
    const size_t steps = (images->rows + batch - 1) / batch;
    uint32_t *order = allocate(images->rows, sizeof *order);
    int32_t *batch_labels = allocate(batch, sizeof *batch_labels);
    if (!self->started) {
        trainer_start(self, images);
    }
    trainer_random_shuffle(&self->random, order, (uint32_t)images->rows);
    double loss_sum = 0.0;
    size_t correct_sum = 0;
    for (size_t i = 0; i < steps; i++) {
        const uint32_t *chosen = order + i * batch;
        const size_t left = images->rows - i * batch, rows = left < batch ? left : batch;
        gather(self, images, chosen, rows);
        for (size_t m = 0; m < rows; m++) {
            batch_labels[m] = labels[chosen[m]];
        }
        double loss = 0.0;
        size_t correct = 0;
        trainer_forward(self, batch_labels, rows, 1, 1, &loss, &correct);
        loss_sum += loss;
        correct_sum += correct;
        if (!isfinite(loss_sum)) {
            break;
        }
        trainer_learn(self, rows, rate_of_step(self, steps));
        self->step++;
    }
    free(order);
    free(batch_labels);
    if (!isfinite(loss_sum)) {
        return diverged(self, error);
    }
    result->loss = loss_sum / (double)images->rows;
    result->accuracy = (double)correct_sum / (double)images->rows;
    return DYNQ_OK;
}

trainer_score trainer_evaluate(trainer *self, const data_matrix *images, const int32_t *labels)
{
    double loss_sum = 0.0;
    size_t correct_sum = 0;
    for (size_t start = 0; start < images->rows; start += self->options.batch) {
        const size_t rows = take(self, images, start);
        double loss = 0.0;
        size_t correct = 0;
        trainer_forward(self, labels + start, rows, 0, 0, &loss, &correct);
        loss_sum += loss;
        correct_sum += correct;
    }
    return (trainer_score){.loss = loss_sum / (double)images->rows,
                           .accuracy = (double)correct_sum / (double)images->rows};
}
