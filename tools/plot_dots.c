#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

#define PITCH      15.0
#define NAMES      164.0
#define TOP_AXIS   38.0
#define MAX_SERIES 16

/* The bytes of "encoder.layer.3." in "encoder.layer.3.attention": up to the first part that is a
 * number, if others follow; 0 without one. */
static size_t group_of(const char *name)
{
    for (const char *part = name; *part != '\0';) {
        const size_t length = strcspn(part, ".");
        if (part > name && length > 0 && strspn(part, "0123456789") == length &&
            part[length] == '.' && part[length + 1] != '\0') {
            return (size_t)(part - name) + length + 1;
        }
        part += length + (part[length] == '.');
    }
    return 0;
}

static int same_group(const char *a, const char *b)
{
    const size_t length = group_of(a);
    return length == group_of(b) && strncmp(a, b, length) == 0;
}

/* Fills the middle of each line, below `top`: names of one group stand below its heading. Where the
 * last line ends. */
static double arrange(const plot_dots *dots, double top, double *middles)
{
    for (size_t i = 0; i < dots->count; i++) {
        const char *name = dots->names[i];
        if (group_of(name) > 0 && (i == 0 || !same_group(dots->names[i - 1], name))) {
            top += PITCH;
        }
        middles[i] = top + PITCH / 2;
        top += PITCH;
    }
    return top;
}

static void draw_names(markup *out, const plot_dots *dots, const double *middles)
{
    for (size_t i = 0; i < dots->count; i++) {
        const char *name = dots->names[i];
        const size_t group = group_of(name);
        if (group > 0 && (i == 0 || !same_group(dots->names[i - 1], name))) {
            char *heading = strndup(name, group - 1);
            svg_label(out, 0, middles[i] - PITCH + 4, "muted small", "start",
                      heading != NULL ? heading : name, NAMES);
            free(heading);
        }
        svg_label_titled(out, NAMES, middles[i] + 4, "ink small", "end", name + group, name, NAMES);
    }
}

/* All dots of a series are one path of lines without length, whose round ends are the dots. */
static void draw_dots(markup *out, const plot_dots *dots, svg_box frame, const double *middles,
                      const plot_series *series)
{
    const int tone = series->tone % SVG_TONES;
    for (int layer = dots->connected ? 0 : 1; layer < 2; layer++) {
        int together = 0;
        markup_add(out, "<path class=\"l%d %s\" d=\"", tone, layer == 0 ? "chain" : "dots");
        for (size_t i = 0; i < dots->count; i++) {
            const double value = series->values[i];
            if (!isfinite(value)) {
                together = 0;
                continue;
            }
            const double shown = fmin(fmax(value, dots->axis.low), dots->axis.high);
            const double x = svg_position(&dots->axis, shown, frame.x, frame.x + frame.width);
            markup_add(out, layer == 0 && together ? "L%.1f %.1f" : "M%.1f %.1f", x, middles[i]);
            markup_add(out, layer == 1 ? "h0" : "");
            together = 1;
        }
        markup_add(out, "\"/>\n");
    }
}

void plot_dots_draw(markup *out, const plot_dots *dots)
{
    const char *names[MAX_SERIES];
    int tones[MAX_SERIES];
    const size_t count = dots->series_count < MAX_SERIES ? dots->series_count : MAX_SERIES;
    double *middles = allocate(dots->count, sizeof *middles);
    for (size_t s = 0; s < count; s++) {
        names[s] = dots->series[s].name;
        tones[s] = dots->series[s].tone;
    }
    const double top = svg_legend(NULL, 0, names, tones, count) + TOP_AXIS;
    const double bottom = arrange(dots, top, middles);
    const svg_box frame = {NAMES + 12, top, SVG_WIDTH - NAMES - 24, bottom - top};
    svg_begin(out, bottom + 2, dots->description);
    svg_legend(out, 0, names, tones, count);
    svg_axis_top(out, frame, &dots->axis);
    markup_add(out, "<path class=\"grid\" d=\"");
    for (size_t i = 0; i < dots->count; i++) {
        markup_add(out, "M%.0f %.1fH%.0f", frame.x - 6, middles[i], SVG_WIDTH);
    }
    markup_add(out, "\"/>\n");
    draw_names(out, dots, middles);
    for (size_t s = 0; s < count; s++) {
        draw_dots(out, dots, frame, middles, &dots->series[s]);
    }
    svg_end(out);
    free(middles);
}
