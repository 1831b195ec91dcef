#include "tools/markup.h"

#include "tools/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `extra` bytes and a terminator. */
static int reserve(markup *out, size_t extra)
{
    if (out->failed) {
        return 0;
    }
    const size_t needed = out->length + extra + 1;
    if (needed <= out->capacity) {
        return 1;
    }
    const size_t capacity = needed < 2 * out->capacity ? 2 * out->capacity : needed + 4096;
    char *larger = realloc(out->bytes, capacity);
    if (larger == NULL) {
        out->failed = 1;
        return 0;
    }
    out->bytes = larger;
    out->capacity = capacity;
    return 1;
}

static void append(markup *out, const char *bytes, size_t count)
{
    if (!reserve(out, count)) {
        return;
    }
    memcpy(out->bytes + out->length, bytes, count);
    out->length += count;
    out->bytes[out->length] = '\0';
}

void markup_add(markup *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        out->failed = 1;
    } else if (reserve(out, (size_t)length)) {
        vsnprintf(out->bytes + out->length, (size_t)length + 1, format, again);
        out->length += (size_t)length;
    }
    va_end(again);
}

void markup_text(markup *out, const char *text)
{
    if (text == NULL) {
        return;
    }
    while (*text != '\0') {
        const unsigned char byte = (unsigned char)*text;
        const size_t length = utf8_sequence(text, 4); /* stops at the terminator */
        switch (byte) {
        case '&': append(out, "&amp;", 5); break;
        case '<': append(out, "&lt;", 4); break;
        case '>': append(out, "&gt;", 4); break;
        case '"': append(out, "&quot;", 6); break;
        case '\'': append(out, "&#39;", 5); break;
        default:
            if (length == 0 || byte == 0x7F || (byte < 0x20 && byte != '\t' && byte != '\n')) {
                append(out, "\xEF\xBF\xBD", 3);
            } else {
                append(out, text, length);
            }
        }
        text += length == 0 ? 1 : length;
    }
}

void markup_word(markup *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=:,@%+";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        markup_add(out, " %s", word);
        return;
    }
    markup_add(out, " '");
    for (; *word != '\0'; word++) {
        markup_add(out, *word == '\'' ? "'\\''" : "%c", *word);
    }
    markup_add(out, "'");
}

void markup_free(markup *out)
{
    free(out->bytes);
    *out = (markup){0};
}
