/* Plots of the pages: what they hold is escaped, their labels neither touch nor leave the plot. */
#include "tools/markup.h"
#include "tools/plot.h"
#include "tools/plot_place.h"
#include "tools/svg.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TEXTS 400
#define LINES      24

static const char evil[] = "<script>&\"'";

/* Every `<` of a plot begins a tag of ours, every tag is closed, no number is "nan" or "inf". */
static void check_svg(const markup *out)
{
    cr_assert_not_null(out->bytes);
    cr_assert(!out->failed);
    cr_assert_eq(strncmp(out->bytes, "<svg ", 5), 0);
    cr_assert_not_null(strstr(out->bytes, "</svg>"));
    cr_assert_null(strstr(out->bytes, "<script"));
    cr_assert_null(strstr(out->bytes, "nan"));
    cr_assert_null(strstr(out->bytes, "inf"));
    int depth = 0;
    for (const char *c = strchr(out->bytes, '<'); c != NULL; c = strchr(c + 1, '<')) {
        const char *end = strchr(c, '>');
        cr_assert_not_null(end);
        depth += c[1] == '/' ? -1 : end[-1] == '/' ? 0 : 1;
        cr_assert_geq(depth, 0);
    }
    cr_assert_eq(depth, 0);
}

static int apart(svg_box a, svg_box b)
{
    return a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y ||
           b.y + b.height <= a.y;
}

/* The box of a text element: its width as the plots assume it, its height that of capitals. */
static svg_box box_of(const char *element)
{
    double x = 0, y = 0, given = 0;
    char class[32], text[4096];
    const char *end = strchr(element, '>');
    cr_assert_eq(sscanf(element, "<text x=\"%lf\" y=\"%lf\" class=\"%31[^\"]\"", &x, &y, class), 3);
    const char *from = end + 1;
    if (strncmp(from, "<title>", 7) == 0) {
        from = strstr(from, "</title>") + 8;
    }
    snprintf(text, sizeof text, "%.*s", (int)strcspn(from, "<"), from);
    const char *length = strstr(element, "textLength=\"");
    double width = svg_text_width(text) * (strstr(class, "small") != NULL ? 11 / 12.5 : 1);
    if (length != NULL && length < end) {
        cr_assert_eq(sscanf(length, "textLength=\"%lf\"", &given), 1);
        width = given;
    }
    const char *anchor = strstr(element, "text-anchor=\"");
    if (anchor != NULL && anchor < end) {
        x -= anchor[13] == 'm' ? width / 2 : width;
    }
    return (svg_box){x + 0.1, y - 8, width - 0.2, 8};
}

/* All texts of a plot. */
static void check_texts(const markup *out)
{
    static svg_box boxes[MOST_TEXTS];
    size_t count = 0;
    double height = 0;
    cr_assert_eq(sscanf(out->bytes, "<svg viewBox=\"0 0 400 %lf\"", &height), 1);
    for (const char *c = strstr(out->bytes, "<text"); c != NULL; c = strstr(c + 1, "<text")) {
        cr_assert_lt(count, MOST_TEXTS);
        const svg_box box = box_of(c);
        const int length = (int)strcspn(c, "\n");
        cr_assert(box.x >= -0.1 && box.x + box.width <= SVG_WIDTH + 0.1 && box.y >= -0.1 &&
                      box.y + box.height <= height,
                  "outside the plot: %.*s", length, c);
        for (size_t i = 0; i < count; i++) {
            cr_assert(apart(box, boxes[i]), "covers another text: %.*s", length, c);
        }
        boxes[count++] = box;
    }
}

static void check_and_free(markup *out)
{
    check_svg(out);
    check_texts(out);
    markup_free(out);
}

/* Names that are hard to place: long, wide, without a width of their own, or no text at all. */
static const char *hard_name(size_t index)
{
    static char names[6][256];
    static const char *const parts[] = {
        "W",         "encoder.layer.11.", "\xE6\x9D\xB1\xE4\xBA\xAC", "\xF0\x9F\x90\x98",
        "e\xCC\x81", "\xFF\x80"};
    char *name = names[index % 6];
    const char *part = parts[index % 6];
    name[0] = '\0';
    while (strlen(name) + strlen(part) < sizeof names[0]) {
        strcat(name, part);
    }
    return index % 7 == 0 ? "fc1" : name;
}

