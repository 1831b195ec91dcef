#include "src/range.h"

#include <math.h>
#include <string.h>

#define SMALLEST_RANGE 0x1p-100

static dynq_range_params affine(float lo, float hi)
{
    const double width = (double)hi - (double)lo;
    if (width < SMALLEST_RANGE) {
        return (dynq_range_params){.scale = 1.0f, .inverse = 0.0f, .zero = 0};
    }
    const float inverse = (float)(255.0 / width);
    const float zero = rintf(-lo * inverse);
    return (dynq_range_params){
        .scale = (float)(width / 255.0),
        .inverse = inverse,
        .zero = zero > 255.0f ? 255 : (int32_t)zero,
    };
}

static dynq_range_params symmetric(float lo, float hi)
{
    const float largest = -lo > hi ? -lo : hi;
    if ((double)largest < SMALLEST_RANGE) {
        return (dynq_range_params){.scale = 1.0f, .inverse = 0.0f, .zero = 128};
    }
    return (dynq_range_params){.scale = largest / 127.0f, .inverse = 127.0f / largest, .zero = 128};
}

dynq_range_params dynq_range_params_of(float lo, float hi, dynq_scheme scheme)
{
    return scheme == DYNQ_SCHEME_SYMMETRIC ? symmetric(lo, hi) : affine(lo, hi);
}

bool dynq_range_finite(dynq_range_bits bits)
{
    return bits.high < 0x7F800000 && bits.low < 0xFF800000u;
}

float dynq_range_low(dynq_range_bits bits)
{
    float low = 0.0f;
    if (bits.low >> 31 != 0) {
        memcpy(&low, &bits.low, sizeof low);
    }
    return low;
}

float dynq_range_high(dynq_range_bits bits)
{
    float high = 0.0f;
    memcpy(&high, &bits.high, sizeof high);
    return high;
}

dynq_range_bits dynq_range_join(dynq_range_bits a, dynq_range_bits b)
{
    return (dynq_range_bits){.high = a.high > b.high ? a.high : b.high,
                             .low = a.low > b.low ? a.low : b.low};
}

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
