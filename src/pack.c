#include "src/pack.h"

#include "src/memory.h"

#include <math.h>
#include <string.h>

size_t dynq_packed_k(size_t k)
{
    return k > SIZE_MAX - (DYNQ_K_STEP - 1) ? SIZE_MAX : dynq_round_up(k, DYNQ_K_STEP);
}

size_t dynq_packed_panels(size_t n)
{
    return n / DYNQ_PANEL + (n % DYNQ_PANEL != 0);
}

/* rows * panels * 16, SIZE_MAX on overflow. */
static size_t panel_elements(size_t rows, size_t n)
{
    size_t count = 0;
    if (!dynq_size_multiply(rows, dynq_packed_panels(n), &count) ||
        !dynq_size_multiply(count, DYNQ_PANEL, &count)) {
        return SIZE_MAX;
    }
    return count;
}

size_t dynq_packed_s8_bytes(size_t k, size_t n)
{
    return panel_elements(dynq_packed_k(k), n);
}

size_t dynq_packed_f32_count(size_t k, size_t n)
{
    return panel_elements(k, n);
}

float dynq_largest_magnitude(const float *w, size_t k)
{
    float largest = 0.0f;
    for (size_t i = 0; i < k; i++) {
        largest = fmaxf(largest, fabsf(w[i]));
    }
    return largest;
}

static int8_t code_of(float weight, float inverse)
{
    return (int8_t)fminf(fmaxf(rintf(weight * inverse), -127.0f), 127.0f);
}

/* Writes the codes of one column, whose first group of 4 inputs stands at `packed`, and returns
 * their sum. The next group stands one row of a panel (16 columns of 4) further. */
static int32_t pack_column(const float *w, size_t k, float inverse, int8_t *packed)
{
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++) {
        const int8_t code = code_of(w[i], inverse);
        packed[i / 4 * (4 * DYNQ_PANEL) + i % 4] = code;
        sum += code;
    }
    return sum;
}

void dynq_pack_s8_within(const float *w, size_t k, size_t n, const float *largest, int8_t *packed,
                         float *scale, int32_t *colsum)
{
    const size_t kpad = dynq_packed_k(k);
    memset(packed, 0, dynq_packed_s8_bytes(k, n));
    for (size_t c = 0; c < n; c++) {
        const float edge = largest[c];
        const bool tiny = edge < DYNQ_TINY_WEIGHT;
        int8_t *column = packed + c / DYNQ_PANEL * kpad * DYNQ_PANEL + c % DYNQ_PANEL * 4;
        scale[c] = tiny ? 1.0f : edge / 127.0f;
        colsum[c] = tiny ? 0 : pack_column(w + c * k, k, 127.0f / edge, column);
    }
}

void dynq_pack_s8(const float *w, size_t k, size_t n, int8_t *packed, float *scale, int32_t *colsum)
{
    for (size_t c = 0; c < n; c++) {
        scale[c] = dynq_largest_magnitude(w + c * k, k);
    }
    dynq_pack_s8_within(w, k, n, scale, packed, scale, colsum);
}

void dynq_unpack_s8(const int8_t *packed, size_t k, size_t first, size_t count, int8_t *codes)
{
    const size_t kpad = dynq_packed_k(k);
    for (size_t c = 0; c < count; c++) {
        for (size_t i = 0; i < k; i++) {
            codes[c * k + i] = dynq_packed_code(packed, kpad, first + c, i);
        }
    }
}

void dynq_dequantize_s8(const int8_t *packed, const float *scale, size_t k, size_t first,
                        size_t count, float *w)
{
    const size_t kpad = dynq_packed_k(k);
    for (size_t c = 0; c < count; c++) {
        for (size_t i = 0; i < k; i++) {
            const int8_t code = dynq_packed_code(packed, kpad, first + c, i);
            w[c * k + i] = (float)code * scale[first + c];
        }
    }
}

void dynq_quantize_rows_s8(const float *table, size_t rows, size_t columns, int8_t *codes,
                           float *scale)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = table + r * columns;
        const float largest = dynq_largest_magnitude(row, columns);
        const bool tiny = largest < DYNQ_TINY_WEIGHT;
        const float inverse = tiny ? 0.0f : 127.0f / largest;
        scale[r] = tiny ? 1.0f : largest / 127.0f;
        for (size_t c = 0; c < columns; c++) {
            codes[r * columns + c] = code_of(row[c], inverse);
        }
    }
}

void dynq_dequantize_rows_s8(const int8_t *codes, const float *scale, size_t columns, size_t first,
                             size_t count, float *rows)
{
    for (size_t r = 0; r < count; r++) {
        const int8_t *row = codes + (first + r) * columns;
        for (size_t c = 0; c < columns; c++) {
            rows[r * columns + c] = (float)row[c] * scale[first + r];
        }
    }
}

void dynq_pack_f32(const float *w, size_t k, size_t n, float *packed)
{
    memset(packed, 0, dynq_packed_f32_count(k, n) * sizeof *packed);
    for (size_t c = 0; c < n; c++) {
        float *column = packed + c / DYNQ_PANEL * k * DYNQ_PANEL + c % DYNQ_PANEL;
        for (size_t i = 0; i < k; i++) {
            column[i * DYNQ_PANEL] = w[c * k + i];
        }
    }
}