Test(plots, names_are_escaped)
{
    const plot_point points[] = {{1, 90, evil, 0}, {1, 90, evil, 1}, {1.01, 90, "other", 2}};
    markup out = {0};
    plot_scatter(&out, evil, evil, evil, points, 3);
    cr_assert_not_null(strstr(out.bytes, "&lt;script&gt;&amp;&quot;&#39;"));
    check_svg(&out);
    markup_free(&out);
    const double values[] = {1, NAN, INFINITY, -3};
    const char *const names[] = {evil, "b", "c", "d"};
    const plot_series series[] = {{evil, 1, values}, {"second", 2, values}};
    plot_bars bars = {.description = evil,
                      .unit = "dB",
                      .categories = names,
                      .category_count = 4,
                      .series = series,
                      .series_count = 2};
    for (bars.stacked = 0; bars.stacked < 2; bars.stacked++) {
        plot_bars_draw(&out, &bars);
        check_svg(&out);
        markup_free(&out);
    }
    const double x[] = {1, 16, 64, 128};
    plot_lines(&out, evil, evil, evil, x, 4, series, 2);
    check_svg(&out);
    markup_free(&out);
    for (int connected = 0; connected < 2; connected++) {
        const plot_dots dots = {.description = evil,
                                .axis = svg_axis_around(evil, -3, 1, 5),
                                .names = names,
                                .count = 4,
                                .series = series,
                                .series_count = 2,
                                .connected = connected};
        plot_dots_draw(&out, &dots);
        check_svg(&out);
        markup_free(&out);
    }
}

Test(plots, histograms_of_ordinary_and_odd_values)
{
    const uint64_t bins[] = {0, 5, 1000000, 3};
    const plot_range ranges[] = {
        {evil, -1, 2, 1, NULL}, {"dynamic", 0, 0.5, 2, ", a, b"}, {hard_name(2), 0, 1, 3, ", max"}};
    const double limits[][2] = {{-0.5, 3},         {0, 0},         {-1e-30, 1e-30},
                                {-3e38, 3e38},     {1e-9, 2e-9},   {-123456.7, 0.001},
                                {0.0004, 0.00041}, {-99999, 99999}};
    markup out = {0};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        plot_histogram(&out, evil, evil, bins, 4, limits[i][0], limits[i][1], ranges,
                       i < 2 ? 3 : 0);
        cr_assert_eq(strstr(out.bytes, "and 2 more") != NULL, i < 2);
        check_and_free(&out);
    }
}

/* Points on top of each other, in a line, in clusters and anywhere: no label covers another one or
 * a point. */
Test(plots, labels_find_places)
{
    const svg_box frame = {60, 20, 330, 290};
    srand(3);
    for (int round = 0; round < 60; round++) {
        plot_place places[PLOT_PLACE_MAX];
        const size_t count = 1 + (size_t)(rand() % (round < 40 ? 24 : PLOT_PLACE_MAX));
        const double spread = round % 4 == 0 ? 0 : pow(2, rand() % 9);
        for (size_t i = 0; i < count; i++) {
            const double x = frame.x + fmin(frame.width, 20 + spread * (rand() % 100) / 100.0);
            const double y = frame.y + fmin(frame.height, 9 + spread * (rand() % 100) / 100.0);
            places[i] = (plot_place){.x = x, .y = round % 5 == 0 ? frame.y : y, .width = 19};
        }
        cr_assert_eq(plot_place_labels(frame, places, count), 0, "round %d", round);
        for (size_t i = 0; i < count; i++) {
            const svg_box box = places[i].label;
            cr_assert(box.x >= frame.x && box.y >= frame.y &&
                      box.x + box.width <= frame.x + frame.width &&
                      box.y + box.height <= frame.y + frame.height);
            for (size_t k = 0; k < count; k++) {
                const double radius = PLOT_POINT_RADIUS;
                const svg_box point = {places[k].x - radius, places[k].y - radius, 2 * radius,
                                       2 * radius};
                cr_assert(apart(box, point), "round %d: label %zu, point %zu", round, i, k);
                cr_assert(k == i || apart(box, places[k].label), "round %d: %zu, %zu", round, i, k);
            }
        }
    }
}

Test(plots, without_room_labels_are_counted)
{
    plot_place places[4] = {{.x = 5, .y = 5, .width = 30}, {.x = 5, .y = 5, .width = 30}};
    const svg_box frame = {0, 0, 40, 20};
    cr_assert_gt(plot_place_labels(frame, places, 2), 0);
}

Test(plots, few_points_are_named_and_many_numbered)
{
    plot_point points[LINES];
    markup out = {0};
    srand(5);
    for (size_t i = 0; i < LINES; i++) {
        points[i] =
            (plot_point){1 + 0.01 * (rand() % 9), 90 + 0.01 * (rand() % 9), "int8-static", (int)i};
    }
    plot_scatter(&out, "d", "x", "y", points, 5);
    cr_assert_not_null(strstr(out.bytes, ">int8-static</text>"));
    check_and_free(&out);
    plot_scatter(&out, "d", "x", "y", points, LINES);
    cr_assert_null(strstr(out.bytes, ">int8-static</text>"));
    cr_assert_not_null(strstr(out.bytes, ">24</text>"));
    check_and_free(&out);
    points[1].label = hard_name(1); /* would have to be cut */
    plot_scatter(&out, "d", "x", "y", points, 3);
    cr_assert_not_null(strstr(out.bytes, ">2</text>"));
    check_and_free(&out);
}

