#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define BAR_HEIGHT      14.0
#define BAR_PITCH       18.0
#define CATEGORY_HEIGHT 20.0
#define CATEGORY_GAP    12.0
#define VALUE_ROOM      76.0
#define MAX_SERIES      32

static size_t shown_series(const plot_bars *bars)
{
    return bars->series_count < MAX_SERIES ? bars->series_count : MAX_SERIES;
}

/* What one bar adds to the length of its line: nothing if negative or not finite. */
static double length_of(double value)
{
    return isfinite(value) && value > 0 ? value : 0;
}

/* The longest bar or stack. */
static double longest(const plot_bars *bars)
{
    double most = 0;
    for (size_t c = 0; c < bars->category_count; c++) {
        double sum = 0;
        for (size_t s = 0; s < shown_series(bars); s++) {
            const double value = length_of(bars->series[s].values[c]);
            sum = bars->stacked ? sum + value : fmax(sum, value);
        }
        most = fmax(most, sum);
    }
    return most > 0 ? most : 1;
}

static void print_value(char *text, size_t size, double value, const plot_bars *bars)
{
    if (isnan(value)) {
        snprintf(text, size, "no value");
    } else if (isinf(value)) {
        snprintf(text, size, "no error");
    } else if (bars->decimals < 0) {
        snprintf(text, size, "%.3g %s", value, bars->unit);
    } else {
        snprintf(text, size, "%.*f %s", bars->decimals, value, bars->unit);
    }
}

static void draw_group(markup *out, const plot_bars *bars, size_t category, double y, double scale)
{
    for (size_t s = 0; s < shown_series(bars); s++) {
        const double value = bars->series[s].values[category];
        const double length = length_of(value) * scale;
        char text[64];
        char tooltip[256];
        char class[16];
        print_value(text, sizeof text, value, bars);
        snprintf(tooltip, sizeof tooltip, "%s: %s", bars->series[s].name, text);
        snprintf(class, sizeof class, "t%d", bars->series[s].tone % SVG_TONES);
        svg_rect(out, (svg_box){0, y, fmax(length, 1), BAR_HEIGHT}, class, tooltip);
        svg_text(out, fmax(length, 1) + 6, y + BAR_HEIGHT - 3, "ink", "start", text);
        y += BAR_PITCH;
    }
}

static void draw_stack(markup *out, const plot_bars *bars, size_t category, double y, double scale)
{
    double x = 0;
    double sum = 0;
    char text[64];
    for (size_t s = 0; s < shown_series(bars); s++) {
        const double value = bars->series[s].values[category];
        const double length = length_of(value) * scale;
        char tooltip[256];
        char class[16];
        print_value(text, sizeof text, value, bars);
        snprintf(tooltip, sizeof tooltip, "%s: %s", bars->series[s].name, text);
        snprintf(class, sizeof class, "t%d", bars->series[s].tone % SVG_TONES);
        if (length > 0) {
            svg_rect(out, (svg_box){x, y, length, BAR_HEIGHT}, class, tooltip);
        }
        x += length;
        sum += length_of(value);
    }
    print_value(text, sizeof text, sum, bars);
    svg_text(out, x + 6, y + BAR_HEIGHT - 3, "ink", "start", text);
}

void plot_bars_draw(markup *out, const plot_bars *bars)
{
    const size_t count = shown_series(bars);
    const char *names[MAX_SERIES];
    int tones[MAX_SERIES];
    for (size_t s = 0; s < count; s++) {
        names[s] = bars->series[s].name;
        tones[s] = bars->series[s].tone;
    }
    const double lines = bars->stacked ? 1 : (double)count;
    const double group = CATEGORY_HEIGHT + lines * BAR_PITCH + CATEGORY_GAP;
    const double legend = svg_legend(NULL, 0, names, tones, count) + 6;
    const double scale = (SVG_WIDTH - VALUE_ROOM) / longest(bars);
    svg_begin(out, legend + group * (double)bars->category_count, bars->description);
    svg_legend(out, 0, names, tones, count);
    for (size_t c = 0; c < bars->category_count; c++) {
        const double y = legend + group * (double)c;
        char name[160];
        svg_shorten(bars->categories[c], 56, name, sizeof name);
        svg_text(out, 0, y + 13, "strong", "start", name);
        if (bars->stacked) {
            draw_stack(out, bars, c, y + CATEGORY_HEIGHT, scale);
        } else {
            draw_group(out, bars, c, y + CATEGORY_HEIGHT, scale);
        }
    }
    svg_end(out);
}

