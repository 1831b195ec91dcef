/* What each node alone does to the answers. The values of the FP32 model are kept for a batch; a
 * node at a precision runs on what it reads there, and its result runs through the FP32 nodes that
 * depend on it, which is all that changes. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/runner.h"

#include <dynq/comparison.h>
#include <stdlib.h>
#include <string.h>

/* Values of all nodes are in memory for so many rows: 80 MB of an encoder of 6 layers and 384
 * columns. */
#define MOST_ROWS 512

/* A value of the FP32 model on the batch. */
typedef struct kept_value {
    float *data;
    size_t rows, columns, room;
} kept_value;

typedef struct measuring {
    tuning *all;
    tune_cache *cache;
    kept_value *values; /* of each node of the model */
    runner fp32;
    size_t output;          /* the node of the main output */
    char *leads_to_output;  /* nodes that the main output depends on, with itself */
    runner_batch batch;     /* of the sample */
    const void *batch_rows; /* of the model's input */
    size_t rows, most_requests;
    size_t *nodes; /* of a part */
} measuring;

static dynq_node_info node_of(const dynq_model *model, size_t index)
{
    dynq_node_info info = {.size = sizeof info};
    dynq_model_node(model, index, &info);
    return info;
}

static void keep(void *context, size_t index, size_t rows, size_t columns, const float *data,
                 size_t row_stride)
{
    kept_value *value = (kept_value *)context + index;
    if (rows * columns > value->room) {
        value->room = rows * columns;
        value->data = allocate_again(value->data, value->room, sizeof *value->data);
    }
    value->rows = rows;
    value->columns = columns;
    for (size_t r = 0; r < rows; r++) {
        memcpy(value->data + r * columns, data + r * row_stride, columns * sizeof(float));
    }
}

/* Marks what the main output depends on. */
static void mark_nodes(measuring *self)
{
    const dynq_model *model = self->all->model;
    dynq_model_output(model, model_main_output(model), NULL, &self->output);
    self->leads_to_output[self->output] = 1;
    for (size_t i = self->output + 1; i-- > 0;) {
        const dynq_node_info info = node_of(model, i);
        for (uint32_t j = 0; j < info.input_count && self->leads_to_output[i]; j++) {
            self->leads_to_output[info.inputs[j]] = 1;
        }
    }
    for (size_t i = 0; i < self->all->node_count; i++) {
        self->all->nodes[i].matters = self->leads_to_output[self->all->nodes[i].index];
    }
}

static dynq_session_options session_options(const measuring *self)
{
    return (dynq_session_options){.size = sizeof(dynq_session_options),
                                  .max_rows = self->rows,
                                  .max_segments = self->most_requests,
                                  .threads = self->all->call->common.threads,
                                  .kernel = self->all->call->common.kernel};
}

/* A session of FP32 that keeps all values. */
static dynq_status open_fp32(measuring *self, dynq_error *error)
{
    const size_t total = dynq_model_node_count(self->all->model);
    dynq_tap *taps = allocate(total, sizeof *taps);
    size_t count = 0;
    for (size_t i = 0; i < total; i++) {
        const dynq_node_info info = node_of(self->all->model, i);
        if (info.op != DYNQ_OP_INPUT && info.op != DYNQ_OP_IDS && self->leads_to_output[i]) {
            taps[count++] =
                (dynq_tap){.node = info.name, .function = keep, .context = self->values};
        }
    }
    dynq_session_options options = session_options(self);
    options.taps = taps;
    options.tap_count = count;
    const dynq_status status = runner_create(self->all->model, &options, &self->fp32, error);
    free(taps);
    return status;
}

/* Nodes of a model on the kept values. What is all zero may be closed. */
typedef struct part {
    runner runner; /* its first output is the result */
    const void **inputs;
    size_t changed; /* the input that is not the kept one */
} part;

static void close_part(part *self)
{
    runner_free(&self->runner);
    free(self->inputs);
    *self = (part){0};
}

