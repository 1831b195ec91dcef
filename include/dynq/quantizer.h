/* Quantizing plain arrays: the textbook mappings, on a matrix of numbers, at any granularity.
 *
 * These functions are for looking at number formats. The model path (dynq/quantize.h) has its own
 * fixed numbers and does not go through them. */
#ifndef DYNQ_QUANTIZER_H
#define DYNQ_QUANTIZER_H

#include <dynq/api.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a real number t becomes a code q of b bits (2 to 8, or 16). Ranges are formed in double and
 * parameters rounded to FP32 once; codes are computed in FP32. The restored t' is the exact product
 * or quotient rounded to FP32; beyond FLT_MAX, where the outermost code of a huge range can lie, it
 * is FLT_MAX with its sign. rne rounds to nearest, ties to even. */
typedef enum dynq_mapping {
    /* scale = (max - min) / (2^b - 1), no zero point;
     * q = clamp(rne(t / scale), -2^(b-1), 2^(b-1) - 1); t' = q * scale. */
    DYNQ_MAPPING_MINMAX = 1,
    /* factor = (2^(b-1) - 1) / max|t|; q = clamp(rne(t * factor), -(2^(b-1) - 1), 2^(b-1) - 1);
     * t' = q / factor. The scale is 1 / factor, at most FLT_MAX. */
    DYNQ_MAPPING_SYMMETRIC,
    /* qmin = -2^(b-1), qmax = 2^(b-1) - 1, over [rmin, rmax] = [min(0, min t), max(0, max t)]:
     * scale = (rmax - rmin) / (qmax - qmin), zero = clamp(rne(qmin - rmin / scale), qmin, qmax)
     * with the scale before its rounding to FP32;
     * q = clamp(rne(t / scale) + zero, qmin, qmax); t' = (q - zero) * scale. 0 is represented
     * exactly. */
    DYNQ_MAPPING_AFFINE
} dynq_mapping;

/* Which elements of a rows x columns matrix share their parameters. */
typedef enum dynq_granularity {
    DYNQ_PER_TENSOR = 1, /* all: 1 set of parameters */
    DYNQ_PER_ROW,        /* rows sets */
    DYNQ_PER_COLUMN,     /* columns sets */
    DYNQ_PER_GROUP,      /* group_size neighbours in a row (the last group of a row may be shorter):
                          * rows * ceil(columns / group_size) sets, row by row */
    DYNQ_PER_ELEMENT     /* rows * columns sets */
} dynq_granularity;

typedef struct dynq_quantizer {
    dynq_mapping mapping;
    dynq_granularity granularity;
    unsigned bits;     /* 2 to 8, or 16 */
    size_t group_size; /* DYNQ_PER_GROUP only: 1 or more */
} dynq_quantizer;

/* The parameters of one set. */
typedef struct dynq_quant_params {
    float scale;  /* real units per code step; 1 where the range is degenerate */
    float factor; /* codes per real unit: what the symmetric mapping multiplies with; 1 / scale
                     otherwise */
    int32_t zero; /* zero point; 0 for the mappings without one */
} dynq_quant_params;

/* The number of parameter sets for a matrix of this shape; 0 for a quantizer that is not valid, an
 * empty matrix or one with more than SIZE_MAX elements. */
DYNQ_API size_t dynq_quantizer_sets(const dynq_quantizer *quantizer, size_t rows, size_t columns);

/* Finds the parameters of every set of x [rows][columns], contiguous. `params` has room for
 * `capacity` sets. What happens to input without a usable range:
 * - an empty matrix has no sets, x may be NULL, and the call succeeds;
 * - a set whose range (max - min for min-max, max|t| for symmetric, rmax - rmin for affine) is 0,
 *   or so small that its scale would be below FLT_MIN, gets scale 1, factor 1, zero 0. All zero and
 *   subnormal sets thus become codes 0;
 * - a constant set c != 0, and so every set of one element, has no range under min-max: scale 1,
 *   q = clamp(rne(c)). Symmetric gives it the outermost code of its sign, affine the code whose
 *   distance to zero is the most, 2^b - 1; both restore it up to rounding;
 * - a range above FLT_MAX is as good as any: its scale is finite;
 * - NaN or Inf: DYNQ_ERR_NOT_FINITE with row and column.
 * Other errors: DYNQ_ERR_ARGUMENT (bits, mapping, granularity, group size, a NULL that is needed,
 * more than SIZE_MAX elements), DYNQ_ERR_LIMIT (capacity too small). Nothing is written on an
 * error. These functions work in the default floating-point state, whatever the caller's, on any
 * thread. */
DYNQ_API dynq_status dynq_quantizer_fit(const dynq_quantizer *quantizer, const float *x,
                                        size_t rows, size_t columns, dynq_quant_params *params,
                                        size_t capacity, dynq_error *error);

/* Codes q [rows][columns] of x with parameters from dynq_quantizer_fit() (of the same or other
 * data: values outside the range are clamped). Errors as above. */
DYNQ_API dynq_status dynq_quantizer_quantize(const dynq_quantizer *quantizer,
                                             const dynq_quant_params *params, const float *x,
                                             size_t rows, size_t columns, int16_t *q,
                                             dynq_error *error);

/* x'[rows][columns] of codes q. Any code is accepted. */
DYNQ_API dynq_status dynq_quantizer_dequantize(const dynq_quantizer *quantizer,
                                               const dynq_quant_params *params, const int16_t *q,
                                               size_t rows, size_t columns, float *x,
                                               dynq_error *error);

/* |x' - x| for `count` elements; Inf where it exceeds FLT_MAX. */
DYNQ_API void dynq_absolute_error(const float *x, const float *restored, size_t count,
                                  float *errors);

/* 100 * |x' - x| / |x| in percent; NaN where x is 0 and x' is not, 0 where both are 0, Inf where it
 * exceeds FLT_MAX. */
DYNQ_API void dynq_percentage_error(const float *x, const float *restored, size_t count,
                                    float *errors);

#ifdef __cplusplus
}
#endif

#endif
