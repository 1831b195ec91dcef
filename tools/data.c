#include "tools/data.h"

#include "tools/data_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)256 << 10) /* a multiple of every element size */

static bool ends_with(const char *path, const char *end)
{
    const size_t length = strlen(path), end_length = strlen(end);
    return length >= end_length && strcmp(path + (length - end_length), end) == 0;
}

/* Names that promise raw floats, whatever the first bytes look like. */
static bool named_raw(const char *path)
{
    return ends_with(path, ".f32") || ends_with(path, ".raw") || ends_with(path, ".f32.gz") ||
           ends_with(path, ".raw.gz");
}

/* Names that promise a format with a header, which is then not to be taken for raw floats. */
static bool named_with_header(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    return ends_with(name, ".npy") || ends_with(name, ".npy.gz") || strstr(name, "idx") != NULL ||
           strstr(name, "ubyte") != NULL;
}

static uint64_t load_bits(const unsigned char *bytes, data_element element)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < element.bytes; i++) {
        bits = bits << 8 | bytes[element.big_endian ? i : element.bytes - 1 - i];
    }
    return bits;
}

/* Writes `count` elements as floats to `target`. */
static void convert_to_float(const unsigned char *bytes, size_t count, data_element element,
                             float *target)
{
    for (size_t i = 0; i < count; i++) {
        if (element.kind == 'u') {
            target[i] = (float)bytes[i] / 255.0f;
            continue;
        }
        const uint64_t bits = load_bits(bytes + i * element.bytes, element);
        if (element.bytes == 8) {
            double value;
            memcpy(&value, &bits, sizeof value);
            target[i] = (float)value;
        } else {
            const uint32_t low = (uint32_t)bits;
            memcpy(&target[i], &low, sizeof low);
        }
    }
}

/* Writes `count` integers to `target`; returns how many fit. */
static size_t convert_to_label(const unsigned char *bytes, size_t count, data_element element,
                               int32_t *target)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = load_bits(bytes + i * element.bytes, element);
        const unsigned shift = 64 - 8 * (unsigned)element.bytes;
        if (element.kind == 'i') {
            const int64_t value = (int64_t)(bits << shift) >> shift;
            if (value < INT32_MIN || value > INT32_MAX) {
                return i;
            }
            bits = (uint64_t)value;
        } else if (bits > INT32_MAX) {
            return i;
        }
        target[i] = (int32_t)bits;
    }
    return count;
}

/* Room for `needed` of at most `limit` elements of 4 bytes. Memory grows with what was really read,
 * so a header cannot make the program allocate what the file does not hold. */
static bool grow(void **values, size_t *capacity, size_t needed, size_t limit)
{
    if (needed <= *capacity) {
        return true;
    }
    const size_t doubled = *capacity > limit / 2 ? limit : *capacity * 2;
    const size_t wanted = doubled < needed ? needed : doubled;
    void *grown = wanted > SIZE_MAX / 4 ? NULL : realloc(*values, wanted * 4);
    if (grown == NULL) {
        return false;
    }
    *values = grown;
    *capacity = wanted;
    return true;
}

static dynq_status fail_memory(const data_stream *stream, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_MEMORY, stream->path, DYNQ_NO_OFFSET, "out of memory");
}

dynq_status data_convert(const data_stream *stream, const unsigned char *bytes, size_t count,
                         data_element element, bool integers, void *target, dynq_error *error)
{
    if (!integers) {
        convert_to_float(bytes, count, element, target);
        return DYNQ_OK;
    }
    const size_t fitting = convert_to_label(bytes, count, element, target);
    if (fitting < count) {
        const uint64_t start = stream->offset - count * element.bytes;
        return data_fail(error, DYNQ_ERR_LIMIT, stream->path, start + fitting * element.bytes,
                         "a number does not fit 32 bits; labels and ids count from 0 on");
    }
    return DYNQ_OK;
}

dynq_status data_fail_truncated(const data_stream *stream, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_FORMAT, stream->path, stream->offset,
                     "truncated: the file ends at byte %" PRIu64
                     ", within the data; get the file again",
                     stream->offset);
}

/* Reads `count` elements, or with `open_ended` all up to the end of the file, as floats or labels
 * into *values; *total says how many there were. */
