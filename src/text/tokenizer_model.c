#include <dynq/tokenizer_model.h>

#include "src/error.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define VOCABULARY "vocabulary"
#define RULES      "tokenizer"

/* The attachment "tokenizer": an object that has each of the fields below, and no others. */
typedef struct rules {
    const char *type, *unknown, *start, *end, *prefix;
    int lower_case, chinese_spaces;
    int strip_accents; /* -1: null */
    json_int_t max_tokens, max_word_characters;
} rules;

typedef enum field_kind { FIELD_TEXT, FIELD_FLAG, FIELD_FLAG_OR_NULL, FIELD_COUNT } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset;
    json_int_t low, high; /* counts; of a text, its bytes */
} field;

/* Tokens of more bytes would not be found in any vocabulary that was learned. */
#define LONGEST_TEXT 255

static const field fields[] = {
    {"type", FIELD_TEXT, offsetof(rules, type), 1, LONGEST_TEXT},
    {"lower_case", FIELD_FLAG, offsetof(rules, lower_case), 0, 0},
    {"strip_accents", FIELD_FLAG_OR_NULL, offsetof(rules, strip_accents), 0, 0},
    {"chinese_spaces", FIELD_FLAG, offsetof(rules, chinese_spaces), 0, 0},
    {"max_tokens", FIELD_COUNT, offsetof(rules, max_tokens), 2, DYNQ_TOKENIZER_MAX_TOKENS},
    {"unknown", FIELD_TEXT, offsetof(rules, unknown), 1, LONGEST_TEXT},
    {"start", FIELD_TEXT, offsetof(rules, start), 1, LONGEST_TEXT},
    {"end", FIELD_TEXT, offsetof(rules, end), 1, LONGEST_TEXT},
    {"prefix", FIELD_TEXT, offsetof(rules, prefix), 0, LONGEST_TEXT},
    {"max_word_characters", FIELD_COUNT, offsetof(rules, max_word_characters), 1,
     DYNQ_TOKENIZER_MAX_CHARACTERS},
};

#define FIELD_TOTAL (sizeof fields / sizeof *fields)

static const char *const kind_names[] = {"a text of", "true or false", "true, false or null",
                                         "a whole number from"};

static dynq_status fail_field(const field *one, const json_t *value, dynq_error *error)
{
    char limits[80] = "";
    if (one->kind == FIELD_TEXT) {
        snprintf(limits, sizeof limits, " %lld to %lld bytes", (long long)one->low,
                 (long long)one->high);
    } else if (one->kind == FIELD_COUNT) {
        snprintf(limits, sizeof limits, " %lld to %lld", (long long)one->low, (long long)one->high);
    }
    return dynq_fail(error, DYNQ_ERR_FORMAT,
                     "attachment \"" RULES "\": \"%s\" is %s, but must be %s%s: convert the model "
                     "again",
                     one->name, value == NULL ? "missing" : "something else", kind_names[one->kind],
                     limits);
}

static dynq_status read_field(const json_t *object, const field *one, rules *result,
                              dynq_error *error)
{
    const json_t *value = json_object_get(object, one->name);
    void *target = (char *)result + one->offset;
    switch (one->kind) {
    case FIELD_TEXT:
        if (!json_is_string(value) || json_string_length(value) < (size_t)one->low ||
            json_string_length(value) > (size_t)one->high) {
            break;
        }
        *(const char **)target = json_string_value(value);
        return DYNQ_OK;
    case FIELD_FLAG:
    case FIELD_FLAG_OR_NULL:
        if (!json_is_boolean(value) && !(one->kind == FIELD_FLAG_OR_NULL && json_is_null(value))) {
            break;
        }
        *(int *)target = json_is_null(value) ? -1 : json_is_true(value);
        return DYNQ_OK;
    case FIELD_COUNT:
        if (!json_is_integer(value) || json_integer_value(value) < one->low ||
            json_integer_value(value) > one->high) {
            break;
        }
        *(json_int_t *)target = json_integer_value(value);
        return DYNQ_OK;
    }
    return fail_field(one, value, error);
}

