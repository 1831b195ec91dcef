/* Where the labels of points stand. */
#ifndef DYNQ_TOOLS_PLOT_PLACE_H
#define DYNQ_TOOLS_PLOT_PLACE_H

#include "tools/svg.h"

#include <stddef.h>

#define PLOT_PLACE_MAX    64
#define PLOT_POINT_RADIUS 5.0
#define PLOT_LABEL_HEIGHT 15.0

typedef struct plot_place {
    double x, y;   /* of the point */
    double width;  /* of its label */
    svg_box label; /* result, inside the frame */
    int led;       /* result: so far away that a line must lead to it */
} plot_place;

/* Finds a place for each label (of the first PLOT_PLACE_MAX), near its point, where it covers
 * neither a point nor another label; how many found none and cover something. */
size_t plot_place_labels(svg_box frame, plot_place *places, size_t count);

#endif
