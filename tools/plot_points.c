#include "tools/plot.h"

#include "tools/plot_place.h"
#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define FRAME_HEIGHT 270.0
#define POINT_HEIGHT 7.0 /* more height for each point */
#define TOP_MARGIN   26.0
#define MOST_NAMED   8 /* more points than these are numbered */
/* A longer name would have to be cut, which hides what tells it apart. */
#define LONGEST_NAME  170.0
#define LABEL_PADDING 3.0

/* The axes and where they stand. */
typedef struct scatter_frame {
    svg_box box;
    svg_axis across, up;
} scatter_frame;

static double point_x(const scatter_frame *frame, const plot_point *point)
{
    return svg_position(&frame->across, point->x, frame->box.x, frame->box.x + frame->box.width);
}

static double point_y(const scatter_frame *frame, const plot_point *point)
{
    return svg_position(&frame->up, point->y, frame->box.y + frame->box.height, frame->box.y);
}

/* Places names, or with `numbered` 1, 2, ...; how many cover something. */
static size_t place(const scatter_frame *frame, const plot_point *points, size_t count,
                    int numbered, plot_place *places)
{
    for (size_t i = 0; i < count; i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i + 1);
        places[i] = (plot_place){.x = point_x(frame, &points[i]),
                                 .y = point_y(frame, &points[i]),
                                 .width = svg_text_width(numbered ? number : points[i].label) +
                                          LABEL_PADDING};
    }
    return plot_place_labels(frame->box, places, count);
}

static int may_be_named(const plot_point *points, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (svg_text_width(points[i].label) > LONGEST_NAME) {
            return 0;
        }
    }
    return count <= MOST_NAMED;
}

/* The line from a moved label to its point: to the nearest edge of the label. */
static void draw_leader(markup *out, const plot_place *place)
{
    const svg_box label = place->label;
    const double to_x = fmin(fmax(place->x, label.x), label.x + label.width);
    const double to_y = fmin(fmax(place->y, label.y + 2), label.y + label.height - 2);
    svg_line(out, place->x, place->y, to_x, to_y, "leader");
}

static void draw_labels(markup *out, const scatter_frame *frame, const plot_point *points,
                        size_t count)
{
    plot_place places[PLOT_PLACE_MAX];
    const size_t shown = count < PLOT_PLACE_MAX ? count : PLOT_PLACE_MAX;
    int numbered = !may_be_named(points, shown);
    if (!numbered && place(frame, points, shown, 0, places) > 0) {
        numbered = 1;
    }
    if (numbered) {
        place(frame, points, shown, 1, places);
    }
    for (size_t i = 0; i < shown; i++) {
        if (places[i].led) {
            draw_leader(out, &places[i]);
        }
    }
    for (size_t i = 0; i < shown; i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i + 1);
        const svg_box box = places[i].label;
        svg_text(out, box.x + box.width / 2, box.y + PLOT_LABEL_HEIGHT - 3.5, "ink", "middle",
                 numbered ? number : points[i].label);
    }
}

/* Whether no other point is at least as far left and up. */
static int on_front(const plot_point *points, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        const int not_worse = points[i].x <= points[index].x && points[i].y >= points[index].y;
        const int better = points[i].x < points[index].x || points[i].y > points[index].y;
        if (not_worse && (better || i < index)) {
            return 0;
        }
    }
    return 1;
}

/* A line through the points that no other beats on both axes, from left to right. */
static void draw_front(markup *out, const scatter_frame *frame, const plot_point *points,
                       size_t count)
{
    size_t drawn = 0;
    double last = -INFINITY;
    markup_add(out, "<path class=\"front\" d=\"");
    for (int found = 1; found;) {
        size_t next = count;
        for (size_t i = 0; i < count; i++) {
            if (points[i].x > last && on_front(points, count, i) &&
                (next == count || points[i].x < points[next].x)) {
                next = i;
            }
        }
        found = next < count;
        if (found) {
            markup_add(out, "%s%.1f %.1f", drawn++ == 0 ? "M" : "L", point_x(frame, &points[next]),
                       point_y(frame, &points[next]));
            last = points[next].x;
        }
    }
    markup_add(out, "\"/>\n");
}

static void draw_points(markup *out, const scatter_frame *frame, const plot_point *points,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        markup_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" class=\"t%d ring\"><title>",
                   point_x(frame, &points[i]), point_y(frame, &points[i]), PLOT_POINT_RADIUS,
                   points[i].tone % SVG_TONES);
        markup_text(out, points[i].label);
        markup_add(out, ": %.4g, %.6g</title></circle>\n", points[i].x, points[i].y);
    }
}

/* Not extended to whole ticks: the points need the room. */
static svg_axis axis_with_margin(const char *title, double low, double high)
{
    const double margin = 0.07 * (high - low);
    return high > low ? (svg_axis){.title = title, .low = low - margin, .high = high + margin}
                      : svg_axis_around(title, low, high, 5);
}

void plot_scatter(markup *out, const char *description, const char *x_title, const char *y_title,
                  const plot_point *points, size_t count)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    double finite = 0;
    for (size_t i = 0; i < count; i++) {
        finite += points[i].x + points[i].y; /* not finite if one is not */
        x_low = fmin(x_low, points[i].x);
        x_high = fmax(x_high, points[i].x);
        y_low = fmin(y_low, points[i].y);
        y_high = fmax(y_high, points[i].y);
    }
    if (count == 0 || !isfinite(finite)) {
        return;
    }
    scatter_frame frame = {.across = axis_with_margin(x_title, x_low, x_high),
                           .up = axis_with_margin(y_title, y_low, y_high)};
    const double height = FRAME_HEIGHT + POINT_HEIGHT * (double)(count < 24 ? count : 24);
    const double left = svg_axis_room(&frame.up);
    frame.box = (svg_box){left, TOP_MARGIN, SVG_WIDTH - left - 8, height};
    svg_begin(out, TOP_MARGIN + height + 42, description);
    svg_axis_x(out, frame.box, &frame.across);
    svg_axis_y(out, frame.box, &frame.up);
    draw_front(out, &frame, points, count);
    draw_points(out, &frame, points, count);
    draw_labels(out, &frame, points, count);
    svg_end(out);
}
