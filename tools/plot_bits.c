#include "tools/plot.h"

#include "tools/svg.h"

#include <math.h>
#include <stdio.h>

#define NAMES      52.0
#define PITCH      5.4 /* 64 bits are as wide as the plot */
#define BOX        4.4
#define BOX_HEIGHT 13.0
#define ROW_HEIGHT 39.0

enum { TONE_SIGN = 2, TONE_EXPONENT = 1, TONE_FRACTION = 3, TONE_INTEGER = 4 };

/* `count` boxes from bit `first` on. */
static void draw_boxes(markup *out, double y, unsigned first, unsigned count, int tone)
{
    if (count == 0) {
        return;
    }
    markup_add(out, "<path class=\"t%d\" d=\"", tone);
    for (unsigned i = first; i < first + count; i++) {
        markup_add(out, "M%.1f %.1fh%.1fv%.1fh-%.1fz", NAMES + PITCH * i, y, BOX, BOX_HEIGHT, BOX);
    }
    markup_add(out, "\"/>\n");
}

void plot_bits(markup *out, const char *description, const plot_bit_row *rows, size_t count)
{
    static const char *const names[] = {"sign", "exponent", "fraction", "magnitude of an integer"};
    static const int tones[] = {TONE_SIGN, TONE_EXPONENT, TONE_FRACTION, TONE_INTEGER};
    const double top = svg_legend(NULL, 0, names, tones, 4) + 8;
    svg_begin(out, top + ROW_HEIGHT * (double)count, description);
    svg_legend(out, 0, names, tones, 4);
    for (size_t i = 0; i < count; i++) {
        const plot_bit_row *row = &rows[i];
        const double y = top + ROW_HEIGHT * (double)i;
        svg_label(out, 0, y + 11, "strong", "start", row->name, NAMES - 6);
        draw_boxes(out, y, 0, 1, TONE_SIGN);
        draw_boxes(out, y, 1, row->exponent, TONE_EXPONENT);
        draw_boxes(out, y, 1 + row->exponent, row->fraction,
                   row->exponent > 0 ? TONE_FRACTION : TONE_INTEGER);
        svg_label(out, NAMES, y + 26, "muted small", "start", row->note, SVG_WIDTH - NAMES);
    }
    svg_end(out);
}
