#include "tools/trainer.h"

#include "tools/allocate.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kingma and Ba, "Adam" (2015); the decay of weights apart from it is Loshchilov and Hutter's
 * (2019). */
#define MEAN_DECAY   0.9
#define SQUARE_DECAY 0.999
#define EPSILON      1e-8f

static void place(const trainer_options *options, float *base, float **weights, float **biases)
{
    for (size_t l = 0; l < options->layers; l++) {
        weights[l] = base;
        base += options->widths[l] * options->widths[l + 1];
        biases[l] = base;
        base += options->widths[l + 1];
    }
}

trainer *trainer_create(const trainer_options *options)
{
    trainer *self = allocate(1, sizeof *self);
    self->options = *options;
    self->random = trainer_random_seed(options->seed);
    self->mean_power = 1.0;
    self->square_power = 1.0;
    for (size_t l = 0; l < options->layers; l++) {
        self->count += (options->widths[l] + 1) * options->widths[l + 1];
    }
    self->parameters = allocate(self->count, sizeof(float));
    self->gradients = allocate(self->count, sizeof(float));
    self->mean = allocate(self->count, sizeof(float));
    self->square = allocate(self->count, sizeof(float));
    place(options, self->parameters, self->weights, self->biases);
    place(options, self->gradients, self->weight_gradients, self->bias_gradients);
    for (size_t l = 0; l <= options->layers; l++) {
        self->activations[l] = allocate(options->batch * options->widths[l], sizeof(float));
        self->deltas[l] = allocate(options->batch * options->widths[l], sizeof(float));
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
    free(self->parameters);
    free(self->gradients);
    free(self->mean);
    free(self->square);
    free(self);
}

/* Leaves out hidden units with probability `share` and scales the others, so that the sum keeps its
 * mean. */
static void drop(trainer_random *random, float *values, size_t count, double share)
{
    const uint64_t threshold = (uint64_t)(share * 65536.0);
    const float scale = (float)(1.0 / (1.0 - share));
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        bits = i % 4 == 0 ? trainer_random_next(random) : bits >> 16;
        values[i] = (bits & 0xffff) < threshold ? 0.0f : values[i] * scale;
    }
}

static void forward(trainer *self, size_t rows, int training)
{
    const trainer_options *options = &self->options;
    for (size_t l = 0; l < options->layers; l++) {
        const size_t inputs = options->widths[l], outputs = options->widths[l + 1];
        float *y = self->activations[l + 1];
        for (size_t m = 0; m < rows; m++) {
            memcpy(y + m * outputs, self->biases[l], outputs * sizeof *y);
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)outputs,
                    (blasint)inputs, 1.0f, self->activations[l], (blasint)inputs, self->weights[l],
                    (blasint)inputs, 1.0f, y, (blasint)outputs);
        if (l + 1 == options->layers) {
            break;
        }
        for (size_t i = 0; i < rows * outputs; i++) {
            y[i] = y[i] > 0.0f ? y[i] : y[i] * 0.0f; /* NaN stays NaN */
        }
        if (training && options->dropout > 0.0) {
            drop(&self->random, y, rows * outputs, options->dropout);
        }
    }
}

/* Softmax cross-entropy of one row: returns the loss; writes its derivative by the logits, times
 * `scale`. */
static double score_row(const float *logits, size_t classes, int32_t label, double smoothing,
                        double scale, float *delta)
{
    double highest = (double)logits[0], sum = 0.0, logit_sum = 0.0;
    for (size_t c = 1; c < classes; c++) {
        highest = (double)logits[c] > highest ? (double)logits[c] : highest;
    }
    for (size_t c = 0; c < classes; c++) {
        sum += exp((double)logits[c] - highest);
        logit_sum += (double)logits[c];
    }
    const double log_sum = highest + log(sum);
    const double spread = smoothing / (double)classes;
    for (size_t c = 0; c < classes; c++) {
        const double target = spread + (c == (size_t)label ? 1.0 - smoothing : 0.0);
        delta[c] = (float)((exp((double)logits[c] - log_sum) - target) * scale);
    }
    return log_sum - (1.0 - smoothing) * (double)logits[label] - spread * logit_sum;
}

/* Sums over the rows; the deltas of the logits are those of the mean loss. */
static void score(trainer *self, const int32_t *labels, size_t rows, double *loss, size_t *correct)
{
    const size_t layers = self->options.layers, classes = self->options.widths[layers];
    *loss = 0.0;
    *correct = 0;
    for (size_t m = 0; m < rows; m++) {
        const float *logits = self->activations[layers] + m * classes;
        *loss += score_row(logits, classes, labels[m], self->options.smoothing, 1.0 / (double)rows,
                           self->deltas[layers] + m * classes);
        size_t best = 0;
        for (size_t c = 1; c < classes; c++) {
            best = logits[c] > logits[best] ? c : best;
        }
        *correct += best == (size_t)labels[m];
    }
}

