#include "tools/quantize.h"

#include "tools/allocate.h"

#include <stdlib.h>
#include <string.h>

#define METHODS "max|entropy|percentile|mse|average"

static const option_entry entries[] = {
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, out),
     .argument = "FILE",
     .help = "where to write the INT8 model; may be MODEL itself",
     .required = 1},
    {.name = "ranges",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, ranges),
     .help = "where the ranges of activations come from: found while running, or measured before",
     .initial = "dynamic",
     .choices = "dynamic|static"},
    {.name = "granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, granularity),
     .argument = "SCOPE",
     .help = "what shares one dynamic range: segment (a request), tensor (the batch) or row",
     .initial = "segment",
     .choices = "segment|tensor|row"},
    {.name = "scheme",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, scheme),
     .help = "with a zero point or without",
     .initial = "affine",
     .choices = "affine|symmetric"},
    {.name = "calibration",
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, calibration),
     .argument = "FILE",
     .help = "from `dynq calibrate`; static ranges, --clip-ranges, --correct-bias and --smooth "
             "need it or --calibration-data"},
    {.name = "calibration-data",
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, calibration_data),
     .argument = "FILE",
     .help = "requests to measure here and now, read as `dynq calibrate --data` reads them; after "
             "--smooth the smoothed model is measured again"},
    {.name = "method",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, method),
     .argument = "NAME",
     .help = "how a static range is chosen: max, entropy, percentile, mse or average",
     .initial = "max",
     .choices = METHODS},
    {.name = "percentile",
     .kind = OPTION_NUMBER,
     .offset = offsetof(quantize_options, percentile),
     .argument = "P",
     .help = "how many percent of the elements the method percentile keeps",
     .initial = "99.99",
     .low = 0.001,
     .high = 100},
    {.name = "weight-granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, weight_granularity),
     .argument = "SCOPE",
     .help = "what shares one scale of the weights: column (an output) or tensor",
     .initial = "column",
     .choices = "column|tensor"},
    {.name = "clip-weights",
     .kind = OPTION_FLAG,
     .offset = offsetof(quantize_options, clip_weights),
     .help = "cut the largest weights where that lowers the squared error of all that share their "
             "scale"},
    {.name = "clip-ranges",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, clip_ranges),
     .argument = "METHOD",
     .help = "cut dynamic ranges to what METHOD, mse if none is given, chooses from the "
             "calibration",
     .choices = METHODS,
     .bare = "mse"},
    {.name = "correct-bias",
     .kind = OPTION_FLAG,
     .offset = offsetof(quantize_options, correct_bias),
     .help = "take the mean error of quantized weights, over the inputs of the calibration, away "
             "from the biases"},
    {.name = "smooth",
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, smooth),
     .argument = "ALPHA",
     .help = "move outliers of activations into the weights before: how much of them, a number "
             "between 0 and 1; searched if none is given",
     .bare = "search"},
    {.name = "rule",
     .kind = OPTION_LIST,
     .offset = offsetof(quantize_options, rules),
     .argument = "'GLOB=VALUE[,VALUE]'",
     .help = "for the linear nodes, embeddings and attention nodes that match, the last match "
             "wins; VALUE: fp32, int8, and for linear nodes static, dynamic, segment, tensor, row, "
             "affine, symmetric, max, entropy, percentile, mse, average (the method of either "
             "kind of range), weights-column, weights-tensor, clip-weights, clip-ranges, "
             "correct-bias, and with no- before them"},
    {.name = NULL},
};

/* Rules as the library takes them; their patterns live in `texts`. */
typedef struct rule_set {
    dynq_quantize_rule *rules;
    char **texts;
    size_t count;
} rule_set;

static void rule_set_free(rule_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->texts[i]);
    }
    free(set->texts);
    free(set->rules);
}

static exit_code parse_rules(const command_call *call, rule_set *set)
{
    const quantize_options *options = call->options;
    set->rules = allocate(options->rules.count, sizeof *set->rules);
    set->texts = allocate(options->rules.count, sizeof *set->texts);
    for (size_t i = 0; i < options->rules.count; i++) {
        const char *text = options->rules.items[i];
        const size_t size = strlen(text) + 1;
        dynq_error error = {0};
        set->texts[i] = allocate(size, 1);
        set->count = i + 1;
        const dynq_status status =
            dynq_quantize_rule_parse(text, set->texts[i], size, &set->rules[i], &error);
        if (status != DYNQ_OK) {
            return command_fail_status(call->command, status, &error, text);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code check_fp32(const command_call *call, const dynq_model *model)
{
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        if (node.precision == DYNQ_PRECISION_INT8) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: is INT8 already (node '%s'): give the FP32 model",
                                call->arguments[0], node.name);
        }
    }
    return EXIT_CODE_DONE;
}

static dynq_switch on_if(int given)
{
    return given ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF;
}

static dynq_quantize_options wanted_options(const quantize_options *options, const rule_set *set)
{
    return (dynq_quantize_options){
        .size = sizeof(dynq_quantize_options),
        .range = (dynq_range_kind)options->ranges,
        .scope = (dynq_scope)options->granularity,
        .scheme = (dynq_scheme)options->scheme,
        .method = (dynq_calibration_method)options->method,
        .percentile = options->percentile,
        .weight_granularity = (dynq_weight_granularity)options->weight_granularity,
        .clip_weights = on_if(options->clip_weights),
        .clip_ranges = on_if(options->clip_ranges),
        .clip_method = (dynq_calibration_method)options->clip_ranges,
        .correct_bias = on_if(options->correct_bias),
        .rules = set->rules,
        .rule_count = set->count,
    };
}

static exit_code quantize(const command_call *call, quantize_job *job)
{
    const uint64_t bytes_before = dynq_model_file_bytes(job->model);
    dynq_model *quantized = NULL;
    dynq_error error = {0};
    exit_code code = quantize_prepare(call, job);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const dynq_status status = dynq_quantize(job->model, &job->wanted, &quantized, &error);
    if (status != DYNQ_OK) {
        const int rule = status == DYNQ_ERR_NOT_FOUND;
        return command_fail_status(call->command, status, &error, rule ? NULL : call->arguments[0]);
    }
    code = quantize_report(call, job, quantized, bytes_before);
    dynq_model_free(quantized);
    return code;
}

static exit_code run(const command_call *call)
{
    rule_set set = {0};
    quantize_job job = {0};
    exit_code code = parse_rules(call, &set);
    if (code == EXIT_CODE_DONE) {
        code = command_open_model(call, call->arguments[0], &job.model);
    }
    if (code == EXIT_CODE_DONE) {
        code = check_fp32(call, job.model);
    }
    if (code == EXIT_CODE_DONE) {
        job.wanted = wanted_options(call->options, &set);
        code = quantize(call, &job);
    }
    dynq_calibration_free(job.calibration);
    dynq_model_free(job.model);
    rule_set_free(&set);
    return code;
}

const command command_quantize = {
    .name = "quantize",
    .summary = "make an INT8 model of an FP32 one",
    .usage = "MODEL -o OUT [options]",
    .description = "Quantizes the weights of linear nodes to INT8, one scale per output column, "
                   "and sets how the ranges of their inputs are found: while the model runs "
                   "(dynamic) or from a calibration (static). Tables of embeddings get one scale "
                   "per row, attention computes in INT8. Remedies against the error are "
                   "--clip-weights, --clip-ranges, --correct-bias and --smooth.",
    .example = "dynq quantize mlp.safetensors -o mlp-int8.safetensors --rule 'logits=fp32'",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(quantize_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_FORMAT,
    .run = run,
};
