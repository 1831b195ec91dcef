#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define LEFT        112.0 /* names of ranges, numbers of the counts */
#define RANGE_PITCH 16.0
#define BARS_HEIGHT 120.0
#define MAX_RANGES  32

static uint64_t largest(const uint64_t *bins, size_t count)
{
    uint64_t most = 1;
    for (size_t i = 0; i < count; i++) {
        most = bins[i] > most ? bins[i] : most;
    }
    return most;
}

/* One outline; half units are as fine as a screen shows. */
static void draw_bins(markup *out, svg_box frame, const svg_axis *axis, const uint64_t *bins,
                      size_t count, double low, double high)
{
    const double unit = frame.height / log1p((double)largest(bins, count));
    const double right = frame.x + frame.width;
    const double bottom = frame.y + frame.height;
    const double first = svg_position(axis, low, frame.x, right);
    const double pitch = (svg_position(axis, high, frame.x, right) - first) / (double)count;
    markup_add(out, "<path class=\"area\" d=\"M%.1f %.1f", first, bottom);
    for (size_t i = 0; i < count; i++) {
        markup_add(out, "V%.1fH%.1f", bottom - unit * log1p((double)bins[i]),
                   first + pitch * (double)(i + 1));
    }
    markup_add(out, "V%.1fZ\"/>\n", bottom);
}

/* Counts as powers of a thousand, left of the frame. */
static void draw_counts(markup *out, svg_box frame, uint64_t most)
{
    static const char *const names[] = {"1", "1,000", "1 M", "1 G", "1 T"};
    const double unit = frame.height / log1p((double)most);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const double value = pow(1000, (double)i);
        if (value > (double)most) {
            break;
        }
        const double y = frame.y + frame.height - unit * log1p(value);
        svg_line(out, frame.x, y, frame.x + frame.width, y, "grid");
        svg_text(out, frame.x - 6, fmin(y + 4, frame.y + frame.height - 1), "muted small", "end",
                 names[i]);
    }
    svg_text(out, 0, frame.y + frame.height - 1, "muted small", "start", "count");
}

/* "max", or "max and 2 more". */
static void draw_range_name(markup *out, const plot_range *range, double y)
{
    size_t more = 0;
    for (const char *c = range->others; c != NULL && *c != '\0'; c++) {
        more += *c == ',';
    }
    if (more == 0) {
        svg_label(out, 0, y, "ink small", "start", range->name, LEFT - 10);
        return;
    }
    char count[40], name[SVG_SHORTENED], text[SVG_SHORTENED + 40], all[1200];
    snprintf(count, sizeof count, " and %zu more", more);
    svg_shorten(range->name, (LEFT - 10) - svg_text_width(count) * 0.88, name, sizeof name);
    snprintf(text, sizeof text, "%s%s", name, count);
    snprintf(all, sizeof all, "%s%s", range->name, range->others);
    svg_label_titled(out, 0, y, "ink small", "start", text, all, LEFT - 10);
}

/* A named bar with ends above the histogram, and dashed lines down from the ends. */
static void draw_range(markup *out, svg_box frame, const svg_axis *axis, const plot_range *range,
                       double y)
{
    const int tone = range->tone % SVG_TONES;
    const double x1 = svg_position(axis, range->low, frame.x, frame.x + frame.width);
    const double x2 = svg_position(axis, range->high, frame.x, frame.x + frame.width);
    markup_add(out, "<path class=\"l%d\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"><title>",
               tone, x1, y, x2, x1, y - 4, x2, y - 4);
    markup_text(out, range->name);
    markup_text(out, range->others);
    markup_add(out, ": %.4g to %.4g</title></path>\n", range->low, range->high);
    markup_add(out, "<path class=\"l%d dash\" d=\"M%.1f %.1fV%.1fM%.1f %.1fV%.1f\"/>\n", tone, x1,
               y + 4, frame.y + frame.height, x2, y + 4, frame.y + frame.height);
    draw_range_name(out, range, y + 4);
}

void plot_histogram(markup *out, const char *description, const char *x_title, const uint64_t *bins,
                    size_t bin_count, double low, double high, const plot_range *ranges,
                    size_t range_count)
{
    double from = low, to = high;
    const size_t count = range_count < MAX_RANGES ? range_count : MAX_RANGES;
    for (size_t i = 0; i < count; i++) {
        from = fmin(from, ranges[i].low);
        to = fmax(to, ranges[i].high);
    }
    if (!(to > from)) { /* a constant value still needs an axis */
        from -= 0.5;
        to += 0.5;
    }
    const double margin = 0.02 * (to - from);
    const svg_axis axis = {.title = x_title, .low = from - margin, .high = to + margin};
    const double top = 12 + RANGE_PITCH * (double)count;
    const svg_box frame = {LEFT, top, SVG_WIDTH - LEFT - 4, BARS_HEIGHT};
    svg_begin(out, top + frame.height + 42, description);
    svg_axis_x(out, frame, &axis);
    draw_counts(out, frame, largest(bins, bin_count));
    draw_bins(out, frame, &axis, bins, bin_count, low, high);
    for (size_t i = 0; i < count; i++) {
        draw_range(out, frame, &axis, &ranges[i], 8 + RANGE_PITCH * (double)i);
    }
    svg_end(out);
}
