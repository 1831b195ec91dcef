#include "tools/options.h"

#include <string.h>

#define WIDTH       80
#define HELP_COLUMN 26

void option_print_wrapped(FILE *file, const char *text, size_t column, size_t indent)
{
    const char *word = text;
    int first = 1;
    while (*word != '\0') {
        const size_t length = strcspn(word, " ");
        if (!first && column + 1 + length > WIDTH) {
            fprintf(file, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', file);
            column++;
        }
        fprintf(file, "%.*s", (int)length, word);
        column += length;
        word += length;
        word += strspn(word, " ");
        first = 0;
    }
    fputc('\n', file);
}

int option_listed(const option_entry *entries, const char *name)
{
    for (; entries != NULL && entries->name != NULL; entries++) {
        if (strcmp(entries->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int letter_taken(const option_entry *above, char letter)
{
    for (; above != NULL && above->name != NULL; above++) {
        if (above->letter == letter) {
            return 1;
        }
    }
    return 0;
}

static void print_entry(FILE *file, const option_entry *entry, const option_entry *above)
{
    char left[96];
    char letter[8] = "    ";
    if (entry->letter != '\0' && !letter_taken(above, entry->letter)) {
        snprintf(letter, sizeof letter, "-%c, ", entry->letter);
    }
    const char *argument = entry->argument != NULL ? entry->argument : entry->choices;
    if (entry->kind == OPTION_FLAG) {
        snprintf(left, sizeof left, "  %s--%s", letter, entry->name);
    } else if (entry->bare != NULL) {
        snprintf(left, sizeof left, "  %s--%s[=%s]", letter, entry->name, argument);
    } else {
        snprintf(left, sizeof left, "  %s--%s %s", letter, entry->name, argument);
    }
    char right[2048];
    const char *many = entry->kind == OPTION_LIST ? " (may be repeated)" : "";
    if (entry->required) {
        snprintf(right, sizeof right, "%s (required)%s", entry->help, many);
    } else if (entry->initial != NULL) {
        snprintf(right, sizeof right, "%s (default: %s)%s", entry->help, entry->initial, many);
    } else {
        snprintf(right, sizeof right, "%s%s", entry->help, many);
    }
    const size_t width = strlen(left);
    fputs(left, file);
    if (width + 2 > HELP_COLUMN) {
        fputc('\n', file);
        fprintf(file, "%*s", HELP_COLUMN, "");
    } else {
        fprintf(file, "%*s", (int)(HELP_COLUMN - width), "");
    }
    option_print_wrapped(file, right, HELP_COLUMN, HELP_COLUMN);
}

void option_print_help(FILE *file, const option_entry *entries, const option_entry *above)
{
    for (; entries != NULL && entries->name != NULL; entries++) {
        if (!option_listed(above, entries->name)) {
            print_entry(file, entries, above);
        }
    }
}
