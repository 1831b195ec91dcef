/* Operators on rows of floats over sixteen lanes; what each computes is said in kernel.h and fixed
 * by ref.c. Include after float_lanes.h. */
#ifndef DYNQ_KERNELS_ROW_LANES_H
#define DYNQ_KERNELS_ROW_LANES_H

#include "kernels/float_lanes.h"

#include <math.h>

typedef enum row_operation { ROW_ACTIVATE, ROW_ADD, ROW_MULTIPLY } row_operation;

/* The constants are known where it is called. */
LANES_INLINE range_lanes row_map_step(const row_operation operation,
                                      const dynq_activation activation, const float *x,
                                      const float *other, float *y, size_t count, range_lanes seen)
{
    lanes_f32 value = lanes_load(x, count);
    if (operation == ROW_ACTIVATE) {
        value = lanes_activate(activation, value);
    } else if (operation == ROW_ADD) {
        value = lanes_add(value, lanes_load(other, count));
    } else {
        value = lanes_mul(value, lanes_load(other, count));
    }
    lanes_store(y, value, count);
    return range_with(seen, value, count);
}

LANES_INLINE void row_map_all(const row_operation operation, const dynq_activation activation,
                              const dynq_float_block *block)
{
    const size_t columns = block->columns;
    range_lanes seen = range_none();
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        const float *other = operation == ROW_ACTIVATE ? x : block->other + m * block->other_stride;
        float *y = block->y + m * block->y_stride;
        size_t c = 0;
        for (; c + 16 <= columns; c += 16) {
            seen = row_map_step(operation, activation, x + c, other + c, y + c, 16, seen);
        }
        if (c < columns) {
            seen = row_map_step(operation, activation, x + c, other + c, y + c, columns - c, seen);
        }
        seen = range_row_end(block->range, block->range_step, m, block->rows, seen);
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
    case DYNQ_ACTIVATION_GELU_TANH:
        row_map_all(ROW_ACTIVATE, DYNQ_ACTIVATION_GELU_TANH, block);
        break;
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

/* Rows that go through a pass before the next one begins, which starts with a number that folding
 * the lanes and dividing has taken long to give. */
enum { ROWS_TOGETHER = 4 };

/* What is added up over a row. */
typedef enum row_pass { ROW_SUM, ROW_SQUARES, ROW_EXP } row_pass;

/* 16 columns of it, `count` of which belong to the row; the others add +0, which changes nothing.
 * The numbers are meant as distances from `centre`; exp is stored to y as well. */
LANES_INLINE lanes_f32 row_pass_step(const row_pass pass, const float *x, float *y, size_t count,
                                     lanes_f32 centre, lanes_f32 sum)
{
    const lanes_f32 value = lanes_load(x, count);
    if (pass == ROW_SUM) {
        return lanes_add(sum, value);
    }
    const lanes_f32 d = lanes_sub(value, centre);
    if (pass == ROW_SQUARES) {
        const lanes_f32 kept = lanes_keep(d, count);
        return lanes_fma(kept, kept, sum);
    }
    const lanes_f32 e = lanes_taint(lanes_exp(d), value);
    lanes_store(y, e, count);
    return lanes_add(sum, lanes_keep(e, count));
}

/* 64 running sums, folded at the end: column c belongs to number c % 64. */
LANES_INLINE float row_total(const row_pass pass, const float *x, float *y, size_t columns,
                             float centre)
{
    const lanes_f32 from = lanes_set(centre), zero = lanes_set(0.0f);
    lanes_f32 sum[4] = {zero, zero, zero, zero};
    size_t c = 0;
    for (; c + 64 <= columns; c += 64) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const size_t at = c + 16 * i;
            sum[i] = row_pass_step(pass, x + at, y + at, 16, from, sum[i]);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const size_t at = c + 16 * i;
        if (at < columns) {
            const size_t count = lanes_smaller(16, columns - at);
            sum[i] = row_pass_step(pass, x + at, y + at, count, from, sum[i]);
        }
    }
    return lanes_fold(lanes_add(lanes_add(sum[0], sum[2]), lanes_add(sum[1], sum[3])));
}

LANES_INLINE float row_max(const float *x, size_t columns)
{
    const lanes_f32 lowest = lanes_set(-INFINITY);
    lanes_f32 max[4] = {lowest, lowest, lowest, lowest};
    size_t c = 0;
    for (; c + 64 <= columns; c += 64) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            max[i] = lanes_max(lanes_load(x + c + 16 * i, 16), max[i]);
        }
    }
    for (; c < columns; c += 16) {
        const size_t count = lanes_smaller(16, columns - c);
        max[0] = lanes_max(lanes_fill(lanes_load(x + c, count), count, -INFINITY), max[0]);
    }
    return lanes_highest(lanes_max(lanes_max(max[0], max[1]), lanes_max(max[2], max[3])));
}

