/* Memory between two unmapped pages: reading or writing one byte too far is a crash, not luck. What
 * only a test writes is mapped twice, read-only for the code under test. */
#ifndef DYNQ_TESTS_GUARDED_H
#define DYNQ_TESTS_GUARDED_H

#include <stddef.h>
#include <stdint.h>

typedef struct guarded {
    uint8_t *mapping; /* an unmapped page, the bytes, an unmapped page */
    size_t mapping_bytes;
    uint8_t *bytes; /* what may be used, between the two pages */
    uint8_t *fill;  /* the same memory, always writable */
    size_t size;
} guarded;

/* At least `size` usable bytes, at `bytes` read-only unless `writable`. Ends the program if there
 * is no memory. */
guarded guarded_create(size_t size, int writable);
void guarded_free(guarded *memory);

/* Where `size` bytes begin that end `slack` bytes before the unmapped page (at_end), or begin as
 * many after the one before: an offset from `bytes` and from `fill`. Ends the program if there is
 * no room.
 */
size_t guarded_offset(const guarded *memory, size_t size, size_t slack, int at_end);

#endif
