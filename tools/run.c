#include "tools/command.h"

#include "tools/allocate.h"
#include "tools/data.h"
#include "tools/output.h"
#include "tools/requests.h"
#include "tools/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1e6

typedef struct run_options {
    option_list inputs;
    const char *out, *output, *segments;
    uint64_t batch;
    int bf16_dot;
} run_options;

static const option_entry entries[] = {
    {.name = "input",
     .letter = 'i',
     .kind = OPTION_LIST,
     .offset = offsetof(run_options, inputs),
     .argument = "[NAME=]FILE",
     .help =
         "what to run: npy, IDX (also gzip) or raw f32; for an input of ids npy of integers or a "
         "text file; once for each input of the model",
     .required = 1},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(run_options, out),
     .argument = "FILE",
     .help = "where to write the result, as npy",
     .required = 1},
    {.name = "output",
     .kind = OPTION_STRING,
     .offset = offsetof(run_options, output),
     .argument = "NAME",
     .help = "which output of the model to write, where it has several"},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(run_options, batch),
     .argument = "N",
     .help = "requests of a batch, texts up to 2048 tokens; with --segments none, rows",
     .initial = "64",
     .low = 1,
     .high = 1e6},
    {.name = "segments",
     .kind = OPTION_STRING,
     .offset = offsetof(run_options, segments),
     .argument = "HOW",
     .help =
         "what is a request, with ranges of its own: rows: each row of a file, a file of ids of "
         "rank 1, or a line of text; none: a batch; otherwise an npy file with the rows of each",
     .initial = "rows"},
    {.name = "bf16-dot",
     .kind = OPTION_FLAG,
     .offset = offsetof(run_options, bf16_dot),
     .help = "layers with BF16 weights use the CPU's dot product for it, with inputs rounded to "
             "BF16 as well: faster, and not the same bits on every CPU"},
    {.name = NULL},
};

/* A model being run: what it reads, what it writes. */
typedef struct job {
    const command_call *call;
    dynq_model *model;
    model_slot *inputs, *outputs;
    size_t input_count, output_count;
    const char **files;    /* per input */
    requests *data;        /* per input */
    const requests *shape; /* the one of them that says what a request is */
    size_t chosen;         /* the output that is written */
    size_t batch;          /* requests of a batch; with --segments none, its rows */
    float *result;         /* [rows][columns of the chosen output] */
    size_t rows;           /* of the result so far */
    runner runner;
    double ms;
} job;

/* The input that NAME= in front of a file names; input_count without such a name. */
static size_t find_input(const job *self, const char *word)
{
    const char *equals = strchr(word, '=');
    for (size_t i = 0; equals != NULL && i < self->input_count; i++) {
        const size_t length = (size_t)(equals - word);
        if (strlen(self->inputs[i].name) == length &&
            memcmp(self->inputs[i].name, word, length) == 0) {
            return i;
        }
    }
    return self->input_count;
}

static exit_code assign_inputs(job *self)
{
    const command *own = self->call->command;
    const run_options *options = self->call->options;
    for (size_t i = 0; i < options->inputs.count; i++) {
        const char *word = options->inputs.items[i];
        size_t index = find_input(self, word);
        const char *file = index < self->input_count ? strchr(word, '=') + 1 : word;
        if (index == self->input_count && self->input_count == 1) {
            index = 0; /* the only input needs no name */
        }
        if (index == self->input_count) {
            return command_fail(own, EXIT_CODE_USAGE,
                                "--input: '%s' names none of the model's %zu inputs; say "
                                "NAME=FILE, for instance %s=%s",
                                word, self->input_count, self->inputs[0].name, word);
        }
        if (self->files[index] != NULL) {
            return command_fail(own, EXIT_CODE_USAGE, "--input: '%s' is given twice",
                                self->inputs[index].name);
        }
        self->files[index] = file;
    }
    for (size_t i = 0; i < self->input_count; i++) {
        if (self->files[i] == NULL) {
            return command_fail(own, EXIT_CODE_USAGE, "--input %s=FILE is missing",
                                self->inputs[i].name);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code choose_output(job *self)
{
    const run_options *options = self->call->options;
    char names[256] = "";
    for (size_t i = 0; i < self->output_count; i++) {
        if (options->output != NULL && strcmp(options->output, self->outputs[i].name) == 0) {
            self->chosen = i;
            return EXIT_CODE_DONE;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                 self->outputs[i].name);
    }
    if (options->output != NULL) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--output: the model has no output '%s'; it has %s", options->output,
                            names);
    }
    if (self->output_count > 1) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "the model has several outputs: choose one with --output: %s", names);
    }
    return EXIT_CODE_DONE;
}

/* Whether each batch is one request. */
static int is_none(const run_options *options)
{
    return strcmp(options->segments, "none") == 0;
}

