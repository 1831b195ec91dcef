#include "tools/trainer_workers.h"

#include "tools/allocate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A job takes about a millisecond, waking a thread about 50 microseconds: a waiting thread looks
 * so many times before it sleeps. */
#define SPINS 20000
#define TILE  24

struct trainer_workers {
    pthread_t threads[TRAINER_PARTS];
    size_t count; /* of threads beside the caller's */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*task)(void *context, size_t part);
    void *context;
    atomic_size_t next, done; /* parts */
    atomic_uint_fast64_t job;
    int stop;
};

static void work(trainer_workers *self)
{
    for (;;) {
        const size_t part = atomic_fetch_add(&self->next, 1);
        if (part >= TRAINER_PARTS) {
            return;
        }
        self->task(self->context, part);
        if (atomic_fetch_add(&self->done, 1) + 1 == TRAINER_PARTS) {
            pthread_mutex_lock(&self->mutex);
            pthread_cond_broadcast(&self->changed);
            pthread_mutex_unlock(&self->mutex);
        }
    }
}

static void *serve(void *context)
{
    trainer_workers *self = context;
    uint_fast64_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&self->job) == seen; i++) {
        }
        pthread_mutex_lock(&self->mutex);
        while (atomic_load(&self->job) == seen && !self->stop) {
            pthread_cond_wait(&self->changed, &self->mutex);
        }
        seen = atomic_load(&self->job);
        const int stop = self->stop;
        pthread_mutex_unlock(&self->mutex);
        if (stop) {
            return NULL;
        }
        work(self);
    }
}

trainer_workers *trainer_workers_create(uint32_t threads)
{
    trainer_workers *self = allocate(1, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    atomic_init(&self->next, TRAINER_PARTS);
    atomic_init(&self->done, 0);
    atomic_init(&self->job, 0);
    const size_t wanted = threads < TRAINER_PARTS ? threads : TRAINER_PARTS;
    while (self->count + 1 < wanted &&
           pthread_create(&self->threads[self->count], NULL, serve, self) == 0) {
        self->count++;
    }
    return self;
}

void trainer_workers_free(trainer_workers *self)
{
    if (self == NULL) {
        return;
    }
    pthread_mutex_lock(&self->mutex);
    self->stop = 1;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    for (size_t i = 0; i < self->count; i++) {
        pthread_join(self->threads[i], NULL);
    }
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

void trainer_workers_run(trainer_workers *self, void (*task)(void *context, size_t part),
                         void *context)
{
    pthread_mutex_lock(&self->mutex);
    self->task = task;
    self->context = context;
    atomic_store(&self->done, 0);
    atomic_store(&self->next, 0);
    atomic_fetch_add(&self->job, 1);
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    work(self);
    for (int i = 0; i < SPINS && atomic_load(&self->done) < TRAINER_PARTS; i++) {
    }
    pthread_mutex_lock(&self->mutex);
    while (atomic_load(&self->done) < TRAINER_PARTS) {
        pthread_cond_wait(&self->changed, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
}

static size_t border(size_t count, size_t part)
{
    const size_t exact = (count * part + TRAINER_PARTS - 1) / TRAINER_PARTS;
    const size_t whole = (exact + TILE - 1) / TILE * TILE;
    return part == TRAINER_PARTS || whole > count ? count : whole;
}

size_t trainer_part(size_t count, size_t part, size_t *first)
{
    *first = border(count, part);
    return border(count, part + 1) - *first;
}
