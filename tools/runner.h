/* A session with its bindings and the memory of its outputs, and timing several side by side.
 */
#ifndef DYNQ_TOOLS_RUNNER_H
#define DYNQ_TOOLS_RUNNER_H

#include "tools/inputs.h"
#include "tools/statistics.h"

#include <dynq/model.h>
#include <dynq/session.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* Requests that run together, laid end to end: each is a segment. */
typedef struct runner_batch {
    const void *const *inputs; /* of each input: its rows, floats or ids */
    const size_t *offsets;     /* [segments + 1] where the requests begin, counted from any row */
    size_t segments;
} runner_batch;

typedef struct runner {
    dynq_session *session;
    double create_ms;       /* what making the session took */
    dynq_binding *bindings; /* inputs in the order of the model's nodes, then outputs */
    model_slot *inputs, *outputs;
    size_t input_count, output_count;
    size_t *offsets;       /* of the batch, counted from its first row */
    size_t rows, segments; /* of the last run */
} runner;

/* options->max_rows and max_segments must be set. On failure nothing is left to free. */
dynq_status runner_create(dynq_model *model, const dynq_session_options *options, runner *self,
                          dynq_error *error);
/* A runner that is all zero is fine. */
void runner_free(runner *self);

dynq_status runner_run(runner *self, const runner_batch *batch, dynq_error *error);
/* The result of the last run: [runner_output_rows()][outputs[index].columns]. */
const float *runner_output(const runner *self, size_t index);
/* One for each row of the batch, or for each segment. */
size_t runner_output_rows(const runner *self, size_t index);

/* One line of a timing: filled by the caller except for what is said to be a result. */
typedef struct runner_timing {
    runner *runner;
    runner_batch batch;
    statistics ms;   /* result: of the repetitions, milliseconds for one run */
    double first_ms; /* result: the very first run */
    size_t inner;    /* result: runs in each repetition */
} runner_timing;

/* Measures all lines side by side, interleaved in rounds: each round has one repetition of every
 * line, in reversed order every other round, so that a slow moment of the machine hits all alike. A
 * repetition is as many runs as take about a millisecond. `repeat` rounds; 0: up to 100, fewer
 * where all of them would take longer than `seconds`, never fewer than 5. `advance` (may be NULL)
 * is called after every round with the share that is done. */
dynq_status runner_measure(runner_timing *lines, size_t count, size_t repeat, double seconds,
                           void (*advance)(void *context, double share), void *context,
                           dynq_error *error);

#endif
