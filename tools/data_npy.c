/* The npy header: magic, version, length, then a Python dictionary in text, as described in NumPy's
 * numpy.lib.format. */
#include "tools/data_format.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC            "\x93NUMPY"
#define MAGIC_BYTES      6
#define MAX_HEADER_BYTES ((size_t)64 << 10) /* real ones have about 120 bytes */
#define MAX_WORD         32

typedef struct cursor {
    const char *at; /* terminated text */
    bool failed;
} cursor;

bool data_npy_matches(const data_stream *stream)
{
    return stream->head_size >= MAGIC_BYTES && memcmp(stream->head, MAGIC, MAGIC_BYTES) == 0;
}

static void skip_spaces(cursor *c)
{
    while (*c->at == ' ' || *c->at == '\n' || *c->at == '\t') {
        c->at++;
    }
}

/* Takes `symbol` if it comes next. */
static bool take(cursor *c, char symbol)
{
    skip_spaces(c);
    if (c->failed || *c->at != symbol) {
        return false;
    }
    c->at++;
    return true;
}

static void expect(cursor *c, char symbol)
{
    if (!take(c, symbol)) {
        c->failed = true;
    }
}

/* A quoted string without escapes. */
static void read_string(cursor *c, char word[MAX_WORD])
{
    word[0] = '\0';
    skip_spaces(c);
    const char quote = *c->at;
    if (c->failed || (quote != '\'' && quote != '"')) {
        c->failed = true;
        return;
    }
    c->at++;
    const char *end = strchr(c->at, quote);
    if (end == NULL || end - c->at >= MAX_WORD) {
        c->failed = true;
        return;
    }
    const size_t length = (size_t)(end - c->at);
    memcpy(word, c->at, length);
    word[length] = '\0';
    c->at = end + 1;
}

static bool read_boolean(cursor *c)
{
    skip_spaces(c);
    if (strncmp(c->at, "True", 4) == 0) {
        c->at += 4;
        return true;
    }
    if (strncmp(c->at, "False", 5) == 0) {
        c->at += 5;
        return false;
    }
    c->failed = true;
    return false;
}

static uint64_t read_number(cursor *c)
{
    skip_spaces(c);
    uint64_t number = 0;
    if (*c->at < '0' || *c->at > '9') {
        c->failed = true;
    }
    while (!c->failed && *c->at >= '0' && *c->at <= '9') {
        const uint64_t digit = (uint64_t)(*c->at - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            c->failed = true;
            break;
        }
        number = number * 10 + digit;
        c->at++;
    }
    return number;
}

/* A tuple: (), (3,), (3, 4) or (3, 4,). */
static void read_shape(cursor *c, data_header *header)
{
    header->rank = 0;
    expect(c, '(');
    while (!c->failed && !take(c, ')')) {
        if (header->rank == DATA_MAX_RANK) {
            c->failed = true;
            return;
        }
        header->shape[header->rank++] = read_number(c);
        if (!take(c, ',')) {
            expect(c, ')');
            return;
        }
    }
}

enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

/* The three entries in any order. `descr` stays empty if it is not a string (a structured type). */
static bool parse_dictionary(const char *text, data_header *header, char descr[MAX_WORD],
                             bool *fortran)
{
    cursor c = {.at = text};
    int seen = 0;
    expect(&c, '{');
    while (!c.failed && !take(&c, '}')) {
        char key[MAX_WORD];
        read_string(&c, key);
        expect(&c, ':');
        int entry = 0;
        if (strcmp(key, "descr") == 0) {
            entry = SEEN_DESCR;
            skip_spaces(&c);
            if (*c.at == '[') {
                descr[0] = '\0';
                return !c.failed;
            }
            read_string(&c, descr);
        } else if (strcmp(key, "fortran_order") == 0) {
            entry = SEEN_ORDER;
            *fortran = read_boolean(&c);
        } else if (strcmp(key, "shape") == 0) {
            entry = SEEN_SHAPE;
            read_shape(&c, header);
        }
        c.failed = c.failed || entry == 0 || (seen & entry) != 0;
        seen |= entry;
        if (!c.failed && !take(&c, ',')) {
            expect(&c, '}');
            break;
        }
    }
    skip_spaces(&c);
    return !c.failed && seen == SEEN_ALL && *c.at == '\0';
}

