#include "tools/report.h"

#include "tools/replace.h"

#include "tools/report_style.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An element with plain text inside. */
static void element(markup *out, const char *tag, const char *text)
{
    const size_t name = strcspn(tag, " ");
    markup_add(out, "<%s>", tag);
    markup_text(out, text);
    markup_add(out, "</%.*s>\n", (int)name, tag);
}

void report_begin(report *page, const char *title, const char *subtitle)
{
    markup *out = &page->body;
    markup_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    element(out, "title", title);
    report_add_style(out);
    markup_add(out, "</head>\n<body>\n<main>\n");
    element(out, "h1", title);
    element(out, "p class=\"sub\"", subtitle);
}

void report_free(report *page)
{
    markup_free(&page->body);
    *page = (report){0};
}

void report_cards(report *page, const report_card *cards, size_t count)
{
    markup *out = &page->body;
    markup_add(out, "<div class=\"cards\">\n");
    for (size_t i = 0; i < count; i++) {
        markup_add(out, "<div class=\"card\">");
        element(out, "span", cards[i].label);
        element(out, "b", cards[i].value);
        element(out, "span", cards[i].note);
        markup_add(out, "</div>\n");
    }
    markup_add(out, "</div>\n");
}

void report_verdict(report *page, const char *heading, const char *text, const report_line *lines,
                    size_t count)
{
    markup *out = &page->body;
    markup_add(out, "<div class=\"verdict\">");
    element(out, "h2", heading);
    element(out, "p", text);
    if (count > 0) {
        markup_add(out, "<ul>\n");
        for (size_t i = 0; i < count; i++) {
            markup_add(out, "<li>");
            markup_text(out, lines[i].text);
            if (lines[i].code != NULL) {
                markup_add(out, " ");
                element(out, "code", lines[i].code);
            }
            markup_add(out, "</li>\n");
        }
        markup_add(out, "</ul>\n");
    }
    markup_add(out, "</div>\n");
}

void report_close_figures(report *page)
{
    if (page->figures_open) {
        markup_add(&page->body, "</div>\n");
        page->figures_open = 0;
    }
}

static void close_section(report *page)
{
    report_close_figures(page);
    if (page->section_open) {
        markup_add(&page->body, "</section>\n");
        page->section_open = 0;
    }
}

void report_section(report *page, const char *heading, const char *text)
{
    close_section(page);
    markup_add(&page->body, "<section>\n");
    page->section_open = 1;
    element(&page->body, "h2", heading);
    if (text != NULL) {
        element(&page->body, "p class=\"note\"", text);
    }
}

void report_paragraph(report *page, const char *text)
{
    report_close_figures(page);
    element(&page->body, "p", text);
}

void report_commands(report *page, const char *text)
{
    report_close_figures(page);
    element(&page->body, "pre", text);
}

void report_figure_begin(report *page, const char *title, const char *text)
{
    if (!page->figures_open) {
        markup_add(&page->body, "<div class=\"figures\">\n");
        page->figures_open = 1;
    }
    markup_add(&page->body, "<figure><figcaption>");
    element(&page->body, "b", title);
    if (text != NULL) {
        element(&page->body, "span", text);
    }
    markup_add(&page->body, "</figcaption>\n");
}

void report_figure_key(report *page, const char *const *names, const int *tones, size_t count)
{
    markup_add(&page->body, "<p class=\"key\">");
    for (size_t i = 0; i < count; i++) {
        markup_add(&page->body, "<span><i class=\"c%d\"></i>", tones[i]);
        markup_text(&page->body, names[i]);
        markup_add(&page->body, "</span> ");
    }
    markup_add(&page->body, "</p>\n");
}

void report_figure_facts(report *page, const char *text)
{
    element(&page->body, "p class=\"facts\"", text);
}

void report_figure_end(report *page)
{
    markup_add(&page->body, "</figure>\n");
}

void report_table_begin(report *page, const char *caption, const report_column *columns,
                        size_t count)
{
    report_close_figures(page);
    markup *out = &page->body;
    markup_add(out, "<div class=\"table\"><table>\n");
    if (caption != NULL) {
        element(out, "caption", caption);
    }
    markup_add(out, "<thead><tr>");
    for (size_t c = 0; c < count; c++) {
        element(out, columns[c].numeric ? "th class=\"n\" scope=\"col\"" : "th scope=\"col\"",
                columns[c].heading);
    }
    markup_add(out, "</tr></thead>\n<tbody>\n");
    page->columns = columns;
    page->column_count = count;
    page->next_column = 0;
}

static void end_cell(report *page)
{
    page->next_column = (page->next_column + 1) % page->column_count;
    if (page->next_column == 0) {
        markup_add(&page->body, "</tr>\n");
    }
}

static void add_cell(report *page, const char *text)
{
    markup *out = &page->body;
    const size_t c = page->next_column;
    if (c == 0) {
        markup_add(out, "<tr>");
    }
    element(out,
            c == 0                     ? "th scope=\"row\""
            : page->columns[c].numeric ? "td class=\"n\""
                                       : "td",
            text);
    end_cell(page);
}

void report_cell_numbered(report *page, size_t number, int tone, const char *text)
{
    markup *out = &page->body;
    markup_add(out, "<tr><th scope=\"row\"><span class=\"chip c%d\">%zu</span>", tone, number);
    markup_text(out, text);
    markup_add(out, "</th>");
    end_cell(page);
}

void report_cell(report *page, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_cell(page, text);
}

void report_cell_number(report *page, double value, int decimals)
{
    if (isnan(value)) {
        add_cell(page, "\xE2\x80\x93");
    } else if (isinf(value)) {
        add_cell(page, value > 0 ? "\xE2\x88\x9E" : "-\xE2\x88\x9E");
    } else {
        report_cell(page, "%.*f", decimals, value);
    }
}

void report_table_end(report *page)
{
    markup_add(&page->body, "</tbody></table></div>\n");
}

static dynq_status fail(dynq_error *error, dynq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static dynq_status fail(dynq_error *error, dynq_status status, const char *format, ...)
{
    if (error != NULL) {
        error->status = status;
        error->offset = DYNQ_NO_OFFSET;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

/* The folder that will hold `path`, or NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return strdup(".");
    }
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

dynq_status report_check_path(const char *path, dynq_error *error)
{
    struct stat info;
    if (path[0] == '\0') {
        return fail(error, DYNQ_ERR_IO, "the name of the HTML file is empty");
    }
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return fail(error, DYNQ_ERR_IO, "%s is a folder; give the name of an HTML file", path);
    }
    char *folder = folder_of(path);
    if (folder == NULL) {
        return fail(error, DYNQ_ERR_MEMORY, "out of memory");
    }
    dynq_status status = DYNQ_OK;
    if (stat(folder, &info) != 0) {
        status = fail(error, DYNQ_ERR_IO, "cannot write %s: %s: %s", path, folder, strerror(errno));
    } else if (!S_ISDIR(info.st_mode)) {
        status = fail(error, DYNQ_ERR_IO, "cannot write %s: %s is not a folder", path, folder);
    } else if (access(folder, W_OK | X_OK) != 0) {
        status = fail(error, DYNQ_ERR_IO, "cannot write %s: %s: %s", path, folder, strerror(errno));
    }
    free(folder);
    return status;
}

dynq_status report_write(report *page, const char *path, dynq_error *error)
{
    close_section(page);
    markup_add(&page->body, "</main>\n</body>\n</html>\n");
    if (page->body.failed) {
        return fail(error, DYNQ_ERR_MEMORY, "out of memory for the report %s", path);
    }
    return replace_file(path, page->body.bytes, page->body.length, error);
}
