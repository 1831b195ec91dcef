/* Packed weights in fewer or more bits than eight, and in groups. */
#include "src/pack.h"

#include "src/memory.h"

#include <stdlib.h>
#include <string.h>

#define ROW_BYTES  64 /* of a row of codes in a panel: four bytes for each column */
#define PART_BYTES 64 /* in front of the codes of a group: factors and sums */

static unsigned bits_of(const dynq_weight_codes *codes)
{
    return codes->bits == 0 ? 8 : codes->bits;
}

size_t dynq_packed_bytes(const dynq_weight_codes *codes, size_t k, size_t n)
{
    const size_t kpad = dynq_packed_k(k);
    size_t bytes = 0;
    if (kpad > SIZE_MAX / (8 * ROW_BYTES) ||
        !dynq_size_multiply(dynq_panel_bytes(codes, kpad), dynq_packed_panels(n), &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

/* Where the part of a group begins; without groups there is one. */
static size_t part_offset(const dynq_weight_codes *codes, size_t group)
{
    return group * (PART_BYTES + codes->group * 2 * bits_of(codes));
}

/* A code: its byte in the panel, and its lowest bit in that. */
typedef struct place {
    size_t byte;
    unsigned shift;
} place;

static place place_of(const dynq_weight_codes *codes, size_t lane, size_t input)
{
    const unsigned bits = bits_of(codes);
    size_t start = 0;
    if (codes->group != 0) {
        start = part_offset(codes, input / codes->group) + PART_BYTES;
        input %= codes->group;
    }
    const size_t inputs = 32 / bits; /* of a row */
    const size_t in_row = input % inputs;
    return (place){.byte = start + input / inputs * ROW_BYTES + lane * 4 + in_row % 4,
                   .shift = (unsigned)(in_row / 4) * bits};
}

uint8_t dynq_panel_number(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                          size_t input)
{
    const place at = place_of(codes, lane, input);
    const unsigned mask = (1u << bits_of(codes)) - 1;
    return (uint8_t)((uint8_t)panel[at.byte] >> at.shift & mask);
}

int8_t dynq_panel_weight(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                         size_t input)
{
    const uint8_t number = dynq_panel_number(codes, panel, lane, input);
    return bits_of(codes) == 8 ? (int8_t)number : codes->levels[number];
}

static uint16_t part_word(const dynq_weight_codes *codes, const int8_t *panel, size_t group,
                          size_t index)
{
    uint16_t word = 0;
    memcpy(&word, panel + part_offset(codes, group) + index * sizeof word, sizeof word);
    return word;
}

uint16_t dynq_panel_factor(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                           size_t group)
{
    return part_word(codes, panel, group, lane);
}

int16_t dynq_panel_sum(const dynq_weight_codes *codes, const int8_t *panel, size_t lane,
                       size_t group)
{
    return (int16_t)part_word(codes, panel, group, DYNQ_PANEL + lane);
}

/* The number that padding has: of the level that is nearest to 0, the first of these. */
static uint8_t padding_number(const dynq_weight_codes *codes)
{
    uint8_t best = 0;
    for (unsigned i = 1; bits_of(codes) < 8 && i < 1u << bits_of(codes); i++) {
        if (abs(codes->levels[i]) < abs(codes->levels[best])) {
            best = (uint8_t)i;
        }
    }
    return best;
}

/* What packing a column needs to know of its panel. */
typedef struct target {
    dynq_weight_codes codes; /* with the levels of this panel */
    int8_t *panel;
    uint8_t padding;
} target;

static void put_number(const target *t, size_t lane, size_t input, uint8_t number)
{
    const place at = place_of(&t->codes, lane, input);
    t->panel[at.byte] = (int8_t)((uint8_t)t->panel[at.byte] | (unsigned)number << at.shift);
}

/* Packs column `column` from input `first` to `end`, padding included, and gives their sum. */
static int32_t pack_inputs(const dynq_coded_weights *coded, const target *t, size_t column,
                           size_t first, size_t end)
{
    const size_t lane = column % DYNQ_PANEL;
    int32_t sum = 0;
    for (size_t i = first; i < end; i++) {
        uint8_t number = t->padding;
        if (column < coded->n && i < coded->k) {
            const size_t index = column * coded->k + i;
            number =
                coded->numbers != NULL ? coded->numbers[index] : (uint8_t)coded->weights[index];
        }
        put_number(t, lane, i, number);
        sum += bits_of(&t->codes) == 8 ? (int8_t)number : t->codes.levels[number];
    }
    return sum;
}

static void pack_groups(const dynq_coded_weights *coded, const target *t, size_t column,
                        size_t kpad)
{
    const size_t group = coded->codes.group, lane = column % DYNQ_PANEL;
    for (size_t g = 0; g * group < kpad; g++) {
        const size_t end = (g + 1) * group < kpad ? (g + 1) * group : kpad;
        const int16_t sum = (int16_t)pack_inputs(coded, t, column, g * group, end);
        const bool inside = column < coded->n && g * group < coded->k;
        const uint16_t factor =
            inside ? coded->factors[column * dynq_divide_up(coded->k, group) + g] : 0;
        int8_t *part = t->panel + part_offset(&t->codes, g);
        memcpy(part + lane * sizeof factor, &factor, sizeof factor);
        memcpy(part + (DYNQ_PANEL + lane) * sizeof sum, &sum, sizeof sum);
    }
}

void dynq_pack_codes(const dynq_coded_weights *coded, void *packed, int32_t *sum)
{
    const size_t kpad = dynq_packed_k(coded->k), panels = dynq_packed_panels(coded->n);
    const size_t panel_bytes = dynq_panel_bytes(&coded->codes, kpad);
    memset(packed, 0, panels * panel_bytes);
    for (size_t column = 0; column < panels * DYNQ_PANEL; column++) {
        const size_t panel = column / DYNQ_PANEL;
        target t = {.codes = coded->codes, .panel = (int8_t *)packed + panel * panel_bytes};
        if (t.codes.levels != NULL) {
            t.codes.levels += panel * t.codes.levels_step;
        }
        t.padding = padding_number(&t.codes);
        if (t.codes.group != 0) {
            pack_groups(coded, &t, column, kpad);
            continue;
        }
        const int32_t all = pack_inputs(coded, &t, column, 0, kpad);
        if (column < coded->n) {
            sum[column] = all;
        }
    }
}

/* rows * ceil(n / 16) rows of panels of `row` bytes each. */
static size_t panel_rows_bytes(size_t rows, size_t n, size_t row)
{
    size_t bytes = 0;
    if (!dynq_size_multiply(rows, dynq_packed_panels(n), &bytes) ||
        !dynq_size_multiply(bytes, row, &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

size_t dynq_packed_p16_bytes(size_t k, size_t n)
{
    return panel_rows_bytes(k, n, DYNQ_PANEL * sizeof(uint16_t));
}

size_t dynq_packed_p16x2_bytes(size_t k, size_t n)
{
    return panel_rows_bytes(dynq_divide_up(k, 2), n, 2 * DYNQ_PANEL * sizeof(uint16_t));
}

void dynq_pack_p16(const uint16_t *words, size_t k, size_t n, void *packed)
{
    uint16_t *to = packed;
    memset(packed, 0, dynq_packed_p16_bytes(k, n));
    for (size_t c = 0; c < n; c++) {
        uint16_t *column = to + c / DYNQ_PANEL * k * DYNQ_PANEL + c % DYNQ_PANEL;
        for (size_t i = 0; i < k; i++) {
            column[i * DYNQ_PANEL] = words[c * k + i];
        }
    }
}

void dynq_pack_p16x2(const uint16_t *words, size_t k, size_t n, void *packed)
{
    const size_t kpad = dynq_divide_up(k, 2) * 2;
    uint16_t *to = packed;
    memset(packed, 0, dynq_packed_p16x2_bytes(k, n));
    for (size_t c = 0; c < n; c++) {
        uint16_t *column = to + c / DYNQ_PANEL * kpad * DYNQ_PANEL + c % DYNQ_PANEL * 2;
        for (size_t i = 0; i < k; i++) {
            column[i / 2 * (2 * DYNQ_PANEL) + i % 2] = words[c * k + i];
        }
    }
}
