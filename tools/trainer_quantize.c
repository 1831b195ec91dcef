#include "tools/trainer_quantize.h"

#include "tools/allocate.h"

#include <dynq/quantize.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING   0x1.8p23f /* added and taken away, it rounds to nearest, ties to even */
#define TINY       0x1p-100f /* ranges below it count as zero */
#define LANES      16        /* sums that go on side by side, so that they can be vectors */
#define LEAST_STEP 0x1p-10f  /* of what a step began with */
#define NEW_WEIGHT 0.01      /* of a batch in the mean of ranges, as in calibration */

trainer_grid trainer_grid_of(dynq_format weights)
{
    int8_t table[16];
    const size_t count = dynq_fixed_levels(weights, DYNQ_LEVELS_UNIFORM, table);
    if (count == 0) {
        return (trainer_grid){.low = -127.0f, .high = 127.0f, .spacing = 1.0f};
    }
    return (trainer_grid){.low = (float)table[0],
                          .high = (float)table[count - 1],
                          .spacing = (float)(table[1] - table[0])};
}

void trainer_codes_allocate(trainer_codes *codes, dynq_format weights, size_t batch)
{
    const size_t k = codes->k, n = codes->n;
    codes->grid = trainer_grid_of(weights);
    codes->unit = allocate(n, sizeof(float));
    codes->scale = allocate(n, sizeof(float));
    codes->levels = allocate(n * k, sizeof(float));
    codes->inputs = allocate(batch * k, sizeof(float));
    codes->row_scale = allocate(batch, sizeof(float));
    codes->row_low = allocate(batch, sizeof(float));
    codes->row_high = allocate(batch, sizeof(float));
    codes->by_row = allocate(batch * n, sizeof(float));
    codes->by_column = allocate(batch * n, sizeof(float));
}

void trainer_codes_free(trainer_codes *codes)
{
    free(codes->unit);
    free(codes->scale);
    free(codes->levels);
    free(codes->inputs);
    free(codes->row_scale);
    free(codes->row_low);
    free(codes->row_high);
    free(codes->by_row);
    free(codes->by_column);
}

static float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value; /* NaN stays NaN */
}

/* Steps above 0 on one side, the q of the paper. */
static float steps_of(const trainer_grid *grid)
{
    return grid->high / grid->spacing;
}

void trainer_codes_start(trainer_codes *codes, const float *weights)
{
    for (size_t c = 0; c < codes->n; c++) {
        double sum = 0.0;
        for (size_t i = 0; i < codes->k; i++) {
            sum += (double)fabsf(weights[c * codes->k + i]);
        }
        const double mean = sum / (double)codes->k;
        const double step = 2.0 * mean / sqrt((double)steps_of(&codes->grid));
        codes->unit[c] = fmaxf((float)(step / (double)codes->grid.spacing), TINY);
        codes->step[c] = 1.0f;
    }
    trainer_codes_round(codes, weights, 0, codes->n);
}

void trainer_codes_start_range(trainer_codes *codes, float lo, float hi)
{
    codes->range[0] = fminf(lo, 0.0f);
    codes->range[1] = fmaxf(hi, 0.0f);
    codes->edge_unit = fmaxf(codes->range[1] - codes->range[0], TINY);
    codes->edge[0] = codes->range[0] / codes->edge_unit;
    codes->edge[1] = codes->range[1] / codes->edge_unit;
    codes->learns_low = codes->range[0] < 0.0f;
    codes->averages[0] = codes->averages[1] = codes->weight = 0.0;
}

