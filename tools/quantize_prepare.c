/* What `dynq quantize` needs to know before it quantizes: calibration and smoothing. */
#include "tools/quantize.h"

#include "tools/calibration_file.h"
#include "tools/engines.h"
#include "tools/output.h"

#include <dynq/smooth.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A calibration of another model, or of no data, is a wrong file, not a wrong option. */
static exit_code check_calibration(const command_call *call, const quantize_job *job)
{
    const quantize_options *options = call->options;
    dynq_error error = {0};
    if (dynq_calibration_check_model(job->calibration, job->model, &error) != DYNQ_OK) {
        return command_fail(call->command, EXIT_CODE_DATA, "%s: %s", options->calibration,
                            error.message);
    }
    for (size_t i = 0; i < dynq_calibration_count(job->calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        dynq_calibration_get(job->calibration, i, &entry);
        if (entry.rows == 0) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: has seen no row of '%s': calibrate with data",
                                options->calibration, entry.value);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code open_calibration(const command_call *call, quantize_job *job)
{
    const quantize_options *options = call->options;
    dynq_error error = {0};
    const dynq_status status =
        dynq_calibration_open(options->calibration, NULL, &job->calibration, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->calibration);
    }
    return check_calibration(call, job);
}

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000

static void advance(void *context, double share)
{
    command_progress_update(context, (uint64_t)(share * PROGRESS_STEPS));
}

/* Measures job->model on --calibration-data: a calibration, second moments, or both. */
static exit_code measure(const command_call *call, quantize_job *job, int calibration, int moments)
{
    const quantize_options *options = call->options;
    dynq_error error = {0};
    size_t count = 0;
    dynq_calibration_free(job->calibration);
    job->calibration = NULL;
    if (calibration) {
        const dynq_status status =
            dynq_calibration_create(job->model, NULL, &job->calibration, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(call->command, status, &error, call->arguments[0]);
        }
    }
    const calibration_target target = {.calibration = job->calibration,
                                       .moments = moments ? &job->moments : NULL};
    command_progress progress =
        command_progress_begin("calibrating", PROGRESS_STEPS, call->common.quiet);
    const exit_code code = calibration_file(call, options->calibration_data, job->model, &target,
                                            advance, &progress, &count);
    command_progress_end(&progress);
    return code;
}

/* What quantizing wants of linear node `index` that gets other weights than FP32; 0: it is none. */
static int resolve(const quantize_job *job, size_t index, dynq_quantize_rule *wish)
{
    dynq_node_info node = {.size = sizeof node};
    return dynq_model_node(job->model, index, &node) == DYNQ_OK && node.op == DYNQ_OP_LINEAR &&
           dynq_quantize_resolve(job->model, &job->wanted, index, wish, NULL) == DYNQ_OK &&
           wish->weights != DYNQ_FORMAT_FP32;
}

/* What of job->wanted needs a calibration, NULL for nothing. A rule that is wrong is left for
 * dynq_quantize() to say. */
static const char *needs_calibration(const quantize_job *job)
{
    const char *need = NULL;
    for (size_t i = 0; i < dynq_model_node_count(job->model) && need == NULL; i++) {
        dynq_quantize_rule wish = {0};
        if (!resolve(job, i, &wish)) {
            continue;
        }
        const int ranges =
            wish.precision != DYNQ_PRECISION_FP32 && job->wanted.simulate != DYNQ_SWITCH_ON;
        need = ranges && wish.range == DYNQ_RANGE_STATIC      ? "static ranges need"
               : ranges && wish.clip_ranges == DYNQ_SWITCH_ON ? "clipping ranges needs"
               : wish.correct_bias == DYNQ_SWITCH_ON          ? "correcting biases needs"
                                                              : NULL;
    }
    return need;
}

/* Whether a calibration has a say in how weights are rounded: steps and levels of few bits and of
 * groups heed which inputs count. */
static int calibration_helps(const quantize_job *job)
{
    for (size_t i = 0; i < dynq_model_node_count(job->model); i++) {
        dynq_quantize_rule wish = {0};
        if (resolve(job, i, &wish) && dynq_format_bits(wish.weights) <= 8 &&
            (wish.clip_weights == DYNQ_SWITCH_ON || wish.levels == DYNQ_LEVELS_CLUSTERS)) {
            return 1;
        }
    }
    return 0;
}

/* Whether weights in codes are rounded with error feedback. */
static int needs_moments(const quantize_job *job)
{
    for (size_t i = 0; i < dynq_model_node_count(job->model); i++) {
        dynq_quantize_rule wish = {0};
        if (resolve(job, i, &wish) && wish.feedback == DYNQ_SWITCH_ON &&
            wish.weights >= DYNQ_FORMAT_INT16) {
            return 1;
        }
    }
    return 0;
}

/* "search", or a number between 0 and 1. */
static exit_code read_alpha(const command_call *call, double *alpha)
{
    const quantize_options *options = call->options;
    char *end = NULL;
    *alpha = 0;
    if (options->smooth == NULL || strcmp(options->smooth, "search") == 0) {
        return EXIT_CODE_DONE;
    }
    *alpha = strtod(options->smooth, &end);
    if (end == options->smooth || *end != '\0' || !(*alpha > 0 && *alpha < 1)) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--smooth: '%s' is not \"search\" or a number between 0 and 1",
                            options->smooth);
    }
    return EXIT_CODE_DONE;
}

