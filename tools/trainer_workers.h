/* Threads of the trainer: one job at a time in a fixed number of parts, so that the parts, and with
 * them every bit, are the same on any number of threads. */
#ifndef DYNQ_TOOLS_TRAINER_WORKERS_H
#define DYNQ_TOOLS_TRAINER_WORKERS_H

#include <stddef.h>
#include <stdint.h>

/* More parts make smaller products, each of which reads all the weights. */
#define TRAINER_PARTS 2

typedef struct trainer_workers trainer_workers;

/* At most one thread a part, the caller's among them; fewer where the system refuses one. */
trainer_workers *trainer_workers_create(uint32_t threads);
void trainer_workers_free(trainer_workers *self);

/* task(context, part) for each part; returns when all have returned. */
void trainer_workers_run(trainer_workers *self, void (*task)(void *context, size_t part),
                         void *context);

/* The part of `count` things: [*first, *first + the result). Borders are multiples of 24,
 * which keeps the tiles of a matrix product whole: its parts then have the bits of the whole, with
 * OpenBLAS's kernels for AVX2 above all. */
size_t trainer_part(size_t count, size_t part, size_t *first);

#endif
