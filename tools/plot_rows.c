/* Plots with one line for each thing that is compared. */
#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define NUMBER_ROOM 24.0
#define KEY_PITCH   21.0
#define STRIP_PITCH 32.0
#define TOP_AXIS    34.0

/* A number in a circle of the row's colour. */
static void draw_number(markup *out, double y, const plot_row *row)
{
    char number[24];
    snprintf(number, sizeof number, "%zu", row->number);
    markup_add(out, "<circle cx=\"9\" cy=\"%.1f\" r=\"8.5\" class=\"t%d\"/>\n", y,
               row->tone % SVG_TONES);
    svg_text(out, 9, y + 4, "small on", "middle", number);
}

void plot_key(markup *out, const char *description, const plot_row *rows, size_t count)
{
    double most = 0;
    double values = 0;
    for (size_t i = 0; i < count; i++) {
        most = isfinite(rows[i].value) ? fmax(most, rows[i].value) : most;
        values = fmax(values, svg_text_width(rows[i].text));
    }
    const double room = SVG_WIDTH - NUMBER_ROOM - values - 8;
    svg_begin(out, KEY_PITCH * (double)count, description);
    for (size_t i = 0; i < count; i++) {
        const plot_row *row = &rows[i];
        const double y = KEY_PITCH * (double)i;
        if (isfinite(row->value) && row->value > 0) {
            char class[24];
            snprintf(class, sizeof class, "t%d pale", row->tone % SVG_TONES);
            svg_rect(out, (svg_box){NUMBER_ROOM - 4, y + 1, room * row->value / most, 18}, class,
                     NULL);
        }
        draw_number(out, y + 10, row);
        svg_label(out, NUMBER_ROOM, y + 14.5, "ink", "start", row->name, room);
        svg_text(out, SVG_WIDTH, y + 14.5, "ink", "end", row->text);
    }
    svg_end(out);
}

/* Smallest and largest of the values that can stand on the axis. */
static void strip_limits(const plot_strip *rows, size_t count, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        const double values[] = {rows[i].low,   rows[i].lower, rows[i].middle,
                                 rows[i].upper, rows[i].high,  rows[i].worst};
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            if (isfinite(values[k]) && values[k] > 0) {
                *low = fmin(*low, values[k]);
                *high = fmax(*high, values[k]);
            }
        }
    }
}

/* Where a value stands; those too small for the axis at its left end. */
static double strip_x(const svg_axis *axis, svg_box frame, double value)
{
    return svg_position(axis, fmax(value, axis->low), frame.x, frame.x + frame.width);
}

static void draw_strip(markup *out, const svg_axis *axis, svg_box frame, const plot_strip *strip,
                       double y)
{
    const int tone = strip->row.tone % SVG_TONES;
    if (isfinite(strip->low)) {
        markup_add(out, "<path class=\"l%d\" d=\"M%.1f %.1fH%.1f\"/>\n", tone,
                   strip_x(axis, frame, strip->low), y, strip_x(axis, frame, strip->high));
        markup_add(out, "<path class=\"l%d thick\" d=\"M%.1f %.1fH%.1f\"/>\n", tone,
                   strip_x(axis, frame, strip->lower), y, strip_x(axis, frame, strip->upper));
    }
    if (isfinite(strip->worst)) {
        markup_add(out, "<path class=\"l%d\" d=\"M%.1f %.1fv9\"/>\n", tone,
                   strip_x(axis, frame, strip->worst), y - 4.5);
    }
    if (isfinite(strip->middle)) {
        markup_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"t%d ring\"/>\n",
                   strip_x(axis, frame, strip->middle), y, tone);
    }
}

void plot_strips(markup *out, const char *description, const char *x_title, const plot_strip *rows,
                 size_t count)
{
    double low = 0, high = 0;
    strip_limits(rows, count, &low, &high);
    if (!(low <= high)) {
        low = 0.1;
        high = 1;
    }
    const svg_axis axis = {.title = x_title,
                           .low = pow(10, floor(log10(low) - 1e-9)),
                           .high = pow(10, ceil(log10(high) + 1e-9)),
                           .logarithmic = SVG_TENS};
    const svg_box frame = {NUMBER_ROOM, TOP_AXIS, SVG_WIDTH - NUMBER_ROOM - 10,
                           STRIP_PITCH * (double)count + 4};
    svg_begin(out, frame.y + frame.height, description);
    svg_axis_top(out, frame, &axis);
    for (size_t i = 0; i < count; i++) {
        const double y = frame.y + STRIP_PITCH * (double)i;
        draw_number(out, y + 15, &rows[i].row);
        const double text = rows[i].row.text != NULL ? svg_text_width(rows[i].row.text) : 0;
        svg_label(out, NUMBER_ROOM, y + 13, "ink small", "start", rows[i].row.name,
                  SVG_WIDTH - NUMBER_ROOM - text - 10);
        if (text > 0) {
            svg_text(out, SVG_WIDTH, y + 13, "muted small", "end", rows[i].row.text);
        }
        draw_strip(out, &axis, frame, &rows[i], y + 23);
    }
    svg_end(out);
}
