#include "tools/command.h"

#include "tools/calibrate.h"
#include "tools/calibration.h"
#include "tools/output.h"
#include "tools/request_stream.h"
#include "tools/statistics.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often what is done so far is written. */
#define SAVE_NS UINT64_C(5000000000)

typedef struct calibrate_options {
    const char *data, *out;
    uint64_t rows;
    option_list merge;
    int resume;
} calibrate_options;

static const option_entry entries[] = {
    {.name = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(calibrate_options, data),
     .argument = "FILE",
     .help = "requests the network will meet: rows of npy, IDX (also gzip) or raw f32; for a model "
             "of texts a text file, each line one request; any number, they are read piecewise"},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(calibrate_options, out),
     .argument = "FILE",
     .help = "where to write the calibration",
     .required = 1},
    {.name = "rows",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(calibrate_options, rows),
     .argument = "N",
     .help = "use the first N requests of the data; 0: all",
     .initial = "0"},
    {.name = "merge",
     .kind = OPTION_LIST,
     .offset = offsetof(calibrate_options, merge),
     .argument = "FILE",
     .help = "add what an earlier calibration of this model saw, with or without data; there is no "
             "moving average then"},
    {.name = "resume",
     .kind = OPTION_FLAG,
     .offset = offsetof(calibrate_options, resume),
     .help =
         "go on where a run with the same data wrote its output last: the result is that of one "
         "run; "
         "where --rows or the data had ended it, up to rounding, and but for the moving average"},
    {.name = NULL},
};

typedef struct job {
    const command_call *call;
    const calibrate_options *options;
    dynq_model *model;
    dynq_calibration *calibration;
    size_t before, done; /* requests of earlier runs, of this one */
    size_t truncated;
} job;

/* ---- interruption ---- */

static volatile sig_atomic_t interrupted; /* the signal */
static volatile int cancel;

static void interrupt(int signal_number)
{
    interrupted = signal_number;
    cancel = 1;
}

static const int signals[] = {SIGINT, SIGTERM};

static void catch_signals(struct sigaction *before)
{
    /* The second signal ends the program at once. */
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART | SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) {
            sigaction(signals[i], &action, NULL);
        }
    }
}

static void release_signals(const struct sigaction *before)
{
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], &before[i], NULL);
    }
}

/* ---- files ---- */

static exit_code save(const job *self)
{
    dynq_error error = {0};
    const char *path = self->options->out;
    const dynq_status status = dynq_calibration_save(self->calibration, path, &error);
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, path);
}

/* Whether the output can be written again and again: not a pipe. */
static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) != 0 || S_ISREG(info.st_mode);
}

/* Opens a calibration of the model. */
static exit_code open_file(const job *self, const char *path, dynq_calibration **calibration)
{
    dynq_error error = {0};
    dynq_status status = dynq_calibration_open(path, NULL, calibration, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, path);
    }
    status = dynq_calibration_check_model(*calibration, self->model, &error);
    if (status != DYNQ_OK) { /* the file is wrong, not what was typed */
        dynq_calibration_free(*calibration);
        return command_fail(self->call->command, EXIT_CODE_DATA, "%s: %s", path, error.message);
    }
    return EXIT_CODE_DONE;
}

static exit_code merge_file(const job *self, const char *path)
{
    dynq_calibration *more = NULL;
    dynq_error error = {0};
    const exit_code code = open_file(self, path, &more);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const dynq_status status = dynq_calibration_merge(self->calibration, more, &error);
    dynq_calibration_free(more);
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, path);
}

/* Whether somebody merged into it, so that nobody knows where it stopped. */
static bool is_merged(const dynq_calibration *calibration)
{
    const dynq_range_choice average = {.size = sizeof average, .method = DYNQ_METHOD_AVERAGE};
    bool merged = false;
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        float lo = 0.0f, hi = 0.0f;
        dynq_calibration_get(calibration, i, &entry);
        merged = merged || dynq_calibration_range(calibration, entry.value, &average, &lo, &hi,
                                                  NULL) == DYNQ_ERR_UNSUPPORTED;
    }
    return merged;
}

/* Takes over what the output file holds, if there is one. */
static exit_code resume(job *self)
{
    const char *path = self->options->out;
    if (!self->options->resume || access(path, F_OK) != 0) {
        return EXIT_CODE_DONE;
    }
    dynq_calibration *before = NULL;
    const exit_code code = open_file(self, path, &before);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    dynq_calibration_free(self->calibration);
    self->calibration = before;
    if (is_merged(before)) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: other calibrations were merged into it, so that nobody knows "
                            "where it stopped: leave --resume out",
                            path);
    }
    self->before = (size_t)dynq_calibration_requests(before);
    return EXIT_CODE_DONE;
}

/* ---- data ---- */

static void show_progress(command_progress *progress, const job *self, size_t total)
{
    command_progress_update(progress, total == 0 ? 0 : self->before + self->done);
}

static exit_code add_all(job *self, request_stream *stream, calibration_feed *feed, size_t total,
                         command_progress *progress)
{
    const size_t most = calibration_call(self->model);
    const bool saving = is_file(self->options->out);
    uint64_t saved = statistics_now_ns();
    exit_code code = EXIT_CODE_DONE;
    while (code == EXIT_CODE_DONE && !cancel) {
        const size_t seen = self->before + self->done;
        const uint64_t limit = self->options->rows;
        const size_t left = limit == 0 ? most : limit > seen ? (size_t)limit - seen : 0;
        const requests *next = NULL;
        if (left == 0) {
            break;
        }
        code = request_stream_next(stream, left < most ? left : most, &next);
        if (code != EXIT_CODE_DONE || next->count == 0) {
            break;
        }
        dynq_error error = {0};
        const dynq_status status =
            calibration_add(feed, next, 0, next->count, seen, &cancel, &error);
        if (status != DYNQ_OK && status != DYNQ_ERR_CANCELLED) {
            code = command_fail_status(self->call->command, status, &error, self->options->data);
        }
        self->done += status == DYNQ_OK ? next->count : 0;
        show_progress(progress, self, total);
        if (status == DYNQ_OK && saving && statistics_now_ns() - saved > SAVE_NS) {
            code = save(self);
            saved = statistics_now_ns();
        }
    }
    return code;
}