static void backward(trainer *self, size_t rows, int training)
{
    const trainer_options *options = &self->options;
    const float kept = training ? (float)(1.0 / (1.0 - options->dropout)) : 1.0f;
    for (size_t l = options->layers; l-- > 0;) {
        const size_t inputs = options->widths[l], outputs = options->widths[l + 1];
        const float *x = self->activations[l], *delta = self->deltas[l + 1];
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)outputs, (blasint)inputs,
                    (blasint)rows, 1.0f, delta, (blasint)outputs, x, (blasint)inputs, 0.0f,
                    self->weight_gradients[l], (blasint)inputs);
        memset(self->bias_gradients[l], 0, outputs * sizeof(float));
        for (size_t i = 0; i < rows * outputs; i++) {
            self->bias_gradients[l][i % outputs] += delta[i];
        }
        if (l == 0) {
            break;
        }
        float *below = self->deltas[l];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, (blasint)inputs,
                    (blasint)outputs, 1.0f, delta, (blasint)outputs, self->weights[l],
                    (blasint)inputs, 0.0f, below, (blasint)inputs);
        /* A unit that was negative or left out is 0 and passes nothing on. */
        for (size_t i = 0; i < rows * inputs; i++) {
            below[i] = x[i] > 0.0f ? below[i] * kept : 0.0f;
        }
    }
}

void trainer_gradients(trainer *self, const int32_t *labels, size_t rows, int training,
                       double *loss, size_t *correct)
{
    forward(self, rows, training);
    score(self, labels, rows, loss, correct);
    backward(self, rows, training);
}

/* One step of Adam for `count` parameters. */
static void update(const trainer *self, const float *start, size_t count, double rate, double decay)
{
    const size_t offset = (size_t)(start - self->parameters);
    float *parameters = self->parameters + offset, *mean = self->mean + offset;
    float *square = self->square + offset;
    const float *gradients = self->gradients + offset;
    const float old_mean = (float)MEAN_DECAY, new_mean = (float)(1.0 - MEAN_DECAY);
    const float old_square = (float)SQUARE_DECAY, new_square = (float)(1.0 - SQUARE_DECAY);
    const float step = (float)(rate / (1.0 - self->mean_power));
    const float correction = (float)(1.0 / (1.0 - self->square_power));
    const float shrink = (float)(1.0 - rate * decay);
    for (size_t i = 0; i < count; i++) {
        const float gradient = gradients[i];
        mean[i] = old_mean * mean[i] + new_mean * gradient;
        square[i] = old_square * square[i] + new_square * (gradient * gradient);
        const float root = sqrtf(square[i] * correction) + EPSILON;
        parameters[i] = shrink * parameters[i] - step * (mean[i] / root);
    }
}

static void update_all(trainer *self, double rate)
{
    const trainer_options *options = &self->options;
    self->mean_power *= MEAN_DECAY;
    self->square_power *= SQUARE_DECAY;
    for (size_t l = 0; l < options->layers; l++) {
        const size_t outputs = options->widths[l + 1];
        update(self, self->weights[l], outputs * options->widths[l], rate, options->weight_decay);
        update(self, self->biases[l], outputs, rate, 0.0);
    }
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

dynq_status trainer_epoch(trainer *self, const data_matrix *images, const int32_t *labels,
                          trainer_score *result, dynq_error *error)
{
    const size_t batch = self->options.batch;
    const size_t steps = (images->rows + batch - 1) / batch;
    uint32_t *order = allocate(images->rows, sizeof *order);
    int32_t *batch_labels = allocate(batch, sizeof *batch_labels);
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
        trainer_gradients(self, batch_labels, rows, 1, &loss, &correct);
        loss_sum += loss;
        correct_sum += correct;
        if (!isfinite(loss_sum)) {
            break;
        }
        update_all(self, rate_of_step(self, steps));
        self->step++;
    }
    free(order);
    free(batch_labels);
    if (!isfinite(loss_sum)) {
        if (error != NULL) {
            error->status = DYNQ_ERR_NOT_FINITE;
            error->offset = DYNQ_NO_OFFSET;
            snprintf(error->message, sizeof error->message,
                     "training diverged: the loss is not finite at step %llu; use a smaller --rate",
                     (unsigned long long)self->step);
        }
        return DYNQ_ERR_NOT_FINITE;
    }
    result->loss = loss_sum / (double)images->rows;
    result->accuracy = (double)correct_sum / (double)images->rows;
    return DYNQ_OK;
}

trainer_score trainer_evaluate(trainer *self, const data_matrix *images, const int32_t *labels)
{
    const size_t batch = self->options.batch, columns = images->columns;
    double loss_sum = 0.0;
    size_t correct_sum = 0;
    for (size_t start = 0; start < images->rows; start += batch) {
        const size_t left = images->rows - start, rows = left < batch ? left : batch;
        memcpy(self->activations[0], images->values + start * columns,
               rows * columns * sizeof(float));
        double loss = 0.0;
        size_t correct = 0;
        forward(self, rows, 0);
        score(self, labels + start, rows, &loss, &correct);
        loss_sum += loss;
        correct_sum += correct;
    }
    return (trainer_score){.loss = loss_sum / (double)images->rows,
                           .accuracy = (double)correct_sum / (double)images->rows};
}
