/* Whole models: their answers against those of FP32, and their time. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A measurement of a few models takes about so long. */
#define TIME_SECONDS 2.5

static exit_code fail(const tuning *self, const dynq_error *error)
{
    return command_fail_status(self->call->command, error->status, error, self->call->arguments[0]);
}

static dynq_status open_runner(const tuning *self, dynq_model *model, runner *opened,
                               dynq_error *error)
{
    const evaluate_data *data = &self->data;
    size_t rows = 0, together = 0;
    requests_largest_batch(data->requests, data->first, data->first + data->count,
                           (size_t)self->options->batch, &rows, &together);
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = rows,
                                          .max_segments = together,
                                          .threads = self->call->common.threads,
                                          .kernel = self->call->common.kernel};
    return runner_create(model, &options, opened, error);
}

/* Runs all requests; `take` gets what each batch answers. */
static exit_code run_all(const tuning *self, dynq_model *model,
                         void (*take)(void *context, const float *y, size_t rows), void *context)
{
    const evaluate_data *data = &self->data;
    const size_t end = data->first + data->count, output = model_main_output(model);
    runner opened = {0};
    dynq_error error = {0};
    dynq_status status = open_runner(self, model, &opened, &error);
    for (size_t first = data->first; first < end && status == DYNQ_OK;) {
        const size_t count =
            requests_batch(data->requests, first, end, (size_t)self->options->batch);
        const void *x = requests_at(data->requests, first);
        const runner_batch batch = {
            .inputs = &x, .offsets = data->requests->offsets + first, .segments = count};
        status = runner_run(&opened, &batch, &error);
        if (status == DYNQ_OK) {
            take(context, runner_output(&opened, output), runner_output_rows(&opened, output));
        }
        first += count;
    }
    runner_free(&opened);
    return status == DYNQ_OK ? EXIT_CODE_DONE : fail(self, &error);
}

/* ---- FP32 ---- */

static void keep_answers(void *context, const float *y, size_t rows)
{
    tuning *self = context;
    const size_t columns = self->answer_columns;
    memcpy(self->answers + self->answer_rows * columns, y, rows * columns * sizeof *y);
    self->answer_rows += rows;
}

/* The first answer row of a request, counted in those of `data`. */
static size_t answer_row(const tuning *self, size_t request)
{
    const evaluate_data *data = &self->data;
    const size_t *offsets = data->requests->offsets + data->first;
    return self->answer_rows == data->count ? request : offsets[request] - offsets[0];
}

/* By how much the right class is above the best other. */
static double margin_of(const float *row, size_t columns, size_t label)
{
    double best = -INFINITY;
    for (size_t c = 0; c < columns; c++) {
        best = c != label ? fmax(best, (double)row[c]) : best;
    }
    return (double)row[label] - best;
}

/* Whether the largest answer, the first of equals, is at the label. */
static int is_right(const float *row, size_t columns, size_t label)
{
    size_t best = 0;
    for (size_t c = 1; c < columns; c++) {
        best = row[c] > row[best] ? c : best;
    }
    return best == label;
}

static void take_margins(tuning *self)
{
    const evaluate_data *data = &self->data;
    size_t right = 0;
    self->margins = allocate(data->count, sizeof *self->margins);
    for (size_t i = 0; i < data->count; i++) {
        const float *row = self->answers + answer_row(self, i) * self->answer_columns;
        self->margins[i] = margin_of(row, self->answer_columns, (size_t)data->labels[i]);
        right += (size_t)is_right(row, self->answer_columns, (size_t)data->labels[i]);
    }
    self->fp32_accuracy = 100.0 * (double)right / (double)data->count;
}

exit_code tune_measure_fp32(tuning *self)
{
    const evaluate_data *data = &self->data;
    const size_t *offsets = data->requests->offsets;
    model_slot *slots = NULL;
    model_outputs(self->model, &slots);
    self->answer_columns = slots[model_main_output(self->model)].columns;
    free(slots);
    self->answers = allocate(offsets[data->first + data->count] - offsets[data->first],
                             self->answer_columns * sizeof *self->answers);
    self->fp32_accuracy = NAN;
    const exit_code code = run_all(self, self->model, keep_answers, self);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const size_t count = self->answer_rows * self->answer_columns;
    for (size_t i = 0; i < count; i++) {
        self->answer_power += (double)self->answers[i] * (double)self->answers[i] / (double)count;
    }
    if (data->labels != NULL) {
        take_margins(self);
    }
    return EXIT_CODE_DONE;
}

