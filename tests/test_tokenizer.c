/* The tokenizer: what its header promises. test_tokenizer_golden.c compares it with the reference.
 */
#include "guarded.h"
#include "samples.h"

#include <dynq/tokenizer.h>

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = 64 };

/* Ids:                       0      1      2      3      4       5  6   7    8  9  10  11 */
static const char small[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nab\n##c\n[\n]\nsep\n##b\n";
enum { PAD, UNK, CLS, SEP, MASK, A, AB, _C, OPEN, CLOSE, WORD_SEP, _B };

static dynq_tokenizer *create(const char *vocabulary, const dynq_tokenizer_options *options)
{
    dynq_tokenizer *tokenizer = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_tokenizer_create(vocabulary, strlen(vocabulary), options, &tokenizer, &error),
                 DYNQ_OK, "%s", error.message);
    return tokenizer;
}

/* The text gives `start`, these ids and `end`. */
static void check(const dynq_tokenizer *tokenizer, const char *text, size_t bytes,
                  const int32_t *expected, size_t expected_count)
{
    int32_t ids[MAX_IDS];
    size_t count = 0;
    cr_assert_eq(dynq_tokenizer_encode(tokenizer, text, bytes, MAX_IDS, ids, &count, NULL),
                 DYNQ_OK);
    cr_assert_eq(count, expected_count + 2, "%zu ids of %.40s", count, text);
    cr_assert_eq(ids[0], CLS);
    cr_assert_eq(ids[count - 1], SEP);
    for (size_t i = 0; i < expected_count; i++) {
        cr_assert_eq(ids[i + 1], expected[i], "id %zu of %.40s is %d", i, text, ids[i + 1]);
    }
}

static void check_text(const dynq_tokenizer *tokenizer, const char *text, const int32_t *expected,
                       size_t expected_count)
{
    check(tokenizer, text, strlen(text), expected, expected_count);
}

static void check_failure(const char *vocabulary, size_t bytes,
                          const dynq_tokenizer_options *options, dynq_status expected,
                          const char *part)
{
    dynq_tokenizer *tokenizer = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_tokenizer_create(vocabulary, bytes, options, &tokenizer, &error), expected);
    cr_assert_eq(error.status, expected);
    cr_assert_not_null(strstr(error.message, part), "%s", error.message);
    cr_assert_null(tokenizer);
    cr_assert_eq(dynq_tokenizer_create(vocabulary, bytes, options, &tokenizer, NULL), expected);
}

Test(tokenizer, bad_vocabularies)
{
    check_failure(NULL, 0, NULL, DYNQ_ERR_ARGUMENT, "the vocabulary");
    cr_assert_eq(dynq_tokenizer_create(small, 1, NULL, NULL, NULL), DYNQ_ERR_ARGUMENT);
    check_failure("", 0, NULL, DYNQ_ERR_FORMAT, "empty");
    check_failure("[CLS]\n[SEP]\n", 12, NULL, DYNQ_ERR_NOT_FOUND, "[UNK]");
    check_failure("[UNK]\n[SEP]\n", 12, NULL, DYNQ_ERR_NOT_FOUND, "[CLS]");
    check_failure("[UNK]\n[CLS]\n", 12, NULL, DYNQ_ERR_NOT_FOUND, "[SEP]");
    check_failure(small, DYNQ_TOKENIZER_MAX_BYTES + 1, NULL, DYNQ_ERR_LIMIT, "268435457");
    char *lines = malloc(DYNQ_TOKENIZER_MAX_TOKENS + 1);
    memset(lines, '\n', DYNQ_TOKENIZER_MAX_TOKENS + 1);
    check_failure(lines, DYNQ_TOKENIZER_MAX_TOKENS + 1, NULL, DYNQ_ERR_LIMIT, "4194305");
    check_failure(lines, DYNQ_TOKENIZER_MAX_TOKENS, NULL, DYNQ_ERR_NOT_FOUND, "[UNK]");
    free(lines);
    const char *bad[] = {"\xff",    "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                         "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[80];
        snprintf(text, sizeof text, "[UNK]\n[CLS]\n[SEP]\nab%s\n", bad[i]);
        dynq_tokenizer *tokenizer = NULL;
        dynq_error error = {0};
        cr_assert_eq(dynq_tokenizer_create(text, strlen(text), NULL, &tokenizer, &error),
                     DYNQ_ERR_FORMAT);
        cr_assert_eq(error.offset, 20);
        cr_assert_not_null(strstr(error.message, "line 4"), "%s", error.message);
    }
}

