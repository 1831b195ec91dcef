#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>

#define MAX_SERIES 16
#define LEFT       52.0
#define HEIGHT     240.0

/* How many values are in each octave, behind the lines. */
static void draw_counts(markup *out, svg_box frame, const plot_steps *steps)
{
    uint64_t most = 1;
    for (size_t i = 0; i < steps->count; i++) {
        most = steps->counts[i] > most ? steps->counts[i] : most;
    }
    const double pitch = frame.width / (double)steps->count, bottom = frame.y + frame.height;
    markup_add(out, "<path class=\"area pale\" d=\"M%.1f %.1f", frame.x, bottom);
    for (size_t i = 0; i < steps->count; i++) {
        markup_add(out, "V%.1fH%.1f",
                   bottom - frame.height * (double)steps->counts[i] / (double)most,
                   frame.x + pitch * (double)(i + 1));
    }
    markup_add(out, "V%.1fZ\"/>\n", bottom);
}

static void draw_series(markup *out, svg_box frame, const svg_axis *up, const plot_steps *steps,
                        const plot_series *series)
{
    const double pitch = frame.width / (double)steps->count;
    int together = 0;
    markup_add(out, "<path class=\"l%d\" d=\"", series->tone % SVG_TONES);
    for (size_t i = 0; i < steps->count; i++) {
        const double value = series->values[i];
        if (!isfinite(value)) {
            together = 0;
            continue;
        }
        const double y = svg_position(up, value, frame.y + frame.height, frame.y);
        const double x = frame.x + pitch * (double)i;
        markup_add(out, together ? "V%.1f" : "M%.1f %.1f", together ? y : x, y);
        markup_add(out, "H%.1f", x + pitch);
        together = 1;
    }
    markup_add(out, "\"/>\n");
}

void plot_steps_draw(markup *out, const plot_steps *steps)
{
    const char *names[MAX_SERIES];
    int tones[MAX_SERIES];
    double low = INFINITY, high = 0;
    const size_t shown = steps->series_count < MAX_SERIES ? steps->series_count : MAX_SERIES;
    for (size_t s = 0; s < shown; s++) {
        names[s] = steps->series[s].name;
        tones[s] = steps->series[s].tone;
        for (size_t i = 0; i < steps->count; i++) {
            const double value = steps->series[s].values[i];
            low = isfinite(value) ? fmin(low, value) : low;
            high = isfinite(value) ? fmax(high, value) : high;
        }
    }
    if (!(high > 0)) {
        return;
    }
    const svg_axis across = {.title = steps->x_title,
                             .low = ldexp(1, steps->first),
                             .high = ldexp(1, steps->first + (int)steps->count),
                             .logarithmic = SVG_TENS};
    const svg_axis up = {
        .title = steps->y_title, .low = low / 2, .high = high * 2, .logarithmic = SVG_TENS};
    const double top = svg_legend(NULL, 0, names, tones, shown) + 32;
    const svg_box frame = {LEFT, top, SVG_WIDTH - LEFT - 12, HEIGHT};
    svg_begin(out, frame.y + frame.height + 42, steps->description);
    svg_legend(out, 0, names, tones, shown);
    draw_counts(out, frame, steps);
    svg_axis_x(out, frame, &across);
    svg_axis_y(out, frame, &up);
    for (size_t s = 0; s < shown; s++) {
        draw_series(out, frame, &up, steps, &steps->series[s]);
    }
    svg_end(out);
}
