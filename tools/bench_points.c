#include "tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/random.h"

static int compare_values(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Sorted, each value once; what is behind *count then is left over. */
static uint64_t *sorted_copy(const uint64_t *values, size_t *count)
{
    uint64_t *sorted = allocate(*count, sizeof *sorted);
    size_t kept = 0;
    memcpy(sorted, values, *count * sizeof *sorted);
    qsort(sorted, *count, sizeof *sorted, compare_values);
    for (size_t i = 0; i < *count; i++) {
        if (kept == 0 || sorted[kept - 1] != sorted[i]) {
            sorted[kept++] = sorted[i];
        }
    }
    *count = kept;
    return sorted;
}

/* Threads capped at the usable CPUs. */
static void prepare_threads(bench *self)
{
    const option_sizes *typed = &self->options->threads;
    size_t count = typed->count;
    uint64_t *sorted = sorted_copy(typed->values, &count);
    self->threads = allocate(count, sizeof *self->threads);
    for (size_t i = 0; i < count; i++) {
        const uint32_t usable = self->cpu.usable;
        const uint32_t value = sorted[i] < usable ? (uint32_t)sorted[i] : usable;
        if (value < sorted[i]) {
            command_note(self->call, "%u threads instead of %u: this process may use no more CPUs",
                         value, (unsigned)sorted[i]);
        }
        if (self->thread_count == 0 || self->threads[self->thread_count - 1] != value) {
            self->threads[self->thread_count++] = value;
        }
    }
    free(sorted);
}

size_t bench_point_rows(const bench_point *point)
{
    return point->offsets[point->batch];
}

void bench_describe_point(const bench *self, const bench_point *point, uint32_t threads, char *text,
                          size_t size)
{
    char what[80];
    if (point->sequence > 0) {
        snprintf(what, sizeof what, "batch %zu, sequence %zu", point->batch, point->sequence);
    } else if (self->slots[0].ids) {
        snprintf(what, sizeof what, "%zu texts, %zu tokens", point->batch, bench_point_rows(point));
    } else {
        snprintf(what, sizeof what, "batch %zu", point->batch);
    }
    snprintf(text, size, "%s, %u thread%s", what, threads, threads == 1 ? "" : "s");
}

/* `data` is repeated where there are more requests; without it each has `sequence` rows, or one. */
static void make_point(bench_point *point, size_t batch, size_t sequence, const requests *data)
{
    *point = (bench_point){.batch = batch, .sequence = sequence};
    point->offsets = allocate(batch + 1, sizeof *point->offsets);
    for (size_t i = 0; i < batch; i++) {
        size_t rows = sequence > 0 ? sequence : 1;
        if (sequence == 0 && data->count > 0) {
            const size_t request = i % data->count;
            rows = data->offsets[request + 1] - data->offsets[request];
        }
        point->offsets[i + 1] = point->offsets[i] + rows;
    }
}

/* Every sequence with every batch. */
static void make_points(bench *self, const requests *data)
{
    static const uint64_t rows[] = {1, 16, 64}, texts[] = {1, 8}, given[] = {64};
    static const uint64_t lengths[] = {16, 128, 256}, none[] = {0};
    const bench_options *options = self->options;
    const int ids = self->slots[0].ids;
    const uint64_t *batches = options->batches.values;
    size_t count = options->batches.count;
    if (count == 0) {
        batches = !ids ? rows : data->count > 0 ? given : texts;
        count = !ids ? 3 : data->count > 0 ? 1 : 2;
    }
    const uint64_t *sequences = options->sequences.values;
    self->sequence_count = options->sequences.count;
    if (self->sequence_count == 0) {
        sequences = ids && data->count == 0 ? lengths : none;
        self->sequence_count = ids && data->count == 0 ? 3 : 1;
    }
    uint64_t *b = sorted_copy(batches, &count);
    uint64_t *s = sorted_copy(sequences, &self->sequence_count);
    self->batch_count = count;
    self->points = allocate(count * self->sequence_count, sizeof *self->points);
    for (size_t i = 0; i < self->sequence_count; i++) {
        for (size_t j = 0; j < count; j++) {
            make_point(&self->points[self->point_count++], (size_t)b[j], (size_t)s[i], data);
        }
    }
    free(b);
    free(s);
}

/* Rows for one input: those of the data over and over, or random. */
static void *make_rows(const model_slot *slot, size_t rows, const requests *data, uint64_t *state)
{
    const size_t count = rows * slot->columns;
    float *values = allocate(count, sizeof *values);
    int32_t *ids = (int32_t *)(void *)values;
    const size_t given = requests_rows(data) * data->columns;
    for (size_t i = 0; i < count; i++) {
        if (given > 0) {
            memcpy(&values[i], (const float *)data->values + i % given, sizeof *values);
        } else if (slot->ids) {
            ids[i] = (int32_t)(random_next(state) % slot->id_count);
        } else {
            values[i] = (float)(random_next(state) >> 40) * 0x1p-24f;
        }
    }
    return values;
}

static exit_code read_data(bench *self, requests *data)
{
    const bench_options *options = self->options;
    if (options->data == NULL) {
        return EXIT_CODE_DONE;
    }
    if (self->input_count != 1) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--data is for models with one input; %s has %zu",
                            self->call->arguments[0], self->input_count);
    }
    if (options->sequences.count > 0 && self->slots[0].ids) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--sequence: the lines of --data have lengths of their own");
    }
    return requests_read(self->call, self->model, options->data, &self->slots[0], data);
}

exit_code bench_make_points(bench *self)
{
    requests data = {0};
    uint64_t state = self->call->common.seed;
    self->input_count = model_inputs(self->model, &self->slots);
    self->inputs = allocate(self->input_count, sizeof *self->inputs);
    const exit_code code = read_data(self, &data);
    if (code == EXIT_CODE_DONE) {
        size_t rows = 0;
        prepare_threads(self);
        make_points(self, &data);
        for (size_t i = 0; i < self->point_count; i++) {
            const size_t own = bench_point_rows(&self->points[i]);
            rows = own > rows ? own : rows;
        }
        for (size_t i = 0; i < self->input_count; i++) {
            self->inputs[i] = make_rows(&self->slots[i], rows, &data, &state);
        }
    }
    requests_free(&data);
    return code;
}
