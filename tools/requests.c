#include "tools/requests.h"

#include "tools/allocate.h"
#include "tools/data.h"
#include "tools/texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of several texts that run together: as many as keep two threads busy. All activations of so many
 * rows are in memory at a time. */
#define TEXT_BATCH_ROWS 2048

size_t requests_rows(const requests *self)
{
    return self->count == 0 ? 0 : self->offsets[self->count];
}

const void *requests_at(const requests *self, size_t index)
{
    return (const char *)self->values + self->offsets[index] * self->columns * sizeof(float);
}

void requests_cut(requests *self, const size_t *lengths, size_t count)
{
    const size_t rows = requests_rows(self);
    const size_t total = lengths != NULL ? count : (rows + count - 1) / count;
    size_t *offsets = allocate(total + 1, sizeof *offsets);
    for (size_t i = 0; i < total; i++) {
        const size_t left = rows - offsets[i];
        offsets[i + 1] =
            offsets[i] + (lengths != NULL ? lengths[i] : (left < count ? left : count));
    }
    free(self->offsets);
    self->offsets = offsets;
    self->count = total;
}

void requests_free(requests *self)
{
    free(self->offsets);
    free(self->values);
    *self = (requests){0};
}

size_t requests_batch(const requests *self, size_t first, size_t end, size_t most)
{
    size_t count = 1;
    while (first + count < end && count < most &&
           (self->most_rows == 0 ||
            self->offsets[first + count + 1] - self->offsets[first] <= self->most_rows)) {
        count++;
    }
    return count;
}

void requests_largest_batch(const requests *self, size_t first, size_t end, size_t most,
                            size_t *rows, size_t *count)
{
    *rows = 0;
    *count = 0;
    while (first < end) {
        const size_t batch = requests_batch(self, first, end, most);
        const size_t length = self->offsets[first + batch] - self->offsets[first];
        *rows = length > *rows ? length : *rows;
        *count = batch > *count ? batch : *count;
        first += batch;
    }
}

/* One request of `rows` rows until it is cut. */
static void take_values(requests *self, void *values, size_t rows, size_t columns)
{
    self->values = values;
    self->columns = columns;
    self->count = 1;
    self->offsets = allocate(2, sizeof *self->offsets);
    self->offsets[1] = rows;
}

static exit_code read_floats(const command_call *call, const char *path, size_t columns,
                             requests *self)
{
    dynq_error error = {0};
    data_matrix matrix = {0};
    const dynq_status status = data_read_matrix(path, columns, &matrix, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, path);
    }
    if (matrix.rows == 0) {
        data_matrix_free(&matrix);
        return command_fail(call->command, EXIT_CODE_DATA, "%s: has no rows: give at least one",
                            path);
    }
    take_values(self, matrix.values, matrix.rows, matrix.columns);
    requests_cut(self, NULL, 1);
    for (size_t i = 0; i < matrix.rows * matrix.columns; i++) {
        if (!isfinite(matrix.values[i])) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: row %zu, column %zu (counted from 0) is %s: replace it by a "
                                "finite number",
                                path, i / matrix.columns, i % matrix.columns,
                                isnan(matrix.values[i]) ? "NaN" : "infinite");
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code read_ids(const command_call *call, const char *path, const model_slot *slot,
                          requests *self)
{
    dynq_error error = {0};
    data_integers ids = {0};
    const dynq_status status = data_read_integers(path, &ids, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, path);
    }
    const size_t count = ids.rows * ids.columns;
    take_values(self, ids.values, count, 1);
    requests_cut(self, NULL, ids.rank == 1 ? count : ids.columns);
    for (size_t i = 0; i < count; i++) {
        if (ids.values[i] < 0 || (size_t)ids.values[i] >= slot->id_count) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: id %d at %zu (counted from 0), but %s takes ids from 0 to %zu",
                                path, (int)ids.values[i], i, slot->name, slot->id_count - 1);
        }
    }
    return EXIT_CODE_DONE;
}

static exit_code read_texts(const command_call *call, const dynq_model *model, const char *path,
                            const model_slot *slot, requests *self)
{
    texts reader = {0};
    text_ids ids = {0};
    exit_code code = texts_open(call, model, slot, 0, &reader);
    if (code == EXIT_CODE_DONE) {
        code = texts_read(call, &reader, path, &ids);
    }
    if (code == EXIT_CODE_DONE) {
        self->values = ids.ids;
        self->columns = 1;
        self->offsets = ids.offsets;
        self->count = ids.count;
        self->truncated = ids.truncated;
    }
    texts_close(&reader);
    return code;
}

exit_code requests_read(const command_call *call, const dynq_model *model, const char *path,
                        const model_slot *slot, requests *self)
{
    *self = (requests){0};
    exit_code code = EXIT_CODE_DONE;
    if (!slot->ids) {
        code = read_floats(call, path, slot->columns, self);
    } else {
        code = data_is_npy(path) ? read_ids(call, path, slot, self)
                                 : read_texts(call, model, path, slot, self);
        self->most_rows = TEXT_BATCH_ROWS;
    }
    if (code != EXIT_CODE_DONE) {
        requests_free(self);
    }
    return code;
}
