#include "tools/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/allocate.h"

#define PAGE_WIDTH 80
#define COLUMN_GAP 2
/* Columns make room for names of this length; of a TABLE_NAME the end says most. */
#define LONGEST_LEFT 44
#define LONGEST_NAME 29

size_t fit_terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
        size.ws_col > PAGE_WIDTH) {
        return size.ws_col;
    }
    return PAGE_WIDTH;
}

static double value_at(const fit_table *self, size_t row, size_t column)
{
    return self->values[row * self->column_count + column];
}

/* The width of a column in text; 0 if there is nothing in it. */
static size_t column_width(const fit_table *self, size_t column)
{
    const fit_column *what = &self->columns[column];
    size_t width = 0;
    for (size_t r = 0; r < self->row_count; r++) {
        const double value = value_at(self, r, column);
        if (!isnan(value)) {
            const int digits = snprintf(NULL, 0, "%.*f", what->short_decimals, value);
            width = (size_t)digits > width ? (size_t)digits : width;
        }
    }
    const size_t heading = what->short_heading != NULL ? strlen(what->short_heading) : 0;
    return width == 0 ? 0 : width > heading ? width : heading;
}

static size_t name_width(const fit_table *self)
{
    size_t width = table_display_width(self->heading);
    for (size_t r = 0; r < self->row_count; r++) {
        const size_t one = table_display_width(self->names[r]);
        width = one > width ? one : width;
    }
    const size_t longest = self->align == TABLE_NAME ? LONGEST_NAME : LONGEST_LEFT;
    return width < longest ? width : longest;
}

/* Marks the columns that text has, by priority. */
static void choose_columns(const fit_table *self, size_t width, int *shown)
{
    size_t used = name_width(self);
    int most = 0;
    for (size_t c = 0; c < self->column_count; c++) {
        most = self->columns[c].priority > most ? self->columns[c].priority : most;
    }
    for (int priority = 0; priority <= most; priority++) {
        for (size_t c = 0; c < self->column_count; c++) {
            const size_t needed = column_width(self, c);
            if (self->columns[c].priority == priority && self->columns[c].short_heading != NULL &&
                needed > 0 && (priority == 0 || used + COLUMN_GAP + needed <= width)) {
                shown[c] = 1;
                used += COLUMN_GAP + needed;
            }
        }
    }
}

void fit_print(const fit_table *self, table_format format, size_t width, FILE *file)
{
    const int text = format == TABLE_TEXT;
    int *shown = allocate(self->column_count, sizeof *shown);
    if (text) {
        choose_columns(self, width, shown);
    }
    table *rows = table_create();
    table_width(rows, width);
    table_column(rows, self->heading, self->align);
    for (size_t c = 0; c < self->column_count; c++) {
        shown[c] = !text || shown[c];
        if (shown[c]) {
            const fit_column *what = &self->columns[c];
            table_column(rows, text ? what->short_heading : what->heading, TABLE_RIGHT);
        }
    }
    for (size_t r = 0; r < self->row_count; r++) {
        table_text(rows, self->names[r]);
        for (size_t c = 0; c < self->column_count; c++) {
            if (shown[c]) {
                const fit_column *what = &self->columns[c];
                table_number(rows, value_at(self, r, c),
                             text ? what->short_decimals : what->decimals);
            }
        }
    }
    table_print(rows, format, file);
    table_free(rows);
    free(shown);
}
