/* Plots of the report page, each one complete SVG element of SVG_WIDTH units. Values that are not
 * finite are left out of the drawing and named where a value is printed. */
#ifndef DYNQ_TOOLS_PLOT_H
#define DYNQ_TOOLS_PLOT_H

#include "tools/markup.h"

#include <stddef.h>
#include <stdint.h>

typedef struct plot_point {
    double x, y;
    const char *label;
    int tone;
} plot_point;

/* Labelled points. Labels are moved until they cover neither a point nor another label; a thin line
 * then leads to the point. */
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
} plot_range;

/* Counts of `bin_count` bins of equal width over [low, high], on a logarithmic scale because most
 * activations are near zero. */
void plot_histogram(markup *out, const char *description, const char *x_title, const uint64_t *bins,
                    size_t bin_count, double low, double high, const plot_range *ranges,
                    size_t range_count);

#endif