Test(plots, front_joins_what_no_other_beats)
{
    const plot_point points[] = {{1, 10, "a", 0},      {2, 30, "b", 0},
                                 {3, 20, "beaten", 0}, {2, 25, "beaten too", 0},
                                 {4, 40, "c", 0},      {4, 40, "twin of c", 0}};
    markup out = {0};
    plot_scatter(&out, "d", "x", "y", points, 6);
    const char *path = strstr(out.bytes, "class=\"front\"");
    cr_assert_not_null(path);
    size_t corners = 0;
    for (const char *c = strstr(path, "d=\"") + 3; *c != '"'; c++) {
        corners += *c == 'M' || *c == 'L';
    }
    cr_assert_eq(corners, 3);
    markup_free(&out);
}

Test(plots, rows_with_hard_names)
{
    plot_row rows[LINES];
    plot_strip strips[LINES];
    markup out = {0};
    for (size_t i = 0; i < LINES; i++) {
        rows[i] =
            (plot_row){i + 1, hard_name(i), (int)i, i % 5 == 0 ? NAN : 3.0 * (double)i, "101.5 dB"};
        const double base = pow(10, (double)i - 12);
        strips[i] = (plot_strip){rows[i], 0, base, 2 * base, 3 * base, 4 * base, 100 * base};
        strips[i].row.text = i % 2 == 0 ? "0.123, worst 12.3 %" : NULL;
    }
    strips[3] = (plot_strip){rows[3], NAN, NAN, NAN, NAN, NAN, NAN};
    plot_key(&out, evil, rows, LINES);
    check_and_free(&out);
    plot_strips(&out, evil, evil, strips, LINES);
    check_and_free(&out);
    plot_strips(&out, evil, evil, &strips[3], 1);
    check_and_free(&out);
}

Test(plots, dots_with_hard_names)
{
    const char *names[LINES];
    double values[LINES];
    plot_series series[16];
    markup out = {0};
    for (size_t i = 0; i < LINES; i++) {
        names[i] = hard_name(i);
        values[i] = i % 6 == 0 ? NAN : i % 7 == 0 ? INFINITY : (double)i;
    }
    for (size_t s = 0; s < 16; s++) {
        series[s] = (plot_series){hard_name(s), (int)s, values};
    }
    const plot_dots dots = {.description = evil,
                            .axis = svg_axis_around("SQNR in dB", 0.5, 20, 5),
                            .names = names,
                            .count = LINES,
                            .series = series,
                            .series_count = 16,
                            .connected = 1};
    plot_dots_draw(&out, &dots);
    check_and_free(&out);
}

Test(plots, shortened_text_is_never_too_wide)
{
    for (size_t i = 1; i < 7; i++) {
        for (double room = 30; room < SVG_WIDTH; room += 7) {
            char text[SVG_SHORTENED];
            svg_shorten(hard_name(i), room, text, sizeof text);
            cr_assert_leq(svg_text_width(text), room);
            cr_assert_not_null(strstr(text, "\xE2\x80\xA6"));
        }
    }
    markup out = {0};
    svg_label(&out, 0, 0, "ink", "start", hard_name(1), 60);
    cr_assert_not_null(strstr(out.bytes, "<title>encoder.layer.11.encoder.layer.11."));
    markup_free(&out);
}

Test(plots, formats)
{
    const double ends[] = {-70000, 65504}, teeth[] = {-1, 0, 1, 5};
    const plot_comb combs[] = {
        {"fp16", 1, ends, 2, 1}, {"int2", 2, teeth, 4, 0}, {"none", 3, NULL, 0, 0}};
    const svg_axis axis = {.title = "value", .low = -1, .high = 1};
    const uint64_t bins[] = {0, 1000000, 3};
    markup out = {0};
    plot_combs(&out, evil, &axis, bins, 3, combs, 3);
    cr_assert_null(strstr(out.bytes, "x=\"-"));
    check_and_free(&out);
    plot_combs(&out, evil, &axis, NULL, 0, combs, 3);
    check_and_free(&out);
    const plot_bit_row rows[] = {
        {"fp64", "52 of fraction", 11, 52}, {"int2", "", 0, 1}, {"bf16", hard_name(1), 8, 7}};
    plot_bits(&out, evil, rows, 3);
    check_and_free(&out);
    const double values[] = {1e-12, 1, INFINITY, NAN};
    const plot_series series[] = {{"fp16", 1, values}, {"int8", 2, values}};
    const uint64_t counts[] = {0, 1, 5, 0};
    const plot_steps steps = {evil, "x", "y", -30, 4, counts, series, 2};
    plot_steps_draw(&out, &steps);
    check_and_free(&out);
    const plot_comb named = {evil, 1, teeth, 4, 0};
    plot_combs(&out, evil, &axis, NULL, 0, &named, 1);
    check_svg(&out);
    markup_free(&out);
    const double none[] = {NAN, NAN, NAN, NAN};
    const plot_series empty = {"fp16", 1, none};
    const plot_steps nothing = {"d", "x", "y", -30, 4, counts, &empty, 1};
    plot_steps_draw(&out, &nothing);
    cr_assert_null(out.bytes);
}
