#include "src/weight_clusters.h"

#include "src/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS   300 /* of Lloyd; with sorted points they cost next to nothing */
#define TRIES        3   /* seedings, up to MANY clusters */
#define MANY         16
#define MAX_CLUSTERS 256

/* Sorted points, and what stands before each: sums of importance h, of h x and of h x x. */
typedef struct sorted {
    const dynq_cluster_point *points;
    size_t count;
    double *h, *hx, *hxx; /* [count + 1] */
    float *distance;      /* [count]: squared, to the nearest centre so far */
} sorted;

/* A total order, so that sums over equal points have one order as well. */
static int compare_points(const void *a, const void *b)
{
    const dynq_cluster_point *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x)
                        : (p->importance > q->importance) - (p->importance < q->importance);
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Joins points that are equal and leaves out those that do not count. */
static size_t join_equal(dynq_cluster_point *points, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(points[i].importance > 0.0f)) {
            continue;
        }
        if (kept > 0 && points[kept - 1].x == points[i].x) {
            points[kept - 1].importance += points[i].importance;
        } else {
            points[kept++] = points[i];
        }
    }
    return kept;
}

/* xorshift64*: Marsaglia (2003), Vigna (2016). In [0, 1). */
static double next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)(*state * 0x2545f4914f6cdd1dULL >> 11) * 0x1p-53;
}

/* The point at which the running sum of importance times distance passes `target`. */
static size_t point_at(const sorted *s, double target)
{
    double sum = 0.0;
    size_t last = s->count;
    for (size_t i = 0; i < s->count; i++) {
        const double part = (double)s->points[i].importance * (double)s->distance[i];
        sum += part;
        last = part > 0.0 ? i : last;
        if (part > 0.0 && sum > target) {
            return i;
        }
    }
    return last;
}

/* k-means++ (Arthur and Vassilvitskii, 2007): each next centre is a point, drawn by its share in
 * the squared distance to the centres so far. */
static size_t seed_centres(const sorted *s, size_t clusters, uint64_t *state, float *centres)
{
    for (size_t i = 0; i < s->count; i++) {
        s->distance[i] = 1.0f; /* the first one: by importance alone */
    }
    double total = s->h[s->count];
    size_t found = 0;
    while (found < clusters && total > 0.0) {
        const size_t chosen = point_at(s, next_random(state) * total);
        if (chosen == s->count) {
            break;
        }
        const float centre = s->points[chosen].x;
        centres[found++] = centre;
        total = 0.0;
        for (size_t i = 0; i < s->count; i++) {
            const float away = s->points[i].x - centre, square = away * away;
            if (found == 1 || square < s->distance[i]) {
                s->distance[i] = square;
            }
            total += (double)s->points[i].importance * (double)s->distance[i];
        }
    }
    qsort(centres, found, sizeof *centres, compare_floats);
    return found;
}

/* The first point above the middle of two centres. */
static size_t first_above(const sorted *s, double middle)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        const size_t at = low + (high - low) / 2;
        if ((double)s->points[at].x > middle) {
            high = at;
        } else {
            low = at + 1;
        }
    }
    return low;
}

/* Moves centres to the means of their points until they stay; returns the error that is left. */
static double lloyd(const sorted *s, size_t found, float *centres)
{
    double error = 0.0;
    bool moved = true;
    for (int round = 0; round < ITERATIONS && moved; round++) {
        size_t first = 0;
        moved = false;
        error = 0.0;
        for (size_t j = 0; j < found; j++) {
            size_t end = s->count;
            if (j + 1 < found) { /* both centres are still as they were */
                end = first_above(s, ((double)centres[j] + (double)centres[j + 1]) * 0.5);
            }
            const double h = s->h[end] - s->h[first];
            const double hx = s->hx[end] - s->hx[first];
            if (h > 0.0) {
                const float mean = (float)(hx / h);
                moved = moved || mean != centres[j];
                centres[j] = mean;
                error += s->hxx[end] - s->hxx[first] - hx * hx / h;
            }
            first = end;
        }
    }
    return error;
}

static bool prepare(sorted *s, const dynq_cluster_point *points, size_t count,
                    const dynq_allocator *allocator)
{
    *s = (sorted){.points = points, .count = count};
    s->h = dynq_alloc(allocator, count + 1, sizeof *s->h);
    s->hx = dynq_alloc(allocator, count + 1, sizeof *s->hx);
    s->hxx = dynq_alloc(allocator, count + 1, sizeof *s->hxx);
    s->distance = dynq_alloc(allocator, count, sizeof *s->distance);
    if (s->h == NULL || s->hx == NULL || s->hxx == NULL || s->distance == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const double h = (double)points[i].importance, x = (double)points[i].x;
        s->h[i + 1] = s->h[i] + h;
        s->hx[i + 1] = s->hx[i] + h * x;
        s->hxx[i + 1] = s->hxx[i] + h * x * x;
    }
    return true;
}

static size_t best_of_tries(const sorted *s, size_t clusters, float *centres)
{
    uint64_t state = 0x9e3779b97f4a7c15ULL;
    double least = INFINITY;
    size_t best = 0;
    const int tries = clusters <= MANY ? TRIES : 1;
    for (int try = 0; try < tries; try++) {
        float candidate[MAX_CLUSTERS];
        const size_t found = seed_centres(s, clusters, &state, candidate);
        const double error = found == 0 ? INFINITY : lloyd(s, found, candidate);
        if (error < least) {
            least = error;
            best = found;
            memcpy(centres, candidate, found * sizeof *centres);
        }
    }
    return best;
}

size_t dynq_cluster(dynq_cluster_point *points, size_t count, size_t clusters,
                    const dynq_allocator *allocator, float *centres)
{
    qsort(points, count, sizeof *points, compare_points);
    const size_t kept = join_equal(points, count);
    if (kept == 0) {
        centres[0] = 0.0f;
        return 1;
    }
    sorted s;
    const bool ready = prepare(&s, points, kept, allocator);
    const size_t found = ready ? best_of_tries(&s, clusters, centres) : 0;
    dynq_release(allocator, s.distance);
    dynq_release(allocator, s.hxx);
    dynq_release(allocator, s.hx);
    dynq_release(allocator, s.h);
    return found;
}
