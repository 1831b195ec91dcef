#include "tools/evaluate.h"

#include "tools/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct observer observer;

typedef struct evaluation {
    evaluate_variant *variants;
    observer *observers; /* of each variant */
    size_t count;
    const evaluate_data *data;
    const evaluate_options *options;
    size_t most_rows, most_requests; /* of a batch */
    /* Of each node of the reference: its values in this batch, NULL for inputs. */
    float **reference;
    evaluate_input *inputs;
    size_t *input_values; /* of each of `inputs`: the node that is read */
    size_t input_count;
} evaluation;

/* What the taps of one variant share. */
struct observer {
    evaluation *evaluation;
    size_t variant;
    long *entry; /* of each node of the variant's model: its place in nodes, -1 for none */
    dynq_tap *taps;
    size_t tap_count;
    runner runner;
};

static dynq_node_info node_of(const dynq_model *model, size_t index)
{
    dynq_node_info info = {.size = sizeof info};
    dynq_model_node(model, index, &info);
    return info;
}

static int is_input(const dynq_node_info *node)
{
    return node->op == DYNQ_OP_INPUT || node->op == DYNQ_OP_IDS;
}

/* Rows x columns floats of node `index`, seen while the variant ran or read by it from outside. */
static void observe(void *context, size_t index, size_t rows, size_t columns, const float *values,
                    size_t stride)
{
    const observer *self = context;
    evaluation *all = self->evaluation;
    evaluate_variant *variant = &all->variants[self->variant];
    if (self->variant == 0) {
        float *copy = all->reference[index];
        for (size_t r = 0; r < rows && copy != NULL; r++) {
            memcpy(copy + r * columns, values + r * stride, columns * sizeof *copy);
        }
        for (size_t i = 0; i < all->input_count; i++) {
            if (all->input_values[i] == index) {
                histogram_add(&all->inputs[i].seen, rows, columns, values, stride);
            }
        }
    }
    if (self->entry[index] >= 0) {
        evaluate_node *node = &variant->nodes[self->entry[index]];
        dynq_metrics_add(&node->metrics, rows, columns, all->reference[node->reference], 0, values,
                         stride);
    }
    for (size_t i = 0; i < variant->node_count; i++) {
        evaluate_node *node = &variant->nodes[i];
        if (node->info.range.kind != DYNQ_RANGE_STATIC || node->info.inputs[0] != index) {
            continue;
        }
        const float lo = node->info.range.lo;
        const float hi = node->info.range.hi;
        node->inputs += (uint64_t)rows * columns;
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = 0; c < columns; c++) {
                const float value = values[r * stride + c];
                node->outside += value < lo || value > hi;
            }
        }
    }
}

/* Lists the nodes that the variant shares with the reference. */
static void match_nodes(observer *self)
{
    const dynq_model *reference = self->evaluation->variants[0].model;
    evaluate_variant *variant = &self->evaluation->variants[self->variant];
    const size_t total = dynq_model_node_count(variant->model);
    self->entry = allocate(total, sizeof *self->entry);
    self->taps = allocate(total, sizeof *self->taps);
    variant->nodes = allocate(total, sizeof *variant->nodes);
    for (size_t i = 0; i < total; i++) {
        const dynq_node_info info = node_of(variant->model, i);
        self->entry[i] = -1;
        variant->weight_bytes += info.weight_bytes;
        if (is_input(&info)) {
            continue;
        }
        self->taps[self->tap_count++] =
            (dynq_tap){.node = info.name, .function = observe, .context = self};
        const long twin = dynq_model_find(reference, info.name);
        if (twin >= 0 && node_of(reference, (size_t)twin).n == info.n &&
            node_of(reference, (size_t)twin).domain == info.domain) {
            self->entry[i] = (long)variant->node_count;
            variant->nodes[variant->node_count++] = (evaluate_node){
                .info = info, .reference = twin, .input = self->entry[info.inputs[0]]};
        }
    }
}

static void list_inputs(evaluation *self)
{
    const dynq_model *model = self->variants[0].model;
    const size_t total = dynq_model_node_count(model);
    self->reference = allocate(total, sizeof *self->reference);
    self->inputs = allocate(total, sizeof *self->inputs);
    self->input_values = allocate(total, sizeof *self->input_values);
    for (size_t i = 0; i < total; i++) {
        const dynq_node_info info = node_of(model, i);
        if (!is_input(&info)) {
            const size_t rows =
                info.domain == DYNQ_DOMAIN_SEGMENTS ? self->most_requests : self->most_rows;
            self->reference[i] = allocate(rows * info.n, sizeof(float));
        }
        if (info.op == DYNQ_OP_LINEAR) {
            const dynq_node_info value = node_of(model, info.inputs[0]);
            self->inputs[self->input_count].layer = info.name;
            self->inputs[self->input_count].value = value.name;
            self->input_values[self->input_count++] = info.inputs[0];
        }
    }
}

