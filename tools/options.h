/* Command-line options as a table: one parser for every subcommand, and its --help from the same
 * table. */
#ifndef DYNQ_TOOLS_OPTIONS_H
#define DYNQ_TOOLS_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The kind of an option's argument, and the type of the member of the options struct it is stored
 * in. */
typedef enum option_kind {
    OPTION_FLAG = 1, /* int: 1 when given; takes no argument */
    OPTION_STRING,   /* const char * */
    OPTION_UNSIGNED, /* uint64_t, within [low, high] */
    OPTION_NUMBER,   /* double, finite, within [low, high] */
    OPTION_CHOICE,   /* int: 1 for the first of `choices`, 2 for the second, ... */
    OPTION_LIST,     /* option_list: may be given several times */
    OPTION_SIZES     /* option_sizes: 1,16,64, each within [low, high] */
} option_kind;

typedef struct option_list {
    const char **items;
    size_t count;
} option_list;

typedef struct option_sizes {
    uint64_t *values;
    size_t count;
} option_sizes;

/* One option. A table ends with an entry whose `name` is NULL. */
typedef struct option_entry {
    const char *name; /* long name without dashes */
    char letter;      /* '\0' for none */
    option_kind kind;
    size_t offset;        /* of the member in the options struct: offsetof(...) */
    const char *argument; /* what --help calls the argument: "FILE", "N"; NULL for flags */
    const char *help;     /* without the default, which is appended */
    const char *initial;  /* the default, as it would be typed; NULL: zero, and none is shown */
    const char *choices;  /* OPTION_CHOICE: "dynamic|static" */
    double low, high;     /* numbers; both 0: no limits */
    int required;
    const char *bare; /* what stands for an argument that is left out; one that is given follows
                       * "=": --smooth, --smooth=0.5. NULL: it cannot be left out */
} option_entry;

/* A table and the struct that it fills. */
typedef struct option_group {
    const option_entry *entries;
    void *storage;
} option_group;

typedef enum option_result {
    OPTION_PARSED,
    OPTION_HELP,   /* -h or --help was given: nothing else was checked */
    OPTION_REFUSED /* `message` says why */
} option_result;

/* Parses argv[1] ... argv[argc - 1] into the groups, whose storage is all zero before; an entry of
 * an earlier group hides one of the same long name or letter in a later one. Defaults are stored
 * first. argv is permuted; arguments that are not options end up behind *first. Everything points
 * into argv. Free the lists with option_free(). */
option_result option_parse(const option_group *groups, size_t group_count, int argc, char **argv,
                           int *first, char *message, size_t message_size);
void option_free(const option_group *groups, size_t group_count);

/* Prints the entries of a table for --help; those hidden by `above` (may be NULL) are left out. */
void option_print_help(FILE *file, const option_entry *entries, const option_entry *above);
/* Whether a table (may be NULL) has an entry of this long name. */
int option_listed(const option_entry *entries, const char *name);
/* Prints text broken at spaces, from column `column` on, with later lines indented by `indent`. */
void option_print_wrapped(FILE *file, const char *text, size_t column, size_t indent);

#endif
