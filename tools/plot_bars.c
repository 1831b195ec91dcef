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
        svg_label(out, 0, y + 13, "strong", "start", bars->categories[c], SVG_WIDTH);
        if (bars->stacked) {
            draw_stack(out, bars, c, y + CATEGORY_HEIGHT, scale);
        } else {
            draw_group(out, bars, c, y + CATEGORY_HEIGHT, scale);
        }
    }
    svg_end(out);
}
