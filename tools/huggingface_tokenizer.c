/* The tokenizer's files. WordPiece behind BERT's own splitting is what dynq has; everything else is
 * told and left out. tokenizer.json, where it is, says what is done; tokenizer_config.json is what
 * older folders have. */
#include "tools/allocate.h"
#include "tools/folder.h"
#include "tools/huggingface.h"
#include "tools/utf8.h"

#include <dynq/tokenizer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_FILE      "tokenizer.json"
#define CONFIG_FILE     "tokenizer_config.json"
#define SENTENCE_FILE   "sentence_bert_config.json"
#define VOCABULARY      "vocab.txt"
#define MAX_WORD        100 /* characters of a word, the default */
#define LONGEST_SPECIAL 64

typedef struct special {
    char text[LONGEST_SPECIAL];
} special;

/* What the files say, with BERT's defaults. */
typedef struct tokenizer {
    huggingface *self;
    dynq_error *error;
    json_t *whole, *config, *sentence; /* NULL: no such file */
    int unknown_kind;                  /* self->reason says why there is none */
    int lower_case, chinese_spaces;
    int strip_accents; /* -1: as lower_case */
    json_int_t max_word_characters;
    special unknown, start, end, prefix;
} tokenizer;

/* There is no tokenizer that dynq knows; the first reason is kept. */
static void give_up(tokenizer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void give_up(tokenizer *t, const char *format, ...)
{
    if (t->unknown_kind) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(t->self->reason, sizeof t->self->reason, format, arguments);
    va_end(arguments);
    t->unknown_kind = 1;
}

static void set_special(tokenizer *t, special *target, const json_t *value, const char *what)
{
    const char *text =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (text == NULL || text[0] == '\0' || strlen(text) >= sizeof target->text ||
        strchr(text, '\n') != NULL) {
        give_up(t, "its %s is not a short text", what);
        return;
    }
    strcpy(target->text, text);
}

static dynq_status read_flag(tokenizer *t, const json_t *object, const char *file, const char *key,
                             int *flag)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_boolean(value)) {
        *flag = value == NULL ? *flag : json_is_true(value);
        return DYNQ_OK;
    }
    return huggingface_bad_key(t->self->folder, file, key, value, "it must be true or false",
                               t->error);
}

static dynq_status read_strip_accents(tokenizer *t, const json_t *object, const char *file)
{
    const json_t *value = json_object_get(object, "strip_accents");
    if (value == NULL || json_is_null(value)) {
        t->strip_accents = -1;
        return DYNQ_OK;
    }
    return read_flag(t, object, file, "strip_accents", &t->strip_accents);
}

static int has_type(const json_t *object, const char *type)
{
    const char *found = json_string_value(json_object_get(object, "type"));
    return found != NULL && strcmp(found, type) == 0;
}

/* What is put around a sentence: BertProcessing {"cls": [text, id], "sep": [text, id]}, or a
 * template of one token, the sentence, one token. */
static void read_post_processor(tokenizer *t, const json_t *processor)
{
    const json_t *single = json_object_get(processor, "single");
    if (has_type(processor, "BertProcessing")) {
        set_special(t, &t->start, json_array_get(json_object_get(processor, "cls"), 0), "cls");
        set_special(t, &t->end, json_array_get(json_object_get(processor, "sep"), 0), "sep");
    } else if (has_type(processor, "TemplateProcessing") && json_array_size(single) == 3 &&
               json_object_get(json_array_get(single, 1), "Sequence") != NULL) {
        const json_t *first = json_object_get(json_array_get(single, 0), "SpecialToken");
        const json_t *last = json_object_get(json_array_get(single, 2), "SpecialToken");
        set_special(t, &t->start, json_object_get(first, "id"), "first special token");
        set_special(t, &t->end, json_object_get(last, "id"), "last special token");
    } else {
        give_up(t, "its post_processor does not put one token on each side");
    }
}

/* Tokens beside the vocabulary's. dynq knows only special ones, and of these only those that are
 * lines of it, too. */
static void read_added(tokenizer *t)
{
    const json_t *vocabulary = json_object_get(json_object_get(t->whole, "model"), "vocab");
    const json_t *tokens = json_object_get(t->whole, "added_tokens");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        const char *text = json_string_value(json_object_get(token, "content"));
        const json_t *id = text == NULL ? NULL : json_object_get(vocabulary, text);
        if (!json_is_true(json_object_get(token, "special"))) {
            give_up(t, "its added token '%.60s' is not special", text == NULL ? "?" : text);
        } else if (id == NULL || !json_equal(id, json_object_get(token, "id"))) {
            give_up(t, "its added token '%.60s' is not in its vocabulary",
                    text == NULL ? "?" : text);
        }
    }
}

