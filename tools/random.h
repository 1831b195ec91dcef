/* Random numbers for inputs and weights of measurements. */
#ifndef DYNQ_TOOLS_RANDOM_H
#define DYNQ_TOOLS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood, 2014): the next of a stream of well mixed numbers. */
uint64_t random_next(uint64_t *state);
/* `count` floats in [-1, 1), to be freed. Running out of memory ends the program. */
float *random_floats(uint64_t *state, size_t count);

#endif
