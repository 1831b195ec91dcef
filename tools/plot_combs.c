#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define NAMES       52.0
#define BARS_HEIGHT 110.0
#define PITCH       22.0
#define TOOTH       14.0
#define FINEST      0.25 /* teeth closer than this are one */

static uint64_t largest(const uint64_t *bins, size_t count)
{
    uint64_t most = 1;
    for (size_t i = 0; i < count; i++) {
        most = bins[i] > most ? bins[i] : most;
    }
    return most;
}

/* Logarithmic: what lies far out is few, and decides the scale. */
static void draw_histogram(markup *out, svg_box frame, const uint64_t *bins, size_t count)
{
    const double unit = frame.height / log1p((double)largest(bins, count));
    const double pitch = frame.width / (double)count, bottom = frame.y + frame.height;
    markup_add(out, "<path class=\"area\" d=\"M%.1f %.1f", frame.x, bottom);
    for (size_t i = 0; i < count; i++) {
        markup_add(out, "V%.1fH%.1f", bottom - unit * log1p((double)bins[i]),
                   frame.x + pitch * (double)(i + 1));
    }
    markup_add(out, "V%.1fZ\"/>\n", bottom);
}

static void draw_comb(markup *out, const svg_axis *axis, svg_box lane, const plot_comb *comb)
{
    const int tone = comb->tone % SVG_TONES;
    double last = -INFINITY;
    svg_label(out, 0, lane.y + lane.height - 3, "ink small", "start", comb->name, NAMES - 4);
    if (comb->solid) {
        char class[16];
        const double low = fmax(comb->values[0], axis->low);
        const double high = fmin(comb->values[1], axis->high);
        snprintf(class, sizeof class, "t%d", tone);
        const double x = svg_position(axis, low, lane.x, lane.x + lane.width);
        const double end = svg_position(axis, high, lane.x, lane.x + lane.width);
        svg_rect(out, (svg_box){x, lane.y, end - x, lane.height}, class,
                 "closer together than can be drawn");
        return;
    }
    /* One path of vertical strokes. */
    markup_add(out, "<path class=\"l%d tooth\" d=\"", tone);
    for (size_t i = 0; i < comb->count; i++) {
        const double x = svg_position(axis, comb->values[i], lane.x, lane.x + lane.width);
        if (x >= lane.x - 0.01 && x <= lane.x + lane.width + 0.01 && x - last >= FINEST) {
            markup_add(out, "M%.2f %.1fv%.1f", x, lane.y, lane.height);
            last = x;
        }
    }
    markup_add(out, "\"/>\n");
}

void plot_combs(markup *out, const char *description, const svg_axis *axis, const uint64_t *bins,
                size_t bin_count, const plot_comb *combs, size_t count)
{
    const double bars = bin_count > 0 ? BARS_HEIGHT + 8 : 4;
    const svg_box frame = {NAMES, 4, SVG_WIDTH - NAMES - 10, bars + PITCH * (double)count};
    svg_begin(out, frame.y + frame.height + 42, description);
    svg_axis_x(out, frame, axis);
    if (bin_count > 0) {
        const svg_box box = {frame.x, frame.y, frame.width, BARS_HEIGHT};
        draw_histogram(out, box, bins, bin_count);
        svg_text(out, 0, box.y + box.height - 14, "muted small", "start", "count,");
        svg_text(out, 0, box.y + box.height - 1, "muted small", "start", "log");
    }
    for (size_t i = 0; i < count; i++) {
        const svg_box lane = {frame.x, frame.y + bars + PITCH * (double)i, frame.width, TOOTH};
        draw_comb(out, axis, lane, &combs[i]);
    }
    svg_end(out);
}
