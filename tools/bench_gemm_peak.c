#include "tools/bench_gemm.h"

#include <math.h>
#include <stdlib.h>

#include "tools/allocate.h"

/* One sample of a probe. */
#define SAMPLE_SECONDS 250e-6
/* Samples of the machine's rates. */
#define RATE_SAMPLES 15
/* A first guess, and how often it is corrected, to find out how much a sample is. */
#define FIRST_OPERATIONS 1e6
#define ATTEMPTS         5
/* A cold sample reads this much at a time: some weights of a layer, not the whole memory. */
#define COLD_WINDOW 4194304u
/* Where the system does not tell. */
#define USUAL_L2 1048576u
#define USUAL_L3 67108864u

size_t gemm_beyond_caches(const dynq_cpu *cpu)
{
    const size_t l3 = cpu->l3_bytes > 0 ? cpu->l3_bytes : USUAL_L3;
    return l3 + l3 / 4;
}

/* The amounts that the best rates seen so far do in the time of a sample: a moment in which a
 * thread has to wait for its CPU must not make all samples short. */
static dynq_status find_amounts(gemm_probe *self, int which, dynq_error *error)
{
    const double bytes = (double)self->bytes[which];
    double best_peak = 0, best_read = 0;
    self->operations[which] = FIRST_OPERATIONS;
    self->passes[which] = 1;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double peak = 0, read = 0;
        const dynq_status status = gemm_probe_sample(self, which, &peak, &read, error);
        if (status != DYNQ_OK) {
            return status;
        }
        best_peak = fmax(best_peak, peak);
        best_read = fmax(best_read, read);
        self->operations[which] = best_peak * SAMPLE_SECONDS;
        const double passes = best_read * SAMPLE_SECONDS / bytes;
        self->passes[which] = self->cold || passes < 1 ? 1 : (size_t)passes;
    }
    return DYNQ_OK;
}

/* Memory without advice for huge pages, whatever its size. */
static void *take_small_pages(void *context, size_t size, size_t alignment)
{
    (void)context;
    void *bytes = NULL;
    return posix_memalign(&bytes, alignment, size) == 0 ? bytes : NULL;
}

static void release_pages(void *context, void *bytes)
{
    (void)context;
    free(bytes);
}

dynq_status gemm_probe_open(const gemm_bench *self, dynq_thread_pool *pool, int cold,
                            const size_t bytes[2], gemm_probe *result, dynq_error *error)
{
    gemm_probe probe = {.cold = cold, .total = cold ? self->cold_bytes : bytes[1]};
    for (int which = 0; which < 2; which++) {
        const size_t window = COLD_WINDOW < probe.total ? COLD_WINDOW : probe.total;
        probe.bytes[which] = cold ? window : bytes[which];
    }
    /* On pages like those of the INT8 weights: small layers do not get huge ones. */
    const dynq_allocator small_pages = {.allocate = take_small_pages, .release = release_pages};
    const dynq_probe_options options = {
        .size = sizeof options,
        .kernel = self->call->common.kernel,
        .pool = pool,
        .bytes = probe.total,
        .allocator = bytes[0] < DYNQ_HUGE_BYTES ? &small_pages : NULL,
    };
    dynq_status status = dynq_probe_create(&options, &probe.probe, error);
    for (int which = 0; which < 2 && status == DYNQ_OK; which++) {
        status = find_amounts(&probe, which, error);
    }
    if (status != DYNQ_OK) {
        dynq_probe_free(probe.probe);
        return status;
    }
    *result = probe;
    return DYNQ_OK;
}

void gemm_probe_close(gemm_probe *self)
{
    dynq_probe_free(self->probe);
    *self = (gemm_probe){0};
}

static size_t next_window(gemm_probe *self, size_t bytes)
{
    if (!self->cold) {
        return 0;
    }
    const size_t offset = self->next + bytes <= self->total ? self->next : 0;
    self->next = offset + bytes;
    return offset;
}

dynq_status gemm_probe_sample(gemm_probe *self, int which, double *peak, double *read,
                              dynq_error *error)
{
    const size_t bytes = self->bytes[which];
    const size_t offset = next_window(self, bytes);
    dynq_status status =
        dynq_probe_compute(self->probe, which == 0 ? DYNQ_PRECISION_INT8 : DYNQ_PRECISION_FP32,
                           self->operations[which], peak, error);
    if (status == DYNQ_OK && !self->cold) { /* back into the caches */
        status = dynq_probe_read(self->probe, offset, bytes, 1, read, error);
    }
    return status == DYNQ_OK
               ? dynq_probe_read(self->probe, offset, bytes, self->passes[which], read, error)
               : status;
}

static double median_of(double *samples, size_t count)
{
    return statistics_of(samples, count).median;
}

/* Reading `bytes` over and over, and both peaks beside it. */
static dynq_status measure_level(const gemm_bench *self, dynq_thread_pool *pool, int cold,
                                 size_t bytes, double rates[3], dynq_error *error)
{
    gemm_probe probe = {0};
    double samples[3][RATE_SAMPLES];
    const size_t sizes[2] = {bytes, bytes};
    dynq_status status = gemm_probe_open(self, pool, cold, sizes, &probe, error);
    if (status != DYNQ_OK) {
        return status;
    }
    for (size_t i = 0; i < RATE_SAMPLES && status == DYNQ_OK; i++) {
        double again = 0;
        status = gemm_probe_sample(&probe, 0, &samples[0][i], &samples[2][i], error);
        if (status == DYNQ_OK) {
            status = gemm_probe_sample(&probe, 1, &samples[1][i], &again, error);
        }
    }
    for (size_t i = 0; i < 3 && status == DYNQ_OK; i++) {
        rates[i] = median_of(samples[i], RATE_SAMPLES);
    }
    gemm_probe_close(&probe);
    return status;
}

dynq_status gemm_measure_rates(const gemm_bench *self, dynq_thread_pool *pool, gemm_rates *rates,
                               dynq_error *error)
{
    const size_t threads = pool != NULL ? dynq_thread_pool_threads(pool) : 1;
    const size_t l2 = self->cpu.l2_bytes > 0 ? self->cpu.l2_bytes : USUAL_L2;
    double level[3] = {NAN, NAN, NAN};
    *rates = (gemm_rates){NAN, NAN, NAN, NAN, NAN};
    /* Each thread has an L2 of its own; beside what is read there is always something else. */
    dynq_status status = measure_level(self, pool, 0, l2 / 2 * threads, level, error);
    if (status == DYNQ_OK) {
        rates->int8 = level[0];
        rates->fp32 = level[1];
        rates->l2 = level[2];
        if (self->cpu.l3_bytes >= 8 * l2 * threads) {
            status = measure_level(self, pool, 0, 4 * l2 * threads, level, error);
            rates->l3 = level[2];
        }
    }
    if (status == DYNQ_OK) {
        status = measure_level(self, pool, 1, self->cold_bytes, level, error);
        rates->dram = level[2];
    }
    return status;
}
