#include "tools/random.h"

#include "tools/allocate.h"

uint64_t random_next(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

float *random_floats(uint64_t *state, size_t count)
{
    float *values = allocate(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)(random_next(state) >> 40) * 0x1p-23f - 1.0f;
    }
    return values;
}
