#include "tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/inputs.h"
#include "tools/machine.h"
#include "tools/random.h"
#include "tools/report.h"

static const option_entry entries[] = {
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_SIZES,
     .offset = offsetof(bench_options, batches),
     .argument = "N,...",
     .help = "rows of a run, each row one request",
     .initial = "1,16,64",
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
     .help = "inputs (npy, IDX, raw f32), repeated where a batch has more rows (default: random "
             "numbers from 0 to 1)"},
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
    {.name = "explain",
     .kind = OPTION_FLAG,
     .offset = offsetof(bench_options, explain),
     .help = "also split the time of INT8 by node and phase, in extra runs"},
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

static int compare_values(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Sorted copies of the sweeps, each value once, threads capped at the usable CPUs. */
static void prepare_sweep(bench *self)
{
    const option_sizes *batches = &self->options->batches;
    const option_sizes *threads = &self->options->threads;
    uint64_t *sorted = allocate(batches->count + threads->count, sizeof *sorted);
    self->batches = allocate(batches->count, sizeof *self->batches);
    self->threads = allocate(threads->count, sizeof *self->threads);
    memcpy(sorted, batches->values, batches->count * sizeof *sorted);
    qsort(sorted, batches->count, sizeof *sorted, compare_values);
    for (size_t i = 0; i < batches->count; i++) {
        if (self->batch_count == 0 || self->batches[self->batch_count - 1] != sorted[i]) {
            self->batches[self->batch_count++] = (size_t)sorted[i];
        }
    }
    memcpy(sorted, threads->values, threads->count * sizeof *sorted);
    qsort(sorted, threads->count, sizeof *sorted, compare_values);
    for (size_t i = 0; i < threads->count; i++) {
        const uint32_t usable = self->cpu.usable;
        const uint32_t value = sorted[i] < usable ? (uint32_t)sorted[i] : usable;
        if (value < sorted[i]) {
            command_note(self->call, "%u threads instead of %u: this process may use no more CPUs",
                         value, (unsigned)sorted[i]);
        }
        if (self->thread_count == 0 || self->threads[self->thread_count - 1] != value) {
            self->threads[self->thread_count++] = value;
        }
    }
    free(sorted);
}

/* Rows for the largest batch: random, or those of the file over and over. */
static exit_code prepare_inputs(bench *self)
{
    model_slot *slots = NULL;
    const size_t count = model_inputs(self->model, &slots);
    const size_t rows = self->batches[self->batch_count - 1];
    uint64_t state = self->call->common.seed;
    data_matrix data = {0};
    exit_code code = EXIT_CODE_DONE;
    if (self->options->data != NULL && count != 1) {
        code = command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--data is for models with one input; %s has %zu",
                            self->call->arguments[0], count);
    } else if (self->options->data != NULL) {
        code = inputs_read(self->call, self->options->data, slots[0].columns, &data);
    }
    self->inputs = allocate(count, sizeof *self->inputs);
    for (size_t i = 0; i < count && code == EXIT_CODE_DONE; i++) {
        const size_t elements = rows * slots[i].columns;
        self->inputs[self->input_count++] = allocate(elements, sizeof(float));
        for (size_t e = 0; e < elements; e++) {
            self->inputs[i][e] = data.values != NULL
                                     ? data.values[e % (data.rows * data.columns)]
                                     : (float)(random_next(&state) >> 40) * 0x1p-24f;
        }
    }
    data_matrix_free(&data);
    free(slots);
    return code;
}

/* The slowest of the runs that have to be fast, and whether it is fast enough. */
static exit_code check_speedup(const bench *self)
{
    const char *engine = self->options->engine != NULL ? self->options->engine : "native";
    const bench_run *slowest = NULL;
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
    return command_fail(self->call->command, EXIT_CODE_MISSED,
                        "missed: %s is %.2f times as fast as %s at batch %zu with %u thread%s, "
                        "--min-speedup is %.6g",
                        slowest->line->name, slowest->speedup, slowest->baseline->name,
                        slowest->batch, slowest->threads, slowest->threads == 1 ? "" : "s",
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
        prepare_sweep(self);
        code = prepare_inputs(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = bench_measure(self);
    }
    if (code == EXIT_CODE_DONE && self->options->explain) {
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
    free(self.batches);
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
        "the same rounds, batch by batch. An FP32 model is quantized in memory with dynamic "
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
