#include "tools/svg.h"

#include "tools/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FONT_SIZE   12.5
#define SMALL_SIZE  11.0
#define BOLDER      1.13 /* how much wider the widest bold letters are */
#define LEGEND_LINE 20.0
#define MAX_TICKS   12
#define TICK_GAP    6.0

/* Widths of the characters from space to tilde in hundredths of the font size, in DejaVu Sans, the
 * widest of the fonts that the page asks for: what fits with it fits with the others. */
static const unsigned char ascii_widths[] = {
    32, 41, 46, 84, 64, 96, 78, 28, 40,  40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 78, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79,
    61, 79, 70, 64, 62, 74, 69, 99, 69,  62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64,
    64, 28, 28, 58, 28, 98, 64, 62, 64,  64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84};

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

/* The width of the character of `bytes` bytes at `text`, in font sizes. A byte that is none is
 * shown as U+FFFD. */
static double character_width(const char *text, size_t bytes)
{
    const unsigned char first = (unsigned char)text[0];
    if (first >= 0x20 && first < 0x7F) {
        return ascii_widths[first - 0x20] / 100.0;
    }
    return bytes == 2 ? 0.85 : 1.1;
}

static size_t character_bytes(const char *text)
{
    const size_t bytes = utf8_sequence(text, 4); /* stops at the terminator */
    return bytes > 0 ? bytes : 1;
}

static double width_in_sizes(const char *text)
{
    double width = 0;
    for (size_t bytes = 0; *text != '\0'; text += bytes) {
        bytes = character_bytes(text);
        width += character_width(text, utf8_sequence(text, 4));
    }
    return width;
}

double svg_text_width(const char *text)
{
    return FONT_SIZE * width_in_sizes(text);
}

static double font_size(const char *class)
{
    return (strstr(class, "small") != NULL ? SMALL_SIZE : FONT_SIZE) *
           (strstr(class, "strong") != NULL ? BOLDER : 1);
}

/* The first place in `text` with at most `width` behind it. */
static const char *tail_of(const char *text, double width)
{
    double left = width_in_sizes(text);
    while (*text != '\0' && left > width) {
        const size_t bytes = character_bytes(text);
        left -= character_width(text, utf8_sequence(text, 4));
        text += bytes;
    }
    return text;
}

void svg_shorten(const char *text, double width, char *buffer, size_t size)
{
    const double room = width / FONT_SIZE;
    if (width_in_sizes(text) <= room) {
        snprintf(buffer, size, "%s", text);
        return;
    }
    /* The end of a layer's name tells more than its middle. */
    const double half = (room - character_width("\xE2\x80\xA6", 3)) / 2;
    const char *head = text;
    double used = 0;
    while (*head != '\0') {
        const size_t bytes = character_bytes(head);
        used += character_width(head, utf8_sequence(head, 4));
        if (used > half) {
            break;
        }
        head += bytes;
    }
    snprintf(buffer, size, "%.*s\xE2\x80\xA6%s", (int)(head - text), text, tail_of(text, half));
}

/* Whether the fonts may draw it wider than assumed: anything but ASCII and common punctuation. */
static int is_unusual(const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte >= 0xC4 && !(byte == 0xE2 && (unsigned char)text[1] == 0x80)) {
            return 1;
        }
    }
    return 0;
}

static void begin_text(markup *out, double x, double y, const char *class, const char *anchor,
                       const char *text)
{
    markup_add(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\"", x, y, class);
    if (strcmp(anchor, "start") != 0) {
        markup_add(out, " text-anchor=\"%s\"", anchor);
    }
    if (is_unusual(text)) { /* takes what it was given, whatever the font has */
        markup_add(out, " textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\"",
                   font_size(class) * width_in_sizes(text));
    }
    markup_add(out, ">");
}

void svg_text(markup *out, double x, double y, const char *class, const char *anchor,
              const char *text)
{
    begin_text(out, x, y, class, anchor, text);
    markup_text(out, text);
    markup_add(out, "</text>\n");
}

void svg_label(markup *out, double x, double y, const char *class, const char *anchor,
               const char *text, double room)
{
    svg_label_titled(out, x, y, class, anchor, text, text, room);
}

void svg_label_titled(markup *out, double x, double y, const char *class, const char *anchor,
                      const char *text, const char *title, double room)
{
    char shown[SVG_SHORTENED];
    svg_shorten(text, room * FONT_SIZE / font_size(class), shown, sizeof shown);
    begin_text(out, x, y, class, anchor, shown);
    if (strcmp(shown, title) != 0) {
        markup_add(out, "<title>");
        markup_text(out, title);
        markup_add(out, "</title>");
    }
    markup_text(out, shown);
    markup_add(out, "</text>\n");
}

double svg_position(const svg_axis *axis, double value, double from, double to)
{
    const double share = axis->logarithmic ? log(value / axis->low) / log(axis->high / axis->low)
                                           : (value - axis->low) / (axis->high - axis->low);
    return from + share * (to - from);
}

typedef struct tick_list {
    double values[MAX_TICKS];
    char texts[MAX_TICKS][32];
    int count;
} tick_list;

/* Powers of `base` inside the axis, every n-th if there are more than fit. */
static void logarithmic_ticks(const svg_axis *axis, double base, int most, tick_list *ticks)
{
    const double low = ceil(log(axis->low) / log(base) - 1e-9);
    const double high = floor(log(axis->high) / log(base) + 1e-9);
    const double stride = fmax(1, ceil((high - low + 1) / most));
    for (double power = low; ticks->count < most && power <= high; power += stride) {
        const double value = pow(base, power);
        snprintf(ticks->texts[ticks->count], sizeof ticks->texts[0], "%.6g", value);
        ticks->values[ticks->count++] = value;
    }
}

