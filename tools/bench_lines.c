#include "tools/bench.h"

#include <stdio.h>
#include <string.h>

#include <dynq/calibration.h>
#include <dynq/quantize.h>

#include "tools/engines.h"

/* How the linear layers of a model get their ranges; NULL where all compute in FP32. */
static const char *ranges_of(const dynq_model *model)
{
    size_t counts[3] = {0};
    dynq_node_info node = {.size = sizeof node};
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        if (node.op == DYNQ_OP_LINEAR && node.precision != DYNQ_PRECISION_FP32) {
            counts[node.range.kind]++;
        }
    }
    if (counts[DYNQ_RANGE_DYNAMIC] + counts[DYNQ_RANGE_STATIC] == 0) {
        return NULL;
    }
    return counts[DYNQ_RANGE_STATIC] == 0    ? "dynamic"
           : counts[DYNQ_RANGE_DYNAMIC] == 0 ? "static"
                                             : "mixed";
}

/* The format that all linear layers of a precision (FP32, or any other) have their weights in;
 * NULL: there are several. */
static const char *weights_of(const dynq_model *model, int fp32)
{
    dynq_format common = 0;
    dynq_node_info node = {.size = sizeof node};
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        if (node.op != DYNQ_OP_LINEAR || (node.precision == DYNQ_PRECISION_FP32) != fp32) {
            continue;
        }
        if (common != 0 && node.weight_format != common) {
            return NULL;
        }
        common = node.weight_format;
    }
    return dynq_format_name(common);
}

static void name_line(bench_line *line)
{
    const char *common = line->dequantized ? "fp32" : weights_of(line->model, line->ranges == NULL);
    line->weights = common == NULL ? "mixed" : common;
    snprintf(line->name, sizeof line->name, "%s %s%s%s", line->engine, line->weights,
             line->ranges != NULL ? "-" : "",
             line->ranges != NULL ? line->ranges
             : line->dequantized  ? " (deq.)"
                                  : "");
}

static void add_line(bench *self, const engine_choice *choice, dynq_model *model,
                     dynq_precision precision, const char *ranges)
{
    /* FP32 by engine, INT8 by engine and ranges: as many colours as there can be lines. */
    const int engine_tone = choice->engine == NULL                ? 0
                            : strcmp(choice->name, "onednn") == 0 ? 1
                                                                  : 2;
    static const int fp32_tones[] = {6, 7, 0};
    static const int int8_tones[] = {1, 2, 5};
    const int is_static = ranges != NULL && strcmp(ranges, "static") == 0;
    bench_line *line = &self->lines[self->line_count++];
    *line = (bench_line){
        .engine = choice->name,
        .table = engine_table(choice),
        .model = model,
        .precision = precision,
        .ranges = ranges,
        .dequantized = precision == DYNQ_PRECISION_FP32 && ranges_of(model) != NULL,
        .tone = ranges == NULL ? fp32_tones[engine_tone]
                               : (is_static ? 2 : 0) + int8_tones[engine_tone],
    };
    name_line(line);
}

/* Whether an engine of INT8 products would get some of this model's: groups and INT16 it cannot. */
static int has_products(const dynq_model *model)
{
    int found = 0;
    dynq_node_info node = {.size = sizeof node};
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        found = found || (node.op == DYNQ_OP_LINEAR && node.precision == DYNQ_PRECISION_INT8 &&
                          node.weight_group == 0);
    }
    return found;
}

/* One INT8 line for each engine that is built, has INT8 and something to do, and was not excluded.
 */
static void add_int8_lines(bench *self, dynq_model *model)
{
    const int shared = has_products(model);
    const engine_choice *choice = NULL;
    for (size_t i = 0; (choice = engine_at(i)) != NULL; i++) {
        const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
        const int has_int8 = choice->built && (engine == NULL || (engine->has_int8 && shared));
        const int wanted =
            self->options->engine == NULL || strcmp(self->options->engine, choice->name) == 0;
        if (has_int8 && wanted) {
            add_line(self, choice, model, DYNQ_PRECISION_INT8, ranges_of(model));
        }
    }
}

static void add_fp32_lines(bench *self)
{
    static const char *const order[] = {"openblas", "onednn", "native"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const engine_choice *choice = engine_find(order[i]);
        const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
        if (choice->built && (engine == NULL || engine->has_fp32)) {
            add_line(self, choice, self->model, DYNQ_PRECISION_FP32, NULL);
        }
    }
}

static exit_code check_engine(const bench *self)
{
    const char *asked = self->options->engine;
    if (asked == NULL) {
        return EXIT_CODE_DONE;
    }
    const engine_choice *choice = engine_find(asked);
    const command *const own = self->call->command;
    if (choice == NULL) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--engine: '%s' is not accepted; accepted: native,onednn", asked);
    }
    if (!choice->built) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--engine: this build lacks the engine '%s'; build it with the library "
                            "installed",
                            asked);
    }
    const dynq_engine *engine = engine_table(choice);
    if (engine != NULL && !engine->has_int8) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "--engine: %s has no INT8; its FP32 is measured anyway", asked);
    }
    return EXIT_CODE_DONE;
}

/* The INT8 models of an FP32 file: dynamic, and static with a calibration. */
static dynq_status quantize(bench *self, dynq_error *error)
{
    dynq_status status = dynq_quantize(self->model, NULL, &self->dynamic, error);
    if (status != DYNQ_OK || self->options->calibration == NULL) {
        return status;
    }
    dynq_calibration *calibration = NULL;
    status = dynq_calibration_open(self->options->calibration, NULL, &calibration, error);
    if (status == DYNQ_OK) {
        const dynq_quantize_options options = {.size = sizeof options,
                                               .range = DYNQ_RANGE_STATIC,
                                               .calibration = calibration,
                                               .method = DYNQ_METHOD_MAX};
        status = dynq_quantize(self->model, &options, &self->fixed, error);
    }
    dynq_calibration_free(calibration);
    return status;
}

exit_code bench_make_lines(bench *self)
{
    const char *path = self->call->arguments[0];
    exit_code code = check_engine(self);
    if (code == EXIT_CODE_DONE) {
        code = command_open_model(self->call, path, &self->model);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    add_fp32_lines(self);
    if (ranges_of(self->model) != NULL) {
        if (self->options->calibration != NULL) {
            return command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--calibration is for FP32 models; %s is quantized already", path);
        }
        add_int8_lines(self, self->model);
        return EXIT_CODE_DONE;
    }
    const char *weights = weights_of(self->model, 1);
    if (weights == NULL || strcmp(weights, "fp32") != 0) {
        return EXIT_CODE_DONE; /* halves alone: there is nothing to quantize */
    }
    dynq_error error = {0};
    const dynq_status status = quantize(self, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(
            self->call->command, status, &error,
            self->fixed == NULL && self->dynamic != NULL ? self->options->calibration : path);
    }
    add_int8_lines(self, self->dynamic);
    if (self->fixed != NULL) {
        add_int8_lines(self, self->fixed);
    }
    return EXIT_CODE_DONE;
}
