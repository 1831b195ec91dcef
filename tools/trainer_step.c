#include "tools/trainer_step.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* Kingma and Ba, "Adam" (2015); the decay of weights apart from it is Loshchilov and Hutter's
 * (2019). */
#define MEAN_DECAY   0.9
#define SQUARE_DECAY 0.999
#define EPSILON      1e-8f

typedef struct step_job {
    trainer *trainer;
    const int32_t *labels;
    size_t rows;
    int training, backward;
    double rate;
} step_job;

/* y = x * transpose(w), or added to y. */
static void multiply(const float *x, const float *w, float *y, size_t rows, size_t inputs,
                     size_t outputs, float beta)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)outputs,
                (blasint)inputs, 1.0f, x, (blasint)inputs, w, (blasint)inputs, beta, y,
                (blasint)outputs);
}

/* Leaves out hidden units with probability `share` and scales the others, so that the sum keeps its
 * mean. */
static void drop(const uint16_t *random, float *values, size_t count, double share)
{
    const uint32_t threshold = (uint32_t)(share * 65536.0);
    const float scale = (float)(1.0 / (1.0 - share));
    for (size_t i = 0; i < count; i++) {
        const float kept = values[i] * scale;
        values[i] = random[i] < threshold ? 0.0f : kept;
    }
}

static void rectify(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float zero = values[i] * 0.0f; /* NaN stays NaN */
        values[i] = values[i] > 0.0f ? values[i] : zero;
    }
}

static void forward_layer(trainer *self, size_t layer, size_t part, size_t first, size_t rows)
{
    const size_t inputs = self->options.widths[layer], outputs = self->options.widths[layer + 1];
    const float *x = self->activations[layer], *bias = self->biases[layer];
    float *y = self->activations[layer + 1] + first * outputs;
    if (trainer_quantized(self)) {
        trainer_codes *codes = &self->codes[layer];
        trainer_codes_inputs(codes, x, part, first, rows);
        multiply(codes->inputs + first * inputs, codes->levels, y, rows, inputs, outputs, 0.0f);
        trainer_codes_outputs(codes, bias, self->activations[layer + 1], first, rows);
    } else {
        for (size_t m = 0; m < rows; m++) {
            memcpy(y + m * outputs, bias, outputs * sizeof *y);
        }
        multiply(x + first * inputs, self->weights[layer], y, rows, inputs, outputs, 1.0f);
    }
}

