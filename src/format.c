/* Number formats. Conversions work on the bits alone, so that they are the same on every machine
 * and whatever its floating-point state. */
#include <dynq/format.h>

#include <assert.h>
#include <string.h>

const char *dynq_format_name(dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP64: return "fp64";
    case DYNQ_FORMAT_FP32: return "fp32";
    case DYNQ_FORMAT_FP16: return "fp16";
    case DYNQ_FORMAT_BF16: return "bf16";
    case DYNQ_FORMAT_INT16: return "int16";
    case DYNQ_FORMAT_INT8: return "int8";
    case DYNQ_FORMAT_INT4: return "int4";
    case DYNQ_FORMAT_INT2: return "int2";
    }
    return NULL;
}

unsigned dynq_format_bits(dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP64: return 64;
    case DYNQ_FORMAT_FP32: return 32;
    case DYNQ_FORMAT_FP16:
    case DYNQ_FORMAT_BF16:
    case DYNQ_FORMAT_INT16: return 16;
    case DYNQ_FORMAT_INT8: return 8;
    case DYNQ_FORMAT_INT4: return 4;
    case DYNQ_FORMAT_INT2: return 2;
    }
    return 0;
}

/* A pair of IEEE 754 formats, one narrower: how many bits its fraction and its exponent have. */
typedef struct format_pair {
    unsigned wide_fraction, wide_exponent, fraction, exponent;
} format_pair;

static const format_pair fp64_fp32 = {52, 11, 23, 8};
static const format_pair fp32_fp16 = {23, 8, 10, 5};
static const format_pair fp32_bf16 = {23, 8, 7, 8};

/* What the wide format's exponent field is larger by. */
static inline uint64_t bias_difference(format_pair pair)
{
    return ((uint64_t)1 << (pair.wide_exponent - 1)) - ((uint64_t)1 << (pair.exponent - 1));
}

/* value / 2^shift, to nearest, ties to even. */
static inline uint64_t shift_rounded(uint64_t value, unsigned shift)
{
    const uint64_t below_half = ((uint64_t)1 << (shift - 1)) - 1;
    return (value + below_half + (value >> shift & 1)) >> shift;
}

/* Of a number's bits without the sign. */
static inline uint64_t narrow(uint64_t wide, format_pair pair)
{
    const unsigned lost = pair.wide_fraction - pair.fraction;
    const uint64_t infinity = (((uint64_t)1 << pair.exponent) - 1) << pair.fraction;
    const uint64_t one = (uint64_t)1 << pair.wide_fraction; /* the bit before the point */
    const uint64_t difference = bias_difference(pair);
    const uint64_t exponent = wide >> pair.wide_fraction;
    if (wide > (((uint64_t)1 << pair.wide_exponent) - 1) << pair.wide_fraction) {
        const uint64_t quiet = (uint64_t)1 << (pair.fraction - 1);
        return infinity | quiet | (wide & (one - 1)) >> lost;
    }
    if (exponent > difference || difference == 0) {
        /* A fraction that overflows becomes the next exponent: the bits are in order. */
        const uint64_t rounded = shift_rounded(wide, lost) - (difference << pair.fraction);
        return rounded < infinity ? rounded : infinity;
    }
    /* Subnormal: the point moves on by what the exponent lacks, at most until nothing is left. */
    const uint64_t lacking = difference + 1 - exponent;
    const unsigned shift =
        lost + (unsigned)(lacking < pair.fraction + 2 ? lacking : pair.fraction + 2);
    return shift_rounded((wide & (one - 1)) | one, shift);
}

/* Of a number's bits without the sign. */
static inline uint64_t widen(uint64_t narrowed, format_pair pair)
{
    const unsigned gained = pair.wide_fraction - pair.fraction;
    const uint64_t difference = bias_difference(pair);
    const uint64_t one = (uint64_t)1 << pair.fraction;
    if (difference == 0 || narrowed == 0) {
        return narrowed << gained;
    }
    if (narrowed >= (((uint64_t)1 << pair.exponent) - 1) << pair.fraction) { /* Inf and NaN */
        return (narrowed + (2 * difference << pair.fraction)) << gained;
    }
    if (narrowed >= one) {
        return (narrowed + (difference << pair.fraction)) << gained;
    }
    /* Subnormal, which the wide format holds as a normal number. */
    uint64_t exponent = difference + 1, significand = narrowed;
    while (significand < one) {
        significand <<= 1;
        exponent--;
    }
    return exponent << pair.wide_fraction | (significand - one) << gained;
}

/* Floats come as bits: a NaN that is passed as a float may be made quiet on the way. */
static inline uint16_t half_from_float(const float *from, format_pair pair)
{
    uint32_t bits;
    memcpy(&bits, from, sizeof bits);
    return (uint16_t)((bits >> 16 & 0x8000u) | narrow(bits & 0x7FFFFFFFu, pair));
}

static inline void half_to_float(uint16_t from, format_pair pair, float *to)
{
    const uint32_t sign = (uint32_t)(from & 0x8000u) << 16;
    const uint32_t bits = sign | (uint32_t)widen(from & 0x7FFFu, pair);
    memcpy(to, &bits, sizeof bits);
}

void dynq_fp32_from_fp64(const double *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t wide;
        memcpy(&wide, from + i, sizeof wide);
        const uint32_t sign = (uint32_t)(wide >> 32 & 0x80000000u);
        const uint32_t bits = sign | (uint32_t)narrow(wide & ~((uint64_t)1 << 63), fp64_fp32);
        memcpy(to + i, &bits, sizeof bits);
    }
}

void dynq_fp64_from_fp32(const float *from, size_t count, double *to)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i, sizeof bits);
        const uint64_t sign = (uint64_t)(bits & 0x80000000u) << 32;
        const uint64_t wide = sign | widen(bits & 0x7FFFFFFFu, fp64_fp32);
        memcpy(to + i, &wide, sizeof wide);
    }
}

void dynq_fp16_from_fp32(const float *from, size_t count, uint16_t *to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = half_from_float(from + i, fp32_fp16);
    }
}

void dynq_fp32_from_fp16(const uint16_t *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++) {
        half_to_float(from[i], fp32_fp16, to + i);
    }
}

void dynq_bf16_from_fp32(const float *from, size_t count, uint16_t *to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = half_from_float(from + i, fp32_bf16);
    }
}

void dynq_fp32_from_bf16(const uint16_t *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++) {
        half_to_float(from[i], fp32_bf16, to + i);
    }
}

void dynq_codes_pack(const uint8_t *codes, size_t count, unsigned bits, uint8_t *packed)
{
    assert(bits == 4 || bits == 2);
    const unsigned in_byte = 8 / bits;
    for (size_t i = 0; i < count; i += in_byte) {
        unsigned byte = 0;
        for (unsigned j = 0; j < in_byte && i + j < count; j++) {
            byte |= (unsigned)codes[i + j] << j * bits;
        }
        packed[i / in_byte] = (uint8_t)byte;
    }
}

void dynq_codes_unpack(const uint8_t *packed, size_t count, unsigned bits, uint8_t *codes)
{
    assert(bits == 4 || bits == 2);
    const unsigned in_byte = 8 / bits, mask = (1u << bits) - 1;
    for (size_t i = 0; i < count; i++) {
        codes[i] = (uint8_t)(packed[i / in_byte] >> i % in_byte * bits & mask);
    }
}
