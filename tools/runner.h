/* A session with the memory for its inputs' bindings and outputs, and timing several side by side.
 */
#ifndef DYNQ_TOOLS_RUNNER_H
#define DYNQ_TOOLS_RUNNER_H

#include "tools/statistics.h"

#include <dynq/model.h>
#include <dynq/session.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* Every row of a batch is one request, so every row is a segment of its own. */
typedef struct runner {
    dynq_session *session;
    double create_ms;       /* what making the session took */
    dynq_binding *bindings; /* inputs in the order of the model's nodes, then outputs */
    size_t input_count, output_count;
    size_t *input_columns, *output_columns;
    size_t *offsets; /* 0, 1, 2, ... */
    size_t max_rows;
} runner;

/* options->max_rows must be set. On failure nothing is left to free. */
dynq_status runner_create(dynq_model *model, const dynq_session_options *options, runner *self,
                          dynq_error *error);
/* A runner that is all zero is fine. */
void runner_free(runner *self);

/* Runs `rows` rows: inputs[i] is [rows][input_columns[i]]. */
dynq_status runner_run(runner *self, const float *const *inputs, size_t rows, dynq_error *error);
/* The result of the last run: [rows][output_columns[index]]. */
const float *runner_output(const runner *self, size_t index);

/* One line of a timing: filled by the caller except for what is said to be a result. */
typedef struct runner_timing {
    runner *runner;
    const float *const *inputs;
    size_t rows;
    statistics ms;   /* result: of the repetitions, milliseconds for one run */
    double first_ms; /* result: the very first run */
    size_t inner;    /* result: runs in each repetition */
} runner_timing;

/* Measures all lines side by side, interleaved in rounds: each round has one repetition of every
 * line, in reversed order every other round, so that a slow moment of the machine hits all alike. A
 * repetition is as many runs as take about a millisecond. `repeat` rounds; 0: up to 100, fewer
 * where they would take long, never fewer than 10. `advance` (may be NULL) is called after every
 * round with the share that is done. */
dynq_status runner_measure(runner_timing *lines, size_t count, size_t repeat,
                           void (*advance)(void *context, double share), void *context,
                           dynq_error *error);

#endif