LANES_INLINE range_lanes softmax_step(float *y, size_t count, lanes_f32 inverse, range_lanes seen)
{
    const lanes_f32 value = lanes_mul(lanes_load(y, count), inverse);
    lanes_store(y, value, count);
    return range_with(seen, value, count);
}

LANES_INLINE range_lanes softmax_scale(float *y, size_t columns, float inverse, range_lanes seen)
{
    const lanes_f32 by = lanes_set(inverse);
    size_t c = 0;
    for (; c + 16 <= columns; c += 16) {
        seen = softmax_step(y + c, 16, by, seen);
    }
    return c < columns ? softmax_step(y + c, columns - c, by, seen) : seen;
}

static void softmax(const dynq_float_block *block)
{
    const size_t columns = block->columns;
    range_lanes seen = range_none();
    for (size_t first = 0; first < block->rows; first += ROWS_TOGETHER) {
        const size_t rows = lanes_smaller(ROWS_TOGETHER, block->rows - first);
        const float *x = block->x + first * block->x_stride;
        float *y = block->y + first * block->y_stride;
        float max[ROWS_TOGETHER], inverse[ROWS_TOGETHER];
        for (size_t m = 0; m < rows; m++) {
            max[m] = row_max(x + m * block->x_stride, columns);
        }
        for (size_t m = 0; m < rows; m++) {
            inverse[m] = 1.0f / row_total(ROW_EXP, x + m * block->x_stride, y + m * block->y_stride,
                                          columns, max[m]);
        }
        for (size_t m = 0; m < rows; m++) {
            seen = softmax_scale(y + m * block->y_stride, columns, inverse[m], seen);
            seen = range_row_end(block->range, block->range_step, first + m, block->rows, seen);
        }
    }
}

/* A row's numbers and the columns' weights. */
typedef struct norm_lanes {
    const float *weight, *bias;
    lanes_f32 mean, r;
} norm_lanes;

LANES_INLINE range_lanes norm_step(const norm_lanes *with, const float *x, float *y, size_t c,
                                   size_t count, range_lanes seen)
{
    const lanes_f32 d = lanes_sub(lanes_load(x + c, count), with->mean);
    const lanes_f32 value = lanes_fma(lanes_mul(d, with->r), lanes_load(with->weight + c, count),
                                      lanes_load(with->bias + c, count));
    lanes_store(y + c, value, count);
    return range_with(seen, value, count);
}

LANES_INLINE range_lanes norm_row(const norm_lanes *with, const float *x, float *y, size_t columns,
                                  range_lanes seen)
{
    size_t c = 0;
    for (; c + 16 <= columns; c += 16) {
        seen = norm_step(with, x, y, c, 16, seen);
    }
    return c < columns ? norm_step(with, x, y, c, columns - c, seen) : seen;
}

static void layer_norm(const dynq_float_block *block)
{
    const size_t columns = block->columns, stride = block->x_stride;
    range_lanes seen = range_none();
    for (size_t first = 0; first < block->rows; first += ROWS_TOGETHER) {
        const size_t rows = lanes_smaller(ROWS_TOGETHER, block->rows - first);
        const float *x = block->x + first * stride;
        float *y = block->y + first * block->y_stride;
        float mean[ROWS_TOGETHER], r[ROWS_TOGETHER];
        for (size_t m = 0; m < rows; m++) {
            mean[m] = row_total(ROW_SUM, x + m * stride, y, columns, 0.0f) / (float)columns;
        }
        for (size_t m = 0; m < rows; m++) {
            const float variance =
                row_total(ROW_SQUARES, x + m * stride, y, columns, mean[m]) / (float)columns;
            r[m] = fmaf(variance, 0.0f, 1.0f / sqrtf(variance + block->epsilon));
        }
        for (size_t m = 0; m < rows; m++) {
            const norm_lanes with = {.weight = block->weight,
                                     .bias = block->bias,
                                     .mean = lanes_set(mean[m]),
                                     .r = lanes_set(r[m])};
            seen = norm_row(&with, x + m * stride, y + m * block->y_stride, columns, seen);
            seen = range_row_end(block->range, block->range_step, first + m, block->rows, seen);
        }
    }
}

#endif
