#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>

#define MAX_LINES   64
#define LEFT_MARGIN 52.0
#define TOP_MARGIN  24.0

static void draw_line(markup *out, svg_box frame, const svg_axis *across, const svg_axis *up,
                      const double *x, size_t count, const plot_series *series)
{
    const int tone = series->tone % SVG_TONES;
    int drawn = 0;
    markup_add(out, "<path class=\"l%d\" d=\"", tone);
    for (size_t i = 0; i < count; i++) {
        if (isfinite(series->values[i])) {
            markup_add(out, "%s%.1f %.1f", drawn++ == 0 ? "M" : "L",
                       svg_position(across, x[i], frame.x, frame.x + frame.width),
                       svg_position(up, series->values[i], frame.y + frame.height, frame.y));
        }
    }
    markup_add(out, "\"/>\n");
    for (size_t i = 0; i < count; i++) {
        if (isfinite(series->values[i])) {
            markup_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" class=\"t%d\"><title>",
                       svg_position(across, x[i], frame.x, frame.x + frame.width),
                       svg_position(up, series->values[i], frame.y + frame.height, frame.y), tone);
            markup_text(out, series->name);
            markup_add(out, ": %.4g</title></circle>\n", series->values[i]);
        }
    }
}

void plot_lines(markup *out, const char *description, const char *x_title, const char *y_title,
                const double *x, size_t count, const plot_series *series, size_t series_count)
{
    double high = 0;
    const char *names[MAX_LINES];
    int tones[MAX_LINES];
    size_t shown = 0;
    for (size_t s = 0; s < series_count && shown < MAX_LINES; s++) {
        names[shown] = series[s].name;
        tones[shown++] = series[s].tone;
        for (size_t i = 0; i < count; i++) {
            high = isfinite(series[s].values[i]) ? fmax(high, series[s].values[i]) : high;
        }
    }
    if (count < 2 || shown == 0) {
        return;
    }
    const double legend = svg_legend(NULL, 0, names, tones, shown);
    const svg_box frame = {LEFT_MARGIN, legend + TOP_MARGIN + 8, SVG_WIDTH - LEFT_MARGIN - 12, 230};
    const svg_axis across = {
        .title = x_title, .low = x[0], .high = x[count - 1], .logarithmic = SVG_TWOS};
    const svg_axis up = svg_axis_around(y_title, 0, high, 5);
    svg_begin(out, frame.y + frame.height + 42, description);
    svg_legend(out, 0, names, tones, shown);
    svg_axis_x(out, frame, &across);
    svg_axis_y(out, frame, &up);
    for (size_t s = 0; s < shown; s++) {
        draw_line(out, frame, &across, &up, x, count, &series[s]);
    }
    svg_end(out);
}
