#include "tools/command.h"

#include "tools/calibration.h"
#include "tools/output.h"

#include <stdio.h>
#include <stdlib.h>

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000

typedef struct calibrate_options {
    const char *data, *out;
    uint64_t rows;
} calibrate_options;

static const option_entry entries[] = {
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(calibrate_options, data),
     .argument = "FILE",
     .help = "requests the network will meet: rows of npy, IDX (also gzip) or raw f32; for a model "
             "of texts a text file, each line one request",
     .required = 1},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(calibrate_options, out),
     .argument = "FILE",
     .help = "where to write the calibration",
     .required = 1},
    {.name = "rows",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(calibrate_options, rows),
     .argument = "N",
     .help = "use the first N requests of the data; 0: all",
     .initial = "0"},
    {.name = NULL},
};

static void advance(void *context, double share)
{
    command_progress_update(context, (uint64_t)(share * PROGRESS_STEPS));
}

static void print_json(const dynq_calibration *calibration, size_t count, const char *path)
{
    json_t *object = command_json_new("calibrate");
    json_t *tensors = command_json_array();
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        json_t *tensor = command_json_object();
        command_json_set(tensor, "name", command_json_string(entry.value));
        command_json_set(tensor, "min", command_json_number(entry.min));
        command_json_set(tensor, "max", command_json_number(entry.max));
        command_json_set(tensor, "rows", command_json_integer(entry.rows));
        command_json_set(tensor, "elements", command_json_integer(entry.elements));
        command_json_append(tensors, tensor);
    }
    command_json_set(object, "tensors", tensors);
    command_json_set(object, "samples", command_json_integer(count));
    command_json_set(object, "file", command_json_string(path));
    command_json_print(object);
}

static void print_table(const dynq_calibration *calibration, table_format format)
{
    table *rows = table_create();
    table_column(rows, "tensor", TABLE_NAME);
    table_column(rows, "min", TABLE_RIGHT);
    table_column(rows, "max", TABLE_RIGHT);
    table_column(rows, "rows", TABLE_RIGHT);
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(calibration, i, &entry);
        table_text(rows, entry.value);
        table_number(rows, entry.min, 6);
        table_number(rows, entry.max, 6);
        table_integer(rows, entry.rows);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

static exit_code calibrate(const command_call *call, dynq_model *model, const requests *data)
{
    const calibrate_options *options = call->options;
    const size_t count =
        options->rows > 0 && options->rows < data->count ? (size_t)options->rows : data->count;
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    dynq_status status = dynq_calibration_create(model, NULL, &calibration, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, call->arguments[0]);
    }
    command_progress progress =
        command_progress_begin("calibrating", PROGRESS_STEPS, call->common.quiet);
    status = calibration_run(calibration, model, data, count, call->common.threads, advance,
                             &progress, &error);
    command_progress_end(&progress);
    exit_code code = EXIT_CODE_DONE;
    if (status != DYNQ_OK) {
        code = command_fail_status(call->command, status, &error, options->data);
    }
    if (code == EXIT_CODE_DONE) {
        status = dynq_calibration_save(calibration, options->out, &error);
        if (status != DYNQ_OK) {
            code = command_fail_status(call->command, status, &error, options->out);
        }
    }
    if (code == EXIT_CODE_DONE && call->common.json) {
        print_json(calibration, count, options->out);
    } else if (code == EXIT_CODE_DONE) {
        print_table(calibration, call->common.format);
        command_note(call, "%zu request%s measured, wrote %s", count, count == 1 ? "" : "s",
                     options->out);
    }
    dynq_calibration_free(calibration);
    return code;
}

static exit_code run(const command_call *call)
{
    const calibrate_options *options = call->options;
    dynq_model *model = NULL;
    exit_code code = command_open_model(call, call->arguments[0], &model);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    model_slot *inputs = NULL;
    requests data = {0};
    if (model_inputs(model, &inputs) != 1) {
        code = command_fail(call->command, EXIT_CODE_DATA,
                            "%s: has several inputs, of which one file cannot tell: calibrate it "
                            "from a program with dynq_calibration_observe()",
                            call->arguments[0]);
    } else {
        code = requests_read(call, model, options->data, &inputs[0], &data);
    }
    if (code == EXIT_CODE_DONE) {
        code = calibrate(call, model, &data);
    }
    requests_free(&data);
    free(inputs);
    dynq_model_free(model);
    return code;
}

const command command_calibrate = {
    .name = "calibrate",
    .summary = "measure the ranges of activations on example data",
    .usage = "MODEL --data X -o CAL [options]",
    .description = "Runs a model in FP32 over example data, once, and writes what static ranges "
                   "are chosen from. Take rows that the model is not evaluated on.",
    .example = "dynq calibrate mlp.safetensors --data train-images-idx3-ubyte.gz -o mlp.cal.json",
    .entries = entries,
    .options_size = sizeof(calibrate_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_FORMAT,
    .run = run,
};
