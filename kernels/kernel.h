/* The contract of a kernel: one table of functions per instruction set. See README.md beside this
 * file for the formulas and a picture of a panel. */
#ifndef DYNQ_KERNELS_KERNEL_H
#define DYNQ_KERNELS_KERNEL_H

#include <dynq/model.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dynq_activation {
    DYNQ_ACTIVATION_NONE = 0,
    DYNQ_ACTIVATION_RELU,
    DYNQ_ACTIVATION_GELU,
    DYNQ_ACTIVATION_TANH,
    DYNQ_ACTIVATION_SIGMOID,
    DYNQ_ACTIVATION_GELU_TANH
} dynq_activation;

/* The range of a set of floats, over their bit patterns: `high` is the signed maximum of the bits
 * and 0 (the largest value, or 0), `low` the unsigned maximum of the bits (the most negative value
 * if its sign bit is set). The empty set is {0, 0}; the union of two sets is the maximum of each
 * field. */
typedef struct dynq_range_bits {
    int32_t high;
    uint32_t low;
} dynq_range_bits;

/* Where results of rows x columns go and what happens to them on the way:
 * y[m][n] = activation(v[m][n] + bias[n] or the fma below) + residual[m][n]. */
typedef struct dynq_epilogue {
    const float *bias; /* [columns]; NULL: zeros */
    dynq_activation activation;
    const float *residual; /* [rows][residual_stride]; NULL: none; must not overlap y */
    size_t residual_stride;
    float *y; /* [rows][y_stride] */
    size_t y_stride;
    dynq_range_bits
        *range; /* joined with the range of row m at range[m * range_step]; NULL: not wanted */
    size_t range_step; /* 0: all rows share range[0]; 1: one each */
} dynq_epilogue;

/* How int32 sums become floats: acc = sum_k q * w;
 * v = fma((float)(int32)(acc - row_zero * column_sum[n]), row_scale * column_scale[n], bias[n]),
 * the product with row_zero and the difference modulo 2^32. */
typedef struct dynq_dequantize {
    const float *column_scale; /* [columns] */
    const int32_t *column_sum; /* [columns] */
    const float *row_scale;    /* row m: row_scale[m * row_step] */
    const int32_t *row_zero;   /* row m: row_zero[m * row_step], 0 to 255 */
    size_t row_step;           /* 0 or 1 */
} dynq_dequantize;

/* How the weights of an INT8 product are stored: see README.md, "Panels". All zero: p16x4. */
typedef struct dynq_weight_codes {
    unsigned bits;        /* 8 (or 0): panels hold weights; 4, 2: numbers of levels */
    const int8_t *levels; /* 4 bits: [16] of the first panel, 2 bits: [4]; in [-127, 127] */
    size_t levels_step;   /* from a panel's levels to the next one's; 0: all share them */
    size_t group;         /* 32, 64, 128: inputs that share a factor; 0: none, scales by column */
} dynq_weight_codes;

/* The bytes of a panel of 16 columns, a multiple of 64. */
static inline size_t dynq_panel_bytes(const dynq_weight_codes *codes, size_t kpad)
{
    const size_t bits = codes->bits == 0 ? 8 : codes->bits;
    const size_t groups = codes->group == 0 ? 0 : (kpad + codes->group - 1) / codes->group;
    return kpad * 2 * bits + groups * 64;
}

/* A block of an INT8 linear layer: rows x columns, columns starting at a panel border. Kernels read
 * exactly q[m][0..kpad) and the panels of the columns, and write exactly rows x columns results. */
typedef struct dynq_gemm_s8 {
    size_t rows, columns, kpad; /* kpad: a multiple of 64 */
    const uint8_t *q;           /* [rows][q_stride]; bytes from k to kpad are defined, any value */
    size_t q_stride;
    const int8_t *panels; /* 64-byte aligned: ceil(columns / 16) panels of dynq_panel_bytes() */
    dynq_weight_codes codes;
    int32_t *sums;      /* not NULL (without groups only): stop at int32, acc[m][n] to sums[m *
                           sums_stride + n], without */
    size_t sums_stride; /* zero point; the two fields below are then unused */
    dynq_dequantize dequantize;
    dynq_epilogue epilogue;
    const int8_t *next; /* weights that will be multiplied next, a hint to fetch them meanwhile;
                         * never read; NULL: not known */
} dynq_gemm_s8;

/* A block of an FP32 linear layer: v = bias + (acc, acc = fma(x[m][k], w[n][k], acc) for k = 0, 1,
 * ... from acc = 0). */
typedef struct dynq_gemm_f32 {
    size_t rows, columns, k;
    const float *x; /* [rows][x_stride] */
    size_t x_stride;
    const void *panels; /* ceil(columns / 16) panels, 64-byte aligned: p16 of floats or FP16 (k * 16
                         * elements), p16x2 of BF16 (k rounded up to even) */
    dynq_format format; /* FP32 (or 0), FP16, BF16: widened on the way, exactly */
    float *products;    /* not NULL: stop at acc, to products[m * products_stride + n] */
    size_t products_stride;
    dynq_epilogue epilogue;
} dynq_gemm_f32;

