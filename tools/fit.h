/* A table whose columns are chosen by how much fits on a line. */
#ifndef DYNQ_TOOLS_FIT_H
#define DYNQ_TOOLS_FIT_H

#include "tools/table.h"

#include <stddef.h>
#include <stdio.h>

typedef struct fit_column {
    const char *heading;       /* in Markdown and CSV */
    const char *short_heading; /* in text; NULL: not there */
    int decimals, short_decimals;
    int priority; /* of a place on the line: small numbers first, 0 for one that is never left out
                   */
} fit_column;

/* The first column holds names, the others numbers: values[row * column_count + column]. In text,
 * columns that do not fit into `width` are left out, and those that have no value at all. */
typedef struct fit_table {
    const char *heading;
    table_align align; /* of the names */
    const char *const *names;
    size_t row_count;
    const fit_column *columns;
    size_t column_count;
    const double *values;
} fit_table;

/* Columns that the terminal behind stdout has; 80 for anything else, and at least that. */
size_t fit_terminal_width(void);
void fit_print(const fit_table *self, table_format format, size_t width, FILE *file);

#endif
