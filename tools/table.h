/* Small tables, printed as text, Markdown or CSV. */
#ifndef DYNQ_TOOLS_TABLE_H
#define DYNQ_TOOLS_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum table_format { TABLE_TEXT = 1, TABLE_MARKDOWN, TABLE_CSV } table_format;

typedef enum table_align {
    TABLE_LEFT = 1,
    TABLE_RIGHT,
    TABLE_NAME /* left; the end of a name like encoder.layer.0.output says most: where it is
                * shortened, the beginning goes, and not before the other columns */
} table_align;

/* Columns first, then cells, row after row. Running out of memory ends the program. */
typedef struct table table;

table *table_create(void);
void table_free(table *self);

/* Adds a column. Only before the first cell. */
void table_column(table *self, const char *header, table_align align);

/* Each adds the next cell of the current row; a row is complete after as many cells as columns. */
void table_text(table *self, const char *text);             /* NULL: as table_empty() */
void table_number(table *self, double value, int decimals); /* NaN: as table_empty() */
void table_integer(table *self, uint64_t value);
/* Nothing to say: "-" in text and Markdown, nothing in CSV. */
void table_empty(table *self);

/* How wide text may be; 80 unless set. */
void table_width(table *self, size_t width);

/* Text: columns aligned by display width, two spaces apart, at most so wide where shortening its
 * left-aligned columns allows it, no trailing spaces. CSV: as in RFC 4180, but with plain newlines
 * between the lines. */
void table_print(const table *self, table_format format, FILE *file);

/* Terminal columns that UTF-8 text takes: combining marks 0, East Asian wide characters 2. */
size_t table_display_width(const char *text);

#endif
