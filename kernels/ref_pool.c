#include "kernels/ref_pool.h"

#include "kernels/ref_math.h"

static float embedded(const dynq_embed_block *block, size_t id, size_t row, size_t column)
{
    const size_t at = id * block->columns + column;
    const float *other = block->other;
    if (other != NULL) {
        other += row * block->other_stride + column;
    }
    if (block->table != NULL) {
        return other != NULL ? block->table[at] + *other : block->table[at];
    }
    const float code = (float)block->codes[at];
    return other != NULL ? fmaf(code, block->scale[id], *other) : code * block->scale[id];
}

void dynq_ref_embed(const dynq_embed_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const size_t id =
            block->ids != NULL ? (size_t)block->ids[m * block->id_stride] : block->first + m;
        float *y = block->y + m * block->y_stride;
        for (size_t c = 0; c < block->columns; c++) {
            y[c] = embedded(block, id, m, c);
        }
        if (block->range != NULL) {
            dynq_ref_join(&block->range[m * block->range_step], y, block->columns);
        }
    }
}

static float mean_of(const float *x, size_t rows, size_t stride)
{
    float sum = 0.0f;
    for (size_t m = 0; m < rows; m++) {
        sum += x[m * stride];
    }
    return sum / (float)rows;
}

/* What is added is +0, and NaN if any of them is not finite. */
static float largest_of(const float *x, size_t rows, size_t stride)
{
    float max = -INFINITY, taint = 0.0f;
    for (size_t m = 0; m < rows; m++) {
        max = dynq_ref_max(x[m * stride], max);
        taint = dynq_ref_taint(taint, x[m * stride]);
    }
    return max + taint;
}

void dynq_ref_pool(const dynq_pool_block *block)
{
    for (size_t c = 0; c < block->columns; c++) {
        const float *x = block->x + c;
        switch (block->pooling) {
        case DYNQ_POOL_MEAN: block->y[c] = mean_of(x, block->rows, block->x_stride); break;
        case DYNQ_POOL_CLS: block->y[c] = *x; break;
        case DYNQ_POOL_MAX: block->y[c] = largest_of(x, block->rows, block->x_stride); break;
        }
    }
    if (block->range != NULL) {
        dynq_ref_join(block->range, block->y, block->columns);
    }
}

void dynq_ref_normalize(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        float *y = block->y + m * block->y_stride;
        float lanes[DYNQ_LANES] = {0};
        for (size_t c = 0; c < block->columns; c++) {
            lanes[c % DYNQ_LANES] = fmaf(x[c], x[c], lanes[c % DYNQ_LANES]);
        }
        const float sum = dynq_ref_fold(lanes);
        /* The taint is for squares that overflow: 1 / Inf = 0 would hide it. */
        const float r = dynq_ref_taint(1.0f / dynq_ref_max(sqrtf(sum), DYNQ_SHORTEST), sum);
        for (size_t c = 0; c < block->columns; c++) {
            y[c] = x[c] * r;
        }
        if (block->range != NULL) {
            dynq_ref_join(&block->range[m * block->range_step], y, block->columns);
        }
    }
}
