#include <dynq/quantizer.h>

#include "src/cpu.h"
#include "src/error.h"
#include "src/memory.h"

#include <float.h>
#include <math.h>

/* The elements that share one set of parameters: x[first + i * step] for i < count. */
typedef struct element_set {
    size_t first, count, step;
} element_set;

typedef struct code_range {
    int32_t min, max;
} code_range;

static bool valid(const dynq_quantizer *quantizer)
{
    const bool bits_known = (quantizer->bits >= 2 && quantizer->bits <= 8) || quantizer->bits == 16;
    return bits_known && quantizer->mapping >= DYNQ_MAPPING_MINMAX &&
           quantizer->mapping <= DYNQ_MAPPING_AFFINE && quantizer->granularity >= DYNQ_PER_TENSOR &&
           quantizer->granularity <= DYNQ_PER_ELEMENT &&
           (quantizer->granularity != DYNQ_PER_GROUP || quantizer->group_size > 0);
}

static size_t groups_per_row(const dynq_quantizer *quantizer, size_t columns)
{
    return columns / quantizer->group_size + (columns % quantizer->group_size != 0);
}

size_t dynq_quantizer_sets(const dynq_quantizer *quantizer, size_t rows, size_t columns)
{
    size_t elements = 0;
    if (quantizer == NULL || !valid(quantizer) || !dynq_size_multiply(rows, columns, &elements) ||
        elements == 0) {
        return 0;
    }
    switch (quantizer->granularity) {
    case DYNQ_PER_TENSOR: return 1;
    case DYNQ_PER_ROW: return rows;
    case DYNQ_PER_COLUMN: return columns;
    case DYNQ_PER_GROUP: return rows * groups_per_row(quantizer, columns);
    case DYNQ_PER_ELEMENT: return elements;
    }
    return 0;
}

static element_set find_set(const dynq_quantizer *quantizer, size_t rows, size_t columns,
                            size_t index)
{
    switch (quantizer->granularity) {
    case DYNQ_PER_ROW: return (element_set){index * columns, columns, 1};
    case DYNQ_PER_COLUMN: return (element_set){index, rows, columns};
    case DYNQ_PER_ELEMENT: return (element_set){index, 1, 1};
    case DYNQ_PER_GROUP: {
        const size_t groups = groups_per_row(quantizer, columns);
        const size_t start = index % groups * quantizer->group_size, left = columns - start;
        const size_t count = left < quantizer->group_size ? left : quantizer->group_size;
        return (element_set){index / groups * columns + start, count, 1};
    }
    case DYNQ_PER_TENSOR: break;
    }
    return (element_set){0, rows * columns, 1};
}

static code_range codes_of(const dynq_quantizer *quantizer)
{
    const int32_t half = (int32_t)1 << (quantizer->bits - 1);
    const bool symmetric = quantizer->mapping == DYNQ_MAPPING_SYMMETRIC;
    return (code_range){symmetric ? 1 - half : -half, half - 1};
}

/* What all three calls ask of their arguments. Without elements the pointers are not looked at. */
static dynq_status check_call(const dynq_quantizer *quantizer, size_t rows, size_t columns,
                              const void *params, const void *in, const void *out, size_t *elements,
                              dynq_error *error)
{
    if (quantizer == NULL || !valid(quantizer)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "not a quantizer: it needs a mapping, a granularity, 2 to 8 or 16 bits, "
                         "and a group size of 1 or more per group");
    }
    if (!dynq_size_multiply(rows, columns, elements)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "a matrix of %zu x %zu elements cannot exist",
                         rows, columns);
    }
    if (*elements > 0 && (params == NULL || in == NULL || out == NULL)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "parameters, input and result must not be NULL");
    }
    return DYNQ_OK;
}

static dynq_status check_finite(const float *x, size_t elements, size_t columns, dynq_error *error)
{
    for (size_t i = 0; i < elements; i++) {
        if (!isfinite(x[i])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "%s at row %zu, column %zu",
                             isnan(x[i]) ? "NaN" : "Inf", i / columns, i % columns);
        }
    }
    return DYNQ_OK;
}

/* From the smallest and largest element of a set. */
static dynq_quant_params fit_range(dynq_mapping mapping, code_range codes, double min, double max)
{
    const dynq_quant_params no_range = {.scale = 1.0f, .factor = 1.0f, .zero = 0};
    if (mapping == DYNQ_MAPPING_SYMMETRIC) {
        const double largest = fmax(fabs(min), fabs(max));
        if (largest / codes.max < (double)FLT_MIN) {
            return no_range;
        }
        const float factor = (float)(codes.max / largest);
        return (dynq_quant_params){(float)fmin(1.0 / (double)factor, (double)FLT_MAX), factor, 0};
    }
    if (mapping == DYNQ_MAPPING_AFFINE) {
        min = fmin(min, 0.0);
        max = fmax(max, 0.0);
    }
    const double step = (max - min) / (codes.max - codes.min);
    if (step < (double)FLT_MIN) {
        return no_range;
    }
    dynq_quant_params params = {.scale = (float)step, .factor = (float)(1.0 / step), .zero = 0};
    if (mapping == DYNQ_MAPPING_AFFINE) {
        params.zero = (int32_t)fmin(fmax(rint(codes.min - min / step), codes.min), codes.max);
    }
    return params;
}

