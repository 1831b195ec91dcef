#include "tools/quantize.h"

#define METHODS "max|entropy|percentile|mse|average"

static const option_entry entries[] = {
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, out),
     .argument = "FILE",
     .help = "where to write the quantized model; may be MODEL itself",
     .required = 1},
    {.name = "weights",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, weights),
     .argument = "FORMAT",
     .help = "how weights of linear nodes are stored; fp16 and bf16 compute in FP32, int4 and int2 "
             "in INT8",
     .initial = "int8",
     .choices = "fp32|fp16|bf16|int16|int8|int4|int2"},
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
     .help = "what shares one scale of the weights: column (an output, also called channel), "
             "tensor, group-32, group-64 or group-128 (so many inputs of an output), and with "
             "--simulate row (an input) or element",
     .initial = "column",
     .choices = "column|tensor|group-32|group-64|group-128|row|element|channel"},
    {.name = "levels",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, levels),
     .argument = "KIND",
     .help = "what codes of int4 and int2 stand for: equal steps, powers of two, clusters of the "
             "weights (k-means), and with --simulate equal steps from the least to the largest "
             "weight (affine)",
     .initial = "uniform",
     .choices = "uniform|log|clusters|affine"},
    {.name = "table",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, table),
     .argument = "SCOPE",
     .help = "what shares one table of levels: the tensor, or a panel of 16 columns, which is the "
             "default of clusters",
     .choices = "tensor|panel"},
    {.name = "clusters",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(quantize_options, clusters),
     .argument = "N",
     .help = "with --simulate: so many clusters, 2 to 256, instead of what the format has",
     .low = 2,
     .high = 256},
    {.name = "simulate",
     .kind = OPTION_FLAG,
     .offset = offsetof(quantize_options, simulate),
     .help = "write an FP32 model whose weights are rounded to what the format allows"},
    {.name = "clip-weights",
     .kind = OPTION_CHOICE,
     .offset = offsetof(quantize_options, clip_weights),
     .argument = "on|off",
     .help = "on: scales with the least squared error of the weights that share them, which cuts "
             "the largest; off: scales by the largest weight; default: on for int4, int2 and "
             "groups",
     .choices = "on|off",
     .bare = "on"},
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
    {.name = "feedback",
     .kind = OPTION_FLAG,
     .offset = offsetof(quantize_options, feedback),
     .help = "round weights one input after the other so that the next make up for the error "
             "(GPTQ), which needs --calibration-data; the same machine makes the same file"},
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
             "wins; VALUE: fp32, fp16, bf16, int16, int8, int4, int2, and for linear nodes static, "
             "dynamic, segment, tensor, row, affine, symmetric, max, entropy, percentile, mse, "
             "average (the method of either kind of range), weights-column, weights-tensor, "
             "weights-group-32, -64 and -128, weights-row, weights-element, uniform, log, "
             "clusters, levels-affine, table-tensor, table-panel, clip-weights, clip-ranges, "
             "correct-bias, feedback, these four also with no- before them"},
    {.name = "rules",
     .kind = OPTION_STRING,
     .offset = offsetof(quantize_options, rules_file),
     .argument = "FILE",
     .help = "rules, one on each line, before those of --rule; lines that begin with # are "
             "comments; `dynq tune` writes such a file"},
    {.name = NULL},
};

static exit_code check_fp32(const command_call *call, const dynq_model *model)
{
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        const int whole = node.precision != DYNQ_PRECISION_INT8 &&
                          (node.weight_format == 0 || node.weight_format == DYNQ_FORMAT_FP32);
        if (!whole) {
            return command_fail(
                call->command, EXIT_CODE_DATA, "%s: is %s already (node '%s'): give the FP32 model",
                call->arguments[0], node.precision == DYNQ_PRECISION_INT8 ? "INT8" : "quantized",
                node.name);
        }
    }
    return EXIT_CODE_DONE;
}

static dynq_switch on_if(int given)
{
    return given ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF;
}

/* "channel", the last choice, is another word for the first. */
static dynq_weight_granularity weight_granularity(const quantize_options *options)
{
    return options->weight_granularity > DYNQ_WEIGHTS_PER_ELEMENT
               ? DYNQ_WEIGHTS_PER_COLUMN
               : (dynq_weight_granularity)options->weight_granularity;
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
        .weight_granularity = weight_granularity(options),
        .clip_weights = (dynq_switch)options->clip_weights,
        .clip_ranges = on_if(options->clip_ranges),
        .clip_method = (dynq_calibration_method)options->clip_ranges,
        .correct_bias = on_if(options->correct_bias),
        .feedback = on_if(options->feedback),
        .rules = set->rules,
        .rule_count = set->count,
        .weights = (dynq_format)(options->weights + DYNQ_FORMAT_FP32 - 1),
        .levels = (dynq_levels)options->levels,
        .table = (dynq_table_scope)options->table,
        .clusters = (size_t)options->clusters,
        .simulate = on_if(options->simulate),
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
    exit_code code = rule_set_read(call, &set);
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
    dynq_second_moments_free(job.moments);
    dynq_model_free(job.model);
    rule_set_free(&set);
    return code;
}

const command command_quantize = {
    .name = "quantize",
    .summary = "make an INT8 model of an FP32 one, or one of fewer bits",
    .usage = "MODEL -o OUT [options]",
    .description = "Quantizes the weights of linear nodes to INT8, one scale per output column, "
                   "or to what --weights says, and sets how the ranges of their inputs are found: "
                   "while the model runs "
                   "(dynamic) or from a calibration (static). Tables of embeddings get one scale "
                   "per row, attention computes in INT8. Remedies against the error are "
                   "--clip-weights, --clip-ranges, --correct-bias, --feedback and --smooth.",
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
