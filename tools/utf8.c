#include "tools/utf8.h"

#include "tools/allocate.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"
#define MOST_SHOWN  400

/* Unicode 15, table 3-7. */
size_t utf8_sequence(const char *start, size_t left)
{
    const unsigned char *text = (const unsigned char *)start;
    const unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || left < bytes) {
        return 0;
    }
    const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

char *utf8_valid(const char *text, size_t bytes, size_t *length)
{
    char *copy = allocate(bytes + 1, strlen(REPLACEMENT));
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        const size_t part = utf8_sequence(text + i, bytes - i);
        const char *from = part > 0 ? text + i : REPLACEMENT;
        const size_t count = part > 0 ? part : strlen(REPLACEMENT);
        memcpy(copy + used, from, count);
        used += count;
        i += part > 0 ? part : 1;
    }
    *length = used;
    return copy;
}

char *utf8_shown(const char *text, size_t bytes)
{
    size_t length = 0;
    char *copy = utf8_valid(text, bytes < MOST_SHOWN ? bytes : MOST_SHOWN, &length);
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)copy[i];
        /* U+0080 to U+009F are control characters of two bytes. */
        const int long_control = c == 0xC2 && (unsigned char)copy[i + 1] < 0xA0;
        if (c < 0x20 || c == 0x7F || long_control) {
            copy[i] = ' ';
            copy[i + (size_t)long_control] = ' ';
        }
    }
    return copy;
}
