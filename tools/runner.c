#include "tools/runner.h"

#include "tools/allocate.h"

#include <math.h>
#include <stdlib.h>

/* A repetition this long makes the clock and one interrupt small. */
#define REPETITION_NS 1e6
/* Runs before anything is timed: caches, page tables, clocks, an engine's primitives. Long runs
 * need fewer. */
#define WARM_UP_RUNS 3
#define LONG_RUN_NS  2e7
#define MOST_ROUNDS  100
#define LEAST_ROUNDS 5

dynq_status runner_create(dynq_model *model, const dynq_session_options *options, runner *self,
                          dynq_error *error)
{
    dynq_session *session = NULL;
    const uint64_t start = statistics_now_ns();
    const dynq_status status = dynq_session_create(model, options, &session, error);
    const double create_ms = 1e-6 * (double)(statistics_now_ns() - start);
    if (status != DYNQ_OK) {
        return status;
    }
    *self = (runner){.session = session, .create_ms = create_ms};
    self->input_count = model_inputs(model, &self->inputs);
    self->output_count = model_outputs(model, &self->outputs);
    self->offsets = allocate(options->max_segments + 1, sizeof *self->offsets);
    self->bindings = allocate(self->input_count + self->output_count, sizeof *self->bindings);
    for (size_t i = 0; i < self->input_count; i++) {
        self->bindings[i].slot = dynq_session_slot(session, self->inputs[i].name);
    }
    for (size_t i = 0; i < self->output_count; i++) {
        const model_slot *output = &self->outputs[i];
        const size_t rows =
            output->domain == DYNQ_DOMAIN_SEGMENTS ? options->max_segments : options->max_rows;
        dynq_binding *binding = &self->bindings[self->input_count + i];
        binding->slot = dynq_session_output_slot(session, output->name);
        binding->data = allocate(rows * output->columns, sizeof(float));
    }
    return DYNQ_OK;
}

void runner_free(runner *self)
{
    for (size_t i = 0; i < self->output_count; i++) {
        free(self->bindings[self->input_count + i].data);
    }
    free(self->bindings);
    free(self->inputs);
    free(self->outputs);
    free(self->offsets);
    dynq_session_free(self->session);
    *self = (runner){0};
}

size_t runner_output_rows(const runner *self, size_t index)
{
    return self->outputs[index].domain == DYNQ_DOMAIN_SEGMENTS ? self->segments : self->rows;
}

dynq_status runner_run(runner *self, const runner_batch *batch, dynq_error *error)
{
    self->segments = batch->segments;
    self->rows = batch->offsets[batch->segments] - batch->offsets[0];
    for (size_t i = 0; i <= batch->segments; i++) {
        self->offsets[i] = batch->offsets[i] - batch->offsets[0];
    }
    for (size_t i = 0; i < self->input_count; i++) {
        /* A binding's data is not const because outputs use it too; inputs are only read. */
        self->bindings[i].data = (void *)(uintptr_t)batch->inputs[i];
        self->bindings[i].bytes = self->rows * self->inputs[i].columns * sizeof(float);
    }
    for (size_t i = 0; i < self->output_count; i++) {
        self->bindings[self->input_count + i].bytes =
            runner_output_rows(self, i) * self->outputs[i].columns * sizeof(float);
    }
    const dynq_batch run = {.size = sizeof run,
                            .rows = self->rows,
                            .segments = self->segments,
                            .offsets = self->offsets};
    return dynq_session_run(self->session, &run, self->bindings,
                            self->input_count + self->output_count, error);
}

const float *runner_output(const runner *self, size_t index)
{
    return self->bindings[self->input_count + index].data;
}

/* Nanoseconds of `runs` runs. */
static dynq_status time_runs(const runner_timing *line, size_t runs, double *ns, dynq_error *error)
{
    const uint64_t start = statistics_now_ns();
    for (size_t i = 0; i < runs; i++) {
        const dynq_status status = runner_run(line->runner, &line->batch, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    *ns = (double)(statistics_now_ns() - start);
    return DYNQ_OK;
}

/* Warms a line up and decides how many runs make a repetition. */
static dynq_status prepare(runner_timing *line, double *repetition_ns, dynq_error *error)
{
    double ns = 0;
    dynq_status status = time_runs(line, 1, &ns, error);
    line->first_ms = 1e-6 * ns;
    if (status == DYNQ_OK) {
        status = time_runs(line, ns > LONG_RUN_NS ? 1 : WARM_UP_RUNS - 1, &ns, error);
    }
    for (line->inner = 1; status == DYNQ_OK;) {
        status = time_runs(line, line->inner, &ns, error);
        if (status != DYNQ_OK || ns >= 0.8 * REPETITION_NS) {
            break;
        }
        const double factor = 1.1 * REPETITION_NS / fmax(ns, 1);
        line->inner = (size_t)ceil((double)line->inner * fmin(factor, 100));
    }
    *repetition_ns = ns;
    return status;
}

static size_t rounds_of(size_t repeat, double seconds, double round_ns)
{
    if (repeat > 0) {
        return repeat;
    }
    const double rounds = 1e9 * seconds / fmax(round_ns, 1);
    return rounds < LEAST_ROUNDS  ? LEAST_ROUNDS
           : rounds > MOST_ROUNDS ? MOST_ROUNDS
                                  : (size_t)rounds;
}

dynq_status runner_measure(runner_timing *lines, size_t count, size_t repeat, double seconds,
                           void (*advance)(void *context, double share), void *context,
                           dynq_error *error)
{
    double round_ns = 0;
    for (size_t i = 0; i < count; i++) {
        double ns = 0;
        const dynq_status status = prepare(&lines[i], &ns, error);
        if (status != DYNQ_OK) {
            return status;
        }
        round_ns += ns;
    }
    const size_t rounds = rounds_of(repeat, seconds, round_ns);
    double *samples = allocate(count * rounds, sizeof *samples);
    dynq_status status = DYNQ_OK;
    for (size_t round = 0; round < rounds && status == DYNQ_OK; round++) {
        for (size_t turn = 0; turn < count && status == DYNQ_OK; turn++) {
            const size_t i = round % 2 == 0 ? turn : count - 1 - turn;
            double ns = 0;
            status = time_runs(&lines[i], lines[i].inner, &ns, error);
            samples[i * rounds + round] = ns / (double)lines[i].inner * 1e-6;
        }
        if (advance != NULL) {
            advance(context, (double)(round + 1) / (double)rounds);
        }
    }
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        lines[i].ms = statistics_of(samples + i * rounds, rounds);
    }
    free(samples);
    return status;
}
