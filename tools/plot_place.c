#include "tools/plot_place.h"

#include <math.h>

#define DIRECTIONS 16
#define NEAREST    (PLOT_POINT_RADIUS + 4)
#define RING       7.0 /* between circles of places around a point */
#define RINGS      16
#define GRID       6.0 /* between places anywhere, when those near the point are taken */

/* Boxes that a new label must not cover: points and labels. */
typedef struct obstacles {
    svg_box boxes[2 * PLOT_PLACE_MAX];
    size_t count;
} obstacles;

static double overlap(svg_box a, svg_box b)
{
    const double width = fmin(a.x + a.width, b.x + b.width) - fmax(a.x, b.x);
    const double height = fmin(a.y + a.height, b.y + b.height) - fmax(a.y, b.y);
    return width > 0 && height > 0 ? width * height : 0;
}

static double covered(const obstacles *taken, svg_box box)
{
    double area = 0;
    for (size_t i = 0; i < taken->count; i++) {
        area += overlap(box, taken->boxes[i]);
    }
    return area;
}

/* The point of the label where its line ends. */
static double clamp(double value, double low, double high)
{
    return fmin(fmax(value, low), high);
}

/* How many labels the line to the label crosses: not forbidden, but hard to read. */
static double crossed(const obstacles *taken, size_t first_label, svg_box box, double x, double y)
{
    const double to_x = clamp(x, box.x, box.x + box.width);
    const double to_y = clamp(y, box.y, box.y + box.height);
    double count = 0;
    for (size_t i = first_label; i < taken->count; i++) {
        for (int step = 1; step < 12; step++) {
            const double share = step / 12.0;
            const svg_box spot = {x + share * (to_x - x), y + share * (to_y - y), 1, 1};
            if (overlap(spot, taken->boxes[i]) > 0) {
                count += 1;
                break;
            }
        }
    }
    return count;
}

/* A label that touches a circle of radius `away` around the point, in one of the directions,
 * moved into the frame. */
static svg_box label_at(svg_box frame, const plot_place *place, int direction, double away)
{
    const double angle = 2 * 3.14159265358979 * direction / DIRECTIONS;
    const double across = cos(angle), down = sin(angle);
    const double width = place->width, height = PLOT_LABEL_HEIGHT;
    const double x = place->x + across * (away + width / 2) - width / 2;
    const double y = place->y + down * (away + height / 2) - height / 2;
    return (svg_box){clamp(x, frame.x, frame.x + frame.width - width),
                     clamp(y, frame.y, frame.y + frame.height - height), width, height};
}

typedef struct candidate {
    svg_box box;
    double cost, covered;
} candidate;

static void consider(candidate *best, const obstacles *taken, size_t first_label, svg_box box,
                     const plot_place *place)
{
    const double away = hypot(clamp(place->x, box.x, box.x + box.width) - place->x,
                              clamp(place->y, box.y, box.y + box.height) - place->y);
    const double area = covered(taken, box);
    double cost = 1000 * area + away;
    if (cost < best->cost) {
        cost += 25 * crossed(taken, first_label, box, place->x, place->y);
    }
    if (cost < best->cost) {
        *best = (candidate){box, cost, area};
    }
}

static candidate find_place(svg_box frame, const obstacles *taken, size_t first_label,
                            const plot_place *place)
{
    candidate best = {.cost = INFINITY};
    for (int ring = 0; ring < RINGS; ring++) {
        for (int direction = 0; direction < DIRECTIONS; direction++) {
            const svg_box box = label_at(frame, place, direction, NEAREST + ring * RING);
            consider(&best, taken, first_label, box, place);
        }
    }
    if (best.covered > 0) {
        for (double y = frame.y; y + PLOT_LABEL_HEIGHT <= frame.y + frame.height; y += GRID) {
            for (double x = frame.x; x + place->width <= frame.x + frame.width; x += GRID) {
                const svg_box box = {x, y, place->width, PLOT_LABEL_HEIGHT};
                consider(&best, taken, first_label, box, place);
            }
        }
    }
    return best;
}

size_t plot_place_labels(svg_box frame, plot_place *places, size_t count)
{
    obstacles taken = {.count = 0};
    const size_t placed = count < PLOT_PLACE_MAX ? count : PLOT_PLACE_MAX;
    size_t covering = 0;
    for (size_t i = 0; i < placed; i++) {
        taken.boxes[taken.count++] =
            (svg_box){places[i].x - PLOT_POINT_RADIUS, places[i].y - PLOT_POINT_RADIUS,
                      2 * PLOT_POINT_RADIUS, 2 * PLOT_POINT_RADIUS};
    }
    for (size_t i = 0; i < placed; i++) {
        const candidate best = find_place(frame, &taken, placed, &places[i]);
        const svg_box box = best.box;
        const double away = hypot(clamp(places[i].x, box.x, box.x + box.width) - places[i].x,
                                  clamp(places[i].y, box.y, box.y + box.height) - places[i].y);
        covering += best.covered > 0;
        places[i].label = box;
        places[i].led = away > NEAREST + 3;
        taken.boxes[taken.count++] = box;
    }
    return covering + (count - placed);
}