static void forward(const step_job *job, size_t part, size_t first, size_t rows)
{
    trainer *self = job->trainer;
    const trainer_options *options = &self->options;
    for (size_t l = 0; l < options->layers; l++) {
        const size_t outputs = options->widths[l + 1];
        float *y = self->activations[l + 1] + first * outputs;
        forward_layer(self, l, part, first, rows);
        if (l + 1 == options->layers) {
            break;
        }
        rectify(y, rows * outputs);
        if (job->training && options->dropout > 0.0) {
            drop(self->dropped[l] + first * outputs, y, rows * outputs, options->dropout);
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

/* The deltas of the logits are those of the mean loss. */
static void score(const step_job *job, size_t first, size_t rows)
{
    trainer *self = job->trainer;
    const size_t layers = self->options.layers, classes = self->options.widths[layers];
    for (size_t m = first; m < first + rows; m++) {
        const float *logits = self->activations[layers] + m * classes;
        self->losses[m] = score_row(logits, classes, job->labels[m], self->options.smoothing,
                                    1.0 / (double)job->rows, self->deltas[layers] + m * classes);
        size_t best = 0;
        for (size_t c = 1; c < classes; c++) {
            best = logits[c] > logits[best] ? c : best;
        }
        self->hits[m] = best == (size_t)job->labels[m];
    }
}

/* A unit that was negative or left out is 0 and passes nothing on. */
static void pass_back(const float *x, float *below, size_t count, float kept)
{
    for (size_t i = 0; i < count; i++) {
        const float passed = below[i] * kept;
        below[i] = x[i] > 0.0f ? passed : 0.0f;
    }
}

static void backward(const step_job *job, size_t part, size_t first, size_t rows)
{
    trainer *self = job->trainer;
    const trainer_options *options = &self->options;
    const float kept = job->training ? (float)(1.0 / (1.0 - options->dropout)) : 1.0f;
    for (size_t l = options->layers; l-- > 0;) {
        const size_t inputs = options->widths[l], outputs = options->widths[l + 1];
        const float *x = self->activations[l], *delta = self->deltas[l + 1];
        const float *weights = self->weights[l];
        if (trainer_quantized(self)) {
            trainer_codes_deltas(&self->codes[l], delta, first, rows);
            delta = self->codes[l].by_column;
            weights = self->codes[l].levels;
        }
        if (l == 0) {
            break;
        }
        float *below = self->deltas[l];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, (blasint)inputs,
                    (blasint)outputs, 1.0f, delta + first * outputs, (blasint)outputs, weights,
                    (blasint)inputs, 0.0f, below + first * inputs, (blasint)inputs);
        if (trainer_quantized(self)) {
            trainer_codes_pass(&self->codes[l], x, below, part, first, rows);
        }
        pass_back(x + first * inputs, below + first * inputs, rows * inputs, kept);
    }
}

static void run_rows(void *context, size_t part)
{
    const step_job *job = context;
    size_t first = 0;
    const size_t rows = trainer_part(job->rows, part, &first);
    if (rows == 0) {
        for (size_t l = 0; l < job->trainer->options.layers; l++) {
            trainer_codes *codes = &job->trainer->codes[l];
            codes->seen[part][0] = codes->seen[part][1] = 0.0f;
            codes->edge_sum[part][0] = codes->edge_sum[part][1] = 0.0;
        }
        return;
    }
    forward(job, part, first, rows);
    score(job, first, rows);
    if (job->backward) {
        backward(job, part, first, rows);
    }
}

static void draw_dropped(trainer *self, size_t rows)
{
    for (size_t l = 0; l + 1 < self->options.layers; l++) {
        const size_t count = rows * self->options.widths[l + 1];
        for (size_t i = 0; i < count; i += 4) {
            const uint64_t bits = trainer_random_next(&self->random);
            for (size_t j = 0; j < 4; j++) {
                self->dropped[l][i + j] = (uint16_t)(bits >> (16 * j));
            }
        }
    }
}

void trainer_forward(trainer *self, const int32_t *labels, size_t rows, int training, int backward,
                     double *loss, size_t *correct)
{
    if (training && self->options.dropout > 0.0) {
        draw_dropped(self, rows);
    }
    step_job job = {.trainer = self,
                    .labels = labels,
                    .rows = rows,
                    .training = training,
                    .backward = backward};
    trainer_workers_run(self->workers, run_rows, &job);
    *loss = 0.0;
    *correct = 0;
    for (size_t m = 0; m < rows; m++) {
        *loss += self->losses[m];
        *correct += self->hits[m];
    }
}

/* The gradients of the weights and biases of columns [first, first + count). */
static void find_gradients(trainer *self, size_t layer, size_t rows, size_t first, size_t count)
{
    const size_t inputs = self->options.widths[layer], outputs = self->options.widths[layer + 1];
    const int quantized = trainer_quantized(self);
    const float *delta = self->deltas[layer + 1];
    const float *left = quantized ? self->codes[layer].by_row : delta;
    const float *right = quantized ? self->codes[layer].inputs : self->activations[layer];
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)count, (blasint)inputs,
                (blasint)rows, 1.0f, left + first, (blasint)outputs, right, (blasint)inputs, 0.0f,
                self->weight_gradients[layer] + first * inputs, (blasint)inputs);
    float *sums = self->bias_gradients[layer];
    memset(sums + first, 0, count * sizeof *sums);
    for (size_t m = 0; m < rows; m++) {
        for (size_t c = first; c < first + count; c++) {
            sums[c] += delta[m * outputs + c];
        }
    }
    if (quantized) {
        trainer_codes_gradients(&self->codes[layer], self->weights[layer],
                                self->weight_gradients[layer], first, count);
    }
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

/* Columns [first, first + count) of a layer, with the codes of its new weights. */
static void update_columns(trainer *self, size_t layer, size_t first, size_t count, double rate)
{
    const size_t inputs = self->options.widths[layer];
    update(self, self->weights[layer] + first * inputs, count * inputs, rate,
           self->options.weight_decay);
    update(self, self->biases[layer] + first, count, rate, 0.0);
    if (trainer_quantized(self)) {
        trainer_codes *codes = &self->codes[layer];
        update(self, codes->step + first, count, rate, 0.0);
        for (size_t c = first; c < first + count; c++) {
            trainer_codes_settle_step(codes, c);
        }
        trainer_codes_round(codes, self->weights[layer], first, count);
    }
}

static void run_columns(void *context, size_t part)
{
    const step_job *job = context;
    trainer *self = job->trainer;
    for (size_t l = 0; l < self->options.layers; l++) {
        size_t first = 0;
        const size_t count = trainer_part(self->options.widths[l + 1], part, &first);
        if (count > 0) {
            find_gradients(self, l, job->rows, first, count);
        }
        if (count > 0 && job->rate > 0.0) {
            update_columns(self, l, first, count, job->rate);
        }
    }
}

void trainer_learn(trainer *self, size_t rows, double rate)
{
    if (rate > 0.0) {
        self->mean_power *= MEAN_DECAY;
        self->square_power *= SQUARE_DECAY;
    }
    step_job job = {.trainer = self, .rows = rows, .rate = rate};
    trainer_workers_run(self->workers, run_columns, &job);
    for (size_t l = 1; l < self->options.layers && trainer_quantized(self); l++) {
        trainer_codes *codes = &self->codes[l];
        trainer_codes_range_gradient(codes);
        if (rate > 0.0) {
            update(self, codes->edge, 2, rate, 0.0);
            trainer_codes_settle_range(codes);
        }
    }
}
