#include "tools/table.h"

#include "tools/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_WIDTH   80
#define COLUMN_GAP   2
#define LEAST_SHRUNK 8  /* a column is not shortened below this */
#define NAME_KEPT    29 /* nor names below this before others: ELLIPSIS and the last parts of one */
#define ELLIPSIS     "\xE2\x80\xA6"

typedef struct column {
    char *header;
    table_align align;
} column;

struct table {
    column *columns;
    size_t column_count;
    size_t width;
    char **cells; /* row after row; NULL: empty */
    size_t cell_count, cell_room;
};

/* Ranges of characters that take no column, then of those that take two: the common ones. */
typedef struct width_range {
    uint32_t first, last;
    size_t width;
} width_range;

static const width_range width_ranges[] = {
    {0x0300, 0x036F, 0}, {0x200B, 0x200F, 0},   {0x20D0, 0x20FF, 0},   {0xFE00, 0xFE0F, 0},
    {0xFE20, 0xFE2F, 0}, {0x1100, 0x115F, 2},   {0x2E80, 0x303E, 2},   {0x3041, 0xA4CF, 2},
    {0xAC00, 0xD7A3, 2}, {0xF900, 0xFAFF, 2},   {0xFE30, 0xFE6F, 2},   {0xFF00, 0xFF60, 2},
    {0xFFE0, 0xFFE6, 2}, {0x1F300, 0x1F64F, 2}, {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
};

/* The next character; a byte that does not begin a sequence counts as one character. */
static uint32_t next_character(const char **text)
{
    const unsigned char *bytes = (const unsigned char *)*text;
    const size_t more = bytes[0] >= 0xF0 ? 3 : bytes[0] >= 0xE0 ? 2 : bytes[0] >= 0xC0 ? 1 : 0;
    uint32_t character = more == 0 ? bytes[0] : bytes[0] & (0x3Fu >> more);
    size_t used = 1;
    for (; used <= more && (bytes[used] & 0xC0) == 0x80; used++) {
        character = character << 6 | (bytes[used] & 0x3Fu);
    }
    *text += used;
    return character;
}

static size_t character_width(uint32_t character)
{
    for (size_t i = 0; i < sizeof width_ranges / sizeof *width_ranges; i++) {
        if (character >= width_ranges[i].first && character <= width_ranges[i].last) {
            return width_ranges[i].width;
        }
    }
    return 1;
}

size_t table_display_width(const char *text)
{
    size_t width = 0;
    while (*text != '\0') {
        width += character_width(next_character(&text));
    }
    return width;
}

table *table_create(void)
{
    table *self = allocate(1, sizeof *self);
    self->width = PAGE_WIDTH;
    return self;
}

void table_width(table *self, size_t width)
{
    self->width = width;
}

void table_free(table *self)
{
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->column_count; i++) {
        free(self->columns[i].header);
    }
    for (size_t i = 0; i < self->cell_count; i++) {
        free(self->cells[i]);
    }
    free(self->columns);
    free(self->cells);
    free(self);
}

void table_column(table *self, const char *header, table_align align)
{
    self->columns = allocate_again(self->columns, self->column_count + 1, sizeof *self->columns);
    self->columns[self->column_count++] = (column){allocate_text(header), align};
}

static void add_cell(table *self, char *cell)
{
    if (self->cell_count == self->cell_room) {
        self->cell_room = self->cell_room == 0 ? 64 : 2 * self->cell_room;
        self->cells = allocate_again(self->cells, self->cell_room, sizeof *self->cells);
    }
    self->cells[self->cell_count++] = cell;
}

void table_text(table *self, const char *text)
{
    add_cell(self, text == NULL ? NULL : allocate_text(text));
}

void table_number(table *self, double value, int decimals)
{
    if (isnan(value)) {
        table_empty(self);
        return;
    }
    char text[400]; /* the largest double has 309 digits */
    snprintf(text, sizeof text, "%.*f", decimals, value);
    table_text(self, text);
}

void table_integer(table *self, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    table_text(self, text);
}

void table_empty(table *self)
{
    table_text(self, NULL);
}

static const char *cell_at(const table *self, size_t row, size_t number)
{
    const size_t index = row * self->column_count + number;
    return index < self->cell_count && self->cells[index] != NULL ? self->cells[index] : NULL;
}

static size_t row_count(const table *self)
{
    return (self->cell_count + self->column_count - 1) / self->column_count;
}

/* Prints `text` in at most `width` columns, its end replaced by an ellipsis where it is longer. */
static void print_shortened(FILE *file, const char *text, size_t width)
{
    if (table_display_width(text) <= width) {
        fputs(text, file);
        return;
    }
    const char *end = text;
    for (size_t used = 0;;) {
        const char *next = end;
        used += character_width(next_character(&next));
        if (used + 1 > width) {
            break;
        }
        end = next;
    }
    fprintf(file, "%.*s" ELLIPSIS, (int)(end - text), text);
}

/* The same with the beginning replaced. */
static void print_end(FILE *file, const char *text, size_t width)
{
    size_t left = table_display_width(text);
    if (left <= width) {
        fputs(text, file);
        return;
    }
    while (left + 1 > width) {
        left -= character_width(next_character(&text));
    }
    fprintf(file, ELLIPSIS "%s", text);
}