/* A block of floats to codes: q[m][c] = rne(clamp(x * inv, qmin - zero, 255 - zero)) + zero for c <
 * columns, and the zero point for columns <= c < padded. A NaN in x gives qmin. */
typedef struct dynq_quantize_block {
    size_t rows, columns, padded;
    const float *x;
    size_t x_stride;
    const float *row_inverse; /* inv of row m: row_inverse[m * row_step] */
    const int32_t *row_zero;  /* 0 to 255 */
    size_t row_step;          /* 0 or 1 */
    int32_t qmin;             /* 0 affine, 1 symmetric */
    int bounded; /* nonzero: |x * inv| is below 2^31 for every x that is not NaN, as it is where the
                  * range was found in x itself; the codes are the same */
    uint8_t *q;  /* [rows][q_stride] */
    size_t q_stride;
    dynq_range_bits
        *range; /* not NULL: range[0] is joined with the range of x, to find NaN and Inf */
} dynq_quantize_block;

/* A block of an INT16 linear layer: acc = sum q * w in int64, exact;
 * v = fma((float)acc, row_scale * column_scale[n], bias[n]). */
typedef struct dynq_gemm_s16 {
    size_t rows, columns, kpad; /* kpad: even */
    const int16_t *q;           /* [rows][q_stride], in [-32767, 32767] */
    size_t q_stride;
    const int16_t *panels;     /* p16x2: ceil(columns / 16) panels of kpad * 16 elements; 64-byte
                                * aligned; in [-32767, 32767] */
    const float *column_scale; /* [columns] */
    const float *row_scale;    /* row m: row_scale[m * row_step] */
    size_t row_step;           /* 0 or 1 */
    dynq_epilogue epilogue;
} dynq_gemm_s16;

/* A block of floats to s16 codes: rne(clamp(x * inv, -32767, 32767)) for c < columns, 0 for columns
 * <= c < padded. A NaN in x gives -32767. */
typedef struct dynq_quantize_s16 {
    size_t rows, columns, padded;
    const float *x;
    size_t x_stride;
    const float *row_inverse; /* as in dynq_quantize_block */
    size_t row_step;
    int16_t *q;
    size_t q_stride;
    dynq_range_bits *range; /* not NULL: range[0] is joined with the range of x */
} dynq_quantize_s16;

/* Rows of floats to rows of floats; y may be x itself (same stride), but not overlap it otherwise.
 */
typedef struct dynq_float_block {
    size_t rows, columns;
    const float *x;
    size_t x_stride;
    const float *other;         /* second operand of add and mul, [rows][other_stride] */
    size_t other_stride;        /* 0: the same for every row */
    const float *weight, *bias; /* layer norm: [columns] */
    float epsilon;
    dynq_activation activation; /* `activate` only; NONE copies */
    float *y;
    size_t y_stride;
    dynq_range_bits *range; /* as in dynq_epilogue */
    size_t range_step;
} dynq_float_block;

/* Rows of a table by their numbers, which the caller has checked, and sums with other rows. The
 * table is in FP32, y = value + other, or else in codes with a scale for each of its rows:
 * y = fma((float)code, scale[id], other). Without `other`, the value or product alone. */
typedef struct dynq_embed_block {
    size_t rows, columns;
    const int32_t *ids; /* of row m: ids[m * id_stride]; NULL: first + m */
    size_t id_stride;
    size_t first;
    const float *table;  /* [count][columns], or NULL for the two below */
    const int8_t *codes; /* [count][columns] */
    const float *scale;  /* [count] */
    const float *other;  /* [rows][other_stride]; NULL: none; may be y itself (same stride) */
    size_t other_stride;
    float *y; /* [rows][y_stride] */
    size_t y_stride;
    dynq_range_bits *range; /* as in dynq_epilogue */
    size_t range_step;
} dynq_embed_block;

/* The rows of one segment, at least one, to a single row: their mean, the first of them, or the
 * largest of each column. */
typedef struct dynq_pool_block {
    dynq_pooling pooling;
    size_t rows, columns;
    const float *x; /* [rows][x_stride] */
    size_t x_stride;
    float *y;               /* [columns]; must not overlap x */
    dynq_range_bits *range; /* not NULL: range[0] is joined with the range of y */
} dynq_pool_block;

/* Attention of some queries of one head of one segment: y[i] = sum_j p[j] * v[j], p the softmax
 * over the keys j of scale * (q[i] . k[j]). Results of a query do not depend on how queries are
 * divided into calls. */
typedef struct dynq_attention_block {
    size_t keys;            /* rows of the segment, as many queries */
    size_t first, queries;  /* queries [first, first + queries) of it */
    size_t dim;             /* of the head: 1 to DYNQ_MAX_HEAD */
    const float *q, *k, *v; /* the head's first column in row 0 of the segment */
    size_t q_stride, k_stride, v_stride;
    float scale; /* above 0 */
    int causal;  /* nonzero: query i sees keys 0 to i only */
    float *y;    /* the head's first column in row 0 of the segment; must not overlap q, k, v */
    size_t y_stride;
    dynq_range_bits *range; /* joined with the range of query first + i at range[i * range_step];
                             * NULL: not wanted */
    size_t range_step;      /* 0 or 1 */
    void *prepared; /* of dynq_attention_bytes(keys, dim) bytes, 64-byte aligned; attention_f32 does
                     * not look at it */
} dynq_attention_block;

