#include "tools/command.h"

#include "tools/allocate.h"
#include "tools/engines.h"

#include <dynq/cpu.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 256
#define FORMAT_JSON 4 /* the last of the choices of --format */

/* The common options as they are typed. */
typedef struct common_options {
    uint64_t threads, seed;
    const char *kernel, *engine;
    int quiet, json, format;
} common_options;

/* In the order of the COMMAND_... bits. */
static const option_entry common_entries[] = {
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(common_options, threads),
     .argument = "N",
     .help = "threads; 0: one per usable CPU",
     .initial = "1",
     .high = MAX_THREADS},
    {.name = "kernel",
     .kind = OPTION_STRING,
     .offset = offsetof(common_options, kernel),
     .argument = "NAME",
     .help = "force a kernel, see `dynq info --kernels` (default: the best this CPU supports)"},
    {.name = "engine",
     .kind = OPTION_STRING,
     .offset = offsetof(common_options, engine),
     .argument = "NAME",
     .help = "what computes the matrix products: native, onednn or openblas",
     .initial = "native"},
    {.name = "seed",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(common_options, seed),
     .argument = "N",
     .help = "of everything random",
     .initial = "1"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     .offset = offsetof(common_options, quiet),
     .help = "no progress and no log on stderr, only errors"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(common_options, json),
     .help = "print one JSON object instead of tables"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_CHOICE,
     .offset = offsetof(common_options, format),
     .argument = "FORMAT",
     .help = "text, md, csv, or json as --json",
     .initial = "text",
     .choices = "text|md|csv|json"},
    {.name = NULL},
};

/* Control characters would make more than one line of it. */
static void print_line(const char *name, const char *format, va_list arguments)
{
    char line[1024];
    vsnprintf(line, sizeof line, format, arguments);
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F) {
            *c = '?';
        }
    }
    fflush(stdout); /* in the order of events where both go to one place */
    fprintf(stderr, "dynq %s: %s\n", name, line);
}

exit_code command_fail(const command *self, exit_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(self->name, format, arguments);
    va_end(arguments);
    return code;
}

void command_note(const command_call *call, const char *format, ...)
{
    if (call->common.quiet) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    print_line(call->command->name, format, arguments);
    va_end(arguments);
}

exit_code exit_code_of(dynq_status status)
{
    switch (status) {
    case DYNQ_OK: return EXIT_CODE_DONE;
    case DYNQ_ERR_ARGUMENT:
    case DYNQ_ERR_NOT_FOUND:
    case DYNQ_ERR_UNSUPPORTED: return EXIT_CODE_USAGE;
    case DYNQ_ERR_MEMORY: return EXIT_CODE_MEMORY;
    case DYNQ_ERR_IO:
    case DYNQ_ERR_ENGINE:
    case DYNQ_ERR_CANCELLED: return EXIT_CODE_IO;
    case DYNQ_ERR_FORMAT:
    case DYNQ_ERR_VERSION:
    case DYNQ_ERR_SHAPE:
    case DYNQ_ERR_TYPE:
    case DYNQ_ERR_LIMIT:
    case DYNQ_ERR_NOT_FINITE: return EXIT_CODE_DATA;
    }
    return EXIT_CODE_DATA;
}

exit_code command_fail_status(const command *self, dynq_status status, const dynq_error *error,
                              const char *file)
{
    const char *message = error != NULL && error->status == status && error->message[0] != '\0'
                              ? error->message
                              : dynq_status_text(status);
    const int named = file == NULL || strstr(message, file) != NULL;
    return command_fail(self, exit_code_of(status), "%s%s%s", named ? "" : file, named ? "" : ": ",
                        message);
}

exit_code command_open_model(const command_call *call, const char *path, dynq_model **model)
{
    dynq_error error = {0};
    const dynq_status status = dynq_model_open(path, NULL, model, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, path);
    }
    return EXIT_CODE_DONE;
}

static void print_common_help(const command *self)
{
    const uint32_t heeds = self->heeds | COMMAND_QUIET | COMMAND_JSON;
    const size_t count = sizeof common_entries / sizeof *common_entries - 1;
    option_entry heeded[sizeof common_entries / sizeof *common_entries] = {0};
    size_t heeded_count = 0;
    char unheeded[128] = "";
    for (size_t i = 0; i < count; i++) {
        if ((heeds >> i & 1u) != 0) {
            heeded[heeded_count++] = common_entries[i];
        } else if (!option_listed(self->entries, common_entries[i].name)) {
            const size_t used = strlen(unheeded);
            snprintf(unheeded + used, sizeof unheeded - used, "%s--%s", used > 0 ? ", " : "",
                     common_entries[i].name);
        }
    }
    puts("\nCommon options:");
    option_print_help(stdout, heeded, self->entries);
    puts("  -h, --help              print this help and exit");
    if (unheeded[0] != '\0') {
        char text[192];
        snprintf(text, sizeof text, "Accepted without effect here: %s.", unheeded);
        option_print_wrapped(stdout, text, 0, 0);
    }
}

