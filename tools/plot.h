/* Plots of the report page, each one complete SVG element of SVG_WIDTH units. Values that are not
 * finite are left out of the drawing and named where a value is printed. */
#ifndef DYNQ_TOOLS_PLOT_H
#define DYNQ_TOOLS_PLOT_H

#include "tools/markup.h"
#include "tools/svg.h"

#include <stddef.h>
#include <stdint.h>

typedef struct plot_point {
    double x, y;
    const char *label;
    int tone;
} plot_point;

/* Labelled points, and a line through those that no other beats (further left and up is better).
 * Labels are moved until they cover neither a point nor another label; a thin line then leads to
 * the point. Where the names are too many or too long, the points are numbered from 1. */
void plot_scatter(markup *out, const char *description, const char *x_title, const char *y_title,
                  const plot_point *points, size_t count);

/* One value for each category or x. */
typedef struct plot_series {
    const char *name;
    int tone;
    const double *values;
} plot_series;

/* Lines over common x values (above 0, ascending) on a logarithmic x axis. */
void plot_lines(markup *out, const char *description, const char *x_title, const char *y_title,
                const double *x, size_t count, const plot_series *series, size_t series_count);

typedef struct plot_bars {
    const char *description;
    const char *unit; /* printed after each value */
    int decimals;     /* of the values; below 0: three significant digits */
    int stacked;      /* one bar for each category, made of the series */
    const char *const *categories;
    size_t category_count;
    const plot_series *series;
    size_t series_count;
} plot_bars;

/* Horizontal bars from zero, grouped by category, each with its value, and a legend. */
void plot_bars_draw(markup *out, const plot_bars *bars);

/* A range drawn above a histogram. */
typedef struct plot_range {
    const char *name;
    double low, high;
    int tone;
    const char *others; /* ", x, y": more names, shown as their number; NULL: none */
} plot_range;

/* Counts of `bin_count` bins of equal width over [low, high], on a logarithmic scale because most
 * activations are near zero. */
void plot_histogram(markup *out, const char *description, const char *x_title, const uint64_t *bins,
                    size_t bin_count, double low, double high, const plot_range *ranges,
                    size_t range_count);

/* A line of a list that goes with numbered points. */
typedef struct plot_row {
    size_t number;
    const char *name;
    int tone;
    double value;     /* plot_key(): length of the bar behind the name, if finite */
    const char *text; /* at the right; NULL in plot_strips(): none */
} plot_row;

/* Number, name and value of each row, on a bar of the value's length. */
void plot_key(markup *out, const char *description, const plot_row *rows, size_t count);

/* How values are spread. What is not finite is not drawn. */
typedef struct plot_strip {
    plot_row row;
    double low, lower, middle, upper, high; /* quantiles: line, thick line and dot */
    double worst;                           /* a stroke across */
} plot_strip;

/* Strips on a common logarithmic axis; values of 0 stand at its left end. */
void plot_strips(markup *out, const char *description, const char *x_title, const plot_strip *rows,
                 size_t count);

typedef struct plot_dots {
    const char *description;
    svg_axis axis;            /* values outside stand at its ends */
    const char *const *names; /* of the lines */
    size_t count;
    const plot_series *series; /* up to 16 */
    size_t series_count;
    int connected; /* the dots of a series, from line to line */
} plot_dots;

/* A dot for each series on each line. Names that begin alike up to a number, such as
 * "encoder.layer.3.", stand below it without it. */
void plot_dots_draw(markup *out, const plot_dots *dots);

/* A number format as boxes, one for each bit. */
typedef struct plot_bit_row {
    const char *name, *note;     /* note: below the boxes */
    unsigned exponent, fraction; /* bits after the sign; exponent 0: an integer */
} plot_bit_row;

void plot_bits(markup *out, const char *description, const plot_bit_row *rows, size_t count);

/* Numbers that a format has between the ends of a plot. */
typedef struct plot_comb {
    const char *name;
    int tone;
    const double *values; /* ascending */
    size_t count;
    int solid; /* closer together than can be drawn: `values` are the two ends of a band */
} plot_comb;

/* Lines of numbers, a tooth for each, on a common axis; above them a histogram of `bin_count` bins
 * over the whole axis, or none if that is 0. */
void plot_combs(markup *out, const char *description, const svg_axis *axis, const uint64_t *bins,
                size_t bin_count, const plot_comb *combs, size_t count);

/* Steps over powers of two: value i of a series holds from 2^(first + i) to the next power; what is
 * not finite is left out. Behind them how many of all values are there, as a share of the largest
 * number. The y axis is logarithmic; y values are above 0. */
typedef struct plot_steps {
    const char *description, *x_title, *y_title;
    int first;
    size_t count;
    const uint64_t *counts; /* [count] */
    const plot_series *series;
    size_t series_count;
} plot_steps;

void plot_steps_draw(markup *out, const plot_steps *steps);

#endif
