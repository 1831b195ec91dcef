/* The reference kernel: portable C, one element at a time, the specification of every other kernel.
 * ref_math.h has what happens to one float, README.md the formulas and the layouts. */
#include "kernels/attention.h"
#include "kernels/ref_codes.h"
#include "kernels/ref_epilogue.h"
#include "kernels/ref_math.h"
#include "kernels/ref_pool.h"
#include "kernels/table.h"

#define PANEL 16 /* columns of a panel */
#define GROUP 4  /* inputs that stand together in a panel of codes */

static size_t columns_of_panel(size_t columns, size_t first)
{
    return columns - first < PANEL ? columns - first : PANEL;
}

static void emit_s32(const dynq_dequantize *dequantize, const dynq_epilogue *epilogue, size_t row,
                     size_t column, uint32_t sum)
{
    const uint32_t zero = (uint32_t)dequantize->row_zero[row * dequantize->row_step];
    const int32_t acc = (int32_t)(sum - zero * (uint32_t)dequantize->column_sum[column]);
    const float scale =
        dequantize->row_scale[row * dequantize->row_step] * dequantize->column_scale[column];
    dynq_ref_emit(epilogue, row, column, fmaf((float)acc, scale, dynq_ref_bias(epilogue, column)));
}

static void emit_f32(const dynq_epilogue *epilogue, size_t row, size_t column, float acc)
{
    dynq_ref_emit(epilogue, row, column, acc + dynq_ref_bias(epilogue, column));
}

/* Sums of one row with the columns of one panel, modulo 2^32. */
static void multiply_s8(const uint8_t *q, const int8_t *panel, size_t kpad, uint32_t acc[PANEL])
{
    memset(acc, 0, PANEL * sizeof *acc);
    for (size_t k = 0; k < kpad; k += GROUP) {
        for (size_t c = 0; c < PANEL; c++) {
            for (size_t i = 0; i < GROUP; i++) {
                acc[c] += (uint32_t)(q[k + i] * panel[k * PANEL + c * GROUP + i]);
            }
        }
    }
}

static void gemm_s8(const dynq_gemm_s8 *gemm)
{
    if (gemm->codes.group != 0 || gemm->codes.bits % 8 != 0) {
        dynq_ref_gemm_codes(gemm);
        return;
    }
    for (size_t first = 0; first < gemm->columns; first += PANEL) {
        const int8_t *panel = gemm->panels + first * gemm->kpad;
        const size_t width = columns_of_panel(gemm->columns, first);
        for (size_t m = 0; m < gemm->rows; m++) {
            uint32_t acc[PANEL];
            multiply_s8(gemm->q + m * gemm->q_stride, panel, gemm->kpad, acc);
            for (size_t c = 0; c < width; c++) {
                if (gemm->sums != NULL) {
                    gemm->sums[m * gemm->sums_stride + first + c] = (int32_t)acc[c];
                } else {
                    emit_s32(&gemm->dequantize, &gemm->epilogue, m, first + c, acc[c]);
                }
            }
        }
    }
}

/* The weight of input k and a column of a panel, widened exactly. */
static float weight_of(const dynq_gemm_f32 *gemm, size_t panel, size_t k, size_t column)
{
    const uint16_t *halves = gemm->panels;
    if (gemm->format == DYNQ_FORMAT_FP16) {
        return dynq_ref_from_fp16(halves[(panel * gemm->k + k) * PANEL + column]);
    }
    if (gemm->format == DYNQ_FORMAT_BF16) {
        const size_t pairs = (gemm->k + 1) / 2, pair = panel * pairs + k / 2;
        return dynq_ref_from_bf16(halves[(pair * PANEL + column) * 2 + k % 2]);
    }
    const float *floats = gemm->panels;
    return floats[(panel * gemm->k + k) * PANEL + column];
}

