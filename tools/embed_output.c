#include "tools/embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/utf8.h"

#define SHOWN_NUMBERS 3
#define NS_PER_MS     1e6

/* Nine digits give every float back. */
static void print_numbers(const embed *self, const float *embedding)
{
    putchar('[');
    for (size_t i = 0; i < self->columns; i++) {
        printf(i > 0 ? ", %.9g" : "%.9g", (double)embedding[i]);
    }
    putchar(']');
}

static json_t *text_json(const embed_line *line)
{
    size_t length = 0;
    char *valid = utf8_valid(line->text, line->bytes, &length);
    json_t *string = json_stringn(valid, length);
    free(valid);
    if (string == NULL) {
        allocate_failed();
    }
    return string;
}

static void print_json_line(const embed *self, const embed_line *line, const float *embedding)
{
    json_t *string = text_json(line);
    char *text = json_dumps(string, JSON_ENCODE_ANY);
    if (text == NULL) {
        allocate_failed();
    }
    printf("{\"text\": %s, \"embedding\": ", text);
    print_numbers(self, embedding);
    puts("}");
    free(text);
    json_decref(string);
}

/* The object of --json is printed while it is made, because it may be longer than memory. */
static void begin_json(embed *self)
{
    fputs("{\n  \"schema\": \"dynq.embed/1\",\n  \"embeddings\": ", stdout);
    fputs(self->writer != NULL ? "null" : "[", stdout);
    self->json_begun = 1;
}

static void print_json_embedding(embed *self, const float *embedding)
{
    const int first = !self->json_begun;
    if (first) {
        begin_json(self);
    }
    if (self->writer == NULL) {
        fputs(first ? "\n    " : ",\n    ", stdout);
        print_numbers(self, embedding);
    }
}

static embed_line copy_line(const embed_line *line)
{
    embed_line copy = *line;
    copy.text = allocate(line->bytes + 1, 1);
    memcpy(copy.text, line->text, line->bytes);
    return copy;
}

static void keep(embed *self, const embed_line *line, const float *embedding)
{
    if (self->kept_count == self->kept_room) {
        self->kept_room = self->kept_room == 0 ? EMBED_MATRIX_LINES : 2 * self->kept_room;
        self->kept_lines =
            allocate_again(self->kept_lines, self->kept_room, sizeof *self->kept_lines);
        self->kept =
            allocate_again(self->kept, self->kept_room, self->columns * sizeof *self->kept);
    }
    self->kept_lines[self->kept_count] = copy_line(line);
    memcpy(self->kept + self->kept_count++ * self->columns, embedding,
           self->columns * sizeof *self->kept);
}

exit_code embed_take(embed *self, const embed_line *line, const float *embedding)
{
    const embed_options *options = self->options;
    if (self->writer != NULL) {
        dynq_error error = {0};
        const dynq_status status = data_npy_append(self->writer, embedding, 1, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(self->call->command, status, &error, options->out);
        }
    }
    if (options->format == EMBED_JSON_LINES) {
        print_json_line(self, line, embedding);
    } else if (self->json) {
        print_json_embedding(self, embedding);
    }
    if (self->query != NULL) {
        embed_offer(self,
                    &(embed_match){.line = copy_line(line),
                                   .cosine = embed_cosine(self->query, embedding, self->columns)});
    } else if (options->similarity || self->kept_count < EMBED_MATRIX_LINES) {
        keep(self, line, embedding);
    }
    return EXIT_CODE_DONE;
}

static double sentences_per_second(const embed *self)
{
    const double seconds = 1e-9 * (double)(self->tokenize_ns + self->run_ns);
    return seconds > 0 ? (double)self->line_count / seconds : 0;
}

