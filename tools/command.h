/* What the subcommands of `dynq` have in common: how they are described, called and fail. */
#ifndef DYNQ_TOOLS_COMMAND_H
#define DYNQ_TOOLS_COMMAND_H

#include "tools/exit_code.h"
#include "tools/options.h"
#include "tools/table.h"

#include <dynq/engine.h>
#include <dynq/model.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* The common options, as bits: which of them a subcommand heeds. All are accepted everywhere. */
enum {
    COMMAND_THREADS = 1u << 0,
    COMMAND_KERNEL = 1u << 1,
    COMMAND_ENGINE = 1u << 2,
    COMMAND_SEED = 1u << 3,
    COMMAND_QUIET = 1u << 4,
    COMMAND_JSON = 1u << 5,  /* --json and -f json */
    COMMAND_FORMAT = 1u << 6 /* -f */
};

/* Their values, checked. */
typedef struct command_common {
    uint32_t threads;          /* 1 or more */
    const char *kernel;        /* NULL: the best; otherwise one that this CPU supports */
    const dynq_engine *engine; /* NULL: native */
    const char *engine_name;   /* "native", "openblas", "onednn" */
    uint64_t seed;
    int quiet;
    int json;            /* --json or -f json */
    table_format format; /* of tables; meaningless with json */
} command_common;

typedef struct command command;

/* One call of a subcommand, everything parsed and checked against its tables. */
typedef struct command_call {
    const command *command;
    command_common common;
    const void *options;          /* the subcommand's own struct, options_size bytes */
    const char *const *arguments; /* those that are not options */
    size_t argument_count;
    const char *const *words; /* all of it as it was typed, the subcommand's name first; options may
                               * have been moved before the arguments */
    size_t word_count;
} command_call;

/* A subcommand. Example of its file:
 *
 *     typedef struct calibrate_options { const char *output; } calibrate_options;
 *     static const option_entry entries[] = {
 *         {.name = "output", .letter = 'o', .kind = OPTION_STRING,
 *          .offset = offsetof(calibrate_options, output), .argument = "FILE",
 *          .help = "where to write the calibration", .required = 1},
 *         {.name = NULL},
 *     };
 *     static int run(const command_call *call) { const calibrate_options *options = call->options;
 * } const command command_calibrate = {.name = "calibrate", ...};
 */
struct command {
    const char *name;            /* "bench", or two words: "bench gemm" */
    const char *summary;         /* one line, for `dynq --help` */
    const char *usage;           /* after "dynq NAME": "MODEL --data X -o CAL [options]" */
    const char *description;     /* a few sentences for --help */
    const char *example;         /* a line as it would be typed; several with newlines between */
    int native;                  /* nonzero: uses no other engine unless --engine asks for it */
    const option_entry *entries; /* NULL for none */
    size_t options_size;
    size_t min_arguments, max_arguments;
    const char *argument; /* what is missing when there are too few: "MODEL" */
    uint32_t heeds;       /* COMMAND_... bits that have an effect; quiet and json always do */
    exit_code (*run)(const command_call *call);
};

extern const command command_info, command_train, command_convert, command_calibrate,
    command_quantize, command_run, command_compare, command_bench, command_bench_gemm,
    command_embed, command_formats, command_tune;

/* Parses argv (argv[0] is the subcommand's name), prints --help or runs it. */
exit_code command_main(const command *self, int argc, char **argv);

/* Prints one line to stderr: "dynq quantize: " and the message, with control characters replaced.
 * Returns `code`, so that a subcommand can `return command_fail(...)`. */
exit_code command_fail(const command *self, exit_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a failed library call: its message, the code its status maps to. `file` (may be
 * NULL) is put in front where the message does not name it already. */
exit_code command_fail_status(const command *self, dynq_status status, const dynq_error *error,
                              const char *file);
/* A line for the log on stderr; silent with -q. */
void command_note(const command_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Opens a model file; on failure prints the error and returns its exit code. */
exit_code command_open_model(const command_call *call, const char *path, dynq_model **model);

#endif