static dynq_status start(observer *self, dynq_error *error)
{
    const evaluate_options *options = self->evaluation->options;
    const evaluate_variant *variant = &self->evaluation->variants[self->variant];
    match_nodes(self);
    const dynq_session_options session = {.size = sizeof session,
                                          .max_rows = self->evaluation->most_rows,
                                          .max_segments = self->evaluation->most_requests,
                                          .threads = options->threads,
                                          .kernel = options->kernel,
                                          .engine = variant->engine,
                                          .scope = variant->scope,
                                          .taps = self->taps,
                                          .tap_count = self->tap_count};
    return runner_create(variant->model, &session, &self->runner, error);
}

static size_t index_of_largest(const float *row, size_t columns)
{
    size_t best = 0;
    for (size_t c = 1; c < columns; c++) {
        best = row[c] > row[best] ? c : best;
    }
    return best;
}

/* Runs `count` requests from `first` on through one variant. */
static dynq_status run_batch(observer *self, size_t first, size_t count, dynq_error *error)
{
    const evaluation *all = self->evaluation;
    const evaluate_data *data = all->data;
    evaluate_variant *variant = &all->variants[self->variant];
    const void *x = requests_at(data->requests, first);
    const runner_batch batch = {
        .inputs = &x, .offsets = data->requests->offsets + first, .segments = count};
    const dynq_status status = runner_run(&self->runner, &batch, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const size_t total = dynq_model_node_count(variant->model);
    for (size_t i = 0; i < total; i++) {
        if (node_of(variant->model, i).op == DYNQ_OP_INPUT) {
            const size_t columns = data->requests->columns;
            observe(self, i, self->runner.rows, columns, x, columns);
        }
    }
    const size_t output = model_main_output(variant->model);
    const size_t columns = self->runner.outputs[output].columns;
    const float *y = runner_output(&self->runner, output);
    const runner *reference = &all->observers[0].runner;
    const float *expected = runner_output(reference, model_main_output(all->variants[0].model));
    dynq_metrics_add(&variant->output, runner_output_rows(&self->runner, output), columns, expected,
                     0, y, 0);
    dynq_metrics_add_classes(&variant->output, DYNQ_SCORES_LOGITS,
                             runner_output_rows(&self->runner, output), columns, expected, 0, y, 0);
    variant->requests += count;
    for (size_t r = 0; r < count && data->labels != NULL; r++) {
        variant->correct += (size_t)data->labels[first - data->first + r] ==
                            index_of_largest(y + r * columns, columns);
    }
    return DYNQ_OK;
}

static dynq_status run_all(evaluation *self, dynq_error *error)
{
    const evaluate_options *options = self->options;
    const evaluate_data *data = self->data;
    const size_t end = data->first + data->count;
    for (size_t first = data->first; first < end;) {
        const size_t count = requests_batch(data->requests, first, end, options->batch);
        for (size_t v = 0; v < self->count; v++) {
            const dynq_status status = run_batch(&self->observers[v], first, count, error);
            if (status != DYNQ_OK) {
                return status;
            }
        }
        first += count;
        if (options->advance != NULL) {
            options->advance(options->context, (double)(first - data->first) / (double)data->count);
        }
    }
    return DYNQ_OK;
}

dynq_status evaluate_accuracy(evaluate_variant *variants, size_t count, const evaluate_data *data,
                              const evaluate_options *options, evaluate_input **inputs,
                              size_t *input_count, dynq_error *error)
{
    evaluation self = {.variants = variants, .count = count, .data = data, .options = options};
    observer *observers = allocate(count, sizeof *observers);
    dynq_status status = DYNQ_OK;
    self.observers = observers;
    requests_largest_batch(data->requests, data->first, data->first + data->count, options->batch,
                           &self.most_rows, &self.most_requests);
    list_inputs(&self);
    for (size_t v = 0; v < count && status == DYNQ_OK; v++) {
        observers[v] = (observer){.evaluation = &self, .variant = v};
        status = start(&observers[v], error);
    }
    if (status == DYNQ_OK) {
        status = run_all(&self, error);
    }
    for (size_t v = 0; v < count; v++) {
        runner_free(&observers[v].runner);
        free(observers[v].entry);
        free(observers[v].taps);
    }
    free(observers);
    for (size_t i = 0; i < dynq_model_node_count(variants[0].model); i++) {
        free(self.reference[i]);
    }
    free(self.reference);
    free(self.input_values);
    if (status != DYNQ_OK) {
        free(self.inputs);
        return status;
    }
    *inputs = self.inputs;
    *input_count = self.input_count;
    return DYNQ_OK;
}

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
        status = runner_measure(lines, line_count, options->repeat, options->advance,
                                options->context, error);
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

void evaluate_free(evaluate_variant *variants, size_t count)
{
    for (size_t v = 0; v < count; v++) {
        free(variants[v].nodes);
        variants[v].nodes = NULL;
        variants[v].node_count = 0;
    }
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
