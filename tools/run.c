#include "tools/command.h"

#include "tools/allocate.h"
#include "tools/inputs.h"
#include "tools/output.h"
#include "tools/statistics.h"

#include <dynq/session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1e6

typedef struct run_options {
    option_list inputs;
    const char *out, *output;
    uint64_t batch;
    int segments;
} run_options;

/* The choices of --segments. */
enum { SEGMENTS_ROWS = 1, SEGMENTS_NONE };

static const option_entry entries[] = {
    {.name = "input",
     .letter = 'i',
     .kind = OPTION_LIST,
     .offset = offsetof(run_options, inputs),
     .argument = "[NAME=]FILE",
     .help = "rows to run: npy, IDX (also gzip) or raw f32; once for each input of the model",
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
     .help = "rows of a batch",
     .initial = "64",
     .low = 1,
     .high = 1e6},
    {.name = "segments",
     .kind = OPTION_CHOICE,
     .offset = offsetof(run_options, segments),
     .help = "rows: each row is a request with ranges of its own; none: a batch is one request",
     .initial = "rows",
     .choices = "rows|none"},
    {.name = NULL},
};

/* A model being run: what it reads, what it writes. */
typedef struct job {
    const command_call *call;
    dynq_model *model;
    model_slot *inputs, *outputs;
    size_t input_count, output_count;
    const char **files; /* per input */
    data_matrix *data;  /* per input */
    size_t chosen;      /* the output that is written */
    size_t rows;        /* of all the data */
    size_t batch;       /* rows of a batch */
    float *result;      /* [rows][columns of the chosen output] */
    float **unwanted;   /* per output that is not chosen: [batch][columns] */
    size_t *offsets;    /* [batch + 1], NULL with --segments none */
    dynq_binding *bindings;
    dynq_session *session;
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

static exit_code read_inputs(job *self)
{
    for (size_t i = 0; i < self->input_count; i++) {
        const exit_code code =
            inputs_read(self->call, self->files[i], self->inputs[i].columns, &self->data[i]);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
        if (self->data[i].rows != self->data[0].rows) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s has %zu rows, but %s has %zu: inputs need the same number",
                                self->files[i], self->data[i].rows, self->files[0],
                                self->data[0].rows);
        }
    }
    self->rows = self->data[0].rows;
    return EXIT_CODE_DONE;
}

static void prepare_memory(job *self)
{
    const run_options *options = self->call->options;
    self->batch = self->rows < options->batch ? self->rows : (size_t)options->batch;
    self->result = allocate(self->rows, self->outputs[self->chosen].columns * sizeof(float));
    for (size_t i = 0; i < self->output_count; i++) {
        if (i != self->chosen) {
            self->unwanted[i] = allocate(self->batch, self->outputs[i].columns * sizeof(float));
        }
    }
    if (options->segments == SEGMENTS_ROWS) {
        self->offsets = allocate(self->batch + 1, sizeof *self->offsets);
        for (size_t i = 0; i <= self->batch; i++) {
            self->offsets[i] = i;
        }
    }
}

static exit_code create_session(job *self)
{
    const command_common *common = &self->call->common;
    const dynq_session_options options = {
        .size = sizeof options,
        .max_rows = self->batch,
        .threads = common->threads,
        .kernel = common->kernel,
        .engine = common->engine,
    };
    dynq_error error = {0};
    const dynq_status status = dynq_session_create(self->model, &options, &self->session, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
    }
    return EXIT_CODE_DONE;
}

static void bind_rows(job *self, size_t first, size_t count)
{
    dynq_binding *binding = self->bindings;
    for (size_t i = 0; i < self->input_count; i++) {
        const size_t columns = self->inputs[i].columns;
        *binding++ = (dynq_binding){.slot = dynq_session_slot(self->session, self->inputs[i].name),
                                    .data = self->data[i].values + first * columns,
                                    .bytes = count * columns * sizeof(float)};
    }
    for (size_t i = 0; i < self->output_count; i++) {
        const size_t columns = self->outputs[i].columns;
        float *data = i == self->chosen ? self->result + first * columns : self->unwanted[i];
        *binding++ =
            (dynq_binding){.slot = dynq_session_output_slot(self->session, self->outputs[i].name),
                           .data = data,
                           .bytes = count * columns * sizeof(float)};
    }
}

static exit_code run_batches(job *self)
{
    command_progress progress =
        command_progress_begin("running", self->rows, self->call->common.quiet);
    exit_code code = EXIT_CODE_DONE;
    uint64_t ns = 0;
    for (size_t first = 0; first < self->rows && code == EXIT_CODE_DONE; first += self->batch) {
        const size_t rest = self->rows - first;
        const size_t count = rest < self->batch ? rest : self->batch;
        const dynq_batch batch = {.size = sizeof batch,
                                  .rows = count,
                                  .segments = self->offsets != NULL ? count : 0,
                                  .offsets = self->offsets};
        dynq_error error = {0};
        command_progress_update(&progress, first);
        bind_rows(self, first, count);
        const uint64_t start = statistics_now_ns();
        const dynq_status status = dynq_session_run(self->session, &batch, self->bindings,
                                                    self->input_count + self->output_count, &error);
        ns += statistics_now_ns() - start;
        if (status != DYNQ_OK) {
            command_progress_end(&progress);
            code = command_fail(
                self->call->command, exit_code_of(status), "%s, batch of rows %zu to %zu: %s",
                self->files[0], first, first + count - 1,
                error.message[0] != '\0' ? error.message : dynq_status_text(status));
        }
    }
    command_progress_end(&progress);
    self->ms = (double)ns / NS_PER_MS;
    return code;
}

static void report(const job *self)
{
    const run_options *options = self->call->options;
    const model_slot *output = &self->outputs[self->chosen];
    dynq_session_info info = {.size = sizeof info};
    dynq_session_describe(self->session, &info);
    if (self->call->common.json) {
        json_t *object = command_json_new("run");
        command_json_set(object, "rows", command_json_integer(self->rows));
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

static exit_code save(const job *self)
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
    dynq_session_free(self->session);
    for (size_t i = 0; i < self->input_count; i++) {
        data_matrix_free(&self->data[i]);
    }
    for (size_t i = 0; i < self->output_count; i++) {
        free(self->unwanted[i]);
    }
    free(self->inputs);
    free(self->outputs);
    free(self->files);
    free(self->data);
    free(self->result);
    free(self->unwanted);
    free(self->offsets);
    free(self->bindings);
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
    self.unwanted = allocate(self.output_count, sizeof *self.unwanted);
    self.bindings = allocate(self.input_count + self.output_count, sizeof *self.bindings);
    /* Each step only after the ones before it. */
    exit_code (*const steps[])(job *) = {assign_inputs, choose_output, read_inputs};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == EXIT_CODE_DONE; i++) {
        code = steps[i](&self);
    }
    if (code == EXIT_CODE_DONE) {
        prepare_memory(&self);
        code = create_session(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = run_batches(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = save(&self);
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
                   "npy. Each row is a request of its own: what else is in its batch does not "
                   "change its answer.",
    .example = "dynq run mlp-int8.safetensors --input t10k-images-idx3-ubyte.gz -o logits.npy",
    .entries = entries,
    .options_size = sizeof(run_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_ENGINE | COMMAND_FORMAT,
    .run = run,
};
