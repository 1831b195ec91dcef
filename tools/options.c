#include "tools/options.h"

#include "tools/allocate.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* getopt_long() returns the number of the option counted over all groups, plus this: above every
 * letter. */
#define FIRST_VALUE 256

/* The groups flattened, hidden entries left out: what getopt_long() works with. */
typedef struct parser {
    const option_entry **entries;
    void **storage; /* per entry */
    int *given;     /* per entry */
    size_t count;
    struct option *long_options; /* count + help + terminator */
    char *letters;               /* ":" + two per entry + "h" */
    char *message;
    size_t message_size;
} parser;

static void *member(const parser *self, size_t index)
{
    return (char *)self->storage[index] + self->entries[index]->offset;
}

/* Whether `entries` before `end` (NULL: all) have an option of this long name. */
static int has_name(const option_entry *entries, const char *name)
{
    for (; entries != NULL && entries->name != NULL; entries++) {
        if (strcmp(entries->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int has_letter(const parser *self, size_t count, char letter)
{
    for (size_t i = 0; i < count; i++) {
        if (self->entries[i]->letter == letter) {
            return 1;
        }
    }
    return 0;
}

static void collect_entries(parser *self, const option_group *groups, size_t group_count)
{
    size_t room = 0;
    for (size_t g = 0; g < group_count; g++) {
        for (const option_entry *e = groups[g].entries; e != NULL && e->name != NULL; e++) {
            room++;
        }
    }
    self->entries = allocate(room, sizeof *self->entries);
    self->storage = allocate(room, sizeof *self->storage);
    self->given = allocate(room, sizeof *self->given);
    for (size_t g = 0; g < group_count; g++) {
        for (const option_entry *e = groups[g].entries; e != NULL && e->name != NULL; e++) {
            int hidden = 0;
            for (size_t above = 0; above < g; above++) {
                hidden = hidden || has_name(groups[above].entries, e->name);
            }
            if (!hidden) {
                self->entries[self->count] = e;
                self->storage[self->count] = groups[g].storage;
                self->count++;
            }
        }
    }
}

static void prepare_getopt(parser *self)
{
    self->long_options = allocate(self->count + 2, sizeof *self->long_options);
    self->letters = allocate(2 * self->count + 3, 1);
    char *letters = self->letters;
    *letters++ = ':'; /* a missing argument is told apart from an unknown option */
    for (size_t i = 0; i < self->count; i++) {
        const option_entry *entry = self->entries[i];
        const int argument = entry->kind == OPTION_FLAG ? no_argument
                             : entry->bare != NULL      ? optional_argument
                                                        : required_argument;
        self->long_options[i] = (struct option){entry->name, argument, NULL, FIRST_VALUE + (int)i};
        if (entry->letter != '\0' && !has_letter(self, i, entry->letter)) {
            *letters++ = entry->letter;
            if (argument == required_argument) {
                *letters++ = ':';
            }
        }
    }
    self->long_options[self->count] = (struct option){"help", no_argument, NULL, 'h'};
    *letters = 'h';
}

/* Whole text as an unsigned number. */
static int read_unsigned(const char *text, const char *end, uint64_t *value)
{
    if (text == end || *text < '0' || *text > '9') {
        return 0; /* strtoull() would take spaces and a sign */
    }
    char *stop = NULL;
    errno = 0;
    const unsigned long long number = strtoull(text, &stop, 10);
    if (errno != 0 || stop != end) {
        return 0;
    }
    *value = number;
    return 1;
}

static int inside(const option_entry *entry, double value)
{
    const int unlimited = entry->low == 0 && entry->high == 0;
    return unlimited || (value >= entry->low && value <= entry->high);
}

static int refuse(const parser *self, const option_entry *entry, const char *value,
                  const char *expected)
{
    const int limited = entry->low != 0 || entry->high != 0;
    char limits[80] = "";
    if (limited && isfinite(entry->high)) {
        snprintf(limits, sizeof limits, " from %.15g to %.15g", entry->low, entry->high);
    } else if (limited) {
        snprintf(limits, sizeof limits, " of at least %.15g", entry->low);
    }
    snprintf(self->message, self->message_size, "--%s: '%s' is not %s%s", entry->name, value,
             expected, limits);
    return 0;
}

static int store_choice(const parser *self, const option_entry *entry, int *target,
                        const char *value)
{
    const size_t length = strlen(value);
    int number = 1;
    for (const char *choice = entry->choices;; number++) {
        const size_t choice_length = strcspn(choice, "|");
        if (choice_length == length && strncmp(choice, value, length) == 0) {
            *target = number;
            return 1;
        }
        if (choice[choice_length] == '\0') {
            break;
        }
        choice += choice_length + 1;
    }
    char accepted[160];
    snprintf(accepted, sizeof accepted, "%s", entry->choices);
    for (char *bar = accepted; (bar = strchr(bar, '|')) != NULL;) {
        *bar = ',';
    }
    snprintf(self->message, self->message_size, "--%s: '%s' is not accepted; accepted: %s",
             entry->name, value, accepted);
    return 0;
}

static int store_sizes(const parser *self, const option_entry *entry, option_sizes *target,
                       const char *value)
{
    free(target->values); /* of the default */
    *target = (option_sizes){0};
    for (const char *text = value;; text++) {
        const char *const end = text + strcspn(text, ",");
        uint64_t number = 0;
        if (!read_unsigned(text, end, &number) || !inside(entry, (double)number)) {
            return refuse(self, entry, value, "a list like 1,16,64 of whole numbers");
        }
        target->values = allocate_again(target->values, target->count + 1, sizeof *target->values);
        target->values[target->count++] = number;
        if (*end == '\0') {
            return 1;
        }
        text = end;
    }
}

static int store_number(const parser *self, const option_entry *entry, double *target,
                        const char *value)
{
    char *end = NULL;
    const double number = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(number) || !inside(entry, number)) {
        return refuse(self, entry, value, "a number");
    }
    *target = number;
    return 1;
}

static int store(const parser *self, size_t index, const char *value)
{
    const option_entry *entry = self->entries[index];
    void *target = member(self, index);
    switch (entry->kind) {
    case OPTION_FLAG: *(int *)target = 1; return 1;
    case OPTION_STRING: *(const char **)target = value; return 1;
    case OPTION_UNSIGNED:
        if (!read_unsigned(value, value + strlen(value), target) ||
            !inside(entry, (double)*(uint64_t *)target)) {
            return refuse(self, entry, value, "a whole number");
        }
        return 1;
    case OPTION_NUMBER: return store_number(self, entry, target, value);
    case OPTION_CHOICE: return store_choice(self, entry, target, value);
    case OPTION_LIST: {
        option_list *list = target;
        list->items = allocate_again(list->items, list->count + 1, sizeof *list->items);
        list->items[list->count++] = value;
        return 1;
    }
    case OPTION_SIZES: return store_sizes(self, entry, target, value);
    }
    return 0;
}

/* The number of the option that getopt_long() returned. */
static size_t find_option(const parser *self, int value)
{
    if (value >= FIRST_VALUE) {
        return (size_t)(value - FIRST_VALUE);
    }
    size_t index = 0;
    while (index < self->count && self->entries[index]->letter != (char)value) {
        index++;
    }
    return index;
}

static void explain(const parser *self, int result, const char *word)
{
    if (optopt == 0) { /* an unknown or ambiguous long option */
        snprintf(self->message, self->message_size, "unknown option '%s'", word);
    } else if (result == ':') {
        snprintf(self->message, self->message_size, "--%s needs an argument",
                 self->entries[find_option(self, optopt)]->name);
    } else if (optopt >= FIRST_VALUE || optopt == 'h') {
        snprintf(self->message, self->message_size, "'%s': this option takes no argument", word);
    } else {
        snprintf(self->message, self->message_size, "unknown option '-%c'", optopt);
    }
}

static option_result parse_words(parser *self, int argc, char **argv)
{
    opterr = 0;
    optind = 0; /* GNU: start afresh */
    for (;;) {
        const int result = getopt_long(argc, argv, self->letters, self->long_options, NULL);
        if (result == -1) {
            return OPTION_PARSED;
        }
        if (result == 'h') {
            return OPTION_HELP;
        }
        if (result == '?' || result == ':') {
            explain(self, result, argv[optind - 1]);
            return OPTION_REFUSED;
        }
        const size_t index = find_option(self, result);
        if (self->given[index] && self->entries[index]->kind != OPTION_LIST) {
            snprintf(self->message, self->message_size, "--%s is given twice",
                     self->entries[index]->name);
            return OPTION_REFUSED;
        }
        self->given[index] = 1;
        if (!store(self, index, optarg != NULL ? optarg : self->entries[index]->bare)) {
            return OPTION_REFUSED;
        }
    }
}

static option_result check_required(const parser *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const option_entry *entry = self->entries[i];
        if (entry->required && !self->given[i]) {
            snprintf(self->message, self->message_size, "--%s %s is missing", entry->name,
                     entry->argument);
            return OPTION_REFUSED;
        }
    }
    return OPTION_PARSED;
}

/* --help counts even behind something that is wrong. */
static int asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return 1;
        }
    }
    return 0;
}

