#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/data.h"
#include "tools/engines.h"
#include "tools/inputs.h"
#include "tools/output.h"
#include "tools/report.h"

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000

static const option_entry entries[] = {
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, data),
     .argument = "X",
     .help = "inputs (npy, IDX, raw f32), each row one request; for a model of texts a text file, "
             "each line one request",
     .required = 1},
    {.name = "labels",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, labels),
     .argument = "Y",
     .help = "the right class of each request (IDX or npy): adds the accuracy"},
    {.name = "calibration-data",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, calibration_data),
     .argument = "X2",
     .help = "inputs that static ranges are taken from (default: the first tenth of X, which is "
             "then left out of the evaluation of every variant)"},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(compare_options, batch),
     .argument = "N",
     .help =
         "requests that run together, texts up to 2048 tokens; per-tensor ranges are taken over "
         "them",
     .initial = "64",
     .low = 1,
     .high = 1048576},
    {.name = "engine",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, engine),
     .argument = "NAME",
     .help = "what computes FP32 models: openblas, onednn or native (default: openblas, or native "
             "where this build lacks it, and for the latency the faster of openblas and onednn); "
             "INT8 models run on the native engine"},
    {.name = "repeat",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(compare_options, repeat),
     .argument = "N",
     .help = "rounds of the latency measurement; 0: up to 100 in about six seconds",
     .initial = "0",
     .high = 1000000},
    {.name = "html",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, html),
     .argument = "FILE",
     .help = "also write a self-contained page with plots"},
    {.name = "min-accuracy",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, min_accuracy),
     .argument = "PERCENT",
     .help = "exit with 1 if a variant's accuracy is lower; needs --labels",
     .initial = "0",
     .high = 100},
    {.name = "max-drop",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, max_drop),
     .argument = "POINTS",
     .help = "exit with 1 if a variant's accuracy is lower than the reference's by more percentage "
             "points; needs --labels",
     .initial = "100",
     .high = 100},
    {.name = "min-agreement",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, min_agreement),
     .argument = "PERCENT",
     .help = "exit with 1 if a variant's largest output is at the reference's place less often",
     .initial = "0",
     .high = 100},
    {.name = NULL},
};

/* The engine of FP32 models: the one asked for, otherwise OpenBLAS if this build has it. */
static exit_code choose_engine(comparison *self)
{
    const char *asked = self->options->engine;
    const engine_choice *choice = engine_find(asked != NULL ? asked : "openblas");
    if (choice == NULL) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--engine: '%s' is not accepted; accepted: native,onednn,openblas",
                            asked);
    }
    if (!choice->built && asked != NULL) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--engine: this build lacks the engine '%s'; build it with the library "
                            "installed",
                            asked);
    }
    choice = choice->built ? choice : engine_find("native");
    self->engine_name = choice->name;
    self->engine = engine_table(choice);
    return EXIT_CODE_DONE;
}

static exit_code check_options(const comparison *self)
{
    const compare_options *options = self->options;
    const command *const own = self->call->command;
    if (options->labels == NULL && (options->min_accuracy > 0 || options->max_drop < 100)) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--min-accuracy and --max-drop need the right classes: add --labels Y");
    }
    if (self->call->argument_count > 1 && options->calibration_data != NULL) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--calibration-data is for one FP32 model alone; the ranges of several "
                            "models are in their files");
    }
    dynq_error error = {0};
    if (options->html != NULL && report_check_path(options->html, &error) != DYNQ_OK) {
        return command_fail_status(own, error.status, &error, options->html);
    }
    return EXIT_CODE_DONE;
}

static exit_code read_labels(comparison *self)
{
    const char *path = self->options->labels;
    size_t count = 0;
    dynq_error error = {0};
    const dynq_status status = data_read_labels(path, &self->labels, &count, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, path);
    }
    if (count != self->x.count) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s has %zu labels, but %s has %zu %s; give one label for each", path,
                            count, self->options->data, self->x.count,
                            self->input.ids ? "lines" : "rows");
    }
    model_slot *slots = NULL;
    model_outputs(self->models[0], &slots);
    const model_slot output = slots[model_main_output(self->models[0])];
    const size_t classes = output.columns;
    free(slots);
    if (self->input.ids && output.domain != DYNQ_DOMAIN_SEGMENTS) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--labels: %s has a row for each token, not one for each text",
                            output.name);
    }
    for (size_t i = 0; i < count; i++) {
        if (self->labels[i] < 0 || (size_t)self->labels[i] >= classes) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s: label %d in row %zu, but the model has the classes 0 to %zu",
                                path, (int)self->labels[i], i, classes - 1);
        }
    }
    return EXIT_CODE_DONE;
}

static int has_classes(const comparison *self)
{
    return !self->input.ids || self->labels != NULL;
}

double compare_agreement(const comparison *self, const evaluate_variant *variant)
{
    return has_classes(self) ? dynq_metrics_result(&variant->output).top1_agreement : NAN;
}