static void print_json_end(embed *self)
{
    json_t *object = command_json_object();
    dynq_session_info info = {.size = sizeof info};
    if (self->runner.session != NULL) {
        dynq_session_describe(self->runner.session, &info);
    }
    command_json_set(object, "lines", command_json_integer(self->line_count));
    command_json_set(object, "columns", command_json_integer(self->columns));
    command_json_set(object, "tokens", command_json_integer(self->token_count));
    command_json_set(object, "truncated", command_json_integer(self->texts.truncated));
    command_json_set(object, "max_tokens", command_json_integer(self->texts.most));
    command_json_set(object, "batch_tokens", command_json_integer(self->options->batch_tokens));
    command_json_set(object, "sentences_per_second",
                     command_json_number(sentences_per_second(self)));
    command_json_set(object, "tokenize_ms",
                     command_json_number((double)self->tokenize_ns / NS_PER_MS));
    command_json_set(object, "run_ms", command_json_number((double)self->run_ns / NS_PER_MS));
    command_json_set(object, "threads", command_json_integer(info.threads));
    command_json_set(object, "engine", command_json_string(info.engine));
    command_json_set(object, "kernel", command_json_string(info.kernel));
    command_json_set(object, "model", command_json_string(self->call->arguments[0]));
    command_json_set(object, "file", command_json_string(self->options->out));
    embed_set_similarity(self, object);
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (text == NULL) {
        allocate_failed();
    }
    if (!self->json_begun) {
        begin_json(self);
    }
    if (self->options->out == NULL) {
        fputs(self->line_count > 0 ? "\n  ]" : "]", stdout);
    }
    printf(",%s\n", text + 1); /* its brace is there */
    free(text);
    json_decref(object);
}

/* The first lines, each with the beginning of its embedding. */
static void print_summary(const embed *self)
{
    table *rows = table_create();
    table_column(rows, "line", TABLE_RIGHT);
    table_column(rows, "tokens", TABLE_RIGHT);
    table_column(rows, "embedding", TABLE_RIGHT);
    table_column(rows, "text", TABLE_LEFT);
    for (size_t i = 0; i < self->kept_count && i < EMBED_MATRIX_LINES; i++) {
        const embed_line *line = &self->kept_lines[i];
        char *shown = utf8_shown(line->text, line->bytes);
        char numbers[SHOWN_NUMBERS * 16 + 8] = "";
        size_t used = 0;
        for (size_t n = 0; n < SHOWN_NUMBERS && n < self->columns; n++) {
            used += (size_t)snprintf(numbers + used, sizeof numbers - used, "%.4f ",
                                     (double)self->kept[i * self->columns + n]);
        }
        snprintf(numbers + used, sizeof numbers - used, "%s",
                 self->columns > SHOWN_NUMBERS ? "..." : "");
        table_integer(rows, line->number);
        table_integer(rows, line->tokens);
        table_text(rows, numbers);
        table_text(rows, shown);
        free(shown);
    }
    table_print(rows, self->format, stdout);
    table_free(rows);
}

static void print_totals(const embed *self)
{
    const double words = sentences_per_second(self);
    command_note(self->call,
                 "%llu line%s, %llu tokens, %zu line%s cut to %zu tokens or 1 MiB; %zu numbers "
                 "each; %.0f lines a second",
                 (unsigned long long)self->line_count, self->line_count == 1 ? "" : "s",
                 (unsigned long long)self->token_count, self->texts.truncated,
                 self->texts.truncated == 1 ? "" : "s", self->texts.most, self->columns, words);
    if (self->options->out != NULL) {
        command_note(self->call, "wrote %s", self->options->out);
    }
}

exit_code embed_finish(embed *self)
{
    const embed_options *options = self->options;
    if (options->similarity) {
        embed_find_pairs(self);
    }
    if (self->writer != NULL) {
        npy_writer *writer = self->writer;
        dynq_error error = {0};
        if (self->json && !self->json_begun) {
            begin_json(self);
        }
        self->writer = NULL;
        const dynq_status status = data_npy_finish(writer, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(self->call->command, status, &error, options->out);
        }
    }
    if (self->json) {
        print_json_end(self);
    } else if (options->similarity || self->query != NULL) {
        embed_print_similarity(self);
    } else if (options->format != EMBED_JSON_LINES) {
        print_summary(self);
    }
    if (!self->json) {
        print_totals(self);
    }
    return EXIT_CODE_DONE;
}
