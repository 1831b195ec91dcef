#include "tools/embed.h"

#include <dynq/tokenizer.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/lines.h"

/* Of the lines that wait in a batch; longer ones wait alone. */
#define BATCH_TEXT_BYTES ((size_t)1 << 20)

static size_t batch_rows(const embed *self)
{
    const size_t asked = (size_t)self->options->batch_tokens;
    return asked > self->texts.most ? asked : self->texts.most;
}

/* The session is made for the first batch. Where nothing follows it, it need not be larger. */
static exit_code start(embed *self, int last)
{
    const command_common *common = &self->call->common;
    const size_t rows = last ? self->offsets[self->count] : batch_rows(self);
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = rows,
                                          .max_segments =
                                              last ? self->count : rows / DYNQ_LEAST_TOKENS,
                                          .threads = common->threads,
                                          .kernel = common->kernel,
                                          .engine = common->engine};
    dynq_error error = {0};
    const dynq_status status = runner_create(self->model, &options, &self->runner, &error);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
}

static dynq_status run_lines(embed *self, size_t first, size_t count, dynq_error *error)
{
    const void *ids = self->ids + self->offsets[first];
    const runner_batch batch = {
        .inputs = &ids, .offsets = self->offsets + first, .segments = count};
    const uint64_t begin = statistics_now_ns();
    const dynq_status status = runner_run(&self->runner, &batch, error);
    self->run_ns += statistics_now_ns() - begin;
    return status;
}

/* The embeddings of the lines before it are taken; they become the file that -o wants. */
static exit_code fail_line(embed *self, const embed_line *line, dynq_status status,
                           const dynq_error *error)
{
    npy_writer *writer = self->writer;
    int saved = 0;
    if (writer != NULL && line->number > 1) {
        dynq_error ignored = {0}; /* the line is what to tell */
        self->writer = NULL;
        saved = data_npy_finish(writer, &ignored) == DYNQ_OK;
    }
    return command_fail(self->call->command, exit_code_of(status), "%s: line %llu: %s%s%s",
                        strcmp(self->path, "-") == 0 ? "standard input" : self->path,
                        (unsigned long long)line->number,
                        error->message[0] != '\0' ? error->message : dynq_status_text(status),
                        saved ? "; the lines before it are in " : "",
                        saved ? self->options->out : "");
}

static exit_code take_lines(embed *self, size_t first, size_t count)
{
    const float *embeddings = runner_output(&self->runner, self->output);
    exit_code code = EXIT_CODE_DONE;
    for (size_t i = 0; i < count && code == EXIT_CODE_DONE; i++) {
        code = embed_take(self, &self->lines[first + i], embeddings + i * self->columns);
    }
    return code;
}

/* After a failure: line by line, so that those before it are not lost and the message names it. */
static exit_code run_one_by_one(embed *self)
{
    exit_code code = EXIT_CODE_DONE;
    for (size_t i = 0; i < self->count && code == EXIT_CODE_DONE; i++) {
        dynq_error error = {0};
        const dynq_status status = run_lines(self, i, 1, &error);
        code = status == DYNQ_OK ? take_lines(self, i, 1)
                                 : fail_line(self, &self->lines[i], status, &error);
    }
    return code;
}

/* Runs the batch and empties it. */
static exit_code flush(embed *self, int last)
{
    exit_code code = EXIT_CODE_DONE;
    if (self->count == 0) {
        return code;
    }
    if (self->runner.session == NULL) {
        code = start(self, last);
    }
    if (code == EXIT_CODE_DONE) {
        dynq_error error = {0};
        const dynq_status status = run_lines(self, 0, self->count, &error);
        if (status == DYNQ_OK) {
            code = take_lines(self, 0, self->count);
        } else {
            code = self->count > 1 ? run_one_by_one(self)
                                   : fail_line(self, &self->lines[0], status, &error);
        }
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->lines[i].text);
    }
    self->count = 0;
    self->text_bytes = 0;
    return code;
}

/* Adds the text that was encoded last. */
static void append(embed *self, const char *text, size_t bytes)
{
    embed_line *line = &self->lines[self->count];
    *line = (embed_line){.number = self->line_count,
                         .text = allocate(bytes + 1, 1),
                         .bytes = bytes,
                         .tokens = self->texts.count};
    if (bytes > 0) {
        memcpy(line->text, text, bytes);
    }
    const size_t used = self->offsets[self->count];
    memcpy(self->ids + used, self->texts.ids, line->tokens * sizeof *self->ids);
    self->offsets[++self->count] = used + line->tokens;
    self->text_bytes += bytes;
    self->token_count += line->tokens;
}

static exit_code add_line(embed *self, const char *text, size_t bytes, bool cut)
{
    const uint64_t begin = statistics_now_ns();
    texts_encode(&self->texts, text, bytes, cut);
    self->tokenize_ns += statistics_now_ns() - begin;
    exit_code code = EXIT_CODE_DONE;
    if (self->offsets[self->count] + self->texts.count > batch_rows(self) ||
        (self->count > 0 && self->text_bytes + bytes > BATCH_TEXT_BYTES)) {
        code = flush(self, 0);
    }
    self->line_count++;
    append(self, text, bytes);
    return code;
}

/* The embedding of --query, run alone. */
static exit_code embed_query(embed *self)
{
    const char *query = self->options->query;
    self->matches = allocate((size_t)self->options->top + 1, sizeof *self->matches);
    if (query == NULL) {
        return EXIT_CODE_DONE;
    }
    texts_encode(&self->texts, query, strlen(query), false);
    memcpy(self->ids, self->texts.ids, self->texts.count * sizeof *self->ids);
    self->offsets[1] = self->texts.count;
    exit_code code = start(self, 0);
    if (code == EXIT_CODE_DONE) {
        dynq_error error = {0};
        const dynq_status status = run_lines(self, 0, 1, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(self->call->command, status, &error, "--query");
        }
        self->query = allocate(self->columns, sizeof *self->query);
        memcpy(self->query, runner_output(&self->runner, self->output),
               self->columns * sizeof *self->query);
    }
    self->run_ns = 0;
    self->texts.truncated = 0; /* counts lines */
    return code;
}

exit_code embed_all(embed *self)
{
    const size_t rows = batch_rows(self);
    self->ids = allocate(rows, sizeof *self->ids);
    self->offsets = allocate(rows / DYNQ_LEAST_TOKENS + 1, sizeof *self->offsets);
    self->lines = allocate(rows / DYNQ_LEAST_TOKENS, sizeof *self->lines);
    line_reader reader;
    dynq_error error = {0};
    dynq_status status = lines_open(self->path, &reader, &error);
    exit_code code = EXIT_CODE_DONE;
    if (status == DYNQ_OK) {
        code = embed_query(self);
    }
    while (status == DYNQ_OK && code == EXIT_CODE_DONE) {
        const char *line = NULL;
        size_t bytes = 0;
        status = lines_next(&reader, &line, &bytes, &error);
        if (status != DYNQ_OK || line == NULL) {
            break;
        }
        code = add_line(self, line, bytes, reader.cut);
    }
    lines_close(&reader);
    if (status != DYNQ_OK) {
        return command_fail_status(self->call->command, status, &error, self->path);
    }
    return code == EXIT_CODE_DONE ? flush(self, 1) : code;
}