Test(tokenizer, bad_options)
{
    const size_t bytes = strlen(small), size = sizeof(dynq_tokenizer_options);
    const struct {
        dynq_tokenizer_options options;
        const char *part;
    } bad[] = {
        {{.size = 0}, "size"},
        {{.size = size, .max_word_characters = 1001}, "1001"},
        {{.size = size, .accents = (dynq_accents)3}, "accents is 3"},
        {{.size = size, .accents = (dynq_accents)-1}, "accents is -1"},
        {{.size = size, .unknown = ""}, "[UNK]"},
        {{.size = size, .start = ""}, "[CLS]"},
        {{.size = size, .end = ""}, "[SEP]"},
        {{.size = size, .padding = ""}, "[PAD]"},
        {{.size = size, .mask = ""}, "[MASK]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_failure(small, bytes, &bad[i].options, DYNQ_ERR_ARGUMENT, bad[i].part);
    }
    const dynq_tokenizer_options missing = {.size = size, .unknown = "<unk>"};
    check_failure(small, bytes, &missing, DYNQ_ERR_NOT_FOUND, "<unk>");
}

Test(tokenizer, lines_of_a_vocabulary)
{
    /* CR LF, white space of all kinds at the end, an empty line, a token twice, no last newline. */
    dynq_tokenizer *t = create("[UNK]\r\n[CLS] \t\xc2\xa0\n[SEP]\xe3\x80\x80\xc2\x85\x0b\n\na\n"
                               " b\na\n##c",
                               NULL);
    const char *expected[] = {"[UNK]", "[CLS]", "[SEP]", "", "a", " b", "a", "##c"};
    cr_assert_eq(dynq_tokenizer_size(t), 8);
    const char *text = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < 8; i++) {
        cr_assert_eq(dynq_tokenizer_token(t, i, &text, &bytes), DYNQ_OK);
        cr_assert_eq(bytes, strlen(expected[i]), "token %zu has %zu bytes", i, bytes);
        cr_assert(memcmp(text, expected[i], bytes) == 0, "token %zu", i);
    }
    cr_assert_eq(dynq_tokenizer_token(t, 8, &text, &bytes), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_token(NULL, 0, &text, &bytes), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_token(t, 0, NULL, &bytes), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_token(t, 0, &text, NULL), DYNQ_ERR_ARGUMENT);
    int32_t ids[4];
    size_t count = 0;
    cr_assert_eq(dynq_tokenizer_encode(t, "ac", 2, 4, ids, &count, NULL), DYNQ_OK);
    cr_assert_eq(count, 4);
    cr_assert(ids[0] == 1 && ids[1] == 6 && ids[2] == 7 && ids[3] == 2);
    dynq_tokenizer_free(t);
    dynq_tokenizer_free(NULL);
    cr_assert_eq(dynq_tokenizer_size(NULL), 0);
}

