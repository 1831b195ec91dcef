/* Steps of weights with few levels. */
#include "src/weight_steps.h"

#include "src/pack.h"

#include <math.h>

/* The search tries steps from FIRST_SHARE of what the largest weight asks for downwards, each
 * SHRINK of the one before, then REFINEMENTS times the step that is best for the levels just
 * chosen. The last shares are those of the optimum for thousands of normal weights in 4 levels. */
#define FIRST_SHARE 1.08f
#define SHRINK      0.96f
#define SHARES      44
#define REFINEMENTS 4
#define HOPELESS    1.5 /* times the least error: smaller steps will not be better any more */

#define CHUNK    32        /* weights looked up at a time, so that it can be done in vectors */
#define VECTORED 16        /* levels up to which each is compared with */
#define ROUNDING 0x1.8p23f /* added and taken away, it rounds to nearest, ties to even */

/* Integers nearest to x. */
static void round_chunk(const dynq_step_levels *levels, const float *x, float *value)
{
    const float low = (float)levels->low, high = (float)levels->high;
    for (size_t i = 0; i < CHUNK; i++) {
        const float clamped = x[i] > high ? high : x[i] < low ? low : x[i];
        value[i] = (clamped + ROUNDING) - ROUNDING;
    }
}

static float search_level(const float *levels, size_t count, float x)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        const size_t next = (low + high) / 2;
        const int above = x > (levels[next] + levels[next + 1]) * 0.5f;
        low = above ? next + 1 : low;
        high = above ? high : next;
    }
    return levels[low];
}

/* The level nearest to each x; which of two that are as near does not matter to their error. */
static void level_chunk(const dynq_step_levels *levels, const float *x, float *value)
{
    if (levels->levels == NULL) {
        round_chunk(levels, x, value);
        return;
    }
    if (levels->count > VECTORED) {
        for (size_t i = 0; i < CHUNK; i++) {
            value[i] = search_level(levels->levels, levels->count, x[i]);
        }
        return;
    }
    for (size_t i = 0; i < CHUNK; i++) {
        value[i] = levels->levels[0];
    }
    for (size_t j = 0; j + 1 < levels->count; j++) {
        const float next = levels->levels[j + 1], middle = (levels->levels[j] + next) * 0.5f;
        for (size_t i = 0; i < CHUNK; i++) {
            value[i] = x[i] > middle ? next : value[i];
        }
    }
}

/* Sums over a block whose weights have taken the nearest levels: with importance h, of h, h l, h l
 * l, h w, h w l and h w w. */
typedef struct level_sums {
    double one, l, ll, w, wl, ww;
} level_sums;

static void add_chunk(level_sums *sums, const float *w, const float *h, const float *value,
                      size_t count)
{
    float l = 0.0f, ll = 0.0f, wl = 0.0f, ww = 0.0f, one = 0.0f, ws = 0.0f;
    for (size_t i = 0; i < count; i++) {
        const float share = h == NULL ? 1.0f : h[i];
        one += share;
        l += share * value[i];
        ll += share * value[i] * value[i];
        ws += share * w[i];
        wl += share * w[i] * value[i];
        ww += share * w[i] * w[i];
    }
    sums->one += (double)one;
    sums->l += (double)l;
    sums->ll += (double)ll;
    sums->w += (double)ws;
    sums->wl += (double)wl;
    sums->ww += (double)ww;
}

static level_sums sums_with(const dynq_step_levels *levels, const dynq_step_block *block,
                            float step, float offset)
{
    level_sums sums = {0};
    const float inverse = 1.0f / step;
    for (size_t first = 0; first < block->count; first += CHUNK) {
        const size_t left = block->count - first, count = left < CHUNK ? left : CHUNK;
        const float *h = block->importance == NULL ? NULL : block->importance + first;
        float x[CHUNK] = {0}, value[CHUNK];
        for (size_t i = 0; i < count; i++) {
            x[i] = (block->w[first + i] - offset) * inverse;
        }
        level_chunk(levels, x, value);
        add_chunk(&sums, block->w + first, h, value, count);
    }
    return sums;
}

/* sum h (w - step l - offset)^2 */
static double error_of(const level_sums *s, double step, double offset)
{
    return s->ww - 2.0 * (step * s->wl + offset * s->w) + step * step * s->ll +
           2.0 * step * offset * s->l + offset * offset * s->one;
}

static bool usable(float step)
{
    return isfinite(step) && fabsf(step) >= 0x1p-120f;
}

