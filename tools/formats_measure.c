#include "tools/formats.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#define BLOCK    1024
#define ROUNDING 0x1.8p52 /* added and taken away, it rounds to nearest, ties to even */

const formats_kind formats_kinds[FORMATS_KINDS] = {
    {DYNQ_FORMAT_FP64, FORMATS_FLOAT},   {DYNQ_FORMAT_FP32, FORMATS_FLOAT},
    {DYNQ_FORMAT_FP16, FORMATS_FLOAT},   {DYNQ_FORMAT_BF16, FORMATS_FLOAT},
    {DYNQ_FORMAT_INT16, FORMATS_TENSOR}, {DYNQ_FORMAT_INT16, FORMATS_COLUMN},
    {DYNQ_FORMAT_INT16, FORMATS_GROUPS}, {DYNQ_FORMAT_INT8, FORMATS_TENSOR},
    {DYNQ_FORMAT_INT8, FORMATS_COLUMN},  {DYNQ_FORMAT_INT8, FORMATS_GROUPS},
    {DYNQ_FORMAT_INT4, FORMATS_TENSOR},  {DYNQ_FORMAT_INT4, FORMATS_COLUMN},
    {DYNQ_FORMAT_INT4, FORMATS_GROUPS},  {DYNQ_FORMAT_INT2, FORMATS_TENSOR},
    {DYNQ_FORMAT_INT2, FORMATS_COLUMN},  {DYNQ_FORMAT_INT2, FORMATS_GROUPS},
};

size_t formats_first_kind(dynq_format format)
{
    size_t kind = 0;
    while (formats_kinds[kind].format != format) {
        kind++;
        assert(kind < FORMATS_KINDS);
    }
    return kind;
}

size_t formats_kind_number(formats_kind kind)
{
    const size_t first = formats_first_kind(kind.format);
    return kind.scaling == FORMATS_FLOAT ? first : first + (size_t)(kind.scaling - FORMATS_TENSOR);
}

const char *formats_scaling_name(formats_scaling scaling)
{
    switch (scaling) {
    case FORMATS_FLOAT: return "";
    case FORMATS_TENSOR: return "tensor";
    case FORMATS_COLUMN: return "column";
    case FORMATS_GROUPS: return "groups";
    }
    return "";
}

/* Bits of the exponent; 0 for integers. */
static unsigned exponent_bits(dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP64: return 11;
    case DYNQ_FORMAT_FP32:
    case DYNQ_FORMAT_BF16: return 8;
    case DYNQ_FORMAT_FP16: return 5;
    case DYNQ_FORMAT_INT16:
    case DYNQ_FORMAT_INT8:
    case DYNQ_FORMAT_INT4:
    case DYNQ_FORMAT_INT2: return 0;
    }
    return 0;
}

formats_limits formats_limits_of(dynq_format format)
{
    const unsigned exponent = exponent_bits(format);
    const int fraction = (int)(dynq_format_bits(format) - 1 - exponent);
    formats_limits limits = {.exponent = exponent, .fraction = (unsigned)fraction};
    if (exponent == 0) {
        limits.largest = ldexp(1, fraction) - 1;
        limits.least_normal = limits.least = limits.epsilon = 1;
        limits.digits = log10(2 * limits.largest + 1);
        return limits;
    }
    const int bias = (1 << (exponent - 1)) - 1;
    limits.largest = ldexp(2 - ldexp(1, -fraction), bias);
    limits.least_normal = ldexp(1, 1 - bias);
    limits.least = ldexp(1, 1 - bias - fraction);
    limits.epsilon = ldexp(1, -fraction);
    limits.digits = (fraction + 1) * log10(2);
    return limits;
}

double formats_step_at(dynq_format format, double magnitude)
{
    const formats_limits limits = formats_limits_of(format);
    int exponent = 0;
    frexp(fmax(magnitude, limits.least_normal), &exponent); /* magnitude < 2^exponent */
    return ldexp(limits.epsilon, exponent - 1);
}

double formats_sqnr(const formats_result *result)
{
    if (!(result->signal > 0)) {
        return (double)NAN;
    }
    return result->error > 0 ? 10 * log10(result->signal / result->error) : (double)INFINITY;
}

double formats_cosine(const formats_result *result)
{
    const double length = sqrt(result->signal) * sqrt(result->restored);
    return length > 0 && isfinite(length) ? result->dot / length : (double)NAN;
}

static void add_value(double value, double restored, formats_result *result)
{
    const double error = fabs(value - restored);
    result->signal += value * value;
    result->error += error * error;
    result->dot += value * restored;
    result->restored += restored * restored;
    result->largest_error = fmax(result->largest_error, error);
    result->overflowed += isinf(restored) != 0;
    result->vanished += value != 0 && restored == 0;
}

/* Up to BLOCK values, through the format and back. Formats below FP32 are made from FP32. */
static void restore_floats(const double *values, size_t count, dynq_format format, double *restored)
{
    float floats[BLOCK];
    uint16_t halves[BLOCK];
    if (format == DYNQ_FORMAT_FP64) {
        memcpy(restored, values, count * sizeof *values);
        return;
    }
    dynq_fp32_from_fp64(values, count, floats);
    if (format == DYNQ_FORMAT_FP16) {
        dynq_fp16_from_fp32(floats, count, halves);
        dynq_fp32_from_fp16(halves, count, floats);
    } else if (format == DYNQ_FORMAT_BF16) {
        dynq_bf16_from_fp32(floats, count, halves);
        dynq_fp32_from_bf16(halves, count, floats);
    }
    dynq_fp64_from_fp32(floats, count, restored);
}

