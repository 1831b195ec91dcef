/* Memory of the command itself. Running out of it ends the program: one line, exit code 5. */
#ifndef DYNQ_TOOLS_ALLOCATE_H
#define DYNQ_TOOLS_ALLOCATE_H

#include <stddef.h>

/* `count` elements of `size` bytes, zeroed; released with free(). Never NULL. */
void *allocate(size_t count, size_t size);
/* Resizes what allocate() returned (or NULL); new bytes are not set. Never NULL. */
void *allocate_again(void *pointer, size_t count, size_t size);
/* A copy of `text`. Never NULL. */
char *allocate_text(const char *text);
/* Says that memory is out and exits. */
_Noreturn void allocate_failed(void);

#endif
