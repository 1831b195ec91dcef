#include "tools/calibration_file.h"

#include "tools/request_stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct job {
    const command_call *call;
    const char *path;
    dynq_model *model;
    request_stream *stream;
    calibration_feed feed;
    calibration_progress advance;
    void *context;
    size_t count;
} job;

static exit_code add_all(job *self)
{
    const size_t total = request_stream_count(self->stream);
    for (;;) {
        const requests *next = NULL;
        dynq_error error = {0};
        const exit_code code =
            request_stream_next(self->stream, calibration_call(self->model), &next);
        if (code != EXIT_CODE_DONE || next->count == 0) {
            return code;
        }
        const dynq_status status =
            calibration_add(&self->feed, next, 0, next->count, self->count, NULL, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(self->call->command, status, &error, self->path);
        }
        self->count += next->count;
        if (total > 0) {
            self->advance(self->context, (double)self->count / (double)total);
        }
    }
}

exit_code calibration_file(const command_call *call, const char *path, dynq_model *model,
                           const calibration_target *target, calibration_progress advance,
                           void *context, size_t *count)
{
    job self = {.call = call, .path = path, .model = model, .advance = advance, .context = context};
    model_slot *inputs = NULL;
    exit_code code = EXIT_CODE_DONE;
    *count = 0;
    if (model_inputs(model, &inputs) != 1) {
        code = command_fail(call->command, EXIT_CODE_DATA,
                            "%s: has several inputs, of which one file cannot tell: calibrate it "
                            "from a program with dynq_calibrator_run()",
                            call->arguments[0]);
    } else {
        code = request_stream_open(call, model, path, &inputs[0], &self.stream);
    }
    free(inputs);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    dynq_error error = {0};
    const dynq_status status = calibration_open(target, model, request_stream_longest(self.stream),
                                                call->common.threads, &self.feed, &error);
    code = status == DYNQ_OK ? add_all(&self)
                             : command_fail_status(call->command, status, &error, path);
    *count = self.count;
    calibration_close(&self.feed);
    request_stream_close(self.stream);
    return code;
}

bool calibration_file_again(const char *path)
{
    struct stat info; /* what is not there is left for the reader to say */
    return strcmp(path, "-") != 0 && (stat(path, &info) != 0 || S_ISREG(info.st_mode));
}
