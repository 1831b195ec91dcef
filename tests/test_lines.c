#include "tools/lines.h"
#include "tools/utf8.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A reader of a temporary file that holds `bytes`. */
typedef struct fixture {
    char path[64];
    line_reader reader;
} fixture;

static void begin(fixture *self, const char *bytes, size_t size)
{
    strcpy(self->path, "/tmp/dynq-lines-XXXXXX");
    const int descriptor = mkstemp(self->path);
    cr_assert(descriptor >= 0);
    cr_assert_eq(write(descriptor, bytes, size), (ssize_t)size);
    close(descriptor);
    dynq_error error = {0};
    cr_assert_eq(lines_open(self->path, &self->reader, &error), DYNQ_OK, "%s", error.message);
}

static void end(fixture *self)
{
    lines_close(&self->reader);
    unlink(self->path);
}

static void expect(fixture *self, const char *text, size_t size)
{
    const char *line = NULL;
    size_t bytes = 0;
    cr_assert_eq(lines_next(&self->reader, &line, &bytes, NULL), DYNQ_OK);
    if (text == NULL) {
        cr_assert_null(line);
        return;
    }
    cr_assert_not_null(line);
    cr_assert_eq(bytes, size, "%zu bytes, not %zu", bytes, size);
    cr_assert_eq(memcmp(line, text, size), 0);
}

Test(lines, ends_of_lines)
{
    static const char text[] = "one\ntwo\r\n\n\r\nfour\rfive\nse\0ven\r\r\nlast";
    fixture self;
    begin(&self, text, sizeof text - 1);
    expect(&self, "one", 3);
    expect(&self, "two", 3);
    expect(&self, "", 0);
    expect(&self, "", 0);
    expect(&self, "four\rfive", 9);
    expect(&self, "se\0ven\r", 7);
    expect(&self, "last", 4);
    expect(&self, NULL, 0);
    expect(&self, NULL, 0);
    end(&self);
}

Test(lines, nothing_and_a_newline)
{
    fixture self;
    begin(&self, "", 0);
    expect(&self, NULL, 0);
    end(&self);
    begin(&self, "\n", 1);
    expect(&self, "", 0);
    expect(&self, NULL, 0);
    end(&self);
}

/* Lines that end at, before and behind the borders of what is read at a time. */
Test(lines, borders_of_chunks)
{
    for (size_t length = 65530; length < 65542; length++) {
        char *text = malloc(length + 8);
        memset(text, 'a', length);
        memcpy(text + length, "\r\nb\r\nc", 6);
        fixture self;
        begin(&self, text, length + 6);
        expect(&self, text, length);
        expect(&self, "b", 1);
        expect(&self, "c", 1);
        expect(&self, NULL, 0);
        end(&self);
        free(text);
    }
}

/* What is beyond the longest is passed over; the next line is whole. */
Test(lines, longest)
{
    for (size_t beyond = 0; beyond < 200000; beyond += 99999) {
        const size_t length = LINES_MOST_BYTES + beyond;
        char *text = malloc(length + 8);
        memset(text, 'x', length);
        memcpy(text + length, "\nnext\n", 6);
        fixture self;
        begin(&self, text, length + 6);
        expect(&self, text, LINES_MOST_BYTES);
        expect(&self, "next", 4);
        expect(&self, NULL, 0);
        end(&self);
        free(text);
    }
}

Test(lines, missing_file)
{
    line_reader reader;
    dynq_error error = {0};
    cr_assert_eq(lines_open("/nonexistent/lines", &reader, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, "/nonexistent/lines"));
    lines_close(&reader);
}

static void expect_valid(const char *bytes, size_t size, const char *expected)
{
    size_t length = 0;
    char *copy = utf8_valid(bytes, size, &length);
    cr_assert_eq(length, strlen(expected), "'%s' is not '%s'", copy, expected);
    cr_assert_str_eq(copy, expected);
    free(copy);
}

#define EXPECT(bytes, expected) expect_valid(bytes, sizeof bytes - 1, expected)
#define MARK                    "\xEF\xBF\xBD"

Test(utf8, valid_stays)
{
    EXPECT("", "");
    EXPECT("plain \x7F", "plain \x7F");
    EXPECT("\xC2\x80 \xDF\xBF", "\xC2\x80 \xDF\xBF");
    EXPECT("\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80"
                                                               "\x80\xEF\xBF\xBF");
    EXPECT("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF");
}

Test(utf8, each_bad_byte_is_marked)
{
    EXPECT("a\x80z", "a" MARK "z");
    EXPECT("\xC0\xAF", MARK MARK);
    EXPECT("\xC1\xBF", MARK MARK);
    EXPECT("\xE0\x9F\xBF", MARK MARK MARK);          /* too long a form */
    EXPECT("\xED\xA0\x80", MARK MARK MARK);          /* a surrogate */
    EXPECT("\xF0\x8F\xBF\xBF", MARK MARK MARK MARK); /* too long a form */
    EXPECT("\xF4\x90\x80\x80", MARK MARK MARK MARK); /* beyond the last */
    EXPECT("\xF5\x80\x80\x80 \xFF", MARK MARK MARK MARK " " MARK);
    EXPECT("\xE2\x82", MARK MARK); /* cut off */
    EXPECT("\xE2\x82z", MARK MARK "z");
}

Test(utf8, shown_is_one_line)
{
    char *shown = utf8_shown("a\tb\n\0\x1B[1m\xC2\x85\x7F", 12);
    cr_assert_str_eq(shown, "a b   [1m   ");
    free(shown);
    char *text = malloc(100000);
    memset(text, 'q', 100000);
    shown = utf8_shown(text, 100000);
    cr_assert_lt(strlen(shown), 1000);
    free(shown);
    free(text);
}