/* Requests as the file says that --segments names. */
static exit_code cut_as_told(job *self, requests *data)
{
    const run_options *options = self->call->options;
    const command *own = self->call->command;
    const char *path = options->segments;
    const size_t rows = requests_rows(data);
    data_integers read = {0};
    dynq_error error = {0};
    const dynq_status status = data_read_integers(path, &read, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(own, status, &error, path);
    }
    const size_t count = read.rows * read.columns;
    size_t *lengths = allocate(count, sizeof *lengths);
    size_t sum = 0;
    exit_code code = EXIT_CODE_DONE;
    for (size_t i = 0; i < count && code == EXIT_CODE_DONE; i++) {
        if (read.values[i] < 1 || (size_t)read.values[i] > rows - sum) {
            code = command_fail(own, EXIT_CODE_DATA,
                                "%s: %d rows for request %zu (counted from 0), where %zu of %zu "
                                "are left: each has 1 or more",
                                path, (int)read.values[i], i, rows - sum, rows);
        } else {
            lengths[i] = (size_t)read.values[i];
            sum += lengths[i];
        }
    }
    if (code == EXIT_CODE_DONE && sum != rows) {
        code =
            command_fail(own, EXIT_CODE_DATA,
                         "%s: its requests have %zu rows, but the data has %zu", path, sum, rows);
    }
    if (code == EXIT_CODE_DONE) {
        requests_cut(data, lengths, count);
    }
    free(lengths);
    free(read.values);
    return code;
}

static exit_code cut_requests(job *self)
{
    const run_options *options = self->call->options;
    size_t shape = 0; /* ids know best what a request is */
    for (size_t i = 0; i < self->input_count && !self->inputs[shape].ids; i++) {
        shape = self->inputs[i].ids ? i : shape;
    }
    requests *data = &self->data[shape];
    exit_code code = EXIT_CODE_DONE;
    if (is_none(options)) {
        requests_cut(data, NULL, 1);
    } else if (strcmp(options->segments, "rows") != 0) {
        code = cut_as_told(self, data);
    }
    self->shape = data;
    self->batch = data->count < options->batch ? data->count : (size_t)options->batch;
    if (is_none(options)) {
        requests_cut(data, NULL, self->batch);
    }
    return code;
}

static exit_code read_inputs(job *self)
{
    for (size_t i = 0; i < self->input_count; i++) {
        const exit_code code = requests_read(self->call, self->model, self->files[i],
                                             &self->inputs[i], &self->data[i]);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
        if (requests_rows(&self->data[i]) != requests_rows(&self->data[0])) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s has %zu rows, but %s has %zu: inputs need the same number",
                                self->files[i], requests_rows(&self->data[i]), self->files[0],
                                requests_rows(&self->data[0]));
        }
    }
    return cut_requests(self);
}

static size_t most_requests(const job *self)
{
    return is_none(self->call->options) ? 1 : self->batch;
}

static exit_code create_runner(job *self)
{
    const command_common *common = &self->call->common;
    const model_slot *output = &self->outputs[self->chosen];
    dynq_session_options options = {
        .size = sizeof options,
        .threads = common->threads,
        .kernel = common->kernel,
        .engine = common->engine,
        .bf16_dot = ((const run_options *)self->call->options)->bf16_dot,
    };
    requests_largest_batch(self->shape, 0, self->shape->count, most_requests(self),
                           &options.max_rows, &options.max_segments);
    self->result = allocate(output->domain == DYNQ_DOMAIN_SEGMENTS ? self->shape->count
                                                                   : requests_rows(self->shape),
                            output->columns * sizeof(float));
    dynq_error error = {0};
    const dynq_status status = runner_create(self->model, &options, &self->runner, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
    }
    return EXIT_CODE_DONE;
}

/* Keeps what the run wrote. */
static void collect(job *self)
{
    const size_t columns = self->outputs[self->chosen].columns;
    const size_t rows = runner_output_rows(&self->runner, self->chosen);
    memcpy(self->result + self->rows * columns, runner_output(&self->runner, self->chosen),
           rows * columns * sizeof *self->result);
    self->rows += rows;
}