/* "<f4", ">i8", "|u1"; false for every other type. */
static bool element_of_descr(const char *descr, data_element *element)
{
    const char host = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? '>' : '<';
    char order = host;
    if (*descr != '\0' && strchr("<>=|", *descr) != NULL) {
        order = *descr == '<' || *descr == '>' ? *descr : host;
        descr++;
    }
    element->kind = *descr;
    element->big_endian = order == '>';
    const char *sizes = element->kind == 'f'                           ? "48"
                        : element->kind == 'u' || element->kind == 'i' ? "1248"
                                                                       : "";
    if (descr[0] == '\0' || descr[1] == '\0' || descr[2] != '\0' ||
        strchr(sizes, descr[1]) == NULL) {
        return false;
    }
    element->bytes = (size_t)(descr[1] - '0');
    return true;
}

/* Reads version and length, then the text into *text (malloc'ed, terminated). */
static dynq_status read_text(data_stream *stream, char **text, dynq_error *error)
{
    unsigned char fixed[MAGIC_BYTES + 2], length_bytes[4] = {0};
    dynq_status status = data_stream_need(stream, fixed, sizeof fixed, "npy header", error);
    if (status != DYNQ_OK) {
        return status;
    }
    const int version = fixed[MAGIC_BYTES];
    if (version < 1 || version > 3) {
        return data_fail(error, DYNQ_ERR_VERSION, stream->path, MAGIC_BYTES,
                         "npy version %d; 1, 2 and 3 are known", version);
    }
    status = data_stream_need(stream, length_bytes, version == 1 ? 2 : 4, "npy header", error);
    if (status != DYNQ_OK) {
        return status;
    }
    const size_t length = (size_t)length_bytes[0] | (size_t)length_bytes[1] << 8 |
                          (size_t)length_bytes[2] << 16 | (size_t)length_bytes[3] << 24;
    if (length > MAX_HEADER_BYTES) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, MAGIC_BYTES + 2,
                         "an npy header of %zu bytes; get the file again", length);
    }
    *text = malloc(length + 1);
    if (*text == NULL) {
        return data_fail(error, DYNQ_ERR_MEMORY, stream->path, DYNQ_NO_OFFSET, "out of memory");
    }
    (*text)[length] = '\0';
    status = data_stream_need(stream, *text, length, "npy header", error);
    if (status == DYNQ_OK && strlen(*text) != length) {
        status = data_fail(error, DYNQ_ERR_FORMAT, stream->path, MAGIC_BYTES + 2,
                           "a zero byte in the npy header; get the file again");
    }
    return status;
}

dynq_status data_npy_header(data_stream *stream, data_header *header, dynq_error *error)
{
    char *text = NULL;
    dynq_status status = read_text(stream, &text, error);
    char descr[MAX_WORD] = "";
    bool fortran = false;
    if (status == DYNQ_OK && !parse_dictionary(text, header, descr, &fortran)) {
        status = data_fail(error, DYNQ_ERR_FORMAT, stream->path, MAGIC_BYTES + 2,
                           "the npy header is not understood; save it again with numpy.save");
    }
    free(text);
    if (status != DYNQ_OK) {
        return status;
    }
    if (!element_of_descr(descr, &header->element)) {
        return data_fail(error, DYNQ_ERR_TYPE, stream->path, MAGIC_BYTES + 2,
                         "element type %s%s%s is not accepted; convert with "
                         "x.astype(numpy.float32)",
                         descr[0] == '\0' ? "" : "'", descr[0] == '\0' ? "structured" : descr,
                         descr[0] == '\0' ? "" : "'");
    }
    if (fortran && header->rank > 1) {
        return data_fail(error, DYNQ_ERR_FORMAT, stream->path, MAGIC_BYTES + 2,
                         "the array is in Fortran order; save numpy.ascontiguousarray(x)");
    }
    return DYNQ_OK;
}