static void print_help(const command *self)
{
    printf("Usage: dynq %s %s\n\n", self->name, self->usage);
    option_print_wrapped(stdout, self->description, 0, 0);
    if (self->entries != NULL && self->entries[0].name != NULL) {
        puts("\nOptions:");
        option_print_help(stdout, self->entries, NULL);
    }
    print_common_help(self);
    puts("\nExample:");
    for (const char *line = self->example; *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        printf("  %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static exit_code check_kernel(const command *self, const char *name)
{
    if (dynq_kernel_supported(name)) {
        return EXIT_CODE_DONE;
    }
    char names[256] = "";
    for (size_t i = 0; dynq_kernel_name(i) != NULL; i++) {
        if (strcmp(dynq_kernel_name(i), name) == 0) {
            return command_fail(self, EXIT_CODE_USAGE,
                                "--kernel: this CPU cannot run '%s'; `dynq info --kernels` lists "
                                "what it can",
                                name);
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", dynq_kernel_name(i));
    }
    return command_fail(self, EXIT_CODE_USAGE, "--kernel: there is no kernel '%s'; there are %s",
                        name, names);
}

static exit_code check_common(const command *self, const common_options *typed,
                              command_common *common)
{
    const engine_choice *choice = engine_find(typed->engine);
    if (choice == NULL) {
        return command_fail(self, EXIT_CODE_USAGE,
                            "--engine: '%s' is not accepted; accepted: native,onednn,openblas",
                            typed->engine);
    }
    if (!choice->built) {
        return command_fail(self, EXIT_CODE_USAGE,
                            "--engine: this build lacks the engine '%s'; build it with the "
                            "library installed",
                            choice->name);
    }
    if (typed->json && typed->format != TABLE_TEXT && typed->format != FORMAT_JSON) {
        return command_fail(self, EXIT_CODE_USAGE, "--json and --format exclude each other");
    }
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    *common = (command_common){
        .threads = typed->threads > 0 ? (uint32_t)typed->threads : cpu.usable,
        .kernel = typed->kernel,
        .engine = engine_table(choice),
        .engine_name = choice->name,
        .seed = typed->seed,
        .quiet = typed->quiet,
        .json = typed->json || typed->format == FORMAT_JSON,
        .format = typed->format == FORMAT_JSON ? TABLE_TEXT : (table_format)typed->format,
    };
    return typed->kernel != NULL ? check_kernel(self, typed->kernel) : EXIT_CODE_DONE;
}

static exit_code check_arguments(const command *self, int argc, char **argv, int first)
{
    const size_t count = (size_t)(argc - first);
    if (count < self->min_arguments) {
        return command_fail(self, EXIT_CODE_USAGE, "%s is missing; see `dynq %s --help`",
                            self->argument, self->name);
    }
    if (count > self->max_arguments) {
        return command_fail(self, EXIT_CODE_USAGE,
                            "'%s' is one argument too many; see "
                            "`dynq %s --help`",
                            argv[first + (int)self->max_arguments], self->name);
    }
    return EXIT_CODE_DONE;
}

exit_code command_main(const command *self, int argc, char **argv)
{
    /* For options that one of the subcommand's own hides. */
    common_options typed = {.threads = 1, .seed = 1, .engine = "native", .format = TABLE_TEXT};
    void *own = allocate(1, self->options_size);
    const option_group groups[] = {{self->entries, own}, {common_entries, &typed}};
    const size_t group_count = sizeof groups / sizeof *groups;
    char message[512] = "";
    int first = 0;
    exit_code code = EXIT_CODE_DONE;
    switch (option_parse(groups, group_count, argc, argv, &first, message, sizeof message)) {
    case OPTION_HELP: print_help(self); break;
    case OPTION_REFUSED:
        code = command_fail(self, EXIT_CODE_USAGE, "%s; see `dynq %s --help`", message, self->name);
        break;
    case OPTION_PARSED: {
        command_call call = {.command = self,
                             .options = own,
                             .arguments = (const char *const *)(argv + first),
                             .argument_count = (size_t)(argc - first),
                             .words = (const char *const *)argv,
                             .word_count = (size_t)argc};
        code = check_arguments(self, argc, argv, first);
        if (code == EXIT_CODE_DONE) {
            code = check_common(self, &typed, &call.common);
        }
        if (code == EXIT_CODE_DONE) {
            code = self->run(&call);
        }
        break;
    }
    }
    option_free(groups, group_count);
    free(own);
    return code;
}