/* `changed` is the name of the value that callers will bring, or NULL. */
static dynq_status open_part(const measuring *self, dynq_model *model, const size_t *nodes,
                             size_t count, const char *changed, part *opened, dynq_error *error)
{
    dynq_model *extracted = NULL;
    dynq_status status = dynq_model_extract(model, nodes, count, &extracted, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_session_options options = session_options(self);
    status = runner_create(extracted, &options, &opened->runner, error);
    if (status == DYNQ_OK) {
        opened->inputs = allocate(opened->runner.input_count, sizeof *opened->inputs);
    }
    for (size_t i = 0; status == DYNQ_OK && i < opened->runner.input_count; i++) {
        const char *name = opened->runner.inputs[i].name;
        const kept_value *value = &self->values[dynq_model_find(self->all->model, name)];
        opened->inputs[i] = value->data != NULL ? (const void *)value->data : self->batch_rows;
        if (changed != NULL && strcmp(name, changed) == 0) {
            opened->changed = i;
        }
    }
    dynq_model_free(extracted);
    return status;
}

static dynq_status run_part(const measuring *self, part *opened, const float **result,
                            dynq_error *error)
{
    runner_batch batch = self->batch;
    batch.inputs = opened->inputs;
    *result = runner_output(&opened->runner, 0);
    return runner_run(&opened->runner, &batch, error);
}

/* The nodes between `from` and the main output; how many they are. */
static size_t nodes_after(const measuring *self, size_t from)
{
    const size_t total = self->output + 1;
    char *depends = allocate(total, 1);
    size_t count = 0;
    depends[from] = 1;
    for (size_t i = from + 1; i < total; i++) {
        const dynq_node_info info = node_of(self->all->model, i);
        for (uint32_t j = 0; j < info.input_count; j++) {
            depends[i] = depends[i] || depends[info.inputs[j]];
        }
        if (depends[i] && self->leads_to_output[i]) {
            self->nodes[count++] = i;
        }
    }
    free(depends);
    return count;
}

static void add_errors(const kept_value *reference, const float *value, dynq_metrics *metrics)
{
    dynq_metrics_add(metrics, reference->rows, reference->columns, reference->data, 0, value, 0);
}

/* The nodes after one, in FP32. */
static dynq_status open_rest(const measuring *self, const tune_node *node, part *rest,
                             dynq_error *error)
{
    const size_t count = nodes_after(self, node->index);
    return open_part(self, self->all->model, self->nodes, count, node->name, rest, error);
}

/* A node with one of its choices: the error of its result, and what becomes of it in the nodes
 * after it, which all choices have in common. */
static dynq_status measure_choice(const measuring *self, tune_node *node, size_t candidate,
                                  part *rest, dynq_error *error)
{
    tune_choice *choice = &node->choices[candidate];
    const float *result = NULL, *answer = NULL;
    part alone = {0};
    dynq_status status = open_part(self, self->all->candidates[candidate].model, &node->index, 1,
                                   NULL, &alone, error);
    if (status == DYNQ_OK) {
        status = run_part(self, &alone, &result, error);
    }
    if (status == DYNQ_OK && node->index != self->output) {
        status = rest->inputs == NULL ? open_rest(self, node, rest, error) : DYNQ_OK;
    }
    if (status == DYNQ_OK && node->index != self->output) {
        rest->inputs[rest->changed] = result;
        status = run_part(self, rest, &answer, error);
    }
    if (status == DYNQ_OK) {
        add_errors(&self->values[node->index], result, &choice->own);
        add_errors(&self->values[self->output], answer != NULL ? answer : result, &choice->answer);
    }
    close_part(&alone);
    return status;
}

static dynq_status measure_node(const measuring *self, tune_node *node, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    part rest = {0};
    for (size_t c = 0; c < self->all->candidate_count && status == DYNQ_OK; c++) {
        const tune_choice *choice = &node->choices[c];
        if (choice->available && !choice->exact && node->matters) {
            status = measure_choice(self, node, c, &rest, error);
        }
    }
    close_part(&rest);
    return status;
}

/* Requests of the sample from `first` on. */
static size_t take_batch(measuring *self, size_t first)
{
    const requests *sample = &self->all->sample;
    size_t count = requests_batch(sample, first, sample->count, (size_t)self->all->options->batch);
    while (count > 1 && sample->offsets[first + count] - sample->offsets[first] > MOST_ROWS) {
        count--;
    }
    self->batch_rows = requests_at(sample, first);
    self->batch = (runner_batch){
        .inputs = &self->batch_rows, .offsets = sample->offsets + first, .segments = count};
    return count;
}

static exit_code fail(const measuring *self, const dynq_error *error)
{
    return command_fail_status(self->all->call->command, error->status, error,
                               self->all->call->arguments[0]);
}

/* Measures nodes [next, ...) on one batch. */
static exit_code measure_batch(measuring *self, size_t first, size_t count, size_t next,
                               command_progress *progress)
{
    tuning *all = self->all;
    dynq_error error = {0};
    if (runner_run(&self->fp32, &self->batch, &error) != DYNQ_OK) {
        return fail(self, &error);
    }
    exit_code code = EXIT_CODE_DONE;
    for (size_t i = next; i < all->node_count && code == EXIT_CODE_DONE; i++) {
        if (measure_node(self, &all->nodes[i], &error) != DYNQ_OK) {
            return fail(self, &error);
        }
        const int last = i + 1 == all->node_count;
        code = tune_cache_save(self->cache, all, last ? first + count : first, last ? 0 : i + 1);
        command_progress_update(progress, first * all->node_count + count * (i + 1));
    }
    return code;
}

static void find_largest(measuring *self)
{
    const requests *sample = &self->all->sample;
    for (size_t first = 0; first < sample->count;) {
        const size_t count = take_batch(self, first);
        const size_t rows = sample->offsets[first + count] - sample->offsets[first];
        self->rows = rows > self->rows ? rows : self->rows;
        self->most_requests = count > self->most_requests ? count : self->most_requests;
        first += count;
    }
}

static exit_code measure_all(measuring *self)
{
    tuning *all = self->all;
    dynq_error error = {0};
    size_t first = 0, next = 0;
    exit_code code = EXIT_CODE_DONE;
    tune_cache_place(self->cache, &first, &next);
    if (open_fp32(self, &error) != DYNQ_OK) {
        return fail(self, &error);
    }
    command_progress progress = command_progress_begin(
        "Measuring nodes", all->sample.count * all->node_count, all->call->common.quiet);
    while (first < all->sample.count && code == EXIT_CODE_DONE) {
        const size_t count = take_batch(self, first);
        code = measure_batch(self, first, count, next, &progress);
        first += count;
        next = 0;
    }
    command_progress_end(&progress);
    return code;
}

exit_code tune_measure_nodes(tuning *all, tune_cache *cache)
{
    const size_t total = dynq_model_node_count(all->model);
    measuring self = {.all = all,
                      .cache = cache,
                      .values = allocate(total, sizeof *self.values),
                      .leads_to_output = allocate(total, 1),
                      .nodes = allocate(total, sizeof *self.nodes)};
    mark_nodes(&self);
    find_largest(&self);
    const exit_code code = measure_all(&self);
    runner_free(&self.fp32);
    for (size_t i = 0; i < total; i++) {
        free(self.values[i].data);
    }
    free(self.values);
    free(self.leads_to_output);
    free(self.nodes);
    return code;
}
