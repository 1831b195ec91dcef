#include "tools/tune.h"

#include "tools/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const option_entry entries[] = {
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, data),
     .argument = "X",
     .help = "inputs (npy, IDX, raw f32), each row one request; for a model of texts a text file, "
             "each line one request",
     .required = 1},
    {.name = "labels",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, labels),
     .argument = "Y",
     .help = "the right class of each request (IDX or npy), for --max-drop"},
    {.name = "calibration-data",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, calibration_data),
     .argument = "X2",
     .help = "inputs that static ranges and remedies are taken from (default, where a precision "
             "needs them: the first tenth of X, which is then left out of all measurements)"},
    {.name = "precisions",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, precisions),
     .argument = "LIST",
     .help = "what each node can have: values of `dynq quantize --rule` with semicolons (and "
             "spaces) between, "
             "for instance 'fp32;int8,row;int8,static,mse'; with a single one, precision is fixed",
     .initial = "fp32; bf16; int8,row; int8,segment; int4,row,weights-group-32,clusters; int4,row"},
    {.name = "max-drop",
     .kind = OPTION_NUMBER,
     .offset = offsetof(tune_options, max_drop),
     .argument = "POINTS",
     .help = "target: at most so many percentage points of accuracy below FP32; needs --labels",
     .initial = "100",
     .high = 100},
    {.name = "min-cosine",
     .kind = OPTION_NUMBER,
     .offset = offsetof(tune_options, min_cosine),
     .argument = "COSINE",
     .help = "target: the mean cosine of answers with those of FP32 (0.999 where no target is "
             "given)",
     .initial = "-1",
     .low = -1,
     .high = 1},
    {.name = "max-ms",
     .kind = OPTION_NUMBER,
     .offset = offsetof(tune_options, max_ms),
     .argument = "MS",
     .help = "target: milliseconds for a batch; 0: any",
     .initial = "0",
     .high = 1e9},
    {.name = "max-bytes",
     .kind = OPTION_NUMBER,
     .offset = offsetof(tune_options, max_bytes),
     .argument = "BYTES",
     .help = "target: bytes of the weights; 0: any",
     .initial = "0",
     .high = 1e15},
    {.name = "minimize",
     .kind = OPTION_CHOICE,
     .offset = offsetof(tune_options, minimize),
     .argument = "KEY",
     .help = "what is as small as the targets allow: ms, bytes or error (default: ms; error where "
             "all targets are about ms and bytes)",
     .choices = "ms|bytes|error"},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(tune_options, batch),
     .argument = "N",
     .help = "requests that run together, texts up to 2048 tokens; ms are of such a batch",
     .initial = "64",
     .low = 1,
     .high = 1048576},
    {.name = "samples",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(tune_options, samples),
     .argument = "ROWS",
     .help = "rows (tokens) of X that nodes are measured on, spread over it; whole models are "
             "measured on all; 0: all",
     .initial = "1024",
     .high = 1e12},
    {.name = "repeat",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(tune_options, repeat),
     .argument = "N",
     .help = "rounds of the timings; 0: up to 100 in a few seconds, at least 5",
     .initial = "0",
     .high = 1000000},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, out),
     .argument = "FILE",
     .help = "where to write the model, if it meets the targets"},
    {.name = "rules-out",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, rules_out),
     .argument = "FILE",
     .help = "where to write the rules with which `dynq quantize --rules` makes the same model"},
    {.name = "cache",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, cache),
     .argument = "FILE",
     .help = "keeps measurements as they come: a run that was interrupted goes on, and another "
             "target needs none; for the same model, data and settings only"},
    {.name = "html",
     .kind = OPTION_STRING,
     .offset = offsetof(tune_options, html),
     .argument = "FILE",
     .help = "also write a self-contained page with plots"},
    {.name = NULL},
};

static exit_code check_fp32(const tuning *self)
{
    for (size_t i = 0; i < dynq_model_node_count(self->model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(self->model, i, &node);
        const int stored = node.op == DYNQ_OP_LINEAR && node.weight_format != 0 &&
                           node.weight_format != DYNQ_FORMAT_FP32;
        if (node.precision != DYNQ_PRECISION_FP32 || stored) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s: is quantized already (node '%s'): give the FP32 model",
                                self->call->arguments[0], node.name);
        }
    }
    return EXIT_CODE_DONE;
}

