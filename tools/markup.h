/* Text that grows: what the HTML page and its plots are written into. */
#ifndef DYNQ_TOOLS_MARKUP_H
#define DYNQ_TOOLS_MARKUP_H

#include <stddef.h>

/* Starts as all zero. Out of memory sets `failed`; everything after it is ignored, so that a writer
 * checks once, at its end. */
typedef struct markup {
    char *bytes; /* terminated, NULL while empty */
    size_t length, capacity;
    int failed;
} markup;

/* Appends formatted text as it is. */
void markup_add(markup *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends text with & < > " ' escaped, bytes below 0x20 other than tab and newline and bytes that
 * are not UTF-8 as U+FFFD: right between tags and inside quoted attributes. NULL appends nothing.
 */
void markup_text(markup *out, const char *text);
/* Appends a space and a word as a shell would have to read it. */
void markup_word(markup *out, const char *word);
void markup_free(markup *out);

#endif
