/* k-means in one dimension, against the best division there is. */
#include "src/weight_clusters.h"

#include "src/memory.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 120, CLUSTERS = 5 };

static dynq_cluster_point points[POINTS];

static void fill_points(uint32_t seed)
{
    float x[2 * POINTS];
    samples_fill(x, 2 * POINTS, seed);
    for (size_t i = 0; i < POINTS; i++) {
        points[i] = (dynq_cluster_point){.x = x[i] * x[i] * x[i],
                                         .importance = 0.1f + fabsf(x[POINTS + i])};
    }
}

static size_t cluster(size_t count, size_t clusters, float *centres)
{
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    return dynq_cluster(points, count, clusters, &allocator, centres);
}

/* The weighted squared error of points [first, end) around their mean. */
static double error_of(size_t first, size_t end)
{
    double h = 0.0, hx = 0.0, hxx = 0.0;
    for (size_t i = first; i < end; i++) {
        const double x = (double)points[i].x, importance = (double)points[i].importance;
        h += importance;
        hx += importance * x;
        hxx += importance * x * x;
    }
    return hxx - hx * hx / h;
}

/* The least error of any division of the sorted points, by dynamic programming. */
static double least_error(void)
{
    double least[CLUSTERS + 1][POINTS + 1];
    for (size_t c = 0; c <= CLUSTERS; c++) {
        for (size_t end = 0; end <= POINTS; end++) {
            least[c][end] = end == 0 ? 0.0 : INFINITY;
            for (size_t first = 0; c > 0 && first < end; first++) {
                least[c][end] = fmin(least[c][end], least[c - 1][first] + error_of(first, end));
            }
        }
    }
    return least[CLUSTERS][POINTS];
}

static double error_with(const float *centres, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < POINTS; i++) {
        double nearest = INFINITY;
        for (size_t j = 0; j < count; j++) {
            const double away = (double)points[i].x - (double)centres[j];
            nearest = fmin(nearest, away * away);
        }
        sum += (double)points[i].importance * nearest;
    }
    return sum;
}

Test(weight_clusters, near_the_best_division)
{
    double ratios = 0.0;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        float centres[CLUSTERS];
        fill_points(seed);
        cr_assert_eq(cluster(POINTS, CLUSTERS, centres), CLUSTERS);
        for (size_t j = 1; j < CLUSTERS; j++) {
            cr_assert_gt(centres[j], centres[j - 1]);
        }
        const double best = least_error(), found = error_with(centres, CLUSTERS);
        cr_assert(found >= best * 0.999999 && found <= best * 2.0, "%g, best %g", found, best);
        ratios += found / best;
    }
    cr_assert_leq(ratios / 20, 1.1);
}

Test(weight_clusters, centres_are_the_means_of_their_points)
{
    float centres[CLUSTERS];
    fill_points(3);
    cluster(POINTS, CLUSTERS, centres);
    size_t first = 0;
    for (size_t j = 0; j < CLUSTERS; j++) {
        double h = 0.0, hx = 0.0;
        for (; first < POINTS &&
               (j + 1 == CLUSTERS || points[first].x * 2.0f <= centres[j] + centres[j + 1]);
             first++) {
            h += (double)points[first].importance;
            hx += (double)points[first].importance * (double)points[first].x;
        }
        cr_assert_float_eq(centres[j], hx / h, 1e-6);
    }
}

Test(weight_clusters, the_same_for_the_same_points_in_any_order)
{
    float centres[CLUSTERS], again[CLUSTERS];
    fill_points(4);
    dynq_cluster_point turned[POINTS];
    for (size_t i = 0; i < POINTS; i++) {
        turned[i] = points[POINTS - 1 - i];
    }
    cluster(POINTS, CLUSTERS, centres);
    memcpy(points, turned, sizeof points);
    cluster(POINTS, CLUSTERS, again);
    cr_assert_eq(memcmp(centres, again, sizeof centres), 0);
}

Test(weight_clusters, importance_draws_centres)
{
    float centres[2];
    for (size_t i = 0; i < 4; i++) {
        points[i] = (dynq_cluster_point){.x = (float)i, .importance = i == 3 ? 1000.0f : 1.0f};
    }
    cr_assert_eq(cluster(4, 2, centres), 2);
    cr_assert(centres[0] == 0.5f && fabsf(centres[1] - 3.0f) < 0.002f, "%g %g", (double)centres[0],
              (double)centres[1]);
}

Test(weight_clusters, fewer_different_points_than_clusters)
{
    float centres[CLUSTERS];
    for (size_t i = 0; i < POINTS; i++) {
        points[i] = (dynq_cluster_point){.x = i % 2 == 0 ? -1.5f : 2.0f, .importance = 1.0f};
    }
    cr_assert_eq(cluster(POINTS, CLUSTERS, centres), 2);
    cr_assert(centres[0] == -1.5f && centres[1] == 2.0f);
    for (size_t i = 0; i < POINTS; i++) {
        points[i].x = 0.25f;
    }
    cr_assert_eq(cluster(POINTS, CLUSTERS, centres), 1);
    cr_assert_eq(centres[0], 0.25f);
}

Test(weight_clusters, points_that_do_not_count)
{
    float centres[CLUSTERS];
    for (size_t i = 0; i < 3; i++) {
        points[i] = (dynq_cluster_point){.x = (float)i, .importance = i == 1 ? 1.0f : 0.0f};
    }
    cr_assert_eq(cluster(3, CLUSTERS, centres), 1);
    cr_assert_eq(centres[0], 1.0f);
    for (size_t i = 0; i < 3; i++) {
        points[i] = (dynq_cluster_point){.x = (float)i};
    }
    cr_assert_eq(cluster(3, CLUSTERS, centres), 1);
    cr_assert_eq(centres[0], 0.0f);
    cr_assert_eq(cluster(0, CLUSTERS, centres), 1);
}
