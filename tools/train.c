#include "tools/command.h"

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/statistics.h"
#include "tools/train_data.h"
#include "tools/train_model.h"
#include "tools/trainer.h"

#include <dynq/format.h>
#include <dynq/model.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct train_options {
    const char *data, *out, *from;
    int weights, ranges, granularity, steps; /* 0: not given */
    uint64_t epochs, batch;
    option_sizes hidden;
    double rate, weight_decay, dropout, smoothing;
} train_options;

static const option_entry entries[] = {
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(train_options, data),
     .argument = "DIR",
     .help = "folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k, "
             "plain or .gz",
     .required = 1},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(train_options, out),
     .argument = "MODEL",
     .help = "where to write the model",
     .required = 1},
    {.name = "epochs",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(train_options, epochs),
     .argument = "N",
     .help = "passes over the training images",
     .initial = "40",
     .low = 1,
     .high = 10000},
    {.name = "hidden",
     .kind = OPTION_SIZES,
     .offset = offsetof(train_options, hidden),
     .argument = "N,...",
     .help = "units of the hidden layers, at most 7 of them",
     .initial = "512,256",
     .low = 1,
     .high = 65536},
    {.name = "batch",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(train_options, batch),
     .argument = "N",
     .help = "images per step",
     .initial = "128",
     .low = 1,
     .high = 65536},
    {.name = "rate",
     .kind = OPTION_NUMBER,
     .offset = offsetof(train_options, rate),
     .argument = "X",
     .help = "Adam's step size at its highest; it falls to 0 along a cosine",
     .initial = "0.001",
     .low = 1e-9,
     .high = 1e9},
    {.name = "weight-decay",
     .kind = OPTION_NUMBER,
     .offset = offsetof(train_options, weight_decay),
     .argument = "X",
     .help = "decay of the weights per step, relative to the rate",
     .initial = "0.05",
     .low = 0,
     .high = 1e3},
    {.name = "dropout",
     .kind = OPTION_NUMBER,
     .offset = offsetof(train_options, dropout),
     .argument = "X",
     .help = "share of hidden units left out of each step",
     .initial = "0.2",
     .low = 0,
     .high = 0.99},
    {.name = "smoothing",
     .kind = OPTION_NUMBER,
     .offset = offsetof(train_options, smoothing),
     .argument = "X",
     .help = "share of each label spread over all classes",
     .initial = "0",
     .low = 0,
     .high = 0.99},
    {.name = "from",
     .kind = OPTION_STRING,
     .offset = offsetof(train_options, from),
     .argument = "MODEL",
     .help = "start from the weights of this FP32 model, whose layers are then those of the "
             "network, in the place of --hidden"},
    {.name = "weights",
     .kind = OPTION_CHOICE,
     .offset = offsetof(train_options, weights),
     .argument = "FORMAT",
     .help = "train for weights in this format and inputs in 8 bits, and write a model that "
             "computes in integers: fp32, int8, int4, int2",
     .initial = "fp32",
     .choices = "fp32|int8|int4|int2"},
    {.name = "ranges",
     .kind = OPTION_CHOICE,
     .offset = offsetof(train_options, ranges),
     .argument = "KIND",
     .help = "with --weights: ranges of the layers' inputs, dynamic or static. Default: dynamic",
     .choices = "dynamic|static"},
    {.name = "granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(train_options, granularity),
     .argument = "SCOPE",
     .help = "of dynamic ranges in the model: row, or segment, which is a row where each image is "
             "a request; training has one range for each image. Default: row",
     .choices = "row|segment"},
    {.name = "steps",
     .kind = OPTION_CHOICE,
     .offset = offsetof(train_options, steps),
     .argument = "HOW",
     .help = "with --weights: the steps between levels, and static ranges, are learned, or follow "
             "the largest weight of a column and the mean range of a batch (max). Default: learned",
     .choices = "learned|max"},
    {.name = NULL},
};

typedef struct epoch_report {
    trainer_score train, test;
    double seconds;
} epoch_report;

/* Says before the work starts what would stop the result from being written. */
static exit_code check_output(const command_call *call, const char *path)
{
    char *copy = allocate_text(path);
    const int writable = access(dirname(copy), W_OK | X_OK) == 0 || access(path, W_OK) == 0;
    const int reason = errno;
    free(copy);
    return writable ? EXIT_CODE_DONE
                    : command_fail(call->command, EXIT_CODE_IO, "%s: cannot write: %s", path,
                                   strerror(reason));
}

