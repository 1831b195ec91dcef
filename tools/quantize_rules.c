/* Rules from the command line and from a file. */
#include "tools/quantize.h"

#include "tools/allocate.h"
#include "tools/lines.h"

#include <stdlib.h>
#include <string.h>

void rule_set_free(rule_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->texts[i]);
    }
    free(set->texts);
    free(set->rules);
}

static void make_room(rule_set *set)
{
    if (set->count < set->room) {
        return;
    }
    const size_t room = 2 * set->room + 16;
    dynq_quantize_rule *rules = allocate(room, sizeof *rules);
    char **texts = allocate(room, sizeof *texts);
    for (size_t i = 0; i < set->count; i++) {
        rules[i] = set->rules[i];
        texts[i] = set->texts[i];
    }
    free(set->rules);
    free(set->texts);
    set->rules = rules;
    set->texts = texts;
    set->room = room;
}

static dynq_status add_rule(rule_set *set, const char *text, dynq_error *error)
{
    make_room(set);
    const size_t size = strlen(text) + 1;
    char *pattern = allocate(size, 1);
    const dynq_status status =
        dynq_quantize_rule_parse(text, pattern, size, &set->rules[set->count], error);
    set->texts[set->count++] = pattern;
    return status;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A line of a file: nothing, a comment or a rule. */
static exit_code add_line(const command_call *call, const char *path, uint64_t number,
                          const char *line, size_t bytes, rule_set *set)
{
    while (bytes > 0 && is_space(line[0])) {
        line++;
        bytes--;
    }
    while (bytes > 0 && is_space(line[bytes - 1])) {
        bytes--;
    }
    if (bytes == 0 || line[0] == '#') {
        return EXIT_CODE_DONE;
    }
    if (memchr(line, '\0', bytes) != NULL) {
        return command_fail(call->command, EXIT_CODE_DATA, "%s: line %llu: holds a NUL byte", path,
                            (unsigned long long)number);
    }
    char *text = allocate(bytes + 1, 1);
    memcpy(text, line, bytes);
    dynq_error error = {0};
    const dynq_status status = add_rule(set, text, &error);
    free(text);
    return status == DYNQ_OK ? EXIT_CODE_DONE
                             : command_fail(call->command, EXIT_CODE_DATA, "%s: line %llu: %s",
                                            path, (unsigned long long)number, error.message);
}

static exit_code read_file(const command_call *call, const char *path, rule_set *set)
{
    line_reader reader;
    dynq_error error = {0};
    const char *line = NULL;
    size_t bytes = 0;
    dynq_status status = lines_open(path, &reader, &error);
    exit_code code = EXIT_CODE_DONE;
    for (uint64_t number = 1; status == DYNQ_OK && code == EXIT_CODE_DONE; number++) {
        status = lines_next(&reader, &line, &bytes, &error);
        if (status != DYNQ_OK || line == NULL) {
            break;
        }
        code = add_line(call, path, number, line, bytes, set);
    }
    lines_close(&reader);
    return status == DYNQ_OK ? code : command_fail_status(call->command, status, &error, path);
}

exit_code rule_set_read(const command_call *call, rule_set *set)
{
    const quantize_options *options = call->options;
    exit_code code = EXIT_CODE_DONE;
    if (options->rules_file != NULL) {
        code = read_file(call, options->rules_file, set);
    }
    for (size_t i = 0; i < options->rules.count && code == EXIT_CODE_DONE; i++) {
        dynq_error error = {0};
        const char *text = options->rules.items[i];
        const dynq_status status = add_rule(set, text, &error);
        if (status != DYNQ_OK) {
            code = command_fail_status(call->command, status, &error, text);
        }
    }
    return code;
}
