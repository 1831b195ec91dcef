#include "tools/evaluate.h"

#include "tools/allocate.h"
#include "tools/inputs.h"

#include <dynq/comparison.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All rounds of all variants take about so long, when the caller does not say how many. */
#define LATENCY_SECONDS 6

static dynq_node_info node_of(const dynq_model *model, size_t index)
{
    dynq_node_info info = {.size = sizeof info};
    dynq_model_node(model, index, &info);
    return info;
}

static const char *main_output(const dynq_model *model)
{
    const char *name = NULL;
    dynq_model_output(model, model_main_output(model), &name, NULL);
    return name;
}

/* ---- accuracy ---- */

typedef struct evaluation {
    evaluate_variant *variants;
    size_t count;
    const evaluate_data *data;
    dynq_comparison *comparison;
    size_t *offsets; /* of a batch, from 0 */
} evaluation;

static dynq_status create(evaluation *self, const evaluate_options *options, dynq_error *error)
{
    const evaluate_data *data = self->data;
    size_t rows = 0, together = 0;
    requests_largest_batch(data->requests, data->first, data->first + data->count, options->batch,
                           &rows, &together);
    const dynq_comparison_options limits = {.size = sizeof limits,
                                            .max_rows = rows,
                                            .max_segments = together,
                                            .threads = options->threads,
                                            .kernel = options->kernel};
    dynq_variant *variants = allocate(self->count, sizeof *variants);
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        variants[v] = (dynq_variant){.size = sizeof *variants,
                                     .model = variant->model,
                                     .engine = variant->engine,
                                     .scope = variant->scope,
                                     .output = main_output(variant->model)};
    }
    const dynq_status status =
        dynq_comparison_create(variants, self->count, &limits, &self->comparison, error);
    free(variants);
    self->offsets = allocate(together + 1, sizeof *self->offsets);
    return status;
}

static size_t index_of_largest(const float *row, size_t columns)
{
    size_t best = 0;
    for (size_t c = 1; c < columns; c++) {
        best = row[c] > row[best] ? c : best;
    }
    return best;
}

/* |y - reference| / |reference|; NaN where the reference is 0. */
static double relative_error(const float *reference, const float *y, size_t count)
{
    double noise = 0, signal = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = (double)y[i] - (double)reference[i];
        noise += error * error;
        signal += (double)reference[i] * (double)reference[i];
    }
    return signal > 0 ? sqrt(noise / signal) : NAN;
}

/* What is known of each request of a batch: its error, and whether it has the right class. */
static void add_requests(evaluation *self, size_t v, size_t first, size_t count)
{
    const evaluate_data *data = self->data;
    evaluate_variant *variant = &self->variants[v];
    size_t rows = 0, columns = 0;
    const float *y = dynq_comparison_output(self->comparison, v, &rows, &columns);
    const float *reference = dynq_comparison_output(self->comparison, 0, NULL, NULL);
    const int by_request = rows == count;
    for (size_t r = 0; r < count; r++) {
        const size_t row = by_request ? r : self->offsets[r];
        const size_t end = by_request ? r + 1 : self->offsets[r + 1];
        variant->errors[first - data->first + r] =
            relative_error(reference + row * columns, y + row * columns, (end - row) * columns);
        if (data->labels != NULL) {
            variant->correct += (size_t)data->labels[first - data->first + r] ==
                                index_of_largest(y + row * columns, columns);
        }
    }
    variant->requests += count;
}

/* Runs `count` requests from `first` on through all variants. */
static dynq_status run_batch(evaluation *self, size_t first, size_t count, dynq_error *error)
{
    const requests *set = self->data->requests;
    for (size_t i = 0; i <= count; i++) {
        self->offsets[i] = set->offsets[first + i] - set->offsets[first];
    }
    const dynq_batch batch = {.size = sizeof batch,
                              .rows = self->offsets[count],
                              .segments = count,
                              .offsets = self->offsets};
    /* The only input; a binding's data is not const because outputs use it too. */
    const dynq_binding input = {.slot = 0,
                                .data = (void *)(uintptr_t)requests_at(set, first),
                                .bytes = batch.rows * set->columns * sizeof(float)};
    const dynq_status status = dynq_comparison_run(self->comparison, &batch, &input, 1, error);
    for (size_t v = 0; v < self->count && status == DYNQ_OK; v++) {
        add_requests(self, v, first, count);
    }
    return status;
}

