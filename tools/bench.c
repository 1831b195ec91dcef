#include "tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/machine.h"
#include "tools/report.h"

static const option_entry entries[] = {
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_SIZES,
     .offset = offsetof(bench_options, batches),
     .argument = "N,...",
     .help = "requests of a run (default: 1,16,64; of a model of texts 1,8, and 64 with --data)",
     .low = 1,
     .high = 1048576},
    {.name = "sequence",
     .letter = 's',
     .kind = OPTION_SIZES,
     .offset = offsetof(bench_options, sequences),
     .argument = "N,...",
     .help = "rows of each request: tokens of a text (default: 1; of a model of texts 16,128,256)",
     .low = 1,
     .high = 1048576},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_SIZES,
     .offset = offsetof(bench_options, threads),
     .argument = "N,...",
     .help = "threads to work with, at most one per usable CPU",
     .initial = "1",
     .low = 1,
     .high = 256},
    {.name = "repeat",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(bench_options, repeat),
     .argument = "N",
     .help = "repetitions, each as many runs as take a millisecond; 0: up to 100 in about two "
             "seconds, at least 10",
     .initial = "0",
     .high = 1000000},
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(bench_options, data),
     .argument = "X",
     .help = "requests (rows of npy, IDX, raw f32; lines of text for a model of texts), repeated "
             "where a run has more (default: random numbers from 0 to 1, or ids)"},
    {.name = "calibration",
     .kind = OPTION_STRING,
     .offset = offsetof(bench_options, calibration),
     .argument = "CAL",
     .help = "also measure INT8 with static ranges from this calibration"},
    {.name = "granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(bench_options, granularity),
     .argument = "SCOPE",
     .help = "of dynamic ranges: segment (one for each request), tensor (one for the batch), row "
             "(default: as the model says, segment for an FP32 model)",
     .choices = "segment|tensor|row"},
    {.name = "engine",
     .kind = OPTION_STRING,
     .offset = offsetof(bench_options, engine),
     .argument = "NAME",
     .help = "measure INT8 on this engine only, native or onednn (default: all); FP32 is measured "
             "on all of them"},
    {.name = "bf16-dot",
     .kind = OPTION_FLAG,
     .offset = offsetof(bench_options, bf16_dot),
     .help = "layers with BF16 weights use the CPU's dot product for it on the native engine, with "
             "inputs rounded to BF16 as well"},
    {.name = "explain",
     .kind = OPTION_FLAG,
     .offset = offsetof(bench_options, explain),
     .help = "also split the time of INT8 by node and phase, in extra runs; layers of a stack, "
             "whose nodes differ in a number, are added up"},
    {.name = "explain-nodes",
     .kind = OPTION_FLAG,
     .offset = offsetof(bench_options, explain_nodes),
     .help = "the same with every node on a line of its own"},
    {.name = "html",
     .kind = OPTION_STRING,
     .offset = offsetof(bench_options, html),
     .argument = "FILE",
     .help = "also write a self-contained page with plots"},
    {.name = "min-speedup",
     .kind = OPTION_NUMBER,
     .offset = offsetof(bench_options, min_speedup),
     .argument = "X",
     .help = "exit with 1 if INT8 on the native engine (or on that of --engine) is less than X "
             "times as fast as the baseline anywhere",
     .initial = "0",
     .high = 1000000},
    {.name = NULL},
};

/* The slowest of the runs that have to be fast, and whether it is fast enough. */
static exit_code check_speedup(const bench *self)
{
    const char *engine = self->options->engine != NULL ? self->options->engine : "native";
    const bench_run *slowest = NULL;
    char point[120];
    for (size_t i = 0; i < self->run_count; i++) {
        const bench_run *one = &self->runs[i];
        if (one->line->precision == DYNQ_PRECISION_INT8 && strcmp(one->line->engine, engine) == 0 &&
            (slowest == NULL || one->speedup < slowest->speedup)) {
            slowest = one;
        }
    }
    if (slowest == NULL || slowest->speedup >= self->options->min_speedup) {
        return EXIT_CODE_DONE;
    }
    bench_describe_point(self, slowest->point, slowest->threads, point, sizeof point);
    return command_fail(self->call->command, EXIT_CODE_MISSED,
                        "missed: %s is %.2f times as fast as %s at %s, --min-speedup is %.6g",
                        slowest->line->name, slowest->speedup, slowest->baseline->name, point,
                        self->options->min_speedup);
}

static exit_code bench_all(bench *self)
{
    const char *html = self->options->html;
    dynq_error error = {0};
    if (html != NULL && report_check_path(html, &error) != DYNQ_OK) {
        return command_fail_status(self->call->command, error.status, &error, html);
    }
    exit_code code = bench_make_lines(self);
    if (code == EXIT_CODE_DONE) {
        code = bench_make_points(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = bench_measure(self);
    }
    if (code == EXIT_CODE_DONE && (self->options->explain || self->options->explain_nodes)) {
        code = bench_explain(self);
    }
    if (code == EXIT_CODE_DONE && html != NULL) {
        code = bench_write_html(self);
    }
    if (code == EXIT_CODE_DONE) {
        if (self->call->common.json) {
            bench_print_json(self);
        } else {
            bench_print(self);
        }
        code = check_speedup(self);
    }
    return code;
}

static exit_code run(const command_call *call)
{
    bench self = {.call = call, .options = call->options, .kernel = machine_kernel(call)};
    dynq_cpu_query(&self.cpu);
    const exit_code code = bench_all(&self);
    for (size_t i = 0; i < self.profile_count; i++) {
        free(self.profiles[i].nodes);
    }
    for (size_t i = 0; i < self.input_count; i++) {
        free(self.inputs[i]);
    }
    free(self.profiles);
    free(self.runs);
    free(self.inputs);
    for (size_t i = 0; i < self.point_count; i++) {
        free(self.points[i].offsets);
    }
    free(self.points);
    free(self.slots);
    free(self.threads);
    dynq_model_free(self.fixed);
    dynq_model_free(self.dynamic);
    dynq_model_free(self.model);
    return code;
}

const command command_bench = {
    .name = "bench",
    .summary = "latency of INT8 against FP32 of the same model",
    .usage = "MODEL [options]",
    .description =
        "Measures INT8 and FP32 of one model side by side, in rounds that take turns, on every "
        "engine of this build. Speedups are against the faster of OpenBLAS and oneDNN in FP32 in "
        "the same rounds, point by point. An FP32 model is quantized in memory with dynamic "
        "ranges; of an INT8 model the FP32 lines use the dequantized weights.",
    .example = "dynq bench mlp.safetensors -b 1,16,64 -t 1,2 --explain --html bench.html",
    .entries = entries,
    .options_size = sizeof(bench_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_KERNEL | COMMAND_SEED | COMMAND_FORMAT,
    .run = run,
};
