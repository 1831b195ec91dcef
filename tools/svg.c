#include "tools/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mean width of a character of the system's sans-serif fonts at the plots' 12.5 units. */
#define CHARACTER_WIDTH 6.7
#define LEGEND_LINE     20.0
#define MAX_TICKS       12

svg_ticks svg_nice_ticks(double low, double high, int wanted)
{
    const double rough = (high - low) / (wanted > 0 ? wanted : 1);
    const double power = pow(10, floor(log10(rough)));
    const double fraction = rough / power;
    /* The borders are the geometric means of neighbours: sqrt(2), sqrt(10), sqrt(50). */
    const double factor = fraction < 1.414 ? 1 : fraction < 3.162 ? 2 : fraction < 7.071 ? 5 : 10;
    svg_ticks ticks = {.step = factor * power};
    const double slack = 1e-9 * ticks.step;
    ticks.first = ceil((low - slack) / ticks.step) * ticks.step;
    ticks.count = (int)floor((high + slack - ticks.first) / ticks.step) + 1;
    const double digits = -floor(log10(ticks.step) + 1e-9);
    ticks.decimals = digits > 0 ? (int)digits : 0;
    return ticks;
}

svg_axis svg_axis_around(const char *title, double low, double high, int wanted)
{
    if (!(high > low)) {
        const double room = low == 0 ? 1 : 0.1 * fabs(low);
        low -= room;
        high += room;
    }
    const double step = svg_nice_ticks(low, high, wanted).step;
    return (svg_axis){.title = title,
                      .low = floor(low / step + 1e-9) * step,
                      .high = ceil(high / step - 1e-9) * step};
}

void svg_begin(markup *out, double height, const char *description)
{
    markup_add(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", SVG_WIDTH, height);
    markup_text(out, description);
    markup_add(out, "\">\n");
}

void svg_end(markup *out)
{
    markup_add(out, "</svg>\n");
}

void svg_text(markup *out, double x, double y, const char *class, const char *anchor,
              const char *text)
{
    markup_add(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class,
               anchor);
    markup_text(out, text);
    markup_add(out, "</text>\n");
}

void svg_line(markup *out, double x1, double y1, double x2, double y2, const char *class)
{
    markup_add(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1,
               y1, x2, y2, class);
}

void svg_rect(markup *out, svg_box box, const char *class, const char *tooltip)
{
    markup_add(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"",
               box.x, box.y, box.width, box.height, class);
    if (tooltip == NULL) {
        markup_add(out, "/>\n");
        return;
    }
    markup_add(out, "><title>");
    markup_text(out, tooltip);
    markup_add(out, "</title></rect>\n");
}

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return count;
}

double svg_text_width(const char *text)
{
    return CHARACTER_WIDTH * (double)characters(text);
}

/* The byte after the first `count` characters. */
static const char *skip(const char *text, size_t count)
{
    while (*text != '\0') {
        if (((unsigned char)*text & 0xC0) != 0x80 && count-- == 0) {
            break;
        }
        text++;
    }
    return text;
}

void svg_shorten(const char *text, size_t limit, char *buffer, size_t size)
{
    const size_t count = characters(text);
    if (count <= limit) {
        snprintf(buffer, size, "%s", text);
        return;
    }
    /* The end of a layer's name tells more than its middle. */
    const size_t tail = limit / 2;
    const size_t head = limit - 1 - tail;
    snprintf(buffer, size, "%.*s\xE2\x80\xA6%s", (int)(skip(text, head) - text), text,
             skip(text, count - tail));
}

double svg_position(const svg_axis *axis, double value, double from, double to)
{
    const double share = axis->logarithmic ? log(value / axis->low) / log(axis->high / axis->low)
                                           : (value - axis->low) / (axis->high - axis->low);
    return from + share * (to - from);
}

/* Fills the tick values of an axis; returns how many, and the decimals to print. */
static int tick_values(const svg_axis *axis, int wanted, double values[MAX_TICKS], int *decimals)
{
    int count = 0;
    if (axis->logarithmic) {
        const double octaves = log2(axis->high / axis->low);
        const double factor = exp2(ceil(octaves / (MAX_TICKS - 1)));
        *decimals = axis->low < 1 ? 2 : 0;
        for (double value = exp2(ceil(log2(axis->low) - 1e-9));
             count < MAX_TICKS && value <= axis->high * (1 + 1e-9); value *= factor) {
            values[count++] = value;
        }
        return count;
    }
    const svg_ticks ticks = svg_nice_ticks(axis->low, axis->high, wanted);
    *decimals = ticks.decimals;
    for (; count < ticks.count && count < MAX_TICKS; count++) {
        const double value = ticks.first + count * ticks.step;
        values[count] = fabs(value) < 1e-9 * ticks.step ? 0 : value; /* no "-0" */
    }
    return count;
}

void svg_axis_x(markup *out, svg_box box, const svg_axis *axis)
{
    double values[MAX_TICKS];
    int decimals = 0;
    const int count = tick_values(axis, 5, values, &decimals);
    const double bottom = box.y + box.height;
    for (int i = 0; i < count; i++) {
        const double x = svg_position(axis, values[i], box.x, box.x + box.width);
        char text[48];
        snprintf(text, sizeof text, "%.*f", decimals, values[i]);
        svg_line(out, x, box.y, x, bottom, "grid");
        svg_text(out, x, bottom + 16, "muted", "middle", text);
    }
    svg_line(out, box.x, bottom, box.x + box.width, bottom, "axis");
    if (axis->title != NULL) {
        svg_text(out, box.x + box.width / 2, bottom + 34, "muted", "middle", axis->title);
    }
}

void svg_axis_y(markup *out, svg_box box, const svg_axis *axis)
{
    double values[MAX_TICKS];
    int decimals = 0;
    const int count = tick_values(axis, 5, values, &decimals);
    for (int i = 0; i < count; i++) {
        const double y = svg_position(axis, values[i], box.y + box.height, box.y);
        char text[48];
        snprintf(text, sizeof text, "%.*f", decimals, values[i]);
        svg_line(out, box.x, y, box.x + box.width, y, "grid");
        svg_text(out, box.x - 6, y + 4, "muted", "end", text);
    }
    if (axis->title != NULL) { /* above the axis, not turned: easier to read */
        svg_text(out, 0, box.y - 10, "muted", "start", axis->title);
    }
}

double svg_legend(markup *out, double y, const char *const *names, const int *tones, size_t count)
{
    double x = 0;
    double line = y;
    for (size_t i = 0; i < count; i++) {
        char name[128];
        svg_shorten(names[i], 56, name, sizeof name);
        const double width = 16 + 1.08 * svg_text_width(name) + 18; /* wide letters need room */
        if (x > 0 && x + width - 18 > SVG_WIDTH) {
            x = 0;
            line += LEGEND_LINE;
        }
        if (out != NULL) {
            char class[16];
            snprintf(class, sizeof class, "t%d", tones[i] % SVG_TONES);
            svg_rect(out, (svg_box){x, line + 3, 11, 11}, class, NULL);
            svg_text(out, x + 16, line + 13, "ink", "start", name);
        }
        x += width;
    }
    return line + LEGEND_LINE - y;
}