static void measure_floats(const double *values, size_t count, dynq_format format,
                           formats_result *result)
{
    double restored[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        const size_t now = count - done < BLOCK ? count - done : BLOCK;
        restore_floats(values + done, now, format, restored);
        for (size_t i = 0; i < now; i++) {
            add_value(values[done + i], restored[i], result);
        }
    }
    result->bytes = (uint64_t)count * (dynq_format_bits(format) / 8);
}

static double largest_magnitude(const double *values, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(values[i]));
    }
    return largest;
}

/* Values that share a scale. */
static void measure_scaled(const double *values, size_t count, double scale, double top,
                           formats_result *result)
{
    for (size_t i = 0; i < count; i++) {
        const double quotient = scale > 0 ? values[i] / scale : 0;
        const double clamped = fmin(fmax(quotient, -top), top);
        add_value(values[i], (clamped + ROUNDING - ROUNDING) * scale, result);
    }
    if (scale > 0) {
        result->largest_scale = fmax(result->largest_scale, scale);
        result->least_scale = result->least_scale > 0 ? fmin(result->least_scale, scale) : scale;
    }
}

static float scale_of(const double *values, size_t count, double top)
{
    const double exact = fmin(largest_magnitude(values, count) / top, (double)FLT_MAX);
    float scale = 0;
    dynq_fp32_from_fp64(&exact, 1, &scale);
    return scale;
}

/* The part of its column's scale that a group has, as FP16 holds it: rounded up, for below it the
 * largest value would be cut. */
static double group_factor(const double *values, size_t count, double top, float column_scale)
{
    if (!(column_scale > 0)) {
        return 0;
    }
    const float exact = scale_of(values, count, top) / column_scale;
    uint16_t half = 0;
    float factor = 0;
    dynq_fp16_from_fp32(&exact, 1, &half);
    dynq_fp32_from_fp16(&half, 1, &factor);
    if (factor < exact) {
        half++;
        dynq_fp32_from_fp16(&half, 1, &factor);
    }
    return (double)factor;
}

static void measure_integers(const double *values, size_t n, size_t k, formats_kind kind,
                             formats_result *result)
{
    const unsigned bits = dynq_format_bits(kind.format);
    const double top = formats_limits_of(kind.format).largest;
    result->bytes = ((uint64_t)n * k * bits + 7) / 8;
    if (kind.scaling == FORMATS_TENSOR) {
        measure_scaled(values, n * k, (double)scale_of(values, n * k, top), top, result);
        result->bytes += sizeof(float);
        return;
    }
    const size_t group = kind.scaling == FORMATS_GROUPS ? FORMATS_GROUP : k;
    for (size_t c = 0; c < n; c++) {
        const double *column = values + c * k;
        const float scale = scale_of(column, k, top);
        for (size_t first = 0; first < k; first += group) {
            const size_t count = k - first < group ? k - first : group;
            const double factor = kind.scaling == FORMATS_COLUMN
                                      ? 1
                                      : group_factor(column + first, count, top, scale);
            measure_scaled(column + first, count, factor * (double)scale, top, result);
            result->bytes += kind.scaling == FORMATS_GROUPS ? sizeof(uint16_t) : 0;
        }
        result->bytes += sizeof(float);
    }
}

void formats_measure(const double *values, size_t n, size_t k, formats_report *measured)
{
    measured->values = (uint64_t)n * k;
    measured->zeros = 0;
    measured->min = measured->max = values[0];
    for (size_t i = 0; i < n * k; i++) {
        measured->zeros += values[i] == 0;
        measured->min = fmin(measured->min, values[i]);
        measured->max = fmax(measured->max, values[i]);
    }
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        formats_result *result = &measured->results[kind];
        *result = (formats_result){0};
        if (formats_kinds[kind].scaling == FORMATS_FLOAT) {
            measure_floats(values, n * k, formats_kinds[kind].format, result);
        } else {
            measure_integers(values, n, k, formats_kinds[kind], result);
        }
    }
}

static void add_result(formats_result *all, const formats_result *one)
{
    all->signal += one->signal;
    all->error += one->error;
    all->dot += one->dot;
    all->restored += one->restored;
    all->largest_error = fmax(all->largest_error, one->largest_error);
    all->largest_scale = fmax(all->largest_scale, one->largest_scale);
    if (one->least_scale > 0) {
        all->least_scale =
            all->least_scale > 0 ? fmin(all->least_scale, one->least_scale) : one->least_scale;
    }
    all->bytes += one->bytes;
    all->overflowed += one->overflowed;
    all->vanished += one->vanished;
}

void formats_add(formats_report *all, const formats_report *one)
{
    all->min = all->values > 0 ? fmin(all->min, one->min) : one->min;
    all->max = all->values > 0 ? fmax(all->max, one->max) : one->max;
    all->values += one->values;
    all->zeros += one->zeros;
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        add_result(&all->results[kind], &one->results[kind]);
    }
}