/* tokenizer.json. */
static dynq_status read_whole(tokenizer *t)
{
    const json_t *model = json_object_get(t->whole, "model");
    const json_t *normalizer = json_object_get(t->whole, "normalizer");
    const char *type = json_string_value(json_object_get(model, "type"));
    int clean = 1;
    if (!has_type(model, "WordPiece")) {
        give_up(t, "its model is %.40s, not WordPiece", type == NULL ? "unnamed" : type);
        return DYNQ_OK;
    }
    if (!has_type(normalizer, "BertNormalizer") ||
        !has_type(json_object_get(t->whole, "pre_tokenizer"), "BertPreTokenizer")) {
        give_up(t, "text is not split as BERT does");
        return DYNQ_OK;
    }
    dynq_status status = read_flag(t, normalizer, WHOLE_FILE, "lowercase", &t->lower_case);
    if (status == DYNQ_OK) {
        status = read_flag(t, normalizer, WHOLE_FILE, "handle_chinese_chars", &t->chinese_spaces);
    }
    if (status == DYNQ_OK) {
        status = read_flag(t, normalizer, WHOLE_FILE, "clean_text", &clean);
    }
    if (status == DYNQ_OK) {
        status = read_strip_accents(t, normalizer, WHOLE_FILE);
    }
    if (status == DYNQ_OK && !clean) {
        give_up(t, "its normalizer keeps control characters");
    }
    const json_t *longest = json_object_get(model, "max_input_chars_per_word");
    if (status == DYNQ_OK && longest != NULL) {
        t->max_word_characters = json_integer_value(longest);
        if (t->max_word_characters < 1 ||
            t->max_word_characters > (json_int_t)DYNQ_TOKENIZER_MAX_CHARACTERS) {
            char limits[60];
            snprintf(limits, sizeof limits, "it must be from 1 to %zu",
                     DYNQ_TOKENIZER_MAX_CHARACTERS);
            status = huggingface_bad_key(t->self->folder, WHOLE_FILE, "max_input_chars_per_word",
                                         longest, limits, t->error);
        }
    }
    set_special(t, &t->unknown, json_object_get(model, "unk_token"), "unk_token");
    set_special(t, &t->prefix, json_object_get(model, "continuing_subword_prefix"),
                "continuing_subword_prefix");
    read_post_processor(t, json_object_get(t->whole, "post_processor"));
    read_added(t);
    return status;
}

/* tokenizer_config.json, where tokenizer.json is missing. */
static dynq_status read_config(tokenizer *t)
{
    static const char *const keys[] = {"unk_token", "cls_token", "sep_token"};
    special *const targets[] = {&t->unknown, &t->start, &t->end};
    const char *class = json_string_value(json_object_get(t->config, "tokenizer_class"));
    int basic = 1;
    if (class != NULL && strcmp(class, "BertTokenizer") != 0 &&
        strcmp(class, "BertTokenizerFast") != 0 && strcmp(class, "DistilBertTokenizer") != 0 &&
        strcmp(class, "DistilBertTokenizerFast") != 0) {
        give_up(t, "it is a %.60s", class);
        return DYNQ_OK;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(t->config, keys[i]);
        if (value != NULL) {
            set_special(t, targets[i], value, keys[i]);
        }
    }
    dynq_status status = read_flag(t, t->config, CONFIG_FILE, "do_lower_case", &t->lower_case);
    if (status == DYNQ_OK) {
        status = read_flag(t, t->config, CONFIG_FILE, "tokenize_chinese_chars", &t->chinese_spaces);
    }
    if (status == DYNQ_OK) {
        status = read_flag(t, t->config, CONFIG_FILE, "do_basic_tokenize", &basic);
    }
    if (status == DYNQ_OK) {
        status = read_strip_accents(t, t->config, CONFIG_FILE);
    }
    if (status == DYNQ_OK && !basic) {
        give_up(t, "text is not split as BERT does");
    }
    return status;
}