double tune_expected_accuracy(const tuning *self, double error)
{
    /* Of the difference of two answers that err independently. */
    const double deviation = sqrt(2 * error * self->answer_power);
    double sum = 0;
    for (size_t i = 0; i < self->data.count; i++) {
        sum += 0.5 * erfc(-self->margins[i] / (deviation * sqrt(2.0)));
    }
    return deviation > 0 ? 100 * sum / (double)self->data.count : self->fp32_accuracy;
}

/* ---- others ---- */

typedef struct comparing {
    const tuning *all;
    dynq_metrics metrics;
    size_t rows, requests, right;
} comparing;

static void compare_answers(void *context, const float *y, size_t rows)
{
    comparing *self = context;
    const tuning *all = self->all;
    const size_t columns = all->answer_columns;
    dynq_metrics_add(&self->metrics, rows, columns, all->answers + self->rows * columns, 0, y, 0);
    for (; all->data.labels != NULL && self->requests < all->data.count; self->requests++) {
        const size_t row = answer_row(all, self->requests);
        if (row >= self->rows + rows) {
            break;
        }
        self->right += (size_t)is_right(y + (row - self->rows) * columns, columns,
                                        (size_t)all->data.labels[self->requests]);
    }
    self->rows += rows;
}

static double weight_bytes(const dynq_model *model)
{
    double bytes = 0;
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info info = {.size = sizeof info};
        dynq_model_node(model, i, &info);
        bytes += (double)info.weight_bytes;
    }
    return bytes;
}

exit_code tune_evaluate(const tuning *self, dynq_model *model, tune_outcome *outcome)
{
    comparing all = {.all = self};
    const exit_code code = run_all(self, model, compare_answers, &all);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const double signal = all.metrics.signal;
    const int labels = self->data.labels != NULL;
    outcome->error = signal > 0 ? all.metrics.noise / signal : 0;
    outcome->cosine = dynq_metrics_result(&all.metrics).cosine_mean;
    outcome->accuracy = labels ? 100.0 * (double)all.right / (double)self->data.count : NAN;
    outcome->drop = self->fp32_accuracy - outcome->accuracy;
    outcome->bytes = weight_bytes(model);
    return EXIT_CODE_DONE;
}

exit_code tune_evaluate_candidates(tuning *self)
{
    exit_code code = EXIT_CODE_DONE;
    for (size_t c = 0; c < self->candidate_count && code == EXIT_CODE_DONE; c++) {
        tune_candidate *candidate = &self->candidates[c];
        code = tune_evaluate(self, candidate->model, &candidate->measured);
    }
    return code;
}

exit_code tune_time_models(const tuning *self, dynq_model *const *models, size_t count, double *ms)
{
    const evaluate_data *data = &self->data;
    const size_t together = requests_batch(data->requests, data->first, data->first + data->count,
                                           (size_t)self->options->batch);
    const void *x = requests_at(data->requests, data->first);
    const runner_batch batch = {
        .inputs = &x, .offsets = data->requests->offsets + data->first, .segments = together};
    runner *runners = allocate(count, sizeof *runners);
    runner_timing *lines = allocate(count, sizeof *lines);
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        status = open_runner(self, models[i], &runners[i], &error);
        lines[i] = (runner_timing){.runner = &runners[i], .batch = batch};
    }
    if (status == DYNQ_OK) {
        status = runner_measure(lines, count, (size_t)self->options->repeat, TIME_SECONDS, NULL,
                                NULL, &error);
    }
    for (size_t i = 0; i < count; i++) {
        ms[i] = lines[i].ms.median;
        runner_free(&runners[i]);
    }
    free(lines);
    free(runners);
    return status == DYNQ_OK ? EXIT_CODE_DONE : fail(self, &error);
}