static dynq_status run_all(evaluation *self, const evaluate_options *options, dynq_error *error)
{
    const evaluate_data *data = self->data;
    const size_t end = data->first + data->count;
    dynq_status status = DYNQ_OK;
    for (size_t first = data->first; first < end && status == DYNQ_OK;) {
        const size_t count = requests_batch(data->requests, first, end, options->batch);
        status = run_batch(self, first, count, error);
        first += count;
        if (options->advance != NULL) {
            options->advance(options->context, (double)(first - data->first) / (double)data->count);
        }
    }
    return status;
}

static long place_of(const evaluate_variant *variant, const char *name)
{
    for (size_t i = 0; i < variant->node_count; i++) {
        if (strcmp(variant->nodes[i].info.name, name) == 0) {
            return (long)i;
        }
    }
    return -1;
}

/* The place of what `info` reads among the variant's nodes before it, or -1. What smoothing
 * inserted is not among them: then the place of what that reads. */
static long input_of(const evaluate_variant *variant, const dynq_node_info *info)
{
    const dynq_node_info read = node_of(variant->model, info->inputs[0]);
    const long place = place_of(variant, read.name);
    return place < 0 && read.op == DYNQ_OP_SCALE
               ? place_of(variant, node_of(variant->model, read.inputs[0]).name)
               : place;
}

static void take_nodes(const evaluation *self, size_t v)
{
    evaluate_variant *variant = &self->variants[v];
    const size_t count = dynq_comparison_node_count(self->comparison, v);
    variant->output = dynq_comparison_metrics(self->comparison, v);
    variant->nodes = allocate(count, sizeof *variant->nodes);
    for (size_t i = 0; i < count; i++) {
        dynq_comparison_node node = {.size = sizeof node};
        dynq_comparison_get(self->comparison, v, i, &node);
        const dynq_node_info info = node_of(variant->model, node.node);
        if (strcmp(info.name, node_of(self->variants[0].model, node.reference).name) != 0) {
            continue; /* inserted by smoothing */
        }
        evaluate_node *one = &variant->nodes[variant->node_count];
        *one = (evaluate_node){.info = info,
                               .reference = (long)node.reference,
                               .input = input_of(variant, &info),
                               .metrics = node.chain,
                               .own = node.own,
                               .inputs = node.inputs,
                               .outside = node.outside};
        if (dynq_model_headroom(variant->model, node.node, NULL, &one->headroom_bits) != DYNQ_OK) {
            one->headroom_bits = NAN;
        }
        variant->node_count++;
    }
    for (size_t i = 0; i < dynq_model_node_count(variant->model); i++) {
        variant->weight_bytes += node_of(variant->model, i).weight_bytes;
    }
}

/* What the linear layers of the reference read. */
static dynq_status take_inputs(const evaluation *self, evaluate_results *results, dynq_error *error)
{
    const dynq_model *model = self->variants[0].model;
    const size_t total = dynq_model_node_count(model);
    results->inputs = allocate(total, sizeof *results->inputs);
    for (size_t i = 0; i < total; i++) {
        const dynq_node_info info = node_of(model, i);
        if (info.op == DYNQ_OP_LINEAR) {
            results->inputs[results->input_count++] =
                (evaluate_input){.layer = info.name, .value = node_of(model, info.inputs[0]).name};
        }
    }
    const dynq_status status = dynq_calibration_create(model, NULL, &results->seen, error);
    return status == DYNQ_OK ? dynq_calibration_merge(results->seen,
                                                      dynq_comparison_seen(self->comparison), error)
                             : status;
}

dynq_status evaluate_accuracy(evaluate_variant *variants, size_t count, const evaluate_data *data,
                              const evaluate_options *options, evaluate_results *results,
                              dynq_error *error)
{
    evaluation self = {.variants = variants, .count = count, .data = data};
    *results = (evaluate_results){0};
    dynq_status status = create(&self, options, error);
    for (size_t v = 0; v < count; v++) {
        variants[v].errors = allocate(data->count, sizeof *variants[v].errors);
    }
    if (status == DYNQ_OK) {
        status = run_all(&self, options, error);
    }
    for (size_t v = 0; v < count && status == DYNQ_OK; v++) {
        take_nodes(&self, v);
    }
    if (status == DYNQ_OK) {
        status = take_inputs(&self, results, error);
    }
    dynq_comparison_free(self.comparison);
    free(self.offsets);
    return status;
}

/* ---- batch effect ---- */