static dynq_status check_unknown(json_t *object, dynq_error *error)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (i < FIELD_TOTAL && strcmp(fields[i].name, key) != 0) {
            i++;
        }
        if (i == FIELD_TOTAL) {
            return dynq_fail(error, DYNQ_ERR_FORMAT,
                             "attachment \"" RULES "\": \"%.100s\" is not known here: use a newer "
                             "dynq, or convert the model again",
                             key);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_rules(json_t *object, rules *result, dynq_error *error)
{
    if (!json_is_object(object)) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "attachment \"" RULES "\" is not a JSON object: convert the model again");
    }
    dynq_status status = check_unknown(object, error);
    for (size_t i = 0; i < FIELD_TOTAL && status == DYNQ_OK; i++) {
        status = read_field(object, &fields[i], result, error);
    }
    if (status == DYNQ_OK && strcmp(result->type, "wordpiece") != 0) {
        status = dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                           "attachment \"" RULES "\": the type \"%.100s\" is not known here; "
                           "\"wordpiece\" is",
                           result->type);
    }
    return status;
}

static dynq_status find(const dynq_model *model, const char *name, const void **bytes, size_t *size,
                        dynq_error *error)
{
    const dynq_status status = dynq_model_attachment(model, name, bytes, size);
    if (status == DYNQ_ERR_NOT_FOUND) {
        return dynq_fail(error, status,
                         "the model has no attachment \"%s\", so no tokenizer: convert it from a "
                         "folder that has its vocabulary",
                         name);
    }
    return status == DYNQ_OK ? status : dynq_fail(error, status, "attachment \"%s\"", name);
}

static dynq_status create(const char *vocabulary, size_t bytes, const rules *given,
                          const dynq_allocator *allocator, dynq_tokenizer **result,
                          dynq_error *error)
{
    const dynq_tokenizer_options options = {
        .size = sizeof options,
        .allocator = allocator,
        .keep_case = !given->lower_case,
        .accents = given->strip_accents < 0   ? DYNQ_ACCENTS_AS_CASE
                   : given->strip_accents > 0 ? DYNQ_ACCENTS_REMOVE
                                              : DYNQ_ACCENTS_KEEP,
        .keep_chinese_joined = !given->chinese_spaces,
        .max_word_characters = (size_t)given->max_word_characters,
        .prefix = given->prefix,
        .unknown = given->unknown,
        .start = given->start,
        .end = given->end,
    };
    return dynq_tokenizer_create(vocabulary, bytes, &options, result, error);
}

dynq_status dynq_tokenizer_from_model(const dynq_model *model, const dynq_allocator *allocator,
                                      dynq_tokenizer **result, size_t *max_tokens,
                                      dynq_error *error)
{
    const void *vocabulary = NULL, *text = NULL;
    size_t bytes = 0, text_bytes = 0;
    if (model == NULL || result == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "the model or the result is NULL");
    }
    dynq_status status = find(model, RULES, &text, &text_bytes, error);
    if (status == DYNQ_OK) {
        status = find(model, VOCABULARY, &vocabulary, &bytes, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    json_error_t found;
    json_t *object = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, &found);
    if (object == NULL) {
        return json_error_code(&found) == json_error_out_of_memory
                   ? dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a tokenizer")
                   : dynq_fail(error, DYNQ_ERR_FORMAT,
                               "attachment \"" RULES "\": %s at byte %d: convert the model again",
                               found.text, found.position);
    }
    rules given = {0};
    status = read_rules(object, &given, error);
    if (status == DYNQ_OK) {
        status = create(vocabulary, bytes, &given, allocator, result, error);
    }
    json_decref(object);
    if (status == DYNQ_OK && max_tokens != NULL) {
        *max_tokens = (size_t)given.max_tokens;
    }
    return status;
}
