#include "tools/bench_gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/random.h"

/* A sample is so many calls that the clock and one interrupt are small. */
#define SAMPLE_US  250.0
#define MOST_CALLS 10000.0
/* A call as long as this is a sample, and none is needed before it to warm up. */
#define LONG_US 5000.0
/* To find out how many calls are a sample. */
#define ATTEMPTS 5
/* Rounds of a point, when the caller does not say: as many as take this long, within limits. */
#define POINT_NS     1.5e9
#define MOST_ROUNDS  100
#define LEAST_ROUNDS 7
/* Less than this of the peak that so many single threads have: something is in the way. */
#define FREE_SHARE 0.75
/* Memory for copies of weights at one point. */
#define COPIES_LIMIT (4.0 * 1024 * 1024 * 1024)

/* What a point has while it is measured. */
typedef struct work {
    gemm_layer *layers[GEMM_LINES]; /* NULL: not measured */
    gemm_probe probe;
    size_t rounds;
    double *us[GEMM_LINES]; /* by round */
    double *peak[2], *read[2];
} work;

/* What the sweep shares. */
typedef struct sweep {
    gemm_bench *bench;
    command_progress progress;
    dynq_thread_pool *pool;
    uint32_t threads;
    gemm_weights *weights; /* of the K x N of the last point */
    size_t k, n;
    float *x, *y;
    size_t x_count;
} sweep;

/* Copies that every engine needs to read more than the caches hold; fewer where memory is short. */
static void count_copies(gemm_bench *self, const gemm_point *point, size_t copies[GEMM_LINES])
{
    const gemm_shape *s = &point->shape;
    double bytes = 0;
    for (int i = 0; i < GEMM_LINES; i++) {
        copies[i] = 1;
        if (point->cold && self->lines[i].wanted) {
            copies[i] = self->cold_bytes / gemm_weight_bytes(i, s->k, s->n) + 2;
            bytes += (double)copies[i] * (double)gemm_copy_bytes(i, s->m, s->k, s->n);
        }
    }
    for (int i = 0; i < GEMM_LINES && bytes > COPIES_LIMIT; i++) {
        const double fewer = (double)copies[i] * COPIES_LIMIT / bytes;
        copies[i] = copies[i] == 1 ? 1 : fewer < 2 ? 2 : (size_t)fewer;
        self->capped = 1;
    }
}

/* Calls of a sample, from the shortest of a few attempts: a moment in which a thread has to wait
 * for its CPU must not make all samples short. */
static dynq_status find_calls(gemm_layer *layer, size_t *calls, double *sample_ns,
                              dynq_error *error)
{
    double best = INFINITY;
    *calls = 1;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double us = 0;
        const dynq_status status = gemm_layer_time(layer, *calls, &us, error);
        if (status != DYNQ_OK) {
            return status;
        }
        best = fmin(best, fmax(us, 1e-3));
        if (best > LONG_US) {
            break;
        }
        *calls = (size_t)fmin(fmax(ceil(SAMPLE_US / best), 2), MOST_CALLS);
    }
    *sample_ns = 1e3 * best * (double)*calls;
    return DYNQ_OK;
}

static dynq_status open_point(sweep *all, gemm_point *point, work *self, dynq_error *error)
{
    const gemm_bench *bench = all->bench;
    const gemm_shape *s = &point->shape;
    size_t copies[GEMM_LINES];
    count_copies(all->bench, point, copies);
    dynq_status status = DYNQ_OK;
    double round_ns = 0;
    for (int i = 0; i < GEMM_LINES && status == DYNQ_OK; i++) {
        const gemm_layer_request request = {.line = i,
                                            .rows = s->m,
                                            .copies = copies[i],
                                            .x = all->x,
                                            .y = all->y,
                                            .pool = all->pool};
        gemm_run *run = &point->runs[i];
        double ns = 0;
        if (!bench->lines[i].wanted) {
            continue;
        }
        run->copies = copies[i];
        status = gemm_layer_create(bench, all->weights, &request, &self->layers[i], error);
        if (status == DYNQ_OK) {
            status = find_calls(self->layers[i], &run->inner, &ns, error);
            round_ns += ns;
        }
    }
    if (status == DYNQ_OK) {
        const size_t bytes[2] = {s->k * s->n, s->k * s->n * sizeof(float)};
        status = gemm_probe_open(bench, all->pool, point->cold, bytes, &self->probe, error);
    }
    const double rounds = POINT_NS / fmax(round_ns, 1);
    const size_t asked = (size_t)bench->options->repeat;
    self->rounds = asked > 0               ? asked
                   : rounds < LEAST_ROUNDS ? LEAST_ROUNDS
                   : rounds > MOST_ROUNDS  ? MOST_ROUNDS
                                           : (size_t)rounds;
    return status;
}