static exit_code read_data(comparison *self)
{
    const compare_options *options = self->options;
    exit_code code =
        requests_read(self->call, self->models[0], options->data, &self->input, &self->x);
    if (code == EXIT_CODE_DONE && options->labels != NULL) {
        code = read_labels(self);
    }
    if (code == EXIT_CODE_DONE && options->calibration_data != NULL) {
        code = requests_read(self->call, self->models[0], options->calibration_data, &self->input,
                             &self->calibration);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    if (!has_classes(self) && options->min_agreement > 0) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--min-agreement: the largest number of an embedding says nothing; for "
                            "a model of texts it needs --labels");
    }
    if (self->count == 1 && options->calibration_data == NULL) {
        self->held_out = self->x.count < 10 ? 1 : self->x.count / 10;
        if (self->held_out == self->x.count) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s has one %s only, which static ranges would be taken from; add "
                                "more or --calibration-data",
                                options->data, self->input.ids ? "line" : "row");
        }
    }
    self->data =
        (evaluate_data){.requests = &self->x,
                        .first = self->held_out,
                        .count = self->x.count - self->held_out,
                        .labels = self->labels != NULL ? self->labels + self->held_out : NULL};
    return EXIT_CODE_DONE;
}

static void advance(void *context, double share)
{
    command_progress_update(context, (uint64_t)(share * PROGRESS_STEPS));
}

static exit_code evaluate(comparison *self)
{
    const command_common *common = &self->call->common;
    dynq_error error = {0};
    command_progress progress = command_progress_begin("Evaluating", PROGRESS_STEPS, common->quiet);
    const evaluate_options options = {.batch = (size_t)self->options->batch,
                                      .threads = common->threads,
                                      .kernel = common->kernel,
                                      .repeat = (size_t)self->options->repeat,
                                      .advance = advance,
                                      .context = &progress};
    dynq_status status = evaluate_accuracy(self->variants, self->count, &self->data, &options,
                                           &self->results, &error);
    command_progress_end(&progress);
    if (status == DYNQ_OK) {
        progress = command_progress_begin("Timing", PROGRESS_STEPS, common->quiet);
        status = evaluate_latency(self->variants, self->count, &self->data, &options, &error);
        command_progress_end(&progress);
    }
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, NULL);
}

/* Appends one missed threshold to the list in `text`. */
static void miss(char *text, size_t size, const char *name, const char *what, double value,
                 double limit)
{
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s: %s %.2f, limit %.6g", used > 0 ? "; " : "", name,
             what, value, limit);
}

/* All missed thresholds in one line. */
static exit_code check_thresholds(const comparison *self)
{
    const compare_options *options = self->options;
    const double reference = 100 * evaluate_share_correct(&self->variants[0], &self->data);
    char missed[900] = "";
    for (size_t v = 0; v < self->count; v++) {
        const evaluate_variant *variant = &self->variants[v];
        const double accuracy = 100 * evaluate_share_correct(variant, &self->data);
        const double agreement = 100 * compare_agreement(self, variant);
        if (accuracy < options->min_accuracy) {
            miss(missed, sizeof missed, variant->name, "accuracy %", accuracy,
                 options->min_accuracy);
        }
        /* A rounding error in the difference of two percentages is not a drop. */
        if (reference - accuracy > options->max_drop + 1e-9) {
            miss(missed, sizeof missed, variant->name, "drop in points", reference - accuracy,
                 options->max_drop);
        }
        if (agreement < options->min_agreement) {
            miss(missed, sizeof missed, variant->name, "agreement %", agreement,
                 options->min_agreement);
        }
    }
    return missed[0] == '\0'
               ? EXIT_CODE_DONE
               : command_fail(self->call->command, EXIT_CODE_MISSED, "missed: %s", missed);
}

static exit_code compare_all(comparison *self)
{
    exit_code code = choose_engine(self);
    if (code == EXIT_CODE_DONE) {
        code = check_options(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = compare_open_variants(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = read_data(self);
    }
    if (code == EXIT_CODE_DONE && self->count == 1) {
        code = compare_make_variants(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = evaluate(self);
    }
    if (code == EXIT_CODE_DONE && self->options->html != NULL) {
        code = compare_write_html(self);
    }
    if (code == EXIT_CODE_DONE) {
        if (self->call->common.json) {
            compare_print_json(self);
        } else {
            compare_print(self);
        }
        code = check_thresholds(self);
    }
    return code;
}

static exit_code run(const command_call *call)
{
    comparison self = {.call = call, .options = call->options};
    const exit_code code = compare_all(&self);
    evaluate_free(self.variants, self.count, &self.results);
    for (size_t v = 0; v < self.count; v++) {
        dynq_model_free(self.models[v]);
        free(self.names[v]);
    }
    requests_free(&self.x);
    requests_free(&self.calibration);
    free(self.labels);
    return code;
}

const command command_compare = {
    .name = "compare",
    .summary = "show what quantization does to the answers, layer by layer",
    .usage = "MODEL... --data X [options]",
    .description =
        "Runs several variants of a model on the same data and shows how far each is from the "
        "first, the reference: accuracy, agreement, error of every layer, latency. One FP32 model "
        "alone is compared with INT8 variants made of it in memory: static ranges (max), dynamic "
        "ranges per tensor (one range for each batch), per segment (for each request) and per row. "
        "The error of a layer includes what it got from the layers before. With -f csv only the "
        "table of variants is printed; --json has everything.",
    .example = "dynq compare mlp.safetensors --data t10k-images-idx3-ubyte.gz --labels "
               "t10k-labels-idx1-ubyte.gz --html report.html",
    .entries = entries,
    .options_size = sizeof(compare_options),
    .min_arguments = 1,
    .max_arguments = COMPARE_MAX_VARIANTS,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_FORMAT,
    .run = run,
};