static tick_list ticks_of(const svg_axis *axis, int wanted)
{
    tick_list list = {.count = 0};
    if (axis->logarithmic != 0) {
        logarithmic_ticks(axis, axis->logarithmic == SVG_TENS ? 10 : 2, MAX_TICKS, &list);
        return list;
    }
    const svg_ticks ticks = svg_nice_ticks(axis->low, axis->high, wanted);
    const double largest = fmax(fabs(axis->low), fabs(axis->high));
    const int short_form = largest >= 1e6 || (ticks.decimals > 4 && largest < 0.1);
    for (; list.count < ticks.count && list.count < MAX_TICKS; list.count++) {
        const double value = ticks.first + list.count * ticks.step;
        const double shown = fabs(value) < 1e-9 * ticks.step ? 0 : value; /* no "-0" */
        list.values[list.count] = value;
        snprintf(list.texts[list.count], sizeof list.texts[0], short_form ? "%.*g" : "%.*f",
                 short_form ? 3 : ticks.decimals, shown);
    }
    return list;
}

double svg_axis_room(const svg_axis *axis)
{
    const tick_list ticks = ticks_of(axis, 5);
    double most = 0;
    for (int i = 0; i < ticks.count; i++) {
        most = fmax(most, svg_text_width(ticks.texts[i]));
    }
    return most + 8;
}

/* The numbers of an x axis, where they neither touch each other nor leave the plot. */
static void tick_texts(markup *out, svg_box box, const svg_axis *axis, const tick_list *ticks,
                       double y)
{
    double taken = -INFINITY;
    for (int i = 0; i < ticks->count; i++) {
        const double x = svg_position(axis, ticks->values[i], box.x, box.x + box.width);
        const double half = svg_text_width(ticks->texts[i]) / 2;
        const double middle = fmax(half, fmin(x, SVG_WIDTH - half));
        if (middle - half >= taken + TICK_GAP) {
            svg_text(out, middle, y, "muted", "middle", ticks->texts[i]);
            taken = middle + half;
        }
    }
}

static void vertical_grid(markup *out, svg_box box, const svg_axis *axis, const tick_list *ticks)
{
    markup_add(out, "<path class=\"grid\" d=\"");
    for (int i = 0; i < ticks->count; i++) {
        markup_add(out, "M%.1f %.1fv%.1f",
                   svg_position(axis, ticks->values[i], box.x, box.x + box.width), box.y,
                   box.height);
    }
    markup_add(out, "\"/>\n");
}

void svg_axis_x(markup *out, svg_box box, const svg_axis *axis)
{
    const tick_list ticks = ticks_of(axis, 5);
    const double bottom = box.y + box.height;
    vertical_grid(out, box, axis, &ticks);
    tick_texts(out, box, axis, &ticks, bottom + 16);
    svg_line(out, box.x, bottom, box.x + box.width, bottom, "axis");
    if (axis->title != NULL) {
        svg_label(out, SVG_WIDTH / 2, bottom + 34, "muted", "middle", axis->title, SVG_WIDTH);
    }
}

void svg_axis_top(markup *out, svg_box box, const svg_axis *axis)
{
    const tick_list ticks = ticks_of(axis, 5);
    vertical_grid(out, box, axis, &ticks);
    tick_texts(out, box, axis, &ticks, box.y - 5);
    if (axis->title != NULL) {
        svg_label(out, SVG_WIDTH, box.y - 23, "muted", "end", axis->title, SVG_WIDTH);
    }
}

void svg_axis_y(markup *out, svg_box box, const svg_axis *axis)
{
    const tick_list ticks = ticks_of(axis, 5);
    markup_add(out, "<path class=\"grid\" d=\"");
    for (int i = 0; i < ticks.count; i++) {
        markup_add(out, "M%.1f %.1fh%.1f", box.x,
                   svg_position(axis, ticks.values[i], box.y + box.height, box.y), box.width);
    }
    markup_add(out, "\"/>\n");
    for (int i = 0; i < ticks.count; i++) {
        const double y = svg_position(axis, ticks.values[i], box.y + box.height, box.y);
        svg_text(out, box.x - 6, y + 4, "muted", "end", ticks.texts[i]);
    }
    if (axis->title != NULL) { /* above the axis, not turned: easier to read */
        svg_label(out, 0, box.y - 12, "muted", "start", axis->title, SVG_WIDTH);
    }
}

double svg_legend(markup *out, double y, const char *const *names, const int *tones, size_t count)
{
    double x = 0;
    double line = y;
    for (size_t i = 0; i < count; i++) {
        const double text = fmin(svg_text_width(names[i]), SVG_WIDTH - 16);
        const double width = 16 + text + 18;
        if (x > 0 && x + width - 18 > SVG_WIDTH) {
            x = 0;
            line += LEGEND_LINE;
        }
        if (out != NULL) {
            char class[16];
            snprintf(class, sizeof class, "t%d", tones[i] % SVG_TONES);
            svg_rect(out, (svg_box){x, line + 3, 11, 11}, class, NULL);
            svg_label(out, x + 16, line + 13, "ink", "start", names[i], text + 0.1);
        }
        x += width;
    }
    return line + LEGEND_LINE - y;
}
