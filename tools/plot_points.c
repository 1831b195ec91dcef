#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define RADIUS       5.5
#define LABEL_HEIGHT 15.0
#define MAX_LABELS   64
#define LEFT_MARGIN  52.0
#define TOP_MARGIN   24.0

static double overlap(svg_box a, svg_box b)
{
    const double width = fmin(a.x + a.width, b.x + b.width) - fmax(a.x, b.x);
    const double height = fmin(a.y + a.height, b.y + b.height) - fmax(a.y, b.y);
    return width > 0 && height > 0 ? width * height : 0;
}

static double outside(svg_box box, svg_box frame)
{
    return box.width * box.height - overlap(box, frame);
}

/* Boxes that a new label must not cover. */
typedef struct obstacles {
    svg_box boxes[2 * MAX_LABELS];
    size_t count;
} obstacles;

static svg_box label_box(double x, double y, double width, int direction, double distance)
{
    /* Right, left, above, below, then the corners. */
    static const double across[] = {1, -1, 0, 0, 0.8, 0.8, -0.8, -0.8};
    static const double down[] = {0, 0, -1, 1, -0.8, 0.8, -0.8, 0.8};
    const double dx = across[direction];
    const double left = dx > 0   ? x + dx * distance
                        : dx < 0 ? x + dx * distance - width
                                 : x - width / 2;
    const double middle = y + down[direction] * (distance + (dx == 0 ? LABEL_HEIGHT / 2 : 0));
    return (svg_box){left, middle - LABEL_HEIGHT / 2, width, LABEL_HEIGHT};
}

/* The free place nearest to the point, or the one that covers least. */
static svg_box place_label(const obstacles *taken, svg_box frame, double x, double y, double width,
                           double *distance)
{
    svg_box best = {0};
    double best_cost = INFINITY;
    for (double away = RADIUS + 4; away < 110; away += 9) {
        for (int direction = 0; direction < 8; direction++) {
            const svg_box box = label_box(x, y, width, direction, away);
            double cost = 20 * outside(box, frame) + 0.02 * away + 0.01 * direction;
            for (size_t i = 0; i < taken->count; i++) {
                cost += overlap(box, taken->boxes[i]);
            }
            if (cost < best_cost) {
                best_cost = cost;
                best = box;
                *distance = away;
            }
        }
    }
    return best;
}

/* The line from a moved label to its point: to the nearest edge of the label. */
static void draw_leader(markup *out, svg_box label, double x, double y)
{
    const double to_x = fmin(fmax(x, label.x), label.x + label.width);
    const double to_y = fmin(fmax(y, label.y + 2), label.y + label.height - 2);
    svg_line(out, x, y, to_x, to_y, "leader");
}

static void draw_labels(markup *out, svg_box frame, const svg_axis *across, const svg_axis *up,
                        const plot_point *points, size_t count)
{
    obstacles taken = {.count = 0};
    const size_t labelled = count < MAX_LABELS ? count : MAX_LABELS;
    for (size_t i = 0; i < labelled; i++) {
        const double x = svg_position(across, points[i].x, frame.x, frame.x + frame.width);
        const double y = svg_position(up, points[i].y, frame.y + frame.height, frame.y);
        taken.boxes[taken.count++] = (svg_box){x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS};
    }
    for (size_t i = 0; i < labelled; i++) {
        char name[64];
        svg_shorten(points[i].label, 24, name, sizeof name);
        const double x = svg_position(across, points[i].x, frame.x, frame.x + frame.width);
        const double y = svg_position(up, points[i].y, frame.y + frame.height, frame.y);
        double distance = 0;
        const svg_box box = place_label(&taken, frame, x, y, svg_text_width(name), &distance);
        taken.boxes[taken.count++] = box;
        if (distance > RADIUS + 8) {
            draw_leader(out, box, x, y);
        }
        svg_text(out, box.x, box.y + LABEL_HEIGHT - 3.5, "ink", "start", name);
    }
}

void plot_scatter(markup *out, const char *description, const char *x_title, const char *y_title,
                  const plot_point *points, size_t count)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        x_low = fmin(x_low, points[i].x);
        x_high = fmax(x_high, points[i].x);
        y_low = fmin(y_low, points[i].y);
        y_high = fmax(y_high, points[i].y);
    }
    if (!isfinite(x_low + x_high + y_low + y_high)) {
        return;
    }
    const svg_box frame = {LEFT_MARGIN, TOP_MARGIN, SVG_WIDTH - LEFT_MARGIN - 8, 260};
    const double margin = 0.15 * (y_high - y_low);
    const svg_axis across = svg_axis_around(x_title, 0, x_high * 1.1, 5);
    const svg_axis up = svg_axis_around(y_title, y_low - margin, y_high + margin, 5);
    svg_begin(out, TOP_MARGIN + frame.height + 42, description);
    svg_axis_x(out, frame, &across);
    svg_axis_y(out, frame, &up);
    for (size_t i = 0; i < count; i++) {
        const double x = svg_position(&across, points[i].x, frame.x, frame.x + frame.width);
        const double y = svg_position(&up, points[i].y, frame.y + frame.height, frame.y);
        markup_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" class=\"t%d ring\"><title>", x,
                   y, RADIUS, points[i].tone % SVG_TONES);
        markup_text(out, points[i].label);
        markup_add(out, ": %.4g, %.4g</title></circle>\n", points[i].x, points[i].y);
    }
    draw_labels(out, frame, &across, &up, points, count);
    svg_end(out);
}

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
    const char *names[MAX_LABELS];
    int tones[MAX_LABELS];
    size_t shown = 0;
    for (size_t s = 0; s < series_count && shown < MAX_LABELS; s++) {
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
    const svg_axis across = {.title = x_title, .low = x[0], .high = x[count - 1], .logarithmic = 1};
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