/* Wrong names of files are not found out at the end of long work. */
static exit_code check_paths(const tuning *self)
{
    const tune_options *o = self->options;
    const char *const paths[] = {o->html, o->out, o->rules_out, o->cache};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        dynq_error error = {0};
        if (paths[i] != NULL && report_check_path(paths[i], &error) != DYNQ_OK) {
            return command_fail_status(self->call->command, error.status, &error, paths[i]);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code open_model(tuning *self)
{
    exit_code code = command_open_model(self->call, self->call->arguments[0], &self->model);
    if (code == EXIT_CODE_DONE) {
        code = check_fp32(self);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    model_slot *slots = NULL;
    const size_t count = model_inputs(self->model, &slots);
    self->input = slots[0];
    free(slots);
    if (count != 1) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "%s has %zu inputs; tuning is for models with one",
                            self->call->arguments[0], count);
    }
    return EXIT_CODE_DONE;
}

static exit_code prepare(tuning *self)
{
    const tune_options *o = self->options;
    if (o->max_drop < 100 && o->labels == NULL) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--max-drop needs the right classes: add --labels Y");
    }
    exit_code code = check_paths(self);
    if (code == EXIT_CODE_DONE) {
        code = tune_parse_candidates(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = open_model(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = tune_read_data(self);
    }
    return code == EXIT_CODE_DONE ? tune_make_candidates(self) : code;
}

static exit_code measure(tuning *self)
{
    tune_cache *cache = NULL;
    exit_code code = tune_cache_open(self, &cache);
    if (code == EXIT_CODE_DONE) {
        code = tune_measure_fp32(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = tune_measure_nodes(self, cache);
    }
    if (code == EXIT_CODE_DONE && !tune_cache_times(cache, self)) {
        code = tune_measure_times(self);
        if (code == EXIT_CODE_DONE) {
            code = tune_cache_save(cache, self, self->sample.count, 0);
        }
    }
    tune_cache_close(cache);
    return code == EXIT_CODE_DONE ? tune_evaluate_candidates(self) : code;
}

static exit_code write_results(const tuning *self)
{
    const tune_options *o = self->options;
    const tune_try *chosen = &self->tries[self->chosen];
    exit_code code = EXIT_CODE_DONE;
    dynq_error error = {0};
    if (chosen->met && o->out != NULL && dynq_model_save(self->result, o->out, &error) != DYNQ_OK) {
        return command_fail_status(self->call->command, error.status, &error, o->out);
    }
    if (chosen->met && o->rules_out != NULL) {
        code = tune_write_rules(self, chosen->choices);
    }
    if (code == EXIT_CODE_DONE && o->html != NULL) {
        code = tune_write_html(self);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    if (self->call->common.json) {
        tune_print_json(self);
    } else {
        tune_print(self);
    }
    if (!chosen->met) {
        char missed[300], choices[600];
        tune_missed(self, &chosen->measured, missed, sizeof missed);
        tune_describe_choices(self, chosen->choices, choices, sizeof choices);
        return command_fail(self->call->command, EXIT_CODE_MISSED,
                            "missed: %s; the best found: %s%s", missed, choices,
                            o->out != NULL || o->rules_out != NULL ? "; not written" : "");
    }
    return EXIT_CODE_DONE;
}

static void release(tuning *self)
{
    for (size_t i = 0; i < self->candidate_count; i++) {
        free(self->candidates[i].text);
        dynq_model_free(self->candidates[i].model);
    }
    for (size_t i = 0; i < self->try_count; i++) {
        free(self->tries[i].choices);
    }
    dynq_calibration_free(self->calibration);
    dynq_second_moments_free(self->moments);
    requests_free(&self->x);
    requests_free(&self->sample);
    dynq_model_free(self->result);
    dynq_model_free(self->model);
    free(self->labels);
    free(self->nodes);
    free(self->answers);
    free(self->margins);
    free(self->pareto_choices);
}

static int is_about_answers(const tune_options *o)
{
    return o->max_drop < 100 || o->min_cosine > -1;
}

static exit_code run(const command_call *call)
{
    tune_options options = *(const tune_options *)call->options;
    if (!is_about_answers(&options) && options.max_ms <= 0 && options.max_bytes <= 0) {
        options.min_cosine = 0.999;
    }
    tuning self = {.call = call,
                   .options = &options,
                   .goal = options.minimize != 0        ? (dynq_goal)options.minimize
                           : is_about_answers(&options) ? DYNQ_GOAL_TIME
                                                        : DYNQ_GOAL_ERROR};
    exit_code code = prepare(&self);
    if (code == EXIT_CODE_DONE) {
        code = measure(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = tune_search(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = tune_add_pareto(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = write_results(&self);
    }
    release(&self);
    return code;
}

const command command_tune = {
    .name = "tune",
    .summary = "choose a precision for every node that meets a target",
    .usage = "MODEL --data X [--labels Y] [options]",
    .description =
        "Measures once what every node costs at every precision: error of the answers when only "
        "this node has it, time and bytes. As these add up, it then finds the assignment of "
        "precisions that meets the targets at the least cost, makes that model and measures it "
        "from end to end, beside what was predicted; if that misses a target, or leaves room for "
        "something cheaper, the prediction is corrected and the search begins anew. It shows the "
        "assignments that no other beats in "
        "error, time and bytes at once. A target that cannot be met is exit code 1, and the best "
        "that was found is named.",
    .example = "dynq tune mlp.safetensors --data t10k-images-idx3-ubyte.gz --labels "
               "t10k-labels-idx1-ubyte.gz --max-drop 0.1 -o mlp-tuned.safetensors",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(tune_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_FORMAT,
    .run = run,
};
