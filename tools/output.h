/* What a subcommand says: one JSON object on stdout, a progress bar on a terminal. */
#ifndef DYNQ_TOOLS_OUTPUT_H
#define DYNQ_TOOLS_OUTPUT_H

#include "tools/exit_code.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* JSON. Running out of memory ends the program (see allocate.h). Values are new references that
 * the functions below take over. */

/* An object that begins with "schema": "dynq.<name>/1". */
json_t *command_json_new(const char *name);
json_t *command_json_object(void);
json_t *command_json_array(void);
/* null for NaN and Inf. */
json_t *command_json_number(double value);
/* Bytes that are not UTF-8 become '?'; NULL becomes null. */
json_t *command_json_string(const char *text);
json_t *command_json_integer(uint64_t value);
json_t *command_json_boolean(int value);
void command_json_set(json_t *object, const char *key, json_t *value);
void command_json_append(json_t *array, json_t *value);
/* Prints the object to stdout and releases it. Write errors are found when the command ends. */
void command_json_print(json_t *object);

/* Progress on stderr, one line that is redrawn; only on a terminal and not with -q. Colour unless
 * NO_COLOR is set. */
typedef struct command_progress {
    const char *label;
    uint64_t total;
    uint64_t start_ns, drawn_ns;
    int visible, colour;
} command_progress;

/* `quiet` is common.quiet. */
command_progress command_progress_begin(const char *label, uint64_t total, int quiet);
/* Redraws at most ten times a second. */
void command_progress_update(command_progress *progress, uint64_t done);
/* Removes the line. */
void command_progress_end(command_progress *progress);

#endif
