#include "tools/texts.h"

#include "tools/allocate.h"
#include "tools/lines.h"

#include <stdlib.h>
#include <string.h>

#ifdef DYNQ_HAVE_TEXT
#include <dynq/tokenizer.h>
#include <dynq/tokenizer_model.h>

int texts_built(void)
{
    return 1;
}

/* Whether the model can look up whatever the tokenizer gives. */
static exit_code check_tokenizer(const command_call *call, const model_slot *slot, size_t most,
                                 texts *self)
{
    const char *path = call->arguments[0];
    const size_t tokens = dynq_tokenizer_size(self->tokenizer);
    if (tokens > slot->id_count) {
        return command_fail(call->command, EXIT_CODE_DATA,
                            "%s: its vocabulary has %zu tokens, but %s takes %zu ids: convert the "
                            "model again",
                            path, tokens, slot->name, slot->id_count);
    }
    if (slot->longest > 0 && slot->longest < DYNQ_LEAST_TOKENS) {
        return command_fail(call->command, EXIT_CODE_DATA,
                            "%s: has positions for %zu token, but the shortest text has %d", path,
                            slot->longest, DYNQ_LEAST_TOKENS);
    }
    if (slot->longest > 0 && most > slot->longest) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--max-tokens: %zu, but the model has positions for %zu", most,
                            slot->longest);
    }
    if (most > 0) {
        self->most = most;
    }
    if (slot->longest > 0 && self->most > slot->longest) {
        self->most = slot->longest;
    }
    return EXIT_CODE_DONE;
}

exit_code texts_open(const command_call *call, const dynq_model *model, const model_slot *slot,
                     size_t most, texts *self)
{
    *self = (texts){0};
    dynq_error error = {0};
    const dynq_status status =
        dynq_tokenizer_from_model(model, NULL, &self->tokenizer, &self->most, &error);
    if (status == DYNQ_ERR_NOT_FOUND || status == DYNQ_ERR_UNSUPPORTED) {
        /* Of the file, not of what was typed. */
        return command_fail(call->command, EXIT_CODE_DATA, "%s: %s", call->arguments[0],
                            error.message);
    }
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, call->arguments[0]);
    }
    const exit_code code = check_tokenizer(call, slot, most, self);
    if (code == EXIT_CODE_DONE) {
        self->ids = allocate(self->most + 1, sizeof *self->ids);
    }
    return code;
}

void texts_close(texts *self)
{
    dynq_tokenizer_free(self->tokenizer);
    free(self->ids);
    *self = (texts){0};
}

void texts_encode(texts *self, const char *text, size_t bytes, bool cut)
{
    /* One more than is wanted tells whether the text is longer; its last is the token that ends
     * every text. */
    dynq_tokenizer_encode(self->tokenizer, text, bytes, self->most + 1, self->ids, &self->count,
                          NULL);
    if (self->count > self->most) {
        self->ids[self->most - 1] = self->ids[self->most];
        self->count = self->most;
        cut = true;
    }
    self->truncated += cut;
}
#else
int texts_built(void)
{
    return 0;
}

exit_code texts_open(const command_call *call, const dynq_model *model, const model_slot *slot,
                     size_t most, texts *self)
{
    (void)model;
    (void)slot;
    (void)most;
    *self = (texts){0};
    return command_fail(call->command, EXIT_CODE_USAGE,
                        "this build reads no text: build it with utf8proc installed");
}

void texts_close(texts *self)
{
    *self = (texts){0};
}

void texts_encode(texts *self, const char *text, size_t bytes, bool cut)
{
    (void)text;
    (void)bytes;
    (void)cut;
    self->count = 0;
}
#endif

/* Room for twice as much whenever it is full. */
static void append(text_ids *result, size_t *id_room, size_t *room, const texts *text)
{
    const size_t used = result->offsets[result->count];
    if (result->count + 2 > *room) {
        *room *= 2;
        result->offsets = allocate_again(result->offsets, *room, sizeof *result->offsets);
    }
    if (used + text->count > *id_room) {
        *id_room = 2 * *id_room + text->count;
        result->ids = allocate_again(result->ids, *id_room, sizeof *result->ids);
    }
    memcpy(result->ids + used, text->ids, text->count * sizeof *result->ids);
    result->offsets[++result->count] = used + text->count;
}

exit_code texts_read(const command_call *call, texts *self, const char *path, text_ids *result)
{
    line_reader reader;
    dynq_error error = {0};
    const char *line = NULL;
    size_t bytes = 0, room = 64, id_room = 0;
    *result = (text_ids){.offsets = allocate(room, sizeof(size_t))};
    dynq_status status = lines_open(path, &reader, &error);
    while (status == DYNQ_OK && (status = lines_next(&reader, &line, &bytes, &error)) == DYNQ_OK &&
           line != NULL) {
        texts_encode(self, line, bytes, reader.cut);
        append(result, &id_room, &room, self);
    }
    lines_close(&reader);
    exit_code code = EXIT_CODE_DONE;
    if (status != DYNQ_OK) {
        code = command_fail_status(call->command, status, &error, path);
    } else if (result->count == 0) {
        code = command_fail(call->command, EXIT_CODE_DATA, "%s: is empty: give at least one line",
                            path);
    }
    if (code != EXIT_CODE_DONE) {
        free(result->ids);
        free(result->offsets);
        *result = (text_ids){0};
    }
    result->truncated = self->truncated;
    return code;
}