/* sentence_bert_config.json: its limit, and whether text is made lower case before all else. */
static dynq_status read_sentence(tokenizer *t)
{
    const bert_config *encoder = &t->self->encoder;
    const json_t *longest = json_object_get(t->sentence, "max_seq_length");
    const json_t *model_longest = json_object_get(t->config, "model_max_length");
    const char *file = SENTENCE_FILE, *key = "max_seq_length";
    t->self->max_tokens = encoder->positions - encoder->first_position;
    if (t->self->max_tokens < DYNQ_LEAST_TOKENS) {
        give_up(t, "the encoder has no positions for the two tokens around a sentence");
    }
    if (longest == NULL || json_is_null(longest)) {
        longest = model_longest;
        file = CONFIG_FILE;
        key = "model_max_length";
    }
    /* Where there is no limit the second is a number like 1e30. */
    const double limit = json_number_value(longest);
    if (longest != NULL && !json_is_null(longest)) {
        if (!(limit >= DYNQ_LEAST_TOKENS)) {
            return huggingface_bad_key(t->self->folder, file, key, longest,
                                       "it must be a number of tokens, two at least", t->error);
        }
        if (limit < (double)t->self->max_tokens) {
            t->self->max_tokens = (size_t)limit;
        }
    }
    int before = 0;
    const dynq_status status = read_flag(t, t->sentence, SENTENCE_FILE, "do_lower_case", &before);
    if (before && !t->lower_case) { /* accents stay as the tokenizer itself has them */
        t->lower_case = 1;
        t->strip_accents = t->strip_accents == 1;
    }
    return status;
}

/* The vocabulary of tokenizer.json as lines. */
static dynq_status write_lines(tokenizer *t)
{
    json_t *vocabulary = json_object_get(json_object_get(t->whole, "model"), "vocab");
    const size_t count = json_object_size(vocabulary);
    const char **tokens = allocate(count, sizeof *tokens);
    const char *token;
    json_t *value;
    size_t bytes = 0;
    dynq_status status = DYNQ_OK;
    json_object_foreach(vocabulary, token, value)
    {
        const json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || (size_t)id >= count || tokens[id] != NULL ||
            strchr(token, '\n') != NULL) {
            status =
                folder_fail(t->error, DYNQ_ERR_FORMAT, t->self->folder, WHOLE_FILE,
                            "the vocabulary's '%.60s' cannot be a line of its own: ids must be "
                            "0 to %zu, each once",
                            token, count - 1);
            break;
        }
        tokens[id] = token;
        bytes += strlen(token) + 1;
    }
    if (status == DYNQ_OK) {
        char *end = t->self->vocabulary = allocate(bytes + 1, 1);
        for (size_t i = 0; i < count; i++) {
            end += sprintf(end, "%s\n", tokens[i]);
        }
    }
    free(tokens);
    return status;
}

/* vocab.txt, with plain newlines and one at the end. */
static dynq_status read_lines(tokenizer *t)
{
    char *text = NULL;
    size_t size = 0;
    const dynq_status status = folder_text(t->self->folder, VOCABULARY, &text, &size, t->error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (memchr(text, '\0', size) != NULL) {
        free(text);
        return folder_fail(t->error, DYNQ_ERR_FORMAT, t->self->folder, VOCABULARY,
                           "holds a zero byte: it is not text");
    }
    char *lines = allocate(size + 2, 1);
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '\r' || text[i + 1] != '\n') {
            lines[used++] = text[i];
        }
    }
    if (used > 0 && lines[used - 1] != '\n') {
        lines[used++] = '\n';
    }
    free(text);
    t->self->vocabulary = lines;
    return DYNQ_OK;
}

static int has_line(const char *text, const char *line)
{
    const size_t length = strlen(line);
    while (*text != '\0' && (strncmp(text, line, length) != 0 || text[length] != '\n')) {
        text = strchr(text, '\n') + 1;
    }
    return *text != '\0';
}

static int is_utf8(const char *text)
{
    size_t length = 0;
    char *valid = utf8_valid(text, strlen(text), &length);
    const int same = strcmp(text, valid) == 0;
    free(valid);
    return same;
}

static dynq_status check_vocabulary(const tokenizer *t, const char *file)
{
    const char *const needed[] = {t->unknown.text, t->start.text, t->end.text};
    const huggingface *self = t->self;
    size_t count = 0;
    if (!is_utf8(self->vocabulary)) {
        return folder_fail(t->error, DYNQ_ERR_FORMAT, self->folder, file,
                           "the vocabulary is not UTF-8");
    }
    for (const char *c = self->vocabulary; *c != '\0'; c++) {
        count += *c == '\n';
    }
    if (count > self->encoder.vocabulary) {
        return folder_fail(t->error, DYNQ_ERR_FORMAT, self->folder, file,
                           "has %zu tokens, but config.json's 'vocab_size' is %zu", count,
                           self->encoder.vocabulary);
    }
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!has_line(self->vocabulary, needed[i])) {
            return folder_fail(t->error, DYNQ_ERR_FORMAT, self->folder, file,
                               "the vocabulary has no '%s', which the tokenizer needs", needed[i]);
        }
    }
    return DYNQ_OK;
}

