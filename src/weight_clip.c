/* The scale of weights with many steps. */
#include "src/weight_steps.h"

/* Clipping looks at CANDIDATES fractions of the largest weight, 1/128 apart, down to 0.3: beyond,
 * more is lost by clipping than finer steps give back. Then REFINEMENTS steps of 1/1024 on each
 * side of the best of them. */
#define CANDIDATES  90
#define STEP        0x1p-7f
#define REFINEMENTS 7
#define FINE_STEP   0x1p-10f

#define LANES    8         /* sums that go on side by side, so that they can be vectors */
#define ROUNDING 0x1.8p23f /* added and taken away, it rounds to nearest, ties to even */

static inline double squared(float weight, float inverse, float scale, float end)
{
    float code = weight * inverse;
    code = code > end ? end : code < -end ? -end : code;
    code = (code + ROUNDING) - ROUNDING;
    const double error = (double)(weight - code * scale);
    return error * error;
}

/* The squared error of weights whose integer `end` stands for `largest`. */
static double squared_error(const float *w, size_t count, float end, float largest)
{
    const float inverse = end / largest, scale = largest / end;
    double sums[LANES] = {0};
    size_t i = 0;
    for (; count - i >= LANES; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            sums[l] += squared(w[i + l], inverse, scale, end);
        }
    }
    for (size_t l = 0; i + l < count; l++) {
        sums[l] += squared(w[i + l], inverse, scale, end);
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* The largest magnitude that weights sharing a scale are cut to: the one with the least squared
 * error, which is `largest` itself where nothing is gained. */
float dynq_clip_largest(const float *w, size_t count, int integer, float largest)
{
    float best = largest, share = 1.0f;
    double least = squared_error(w, count, (float)integer, largest);
    for (int i = 1; i < CANDIDATES; i++) {
        const float candidate = 1.0f - (float)i * STEP;
        const double error = squared_error(w, count, (float)integer, largest * candidate);
        if (error < least) {
            least = error;
            share = candidate;
            best = largest * candidate;
        }
    }
    for (int i = -REFINEMENTS; i <= REFINEMENTS; i++) {
        const float candidate = share + (float)i * FINE_STEP;
        const double error =
            candidate > 1.0f ? least : squared_error(w, count, (float)integer, largest * candidate);
        if (error < least) {
            least = error;
            best = largest * candidate;
        }
    }
    return best;
}
