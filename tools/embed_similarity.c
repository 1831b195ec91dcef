#include "tools/embed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/output.h"
#include "tools/utf8.h"

#define LANES 16 /* sums beside each other, which a compiler can keep in vectors */

static double dot(const float *a, const float *b, size_t columns)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= columns; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += (double)a[i + lane] * (double)b[i + lane];
        }
    }
    double sum = 0;
    for (; i < columns; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}

double embed_cosine(const float *a, const float *b, size_t columns)
{
    const double lengths = sqrt(dot(a, a, columns)) * sqrt(dot(b, b, columns));
    return lengths > 0 ? dot(a, b, columns) / lengths : NAN;
}

void embed_offer(embed *self, const embed_match *match)
{
    size_t place = self->match_count;
    while (place > 0 && (match->cosine > self->matches[place - 1].cosine ||
                         isnan(self->matches[place - 1].cosine))) {
        place--;
    }
    memmove(self->matches + place + 1, self->matches + place,
            (self->match_count - place) * sizeof *self->matches);
    self->matches[place] = *match;
    if (self->match_count < self->options->top) {
        self->match_count++;
    } else if (self->query != NULL) {
        free(self->matches[self->match_count].line.text);
    }
}

/* Of any two lines. Lines are put to length 1, so that a pair takes one product. */
void embed_find_pairs(embed *self)
{
    const size_t columns = self->columns;
    if (self->kept_count <= EMBED_MATRIX_LINES) {
        return;
    }
    for (size_t i = 0; i < self->kept_count; i++) {
        float *row = self->kept + i * columns;
        const double length = sqrt(dot(row, row, columns));
        for (size_t c = 0; c < columns && length > 0; c++) {
            row[c] = (float)(row[c] / length);
        }
    }
    command_progress progress =
        command_progress_begin("comparing", self->kept_count, self->call->common.quiet);
    for (size_t i = 0; i < self->kept_count; i++) {
        command_progress_update(&progress, i);
        for (size_t j = i + 1; j < self->kept_count; j++) {
            const double cosine = dot(self->kept + i * columns, self->kept + j * columns, columns);
            if (self->match_count < self->options->top ||
                cosine > self->matches[self->match_count - 1].cosine) {
                embed_offer(self, &(embed_match){.line = self->kept_lines[i],
                                                 .other = self->kept_lines[j],
                                                 .cosine = cosine});
            }
        }
    }
    command_progress_end(&progress);
}

static double cosine_of(const embed *self, size_t i, size_t j)
{
    return embed_cosine(self->kept + i * self->columns, self->kept + j * self->columns,
                        self->columns);
}

static void add_text(table *rows, const embed_line *line)
{
    char *shown = utf8_shown(line->text, line->bytes);
    table_text(rows, shown);
    free(shown);
}

static void add_matrix(table *rows, const embed *self)
{
    table_column(rows, "line", TABLE_RIGHT);
    table_column(rows, "text", TABLE_LEFT);
    for (size_t i = 0; i < self->kept_count; i++) {
        char number[24];
        snprintf(number, sizeof number, "%llu", (unsigned long long)self->kept_lines[i].number);
        table_column(rows, number, TABLE_RIGHT);
    }
    for (size_t i = 0; i < self->kept_count; i++) {
        table_integer(rows, self->kept_lines[i].number);
        add_text(rows, &self->kept_lines[i]);
        for (size_t j = 0; j < self->kept_count; j++) {
            table_number(rows, cosine_of(self, i, j), self->format == TABLE_CSV ? 6 : 3);
        }
    }
}

static void add_matches(table *rows, const embed *self)
{
    const int pairs = self->query == NULL;
    table_column(rows, "cosine", TABLE_RIGHT);
    table_column(rows, "line", TABLE_RIGHT);
    table_column(rows, "text", TABLE_LEFT);
    if (pairs) {
        table_column(rows, "line", TABLE_RIGHT);
        table_column(rows, "text", TABLE_LEFT);
    }
    for (size_t i = 0; i < self->match_count; i++) {
        const embed_match *match = &self->matches[i];
        table_number(rows, match->cosine, self->format == TABLE_CSV ? 6 : 4);
        table_integer(rows, match->line.number);
        add_text(rows, &match->line);
        if (pairs) {
            table_integer(rows, match->other.number);
            add_text(rows, &match->other);
        }
    }
}

static int has_matrix(const embed *self)
{
    return self->options->similarity && self->kept_count <= EMBED_MATRIX_LINES;
}

void embed_print_similarity(const embed *self)
{
    table *rows = table_create();
    if (has_matrix(self)) {
        add_matrix(rows, self);
    } else {
        add_matches(rows, self);
    }
    table_print(rows, self->format, stdout);
    table_free(rows);
}

static json_t *match_json(const embed_match *match, int pair)
{
    json_t *object = command_json_object();
    command_json_set(object, "cosine", command_json_number(match->cosine));
    command_json_set(object, "line", command_json_integer(match->line.number));
    if (pair) {
        command_json_set(object, "other", command_json_integer(match->other.number));
    }
    return object;
}

void embed_set_similarity(const embed *self, json_t *object)
{
    json_t *matrix = NULL, *matches = NULL;
    if (has_matrix(self)) {
        matrix = command_json_array();
        for (size_t i = 0; i < self->kept_count; i++) {
            json_t *row = command_json_array();
            for (size_t j = 0; j < self->kept_count; j++) {
                command_json_append(row, command_json_number(cosine_of(self, i, j)));
            }
            command_json_append(matrix, row);
        }
    } else if (self->options->similarity || self->query != NULL) {
        matches = command_json_array();
        for (size_t i = 0; i < self->match_count; i++) {
            command_json_append(matches, match_json(&self->matches[i], self->query == NULL));
        }
    }
    const int pairs = self->options->similarity;
    command_json_set(object, "similarity", matrix != NULL ? matrix : json_null());
    command_json_set(object, "pairs", matches != NULL && pairs ? matches : json_null());
    command_json_set(object, "matches", matches != NULL && !pairs ? matches : json_null());
}
