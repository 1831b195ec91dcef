#include "tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/output.h"

/* What the rounds of one line take on average, when the caller does not say how many. */
#define LINE_SECONDS 2.0

#define PROGRESS_STEPS 1000
/* Profiled runs: enough to average over, at most this long. */
#define PROFILE_NS   300000000u
#define PROFILE_RUNS 200
#define PROFILE_WARM 3

const char *const bench_phase_names[BENCH_PHASES] = {"range", "quantize", "gemm", "epilogue",
                                                     "other"};

/* Progress over all points and numbers of threads. */
typedef struct sweep {
    command_progress progress;
    size_t done, total;
} sweep;

static void advance(void *context, double share)
{
    sweep *self = context;
    const double all = ((double)self->done + share) / (double)self->total;
    command_progress_update(&self->progress, (uint64_t)(all * PROGRESS_STEPS));
}

static dynq_status start(const bench *self, const bench_line *line, const bench_point *point,
                         uint32_t threads, int profile, runner *result, dynq_error *error)
{
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = bench_point_rows(point),
                                          .max_segments = point->batch,
                                          .threads = threads,
                                          .kernel = self->call->common.kernel,
                                          .engine = line->table,
                                          .precision = line->precision,
                                          .scope = (dynq_scope)self->options->granularity,
                                          .profile = profile,
                                          .bf16_dot =
                                              self->options->bf16_dot != 0 && line->table == NULL};
    return runner_create(line->model, &options, result, error);
}

static runner_batch batch_of(const bench *self, const bench_point *point)
{
    return (runner_batch){.inputs = (const void *const *)self->inputs,
                          .offsets = point->offsets,
                          .segments = point->batch};
}

/* The faster of the foreign FP32 lines, or the native one where there is no other. */
static size_t find_baseline(const bench *self, const bench_run *runs)
{
    size_t best = self->line_count;
    for (size_t i = 0; i < self->line_count; i++) {
        const bench_line *line = &self->lines[i];
        if (line->precision == DYNQ_PRECISION_FP32 && line->table != NULL &&
            (best == self->line_count || runs[i].ms.median < runs[best].ms.median)) {
            best = i;
        }
    }
    for (size_t i = 0; i < self->line_count && best == self->line_count; i++) {
        best = self->lines[i].precision == DYNQ_PRECISION_FP32 ? i : best;
    }
    return best;
}

/* All lines at one point and number of threads, beside each other. */
static dynq_status measure_point(const bench *self, const bench_point *point, uint32_t threads,
                                 sweep *work, bench_run *runs, dynq_error *error)
{
    runner runners[BENCH_MAX_LINES] = {0};
    runner_timing timings[BENCH_MAX_LINES] = {0};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < self->line_count && status == DYNQ_OK; i++) {
        status = start(self, &self->lines[i], point, threads, 0, &runners[i], error);
        timings[i] = (runner_timing){.runner = &runners[i], .batch = batch_of(self, point)};
    }
    if (status == DYNQ_OK) {
        status = runner_measure(timings, self->line_count, (size_t)self->options->repeat,
                                LINE_SECONDS * (double)self->line_count, advance, work, error);
    }
    for (size_t i = 0; i < self->line_count && status == DYNQ_OK; i++) {
        runs[i] = (bench_run){.line = &self->lines[i],
                              .point = point,
                              .inner = timings[i].inner,
                              .threads = threads,
                              .ms = timings[i].ms,
                              .create_ms = runners[i].create_ms,
                              .first_ms = timings[i].first_ms};
    }
    if (status == DYNQ_OK) {
        const size_t baseline = find_baseline(self, runs);
        for (size_t i = 0; i < self->line_count; i++) {
            runs[i].baseline = &self->lines[baseline];
            runs[i].speedup = runs[baseline].ms.median / runs[i].ms.median;
        }
    }
    for (size_t i = 0; i < self->line_count; i++) {
        runner_free(&runners[i]);
    }
    return status;
}

exit_code bench_measure(bench *self)
{
    const size_t points = self->point_count * self->thread_count;
    sweep work = {.progress =
                      command_progress_begin("Measuring", PROGRESS_STEPS, self->call->common.quiet),
                  .total = points};
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    self->runs = allocate(points * self->line_count, sizeof *self->runs);
    for (size_t t = 0; t < self->thread_count && status == DYNQ_OK; t++) {
        for (size_t p = 0; p < self->point_count && status == DYNQ_OK; p++) {
            status = measure_point(self, &self->points[p], self->threads[t], &work,
                                   self->runs + self->run_count, &error);
            self->run_count += status == DYNQ_OK ? self->line_count : 0;
            work.done++;
        }
    }
    command_progress_end(&work.progress);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
}

