#include "src/moments.h"

#define LANES 4 /* sums side by side, which the compiler turns into vectors */

dynq_moments dynq_moments_of(const float *values, size_t count, double sum)
{
    const double mean = count > 0 ? sum / (double)count : 0.0;
    double second[LANES] = {0}, third[LANES] = {0}, fourth[LANES] = {0};
    const size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const double distance = (double)values[i + lane] - mean;
            const double square = distance * distance;
            second[lane] += square;
            third[lane] += square * distance;
            fourth[lane] += square * square;
        }
    }
    for (size_t i = whole; i < count; i++) {
        const double distance = (double)values[i] - mean;
        const double square = distance * distance;
        second[i - whole] += square;
        third[i - whole] += square * distance;
        fourth[i - whole] += square * square;
    }
    return (dynq_moments){
        .count = (double)count,
        .mean = mean,
        .second = (second[0] + second[1]) + (second[2] + second[3]),
        .third = (third[0] + third[1]) + (third[2] + third[3]),
        .fourth = (fourth[0] + fourth[1]) + (fourth[2] + fourth[3]),
    };
}

void dynq_moments_merge(dynq_moments *moments, const dynq_moments *other)
{
    if (moments->count == 0.0 || other->count == 0.0) {
        *moments = moments->count == 0.0 ? *other : *moments;
        return;
    }
    const dynq_moments a = *moments, b = *other;
    const double count = a.count + b.count;
    const double share_a = a.count / count, share_b = b.count / count;
    const double distance = b.mean - a.mean;
    const double between = distance * distance * count * share_a * share_b;
    moments->count = count;
    moments->mean = a.mean + distance * share_b;
    moments->second = a.second + b.second + between;
    moments->third = a.third + b.third + between * distance * (share_a - share_b) +
                     3.0 * distance * (share_a * b.second - share_b * a.second);
    moments->fourth =
        a.fourth + b.fourth +
        between * distance * distance *
            (share_a * share_a - share_a * share_b + share_b * share_b) +
        6.0 * distance * distance * (share_a * share_a * b.second + share_b * share_b * a.second) +
        4.0 * distance * (share_a * b.third - share_b * a.third);
}
