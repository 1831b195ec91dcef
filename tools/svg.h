/* SVG: frame, axes, text, legend. plot.h draws whole plots with them. Colours are classes (t0, t1,
 * ... for data, "ink", "muted", "grid" for the rest), defined by the page in report.c. */
#ifndef DYNQ_TOOLS_SVG_H
#define DYNQ_TOOLS_SVG_H

#include "tools/markup.h"

#include <stddef.h>

/* Width of every plot in user units: one column of the page, so that text is about as large as the
 * page's own, on a phone too. */
#define SVG_WIDTH 400.0
/* Data colours: t0 (neutral, for the reference) to t7. */
#define SVG_TONES 8

typedef struct svg_box {
    double x, y, width, height;
} svg_box;

/* Logarithmic scales, by where their ticks are. */
typedef enum svg_scale { SVG_TWOS = 1, SVG_TENS } svg_scale;

/* What an axis shows: low < high, both finite; above 0 with `logarithmic`. */
typedef struct svg_axis {
    const char *title; /* with the unit */
    double low, high;
    svg_scale logarithmic; /* 0: linear */
} svg_axis;

/* Ticks at first, first + step, ...: `count` of them, steps of 1, 2 or 5 times a power of ten. */
typedef struct svg_ticks {
    double first, step;
    int count, decimals; /* decimals that tell the ticks apart */
} svg_ticks;

/* The ticks inside [low, high] closest in number to `wanted`; always at least one step. */
svg_ticks svg_nice_ticks(double low, double high, int wanted);
/* The axis around `low` to `high`, extended to whole ticks; a single value gets room around it. */
svg_axis svg_axis_around(const char *title, double low, double high, int wanted);

/* Begins a plot of SVG_WIDTH x height; `description` is read out by screen readers. */
void svg_begin(markup *out, double height, const char *description);
void svg_end(markup *out);

/* `class` may hold several names ("small", "strong", "muted"); `anchor` is "start", "middle" or
 * "end". */
void svg_text(markup *out, double x, double y, const char *class, const char *anchor,
              const char *text);
void svg_line(markup *out, double x1, double y1, double x2, double y2, const char *class);
void svg_rect(markup *out, svg_box box, const char *class, const char *tooltip);
/* The width that text of the plots' size takes at most. */
double svg_text_width(const char *text);
/* A copy of text no wider than `width`, with an ellipsis in the middle of what is. */
#define SVG_SHORTENED 600 /* bytes that hold any text as wide as a plot */
void svg_shorten(const char *text, double width, char *buffer, size_t size);
/* Text shortened to `room`; what is shortened has all of it in its title. */
void svg_label(markup *out, double x, double y, const char *class, const char *anchor,
               const char *text, double room);

/* The same for a text that is part of `title`. */
void svg_label_titled(markup *out, double x, double y, const char *class, const char *anchor,
                      const char *text, const char *title, double room);

/* Where `value` stands between `from` and `to`. */
double svg_position(const svg_axis *axis, double value, double from, double to);
/* Grid, ticks and title: below the box, above it, left of it. */
void svg_axis_x(markup *out, svg_box box, const svg_axis *axis);
void svg_axis_top(markup *out, svg_box box, const svg_axis *axis);
void svg_axis_y(markup *out, svg_box box, const svg_axis *axis);
/* The room that the numbers left of a y axis need. */
double svg_axis_room(const svg_axis *axis);

/* Squares with names, in as many lines as they need, from y down; the height they take. With out
 * NULL only the height. */
double svg_legend(markup *out, double y, const char *const *names, const int *tones, size_t count);

#endif