/* The node of that name, added if it is new. */
static bench_node *node_named(bench_profile *profile, const char *name)
{
    for (size_t i = 0; i < profile->node_count; i++) {
        if (strcmp(profile->nodes[i].name, name) == 0) {
            return &profile->nodes[i];
        }
    }
    profile->nodes =
        allocate_again(profile->nodes, profile->node_count + 1, sizeof *profile->nodes);
    bench_node *node = &profile->nodes[profile->node_count++];
    *node = (bench_node){.us = {0}};
    snprintf(node->name, sizeof node->name, "%s", name);
    return node;
}

/* Sums the steps by node, for one of `runs` runs. */
static void collect(const dynq_session *session, size_t runs, bench_profile *profile)
{
    dynq_step_profile step = {.size = sizeof step};
    for (size_t i = 0; dynq_session_profile(session, i, &step) == DYNQ_OK; i++) {
        const uint64_t ns[BENCH_PHASES] = {step.range_ns, step.quantize_ns, step.gemm_ns,
                                           step.epilogue_ns, step.other_ns};
        bench_node *node = node_named(profile, step.node);
        for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
            node->us[phase] += 1e-3 * (double)ns[phase] / (double)runs;
        }
    }
}

static dynq_status profile_line(const bench *self, bench_profile *profile, dynq_error *error)
{
    runner extra = {0};
    dynq_status status =
        start(self, profile->line, profile->point, profile->threads, 1, &extra, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const runner_batch batch = batch_of(self, profile->point);
    for (size_t i = 0; i < PROFILE_WARM && status == DYNQ_OK; i++) {
        status = runner_run(&extra, &batch, error);
    }
    dynq_session_profile_reset(extra.session);
    size_t runs = 0;
    const uint64_t begin = statistics_now_ns();
    while (status == DYNQ_OK && runs < PROFILE_RUNS &&
           (runs == 0 || statistics_now_ns() - begin < PROFILE_NS)) {
        status = runner_run(&extra, &batch, error);
        runs++;
    }
    if (status == DYNQ_OK) {
        collect(extra.session, runs, profile);
    }
    runner_free(&extra);
    return status;
}

exit_code bench_explain(bench *self)
{
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    self->profiles = allocate(self->run_count, sizeof *self->profiles);
    for (size_t i = 0; i < self->run_count && status == DYNQ_OK; i++) {
        const bench_run *run = &self->runs[i];
        if (run->line->precision == DYNQ_PRECISION_INT8) {
            bench_profile *profile = &self->profiles[self->profile_count++];
            *profile =
                (bench_profile){.line = run->line, .point = run->point, .threads = run->threads};
            status = profile_line(self, profile, &error);
        }
    }
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
}

double bench_node_total(const bench_node *node)
{
    double total = 0;
    for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
        total += node->us[phase];
    }
    return total;
}

double bench_profile_total(const bench_profile *profile)
{
    double total = 0;
    for (size_t i = 0; i < profile->node_count; i++) {
        total += bench_node_total(&profile->nodes[i]);
    }
    return total;
}

/* "encoder.layer.*.output" of "encoder.layer.3.output"; a name without such a number stays. */
static void name_of_layers(const char *name, char *text, size_t size)
{
    size_t used = 0;
    for (const char *c = name; *c != '\0' && used + 1 < size;) {
        const size_t digits = strspn(c, "0123456789");
        const int begins = c == name || c[-1] == '.';
        if (digits > 0 && begins && (c[digits] == '.' || c[digits] == '\0')) {
            text[used++] = '*';
            c += digits;
        } else {
            text[used++] = *c++;
        }
    }
    text[used] = '\0';
}

size_t bench_sum_layers(const bench_profile *profile, bench_node **nodes)
{
    bench_profile sums = {0};
    for (size_t i = 0; i < profile->node_count; i++) {
        char name[DYNQ_MAX_NAME + 1];
        name_of_layers(profile->nodes[i].name, name, sizeof name);
        bench_node *sum = node_named(&sums, name);
        for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
            sum->us[phase] += profile->nodes[i].us[phase];
        }
    }
    *nodes = sums.nodes;
    return sums.node_count;
}