static dynq_status fail_differing(const tokenizer *t, const char *token)
{
    return folder_fail(t->error, DYNQ_ERR_FORMAT, t->self->folder, VOCABULARY,
                       "the token '%.60s' has another id, or none, in " WHOLE_FILE
                       ": one of the files is not of this model",
                       token);
}

/* Whether tokenizer.json has the same ids as the lines. A token that stands in two lines has the id
 * of the last. */
static dynq_status compare_lines(const tokenizer *t, char *const *lines, size_t count)
{
    json_t *vocabulary = json_object_get(json_object_get(t->whole, "model"), "vocab");
    const char *token;
    json_t *value;
    for (size_t i = 0; i < count; i++) {
        value = json_object_get(vocabulary, lines[i]);
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < (json_int_t)i || (size_t)id >= count || strcmp(lines[id], lines[i]) != 0) {
            return fail_differing(t, lines[i]);
        }
    }
    json_object_foreach(vocabulary, token, value)
    {
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (size_t)id >= count || strcmp(lines[id], token) != 0) {
            return fail_differing(t, token);
        }
    }
    return DYNQ_OK;
}

/* Where both files have a vocabulary they must agree: the rules are those of tokenizer.json. */
static dynq_status check_both(const tokenizer *t)
{
    char *text = allocate_text(t->self->vocabulary);
    size_t count = 0;
    for (const char *c = text; *c != '\0'; c++) {
        count += *c == '\n';
    }
    char **lines = allocate(count + 1, sizeof *lines);
    char *line = text;
    for (size_t i = 0; i < count; i++) {
        lines[i] = line;
        line = strchr(line, '\n');
        *line++ = '\0';
    }
    const dynq_status status = compare_lines(t, lines, count);
    free(lines);
    free(text);
    return status;
}

static dynq_status read_vocabulary(tokenizer *t)
{
    const int lines = folder_has(t->self->folder, VOCABULARY);
    dynq_status status = lines ? read_lines(t) : write_lines(t);
    if (status == DYNQ_OK) {
        status = check_vocabulary(t, lines ? VOCABULARY : WHOLE_FILE);
    }
    return status == DYNQ_OK && lines && t->whole != NULL ? check_both(t) : status;
}

static void describe(tokenizer *t)
{
    json_t *strip = t->strip_accents < 0 ? json_null() : json_boolean(t->strip_accents);
    json_t *json = json_pack(
        "{s:s, s:b, s:o, s:b, s:I, s:s, s:s, s:s, s:s, s:I}", "type", "wordpiece", "lower_case",
        t->lower_case, "strip_accents", strip, "chinese_spaces", t->chinese_spaces, "max_tokens",
        (json_int_t)t->self->max_tokens, "unknown", t->unknown.text, "start", t->start.text, "end",
        t->end.text, "prefix", t->prefix.text, "max_word_characters", t->max_word_characters);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL) {
        allocate_failed();
    }
    t->self->tokenizer = text;
}

static dynq_status read_files(tokenizer *t)
{
    const char *folder = t->self->folder;
    dynq_status status = folder_json(folder, WHOLE_FILE, &t->whole, t->error);
    if (status == DYNQ_OK) {
        status = folder_json(folder, CONFIG_FILE, &t->config, t->error);
    }
    if (status == DYNQ_OK) {
        status = folder_json(folder, SENTENCE_FILE, &t->sentence, t->error);
    }
    if (status == DYNQ_OK && t->whole == NULL && !folder_has(folder, VOCABULARY)) {
        give_up(t, "there is neither " WHOLE_FILE " nor " VOCABULARY);
    }
    if (status == DYNQ_OK && !t->unknown_kind) {
        status = t->whole != NULL ? read_whole(t) : read_config(t);
    }
    return status == DYNQ_OK ? read_sentence(t) : status;
}

dynq_status huggingface_tokenizer(huggingface *self, dynq_error *error)
{
    tokenizer t = {.self = self,
                   .error = error,
                   .lower_case = 1,
                   .chinese_spaces = 1,
                   .strip_accents = -1,
                   .max_word_characters = MAX_WORD,
                   .unknown = {"[UNK]"},
                   .start = {"[CLS]"},
                   .end = {"[SEP]"},
                   .prefix = {"##"}};
    dynq_status status = read_files(&t);
    if (status == DYNQ_OK && !t.unknown_kind) {
        status = read_vocabulary(&t);
    }
    if (status == DYNQ_OK && !t.unknown_kind) {
        describe(&t);
    }
    json_decref(t.whole);
    json_decref(t.config);
    json_decref(t.sentence);
    return status;
}
