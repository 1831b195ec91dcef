/* The time of each node at each precision: sessions of whole models, in which every node has it,
 * say where their time goes, side by side with FP32 in one run. The parts are then scaled to what
 * the same models take without being watched. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIME_SECONDS 5.0
#define MOST_ROUNDS  100
#define LEAST_ROUNDS 5
/* Runs shorter than this are timed together. */
#define SHORT_MS     1.0
#define WARM_UP_RUNS 2
/* What no node with a precision is the cause of. */
#define REST 0

/* A model that is timed, the first one FP32. */
typedef struct timed_model {
    dynq_model *model;
    runner watched, plain;
    size_t *owner;   /* of each node: 1 + its index in tuning.nodes, or REST */
    uint64_t *kinds; /* [1 + node_count]: of a node's shape and steps: the same work, where equal */
    double *samples; /* [1 + node_count][rounds], ms, and then of a plain run */
} timed_model;

typedef struct timing {
    tuning *all;
    timed_model *models;
    size_t count, rounds, series; /* series: 2 + node_count for each model */
    runner_batch batch;
    const void *x;
} timing;

/* A step counts for the node that it works for, or for the last one that this depends on. */
static void find_owners(const tuning *all, const dynq_model *model, size_t *owner)
{
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info info = {.size = sizeof info};
        dynq_model_node(model, i, &info);
        for (uint32_t j = 0; j < info.input_count; j++) {
            owner[i] = owner[info.inputs[j]] > owner[i] ? owner[info.inputs[j]] : owner[i];
        }
        for (size_t n = 0; n < all->node_count; n++) {
            owner[i] = all->nodes[n].index == i ? 1 + n : owner[i];
        }
    }
}

/* FNV-1a. */
static uint64_t mixed(uint64_t sum, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
    }
    return sum;
}

/* Layers of a network repeat: what does the same steps on the same shapes takes the same time, and
 * the mean over all of it is nearer to that than each alone. */
static void find_kinds(const tuning *all, timed_model *one)
{
    dynq_step_profile step = {.size = sizeof step};
    one->kinds = allocate(1 + all->node_count, sizeof *one->kinds);
    for (size_t n = 0; n < all->node_count; n++) {
        dynq_node_info info = {.size = sizeof info};
        dynq_model_node(one->model, all->nodes[n].index, &info);
        const size_t shape[] = {(size_t)info.op, info.k,     info.n,
                                info.table_rows, info.heads, (size_t)info.weight_bytes};
        one->kinds[1 + n] = mixed(0xCBF29CE484222325u, shape, sizeof shape);
    }
    for (size_t i = 0; dynq_session_profile(one->watched.session, i, &step) == DYNQ_OK; i++) {
        const long node = dynq_model_find(one->model, step.node);
        uint64_t *kind = &one->kinds[node >= 0 ? one->owner[node] : REST];
        *kind = mixed(*kind, step.kind, strlen(step.kind));
    }
}

static dynq_status open_models(timing *self, dynq_error *error)
{
    const tuning *all = self->all;
    const evaluate_data *data = &all->data;
    const size_t together = self->batch.segments;
    dynq_session_options options = {.size = sizeof options,
                                    .max_rows = data->requests->offsets[data->first + together] -
                                                data->requests->offsets[data->first],
                                    .max_segments = together,
                                    .threads = all->call->common.threads,
                                    .kernel = all->call->common.kernel};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < self->count && status == DYNQ_OK; i++) {
        timed_model *one = &self->models[i];
        one->model = i == 0 ? all->model : all->candidates[i - 1].model;
        one->owner = allocate(dynq_model_node_count(one->model), sizeof *one->owner);
        find_owners(all, one->model, one->owner);
        options.profile = 0;
        status = runner_create(one->model, &options, &one->plain, error);
        if (status == DYNQ_OK) {
            options.profile = 1;
            status = runner_create(one->model, &options, &one->watched, error);
        }
        if (status == DYNQ_OK) {
            find_kinds(all, one);
        }
    }
    return status;
}

static double *series_of(const timing *self, timed_model *model, size_t series)
{
    return model->samples + series * self->rounds;
}

/* Milliseconds of a run that is not watched. */
static dynq_status time_plain(const timing *self, timed_model *one, size_t runs, double *ms,
                              dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    const uint64_t start = statistics_now_ns();
    for (size_t i = 0; i < runs && status == DYNQ_OK; i++) {
        status = runner_run(&one->plain, &self->batch, error);
    }
    *ms = 1e-6 * (double)(statistics_now_ns() - start) / (double)runs;
    return status;
}

/* One run that is watched and one that is not. */
static dynq_status run_once(const timing *self, timed_model *one, size_t round, dynq_error *error)
{
    dynq_step_profile step = {.size = sizeof step};
    dynq_session_profile_reset(one->watched.session);
    dynq_status status = runner_run(&one->watched, &self->batch, error);
    double plain = 0;
    if (status == DYNQ_OK) {
        status = time_plain(self, one, 1, &plain, error);
    }
    if (status == DYNQ_OK && plain < SHORT_MS) { /* its weights are in the cache now */
        status = time_plain(self, one, 1 + (size_t)(SHORT_MS / fmax(plain, 1e-3)), &plain, error);
    }
    if (status != DYNQ_OK || one->samples == NULL) {
        return status;
    }
    series_of(self, one, self->series - 1)[round] = plain;
    for (size_t i = 0; dynq_session_profile(one->watched.session, i, &step) == DYNQ_OK; i++) {
        const long node = dynq_model_find(one->model, step.node);
        const size_t owner = node >= 0 ? one->owner[node] : REST;
        series_of(self, one, owner)[round] +=
            1e-6 * (double)(step.range_ns + step.quantize_ns + step.gemm_ns + step.epilogue_ns +
                            step.other_ns);
    }
    return status;
}

