#include "tools/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/engines.h"
#include "tools/output.h"
#include "tools/report.h"

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000
/* Enough to see what neighbours do, in little of the time that evaluating takes. */
#define EFFECT_REQUESTS 32
#define EFFECT_BATCHES  4

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
     .help =
         "inputs that static ranges and remedies are taken from (default, where a variant needs "
         "them: the first tenth of X, which is then left out of the evaluation of all)"},
    {.name = "variants",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, variants),
     .argument = "LIST",
     .help = "what one FP32 model is compared with: names and patterns with commas between. "
             "A name is fp16, bf16, or int16, int8, int4 or int2 with -static-max, -entropy, "
             "-percentile (or -percentile-99.9), -mse or -average, with -dynamic-tensor, -segment "
             "or -row, or with -simulated (FP32 on rounded weights); then any of -symmetric, "
             "-weights-tensor, -weights-group-32, -64 or -128 (simulated also -weights-row and "
             "-weights-element), -log, -clusters (simulated also -clusters-256) and -affine "
             "(simulated), -table-tensor, -table-panel, -smooth, -clip-weights, -clip-ranges "
             "(dynamic ranges only), -bias and -feedback, for instance "
             "int8-dynamic-row-smooth-bias; patterns choose from the usual ones or, like 'int4-*', "
             "from "
             "some of every other scheme; usual and all are whole lists",
     .initial = "usual"},
    {.name = "percentile",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, percentile),
     .argument = "P",
     .help = "of int8-static-percentile",
     .initial = "99.99",
     .low = 1,
     .high = 100},
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
     .help =
         "rounds of the latency measurement; 0: up to 100 in about six seconds in all, at least 5",
     .initial = "0",
     .high = 1000000},
    {.name = "sort",
     .kind = OPTION_CHOICE,
     .offset = offsetof(compare_options, sort),
     .argument = "KEY",
     .help =
         "order of the variants, the best first: name, accuracy, agreement, cosine, sqnr, ms or "
         "bytes; the reference stays at the top (default: as they were made)",
     .choices = "name|accuracy|agreement|cosine|sqnr|ms|bytes"},
    {.name = "layers",
     .kind = OPTION_STRING,
     .offset = offsetof(compare_options, layers),
     .argument = "N",
     .help = "how many layers are shown, the guiltiest first, or all",
     .initial = "8"},
    {.name = "node-limit",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, node_limit),
     .argument = "DB",
     .help = "names the first node of each variant whose SQNR is lower, with what it got from the "
             "nodes before",
     .initial = "20",
     .low = -300,
     .high = 300},
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
     .argument = "SHARE",
     .help = "exit with 1 if a variant's largest output is at the reference's place less often "
             "than this, from 0 to 1, for instance 0.99",
     .initial = "0",
     .high = 1},
    {.name = "min-cosine",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, min_cosine),
     .argument = "COSINE",
     .help = "exit with 1 if the mean cosine of a variant's answers with the reference's is lower, "
             "for instance 0.999",
     .initial = "-1",
     .low = -1,
     .high = 1},
    {.name = "max-slowdown",
     .kind = OPTION_NUMBER,
     .offset = offsetof(compare_options, max_slowdown),
     .argument = "TIMES",
     .help = "exit with 1 if a variant takes more than so many times the reference's milliseconds, "
             "for instance 1.0; 0: any",
     .initial = "0",
     .high = 1000000},
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
    if (strcmp(options->layers, "all") != 0 &&
        (options->layers[0] == '\0' ||
         options->layers[strspn(options->layers, "0123456789")] != '\0' ||
         strlen(options->layers) > 9)) {
        return command_fail(own, EXIT_CODE_USAGE, "--layers: '%s' is neither a number nor 'all'",
                            options->layers);
    }
    if (self->call->argument_count > 1 && strcmp(options->variants, "usual") != 0) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--variants is for one FP32 model alone, which they are made of");
    }
    dynq_error error = {0};
    if (options->html != NULL && report_check_path(options->html, &error) != DYNQ_OK) {
        return command_fail_status(own, error.status, &error, options->html);
    }
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
        status = evaluate_batch_effects(self->variants, self->count, &self->data, &options,
                                        EFFECT_REQUESTS, EFFECT_BATCHES, &error);
    }
    if (status == DYNQ_OK) {
        progress = command_progress_begin("Timing", PROGRESS_STEPS, common->quiet);
        status = evaluate_latency(self->variants, self->count, &self->data, &options, &error);
        command_progress_end(&progress);
    }
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, NULL);
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
        code = compare_choose_variants(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = compare_read_data(self);
    }
    if (code == EXIT_CODE_DONE && self->count == 1) {
        code = compare_make_variants(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = evaluate(self);
    }
    if (code == EXIT_CODE_DONE) {
        compare_conclude(self);
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
        code = compare_check_thresholds(self);
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
    free(self.labels);
    free(self.layers);
    return code;
}

const command command_compare = {
    .name = "compare",
    .summary = "show what quantization does to the answers, layer by layer",
    .usage = "MODEL... --data X [options]",
    .description =
        "Runs several variants of a model on the same data and shows how far each is from the "
        "first, the reference: accuracy, agreement, error of every layer, latency, how much "
        "answers "
        "change with their neighbours in a batch. One FP32 model alone is compared with INT8 "
        "variants made of it in memory: static ranges by every method, dynamic ranges per tensor "
        "(one range for each batch), per segment (for each request) and per row, and what the "
        "switches of `dynq quantize` change. The first lines say what to do. With -f csv only the "
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
