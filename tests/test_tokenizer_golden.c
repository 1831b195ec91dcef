/* The ids of the reference tokenizer for varied lines; golden/make_tokens.py says where from. */
#include "samples.h"

#include <dynq/tokenizer.h>

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 5, MAX_IDS = 256 };

static dynq_tokenizer *create(const char *name, const char *letters)
{
    const bool remove = strchr(letters, 'r') != NULL, keep = strchr(letters, 'k') != NULL;
    const dynq_tokenizer_options options = {
        .size = sizeof options,
        .keep_case = strchr(letters, 'c') != NULL,
        .accents = remove ? DYNQ_ACCENTS_REMOVE
                   : keep ? DYNQ_ACCENTS_KEEP
                          : DYNQ_ACCENTS_AS_CASE,
        .keep_chinese_joined = strchr(letters, 'j') != NULL,
        .specials_as_text = strchr(letters, 't') != NULL,
    };
    char path[512];
    snprintf(path, sizeof path, DYNQ_GOLDEN_DIR "/tokens_%s.txt", name);
    size_t bytes = 0;
    char *vocabulary = (char *)samples_read(path, &bytes);
    dynq_tokenizer *tokenizer = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_tokenizer_create(vocabulary, bytes, &options, &tokenizer, &error), DYNQ_OK,
                 "%s", error.message);
    free(vocabulary);
    return tokenizer;
}

/* Puts bytes in the place of a backslash and two digits; returns how many there are then. */
static size_t unescape(char *text)
{
    size_t bytes = 0;
    for (const char *c = text; *c != '\0'; bytes++) {
        if (*c == '\\') {
            const char digits[] = {c[1], c[2], '\0'};
            text[bytes] = (char)strtoul(digits, NULL, 16);
            c += 3;
        } else {
            text[bytes] = *c++;
        }
    }
    return bytes;
}

static void check_line(const dynq_tokenizer *tokenizer, size_t number, char *columns[COLUMNS])
{
    int32_t ids[MAX_IDS];
    size_t count = 0, expected = 0;
    const size_t bytes = unescape(columns[3]), max_ids = strtoul(columns[2], NULL, 10);
    cr_assert_leq(max_ids, (size_t)MAX_IDS);
    cr_assert_eq(dynq_tokenizer_encode(tokenizer, columns[3], bytes, max_ids, ids, &count, NULL),
                 DYNQ_OK);
    for (char *at = columns[4]; *at != '\0' && *at != '\n'; expected++) {
        const long id = strtol(at, &at, 10);
        cr_assert(expected < count && ids[expected] == id, "line %zu, id %zu is not %ld", number,
                  expected, id);
    }
    cr_assert_eq(count, expected, "line %zu has %zu ids", number, count);
}

Test(tokenizer_golden, ids_of_the_reference)
{
    enum { MAX_KINDS = 32 };
    struct {
        char *name, *letters;
        dynq_tokenizer *tokenizer;
    } kinds[MAX_KINDS];
    size_t kind_count = 0, number = 0, bytes = 0;
    char *text = (char *)samples_read(DYNQ_GOLDEN_DIR "/tokens.txt", &bytes);
    cr_assert_eq(text[bytes - 1], '\n');
    text[bytes - 1] = '\0';
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *columns[COLUMNS] = {NULL};
        number++;
        for (size_t i = 0; i < COLUMNS; i++) {
            columns[i] = strsep(&line, "\t");
            cr_assert_not_null(columns[i], "line %zu", number);
        }
        size_t k = 0;
        while (k < kind_count && (strcmp(kinds[k].name, columns[0]) != 0 ||
                                  strcmp(kinds[k].letters, columns[1]) != 0)) {
            k++;
        }
        if (k == kind_count) {
            cr_assert_lt(kind_count, (size_t)MAX_KINDS);
            kinds[kind_count].name = columns[0];
            kinds[kind_count].letters = columns[1];
            kinds[kind_count++].tokenizer = create(columns[0], columns[1]);
        }
        check_line(kinds[k].tokenizer, number, columns);
    }
    cr_assert_geq(number, (size_t)690);
    for (size_t k = 0; k < kind_count; k++) {
        dynq_tokenizer_free(kinds[k].tokenizer);
    }
    free(text);
}