static float scale_of(const trainer_codes *codes, const float *weights, size_t column)
{
    if (codes->steps == TRAINER_STEPS_LEARNED) {
        return codes->step[column] * codes->unit[column];
    }
    float largest = TINY;
    for (size_t i = 0; i < codes->k; i++) {
        const float magnitude = fabsf(weights[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest / fmaxf(-codes->grid.low, codes->grid.high);
}

static float level_of(const trainer_grid *grid, float weight, float inverse)
{
    const float steps =
        (clamp(weight * inverse, grid->low, grid->high) - grid->low) / grid->spacing;
    return ((steps + ROUNDING) - ROUNDING) * grid->spacing + grid->low;
}

void trainer_codes_round(trainer_codes *codes, const float *weights, size_t first, size_t count)
{
    const trainer_grid grid = codes->grid;
    for (size_t c = first; c < first + count; c++) {
        const float *w = weights + c * codes->k;
        codes->scale[c] = scale_of(codes, w, c);
        const float inverse = 1.0f / codes->scale[c];
        float *levels = codes->levels + c * codes->k;
        for (size_t i = 0; i < codes->k; i++) {
            levels[i] = level_of(&grid, w[i], inverse);
        }
    }
}

static void find_range(const float *x, size_t count, float *lo, float *hi)
{
    float low = 0.0f, high = 0.0f;
    for (size_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *lo = low;
    *hi = high;
}

/* The parameters of affine codes, as the engine computes them, and the codes less the zero point.
 */
static void encode_row(trainer_codes *codes, const float *x, size_t row, float lo, float hi)
{
    const double width = (double)hi - (double)lo;
    const int tiny = width < (double)TINY;
    const float inverse = tiny ? 0.0f : (float)(255.0 / width);
    const float zero = clamp((-lo * inverse + ROUNDING) - ROUNDING, 0.0f, 255.0f);
    codes->row_scale[row] = tiny ? 1.0f : (float)(width / 255.0);
    codes->row_low[row] = codes->kind == DYNQ_RANGE_STATIC ? lo : -HUGE_VALF;
    codes->row_high[row] = codes->kind == DYNQ_RANGE_STATIC ? hi : HUGE_VALF;
    float *q = codes->inputs + row * codes->k;
    for (size_t i = 0; i < codes->k; i++) {
        q[i] = (clamp(x[i] * inverse, -zero, 255.0f - zero) + ROUNDING) - ROUNDING;
    }
}

void trainer_codes_inputs(trainer_codes *codes, const float *x, size_t part, size_t first,
                          size_t rows)
{
    float *seen = codes->seen[part];
    seen[0] = seen[1] = 0.0f;
    for (size_t m = first; m < first + rows; m++) {
        const float *row = x + m * codes->k;
        float lo = 0.0f, hi = 0.0f;
        find_range(row, codes->k, &lo, &hi);
        seen[0] = fminf(seen[0], lo);
        seen[1] = fmaxf(seen[1], hi);
        if (codes->kind == DYNQ_RANGE_STATIC) {
            lo = codes->range[0];
            hi = codes->range[1];
        }
        encode_row(codes, row, m, lo, hi);
    }
}

void trainer_codes_outputs(const trainer_codes *codes, const float *bias, float *y, size_t first,
                           size_t rows)
{
    for (size_t m = first; m < first + rows; m++) {
        float *row = y + m * codes->n;
        const float scale = codes->row_scale[m];
        for (size_t c = 0; c < codes->n; c++) {
            row[c] = fmaf(row[c], scale * codes->scale[c], bias[c]);
        }
    }
}

void trainer_codes_deltas(trainer_codes *codes, const float *delta, size_t first, size_t rows)
{
    for (size_t m = first; m < first + rows; m++) {
        const size_t start = m * codes->n;
        const float scale = codes->row_scale[m];
        for (size_t c = 0; c < codes->n; c++) {
            codes->by_row[start + c] = delta[start + c] * scale;
            codes->by_column[start + c] = delta[start + c] * codes->scale[c];
        }
    }
}

void trainer_codes_pass(trainer_codes *codes, const float *x, float *below, size_t part,
                        size_t first, size_t rows)
{
    double low_sum = 0.0, high_sum = 0.0;
    for (size_t m = first; m < first + rows && codes->kind == DYNQ_RANGE_STATIC; m++) {
        const float lo = codes->row_low[m], hi = codes->row_high[m], scale = codes->row_scale[m];
        for (size_t i = m * codes->k; i < (m + 1) * codes->k; i++) {
            /* By s, the value of a code moves by (q - z) - x / s, and s by 1/255 of an edge. */
            const float share = (codes->inputs[i] - x[i] / scale) * (1.0f / 255.0f);
            low_sum += (double)(x[i] < lo ? below[i] : x[i] > hi ? 0.0f : -share * below[i]);
            high_sum += (double)(x[i] > hi ? below[i] : x[i] < lo ? 0.0f : share * below[i]);
            below[i] = x[i] < lo || x[i] > hi ? 0.0f : below[i];
        }
    }
    codes->edge_sum[part][0] = low_sum;
    codes->edge_sum[part][1] = high_sum;
}

/* One column: returns the gradient by its step, of 1 / `inverse`. */
static float pass_weights(const trainer_grid *grid, const float *weights, const float *levels,
                          float *gradients, size_t count, float inverse)
{
    const float low = grid->low, high = grid->high;
    float sums[LANES] = {0};
    for (size_t start = 0; start < count; start += LANES) {
        const size_t lanes = count - start < LANES ? count - start : LANES;
        for (size_t i = 0; i < lanes; i++) {
            const float v = weights[start + i] * inverse, gradient = gradients[start + i];
            const float inner = levels[start + i] - v;
            const int inside = v >= low && v <= high;
            sums[i] += gradient * (inside ? inner : levels[start + i]);
            gradients[start + i] = inside ? gradient : 0.0f;
        }
    }
    float sum = 0.0f;
    for (size_t i = 0; i < LANES; i++) {
        sum += sums[i];
    }
    return sum;
}

void trainer_codes_gradients(trainer_codes *codes, const float *weights, float *gradients,
                             size_t first, size_t count)
{
    const trainer_grid grid = codes->grid;
    const float share = 1.0f / sqrtf((float)codes->k * steps_of(&grid));
    for (size_t c = first; c < first + count; c++) {
        const float *w = weights + c * codes->k, *levels = codes->levels + c * codes->k;
        float *gradient = gradients + c * codes->k;
        const float inverse = 1.0f / codes->scale[c];
        const float sum = pass_weights(&grid, w, levels, gradient, codes->k, inverse);
        codes->step_gradient[c] =
            codes->steps == TRAINER_STEPS_LEARNED ? sum * share * codes->unit[c] : 0.0f;
    }
}

void trainer_codes_range_gradient(trainer_codes *codes)
{
    const float share = codes->edge_unit / sqrtf((float)codes->k * 255.0f);
    for (size_t side = 0; side < 2; side++) {
        double sum = 0.0;
        for (size_t part = 0; part < TRAINER_PARTS; part++) {
            sum += codes->edge_sum[part][side];
        }
        const int learned = codes->learns_range && (side == 1 || codes->learns_low);
        codes->edge_gradient[side] = learned ? (float)sum * share : 0.0f;
    }
}

void trainer_codes_seen(const trainer_codes *codes, float *lo, float *hi)
{
    *lo = *hi = 0.0f;
    for (size_t part = 0; part < TRAINER_PARTS; part++) {
        *lo = fminf(*lo, codes->seen[part][0]);
        *hi = fmaxf(*hi, codes->seen[part][1]);
    }
}

static void follow_batch(trainer_codes *codes)
{
    float seen[2];
    trainer_codes_seen(codes, &seen[0], &seen[1]);
    codes->weight += NEW_WEIGHT * (1.0 - codes->weight);
    for (size_t side = 0; side < 2; side++) {
        codes->averages[side] += NEW_WEIGHT * ((double)seen[side] - codes->averages[side]);
        codes->range[side] = (float)(codes->averages[side] / codes->weight);
    }
}

void trainer_codes_settle_step(trainer_codes *codes, size_t column)
{
    float *step = &codes->step[column];
    *step = *step < LEAST_STEP ? LEAST_STEP : *step;
}

void trainer_codes_settle_range(trainer_codes *codes)
{
    if (codes->kind != DYNQ_RANGE_STATIC || !codes->learns_range) {
        return;
    }
    if (codes->steps == TRAINER_STEPS_MAX) {
        follow_batch(codes);
        return;
    }
    codes->edge[0] = codes->edge[0] > 0.0f ? 0.0f : codes->edge[0];
    codes->edge[1] = codes->edge[1] < 0.0f ? 0.0f : codes->edge[1];
    codes->range[0] = codes->edge[0] * codes->edge_unit;
    codes->range[1] = codes->edge[1] * codes->edge_unit;
}