static exit_code smooth(const command_call *call, quantize_job *job)
{
    const int fixed = job->wanted.range == DYNQ_RANGE_STATIC; /* which is per tensor */
    const dynq_smooth_options options = {.size = sizeof options,
                                         .alpha = job->alpha,
                                         .scope = fixed ? DYNQ_SCOPE_TENSOR : job->wanted.scope};
    dynq_model *smoothed = NULL;
    dynq_error error = {0};
    const dynq_status status =
        dynq_smooth(job->model, job->calibration, &options, &smoothed, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, call->arguments[0]);
    }
    dynq_model_free(job->model);
    job->model = smoothed;
    return EXIT_CODE_DONE;
}

/* Options that do not go together. */
static exit_code check_sources(const command_call *call, const char *need)
{
    const quantize_options *options = call->options;
    if (options->calibration != NULL && options->calibration_data != NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--calibration and --calibration-data: give one of them");
    }
    if (options->calibration == NULL && options->calibration_data == NULL &&
        (need != NULL || options->smooth != NULL)) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "%s --calibration CAL, made with `dynq calibrate MODEL --data X -o "
                            "CAL`, or --calibration-data X",
                            need != NULL ? need : "smoothing needs");
    }
    if (options->calibration != NULL && options->smooth != NULL && need != NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "%s a calibration of the model as smoothed: give --calibration-data X "
                            "instead of --calibration",
                            need);
    }
    if (options->calibration_data != NULL && options->smooth != NULL && need != NULL &&
        !calibration_file_again(options->calibration_data)) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--calibration-data: with --smooth it is read twice: give a file, not "
                            "a pipe");
    }
    return EXIT_CODE_DONE;
}

static exit_code check_feedback(const command_call *call)
{
    const quantize_options *options = call->options;
    if (engine_algebra() == NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "error feedback needs OpenBLAS, which this build of dynq lacks");
    }
    if (options->calibration_data == NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "error feedback needs --calibration-data X: how inputs go together is "
                            "more than a calibration file holds");
    }
    if (options->smooth != NULL && !calibration_file_again(options->calibration_data)) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--calibration-data: with --smooth it is read twice: give a file, not "
                            "a pipe");
    }
    return EXIT_CODE_DONE;
}

/* A calibration of the model before smoothing says nothing of the smoothed one. Where the data can
 * only be read once, or is not there, what only helps is done without. */
static int measured_anew(const quantize_options *options, int used)
{
    return used && options->calibration_data != NULL &&
           calibration_file_again(options->calibration_data);
}

/* Opens or measures, smooths, and measures the smoothed model. */
static exit_code gather(const command_call *call, quantize_job *job, int used, int moments)
{
    const quantize_options *options = call->options;
    const int smoothed = options->smooth != NULL;
    exit_code code = options->calibration != NULL
                         ? open_calibration(call, job)
                         : measure(call, job, used || smoothed, moments && !smoothed);
    if (code == EXIT_CODE_DONE && smoothed) {
        code = smooth(call, job);
        const int anew = measured_anew(options, used);
        if (code == EXIT_CODE_DONE && (anew || moments)) {
            code = measure(call, job, anew, moments);
        }
    }
    return code;
}

exit_code quantize_prepare(const command_call *call, quantize_job *job)
{
    const quantize_options *options = call->options;
    const char *need = needs_calibration(job);
    const int moments = needs_moments(job);
    exit_code code = read_alpha(call, &job->alpha);
    if (code == EXIT_CODE_DONE) {
        code = check_sources(call, need);
    }
    if (code == EXIT_CODE_DONE && moments) {
        code = check_feedback(call);
    }
    const int given = options->calibration != NULL || options->calibration_data != NULL;
    const int used = need != NULL || (given && calibration_helps(job));
    if (code != EXIT_CODE_DONE || (!used && !moments && options->smooth == NULL)) {
        return code;
    }
    code = gather(call, job, used, moments);
    job->wanted.calibration =
        used && (options->smooth == NULL || measured_anew(options, used)) ? job->calibration : NULL;
    job->wanted.moments = job->moments;
    job->wanted.algebra = moments ? engine_algebra() : NULL;
    return code;
}
