#include "tools/markup.h"

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

/* The length of the well-formed UTF-8 sequence at `text`, 0 if there is none. */
static size_t utf8_length(const unsigned char *text)
{
    size_t length = 0;
    if (text[0] < 0x80) {
        return 1;
    } else if (text[0] >= 0xC2 && text[0] < 0xE0) {
        length = 2;
    } else if ((text[0] & 0xF0) == 0xE0) {
        length = 3;
    } else if (text[0] >= 0xF0 && text[0] < 0xF5) {
        length = 4;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates and what lies beyond U+10FFFF. */
    const int bad = (text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F) ||
                    (text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F);
    return bad ? 0 : length;
}

void markup_text(markup *out, const char *text)
{
    if (text == NULL) {
        return;
    }
    while (*text != '\0') {
        const unsigned char byte = (unsigned char)*text;
        const size_t length = utf8_length((const unsigned char *)text);
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

void markup_free(markup *out)
{
    free(out->bytes);
    *out = (markup){0};
}