static void draw_bins(markup *out, svg_box frame, const svg_axis *axis, const uint64_t *bins,
                      size_t count, double low, double high)
{
    uint64_t most = 1;
    for (size_t i = 0; i < count; i++) {
        most = bins[i] > most ? bins[i] : most;
    }
    const double unit = frame.height / log1p((double)most);
    const double right = frame.x + frame.width;
    const double bottom = frame.y + frame.height;
    markup_add(out, "<path class=\"area\" d=\"M%.1f %.1f", svg_position(axis, low, frame.x, right),
               bottom);
    for (size_t i = 0; i < count; i++) {
        const double width = (high - low) / (double)count;
        const double y = bottom - unit * log1p((double)bins[i]);
        markup_add(out, "L%.1f %.1fL%.1f %.1f",
                   svg_position(axis, low + width * (double)i, frame.x, right), y,
                   svg_position(axis, low + width * (double)(i + 1), frame.x, right), y);
    }
    markup_add(out, "L%.1f %.1fZ\"/>\n", svg_position(axis, high, frame.x, right), bottom);
}

/* A bar with ends above the histogram, and dashed lines down from the ends. */
static void draw_range(markup *out, svg_box frame, const svg_axis *axis, const plot_range *range,
                       double y)
{
    char line[16];
    char dashed[24];
    snprintf(line, sizeof line, "l%d", range->tone % SVG_TONES);
    snprintf(dashed, sizeof dashed, "l%d dash", range->tone % SVG_TONES);
    const double x1 = svg_position(axis, range->low, frame.x, frame.x + frame.width);
    const double x2 = svg_position(axis, range->high, frame.x, frame.x + frame.width);
    svg_line(out, x1, y, x2, y, line);
    svg_line(out, x1, y - 4, x1, y + 4, line);
    svg_line(out, x2, y - 4, x2, y + 4, line);
    svg_line(out, x1, y + 4, x1, frame.y + frame.height, dashed);
    svg_line(out, x2, y + 4, x2, frame.y + frame.height, dashed);
}

void plot_histogram(markup *out, const char *description, const char *x_title, const uint64_t *bins,
                    size_t bin_count, double low, double high, const plot_range *ranges,
                    size_t range_count)
{
    char texts[MAX_SERIES][96];
    const char *names[MAX_SERIES];
    int tones[MAX_SERIES];
    double from = low, to = high;
    const size_t count = range_count < MAX_SERIES ? range_count : MAX_SERIES;
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "%s %.4g to %.4g", ranges[i].name, ranges[i].low,
                 ranges[i].high);
        names[i] = texts[i];
        tones[i] = ranges[i].tone;
        from = fmin(from, ranges[i].low);
        to = fmax(to, ranges[i].high);
    }
    if (!(to > from)) { /* a constant value still needs an axis */
        from -= 0.5;
        to += 0.5;
    }
    const double margin = 0.02 * (to - from);
    const svg_axis axis = {.title = x_title, .low = from - margin, .high = to + margin};
    const double legend = count > 0 ? svg_legend(NULL, 0, names, tones, count) : 0;
    const double top = legend + 12 + 12 * (double)count;
    const svg_box frame = {4, top, SVG_WIDTH - 8, 130};
    svg_begin(out, top + frame.height + 42, description);
    svg_legend(out, 0, names, tones, count);
    svg_axis_x(out, frame, &axis);
    draw_bins(out, frame, &axis, bins, bin_count, low, high);
    for (size_t i = 0; i < count; i++) {
        draw_range(out, frame, &axis, &ranges[i], legend + 10 + 12 * (double)i);
    }
    svg_end(out);
}