/* What only goes with quantization. */
static exit_code set_quantization(const command_call *call, trainer_options *settings)
{
    static const dynq_format formats[] = {0, DYNQ_FORMAT_INT8, DYNQ_FORMAT_INT4, DYNQ_FORMAT_INT2};
    const train_options *options = call->options;
    settings->weights = formats[options->weights - 1];
    settings->range = options->ranges == 2 ? DYNQ_RANGE_STATIC : DYNQ_RANGE_DYNAMIC;
    settings->steps = options->steps == 2 ? TRAINER_STEPS_MAX : TRAINER_STEPS_LEARNED;
    if (settings->weights == 0 && (options->ranges | options->granularity | options->steps) != 0) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--ranges, --granularity and --steps are about quantization: choose "
                            "--weights int8, int4 or int2");
    }
    if (settings->range == DYNQ_RANGE_STATIC && options->granularity != 0) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--granularity is about dynamic ranges; a static one is of the tensor");
    }
    return EXIT_CODE_DONE;
}

static exit_code set_widths(const command_call *call, const train_data *data,
                            const train_start *start, trainer_options *settings)
{
    const train_options *options = call->options;
    const size_t columns = data->train.images.columns;
    if (options->from != NULL) {
        const size_t inputs = start->widths[0], outputs = start->widths[start->layers];
        settings->layers = start->layers;
        memcpy(settings->widths, start->widths, sizeof settings->widths);
        return inputs == columns && outputs == data->classes
                   ? EXIT_CODE_DONE
                   : command_fail(call->command, EXIT_CODE_DATA,
                                  "%s: takes %zu values to %zu classes; the data have %zu and %zu",
                                  options->from, inputs, outputs, columns, data->classes);
    }
    settings->layers = options->hidden.count + 1;
    settings->widths[0] = columns;
    for (size_t i = 0; i < options->hidden.count; i++) {
        settings->widths[i + 1] = (size_t)options->hidden.values[i];
    }
    settings->widths[settings->layers] = data->classes;
    return EXIT_CODE_DONE;
}

static exit_code make_settings(const command_call *call, const train_data *data,
                               const train_start *start, trainer_options *settings)
{
    const train_options *options = call->options;
    if (options->hidden.count + 1 > TRAINER_MAX_LAYERS) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--hidden: %zu layers; at most %d are possible", options->hidden.count,
                            TRAINER_MAX_LAYERS - 1);
    }
    *settings = (trainer_options){.epochs = (size_t)options->epochs,
                                  .batch = (size_t)options->batch,
                                  .seed = call->common.seed,
                                  .threads = call->common.threads,
                                  .rate = options->rate,
                                  .weight_decay = options->weight_decay,
                                  .dropout = options->dropout,
                                  .smoothing = options->smoothing};
    const exit_code code = set_quantization(call, settings);
    return code == EXIT_CODE_DONE ? set_widths(call, data, start, settings) : code;
}

static exit_code train_epochs(const command_call *call, trainer *network, const train_data *data,
                              epoch_report *reports)
{
    const size_t epochs = network->options.epochs;
    const command_progress progress =
        command_progress_begin("training", epochs, call->common.quiet);
    for (size_t i = 0; i < epochs; i++) {
        command_progress bar = progress;
        command_progress_update(&bar, i);
        const uint64_t start = statistics_now_ns();
        dynq_error error = {0};
        const dynq_status status = trainer_epoch(network, &data->train.images, data->train.labels,
                                                 &reports[i].train, &error);
        if (status != DYNQ_OK) {
            command_progress_end(&bar);
            return command_fail_status(call->command, status, &error, NULL);
        }
        reports[i].test = trainer_evaluate(network, &data->test.images, data->test.labels);
        reports[i].seconds = (double)(statistics_now_ns() - start) * 1e-9;
        command_progress_end(&bar);
        command_note(call,
                     "epoch %zu of %zu: loss %.4f, train accuracy %.2f %%, test accuracy %.2f %%, "
                     "%.1f s",
                     i + 1, epochs, reports[i].train.loss, 100.0 * reports[i].train.accuracy,
                     100.0 * reports[i].test.accuracy, reports[i].seconds);
    }
    return EXIT_CODE_DONE;
}

static exit_code save(const command_call *call, const trainer *network)
{
    const train_options *options = call->options;
    const dynq_scope scope = options->granularity == 2 ? DYNQ_SCOPE_SEGMENT : DYNQ_SCOPE_ROW;
    dynq_model *model = NULL;
    dynq_error error = {0};
    dynq_status status = train_model_make(network, scope, &model, &error);
    if (status == DYNQ_OK) {
        status = dynq_model_save(model, options->out, &error);
    }
    dynq_model_free(model);
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(call->command, status, &error, options->out);
}

