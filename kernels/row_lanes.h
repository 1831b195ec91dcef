/* Operators on rows of floats over sixteen lanes; what each computes is said in kernel.h and fixed
 * by ref.c. Include after float_lanes.h. */
#ifndef DYNQ_KERNELS_ROW_LANES_H
#define DYNQ_KERNELS_ROW_LANES_H

#include "kernels/float_lanes.h"

#include <math.h>

typedef enum row_operation { ROW_ACTIVATE, ROW_ADD, ROW_MULTIPLY } row_operation;

/* One row through an operation that looks at each column alone; the constants are known where it is
 * called. */
LANES_INLINE range_lanes row_map(const row_operation operation, const dynq_activation activation,
                                 const float *x, const float *other, float *y, size_t columns)
{
    range_lanes seen = range_none();
    for (size_t c = 0; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        lanes_f32 value = lanes_load(x + c, count);
        if (operation == ROW_ACTIVATE) {
            value = lanes_activate(activation, value);
        } else if (operation == ROW_ADD) {
            value = lanes_add(value, lanes_load(other + c, count));
        } else {
            value = lanes_mul(value, lanes_load(other + c, count));
        }
        lanes_store(y + c, value, count);
        seen = range_with(seen, value, count);
    }
    return seen;
}

LANES_INLINE void row_map_all(const row_operation operation, const dynq_activation activation,
                              const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *other =
            operation == ROW_ACTIVATE ? NULL : block->other + m * block->other_stride;
        const range_lanes seen = row_map(operation, activation, block->x + m * block->x_stride,
                                         other, block->y + m * block->y_stride, block->columns);
        if (block->range != NULL) {
            range_join(block->range + m * block->range_step, seen);
        }
    }
}

static void activate(const dynq_float_block *block)
{
    switch (block->activation) {
    case DYNQ_ACTIVATION_NONE: row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_NONE, block); break;
    case DYNQ_ACTIVATION_RELU: row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_RELU, block); break;
    case DYNQ_ACTIVATION_GELU: row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_GELU, block); break;
    case DYNQ_ACTIVATION_TANH: row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_TANH, block); break;
    case DYNQ_ACTIVATION_SIGMOID: row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_SIGMOID, block); break;
    }
}

static void add(const dynq_float_block *block)
{
    row_map_all(ROW_ADD, DYNQ_ACTIVATION_NONE, block);
}

static void multiply(const dynq_float_block *block)
{
    row_map_all(ROW_MULTIPLY, DYNQ_ACTIVATION_NONE, block);
}

static inline lanes_f32 row_max(const float *x, size_t columns)
{
    lanes_f32 max = lanes_set(-INFINITY);
    for (size_t c = 0; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        const lanes_f32 value = lanes_load(x + c, count);
        max = lanes_max(lanes_fill(value, count, -INFINITY), max);
    }
    return lanes_set(lanes_highest(max));
}

/* Sixteen running sums, folded at the end; lanes past the row add +0, which changes nothing. */
static range_lanes softmax_row(const float *x, float *y, size_t columns)
{
    const lanes_f32 max = row_max(x, columns);
    lanes_f32 sum = lanes_set(0.0f);
    for (size_t c = 0; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        const lanes_f32 value = lanes_load(x + c, count);
        const lanes_f32 e = lanes_add(lanes_exp(lanes_sub(value, max)), lanes_taint(value));
        sum = lanes_add(sum, lanes_keep(e, count));
        lanes_store(y + c, e, count);
    }
    const lanes_f32 inverse = lanes_set(1.0f / lanes_fold(sum));
    range_lanes seen = range_none();
    for (size_t c = 0; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        const lanes_f32 value = lanes_mul(lanes_load(y + c, count), inverse);
        lanes_store(y + c, value, count);
        seen = range_with(seen, value, count);
    }
    return seen;
}

static void softmax(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const range_lanes seen = softmax_row(block->x + m * block->x_stride,
                                             block->y + m * block->y_stride, block->columns);
        if (block->range != NULL) {
            range_join(block->range + m * block->range_step, seen);
        }
    }
}

static inline float row_mean(const float *x, size_t columns)
{
    lanes_f32 sum = lanes_set(0.0f);
    for (size_t c = 0; c < columns; c += 16) {
        sum = lanes_add(sum, lanes_load(x + c, lanes_smaller(16, columns - c)));
    }
    return lanes_fold(sum) / (float)columns;
}

static inline float row_variance(const float *x, size_t columns, float mean)
{
    lanes_f32 sum = lanes_set(0.0f);
    for (size_t c = 0; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        const lanes_f32 d = lanes_keep(lanes_sub(lanes_load(x + c, count), lanes_set(mean)), count);
        sum = lanes_fma(d, d, sum);
    }
    return lanes_fold(sum) / (float)columns;
}

static range_lanes layer_norm_row(const dynq_float_block *block, const float *x, float *y)
{
    const float mean = row_mean(x, block->columns);
    const float variance = row_variance(x, block->columns, mean);
    const float r = 1.0f / sqrtf(variance + block->epsilon) + (variance - variance);
    range_lanes seen = range_none();
    for (size_t c = 0; c < block->columns; c += 16) {
        const size_t count = lanes_smaller(16, block->columns - c);
        const lanes_f32 d = lanes_sub(lanes_load(x + c, count), lanes_set(mean));
        const lanes_f32 value =
            lanes_fma(lanes_mul(d, lanes_set(r)), lanes_load(block->weight + c, count),
                      lanes_load(block->bias + c, count));
        lanes_store(y + c, value, count);
        seen = range_with(seen, value, count);
    }
    return seen;
}

static void layer_norm(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const range_lanes seen =
            layer_norm_row(block, block->x + m * block->x_stride, block->y + m * block->y_stride);
        if (block->range != NULL) {
            range_join(block->range + m * block->range_step, seen);
        }
    }
}

#endif
