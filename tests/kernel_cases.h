/* What the kernel tests share: random cases that can be repeated, and which kernels run here. */
#ifndef DYNQ_TESTS_KERNEL_CASES_H
#define DYNQ_TESTS_KERNEL_CASES_H

#include "kernels/kernel.h"
#include "src/cpu.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A number from the environment, so that a failure can be repeated and a long run be asked for. */
static inline uint64_t case_setting(const char *variable, uint64_t standard)
{
    const char *value = getenv(variable);
    return value == NULL ? standard : strtoull(value, NULL, 0);
}

static inline uint64_t case_seed(void)
{
    return case_setting("DYNQ_TEST_SEED", 20240917);
}

static inline size_t case_count(size_t standard)
{
    return (size_t)case_setting("DYNQ_TEST_CASES", standard);
}

/* splitmix64 */
static inline uint64_t case_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* low to high, both included. */
static inline size_t case_between(uint64_t *state, size_t low, size_t high)
{
    return low + (size_t)(case_random(state) % (high - low + 1));
}

/* -limit to limit. */
static inline float case_float(uint64_t *state, float limit)
{
    return limit * ((float)(case_random(state) >> 40) * 0x1p-23f - 1.0f);
}

static inline void case_floats(uint64_t *state, float limit, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = case_float(state, limit);
    }
}

/* Elements from the first of row 0 to the last of the last row. */
static inline size_t case_span(size_t rows, size_t stride, size_t columns)
{
    return (rows - 1) * stride + columns;
}

/* Entry *index of the table or the next one that runs on this CPU, NULL past the last; *index moves
 * behind it. What does not run is said, once a test. "ref" is among them, for its reach in memory.
 */
static inline const dynq_kernel *case_next_kernel(size_t *index)
{
    static uint32_t features; /* asking the CPU is slow in a virtual machine */
    static int asked;
    static size_t told;
    if (!asked) {
        features = dynq_cpu_features();
        asked = 1;
    }
    for (;;) {
        const dynq_kernel *kernel = dynq_kernel_at((*index)++);
        if (kernel == NULL || (kernel->features & ~features) == 0) {
            return kernel;
        }
        if (*index > told) {
            cr_log_warn("kernel %s skipped: this CPU cannot run it\n", kernel->name);
            told = *index;
        }
    }
}

/* The specification. */
static inline const dynq_kernel *case_reference(void)
{
    const dynq_kernel *kernel = dynq_kernel_find("ref");
    cr_assert_not_null(kernel);
    return kernel;
}

static inline uint32_t case_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float case_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Any bit pattern, so every exponent, subnormals, infinities and NaN. */
static inline float case_any_float(uint64_t *state)
{
    return case_from_bits((uint32_t)(case_random(state) >> 32));
}

/* The index of the first pair that differs, or count. Two NaN are equal whatever their payload. */
static inline size_t case_first_difference(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int both_nan = a[i] != a[i] && b[i] != b[i];
        if (!both_nan && case_bits(a[i]) != case_bits(b[i])) {
            return i;
        }
    }
    return count;
}

#endif
