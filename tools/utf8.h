/* Text of any bytes made valid UTF-8. */
#ifndef DYNQ_TOOLS_UTF8_H
#define DYNQ_TOOLS_UTF8_H

#include <stddef.h>

/* The bytes of the sequence at `text`, of which `left` may be read; 0 if it is not valid. */
size_t utf8_sequence(const char *text, size_t left);
/* A copy in which U+FFFD stands for each byte that begins no valid sequence. NUL is a character;
 * *length does not count the one behind the end. Released with free(); running out of memory ends
 * the program. */
char *utf8_valid(const char *text, size_t bytes, size_t *length);
/* The same for one line of a terminal: control characters become spaces, and what is behind the
 * first 400 bytes is left out. */
char *utf8_shown(const char *text, size_t bytes);

#endif
