/* Random operands and results in guarded memory. */
#include "tests/kernel_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const case_filling_names[FILLING_COUNT] = {"moderate", "equal", "finite", "any"};

enum { INPUT_BYTES = 2 << 20, PANELS_BYTES = 16 << 20, OUTPUT_BYTES = 2 << 20 };

void case_create(kernel_case *c)
{
    *c = (kernel_case){0};
    for (int i = 0; i < INPUT_COUNT; i++) {
        c->inputs[i] = guarded_create(i == INPUT_PANELS ? PANELS_BYTES : INPUT_BYTES, 0);
    }
    for (int i = 0; i < CASE_OUTPUTS; i++) {
        case_output *output = &c->outputs[i];
        output->memory = guarded_create(OUTPUT_BYTES, 1);
        output->initial = malloc(OUTPUT_BYTES);
        output->expected = malloc(OUTPUT_BYTES);
        if (output->initial == NULL || output->expected == NULL) {
            perror("malloc");
            exit(EXIT_FAILURE);
        }
    }
}

void case_free(kernel_case *c)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        guarded_free(&c->inputs[i]);
    }
    for (int i = 0; i < CASE_OUTPUTS; i++) {
        guarded_free(&c->outputs[i].memory);
        free(c->outputs[i].initial);
        free(c->outputs[i].expected);
    }
}

/* splitmix64 */
uint64_t case_random(kernel_case *c)
{
    uint64_t z = (c->random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void case_begin(kernel_case *c, uint64_t seed, const char *function, size_t index)
{
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a, so that functions have cases of their own */
    for (const char *letter = function; *letter != '\0'; letter++) {
        hash = (hash ^ (uint8_t)*letter) * 0x100000001B3u;
    }
    c->random = seed ^ hash;
    c->random = case_random(c) + index;
    c->random = case_random(c);
    c->index = index;
    c->output_count = 0;
    c->codes = "";
    c->filling = FILLING_MODERATE;
    c->at_end = (int)case_between(c, 0, 1);
}

size_t case_between(kernel_case *c, size_t low, size_t high)
{
    return low + (size_t)(case_random(c) % (high - low + 1));
}

int case_chance(kernel_case *c, size_t one_in)
{
    return c->timed == NULL && case_between(c, 1, one_in) == 1;
}

size_t case_gap(kernel_case *c, size_t most)
{
    return c->timed == NULL ? case_between(c, 0, most) : 0;
}

dynq_activation case_activation(kernel_case *c)
{
    return c->timed != NULL ? c->timed_activation
                            : (dynq_activation)case_between(c, 0, DYNQ_ACTIVATION_GELU_TANH);
}

case_filling case_some_filling(kernel_case *c)
{
    c->filling =
        c->timed != NULL ? FILLING_MODERATE : (case_filling)case_between(c, 0, FILLING_COUNT - 1);
    return c->filling;
}

case_shape case_float_shape(kernel_case *c)
{
    enum { ROWS = 7, COLUMNS = 70 };
    if (c->timed != NULL) {
        return *c->timed;
    }
    if (c->index < ROWS * COLUMNS) {
        return (case_shape){1 + c->index % ROWS, 1 + c->index / ROWS, 0};
    }
    case_shape s = {.rows = case_between(c, 1, ROWS)};
    s.columns = case_between(c, 1, case_chance(c, 32) ? 1040 : 200);
    return s;
}

size_t case_span(size_t rows, size_t stride, size_t columns)
{
    return (rows - 1) * stride + columns;
}

void *case_room(kernel_case *c, case_input input, size_t bytes)
{
    const guarded *memory = &c->inputs[input];
    return memory->fill + guarded_offset(memory, bytes, c->slack, c->at_end);
}

const void *case_view(const kernel_case *c, case_input input, const void *room)
{
    const guarded *memory = &c->inputs[input];
    return memory->bytes + ((const uint8_t *)room - memory->fill);
}

/* -limit to limit. */
static float moderate_float(kernel_case *c, float limit)
{
    return limit * ((float)(case_random(c) >> 40) * 0x1p-23f - 1.0f);
}

/* Any exponent, so subnormals, infinities and NaN as well; borders of binades more often. */
static float any_float(kernel_case *c)
{
    enum { FRACTION = (1 << 23) - 1 };
    const uint64_t r = case_random(c);
    uint32_t bits = (uint32_t)r;
    if (r >> 61 == 0) {
        bits &= ~(uint32_t)FRACTION;
    } else if (r >> 61 == 1) {
        bits |= FRACTION;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float finite_float(kernel_case *c)
{
    float value;
    do {
        value = any_float(c);
    } while (!isfinite(value));
    return value;
}

const float *case_floats(kernel_case *c, case_input input, size_t count, case_filling filling)
{
    float *floats = case_room(c, input, count * sizeof *floats);
    const float limit = ldexpf(1.0f, (int)case_between(c, 0, 8) - 4);
    const float value = moderate_float(c, 4.0f);
    for (size_t i = 0; i < count; i++) {
        switch (filling) {
        case FILLING_EQUAL: floats[i] = value; break;
        case FILLING_FINITE: floats[i] = finite_float(c); break;
        case FILLING_ANY: floats[i] = any_float(c); break;
        default: floats[i] = moderate_float(c, limit); break;
        }
    }
    return case_view(c, input, floats);
}

const int32_t *case_integers(kernel_case *c, case_input input, size_t count, int64_t low,
                             int64_t high)
{
    int32_t *integers = case_room(c, input, count * sizeof *integers);
    for (size_t i = 0; i < count; i++) {
        integers[i] = (int32_t)(low + (int64_t)(case_random(c) % (uint64_t)(high - low + 1)));
    }
    return case_view(c, input, integers);
}

static size_t element_bytes(output_kind kind)
{
    switch (kind) {
    case OUTPUT_SCRATCH:
    case OUTPUT_CODES: return sizeof(uint8_t);
    case OUTPUT_INTEGERS: return sizeof(int32_t);
    case OUTPUT_FLOATS: return sizeof(float);
    default: return sizeof(dynq_range_bits);
    }
}

case_output *case_result(kernel_case *c, output_kind kind, const char *name, size_t rows,
                         size_t columns, size_t stride)
{
    case_output *output = &c->outputs[c->output_count++];
    output->kind = kind;
    output->name = name;
    output->rows = rows;
    output->columns = columns;
    output->stride = stride;
    output->bytes = case_span(rows, stride, columns) * element_bytes(kind);
    output->place =
        output->memory.bytes + guarded_offset(&output->memory, output->bytes, c->slack, c->at_end);
    memset(output->initial, 0x5A, output->bytes);
    return output;
}

dynq_range_bits *case_result_range(kernel_case *c, size_t rows, size_t *range_step)
{
    *range_step = (size_t)case_chance(c, 2);
    if (case_chance(c, 4)) {
        return NULL;
    }
    const size_t ranges = *range_step == 1 ? rows : 1;
    const case_output *output = case_result(c, OUTPUT_RESULT_RANGES, "range", ranges, 1, 1);
    dynq_range_bits *initial = (dynq_range_bits *)(void *)output->initial;
    const int empty = case_chance(c, 2);
    for (size_t m = 0; m < ranges; m++) {
        initial[m] = empty ? (dynq_range_bits){0}
                           : (dynq_range_bits){0x3C000000, m % 2 == 0 ? 0xBC000000 : 0};
    }
    return (dynq_range_bits *)(void *)output->place;
}
