/* Data of a model: requests, each a run of rows, laid end to end. */
#ifndef DYNQ_TOOLS_REQUESTS_H
#define DYNQ_TOOLS_REQUESTS_H

#include "tools/command.h"
#include "tools/inputs.h"

#include <dynq/model.h>
#include <stddef.h>

typedef struct requests {
    size_t count;
    size_t *offsets; /* [count + 1]: the first row of each, then the number of all rows */
    size_t columns;
    void *values;     /* [rows][columns] of floats or, with one column, of int32_t ids */
    size_t most_rows; /* of a batch that has more than one request; 0: any */
    size_t truncated; /* texts: lines that were cut to the model's length */
} requests;

/* Reads `path` as requests for one input of the model. Floats: each row of the matrix (see
 * data_read_matrix()) is a request, none of them NaN or Inf. Ids: npy of integers, each row of it a
 * request, or the whole where its rank is 1; every other file is text, each line a request, for the
 * model's own tokenizer. On failure prints the error and returns its exit code. */
exit_code requests_read(const command_call *call, const dynq_model *model, const char *path,
                        const model_slot *slot, requests *self);
void requests_free(requests *self);

size_t requests_rows(const requests *self);
/* The values of a request and those that follow. */
const void *requests_at(const requests *self, size_t index);
/* Cuts all rows anew, into requests of `lengths` rows or, where `lengths` is NULL, of `count` rows
 * and a shorter last one. */
void requests_cut(requests *self, const size_t *lengths, size_t count);

/* How many requests from `first` on, and before `end`, run together: up to `most`, fewer where they
 * are long. */
size_t requests_batch(const requests *self, size_t first, size_t end, size_t most);
/* The rows and the requests of the largest batches of requests [first, end). */
void requests_largest_batch(const requests *self, size_t first, size_t end, size_t most,
                            size_t *rows, size_t *count);

#endif
