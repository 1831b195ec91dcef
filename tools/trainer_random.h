/* Pseudo-random numbers of the trainer: the same sequence for a seed on every machine. */
#ifndef DYNQ_TOOLS_TRAINER_RANDOM_H
#define DYNQ_TOOLS_TRAINER_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* xoshiro256** by Blackman and Vigna (2018), seeded by splitmix64. */
typedef struct trainer_random {
    uint64_t state[4];
} trainer_random;

trainer_random trainer_random_seed(uint64_t seed);
uint64_t trainer_random_next(trainer_random *random);
/* Uniform in [0, bound), bound of at least 1 and below 2^32. */
uint32_t trainer_random_below(trainer_random *random, uint32_t bound);
/* Normal with mean 0 and deviation 1. */
float trainer_random_normal(trainer_random *random);
/* Puts 0 ... count - 1 into `order`, in random order. */
void trainer_random_shuffle(trainer_random *random, uint32_t *order, uint32_t count);

#endif