Test(tokenizer, bad_calls)
{
    dynq_tokenizer *t = create(small, NULL);
    int32_t ids[2] = {77, 77};
    size_t count = 99;
    dynq_error error = {0};
    cr_assert_eq(dynq_tokenizer_encode(NULL, "a", 1, 2, ids, &count, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_encode(t, NULL, 1, 2, ids, &count, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_encode(t, "a", 1, 2, NULL, &count, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_encode(t, "a", 1, 2, ids, NULL, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_tokenizer_encode(t, "a", 1, 1, ids, &count, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "max_ids is 1"), "%s", error.message);
    cr_assert_eq(dynq_tokenizer_encode(t, "a", 1, 0, ids, &count, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert(ids[0] == 77 && count == 99);
    dynq_tokenizer_free(t);
}

Test(tokenizer, empty_and_nearly_empty_texts)
{
    dynq_tokenizer *t = create(small, NULL);
    check(t, NULL, 0, NULL, 0);
    check(t, "", 0, NULL, 0);
    check(t, "\0", 1, NULL, 0);
    check_text(t, " \t\r\n\xe3\x80\x80", NULL, 0);
    check_text(t, "\x01\x7f\xff\xc3\xe2\x82\xef\xbf\xbd\xcc\x81\xee\x80\x80", NULL, 0);
    const int32_t abc[] = {AB, _C};
    check(t, "A\0B\xff\xed\xa0\x80\xc3\xa7", 9, abc, 2); /* c with a cedilla */
    dynq_tokenizer_free(t);
}

Test(tokenizer, the_longest_piece_comes_first)
{
    dynq_tokenizer *t = create(small, NULL);
    const int32_t abcb[] = {AB, _C, _B}, unknown[] = {UNK};
    check_text(t, "abcb", abcb, 3);
    check_text(t, "abcbd", unknown, 1); /* one piece is missing, and the word is unknown */
    check_text(t, "c", unknown, 1);
    check_text(t, "##c", (const int32_t[]){UNK, UNK, UNK}, 3);
    dynq_tokenizer_free(t);
    const char *other = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n@@b\n@@c\nb\n\n##b\n";
    const dynq_tokenizer_options prefix = {.size = sizeof prefix, .prefix = "@@"};
    t = create(other, &prefix);
    check_text(t, "abc", (const int32_t[]){5, 6, 7}, 3);
    dynq_tokenizer_free(t);
    const dynq_tokenizer_options none = {.size = sizeof none, .prefix = ""};
    t = create(other, &none);
    check_text(t, "ab c", (const int32_t[]){5, 8, UNK}, 3);
    dynq_tokenizer_free(t);
}

Test(tokenizer, special_tokens_in_a_text)
{
    dynq_tokenizer *t = create(small, NULL);
    const int32_t found[] = {A, SEP, AB, MASK, PAD, UNK, CLS, OPEN, WORD_SEP, CLOSE};
    check_text(t, "a[SEP]ab [MASK][PAD][UNK] [CLS] [sep]", found, 10);
    check_text(t, "[SEP", (const int32_t[]){OPEN, WORD_SEP}, 2);
    check(t, "[S\0EP]", 6, (const int32_t[]){OPEN, WORD_SEP, CLOSE}, 3);
    check_text(t, "[[SEP]]", (const int32_t[]){OPEN, SEP, CLOSE}, 3);
    dynq_tokenizer_free(t);
    const dynq_tokenizer_options plain = {.size = sizeof plain, .specials_as_text = 1};
    t = create(small, &plain);
    check_text(t, "a[SEP]", (const int32_t[]){A, OPEN, WORD_SEP, CLOSE}, 4);
    dynq_tokenizer_free(t);
    /* Names of one's own; the longest that fits is taken; what the vocabulary lacks is text. */
    const dynq_tokenizer_options names = {.size = sizeof names,
                                          .unknown = "<",
                                          .start = "<s>",
                                          .end = "<s",
                                          .padding = "\xc3\xa9",
                                          .mask = "<m>"};
    t = create("a\n<\n<s>\n<s\n\xc3\xa9\n>", &names);
    check_text(t, "<s>a<sa<a\xc3\xa9<m>", (const int32_t[]){2, 0, 3, 0, 1, 0, 4, 1, 1, 5}, 10);
    dynq_tokenizer_free(t);
}

Test(tokenizer, options_of_the_normalizer)
{
    const char *vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ne\nE\n\xc3\xa9\n\xc3\x89\n"
                             "\xe4\xb8\xad\n##\xe4\xb8\xad\n";
    const struct {
        int keep_case;
        dynq_accents accents;
        int32_t id;
    } cases[] = {{0, DYNQ_ACCENTS_AS_CASE, 5}, {0, DYNQ_ACCENTS_REMOVE, 5},
                 {0, DYNQ_ACCENTS_KEEP, 7},    {1, DYNQ_ACCENTS_AS_CASE, 8},
                 {1, DYNQ_ACCENTS_REMOVE, 6},  {1, DYNQ_ACCENTS_KEEP, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const dynq_tokenizer_options options = {
            .size = sizeof options, .keep_case = cases[i].keep_case, .accents = cases[i].accents};
        dynq_tokenizer *t = create(vocabulary, &options);
        check_text(t, "\xc3\x89", &cases[i].id, 1);
        dynq_tokenizer_free(t);
    }
    dynq_tokenizer *t = create(vocabulary, NULL);
    check_text(t, "e\xe4\xb8\xad\xe4\xb8\xad", (const int32_t[]){5, 9, 9}, 3);
    dynq_tokenizer_free(t);
    const dynq_tokenizer_options joined = {.size = sizeof joined, .keep_chinese_joined = 1};
    t = create(vocabulary, &joined);
    check_text(t, "e\xe4\xb8\xad\xe4\xb8\xad", (const int32_t[]){5, 10, 10}, 3);
    dynq_tokenizer_free(t);
}

/* Words of `count` characters (of up to four bytes), for a vocabulary with a token of each length.
 */
static void check_word_limit(size_t limit, const char *character, const char *unit)
{
    const dynq_tokenizer_options options = {.size = sizeof options, .max_word_characters = limit};
    const size_t actual = limit == 0 ? 100 : limit;
    const char *head = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    char *text = calloc(1, strlen(head) + (actual + 3) * 16);
    sprintf(text, "%s%s\n##%s\n", head, character, character);
    dynq_tokenizer *t = create(text, &options);
    int32_t *ids = malloc((actual + 4) * sizeof *ids);
    for (size_t characters = actual - 1; characters <= actual + 1; characters++) {
        text[0] = '\0';
        char *end = text;
        for (size_t i = 0; i < characters; i++) {
            end = stpcpy(end, unit);
        }
        stpcpy(end, " x");
        size_t count = 0;
        cr_assert_eq(dynq_tokenizer_encode(t, text, strlen(text), actual + 4, ids, &count, NULL),
                     DYNQ_OK);
        const size_t pieces = characters > actual ? 1 : characters;
        cr_assert_eq(count, pieces + 3, "%zu characters of %zu: %zu ids", characters, actual,
                     count);
        for (size_t i = 0; i < pieces; i++) {
            cr_assert_eq(ids[i + 1], characters > actual ? UNK : i == 0 ? 5 : 6);
        }
        cr_assert_eq(ids[pieces + 1], UNK);
    }
    free(ids);
    free(text);
    dynq_tokenizer_free(t);
}

Test(tokenizer, long_words)
{
    const size_t limits[] = {0, 2, 100, DYNQ_TOKENIZER_MAX_CHARACTERS};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        check_word_limit(limits[i], "a", "A");
        /* The count is that after normalization: an accent is gone, a control character too. */
        check_word_limit(limits[i], "e", "\xc3\x89");
        check_word_limit(limits[i], "e", "e\xcc\x81\xe2\x80\x8d");
        check_word_limit(limits[i], "\xf0\x90\x90\xa8", "\xf0\x90\x90\x80");
        check_word_limit(limits[i], "\xe3\x80\xae", "\xe3\x80\xae"); /* a mark that is sorted */
    }
}

Test(tokenizer, truncation)
{
    dynq_tokenizer *t = create(small, NULL);
    const int32_t all[] = {CLS, A, AB, _C, _B, SEP, UNK};
    const char *text = "a abcb [SEP] zzz";
    for (size_t max_ids = 2; max_ids < 10; max_ids++) {
        int32_t ids[16] = {0};
        size_t count = 0;
        cr_assert_eq(dynq_tokenizer_encode(t, text, strlen(text), max_ids, ids, &count, NULL),
                     DYNQ_OK);
        const size_t expected = max_ids < 8 ? max_ids : 8;
        cr_assert_eq(count, expected);
        cr_assert(memcmp(ids, all, (count - 1) * sizeof ids[0]) == 0, "max_ids %zu", max_ids);
        cr_assert_eq(ids[count - 1], SEP);
        cr_assert_eq(ids[max_ids], 0);
    }
    /* A word whose last piece is unknown is unknown, even where only its first would stay. */
    int32_t ids[3];
    size_t count = 0;
    cr_assert_eq(dynq_tokenizer_encode(t, "abcz", 4, 3, ids, &count, NULL), DYNQ_OK);
    cr_assert(count == 3 && ids[1] == UNK);
    dynq_tokenizer_free(t);
}

Test(tokenizer, reads_no_byte_too_many)
{
    dynq_tokenizer *t = create(small, NULL);
    guarded page = guarded_create(64, 0);
    const char *texts[] = {
        "a\xf0", "a\xf0\x9f", "a\xf0\x9f\x98",    "a\xe2", "a\xe2\x82", "a\xc3", "a[SEP",
        "a[",    "a",         "a\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const size_t bytes = strlen(texts[i]), at = guarded_offset(&page, bytes, 0, 1);
        memcpy(page.fill + at, texts[i], bytes);
        int32_t ids[8];
        size_t count = 0;
        cr_assert_eq(
            dynq_tokenizer_encode(t, (const char *)page.bytes + at, bytes, 8, ids, &count, NULL),
            DYNQ_OK);
        cr_assert_geq(count, 3u);
    }
    /* What follows the ids that fit is not looked at: it is not even there. */
    const size_t at = guarded_offset(&page, 4, 0, 1);
    memcpy(page.fill + at, "a a ", 4);
    int32_t ids[4];
    size_t count = 0;
    cr_assert_eq(dynq_tokenizer_encode(t, (const char *)page.bytes + at, (size_t)1 << 40, 4, ids,
                                       &count, NULL),
                 DYNQ_OK);
    cr_assert(count == 4 && ids[1] == A && ids[2] == A);
    guarded_free(&page);
    dynq_tokenizer_free(t);
}

Test(tokenizer, a_long_line)
{
    enum { BYTES = 1 << 20 };
    dynq_tokenizer *t = create(small, NULL);
    char *text = malloc(BYTES);
    memset(text, 'a', BYTES);
    check(t, text, BYTES, (const int32_t[]){UNK}, 1);
    for (size_t i = 0; i + 1 < BYTES; i += 2) {
        memcpy(text + i, "\xcc\x81", 2);
    }
    check(t, text, BYTES, NULL, 0);
    for (size_t i = 0; i < BYTES; i++) {
        text[i] = (char)(i * 2654435761u >> 13);
    }
    int32_t *ids = malloc((BYTES + 2) * sizeof *ids);
    size_t count = 0;
    cr_assert_eq(dynq_tokenizer_encode(t, text, BYTES, BYTES + 2, ids, &count, NULL), DYNQ_OK);
    cr_assert_gt(count, 100u);
    free(ids);
    free(text);
    dynq_tokenizer_free(t);
}

Test(tokenizer, encoding_allocates_nothing)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_tokenizer_options options = {.size = sizeof options, .allocator = &allocator};
    dynq_tokenizer *t = create(small, &options);
    const size_t before = memory.calls;
    cr_assert_gt(before, 0u);
    check_text(t, "a abc [SEP]", (const int32_t[]){A, AB, _C, SEP}, 4);
    cr_assert_eq(memory.calls, before);
    dynq_tokenizer_free(t);
    cr_assert_eq(memory.live, 0u);
}

Test(tokenizer, every_allocation_can_fail)
{
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_tokenizer_options options = {.size = sizeof options, .allocator = &allocator};
        dynq_tokenizer *tokenizer = NULL;
        const dynq_status status =
            dynq_tokenizer_create(small, strlen(small), &options, &tokenizer, NULL);
        failed = memory.calls >= n;
        cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK, "allocation %zu", n);
        cr_assert_eq(tokenizer == NULL, failed);
        dynq_tokenizer_free(tokenizer);
        cr_assert_eq(memory.live, 0u, "allocation %zu leaks", n);
        cr_assert(n < 100);
    }
}

static void *encode_often(void *argument)
{
    size_t wrong = 0;
    for (int i = 0; i < 2000; i++) {
        const int32_t expected[] = {CLS, AB, _C, UNK, A, SEP};
        int32_t ids[8];
        size_t count = 0;
        wrong +=
            dynq_tokenizer_encode(argument, "abc \xd0\xaf a", 8, 8, ids, &count, NULL) != DYNQ_OK ||
            count != 6 || memcmp(ids, expected, sizeof expected) != 0;
    }
    return wrong == 0 ? argument : NULL;
}

Test(tokenizer, serves_many_threads)
{
    dynq_tokenizer *t = create(small, NULL);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, encode_often, t), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *result = NULL;
        cr_assert_eq(pthread_join(threads[i], &result), 0);
        cr_assert_eq(result, t);
    }
    dynq_tokenizer_free(t);
}
