#include "tools/embed.h"

#include <stdlib.h>

#include "tools/allocate.h"

static const option_entry entries[] = {
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(embed_options, out),
     .argument = "FILE",
     .help = "write the embeddings as npy, a row for each line"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_CHOICE,
     .offset = offsetof(embed_options, format),
     .argument = "FORMAT",
     .help = "of what is printed: text, md or csv for tables; json as --json; jsonl: a line "
             "{\"text\": ..., \"embedding\": [...]} for each line",
     .initial = "text",
     .choices = "text|md|csv|json|jsonl"},
    {.name = "similarity",
     .kind = OPTION_FLAG,
     .offset = offsetof(embed_options, similarity),
     .help = "print the cosines of up to 8 lines, or of more lines the most similar pairs; keeps "
             "all embeddings in memory"},
    {.name = "query",
     .kind = OPTION_STRING,
     .offset = offsetof(embed_options, query),
     .argument = "TEXT",
     .help = "print the lines that are most similar to TEXT"},
    {.name = "top",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(embed_options, top),
     .argument = "N",
     .help = "how many pairs or lines",
     .initial = "10",
     .low = 1,
     .high = 100000},
    {.name = "max-tokens",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(embed_options, max_tokens),
     .argument = "N",
     .help = "tokens of a line, [CLS] and [SEP] among them; the rest of the line is cut off "
             "(default: as the model says)",
     .low = 2,
     .high = 1048576},
    {.name = "batch-tokens",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(embed_options, batch_tokens),
     .argument = "N",
     .help = "tokens that run together, of as many lines as fit, and of one line at least",
     .initial = "1024",
     .low = 2,
     .high = 1048576},
    {.name = NULL},
};

/* The input for ids and the output for sentences. */
static exit_code examine(embed *self)
{
    const char *path = self->call->arguments[0];
    model_slot *slots = NULL;
    const size_t inputs = model_inputs(self->model, &slots);
    self->input = slots[0];
    free(slots);
    if (inputs != 1 || !self->input.ids) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: reads no text: its only input must be ids of tokens; `dynq "
                            "convert` makes such models",
                            path);
    }
    model_outputs(self->model, &slots);
    self->output = model_main_output(self->model);
    const model_slot output = slots[self->output];
    self->columns = output.columns;
    free(slots);
    if (output.domain != DYNQ_DOMAIN_SEGMENTS) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: its output %s has a row for each token, none for a whole sentence",
                            path, output.name);
    }
    return EXIT_CODE_DONE;
}

static exit_code check_options(const embed *self)
{
    const embed_options *options = self->options;
    const command *own = self->call->command;
    if (options->similarity && options->query != NULL) {
        return command_fail(own, EXIT_CODE_USAGE, "--similarity and --query exclude each other");
    }
    if (options->format == EMBED_JSON_LINES &&
        (self->json || options->similarity || options->query != NULL)) {
        return command_fail(own, EXIT_CODE_USAGE,
                            "-f jsonl and --json, --similarity or --query exclude each other");
    }
    if (self->call->common.json && options->format != EMBED_TEXT && options->format != EMBED_JSON) {
        return command_fail(own, EXIT_CODE_USAGE, "--json and --format exclude each other");
    }
    return EXIT_CODE_DONE;
}

static exit_code prepare(embed *self)
{
    const embed_options *options = self->options;
    exit_code code = check_options(self);
    if (code == EXIT_CODE_DONE) {
        code = command_open_model(self->call, self->call->arguments[0], &self->model);
    }
    if (code == EXIT_CODE_DONE) {
        code = examine(self);
    }
    if (code == EXIT_CODE_DONE) {
        code = texts_open(self->call, self->model, &self->input, (size_t)options->max_tokens,
                          &self->texts);
    }
    if (code == EXIT_CODE_DONE && options->out != NULL) {
        dynq_error error = {0};
        const dynq_status status =
            data_npy_create(options->out, self->columns, &self->writer, &error);
        if (status != DYNQ_OK) {
            code = command_fail_status(self->call->command, status, &error, options->out);
        }
    }
    return code;
}

static void release(embed *self)
{
    data_npy_abandon(self->writer);
    for (size_t i = 0; i < self->count; i++) {
        free(self->lines[i].text);
    }
    for (size_t i = 0; i < self->kept_count; i++) {
        free(self->kept_lines[i].text);
    }
    for (size_t i = 0; i < self->match_count && self->query != NULL; i++) {
        free(self->matches[i].line.text);
    }
    free(self->ids);
    free(self->offsets);
    free(self->lines);
    free(self->kept);
    free(self->kept_lines);
    free(self->query);
    free(self->matches);
    runner_free(&self->runner);
    texts_close(&self->texts);
    dynq_model_free(self->model);
}

static exit_code run(const command_call *call)
{
    const embed_options *options = call->options;
    embed self = {
        .call = call,
        .options = options,
        .path = call->argument_count > 1 ? call->arguments[1] : "-",
        .json = call->common.json || options->format == EMBED_JSON,
        .format = options->format <= EMBED_CSV ? (table_format)options->format : TABLE_TEXT,
    };
    exit_code code = prepare(&self);
    if (code == EXIT_CODE_DONE) {
        code = embed_all(&self);
    }
    if (code == EXIT_CODE_DONE) {
        code = embed_finish(&self);
    }
    release(&self);
    return code;
}

const command command_embed = {
    .name = "embed",
    .summary = "sentence embeddings of lines of text",
    .usage = "MODEL [FILE] [options]",
    .description =
        "Turns each line of FILE, or of the standard input, into one embedding. Lines run together "
        "in batches without padding; what else is in its batch does not change a line's embedding "
        "(with ranges per segment or row). The file may be longer than memory. An empty line has "
        "the embedding of [CLS][SEP]; bytes that are not UTF-8 and NUL are passed over; a line of "
        "more tokens than the model takes is cut and counted, and only its first MiB is read.",
    .example = "dynq embed minilm-int8.safetensors lines.txt -o embeddings.npy\n"
               "dynq embed minilm-int8.safetensors lines.txt --query 'how warm is it'",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(embed_options),
    .min_arguments = 1,
    .max_arguments = 2,
    .argument = "MODEL",
    .heeds = COMMAND_THREADS | COMMAND_KERNEL | COMMAND_ENGINE,
    .run = run,
};
