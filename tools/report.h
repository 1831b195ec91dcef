/* One self-contained HTML page: styles inside, no script, nothing loaded from elsewhere. Light and
 * dark as the reader prefers, one column on a phone, always light on paper. */
#ifndef DYNQ_TOOLS_REPORT_H
#define DYNQ_TOOLS_REPORT_H

#include "tools/markup.h"
#include "tools/plot.h"

#include <dynq/status.h>
#include <stddef.h>

typedef struct report_column {
    const char *heading;
    int numeric; /* aligned to the right */
} report_column;

/* Starts as all zero, then report_begin(). Plots and other markup may be added to `body` directly.
 * Out of memory is noticed once, by report_write(). */
typedef struct report {
    markup body;
    int section_open, figures_open;
    const report_column *columns; /* of the open table */
    size_t column_count, next_column;
} report;

/* Title and one line below it (plain text, as all text here). */
void report_begin(report *page, const char *title, const char *subtitle);
void report_free(report *page);

/* A headline number: what it is, the number, one line about it. */
typedef struct report_card {
    const char *label, *value, *note;
} report_card;
void report_cards(report *page, const report_card *cards, size_t count);

typedef struct report_line {
    const char *text, *code; /* code: what to type; may be NULL */
} report_line;

/* A box with what the page comes to: heading, a sentence, a list of lines. */
void report_verdict(report *page, const char *heading, const char *text, const report_line *lines,
                    size_t count);

/* Begins a section; text may be NULL. */
void report_section(report *page, const char *heading, const char *text);
void report_paragraph(report *page, const char *text);
/* Lines to be copied. */
void report_commands(report *page, const char *text);

/* Begins and ends a figure with a title and an optional line of explanation; between them the
 * caller adds one plot to page->body. Figures in a row stand side by side where there is room. */
void report_figure_begin(report *page, const char *title, const char *text);
void report_figure_end(report *page);
/* Colours and what they stand for, above the plot of a figure. */
void report_figure_key(report *page, const char *const *names, const int *tones, size_t count);
/* Ends the row of figures, before anything that is none. */
void report_close_figures(report *page);
/* Below the plot of a figure. */
void report_figure_facts(report *page, const char *text);

/* A table, cell by cell, row after row; the first cell of a row is its heading. `columns` is
 * borrowed until the end. */
void report_table_begin(report *page, const char *caption, const report_column *columns,
                        size_t count);
void report_cell(report *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The heading of a row: a number in a circle and a name, as in the plots. */
void report_cell_numbered(report *page, size_t number, int tone, const char *text);
/* A dash for NaN, the sign for infinity. */
void report_cell_number(report *page, double value, int decimals);
void report_table_end(report *page);

#define REPORT_LEVELS 6
/* Many numbers at a glance: a row for each node, a numbered column for each variant; the darker,
 * the more of the limits a value is below. */
typedef struct report_matrix {
    const char *caption, *text;
    const plot_row *heads;
    size_t columns, rows;
    const char *const *names, *const *operators, *const *types; /* of the rows */
    const double *values;                                       /* [rows][columns] */
    double limits[REPORT_LEVELS - 1];                           /* descending */
} report_matrix;
void report_matrix_add(report *page, const report_matrix *matrix);

/* Whether a file could be made beside `path`: asked before long work, so that a wrong name is not
 * found out at its end. DYNQ_ERR_IO. */
dynq_status report_check_path(const char *path, dynq_error *error);
/* Completes the page and writes it to a temporary file that is synced and renamed: `path` holds the
 * old contents or all of the new. DYNQ_ERR_MEMORY, DYNQ_ERR_IO. */
dynq_status report_write(report *page, const char *path, dynq_error *error);

#endif