static void gemm_f32(const dynq_gemm_f32 *gemm)
{
    for (size_t m = 0; m < gemm->rows; m++) {
        const float *x = gemm->x + m * gemm->x_stride;
        for (size_t n = 0; n < gemm->columns; n++) {
            float acc = 0.0f;
            for (size_t k = 0; k < gemm->k; k++) {
                acc = fmaf(x[k], weight_of(gemm, n / PANEL, k, n % PANEL), acc);
            }
            if (gemm->products != NULL) {
                gemm->products[m * gemm->products_stride + n] = acc;
            } else {
                emit_f32(&gemm->epilogue, m, n, acc);
            }
        }
    }
}

static void epilogue_s32(size_t rows, size_t columns, const int32_t *sums, size_t sums_stride,
                         const dynq_dequantize *dequantize, const dynq_epilogue *epilogue)
{
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < columns; n++) {
            emit_s32(dequantize, epilogue, m, n, (uint32_t)sums[m * sums_stride + n]);
        }
    }
}

static void epilogue_f32(size_t rows, size_t columns, const float *products, size_t products_stride,
                         const dynq_epilogue *epilogue)
{
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < columns; n++) {
            emit_f32(epilogue, m, n, products[m * products_stride + n]);
        }
    }
}

static void range(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        dynq_ref_join(&block->range[m * block->range_step], block->x + m * block->x_stride,
                      block->columns);
    }
}

static void quantize(const dynq_quantize_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        uint8_t *q = block->q + m * block->q_stride;
        const float inverse = block->row_inverse[m * block->row_step];
        const int32_t zero = block->row_zero[m * block->row_step];
        for (size_t c = 0; c < block->columns; c++) {
            q[c] = dynq_ref_quantize(x[c], inverse, zero, block->qmin);
        }
        for (size_t c = block->columns; c < block->padded; c++) {
            q[c] = (uint8_t)zero;
        }
        if (block->range != NULL) {
            dynq_ref_join(block->range, x, block->columns);
        }
    }
}

/* The range of a finished row. */
static void join_result(const dynq_float_block *block, size_t row)
{
    if (block->range != NULL) {
        dynq_ref_join(&block->range[row * block->range_step], block->y + row * block->y_stride,
                      block->columns);
    }
}

static void activate(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        float *y = block->y + m * block->y_stride;
        for (size_t c = 0; c < block->columns; c++) {
            y[c] = dynq_ref_activate(block->activation, x[c]);
        }
        join_result(block, m);
    }
}

static void add(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        const float *other = block->other + m * block->other_stride;
        float *y = block->y + m * block->y_stride;
        for (size_t c = 0; c < block->columns; c++) {
            y[c] = x[c] + other[c];
        }
        join_result(block, m);
    }
}

static void multiply(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        const float *x = block->x + m * block->x_stride;
        const float *other = block->other + m * block->other_stride;
        float *y = block->y + m * block->y_stride;
        for (size_t c = 0; c < block->columns; c++) {
            y[c] = x[c] * other[c];
        }
        join_result(block, m);
    }
}

/* The taint is that of x, not of x - max, which overflows for finite rows from -3e38 to 3e38. */
static void softmax_row(const float *x, float *y, size_t columns)
{
    float max = -INFINITY;
    for (size_t c = 0; c < columns; c++) {
        max = dynq_ref_max(x[c], max);
    }
    float lanes[DYNQ_LANES] = {0};
    for (size_t c = 0; c < columns; c++) {
        const float e = dynq_ref_taint(dynq_ref_exp(x[c] - max), x[c]);
        lanes[c % DYNQ_LANES] += e;
        y[c] = e;
    }
    const float inverse = 1.0f / dynq_ref_fold(lanes);
    for (size_t c = 0; c < columns; c++) {
        y[c] *= inverse;
    }
}

static void softmax(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        softmax_row(block->x + m * block->x_stride, block->y + m * block->y_stride, block->columns);
        join_result(block, m);
    }
}

