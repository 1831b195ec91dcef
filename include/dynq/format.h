/* Number formats: how weights are stored, and exact conversions between them and floats. */
#ifndef DYNQ_FORMAT_H
#define DYNQ_FORMAT_H

#include <dynq/api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dynq_format {
    DYNQ_FORMAT_FP64 = 1, /* IEEE 754 binary64 */
    DYNQ_FORMAT_FP32,     /* binary32 */
    DYNQ_FORMAT_FP16,     /* binary16: 5 bits of exponent, 10 of fraction */
    DYNQ_FORMAT_BF16,     /* the upper half of a binary32: 8 bits of exponent, 7 of fraction */
    DYNQ_FORMAT_INT16,    /* codes of [-32767, 32767] times a scale */
    DYNQ_FORMAT_INT8,     /* codes of [-127, 127] times a scale */
    DYNQ_FORMAT_INT4,     /* codes of 4 bits: numbers of 16 levels, which are s8, times a scale */
    DYNQ_FORMAT_INT2      /* codes of 2 bits: numbers of 4 levels */
} dynq_format;

/* "fp64", "fp32", "fp16", "bf16", "int16", "int8", "int4", "int2". Static storage; NULL for a value
 * outside the enumeration. */
DYNQ_API const char *dynq_format_name(dynq_format format);
/* 64 to 2; 0 for a value outside the enumeration. */
DYNQ_API unsigned dynq_format_bits(dynq_format format);

/* Round to nearest, ties to even; overflow becomes Inf; subnormals, signed zeros and Inf are kept;
 * of a NaN the sign and the upper bits of its payload are kept and it is made quiet. Widening is
 * exact and keeps every bit, of a NaN too. Any number of elements, no alignment beyond the
 * element's, `to` must not overlap `from`. The floating-point state does not matter. Any thread. */
DYNQ_API void dynq_fp32_from_fp64(const double *from, size_t count, float *to);
DYNQ_API void dynq_fp64_from_fp32(const float *from, size_t count, double *to);
DYNQ_API void dynq_fp16_from_fp32(const float *from, size_t count, uint16_t *to);
DYNQ_API void dynq_fp32_from_fp16(const uint16_t *from, size_t count, float *to);
DYNQ_API void dynq_bf16_from_fp32(const float *from, size_t count, uint16_t *to);
DYNQ_API void dynq_fp32_from_bf16(const uint16_t *from, size_t count, float *to);

/* Codes of `bits` 4 or 2, the first one in the lowest bits of a byte: [ceil(count * bits / 8)]
 * bytes, unused bits 0. Codes are below 2^bits. */
DYNQ_API void dynq_codes_pack(const uint8_t *codes, size_t count, unsigned bits, uint8_t *packed);
DYNQ_API void dynq_codes_unpack(const uint8_t *packed, size_t count, unsigned bits, uint8_t *codes);

#ifdef __cplusplus
}
#endif

#endif