static const char *format_name(const trainer *network)
{
    return dynq_format_name(network->options.weights != 0 ? network->options.weights
                                                          : DYNQ_FORMAT_FP32);
}

static void print_json(const command_call *call, const trainer *network,
                       const epoch_report *reports)
{
    const train_options *options = call->options;
    const size_t epochs = network->options.epochs;
    json_t *object = command_json_new("train");
    json_t *list = command_json_array();
    double seconds = 0.0;
    for (size_t i = 0; i < epochs; i++) {
        json_t *epoch = command_json_object();
        command_json_set(epoch, "epoch", command_json_integer(i + 1));
        command_json_set(epoch, "loss", command_json_number(reports[i].train.loss));
        command_json_set(epoch, "train_accuracy", command_json_number(reports[i].train.accuracy));
        command_json_set(epoch, "test_loss", command_json_number(reports[i].test.loss));
        command_json_set(epoch, "test_accuracy", command_json_number(reports[i].test.accuracy));
        command_json_set(epoch, "seconds", command_json_number(reports[i].seconds));
        command_json_append(list, epoch);
        seconds += reports[i].seconds;
    }
    command_json_set(object, "epochs", list);
    command_json_set(object, "test_accuracy",
                     command_json_number(reports[epochs - 1].test.accuracy));
    command_json_set(object, "seconds", command_json_number(seconds));
    command_json_set(object, "seed", command_json_integer(network->options.seed));
    command_json_set(object, "parameters", command_json_integer(network->count));
    command_json_set(object, "weights", command_json_string(format_name(network)));
    command_json_set(object, "file", command_json_string(options->out));
    command_json_print(object);
}

static exit_code train(const command_call *call, const train_data *data, const train_start *start)
{
    const train_options *options = call->options;
    trainer_options settings;
    exit_code code = make_settings(call, data, start, &settings);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    trainer *network = trainer_create(&settings);
    train_start_copy(start, network);
    epoch_report *reports = allocate(settings.epochs, sizeof *reports);
    code = train_epochs(call, network, data, reports);
    if (code == EXIT_CODE_DONE) {
        code = save(call, network);
    }
    if (code == EXIT_CODE_DONE && call->common.json) {
        print_json(call, network, reports);
    } else if (code == EXIT_CODE_DONE) {
        printf("test accuracy %.2f %% after %zu epochs, wrote %s\n",
               100.0 * reports[settings.epochs - 1].test.accuracy, settings.epochs, options->out);
    }
    free(reports);
    trainer_free(network);
    return code;
}

static exit_code run(const command_call *call)
{
    const train_options *options = call->options;
    exit_code code = check_output(call, options->out);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    train_start start = {0};
    train_data data;
    dynq_error error = {0};
    dynq_status status =
        options->from != NULL ? train_start_read(options->from, &start, &error) : DYNQ_OK;
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->from);
    }
    status = train_data_read(options->data, &data, &error);
    if (status != DYNQ_OK) {
        train_start_free(&start);
        return command_fail_status(call->command, status, &error, options->data);
    }
    code = train(call, &data, &start);
    train_start_free(&start);
    train_data_free(&data);
    return code;
}

const command command_train = {
    .name = "train",
    .summary = "train a multilayer perceptron on images",
    .usage = "--data DIR -o MODEL [options]",
    .description =
        "Trains a multilayer perceptron with ReLU on files in the layout of MNIST: cross-entropy, "
        "Adam with decoupled weight decay, up to two threads. The weights after the last epoch "
        "are written; test images only measure. One seed gives the same bytes on one type of CPU, "
        "whatever the threads. With --weights int8, int4 or int2 the network computes on the codes "
        "that the integer engine will see (fake quantization with straight-through gradients), "
        "and the accuracies are those of the model that is written.",
    .example = "dynq train --data /usr/share/datasets/fashion-mnist -o mlp.safetensors\n"
               "dynq train --data /usr/share/datasets/fashion-mnist --from mlp.safetensors "
               "--weights int4 --epochs 10 -o mlp-int4.safetensors",
    .entries = entries,
    .options_size = sizeof(train_options),
    .min_arguments = 0,
    .max_arguments = 0,
    .heeds = COMMAND_SEED | COMMAND_THREADS,
    .run = run,
};
