/* Lines of a text of any length, read piecewise. */
#ifndef DYNQ_TOOLS_LINES_H
#define DYNQ_TOOLS_LINES_H

#include "tools/data_stream.h"

#include <dynq/status.h>
#include <stdbool.h>
#include <stddef.h>

/* The longest line that is read whole; of a longer one the rest is passed over. */
#define LINES_MOST_BYTES ((size_t)1 << 20)

typedef struct line_reader {
    data_stream stream;
    char *chunk; /* what was read, and not yet handed out */
    size_t chunk_used, chunk_size;
    char *line;
    size_t room;
    bool ended; /* nothing is left to read */
    bool cut;   /* the line that was handed out last goes on beyond LINES_MOST_BYTES */
} line_reader;

/* "-" is the standard input. `path` stays borrowed until lines_close(), which must be called in any
 * case. Errors: DYNQ_ERR_IO, DYNQ_ERR_FORMAT (damaged gzip), DYNQ_ERR_MEMORY. */
dynq_status lines_open(const char *path, line_reader *self, dynq_error *error);
void lines_close(line_reader *self);

/* The next line, any bytes, without its LF or CR LF, valid until the next call; NULL behind the
 * last, which needs no LF. */
dynq_status lines_next(line_reader *self, const char **line, size_t *bytes, dynq_error *error);

#endif