option_result option_parse(const option_group *groups, size_t group_count, int argc, char **argv,
                           int *first, char *message, size_t message_size)
{
    if (asks_for_help(argc, argv)) {
        return OPTION_HELP;
    }
    parser self = {.message = message, .message_size = message_size};
    collect_entries(&self, groups, group_count);
    prepare_getopt(&self);
    option_result result = OPTION_PARSED;
    for (size_t i = 0; i < self.count && result == OPTION_PARSED; i++) {
        if (self.entries[i]->initial != NULL && !store(&self, i, self.entries[i]->initial)) {
            result = OPTION_REFUSED;
        }
    }
    if (result == OPTION_PARSED) {
        result = parse_words(&self, argc, argv);
        *first = optind;
    }
    if (result == OPTION_PARSED) {
        result = check_required(&self);
    }
    free(self.entries);
    free(self.storage);
    free(self.given);
    free(self.long_options);
    free(self.letters);
    return result;
}

void option_free(const option_group *groups, size_t group_count)
{
    for (size_t g = 0; g < group_count; g++) {
        for (const option_entry *e = groups[g].entries; e != NULL && e->name != NULL; e++) {
            void *target = (char *)groups[g].storage + e->offset;
            if (e->kind == OPTION_LIST) {
                free(((option_list *)target)->items);
            } else if (e->kind == OPTION_SIZES) {
                free(((option_sizes *)target)->values);
            }
        }
    }
}