static exit_code run_stream(job *self, request_stream *stream)
{
    const size_t longest = request_stream_longest(stream);
    calibration_feed feed = {0};
    dynq_error error = {0};
    const calibration_target target = {.calibration = self->calibration};
    const dynq_status status =
        calibration_open(&target, self->model, longest, self->call->common.threads, &feed, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, self->options->data);
    }
    size_t passed = 0, total = request_stream_count(stream);
    if (self->options->rows > 0 && (total == 0 || self->options->rows < total)) {
        total = (size_t)self->options->rows;
    }
    exit_code code = request_stream_skip(stream, self->before, &passed);
    if (code == EXIT_CODE_DONE && passed < self->before) {
        code = command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: has %zu requests, but %s has seen %zu: give the same data",
                            self->options->data, passed, self->options->out, self->before);
    }
    command_progress progress =
        command_progress_begin("calibrating", total, self->call->common.quiet);
    if (code == EXIT_CODE_DONE) {
        code = add_all(self, stream, &feed, total, &progress);
    }
    command_progress_end(&progress);
    self->truncated = request_stream_truncated(stream);
    calibration_close(&feed);
    return code;
}

static exit_code read_data(job *self)
{
    if (self->options->data == NULL) {
        return EXIT_CODE_DONE;
    }
    model_slot *inputs = NULL;
    request_stream *stream = NULL;
    exit_code code = EXIT_CODE_DONE;
    if (model_inputs(self->model, &inputs) != 1) {
        code = command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: has several inputs, of which one file cannot tell: calibrate it "
                            "from a program with dynq_calibrator_run()",
                            self->call->arguments[0]);
    } else {
        code =
            request_stream_open(self->call, self->model, self->options->data, &inputs[0], &stream);
    }
    if (code == EXIT_CODE_DONE) {
        code = run_stream(self, stream);
    }
    request_stream_close(stream);
    free(inputs);
    return code;
}

/* ---- the command ---- */

static exit_code gather(job *self)
{
    struct sigaction before[sizeof signals / sizeof signals[0]];
    catch_signals(before);
    exit_code code = resume(self);
    if (code == EXIT_CODE_DONE) {
        code = read_data(self);
    }
    if (code == EXIT_CODE_DONE && cancel) {
        code = save(self);
        if (code == EXIT_CODE_DONE) {
            command_note(self->call,
                         "interrupted after %zu requests, wrote %s: go on with --resume",
                         self->before + self->done, self->options->out);
        }
        release_signals(before);
        raise((int)interrupted); /* whoever waits for this process sees what ended it */
        return code;
    }
    release_signals(before);
    for (size_t i = 0; code == EXIT_CODE_DONE && i < self->options->merge.count; i++) {
        code = merge_file(self, self->options->merge.items[i]);
    }
    return code == EXIT_CODE_DONE ? save(self) : code;
}

static void report(const job *self)
{
    const calibrate_options *options = self->options;
    if (self->call->common.json) {
        calibrate_print_json(self->calibration, options->out);
        return;
    }
    calibrate_print_table(self->calibration, self->call->common.format);
    if (self->truncated > 0) {
        command_note(self->call, "%zu line%s cut to the model's length", self->truncated,
                     self->truncated == 1 ? " was" : "s were");
    }
    if (options->merge.count > 0) {
        command_note(self->call, "%zu file%s merged", options->merge.count,
                     options->merge.count == 1 ? "" : "s");
    }
    command_note(self->call, "%zu request%s measured%s, wrote %s", self->done,
                 self->done == 1 ? "" : "s", self->before > 0 ? " after those before" : "",
                 options->out);
}

static exit_code run(const command_call *call)
{
    job self = {.call = call, .options = call->options};
    if (self.options->data == NULL && self.options->merge.count == 0) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--data FILE is missing: give it, or --merge");
    }
    exit_code code = command_open_model(call, call->arguments[0], &self.model);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    dynq_error error = {0};
    const dynq_status status = dynq_calibration_create(self.model, NULL, &self.calibration, &error);
    code = status == DYNQ_OK
               ? gather(&self)
               : command_fail_status(call->command, status, &error, call->arguments[0]);
    if (code == EXIT_CODE_DONE) {
        report(&self);
    }
    dynq_calibration_free(self.calibration);
    dynq_model_free(self.model);
    return code;
}

const command command_calibrate = {
    .name = "calibrate",
    .summary = "measure the ranges of activations on example data",
    .usage = "MODEL --data X -o CAL [options]",
    .description = "Runs a model in FP32 over example data, once, and writes what static ranges "
                   "are chosen from. Take rows that the model is not evaluated on. What is done so "
                   "far is written every few seconds, and when the run is interrupted.",
    .example =
        "dynq calibrate mlp.safetensors --data train-images-idx3-ubyte.gz -o mlp.cal.json\n"
        "dynq calibrate mlp.safetensors --merge a.cal.json --merge b.cal.json -o ab.cal.json",
    .entries = entries,
    .options_size = sizeof(calibrate_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_FORMAT,
    .run = run,
};
