/* Parts of the command that need no model: statistics, markup, axes, report. */
#include "tools/markup.h"
#include "tools/report.h"
#include "tools/statistics.h"
#include "tools/svg.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Test(tools, statistics_of_known_samples)
{
    double samples[] = {4, 1, 3, 2};
    const statistics found = statistics_of(samples, 4);
    cr_assert_eq(found.count, 4);
    cr_assert_eq(found.min, 1);
    cr_assert_eq(found.median, 2.5);
    cr_assert_eq(found.mean, 2.5);
    cr_assert_eq(found.p99, 4);
    cr_assert_float_eq(found.sd, sqrt(5.0 / 3.0), 1e-15);
}

Test(tools, statistics_of_one_and_of_none)
{
    double one[] = {7};
    const statistics single = statistics_of(one, 1);
    cr_assert(single.min == 7 && single.median == 7 && single.mean == 7 && single.p99 == 7);
    cr_assert_eq(single.sd, 0);
    const statistics none = statistics_of(NULL, 0);
    cr_assert_eq(none.count, 0);
    cr_assert(isnan(none.min) && isnan(none.median) && isnan(none.mean) && isnan(none.p99));
}

Test(tools, p99_is_the_nearest_rank)
{
    double samples[201];
    for (int i = 0; i < 100; i++) {
        samples[i] = 100 - i;
    }
    cr_assert_eq(statistics_of(samples, 100).p99, 99);
    for (int i = 0; i < 201; i++) {
        samples[i] = i + 1;
    }
    const statistics found = statistics_of(samples, 201);
    cr_assert_eq(found.p99, 199); /* 0.99 * 201 = 198.99 */
    cr_assert_eq(found.median, 101);
}

Test(tools, clock_runs_forward)
{
    uint64_t before = statistics_now_ns();
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = statistics_now_ns();
        cr_assert_geq(now, before);
        before = now;
    }
}

static void check_text(const char *text, const char *expected)
{
    markup out = {0};
    markup_text(&out, text);
    cr_assert_str_eq(out.bytes, expected);
    cr_assert_eq(out.length, strlen(expected));
    markup_free(&out);
    cr_assert_null(out.bytes);
}

Test(tools, text_is_escaped)
{
    check_text("<b>\"a\" & 'c'</b>", "&lt;b&gt;&quot;a&quot; &amp; &#39;c&#39;&lt;/b&gt;");
    check_text("fc1 \xC2\xB5s \xE2\x88\x9E \xF0\x9F\x98\x80", "fc1 \xC2\xB5s \xE2\x88\x9E "
                                                              "\xF0\x9F\x98\x80");
    check_text("a\tb\nc", "a\tb\nc");
}