static dynq_status read_elements(data_stream *stream, data_element element, size_t count,
                                 bool open_ended, bool labels, void **values, size_t *total,
                                 dynq_error *error)
{
    unsigned char *chunk = malloc(CHUNK_BYTES);
    dynq_status status = chunk == NULL ? fail_memory(stream, error) : DYNQ_OK;
    size_t capacity = 0, done = 0;
    while (status == DYNQ_OK && done < count) {
        const size_t fitting = CHUNK_BYTES / element.bytes;
        const size_t part = count - done < fitting ? count - done : fitting;
        size_t got = 0;
        status = data_stream_read(stream, chunk, part * element.bytes, &got, error);
        const size_t whole = got / element.bytes;
        const bool ended = got < part * element.bytes;
        if (status == DYNQ_OK && ended && (!open_ended || got % element.bytes != 0)) {
            status = data_fail_truncated(stream, error);
        }
        if (status == DYNQ_OK && !grow(values, &capacity, done + whole, count)) {
            status = fail_memory(stream, error);
        }
        if (status == DYNQ_OK && whole > 0) {
            status = data_convert(stream, chunk, whole, element, labels, (char *)*values + done * 4,
                                  error);
        }
        done += whole;
        if (ended) {
            break;
        }
    }
    free(chunk);
    *total = done;
    return status;
}

static dynq_status fail_shape(const data_stream *stream, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                     "the header says more elements than memory has addresses; "
                     "get the file again");
}

/* Rows and columns of a header; the columns must be `columns` if that is not 0. */
static dynq_status matrix_shape(const data_stream *stream, const data_header *header,
                                size_t columns, data_layout *layout, dynq_error *error)
{
    if (header->rank == 0) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                         "the array has rank 0; rows of numbers are needed");
    }
    uint64_t row = 1;
    bool empty = header->shape[0] == 0, overflow = false;
    for (size_t i = 1; i < header->rank; i++) {
        empty = empty || header->shape[i] == 0;
        overflow = overflow || __builtin_mul_overflow(row, header->shape[i], &row);
    }
    if (empty) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                         "the array is empty; at least one row is needed");
    }
    uint64_t bytes = 0;
    if (overflow || __builtin_mul_overflow(row, header->shape[0], &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)8, &bytes) || bytes > SIZE_MAX) {
        return fail_shape(stream, error);
    }
    if (columns != 0 && row != columns) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                         "%" PRIu64 " numbers in a row where %zu are needed; the first dimension "
                         "of the file counts the rows",
                         row, columns);
    }
    layout->rows = (size_t)header->shape[0];
    layout->columns = (size_t)row;
    return DYNQ_OK;
}

static dynq_status shaped_layout(data_stream *stream, size_t columns, data_layout *layout,
                                 dynq_error *error)
{
    data_header header = {.rank = 0};
    const dynq_status status = data_npy_matches(stream) ? data_npy_header(stream, &header, error)
                                                        : data_idx_header(stream, &header, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const data_element element = header.element;
    if (element.kind != 'f' && !(element.kind == 'u' && element.bytes == 1)) {
        return data_fail(error, DYNQ_ERR_TYPE, stream->path, DYNQ_NO_OFFSET,
                         "%zu-byte %ssigned integers; f32, f64 and bytes are accepted",
                         element.bytes, element.kind == 'u' ? "un" : "");
    }
    *layout = (data_layout){.element = element, .rank = header.rank};
    return matrix_shape(stream, &header, columns, layout, error);
}

dynq_status data_matrix_layout(data_stream *stream, size_t columns, data_layout *layout,
                               dynq_error *error)
{
    const bool shaped = data_npy_matches(stream) || data_idx_matches(stream);
    if (shaped && !named_raw(stream->path)) {
        return shaped_layout(stream, columns, layout, error);
    }
    if (named_with_header(stream->path)) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, 0,
                         "neither IDX nor npy by its first bytes; get the file again");
    }
    if (columns == 0) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                         "neither IDX nor npy, and for raw f32 the number of columns is unknown; "
                         "save it as npy");
    }
    *layout = (data_layout){
        .element = {.kind = 'f', .bytes = 4}, .rank = 1, .columns = columns, .open_ended = true};
    return DYNQ_OK;
}

dynq_status data_fail_raw(const data_stream *stream, size_t count, size_t columns,
                          dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                     "%zu floats (raw f32) are not rows of %zu", count, columns);
}

static dynq_status read_matrix(data_stream *stream, size_t columns, data_matrix *matrix,
                               dynq_error *error)
{
    data_layout layout = {.rank = 0};
    dynq_status status = data_matrix_layout(stream, columns, &layout, error);
    if (status != DYNQ_OK) {
        return status;
    }
    void *values = NULL;
    size_t total = 0;
    const size_t count = layout.open_ended ? SIZE_MAX / 8 : layout.rows * layout.columns;
    status = read_elements(stream, layout.element, count, layout.open_ended, false, &values, &total,
                           error);
    matrix->values = values;
    matrix->rows = total / layout.columns;
    matrix->columns = layout.columns;
    if (status != DYNQ_OK || !layout.open_ended) {
        return status == DYNQ_OK ? data_stream_finish(stream, error) : status;
    }
    return total == 0 || total % columns != 0 ? data_fail_raw(stream, total, columns, error)
                                              : DYNQ_OK;
}