/* The widest left-aligned column that is wider than it must be; without one, their number. */
static size_t widest_column(const table *self, const size_t *widths, size_t name_kept)
{
    size_t widest = self->column_count;
    for (size_t i = 0; i < self->column_count; i++) {
        const table_align align = self->columns[i].align;
        const size_t least = align == TABLE_NAME ? name_kept : LEAST_SHRUNK;
        if (align != TABLE_RIGHT && widths[i] > least &&
            (widest == self->column_count || widths[i] > widths[widest])) {
            widest = i;
        }
    }
    return widest;
}

/* Takes from the widest left-aligned column until the table fits. */
static void shrink(const table *self, size_t *widths)
{
    size_t total = COLUMN_GAP * (self->column_count - 1);
    for (size_t i = 0; i < self->column_count; i++) {
        total += widths[i];
    }
    for (; total > self->width; total--) {
        size_t widest = widest_column(self, widths, NAME_KEPT);
        if (widest == self->column_count) {
            widest = widest_column(self, widths, LEAST_SHRUNK);
        }
        if (widest == self->column_count) {
            return;
        }
        widths[widest]--;
    }
}

/* Spaces are held back in *gap until something follows them: no line ends with one. */
static void print_text_cell(const table *self, size_t number, const char *text,
                            const size_t *widths, size_t *gap, FILE *file)
{
    const size_t width = table_display_width(text);
    const size_t space = width < widths[number] ? widths[number] - width : 0;
    const int right = self->columns[number].align == TABLE_RIGHT;
    *gap += right ? space : 0;
    if (*text != '\0') {
        fprintf(file, "%*s", (int)*gap, "");
        if (self->columns[number].align == TABLE_NAME) {
            print_end(file, text, widths[number]);
        } else {
            print_shortened(file, text, widths[number]);
        }
        *gap = 0;
    }
    *gap += COLUMN_GAP + (right ? 0 : space);
    if (number + 1 == self->column_count) {
        fputc('\n', file);
        *gap = 0;
    }
}

static void print_as_text(const table *self, FILE *file)
{
    size_t *widths = allocate(self->column_count, sizeof *widths);
    for (size_t i = 0; i < self->column_count; i++) {
        widths[i] = table_display_width(self->columns[i].header);
        for (size_t row = 0; row < row_count(self); row++) {
            const char *cell = cell_at(self, row, i);
            const size_t width = table_display_width(cell != NULL ? cell : "-");
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    shrink(self, widths);
    size_t gap = 0;
    for (size_t i = 0; i < self->column_count; i++) {
        print_text_cell(self, i, self->columns[i].header, widths, &gap, file);
    }
    for (size_t row = 0; row < row_count(self); row++) {
        for (size_t i = 0; i < self->column_count; i++) {
            const char *cell = cell_at(self, row, i);
            print_text_cell(self, i, cell != NULL ? cell : "-", widths, &gap, file);
        }
    }
    free(widths);
}

static void print_markdown_cell(const char *text, FILE *file)
{
    fputc(' ', file);
    for (; *text != '\0'; text++) {
        if (*text == '|' || *text == '\\') {
            fputc('\\', file);
        }
        fputc(*text == '\n' ? ' ' : *text, file);
    }
    fputs(" |", file);
}

static void print_as_markdown(const table *self, FILE *file)
{
    fputc('|', file);
    for (size_t i = 0; i < self->column_count; i++) {
        print_markdown_cell(self->columns[i].header, file);
    }
    fputs("\n|", file);
    for (size_t i = 0; i < self->column_count; i++) {
        fputs(self->columns[i].align == TABLE_RIGHT ? " ---: |" : " --- |", file);
    }
    fputc('\n', file);
    for (size_t row = 0; row < row_count(self); row++) {
        fputc('|', file);
        for (size_t i = 0; i < self->column_count; i++) {
            const char *cell = cell_at(self, row, i);
            print_markdown_cell(cell != NULL ? cell : "-", file);
        }
        fputc('\n', file);
    }
}

static void print_csv_cell(const char *text, int last, FILE *file)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, file);
    } else {
        fputc('"', file);
        for (; *text != '\0'; text++) {
            if (*text == '"') {
                fputc('"', file);
            }
            fputc(*text, file);
        }
        fputc('"', file);
    }
    fputc(last ? '\n' : ',', file);
}

static void print_as_csv(const table *self, FILE *file)
{
    const size_t count = self->column_count;
    for (size_t i = 0; i < count; i++) {
        print_csv_cell(self->columns[i].header, i + 1 == count, file);
    }
    for (size_t row = 0; row < row_count(self); row++) {
        for (size_t i = 0; i < count; i++) {
            const char *cell = cell_at(self, row, i);
            print_csv_cell(cell != NULL ? cell : "", i + 1 == count, file);
        }
    }
}

void table_print(const table *self, table_format format, FILE *file)
{
    if (self->column_count == 0) {
        return;
    }
    switch (format) {
    case TABLE_TEXT: print_as_text(self, file); break;
    case TABLE_MARKDOWN: print_as_markdown(self, file); break;
    case TABLE_CSV: print_as_csv(self, file); break;
    }
}
