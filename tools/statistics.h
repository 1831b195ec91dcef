/* Statistics of repeated timings, and the clock they are taken with. */
#ifndef DYNQ_TOOLS_STATISTICS_H
#define DYNQ_TOOLS_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

typedef struct statistics {
    size_t count;
    double min, median, mean, p99;
    double sd; /* of the sample (n - 1); 0 for a single value */
} statistics;

/* Sorts `samples` in place. The median of an even number is the mean of the two in the middle; p99
 * is the nearest rank, the smallest sample that 99 % do not exceed. All NaN without samples. */
statistics statistics_of(double *samples, size_t count);

/* Nanoseconds of a clock that only runs forward. */
uint64_t statistics_now_ns(void);

#endif