static void close_point(work *self)
{
    for (int i = 0; i < GEMM_LINES; i++) {
        gemm_layer_free(self->layers[i]);
        free(self->us[i]);
    }
    for (int which = 0; which < 2; which++) {
        free(self->peak[which]);
        free(self->read[which]);
    }
    gemm_probe_close(&self->probe);
}

/* One sample of everything: both probes and every line, in reversed order every other round. */
static dynq_status measure_round(work *self, const gemm_point *point, size_t round,
                                 dynq_error *error)
{
    const int items = GEMM_LINES + 2;
    dynq_status status = DYNQ_OK;
    for (int turn = 0; turn < items && status == DYNQ_OK; turn++) {
        const int item = round % 2 == 0 ? turn : items - 1 - turn;
        const int which = item - GEMM_LINES;
        if (which >= 0) {
            status = gemm_probe_sample(&self->probe, which, &self->peak[which][round],
                                       &self->read[which][round], error);
        } else if (self->layers[item] != NULL) {
            status = gemm_layer_time(self->layers[item], point->runs[item].inner,
                                     &self->us[item][round], error);
        }
    }
    return status;
}

/* The roofline of a run: its operations at the peak, or its weights at the bandwidth, whichever
 * takes longer. Activations are not counted: they stay in the caches, hot and cold. */
static void finish_run(const gemm_bench *bench, gemm_point *point, int line, work *self)
{
    gemm_run *run = &point->runs[line];
    const gemm_shape *s = &point->shape;
    const int which = bench->lines[line].int8 ? 0 : 1;
    const double operations = 2.0 * (double)s->m * (double)s->k * (double)s->n;
    const double bytes = (double)gemm_weight_bytes(line, s->k, s->n);
    run->us = statistics_of(self->us[line], self->rounds);
    run->roofline_us = 1e6 * fmax(operations / point->peak[which], bytes / point->read[which]);
    run->fraction = run->roofline_us / run->us.median;
    run->gops = 1e-3 * operations / run->us.median;
}

static dynq_status measure_point(sweep *all, gemm_point *point, dynq_error *error)
{
    work self = {0};
    dynq_status status = open_point(all, point, &self, error);
    for (int i = 0; i < GEMM_LINES; i++) {
        self.us[i] = allocate(self.rounds, sizeof(double));
    }
    for (int which = 0; which < 2; which++) {
        self.peak[which] = allocate(self.rounds, sizeof(double));
        self.read[which] = allocate(self.rounds, sizeof(double));
    }
    for (size_t round = 0; round < self.rounds && status == DYNQ_OK; round++) {
        status = measure_round(&self, point, round, error);
    }
    for (int which = 0; which < 2 && status == DYNQ_OK; which++) {
        point->peak[which] = statistics_of(self.peak[which], self.rounds).median;
        point->read[which] = statistics_of(self.read[which], self.rounds).median;
    }
    for (int i = 0; i < GEMM_LINES && status == DYNQ_OK; i++) {
        if (self.layers[i] != NULL) {
            finish_run(all->bench, point, i, &self);
        }
    }
    close_point(&self);
    return status;
}

static dynq_status use_weights(sweep *all, const gemm_shape *shape, dynq_error *error)
{
    if (all->weights != NULL && all->k == shape->k && all->n == shape->n) {
        return DYNQ_OK;
    }
    gemm_weights_free(all->weights);
    all->weights = NULL;
    all->k = shape->k;
    all->n = shape->n;
    return gemm_weights_create(all->bench, shape->k, shape->n, all->x, shape->m * shape->k,
                               &all->weights, error);
}