/* The taint is for squares that overflow: 1 / sqrt(Inf) = 0 would hide it. */
static void layer_norm_row(const dynq_float_block *block, const float *x, float *y)
{
    const float columns = (float)block->columns;
    float lanes[DYNQ_LANES] = {0};
    for (size_t c = 0; c < block->columns; c++) {
        lanes[c % DYNQ_LANES] += x[c];
    }
    const float mean = dynq_ref_fold(lanes) / columns;

    memset(lanes, 0, sizeof lanes);
    for (size_t c = 0; c < block->columns; c++) {
        const float d = x[c] - mean;
        lanes[c % DYNQ_LANES] = fmaf(d, d, lanes[c % DYNQ_LANES]);
    }
    const float variance = dynq_ref_fold(lanes) / columns;
    const float r = dynq_ref_taint(1.0f / sqrtf(variance + block->epsilon), variance);

    for (size_t c = 0; c < block->columns; c++) {
        y[c] = fmaf((x[c] - mean) * r, block->weight[c], block->bias[c]);
    }
}

static void layer_norm(const dynq_float_block *block)
{
    for (size_t m = 0; m < block->rows; m++) {
        layer_norm_row(block, block->x + m * block->x_stride, block->y + m * block->y_stride);
        join_result(block, m);
    }
}

/* The probes: the same inner loops as above. */
static uint64_t probe_s8(uint64_t steps)
{
    enum { K = 64 };
    uint8_t q[K];
    int8_t panel[K * PANEL];
    uint32_t acc[PANEL] = {0};
    memset(panel, 1, sizeof panel);
    for (uint64_t step = 0; step < steps; step++) {
        memset(q, (int)(acc[0] & 0x7F), sizeof q); /* else one step would do for all */
        q[0]++;
        multiply_s8(q, panel, K, acc);
    }
    volatile uint32_t result = acc[0]; /* so that nothing is left out */
    return result > 0 || steps == 0 ? steps * K * PANEL * 2 : 0;
}

static uint64_t probe_f32(uint64_t steps)
{
    float acc[PANEL] = {0};
    volatile float input = 0.25f; /* a value that the compiler does not know */
    const float x = input;
    for (uint64_t step = 0; step < steps; step++) {
        for (size_t c = 0; c < PANEL; c++) {
            acc[c] = fmaf(x, 0.5f, acc[c]);
        }
    }
    for (size_t c = 0; c < PANEL; c++) {
        input = acc[c];
    }
    return steps * PANEL * 2;
}

static uint32_t probe_read(const void *memory, size_t bytes)
{
    const uint8_t *p = memory;
    uint64_t seen = 0;
    size_t at = 0;
    for (uint64_t word = 0; at + sizeof word <= bytes; at += sizeof word) {
        memcpy(&word, p + at, sizeof word);
        seen |= word;
    }
    for (; at < bytes; at++) {
        seen |= p[at];
    }
    return (uint32_t)(seen | seen >> 32);
}

const dynq_kernel dynq_kernel_ref = {
    .name = "ref",
    .features = 0,
    .gemm_s8 = gemm_s8,
    .gemm_f32 = gemm_f32,
    .epilogue_s32 = epilogue_s32,
    .epilogue_f32 = epilogue_f32,
    .range = range,
    .quantize = quantize,
    .activate = activate,
    .add = add,
    .multiply = multiply,
    .softmax = softmax,
    .layer_norm = layer_norm,
    .embed = dynq_ref_embed,
    .pool = dynq_ref_pool,
    .normalize = dynq_ref_normalize,
    .attention_f32 = dynq_ref_attention_f32,
    .attention_prepare = dynq_ref_attention_prepare,
    .attention_s8 = dynq_ref_attention_s8,
    .errors = dynq_ref_errors,
    .probe_s8 = probe_s8,
    .probe_f32 = probe_f32,
    .probe_read = probe_read,
};
