#include "tools/trainer_random.h"

#include <math.h>

static uint64_t splitmix(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

trainer_random trainer_random_seed(uint64_t seed)
{
    trainer_random random;
    for (size_t i = 0; i < 4; i++) {
        random.state[i] = splitmix(&seed);
    }
    return random;
}

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

uint64_t trainer_random_next(trainer_random *random)
{
    uint64_t *s = random->state;
    const uint64_t result = rotate(s[1] * 5, 7) * 9;
    const uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t trainer_random_below(trainer_random *random, uint32_t bound)
{
    /* The bias of a 32-bit fraction is below bound / 2^32: nothing to training. */
    return (uint32_t)((trainer_random_next(random) >> 32) * bound >> 32);
}

float trainer_random_normal(trainer_random *random)
{
    /* Box and Muller; (0, 1] keeps the logarithm finite. */
    const double two_pi = 6.283185307179586;
    const double u = (double)((trainer_random_next(random) >> 11) + 1) * 0x1p-53;
    const double v = (double)(trainer_random_next(random) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(two_pi * v));
}

void trainer_random_shuffle(trainer_random *random, uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (uint32_t i = count; i > 1; i--) {
        const uint32_t j = trainer_random_below(random, i);
        const uint32_t kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}
