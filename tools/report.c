#include "tools/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Data colours t0 to t7, chosen to be told apart by colour-blind readers on both backgrounds. */
static const char colours_light[] =
    "--page:#f6f7f9;--card:#fff;--ink:#17202b;--muted:#5b6673;--grid:#e3e7ec;--axis:#8c96a3;"
    "--t0:#7b8794;--t1:#2a6fd6;--t2:#d9730d;--t3:#12906b;--t4:#8250df;--t5:#c8357d;--t6:#a88700;"
    "--t7:#0f8ea8;";
static const char colours_dark[] =
    "--page:#11161d;--card:#1a212b;--ink:#e8edf3;--muted:#9ba7b5;--grid:#2c3642;--axis:#6b7785;"
    "--t0:#93a0af;--t1:#5b9cf5;--t2:#f0954a;--t3:#3fbf94;--t4:#ab8bf2;--t5:#ee74ac;--t6:#d2b23c;"
    "--t7:#45bcd6;";

static const char style[] =
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "main{max-width:1080px;margin:0 auto;padding:24px 16px 48px}"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}"
    "h2{font-size:1.2rem;margin:36px 0 4px}"
    "p{margin:4px 0 12px;max-width:72ch;overflow-wrap:anywhere}.sub,.note{color:var(--muted)}"
    ".cards{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));"
    "margin:20px 0}"
    ".card,figure,.table{background:var(--card);border:1px solid var(--grid);border-radius:10px}"
    ".card{padding:12px 14px}.card b{display:block;font-size:1.5rem;line-height:1.3}"
    ".card span{color:var(--muted);font-size:.85rem;display:block;line-height:1.35;"
    "overflow-wrap:anywhere}"
    ".figures{display:grid;gap:16px;align-items:start;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}"
    "figure{margin:0;padding:14px 16px 16px;max-width:640px;min-width:0;break-inside:avoid}"
    "figcaption{margin-bottom:12px}figcaption b{display:block;overflow-wrap:anywhere}"
    "figcaption span{color:var(--muted);font-size:.85rem;line-height:1.35;display:block}"
    "svg{display:block;width:100%;height:auto;overflow:visible}"
    "svg text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    "fill:var(--ink)}"
    "svg text.muted{fill:var(--muted)}svg text.strong{font-weight:600}"
    "svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--axis)}"
    "svg .leader{stroke:var(--axis);stroke-width:.8}svg .ring{stroke:var(--card);stroke-width:1.5}"
    "svg .area{fill:var(--t0);opacity:.55}svg .dash{stroke-dasharray:4 3;stroke-width:1.2}"
    ".table{overflow-x:auto;margin:12px 0 16px}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;padding:10px 12px 4px;font-weight:600}"
    "th,td{padding:6px 12px;text-align:left;white-space:nowrap;border-top:1px solid var(--grid)}"
    "thead th{border-top:0;color:var(--muted);font-weight:600;font-size:.82rem;"
    "vertical-align:bottom}"
    "tbody th{font-weight:500;position:sticky;left:0;background:var(--card)}.n{text-align:right}"
    "@media(max-width:500px){main{padding:16px 12px 40px}h1{font-size:1.4rem}th,td{padding:5px "
    "8px}}"
    "@media print{main{max-width:none;padding:0}body{font-size:11pt}h2{break-after:avoid}"
    ".table{overflow:visible}th,td{padding:3px 6px;white-space:normal}"
    ".figures{grid-template-columns:1fr 1fr}}";

/* An element with plain text inside. */
static void element(markup *out, const char *tag, const char *text)
{
    const size_t name = strcspn(tag, " ");
    markup_add(out, "<%s>", tag);
    markup_text(out, text);
    markup_add(out, "</%.*s>\n", (int)name, tag);
}

static void add_style(markup *out)
{
    markup_add(out, "<style>:root{color-scheme:light dark;%s}", colours_light);
    markup_add(out, "@media screen and (prefers-color-scheme:dark){:root{%s}}", colours_dark);
    markup_add(out, "%s", style);
    for (int tone = 0; tone < 8; tone++) {
        markup_add(out, "svg .t%d{fill:var(--t%d)}", tone, tone);
        markup_add(out, "svg .l%d{stroke:var(--t%d);stroke-width:2;fill:none}", tone, tone);
    }
    markup_add(out, "@media print{*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
                    "</style>\n");
}

void report_begin(report *page, const char *title, const char *subtitle)
{
    markup *out = &page->body;
    markup_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    element(out, "title", title);
    add_style(out);
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

static void close_figures(report *page)
{
    if (page->figures_open) {
        markup_add(&page->body, "</div>\n");
        page->figures_open = 0;
    }
}

static void close_section(report *page)
{
    close_figures(page);
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
    close_figures(page);
    element(&page->body, "p", text);
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

void report_figure_end(report *page)
{
    markup_add(&page->body, "</figure>\n");
}

void report_table_begin(report *page, const char *caption, const report_column *columns,
                        size_t count)
{
    close_figures(page);
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
    page->next_column = (c + 1) % page->column_count;
    if (page->next_column == 0) {
        markup_add(out, "</tr>\n");
    }
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

/* Writes all of `page` and closes the descriptor; 0 or an errno. */
static int write_all(int descriptor, const markup *page)
{
    int failure = 0;
    for (size_t done = 0; done < page->length && failure == 0;) {
        const ssize_t count = write(descriptor, page->bytes + done, page->length - done);
        if (count >= 0) {
            done += (size_t)count;
        } else if (errno != EINTR) {
            failure = errno;
        }
    }
    /* A new file of mkstemp() is private; a report is an ordinary file. */
    const mode_t mask = umask(0);
    umask(mask);
    if (failure == 0 && (fchmod(descriptor, 0666 & ~mask) != 0 || fsync(descriptor) != 0)) {
        failure = errno;
    }
    if (close(descriptor) != 0 && failure == 0) {
        failure = errno;
    }
    return failure;
}

dynq_status report_write(report *page, const char *path, dynq_error *error)
{
    close_section(page);
    markup_add(&page->body, "</main>\n</body>\n</html>\n");
    if (page->body.failed) {
        return fail(error, DYNQ_ERR_MEMORY, "out of memory for the report %s", path);
    }
    const size_t size = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(size);
    if (temporary == NULL) {
        return fail(error, DYNQ_ERR_MEMORY, "out of memory for the report %s", path);
    }
    snprintf(temporary, size, "%s.XXXXXX", path);
    const int descriptor = mkstemp(temporary);
    if (descriptor < 0) {
        const int failure = errno;
        free(temporary);
        return fail(error, DYNQ_ERR_IO, "cannot write %s: %s", path, strerror(failure));
    }
    int failure = write_all(descriptor, &page->body);
    if (failure == 0 && rename(temporary, path) != 0) {
        failure = errno;
    }
    if (failure != 0) {
        unlink(temporary);
    }
    free(temporary);
    return failure == 0 ? DYNQ_OK
                        : fail(error, DYNQ_ERR_IO, "cannot write %s: %s", path, strerror(failure));
}