dynq_status evaluate_batch_effects(evaluate_variant *variants, size_t count,
                                   const evaluate_data *data, const evaluate_options *options,
                                   size_t most_requests, size_t batches, dynq_error *error)
{
    const requests *set = data->requests;
    const void *x = requests_at(set, data->first);
    size_t *offsets = allocate(data->count + 1, sizeof *offsets);
    for (size_t i = 0; i <= data->count; i++) {
        offsets[i] = set->offsets[data->first + i] - set->offsets[data->first];
    }
    const dynq_request_set all = {
        .size = sizeof all, .count = data->count, .offsets = offsets, .inputs = &x};
    dynq_status status = DYNQ_OK;
    for (size_t v = 0; v < count && status == DYNQ_OK; v++) {
        evaluate_variant *variant = &variants[v];
        const dynq_batch_effect_options effect = {.size = sizeof effect,
                                                  .engine = variant->engine,
                                                  .scope = variant->scope,
                                                  .output = main_output(variant->model),
                                                  .requests = most_requests,
                                                  .rounds = batches,
                                                  .together = options->batch,
                                                  .most_rows = set->most_rows,
                                                  .threads = options->threads,
                                                  .kernel = options->kernel};
        dynq_batch_effect_result result = {.size = sizeof result};
        status = dynq_batch_effect(variant->model, &all, &effect, &result, error);
        variant->batch_effect = (evaluate_batch_effect){.requests = result.requests,
                                                        .batches = result.rounds,
                                                        .mean = result.mean,
                                                        .worst = result.worst,
                                                        .identical = result.identical};
        if (options->advance != NULL) {
            options->advance(options->context, (double)(v + 1) / (double)count);
        }
    }
    free(offsets);
    return status;
}

/* ---- latency ---- */

/* A session of one variant on one engine. */
typedef struct contestant {
    evaluate_variant *variant;
    const dynq_engine *engine;
    runner runner;
} contestant;

static dynq_status prepare(contestant *self, const evaluate_options *options, size_t rows,
                           size_t count, dynq_error *error)
{
    const dynq_session_options session = {.size = sizeof session,
                                          .max_rows = rows,
                                          .max_segments = count,
                                          .threads = options->threads,
                                          .kernel = options->kernel,
                                          .engine = self->engine,
                                          .scope = self->variant->scope};
    return runner_create(self->variant->model, &session, &self->runner, error);
}

dynq_status evaluate_latency(evaluate_variant *variants, size_t count, const evaluate_data *data,
                             const evaluate_options *options, dynq_error *error)
{
    const requests *set = data->requests;
    const size_t together =
        requests_batch(set, data->first, data->first + data->count, options->batch);
    const size_t *offsets = set->offsets + data->first;
    const void *x = requests_at(set, data->first);
    const runner_batch batch = {.inputs = &x, .offsets = offsets, .segments = together};
    contestant *all = allocate(count * EVALUATE_MAX_TIMED, sizeof *all);
    runner_timing *lines = allocate(count * EVALUATE_MAX_TIMED, sizeof *lines);
    size_t line_count = 0;
    dynq_status status = DYNQ_OK;
    for (size_t v = 0; v < count; v++) {
        const size_t engines = variants[v].timed_count > 0 ? variants[v].timed_count : 1;
        for (size_t e = 0; e < engines && status == DYNQ_OK; e++) {
            contestant *one = &all[line_count];
            one->variant = &variants[v];
            one->engine = variants[v].timed_count > 0 ? variants[v].timed[e] : variants[v].engine;
            status = prepare(one, options, offsets[together] - offsets[0], together, error);
            lines[line_count++] = (runner_timing){.runner = &one->runner, .batch = batch};
        }
    }
    if (status == DYNQ_OK) {
        status = runner_measure(lines, line_count, options->repeat, LATENCY_SECONDS,
                                options->advance, options->context, error);
    }
    for (size_t i = 0; i < line_count; i++) {
        evaluate_variant *variant = all[i].variant;
        if (status == DYNQ_OK &&
            (variant->ms_engine == NULL || lines[i].ms.median < variant->ms.median)) {
            variant->ms = lines[i].ms;
            variant->ms_engine = all[i].engine != NULL ? all[i].engine->name : "native";
        }
        runner_free(&all[i].runner);
    }
    free(lines);
    free(all);
    return status;
}

void evaluate_free(evaluate_variant *variants, size_t count, evaluate_results *results)
{
    for (size_t v = 0; v < count; v++) {
        free(variants[v].nodes);
        free(variants[v].errors);
        variants[v].nodes = NULL;
        variants[v].errors = NULL;
        variants[v].node_count = 0;
    }
    free(results->inputs);
    dynq_calibration_free(results->seen);
    *results = (evaluate_results){0};
}

double evaluate_share_correct(const evaluate_variant *variant, const evaluate_data *data)
{
    return data->labels == NULL || variant->requests == 0
               ? NAN
               : (double)variant->correct / (double)variant->requests;
}

double evaluate_share_outside(const evaluate_node *node)
{
    return node->inputs == 0 ? 0 : (double)node->outside / (double)node->inputs;
}
