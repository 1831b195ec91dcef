/* Weights of linear layers in INT8: which scales, and the codes. */
#include "src/quantize.h"

#include "src/error.h"
#include "src/pack.h"

/* Clipping looks at CANDIDATES fractions of the largest weight, 1/128 apart, down to 0.3: beyond,
 * more is lost by clipping than finer steps give back. Then REFINEMENTS steps of 1/1024 on each
 * side of the best of them. */
#define CANDIDATES  90
#define STEP        0x1p-7f
#define REFINEMENTS 7
#define FINE_STEP   0x1p-10f

#define LANES    8         /* sums that go on side by side, so that they can be vectors */
#define ROUNDING 0x1.8p23f /* added and taken away, it rounds to nearest, ties to even */

static inline double squared(float weight, float inverse, float scale)
{
    float code = weight * inverse;
    code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code;
    code = (code + ROUNDING) - ROUNDING;
    const double error = (double)(weight - code * scale);
    return error * error;
}

/* The squared error of weights whose code 127 stands for `largest`. */
static double squared_error(const float *w, size_t count, float largest)
{
    const float inverse = 127.0f / largest, scale = largest / 127.0f;
    double sums[LANES] = {0};
    size_t i = 0;
    for (; count - i >= LANES; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            sums[l] += squared(w[i + l], inverse, scale);
        }
    }
    for (size_t l = 0; i + l < count; l++) {
        sums[l] += squared(w[i + l], inverse, scale);
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* The largest magnitude that weights sharing a scale are cut to: the one with the least squared
 * error, which is `largest` itself where nothing is gained. */
static float clip(const float *w, size_t count, float largest)
{
    float best = largest, share = 1.0f;
    double least = squared_error(w, count, largest);
    for (int i = 1; i < CANDIDATES; i++) {
        const float candidate = 1.0f - (float)i * STEP;
        const double error = squared_error(w, count, largest * candidate);
        if (error < least) {
            least = error;
            share = candidate;
            best = largest * candidate;
        }
    }
    for (int i = -REFINEMENTS; i <= REFINEMENTS; i++) {
        const float candidate = share + (float)i * FINE_STEP;
        const double error =
            candidate > 1.0f ? least : squared_error(w, count, largest * candidate);
        if (error < least) {
            least = error;
            best = largest * candidate;
        }
    }
    return best;
}

/* What code 127 stands for, in the n columns. */
static void choose_largest(const float *weight, size_t k, size_t n, const dynq_quantize_rule *wish,
                           float *largest)
{
    const bool by_tensor = wish->weight_granularity == DYNQ_WEIGHTS_PER_TENSOR;
    const size_t count = by_tensor ? n * k : k; /* weights that share a scale */
    for (size_t c = 0; c < n; c++) {
        if (by_tensor && c > 0) {
            largest[c] = largest[0];
            continue;
        }
        largest[c] = dynq_largest_magnitude(weight + c * k, count);
        if (wish->clip_weights == DYNQ_SWITCH_ON && largest[c] >= DYNQ_TINY_WEIGHT) {
            largest[c] = clip(weight + c * k, count, largest[c]);
        }
    }
}

dynq_status dynq_quantize_weights(dynq_model *model, dynq_node *node, const float *weight,
                                  const dynq_quantize_rule *wish, dynq_error *error)
{
    int8_t *packed = dynq_model_own(model, dynq_packed_s8_bytes(node->k, node->n), 1);
    float *scale = dynq_model_own(model, node->n, sizeof *scale);
    int32_t *sum = dynq_model_own(model, node->n, sizeof *sum);
    if (packed == NULL || scale == NULL || sum == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a quantized model");
    }
    choose_largest(weight, node->k, node->n, wish, scale);
    dynq_pack_s8_within(weight, node->k, node->n, scale, packed, scale, sum);
    node->packed = packed;
    node->weight_scale = scale;
    node->weight_sum = sum;
    return DYNQ_OK;
}
