#include "tools/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

statistics statistics_of(double *samples, size_t count)
{
    if (count == 0) {
        return (statistics){.min = NAN, .median = NAN, .mean = NAN, .p99 = NAN, .sd = NAN};
    }
    qsort(samples, count, sizeof *samples, compare_doubles);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += samples[i];
    }
    const double mean = sum / (double)count;
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        squares += (samples[i] - mean) * (samples[i] - mean);
    }
    /* ceil(0.99 n) - 1 in whole numbers, because 0.99 * 100 is not exactly 99. */
    const size_t rank = (99 * count + 99) / 100 - 1;
    const size_t middle = count / 2;
    return (statistics){
        .count = count,
        .min = samples[0],
        .median = count % 2 == 1 ? samples[middle] : 0.5 * (samples[middle - 1] + samples[middle]),
        .mean = mean,
        .p99 = samples[rank],
        .sd = count > 1 ? sqrt(squares / (double)(count - 1)) : 0,
    };
}

uint64_t statistics_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