dynq_status data_read_matrix(const char *path, size_t columns, data_matrix *matrix,
                             dynq_error *error)
{
    data_stream stream;
    data_matrix read = {.values = NULL};
    dynq_status status = data_stream_open(path, &stream, error);
    if (status == DYNQ_OK) {
        status = read_matrix(&stream, columns, &read, error);
    }
    data_stream_close(&stream);
    if (status == DYNQ_OK) {
        *matrix = read;
    } else {
        data_matrix_free(&read);
    }
    return status;
}

void data_matrix_free(data_matrix *matrix)
{
    free(matrix->values);
    *matrix = (data_matrix){.values = NULL};
}

/* Classes, or ids for embeddings. */
typedef struct integer_kind {
    const char *name;
    size_t most_rank;
} integer_kind;

static const integer_kind label_kind = {"labels", 1};
static const integer_kind id_kind = {"ids", 2};

static dynq_status read_integer_header(data_stream *stream, const integer_kind *kind,
                                       data_header *header, dynq_error *error)
{
    dynq_status status;
    if (data_npy_matches(stream)) {
        status = data_npy_header(stream, header, error);
    } else if (data_idx_matches(stream)) {
        status = data_idx_header(stream, header, error);
    } else {
        status =
            data_fail(error, DYNQ_ERR_FORMAT, stream->path, 0,
                      "neither IDX nor npy by its first bytes; %s need one of them", kind->name);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    if (header->element.kind == 'f') {
        return data_fail(error, DYNQ_ERR_TYPE, stream->path, DYNQ_NO_OFFSET,
                         "%s are floats; convert them with x.astype(numpy.int32)", kind->name);
    }
    if (header->rank == 0 || header->rank > kind->most_rank) {
        return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                         "%s of rank %zu; %s is needed", kind->name, header->rank,
                         kind->most_rank == 1 ? "one number per row (rank 1)"
                                              : "rank 1, or 2 with a row for each request,");
    }
    uint64_t count = 1;
    for (size_t i = 0; i < header->rank; i++) {
        if (header->shape[i] == 0) {
            return data_fail(error, DYNQ_ERR_SHAPE, stream->path, DYNQ_NO_OFFSET,
                             "the file holds no %s", kind->name);
        }
        if (__builtin_mul_overflow(count, header->shape[i], &count) || count > SIZE_MAX / 8) {
            return fail_shape(stream, error);
        }
    }
    return DYNQ_OK;
}

dynq_status data_id_layout(data_stream *stream, data_layout *layout, dynq_error *error)
{
    data_header header = {.rank = 0};
    const dynq_status status = read_integer_header(stream, &id_kind, &header, error);
    if (status == DYNQ_OK) {
        *layout = (data_layout){.element = header.element,
                                .rank = header.rank,
                                .rows = (size_t)header.shape[0],
                                .columns = header.rank == 2 ? (size_t)header.shape[1] : 1};
    }
    return status;
}

/* *values is malloc'ed; *count says how many. */
static dynq_status read_integers(const char *path, const integer_kind *kind, data_header *header,
                                 int32_t **values, size_t *count, dynq_error *error)
{
    data_stream stream;
    void *read = NULL;
    size_t total = 0, wanted = 1;
    dynq_status status = data_stream_open(path, &stream, error);
    if (status == DYNQ_OK) {
        status = read_integer_header(&stream, kind, header, error);
    }
    if (status == DYNQ_OK) {
        for (size_t i = 0; i < header->rank; i++) {
            wanted *= (size_t)header->shape[i];
        }
        status = read_elements(&stream, header->element, wanted, false, true, &read, &total, error);
    }
    if (status == DYNQ_OK) {
        status = data_stream_finish(&stream, error);
    }
    data_stream_close(&stream);
    if (status != DYNQ_OK) {
        free(read);
        return status;
    }
    *values = read;
    *count = total;
    return DYNQ_OK;
}

dynq_status data_read_labels(const char *path, int32_t **labels, size_t *count, dynq_error *error)
{
    data_header header = {.rank = 0};
    return read_integers(path, &label_kind, &header, labels, count, error);
}

dynq_status data_read_integers(const char *path, data_integers *integers, dynq_error *error)
{
    data_header header = {.rank = 0};
    size_t count = 0;
    const dynq_status status =
        read_integers(path, &id_kind, &header, &integers->values, &count, error);
    if (status == DYNQ_OK) {
        integers->rank = header.rank;
        integers->rows = (size_t)header.shape[0];
        integers->columns = header.rank == 2 ? (size_t)header.shape[1] : 1;
    }
    return status;
}

int data_is_npy(const char *path)
{
    data_stream stream;
    const int matches =
        data_stream_open(path, &stream, NULL) == DYNQ_OK && data_npy_matches(&stream);
    data_stream_close(&stream);
    return matches;
}
