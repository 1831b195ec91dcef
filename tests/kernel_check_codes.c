/* Panels of codes of levels and of groups for cases of the INT8 product, byte by byte as
 * kernels/README.md has it. */
#include "tests/kernel_check.h"

#include <string.h>

enum { PANEL = 16, HEAD = 64 };

/* -128 is no weight: kernels may then give what they like, but stay in their memory. */
static int8_t some_weight(kernel_case *c, weight_kind kind)
{
    static const int8_t corners[] = {-127, -1, 0, 1, 127, -127, 127, 127};
    const uint64_t r = case_random(c);
    switch (kind) {
    case WEIGHTS_CORNERS: return corners[r % sizeof corners];
    case WEIGHTS_LOWEST: return -127;
    case WEIGHTS_HIGHEST: return 127;
    case WEIGHTS_HOSTILE: return r % 3 == 0 ? -128 : (int8_t)(r >> 8);
    default: return (int8_t)(r % 255 - 127);
    }
}

static uint16_t some_factor(kernel_case *c)
{
    if (case_chance(c, 16)) {
        return (uint16_t)case_random(c); /* Inf, NaN and subnormals, too */
    }
    return (uint16_t)(case_between(c, 12, 17) << 10 | case_between(c, 0, 1023));
}

/* A group, or a whole panel, and what it adds to the sums of its columns. */
static void fill_codes(kernel_case *c, const dynq_weight_codes *codes, const int8_t *levels,
                       weight_kind kind, size_t depth, uint8_t *bytes, int32_t sums[PANEL])
{
    const size_t inputs = 8 / codes->bits;
    uint64_t numbers = 0;
    memset(bytes, 0, depth * 2 * codes->bits);
    for (size_t i = 0; i < depth * PANEL; i++) {
        const size_t k = i / PANEL, column = i % PANEL;
        uint8_t *byte = bytes + k / (4 * inputs) * 64 + column * 4 + k % 4;
        if (codes->bits == 8) {
            *byte = (uint8_t)some_weight(c, kind);
            sums[column] += (int8_t)*byte;
            continue;
        }
        numbers = i % 16 == 0 ? case_random(c) : numbers >> 4;
        const unsigned number = (unsigned)numbers & ((1u << codes->bits) - 1);
        *byte = (uint8_t)(*byte | number << k / 4 % inputs * codes->bits);
        sums[column] += levels[number];
    }
}

static void fill_panel(kernel_case *c, const dynq_gemm_s8 *g, const int8_t *levels,
                       weight_kind kind, uint8_t *panel, int32_t sums[PANEL])
{
    const size_t group = g->codes.group;
    if (group == 0) {
        fill_codes(c, &g->codes, levels, kind, g->kpad, panel, sums);
        return;
    }
    for (size_t k = 0; k < g->kpad; k += group) {
        const size_t depth = group < g->kpad - k ? group : g->kpad - k;
        int32_t group_sums[PANEL] = {0};
        fill_codes(c, &g->codes, levels, kind, depth, panel + HEAD, group_sums);
        for (size_t i = 0; i < PANEL; i++) {
            const uint16_t factor = some_factor(c);
            const int16_t sum = (int16_t)group_sums[i];
            memcpy(panel + i * sizeof factor, &factor, sizeof factor);
            memcpy(panel + (PANEL + i) * sizeof sum, &sum, sizeof sum);
        }
        panel += HEAD + depth * 2 * g->codes.bits;
    }
}

/* What is timed has codes of its own; else all bits, groups and ways to keep tables. */
static void choose_codes(kernel_case *c, dynq_weight_codes *codes)
{
    static const unsigned bits[] = {4, 2, 8};
    static const size_t groups[] = {0, 32, 64, 128};
    if (c->timed != NULL) {
        *codes = c->timed_codes;
        return;
    }
    codes->bits = bits[case_between(c, 0, 2)];
    codes->group = groups[case_between(c, codes->bits == 8, 3)];
    if (codes->bits != 8 && case_chance(c, 2)) {
        codes->levels_step = codes->bits == 4 ? 16 : case_chance(c, 4) ? 9 : 4;
    }
}

void case_codes(kernel_case *c, weight_kind kind, dynq_gemm_s8 *g, int32_t *column_sum)
{
    choose_codes(c, &g->codes);
    const size_t panels = (g->columns + PANEL - 1) / PANEL, step = g->codes.levels_step;
    const size_t bytes = dynq_panel_bytes(&g->codes, g->kpad);
    const size_t table = (size_t)1 << g->codes.bits;
    int8_t *levels = NULL;
    if (g->codes.bits != 8) {
        const size_t count = (panels - 1) * step + table;
        levels = case_room(c, INPUT_LEVELS, count);
        for (size_t i = 0; i < count; i++) {
            levels[i] = some_weight(c, kind);
        }
        g->codes.levels = case_view(c, INPUT_LEVELS, levels);
    }
    uint8_t *room = case_room(c, INPUT_PANELS, panels * bytes);
    for (size_t p = 0; p < panels; p++) {
        const size_t left = g->columns - p * PANEL;
        int32_t sums[PANEL] = {0};
        fill_panel(c, g, levels == NULL ? NULL : levels + p * step, kind, room + p * bytes, sums);
        memcpy(column_sum + p * PANEL, sums, (left < PANEL ? left : PANEL) * sizeof *sums);
    }
    g->panels = case_view(c, INPUT_PANELS, room);
}
