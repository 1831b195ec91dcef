/* k-means in one dimension. */
#ifndef DYNQ_SRC_WEIGHT_CLUSTERS_H
#define DYNQ_SRC_WEIGHT_CLUSTERS_H

#include <dynq/memory.h>
#include <stddef.h>

typedef struct dynq_cluster_point {
    float x, importance; /* finite; importance not below 0 */
} dynq_cluster_point;

/* Sorts the points and finds up to `clusters` centres, ascending, that lie near them: k-means++
 * seeding, then Lloyd's iterations until nothing changes, of several tries the one with the least
 * sum of importance times squared distance. Points of equal x are one. Returns how many centres
 * there are, which is fewer if there are fewer different x with an importance, and 1 without any
 * point (centre 0); 0 when memory is out. The same for the same points. */
size_t dynq_cluster(dynq_cluster_point *points, size_t count, size_t clusters,
                    const dynq_allocator *allocator, float *centres);

#endif