Test(tools, bytes_that_xml_forbids_are_replaced)
{
    check_text("a\x01z", "a\xEF\xBF\xBDz");
    check_text("\x7F", "\xEF\xBF\xBD");
    check_text("a\xFFz", "a\xEF\xBF\xBDz");
    check_text("\xC3", "\xEF\xBF\xBD");                                 /* cut off */
    check_text("\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD");                 /* overlong */
    check_text("\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* surrogate */
}

Test(tools, markup_grows)
{
    markup out = {0};
    for (int i = 0; i < 20000; i++) {
        markup_add(&out, "%05d", i);
    }
    cr_assert_eq(out.length, 100000);
    cr_assert_eq(strncmp(out.bytes + 99995, "19999", 6), 0);
    markup_free(&out);
}

Test(tools, ticks_are_round_numbers)
{
    const svg_ticks small = svg_nice_ticks(0, 0.37, 5);
    cr_assert_float_eq(small.step, 0.1, 1e-12);
    cr_assert_eq(small.count, 4);
    cr_assert_eq(small.decimals, 1);
    const svg_ticks large = svg_nice_ticks(-130, 950, 5);
    cr_assert_eq(large.step, 200);
    cr_assert_float_eq(large.first, 0, 1e-9);
    cr_assert_eq(large.count, 5);
    cr_assert_eq(large.decimals, 0);
    const svg_axis axis = svg_axis_around("x", 89.31, 89.52, 5);
    cr_assert(axis.low <= 89.31 && axis.high >= 89.52 && axis.high - axis.low < 0.4);
    const svg_axis point = svg_axis_around("x", 3, 3, 5);
    cr_assert(point.low < 3 && point.high > 3);
}

Test(tools, positions_on_axes)
{
    const svg_axis linear = {.low = -1, .high = 3};
    cr_assert_eq(svg_position(&linear, 1, 0, 100), 50);
    const svg_axis logarithmic = {.low = 1, .high = 64, .logarithmic = 1};
    cr_assert_float_eq(svg_position(&logarithmic, 8, 0, 100), 50, 1e-9);
}

Test(tools, long_names_keep_both_ends)
{
    char text[64];
    svg_shorten("encoder.layer.11.output.dense", 90, text, sizeof text);
    cr_assert_str_eq(text, "enco\xE2\x80\xA6"
                           "ense");
    cr_assert_leq(svg_text_width(text), 90);
    svg_shorten("fc1", 90, text, sizeof text);
    cr_assert_str_eq(text, "fc1");
}

static size_t files_in(const char *folder)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    cr_assert_not_null(directory);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count - 2; /* . and .. */
}

static void fill_page(report *page)
{
    static const report_column columns[] = {{"name", 0}, {"value", 1}};
    const report_card card = {"Accuracy", "89.5 %", "of <fp32>"};
    report_begin(page, "a <title> & more", "subtitle");
    report_cards(page, &card, 1);
    report_section(page, "Section", NULL);
    report_figure_begin(page, "Figure", "text");
    report_figure_end(page);
    report_table_begin(page, "caption", columns, 2);
    report_cell(page, "%s", "fc<1>");
    report_cell_number(page, NAN, 2);
    report_cell(page, "%s", "fc2");
    report_cell_number(page, 1.234, 2);
    report_table_end(page);
}

Test(tools, report_is_one_page_without_outside_resources)
{
    char folder[] = "/tmp/dynq-tools-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof path, "%s/page.html", folder);
    report page = {0};
    fill_page(&page);
    dynq_error error = {0};
    cr_assert_eq(report_check_path(path, &error), DYNQ_OK);
    cr_assert_eq(report_write(&page, path, &error), DYNQ_OK);
    cr_assert_eq(files_in(folder), 1);
    const char *const text = page.body.bytes;
    cr_assert_not_null(strstr(text, "<title>a &lt;title&gt; &amp; more</title>"));
    cr_assert_not_null(strstr(text, "<th scope=\"row\">fc&lt;1&gt;</th>"));
    cr_assert_not_null(strstr(text, "<td class=\"n\">1.23</td>"));
    cr_assert_not_null(strstr(text, "prefers-color-scheme:dark"));
    cr_assert_null(strstr(text, "http"));
    cr_assert_null(strstr(text, "<script"));
    cr_assert_not_null(strstr(text, "</section>"));
    report_free(&page);
    unlink(path);
    rmdir(folder);
}

Test(tools, report_that_cannot_be_written_leaves_nothing)
{
    char folder[] = "/tmp/dynq-tools-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    char path[96];
    report page = {0};
    fill_page(&page);
    dynq_error error = {0};
    snprintf(path, sizeof path, "%s/missing/page.html", folder);
    cr_assert_eq(report_check_path(path, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, path));
    cr_assert_eq(report_write(&page, path, &error), DYNQ_ERR_IO);
    cr_assert_eq(report_check_path(folder, &error), DYNQ_ERR_IO); /* a folder */
    cr_assert_eq(report_write(&page, folder, &error), DYNQ_ERR_IO);
    cr_assert_eq(files_in(folder), 0);
    report_free(&page);
    rmdir(folder);
}