static dynq_quant_params fit_set(const dynq_quantizer *quantizer, const float *x, element_set set)
{
    float min = x[set.first], max = min;
    for (size_t i = 1; i < set.count; i++) {
        min = fminf(min, x[set.first + i * set.step]);
        max = fmaxf(max, x[set.first + i * set.step]);
    }
    return fit_range(quantizer->mapping, codes_of(quantizer), (double)min, (double)max);
}

dynq_status dynq_quantizer_fit(const dynq_quantizer *quantizer, const float *x, size_t rows,
                               size_t columns, dynq_quant_params *params, size_t capacity,
                               dynq_error *error)
{
    size_t elements = 0;
    dynq_status status = check_call(quantizer, rows, columns, params, x, params, &elements, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const size_t sets = dynq_quantizer_sets(quantizer, rows, columns);
    if (capacity < sets) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%zu sets of parameters need room, there is %zu",
                         sets, capacity);
    }
    status = check_finite(x, elements, columns, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_float_state state = dynq_float_state_set_default();
    for (size_t i = 0; i < sets; i++) {
        params[i] = fit_set(quantizer, x, find_set(quantizer, rows, columns, i));
    }
    dynq_float_state_restore(state);
    return DYNQ_OK;
}

/* Sums in double, where code and zero point are exact, and a comparison that turns the NaN of
 * parameters that no fit made into some code. */
static int16_t to_code(dynq_mapping mapping, code_range codes, const dynq_quant_params *params,
                       float t)
{
    const float steps = mapping == DYNQ_MAPPING_SYMMETRIC ? t * params->factor : t / params->scale;
    const double zero = mapping == DYNQ_MAPPING_AFFINE ? params->zero : 0;
    const double code = (double)rintf(steps) + zero;
    if (code > codes.min) {
        return (int16_t)(code < codes.max ? code : codes.max);
    }
    return (int16_t)codes.min;
}

dynq_status dynq_quantizer_quantize(const dynq_quantizer *quantizer,
                                    const dynq_quant_params *params, const float *x, size_t rows,
                                    size_t columns, int16_t *q, dynq_error *error)
{
    size_t elements = 0;
    dynq_status status = check_call(quantizer, rows, columns, params, x, q, &elements, error);
    if (status == DYNQ_OK) {
        status = check_finite(x, elements, columns, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_float_state state = dynq_float_state_set_default();
    const code_range codes = codes_of(quantizer);
    const size_t sets = dynq_quantizer_sets(quantizer, rows, columns);
    for (size_t s = 0; s < sets; s++) {
        const element_set set = find_set(quantizer, rows, columns, s);
        for (size_t i = 0; i < set.count; i++) {
            const size_t at = set.first + i * set.step;
            q[at] = to_code(quantizer->mapping, codes, &params[s], x[at]);
        }
    }
    dynq_float_state_restore(state);
    return DYNQ_OK;
}

/* One rounding: the product is exact in double, and a quotient of a 16-bit integer by an FP32
 * number rounds to the same FP32 number through double as directly. */
static float from_code(dynq_mapping mapping, const dynq_quant_params *params, int16_t q)
{
    double t = 0.0;
    switch (mapping) {
    case DYNQ_MAPPING_MINMAX: t = (double)q * (double)params->scale; break;
    case DYNQ_MAPPING_SYMMETRIC: t = (double)q / (double)params->factor; break;
    case DYNQ_MAPPING_AFFINE: t = ((double)q - (double)params->zero) * (double)params->scale; break;
    }
    if (fabs(t) > (double)FLT_MAX) {
        return copysignf(FLT_MAX, (float)copysign(1.0, t));
    }
    return (float)t;
}

dynq_status dynq_quantizer_dequantize(const dynq_quantizer *quantizer,
                                      const dynq_quant_params *params, const int16_t *q,
                                      size_t rows, size_t columns, float *x, dynq_error *error)
{
    size_t elements = 0;
    const dynq_status status = check_call(quantizer, rows, columns, params, q, x, &elements, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_float_state state = dynq_float_state_set_default();
    const size_t sets = dynq_quantizer_sets(quantizer, rows, columns);
    for (size_t s = 0; s < sets; s++) {
        const element_set set = find_set(quantizer, rows, columns, s);
        for (size_t i = 0; i < set.count; i++) {
            const size_t at = set.first + i * set.step;
            x[at] = from_code(quantizer->mapping, &params[s], q[at]);
        }
    }
    dynq_float_state_restore(state);
    return DYNQ_OK;
}

void dynq_absolute_error(const float *x, const float *restored, size_t count, float *errors)
{
    const dynq_float_state state = dynq_float_state_set_default();
    for (size_t i = 0; i < count; i++) {
        errors[i] = fabsf(restored[i] - x[i]);
    }
    dynq_float_state_restore(state);
}

void dynq_percentage_error(const float *x, const float *restored, size_t count, float *errors)
{
    const dynq_float_state state = dynq_float_state_set_default();
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)restored[i] - (double)x[i]);
        const bool both_zero = x[i] == 0.0f && restored[i] == 0.0f;
        const double percent = 100.0 * difference / fabs((double)x[i]);
        errors[i] = both_zero ? 0.0f : x[i] == 0.0f ? NAN : (float)percent;
    }
    dynq_float_state_restore(state);
}
