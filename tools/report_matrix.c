#include "tools/report.h"

#include <math.h>

/* How far below the limits a value is; 0 where there is none. */
static int level_of(const report_matrix *matrix, double value)
{
    int level = 0;
    while (level < REPORT_LEVELS - 1 && value < matrix->limits[level]) {
        level++;
    }
    return level;
}

static void add_matrix_cell(markup *out, const report_matrix *matrix, double value)
{
    const int level = level_of(matrix, value);
    if (level > 0) {
        markup_add(out, "<td class=\"n h%d\">", level);
    } else {
        markup_add(out, "<td class=\"n\">");
    }
    if (isfinite(value)) {
        markup_add(out, "%.1f</td>", value);
    } else {
        markup_add(out, isnan(value) ? "\xE2\x80\x93</td>" : "\xE2\x88\x9E</td>");
    }
}

void report_matrix_add(report *page, const report_matrix *matrix)
{
    markup *out = &page->body;
    report_close_figures(page);
    markup_add(out, "<div class=\"table\"><p class=\"caption\"><b>");
    markup_text(out, matrix->caption);
    markup_add(out, "</b>");
    markup_text(out, matrix->text);
    markup_add(out, "</p>\n<div class=\"scroll\"><table class=\"matrix\">\n<thead><tr>");
    markup_add(out, "<th scope=\"col\">node</th><th scope=\"col\">operator</th>"
                    "<th scope=\"col\">type</th>");
    for (size_t c = 0; c < matrix->columns; c++) {
        const plot_row *column = &matrix->heads[c];
        markup_add(out, "<th class=\"n\" scope=\"col\"><span class=\"chip c%d\" title=\"",
                   column->tone);
        markup_text(out, column->name);
        markup_add(out, "\">%zu</span></th>", column->number);
    }
    markup_add(out, "</tr></thead>\n<tbody>\n");
    for (size_t r = 0; r < matrix->rows; r++) {
        markup_add(out, "<tr><th scope=\"row\" title=\"");
        markup_text(out, matrix->names[r]);
        markup_add(out, "\">");
        markup_text(out, matrix->names[r]);
        markup_add(out, "</th><td class=\"k\">%s</td><td class=\"k\">%s</td>", matrix->operators[r],
                   matrix->types[r]);
        for (size_t c = 0; c < matrix->columns; c++) {
            add_matrix_cell(out, matrix, matrix->values[r * matrix->columns + c]);
        }
        markup_add(out, "</tr>\n");
    }
    markup_add(out, "</tbody></table></div></div>\n");
}
