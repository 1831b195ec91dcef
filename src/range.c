#include "src/range.h"

void dynq_range_join_shared(dynq_range_bits *shared, dynq_range_bits bits)
{
    int32_t high = __atomic_load_n(&shared->high, __ATOMIC_RELAXED);
    while (high < bits.high && !__atomic_compare_exchange_n(&shared->high, &high, bits.high, 1,
                                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    uint32_t low = __atomic_load_n(&shared->low, __ATOMIC_RELAXED);
    while (low < bits.low && !__atomic_compare_exchange_n(&shared->low, &low, bits.low, 1,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}