static dynq_status measure_shapes(sweep *all, int cold, dynq_error *error)
{
    gemm_bench *bench = all->bench;
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < bench->shape_count && status == DYNQ_OK; i++) {
        gemm_point *point = &bench->points[bench->point_count];
        *point = (gemm_point){.shape = bench->shapes[i], .threads = all->threads, .cold = cold};
        status = use_weights(all, &point->shape, error);
        if (status == DYNQ_OK) {
            status = measure_point(all, point, error);
        }
        bench->point_count += status == DYNQ_OK;
        command_progress_update(&all->progress, bench->point_count);
    }
    gemm_weights_free(all->weights);
    all->weights = NULL;
    return status;
}

/* Results with several threads mean little while another program runs on one of the CPUs. */
static void check_free(const gemm_bench *self, size_t index)
{
    const double share =
        self->rates[index].int8 / (self->single.int8 * (double)self->threads[index]);
    if (share < FREE_SHARE) {
        command_note(self->call,
                     "%u threads have %.0f %% of %u times the peak of one: other programs are "
                     "running, or CPUs share a core",
                     self->threads[index], 100 * share, self->threads[index]);
    }
}

/* Hot, cold or both with one pool of threads, which all sessions and probes share. */
static dynq_status measure_threads(sweep *all, size_t index, dynq_error *error)
{
    gemm_bench *bench = all->bench;
    const dynq_thread_pool_options options = {.size = sizeof options,
                                              .threads = bench->threads[index]};
    dynq_status status = dynq_thread_pool_create(&options, &all->pool, error);
    if (status != DYNQ_OK) {
        return status;
    }
    all->threads = bench->threads[index];
    bench->rates[index] = bench->single;
    if (all->threads > 1) {
        status = gemm_measure_rates(bench, all->pool, &bench->rates[index], error);
    }
    if (status == DYNQ_OK && all->threads > 1) {
        check_free(bench, index);
    }
    for (int cold = 0; cold < 2 && status == DYNQ_OK; cold++) {
        const int wanted = bench->options->cold ? 2 : bench->options->weights;
        if ((wanted & (cold + 1)) != 0) {
            status = measure_shapes(all, cold, error);
        }
    }
    dynq_thread_pool_free(all->pool);
    return status;
}

exit_code gemm_measure(gemm_bench *self)
{
    uint64_t seed = self->call->common.seed;
    const size_t kinds = !self->options->cold && self->options->weights == 3 ? 2 : 1;
    const size_t total = self->shape_count * self->thread_count * kinds;
    size_t x_count = 0, y_count = 0;
    for (size_t i = 0; i < self->shape_count; i++) {
        const gemm_shape *s = &self->shapes[i];
        x_count = s->m * s->k > x_count ? s->m * s->k : x_count;
        y_count = s->m * s->n > y_count ? s->m * s->n : y_count;
    }
    self->points = allocate(total, sizeof *self->points);
    self->rates = allocate(self->thread_count, sizeof *self->rates);
    sweep all = {.bench = self,
                 .progress = command_progress_begin("Measuring", total, self->call->common.quiet),
                 .x = random_floats(&seed, x_count),
                 .y = allocate(y_count, sizeof(float))};
    dynq_error error = {0};
    dynq_status status = gemm_measure_rates(self, NULL, &self->single, &error);
    for (size_t i = 0; i < self->thread_count && status == DYNQ_OK; i++) {
        status = measure_threads(&all, i, &error);
    }
    command_progress_end(&all.progress);
    free(all.x);
    free(all.y);
    if (self->capped) {
        command_note(self->call,
                     "copies of weights would need more than %.0f GiB: some lines rotate over "
                     "fewer than %zu MiB",
                     COPIES_LIMIT / (1024.0 * 1024 * 1024), self->cold_bytes >> 20);
    }
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail_status(self->call->command, status, &error, NULL);
}