static exit_code run_batches(job *self)
{
    const size_t total = self->shape->count;
    command_progress progress = command_progress_begin("running", total, self->call->common.quiet);
    const void **inputs = allocate(self->input_count, sizeof *inputs);
    exit_code code = EXIT_CODE_DONE;
    uint64_t ns = 0;
    for (size_t first = 0, count = 0; first < total && code == EXIT_CODE_DONE; first += count) {
        count = requests_batch(self->shape, first, total, most_requests(self));
        const size_t *offsets = self->shape->offsets + first;
        for (size_t i = 0; i < self->input_count; i++) {
            const requests *data = &self->data[i];
            inputs[i] = (const char *)data->values + *offsets * data->columns * sizeof(float);
        }
        const runner_batch batch = {.inputs = inputs, .offsets = offsets, .segments = count};
        dynq_error error = {0};
        command_progress_update(&progress, first);
        const uint64_t start = statistics_now_ns();
        const dynq_status status = runner_run(&self->runner, &batch, &error);
        ns += statistics_now_ns() - start;
        if (status == DYNQ_OK) {
            collect(self);
        } else {
            command_progress_end(&progress);
            code = command_fail(
                self->call->command, exit_code_of(status), "%s, batch of rows %zu to %zu: %s",
                self->files[0], offsets[0], offsets[count] - 1,
                error.message[0] != '\0' ? error.message : dynq_status_text(status));
        }
    }
    command_progress_end(&progress);
    free(inputs);
    self->ms = (double)ns / NS_PER_MS;
    return code;
}

static void report(const job *self)
{
    const run_options *options = self->call->options;
    const model_slot *output = &self->outputs[self->chosen];
    dynq_session_info info = {.size = sizeof info};
    dynq_session_describe(self->runner.session, &info);
    if (self->call->common.json) {
        json_t *object = command_json_new("run");
        command_json_set(object, "rows", command_json_integer(self->rows));
        command_json_set(object, "requests", command_json_integer(self->shape->count));
        command_json_set(object, "columns", command_json_integer(output->columns));
        command_json_set(object, "output", command_json_string(output->name));
        command_json_set(object, "ms", command_json_number(self->ms));
        command_json_set(object, "batch", command_json_integer(self->batch));
        command_json_set(object, "threads", command_json_integer(info.threads));
        command_json_set(object, "engine", command_json_string(info.engine));
        command_json_set(object, "kernel", command_json_string(info.kernel));
        command_json_set(object, "dequantized", command_json_boolean(info.dequantized));
        command_json_set(object, "file", command_json_string(options->out));
        command_json_print(object);
        return;
    }
    table *rows = table_create();
    table_column(rows, "output", TABLE_LEFT);
    table_column(rows, "rows", TABLE_RIGHT);
    table_column(rows, "columns", TABLE_RIGHT);
    table_column(rows, "batch", TABLE_RIGHT);
    table_column(rows, "threads", TABLE_RIGHT);
    table_column(rows, "engine", TABLE_LEFT);
    table_column(rows, "kernel", TABLE_LEFT);
    table_column(rows, "ms", TABLE_RIGHT);
    table_text(rows, output->name);
    table_integer(rows, self->rows);
    table_integer(rows, output->columns);
    table_integer(rows, self->batch);
    table_integer(rows, info.threads);
    table_text(rows, info.engine);
    table_text(rows, info.kernel);
    table_number(rows, self->ms, 3);
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
    if (info.dequantized) {
        command_note(self->call, "the INT8 model ran in FP32, on dequantized weights");
    }
    command_note(self->call, "wrote %s", options->out);
}

static exit_code save(job *self)
{
    const run_options *options = self->call->options;
    dynq_error error = {0};
    const dynq_status status = data_write_npy(options->out, self->result, self->rows,
                                              self->outputs[self->chosen].columns, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, options->out);
    }
    return EXIT_CODE_DONE;
}

static void job_free(job *self)
{
    for (size_t i = 0; i < self->input_count; i++) {
        requests_free(&self->data[i]);
    }
    runner_free(&self->runner);
    free(self->inputs);
    free(self->outputs);
    free(self->files);
    free(self->data);
    free(self->result);
    dynq_model_free(self->model);
}

static exit_code run(const command_call *call)
{
    job self = {.call = call};
    exit_code code = command_open_model(call, call->arguments[0], &self.model);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    self.input_count = model_inputs(self.model, &self.inputs);
    self.output_count = model_outputs(self.model, &self.outputs);
    self.files = allocate(self.input_count, sizeof *self.files);
    self.data = allocate(self.input_count, sizeof *self.data);
    /* Each step only after the ones before it. */
    exit_code (*const steps[])(job *) = {assign_inputs, choose_output, read_inputs,
                                         create_runner, run_batches,   save};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == EXIT_CODE_DONE; i++) {
        code = steps[i](&self);
    }
    if (code == EXIT_CODE_DONE) {
        report(&self);
    }
    job_free(&self);
    return code;
}

const command command_run = {
    .name = "run",
    .summary = "run a model on rows of a file",
    .usage = "MODEL --input X.npy -o Y.npy [options]",
    .description = "Runs a model over all rows of its input in batches and writes one output as "
                   "npy. Each row, or line of text, is a request of its own: what else is in its "
                   "batch does not change its answer.",
    .example = "dynq run mlp-int8.safetensors --input t10k-images-idx3-ubyte.gz -o logits.npy",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(run_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_ENGINE | COMMAND_FORMAT,
    .run = run,
};