typedef struct step_choice {
    float step, offset;
    double error;
} step_choice;

static void try_step(const dynq_step_levels *levels, const dynq_step_block *block, float step,
                     float offset, step_choice *best, level_sums *sums)
{
    *sums = sums_with(levels, block, step, offset);
    const double error = error_of(sums, (double)step, (double)offset);
    if (error < best->error) {
        *best = (step_choice){.step = step, .offset = offset, .error = error};
    }
}

/* Makes a step better: the levels it chooses, then the best step for these, and again. */
static void refine(const dynq_step_levels *levels, const dynq_step_block *block, float start,
                   step_choice *best)
{
    float step = start;
    for (int i = 0; i < REFINEMENTS && usable(step); i++) {
        level_sums sums;
        try_step(levels, block, step, 0.0f, best, &sums);
        const float next = sums.ll > 0.0 ? (float)(sums.wl / sums.ll) : 0.0f;
        if (next == step || signbit(next) != signbit(start)) {
            break;
        }
        step = next;
    }
}

/* Steps from `largest` downwards, and the best of them made better. */
static void search(const dynq_step_levels *levels, const dynq_step_block *block, float largest,
                   step_choice *best)
{
    step_choice found = {.error = INFINITY};
    float step = largest * FIRST_SHARE;
    for (int i = 0; i < SHARES && usable(step); i++) {
        level_sums sums;
        try_step(levels, block, step, 0.0f, &found, &sums);
        if (error_of(&sums, (double)step, 0.0) > HOPELESS * found.error) {
            break;
        }
        step *= SHRINK;
    }
    refine(levels, block, found.step, &found);
    *best = found.error < best->error ? found : *best;
}

float dynq_choose_step(const dynq_step_levels *levels, const dynq_step_block *block)
{
    const float low = levels->levels == NULL ? (float)levels->low : levels->levels[0];
    const float high =
        levels->levels == NULL ? (float)levels->high : levels->levels[levels->count - 1];
    float least = 0.0f, most = 0.0f;
    for (size_t i = 0; i < block->count; i++) {
        least = fminf(least, block->w[i]);
        most = fmaxf(most, block->w[i]);
    }
    if (fmaxf(most, -least) < DYNQ_TINY_WEIGHT) {
        return 0.0f;
    }
    /* The least steps, either way round, that reach all weights. */
    const float upright = fmaxf(high > 0.0f ? most / high : 0.0f, low < 0.0f ? least / low : 0.0f);
    const float turned = fminf(high > 0.0f ? least / high : 0.0f, low < 0.0f ? most / low : 0.0f);
    step_choice best = {.step = upright, .error = INFINITY};
    if (!block->search) {
        return block->negative && turned < 0.0f && -turned < upright ? turned : upright;
    }
    if (block->start != 0.0f) {
        refine(levels, block, block->start, &best);
        return best.step;
    }
    search(levels, block, upright, &best);
    if (block->negative && turned < 0.0f) {
        search(levels, block, turned, &best);
    }
    return best.step;
}

float dynq_choose_affine_step(const dynq_step_levels *levels, const dynq_step_block *block,
                              float *offset)
{
    float least = block->w[0], most = block->w[0];
    for (size_t i = 1; i < block->count; i++) {
        least = fminf(least, block->w[i]);
        most = fmaxf(most, block->w[i]);
    }
    const float integers = (float)levels->high;
    const float whole = most / integers - least / integers;
    *offset = least;
    if (!usable(whole)) { /* all the same */
        return 0.0f;
    }
    step_choice best = {.step = whole, .offset = least, .error = INFINITY};
    level_sums sums;
    float share = 1.0f;
    for (int i = 0; block->search && i < SHARES; i++) {
        const float step = whole * share, cut = (whole - step) * integers * 0.5f;
        share *= SHRINK;
        if (usable(step)) {
            try_step(levels, block, step, least + cut, &best, &sums);
        }
    }
    step_choice next = best;
    for (int i = 0; block->search && i < REFINEMENTS && usable(next.step); i++) {
        try_step(levels, block, next.step, next.offset, &best, &sums);
        const double spread = sums.one * sums.ll - sums.l * sums.l;
        if (!(spread > 0.0)) {
            break;
        }
        const double step = (sums.one * sums.wl - sums.l * sums.w) / spread;
        next.step = (float)step;
        next.offset = (float)((sums.w - step * sums.l) / sums.one);
    }
    *offset = best.offset;
    return best.step;
}
