/* Requests of one input read piecewise: what is in memory does not depend on how many there are. */
#ifndef DYNQ_TOOLS_REQUEST_STREAM_H
#define DYNQ_TOOLS_REQUEST_STREAM_H

#include "tools/requests.h"

typedef struct request_stream request_stream;

/* Opens what requests_read() would read. On failure prints the error, returns its exit code and
 * leaves NULL. */
exit_code request_stream_open(const command_call *call, const dynq_model *model, const char *path,
                              const model_slot *slot, request_stream **stream);
/* NULL is fine. */
void request_stream_close(request_stream *self);

/* The requests of the file; 0: nobody knows before its end. */
size_t request_stream_count(const request_stream *self);
/* Rows of the longest request that may come. */
size_t request_stream_longest(const request_stream *self);
/* Lines that were cut to the model's length so far. */
size_t request_stream_truncated(const request_stream *self);

/* The next `most` requests, fewer only at the end. They stay the stream's, until the next call. */
exit_code request_stream_next(request_stream *self, size_t most, const requests **next);
/* Passes over up to `count` requests; *passed says how many there were. */
exit_code request_stream_skip(request_stream *self, size_t count, size_t *passed);

#endif