/* Sums of a row in so many lanes. */
#define DYNQ_ERROR_LANES 16

/* Of elements x of the reference and y of the value. */
typedef struct dynq_error_sums {
    double reference_square[DYNQ_ERROR_LANES], value_square[DYNQ_ERROR_LANES]; /* x^2, y^2 */
    double product[DYNQ_ERROR_LANES], error_square[DYNQ_ERROR_LANES];          /* xy, (y - x)^2 */
    double error[DYNQ_ERROR_LANES], relative_error[DYNQ_ERROR_LANES]; /* |y - x|, |y - x| / |x| */
    double largest_error[DYNQ_ERROR_LANES];
    uint64_t zeros[DYNQ_ERROR_LANES]; /* x that are 0: these have no relative error */
} dynq_error_sums;

/* How far a row is from a reference, all finite, in double precision: sums are of column c in lane
 * c % DYNQ_ERROR_LANES, in the order of the columns, from +0. */
typedef struct dynq_error_block {
    size_t columns;
    const float *reference, *value; /* [columns] */
    dynq_error_sums *sums;          /* set */
} dynq_error_block;

/* The same for all kernels, though not what they leave there; grows linearly with `keys`. */
size_t dynq_attention_bytes(size_t keys, size_t dim);

typedef struct dynq_kernel {
    const char *name;
    uint32_t features; /* DYNQ_CPU_... bits it needs */
    void (*gemm_s8)(const dynq_gemm_s8 *gemm);
    void (*gemm_f32)(const dynq_gemm_f32 *gemm);
    /* The epilogues alone, on products that a foreign engine (or a kernel told to stop) has made.
     */
    void (*epilogue_s32)(size_t rows, size_t columns, const int32_t *sums, size_t sums_stride,
                         const dynq_dequantize *dequantize, const dynq_epilogue *epilogue);
    /* `products` may be epilogue->y itself (with the same stride). */
    void (*epilogue_f32)(size_t rows, size_t columns, const float *products, size_t products_stride,
                         const dynq_epilogue *epilogue);
    /* Joins range[m * range_step] with the range of row m; only x, its shape and `range` are used.
     */
    void (*range)(const dynq_float_block *block);
    void (*quantize)(const dynq_quantize_block *block);
    void (*activate)(const dynq_float_block *block);
    void (*add)(const dynq_float_block *block);
    void (*multiply)(const dynq_float_block *block);
    void (*softmax)(const dynq_float_block *block);
    void (*layer_norm)(const dynq_float_block *block);
    void (*embed)(const dynq_embed_block *block);
    void (*pool)(const dynq_pool_block *block);
    /* Every row to length 1; rows that are shorter than 1e-12 are divided by that. */
    void (*normalize)(const dynq_float_block *block);
    void (*attention_f32)(const dynq_attention_block *block);
    /* Turns all keys and values of the head into codes, to `prepared`; queries, y and range are not
     * used. */
    void (*attention_prepare)(const dynq_attention_block *block);
    /* Any number of times behind it, also at the same time, with what the same kernel has
     * `prepared`; keys and values are not read again. */
    void (*attention_s8)(const dynq_attention_block *block);
    void (*errors)(const dynq_error_block *block);
    /* What the machine can do at most, to compare with. The first two run `steps` turns of a loop
     * that only works in registers, of this kernel's dot products and of fused multiply-adds, and
     * return the operations done (2 for each multiply-add). The third reads every byte with the
     * widest loads; its result depends on all of them. */
    uint64_t (*probe_s8)(uint64_t steps);
    uint64_t (*probe_f32)(uint64_t steps);
    uint32_t (*probe_read)(const void *memory, size_t bytes);
} dynq_kernel;

/* Entry `index` of the table, best first, NULL past the last ("ref"). */
const dynq_kernel *dynq_kernel_at(size_t index);
/* The entry of that name whether this CPU can run it or not; NULL if there is none. */
const dynq_kernel *dynq_kernel_find(const char *name);
/* INT16 is portable C for every CPU: portable_s16.c. */
void dynq_portable_gemm_s16(const dynq_gemm_s16 *gemm);
void dynq_portable_quantize_s16(const dynq_quantize_s16 *block);

/* gemm_f32 for format BF16 with x rounded to BF16 as well and the CPU's own dot product of pairs,
 * which adds odd k first and takes subnormals as 0: outside the promise of equal bits. NULL: that
 * kernel, or a CPU with these DYNQ_CPU_... features, has none. */
typedef void dynq_gemm_bf16(const dynq_gemm_f32 *gemm);
dynq_gemm_bf16 *dynq_kernel_bf16(const dynq_kernel *kernel, uint32_t features);
/* The first entry that runs with these DYNQ_CPU_... features. */
const dynq_kernel *dynq_kernel_best(uint32_t features);

#endif
