/* The probes: amounts of work, errors, and that every byte is read and none beyond. How fast they
 * are is for `dynq bench gemm` to say. */
#include "kernels/kernel.h"
#include "tests/guarded.h"

#include <criterion/criterion.h>
#include <dynq/cpu.h>
#include <dynq/probe.h>
#include <math.h>

static dynq_probe *make_probe(const char *kernel, dynq_thread_pool *pool, size_t bytes)
{
    const dynq_probe_options options = {
        .size = sizeof options, .kernel = kernel, .pool = pool, .bytes = bytes};
    dynq_error error = {0};
    dynq_probe *probe = NULL;
    cr_assert_eq(dynq_probe_create(&options, &probe, &error), DYNQ_OK, "%s", error.message);
    return probe;
}

Test(probe, operations_are_those_of_the_steps)
{
    for (size_t i = 0; dynq_kernel_at(i) != NULL; i++) {
        const dynq_kernel *kernel = dynq_kernel_at(i);
        if (!dynq_kernel_supported(kernel->name)) {
            continue;
        }
        cr_assert_eq(kernel->probe_s8(0), 0u, "%s", kernel->name);
        cr_assert_eq(kernel->probe_f32(0), 0u, "%s", kernel->name);
        /* at least one group of lanes a step: 16 lanes, 4 products and 1 product, 2 operations */
        cr_assert_geq(kernel->probe_s8(1), 128u, "%s", kernel->name);
        cr_assert_geq(kernel->probe_f32(1), 32u, "%s", kernel->name);
        cr_assert_eq(kernel->probe_s8(100), 100 * kernel->probe_s8(1), "%s", kernel->name);
        cr_assert_eq(kernel->probe_f32(100), 100 * kernel->probe_f32(1), "%s", kernel->name);
    }
}

/* The memory ends at an unmapped page; a byte that is not read would not change the result. */
static void check_every_byte(const dynq_kernel *kernel, uint8_t *bytes, size_t size)
{
    cr_assert_eq(kernel->probe_read(bytes, size), 0u, "%s, %zu bytes", kernel->name, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = 0x10;
        cr_assert_neq(kernel->probe_read(bytes, size), 0u, "%s, byte %zu of %zu", kernel->name, i,
                      size);
        bytes[i] = 0;
    }
}

Test(probe, every_byte_is_read_and_none_beyond)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 255, 256, 257, 320, 1000, 1024, 2111};
    guarded memory = guarded_create(4096, 1);
    memset(memory.bytes, 0, memory.size);
    for (size_t i = 0; dynq_kernel_at(i) != NULL; i++) {
        const dynq_kernel *kernel = dynq_kernel_at(i);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int at_end = 0; dynq_kernel_supported(kernel->name) && at_end < 2; at_end++) {
                const size_t offset = guarded_offset(&memory, sizes[s], 0, at_end);
                check_every_byte(kernel, memory.bytes + offset, sizes[s]);
            }
        }
    }
    guarded_free(&memory);
}

Test(probe, rates_are_numbers_with_any_kernel_and_threads)
{
    const dynq_thread_pool_options pool_options = {
        .size = sizeof pool_options, .threads = 3, .oversubscribe = 1};
    dynq_thread_pool *pool = NULL;
    cr_assert_eq(dynq_thread_pool_create(&pool_options, &pool, NULL), DYNQ_OK);
    for (size_t i = 0; dynq_kernel_name(i) != NULL; i++) {
        for (int threads = 0; dynq_kernel_supported(dynq_kernel_name(i)) && threads < 2;
             threads++) {
            dynq_probe *probe = make_probe(dynq_kernel_name(i), threads == 0 ? NULL : pool, 100000);
            double rates[4] = {0};
            cr_assert_eq(dynq_probe_compute(probe, DYNQ_PRECISION_INT8, 1e6, &rates[0], NULL),
                         DYNQ_OK);
            cr_assert_eq(dynq_probe_compute(probe, DYNQ_PRECISION_FP32, 0, &rates[1], NULL),
                         DYNQ_OK);
            cr_assert_eq(dynq_probe_read(probe, 0, 100000, 3, &rates[2], NULL), DYNQ_OK);
            cr_assert_eq(dynq_probe_read(probe, 99999, 1, 1, &rates[3], NULL), DYNQ_OK);
            for (size_t r = 0; r < 4; r++) {
                cr_assert(isfinite(rates[r]) && rates[r] > 0, "%s, %zu", dynq_kernel_name(i), r);
            }
            dynq_probe_free(probe);
        }
    }
    dynq_thread_pool_free(pool);
}

Test(probe, errors)
{
    dynq_probe *probe = make_probe(NULL, NULL, 100);
    double rate = -1;
    const double operations[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        cr_assert_eq(dynq_probe_compute(probe, DYNQ_PRECISION_INT8, operations[i], &rate, NULL),
                     DYNQ_ERR_ARGUMENT);
    }
    cr_assert_eq(dynq_probe_compute(probe, (dynq_precision)7, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_compute(NULL, DYNQ_PRECISION_INT8, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_read(probe, 0, 101, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_read(probe, 101, 1, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_read(probe, SIZE_MAX, 2, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_read(probe, 0, 0, 1, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_probe_read(probe, 0, 1, 0, &rate, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(rate, -1.0);
    dynq_probe_free(probe);
    dynq_probe_free(NULL);

    dynq_error error = {0};
    probe = NULL;
    const dynq_probe_options unknown = {.size = sizeof unknown, .kernel = "abacus"};
    cr_assert_eq(dynq_probe_create(&unknown, &probe, &error), DYNQ_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(error.message, "abacus"));
    const dynq_probe_options endless = {.size = sizeof endless, .bytes = SIZE_MAX / 2};
    cr_assert_eq(dynq_probe_create(&endless, &probe, &error), DYNQ_ERR_MEMORY);
    const dynq_probe_options without_size = {.bytes = 1};
    cr_assert_eq(dynq_probe_create(&without_size, &probe, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_null(probe);
    cr_assert_eq(dynq_probe_create(NULL, &probe, &error), DYNQ_OK); /* nothing to read */
    dynq_probe_free(probe);
}
