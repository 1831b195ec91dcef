#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/calibration.h"
#include "tools/calibration_file.h"
#include "tools/labels.h"
#include "tools/output.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000

/* Whether two paths lead to one file. */
static int same_file(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static exit_code hold_out(tuning *self)
{
    self->held_out = self->x.count < 10 ? 1 : self->x.count / 10;
    if (self->held_out == self->x.count) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s has one %s only, which these precisions would be calibrated on; "
                            "add more or --calibration-data",
                            self->options->data, self->input.ids ? "line" : "row");
    }
    return EXIT_CODE_DONE;
}

/* Requests from all over the data, about as many rows as wanted. */
static void take_sample(tuning *self)
{
    const evaluate_data *data = &self->data;
    const requests *x = &self->x;
    const size_t rows = x->offsets[data->first + data->count] - x->offsets[data->first];
    const size_t wanted = (size_t)self->options->samples;
    size_t count = data->count;
    if (wanted > 0 && wanted < rows) {
        count = (size_t)((double)data->count * (double)wanted / (double)rows);
        count = count == 0 ? 1 : count;
    }
    requests *sample = &self->sample;
    *sample = (requests){.count = count,
                         .columns = x->columns,
                         .most_rows = x->most_rows,
                         .offsets = allocate(count + 1, sizeof *sample->offsets)};
    sample->values = allocate(rows, x->columns * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        const size_t from = data->first + i * data->count / count;
        const size_t length = x->offsets[from + 1] - x->offsets[from];
        memcpy((char *)sample->values + sample->offsets[i] * x->columns * sizeof(float),
               requests_at(x, from), length * x->columns * sizeof(float));
        sample->offsets[i + 1] = sample->offsets[i] + length;
    }
}

static void advance(void *context, double share)
{
    command_progress_update(context, (uint64_t)(share * PROGRESS_STEPS));
}

/* The requests that were held out. */
static dynq_status calibrate_held_out(tuning *self, const calibration_target *target,
                                      command_progress *progress, dynq_error *error)
{
    calibration_feed feed = {0};
    const size_t most = calibration_call(self->model);
    size_t longest = 0;
    for (size_t i = 0; i < self->held_out; i++) {
        const size_t rows = self->x.offsets[i + 1] - self->x.offsets[i];
        longest = rows > longest ? rows : longest;
    }
    dynq_status status =
        calibration_open(target, self->model, longest, self->call->common.threads, &feed, error);
    for (size_t first = 0; first < self->held_out && status == DYNQ_OK;) {
        const size_t left = self->held_out - first, count = left < most ? left : most;
        status = calibration_add(&feed, &self->x, first, count, first, NULL, error);
        first += count;
        advance(progress, (double)first / (double)self->held_out);
    }
    calibration_close(&feed);
    self->calibrated = self->held_out;
    return status;
}

static exit_code calibrate(tuning *self)
{
    const char *path = self->options->calibration_data;
    dynq_error error = {0};
    if (dynq_calibration_create(self->model, NULL, &self->calibration, &error) != DYNQ_OK) {
        return command_fail_status(self->call->command, error.status, &error,
                                   self->call->arguments[0]);
    }
    const calibration_target target = {.calibration = self->calibration,
                                       .moments = tune_uses_moments(self) ? &self->moments : NULL};
    command_progress progress =
        command_progress_begin("Calibrating", PROGRESS_STEPS, self->call->common.quiet);
    exit_code code = EXIT_CODE_DONE;
    if (path != NULL) {
        code = calibration_file(self->call, path, self->model, &target, advance, &progress,
                                &self->calibrated);
    } else if (calibrate_held_out(self, &target, &progress, &error) != DYNQ_OK) {
        code = command_fail_status(self->call->command, error.status, &error, self->options->data);
    }
    command_progress_end(&progress);
    return code;
}

exit_code tune_read_data(tuning *self)
{
    const tune_options *options = self->options;
    if (options->calibration_data != NULL && same_file(options->data, options->calibration_data)) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--calibration-data is the file that is evaluated, which would flatter "
                            "what is calibrated; give other data, or none: the first tenth of %s "
                            "then calibrates and is left out",
                            options->data);
    }
    exit_code code = requests_read(self->call, self->model, options->data, &self->input, &self->x);
    if (code == EXIT_CODE_DONE && options->labels != NULL) {
        code = labels_read(self->call, options->labels, options->data, self->model, &self->input,
                           &self->x, &self->labels);
    }
    if (code == EXIT_CODE_DONE && tune_calibrates(self) && options->calibration_data == NULL) {
        code = hold_out(self);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    self->data =
        (evaluate_data){.requests = &self->x,
                        .first = self->held_out,
                        .count = self->x.count - self->held_out,
                        .labels = self->labels != NULL ? self->labels + self->held_out : NULL};
    take_sample(self);
    return tune_calibrates(self) ? calibrate(self) : EXIT_CODE_DONE;
}