static dynq_status run_rounds(timing *self, command_progress *progress, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    const uint64_t start = statistics_now_ns();
    for (size_t i = 0; i < WARM_UP_RUNS * self->count && status == DYNQ_OK; i++) {
        status = run_once(self, &self->models[i % self->count], 0, error);
    }
    const double round_ns = (double)(statistics_now_ns() - start) / WARM_UP_RUNS;
    const double rounds = 1e9 * TIME_SECONDS / (round_ns > 1 ? round_ns : 1);
    self->rounds = rounds > MOST_ROUNDS    ? MOST_ROUNDS
                   : rounds < LEAST_ROUNDS ? LEAST_ROUNDS
                                           : (size_t)rounds;
    self->rounds =
        self->all->options->repeat > 0 ? (size_t)self->all->options->repeat : self->rounds;
    for (size_t i = 0; i < self->count; i++) {
        self->models[i].samples = allocate(self->series * self->rounds, sizeof(double));
    }
    progress->total = self->rounds;
    for (size_t round = 0; round < self->rounds && status == DYNQ_OK; round++) {
        for (size_t turn = 0; turn < self->count && status == DYNQ_OK; turn++) {
            const size_t i = round % 2 == 0 ? turn : self->count - 1 - turn;
            status = run_once(self, &self->models[i], round, error);
        }
        command_progress_update(progress, round + 1);
    }
    return status;
}

/* The mean over all nodes of the kind. */
static double mean_of_kind(const tuning *all, const timed_model *one, const double *parts,
                           size_t index)
{
    double sum = 0;
    size_t count = 0;
    for (size_t n = 1; n <= all->node_count; n++) {
        const int same = one->kinds[n] == one->kinds[index];
        sum += same ? parts[n] : 0;
        count += (size_t)same;
    }
    return sum / (double)count;
}

/* Medians, scaled so that their sum is the median of the plain runs. */
static void take_model(timing *self, size_t index)
{
    tuning *all = self->all;
    timed_model *one = &self->models[index];
    double *parts = allocate(self->series, sizeof *parts);
    double sum = 0;
    for (size_t i = 0; i < self->series; i++) {
        parts[i] = statistics_of(series_of(self, one, i), self->rounds).median;
        sum += i + 1 < self->series ? parts[i] : 0;
    }
    const double total = parts[self->series - 1], scale = sum > 0 ? total / sum : 0;
    if (index == 0) {
        all->fp32_ms = total;
        all->rest_ms = parts[REST] * scale;
    } else {
        all->candidates[index - 1].measured.ms = total;
    }
    for (size_t n = 0; n < all->node_count; n++) {
        tune_node *node = &all->nodes[n];
        double *ms = index == 0 ? &node->fp32_ms : &node->choices[index - 1].ms;
        *ms = mean_of_kind(all, one, parts, 1 + n) * scale;
    }
    free(parts);
}

/* FP32 as a choice is the FP32 that all is compared with, however the clock saw the two. */
static void equate_fp32(tuning *all)
{
    for (size_t c = 0; c < all->candidate_count; c++) {
        size_t exact = 0;
        for (size_t n = 0; n < all->node_count; n++) {
            tune_choice *choice = &all->nodes[n].choices[c];
            choice->ms = choice->exact ? all->nodes[n].fp32_ms : choice->ms;
            exact += (size_t)choice->exact;
        }
        if (exact == all->node_count) {
            all->candidates[c].measured.ms = all->fp32_ms;
        }
    }
}

exit_code tune_measure_times(tuning *all)
{
    const evaluate_data *data = &all->data;
    timing self = {.all = all, .count = 1 + all->candidate_count, .series = 2 + all->node_count};
    self.models = allocate(self.count, sizeof *self.models);
    self.x = requests_at(data->requests, data->first);
    self.batch = (runner_batch){.inputs = &self.x,
                                .offsets = data->requests->offsets + data->first,
                                .segments = requests_batch(data->requests, data->first,
                                                           data->first + data->count,
                                                           (size_t)all->options->batch)};
    dynq_error error = {0};
    dynq_status status = open_models(&self, &error);
    command_progress progress = command_progress_begin("Timing", 1, all->call->common.quiet);
    if (status == DYNQ_OK) {
        status = run_rounds(&self, &progress, &error);
    }
    command_progress_end(&progress);
    for (size_t i = 0; i < self.count; i++) {
        timed_model *one = &self.models[i];
        if (status == DYNQ_OK) {
            take_model(&self, i);
        }
        runner_free(&one->watched);
        runner_free(&one->plain);
        free(one->owner);
        free(one->kinds);
        free(one->samples);
    }
    free(self.models);
    equate_fp32(all);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(all->call->command, status, &error, all->call->arguments[0]);
}
