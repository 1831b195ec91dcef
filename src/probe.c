#include <dynq/probe.h>

#include "src/cpu.h"
#include "src/error.h"
#include "src/kernel_choice.h"
#include "src/memory.h"
#include "src/options.h"
#include "src/threads.h"

#include <stdatomic.h>
#include <time.h>

/* Parts of threads begin at whole cache lines. */
#define LINE 64

#define MEETING_SECONDS 2e-3

#define WORTH_WAKING 1000000000 /* nanoseconds: sleeping threads are to come */

struct dynq_probe {
    dynq_allocator allocator;
    const dynq_kernel *kernel;
    dynq_thread_pool *pool;
    uint8_t *memory;
    size_t bytes;
};

/* One measurement, in a part for each thread; the last two are filled by all of them. */
typedef struct probe_work {
    const dynq_kernel *kernel;
    uint64_t (*compute)(uint64_t steps); /* NULL: read */
    double steps;                        /* of all parts */
    const uint8_t *memory;
    size_t bytes, passes, parts;
    _Atomic uint64_t done; /* operations or bytes */
    _Atomic uint32_t seen; /* what was read leads here, so that it has to be read */
} probe_work;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void compute_part(probe_work *work)
{
    const dynq_float_state before = dynq_float_state_set_default();
    atomic_fetch_add(&work->done, work->compute((uint64_t)(work->steps / (double)work->parts) + 1));
    dynq_float_state_restore(before);
}

static void read_part(probe_work *work, size_t index)
{
    const size_t part = dynq_round_up((work->bytes + work->parts - 1) / work->parts, LINE);
    const size_t first = part * index < work->bytes ? part * index : work->bytes;
    const size_t left = work->bytes - first;
    const size_t bytes = left < part ? left : part;
    uint32_t seen = 0;
    for (size_t i = 0; i < work->passes; i++) {
        seen |= work->kernel->probe_read(work->memory + first, bytes);
    }
    atomic_fetch_or(&work->seen, seen);
    atomic_fetch_add(&work->done, (uint64_t)bytes * work->passes);
}

static void run_part(void *context, size_t index)
{
    probe_work *work = context;
    if (work->compute != NULL) {
        compute_part(work);
    } else {
        read_part(work, index);
    }
}

/* Holds a thread until every part has one, or some time has passed. */
static void meet(void *context, size_t index)
{
    (void)index;
    probe_work *meeting = context;
    const double end = seconds_now() + MEETING_SECONDS;
    atomic_fetch_add(&meeting->done, 1);
    while (atomic_load(&meeting->done) < meeting->parts && seconds_now() < end) {
        dynq_cpu_relax();
    }
}

/* Threads of a pool sleep between runs: waking them up is not measured. */
static double rate_of(const dynq_probe *probe, probe_work *work)
{
    const bool shared = dynq_thread_pool_take(probe->pool);
    work->parts = shared ? dynq_thread_pool_threads(probe->pool) : 1;
    probe_work meeting = {.parts = work->parts};
    const dynq_task together = {meet, &meeting, work->parts, WORTH_WAKING};
    const dynq_task measured = {run_part, work, work->parts, WORTH_WAKING};
    if (shared) {
        dynq_thread_pool_share(probe->pool, &together);
    }
    const double start = seconds_now();
    if (shared) {
        dynq_thread_pool_share(probe->pool, &measured);
    } else {
        run_part(work, 0);
    }
    const double seconds = seconds_now() - start;
    if (shared) {
        dynq_thread_pool_give(probe->pool);
    }
    return (double)atomic_load(&work->done) / (seconds > 1e-9 ? seconds : 1e-9);
}

dynq_status dynq_probe_create(const dynq_probe_options *options, dynq_probe **result,
                              dynq_error *error)
{
    dynq_probe_options o;
    if (result == NULL || !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "probe: result is NULL or options.size not set");
    }
    const dynq_kernel *kernel = NULL;
    const dynq_status status = dynq_kernel_choose(o.kernel, &kernel, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_allocator allocator = dynq_allocator_or_default(o.allocator);
    dynq_probe *probe = dynq_alloc(&allocator, 1, sizeof *probe);
    uint8_t *memory = probe != NULL ? dynq_alloc(&allocator, o.bytes, 1) : NULL;
    if (memory == NULL) {
        dynq_release(&allocator, probe);
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a probe of %zu bytes", o.bytes);
    }
    *probe = (dynq_probe){.allocator = allocator,
                          .kernel = kernel,
                          .pool = o.pool,
                          .memory = memory,
                          .bytes = o.bytes};
    *result = probe;
    return DYNQ_OK;
}

void dynq_probe_free(dynq_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    const dynq_allocator allocator = probe->allocator;
    dynq_release(&allocator, probe->memory);
    dynq_release(&allocator, probe);
}

dynq_status dynq_probe_compute(dynq_probe *probe, dynq_precision precision, double operations,
                               double *rate, dynq_error *error)
{
    /* 2^62: far beyond any measurement, and the steps below fit 64 bits. */
    const int sensible = operations >= 0 && operations <= 0x1p62;
    if (probe == NULL || rate == NULL || !sensible ||
        (precision != DYNQ_PRECISION_INT8 && precision != DYNQ_PRECISION_FP32)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "probe: no probe, no result, a bad precision or number of operations");
    }
    probe_work work = {.compute = precision == DYNQ_PRECISION_INT8 ? probe->kernel->probe_s8
                                                                   : probe->kernel->probe_f32};
    work.steps = operations / (double)work.compute(1);
    *rate = rate_of(probe, &work);
    return DYNQ_OK;
}

dynq_status dynq_probe_read(dynq_probe *probe, size_t offset, size_t bytes, size_t passes,
                            double *rate, dynq_error *error)
{
    if (probe == NULL || rate == NULL || bytes == 0 || passes == 0 || offset > probe->bytes ||
        bytes > probe->bytes - offset) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "probe: no probe, no result, nothing to read or beyond its memory");
    }
    probe_work work = {.kernel = probe->kernel,
                       .memory = probe->memory + offset,
                       .bytes = bytes,
                       .passes = passes};
    *rate = rate_of(probe, &work);
    return DYNQ_OK;
}
