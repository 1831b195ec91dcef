#include "tests/samples.h"
#include "tools/data.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define GOLDEN(name) DYNQ_GOLDEN_DIR "/data_" name

static char directory[64];
static char path[128];

/* A directory with one file of that name to come. */
static void set_up(const char *name)
{
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/%s", directory, name);
}

/* Reads a file as a whole, and two rows at a time, which must come to the same. */
static dynq_status read_both(const char *file, size_t columns, data_matrix *matrix,
                             dynq_error *error)
{
    dynq_error piecewise = {0}, whole = {0};
    const dynq_status expected = data_read_matrix(file, columns, matrix, &whole);
    data_reader reader;
    dynq_status status = data_reader_open(file, columns, 0, &reader, &piecewise);
    size_t rows = 0, got = 2;
    while (status == DYNQ_OK && got == 2) {
        static float pair[1 << 16];
        const bool fits = reader.columns <= sizeof pair / sizeof *pair / 2;
        cr_assert(fits || expected != DYNQ_OK);
        status = data_reader_next(&reader, fits ? pair : NULL, 2, &got, &piecewise);
        if (status == DYNQ_OK && expected == DYNQ_OK) {
            const size_t skipped = rows * reader.columns;
            cr_assert_eq(memcmp(pair, matrix->values + skipped, got * reader.columns * 4), 0);
        }
        rows += got;
    }
    data_reader_close(&reader);
    cr_assert_eq(status, expected, "%s: %s | %s", file, whole.message, piecewise.message);
    cr_assert_str_eq(piecewise.message, whole.message);
    cr_assert(status != DYNQ_OK || rows == matrix->rows);
    *error = whole;
    return expected;
}

/* Reads and expects `expected`; the result of a failed read must be untouched, its message one line
 * that names the file. */
static data_matrix read_as(const char *file, size_t columns, dynq_status expected)
{
    float untouched = 0.0f;
    data_matrix matrix = {.rows = 77, .columns = 78, .values = &untouched};
    dynq_error error = {0};
    const dynq_status status = read_both(file, columns, &matrix, &error);
    cr_assert_eq(status, expected, "%s: %s, expected %s: %s", file, dynq_status_text(status),
                 dynq_status_text(expected), error.message);
    if (status != DYNQ_OK) {
        cr_assert(matrix.rows == 77 && matrix.columns == 78 && matrix.values == &untouched);
        cr_assert_eq(error.status, status);
        cr_assert_not_null(strstr(error.message, file), "%s", error.message);
        cr_assert_null(strchr(error.message, '\n'));
        matrix.values = NULL;
    }
    return matrix;
}

static void assert_message(const char *file, size_t columns, const char *part)
{
    data_matrix matrix;
    dynq_error error = {0};
    cr_assert_neq(read_both(file, columns, &matrix, &error), DYNQ_OK);
    cr_assert_not_null(strstr(error.message, part), "%s", error.message);
}

/* (i - 5) / 4 in 3 rows of 4, as data.py writes it. */
static void assert_golden(const char *file)
{
    data_matrix matrix = read_as(file, 4, DYNQ_OK);
    cr_assert(matrix.rows == 3 && matrix.columns == 4, "%s", file);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(matrix.values[i], (float)(i - 5) / 4.0f, "%s, element %d", file, i);
    }
    data_matrix_free(&matrix);
    cr_assert_null(matrix.values);
}

Test(data, npy_of_every_kind)
{
    const char *files[] = {GOLDEN("f4.npy"),       GOLDEN("f4_big.npy"),   GOLDEN("f8.npy"),
                           GOLDEN("version2.npy"), GOLDEN("version3.npy"), GOLDEN("f4.npy.gz"),
                           GOLDEN("rank3.npy")};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        assert_golden(files[i]);
    }
    data_matrix bytes = read_as(GOLDEN("u1.npy"), 0, DYNQ_OK);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(bytes.values[i], (float)(20 * i) / 255.0f);
    }
    data_matrix_free(&bytes);
    data_matrix column = read_as(GOLDEN("rank1.npy"), 0, DYNQ_OK);
    cr_assert(column.rows == 12 && column.columns == 1);
    data_matrix_free(&column);
}

Test(data, npy_refused_with_the_mend)
{
    read_as(GOLDEN("rank0.npy"), 0, DYNQ_ERR_SHAPE);
    read_as(GOLDEN("empty.npy"), 0, DYNQ_ERR_SHAPE);
    read_as(GOLDEN("f4.npy"), 5, DYNQ_ERR_SHAPE);
    read_as(GOLDEN("f2.npy"), 0, DYNQ_ERR_TYPE);
    read_as(GOLDEN("labels_i8.npy"), 0, DYNQ_ERR_TYPE);
    read_as(GOLDEN("structured.npy"), 0, DYNQ_ERR_TYPE);
    read_as(GOLDEN("fortran.npy"), 0, DYNQ_ERR_FORMAT);
    assert_message(GOLDEN("fortran.npy"), 0, "ascontiguousarray");
    assert_message(GOLDEN("f2.npy"), 0, "'<f2'");
    assert_message(GOLDEN("f2.npy"), 0, "astype(numpy.float32)");
    assert_message(GOLDEN("structured.npy"), 0, "structured");
    assert_message(GOLDEN("f4.npy"), 5, "4 numbers in a row where 5 are needed");
}

/* An npy file whose header is `text`, followed by `data` zero bytes. */
static void write_npy_text(int version, const char *text, size_t data)
{
    unsigned char bytes[512] = "\x93NUMPY";
    const size_t length = strlen(text), fixed = version == 1 ? 10 : 12;
    cr_assert(fixed + length + data <= sizeof bytes);
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)length;
    memcpy(bytes + fixed, text, length);
    samples_write(path, bytes, fixed + length + data);
}

Test(data, npy_headers_that_lie)
{
    set_up("x.npy");
    write_npy_text(1, "{\"shape\":(2,),\"descr\":\"=f4\",\"fortran_order\":False}\n", 8);
    data_matrix matrix = read_as(path, 0, DYNQ_OK);
    cr_assert_eq(matrix.rows, 2);
    data_matrix_free(&matrix);
    const struct {
        const char *text;
        dynq_status status;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'shape': (2,), 'shape': (2,)}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}", DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
         DYNQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 2)}",
         DYNQ_ERR_SHAPE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}",
         DYNQ_ERR_SHAPE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2305843009213693951,)}",
         DYNQ_ERR_FORMAT},
        {"{'descr': '<f', 'fortran_order': False, 'shape': (2,)}", DYNQ_ERR_TYPE},
        {"{'descr': '', 'fortran_order': False, 'shape': (2,)}", DYNQ_ERR_TYPE},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (2,)}", DYNQ_ERR_TYPE},
        {"{'descr': '<f42', 'fortran_order': False, 'shape': (2,)}", DYNQ_ERR_TYPE},
        {"", DYNQ_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_npy_text(1, cases[i].text, 8);
        read_as(path, 0, cases[i].status);
        write_npy_text(2, cases[i].text, 8);
        read_as(path, 0, cases[i].status);
    }
    write_npy_text(4, cases[0].text, 12);
    read_as(path, 0, DYNQ_ERR_VERSION);
    const unsigned char huge[] = "\x93NUMPY\x02\x00\xff\xff\xff\xff{}";
    samples_write(path, huge, sizeof huge);
    read_as(path, 0, DYNQ_ERR_FORMAT);
    samples_remove(directory);
}

/* IDX of 2 x 3 x 2 bytes 0, 20, 40, ... */
static const unsigned char idx[] = {0, 0, 8, 3,  0,  0,  0,  2,   0,   0,   0,   3,   0,   0,
                                    0, 2, 0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220};

/* Writes `bytes` as one gzip member. */
static void write_gzip(const void *bytes, size_t size)
{
    gzFile file = gzopen(path, "wb9");
    cr_assert_not_null(file);
    cr_assert_eq(gzwrite(file, bytes, (unsigned)size), (int)size);
    cr_assert_eq(gzclose(file), Z_OK);
}

static void assert_idx(void)
{
    data_matrix matrix = read_as(path, 6, DYNQ_OK);
    cr_assert(matrix.rows == 2 && matrix.columns == 6);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(matrix.values[i], (float)(20 * i) / 255.0f);
    }
    data_matrix_free(&matrix);
}

Test(data, idx_plain_and_gzip)
{
    set_up("images-idx3-ubyte");
    samples_write(path, idx, sizeof idx);
    assert_idx();
    write_gzip(idx, sizeof idx);
    assert_idx();
    read_as(path, 7, DYNQ_ERR_SHAPE);
    const unsigned char reals[] = {0, 0, 0x0d, 1, 0, 0, 0, 2, 0x3f, 0x80, 0, 0, 0x7f, 0xc0, 0, 0};
    samples_write(path, reals, sizeof reals);
    data_matrix matrix = read_as(path, 1, DYNQ_OK);
    cr_assert(matrix.values[0] == 1.0f && isnan(matrix.values[1]));
    data_matrix_free(&matrix);
    const unsigned char doubles[] = {0, 0, 0x0e, 1, 0, 0, 0, 1, 0xc0, 0, 0, 0, 0, 0, 0, 0};
    samples_write(path, doubles, sizeof doubles);
    matrix = read_as(path, 1, DYNQ_OK);
    cr_assert_eq(matrix.values[0], -2.0f);
    data_matrix_free(&matrix);
    samples_remove(directory);
}

Test(data, idx_headers_that_lie)
{
    set_up("images-idx3-ubyte");
    const struct {
        unsigned char at, value;
        dynq_status status;
    } cases[] = {
        {0, 1, DYNQ_ERR_FORMAT},    {2, 0x0a, DYNQ_ERR_FORMAT}, {2, 0x0c, DYNQ_ERR_TYPE},
        {2, 7, DYNQ_ERR_FORMAT},    {3, 0, DYNQ_ERR_FORMAT},    {3, 9, DYNQ_ERR_SHAPE},
        {3, 2, DYNQ_ERR_FORMAT},    {3, 4, DYNQ_ERR_FORMAT},    {4, 0x7f, DYNQ_ERR_FORMAT},
        {7, 0, DYNQ_ERR_SHAPE},     {7, 1, DYNQ_ERR_FORMAT},    {15, 0, DYNQ_ERR_SHAPE},
        {2, 0x0d, DYNQ_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char bytes[sizeof idx];
        memcpy(bytes, idx, sizeof idx);
        bytes[cases[i].at] = cases[i].value;
        samples_write(path, bytes, sizeof bytes);
        read_as(path, 0, cases[i].status);
    }
    /* 2^96 elements are refused by their number, 2^40 when the file ends: nothing is allocated. */
    unsigned char bytes[sizeof idx];
    memcpy(bytes, idx, sizeof idx);
    bytes[4] = bytes[8] = bytes[12] = 0xff;
    samples_write(path, bytes, sizeof bytes);
    read_as(path, 0, DYNQ_ERR_SHAPE);
    bytes[8] = 0, bytes[12] = 0, bytes[9] = 1;
    samples_write(path, bytes, sizeof bytes);
    read_as(path, 0, DYNQ_ERR_FORMAT);
    samples_remove(directory);
}

/* Every shorter file, and one byte more, is an error. */
static void assert_every_length(const unsigned char *bytes, size_t size, size_t columns)
{
    for (size_t length = 0; length < size; length++) {
        samples_write(path, bytes, length);
        data_matrix matrix;
        dynq_error error = {0};
        const dynq_status status = read_both(path, columns, &matrix, &error);
        cr_assert(status == DYNQ_ERR_FORMAT || status == DYNQ_ERR_SHAPE, "%zu of %zu bytes: %s",
                  length, size, error.message);
    }
    unsigned char *longer = calloc(size + 1, 1);
    memcpy(longer, bytes, size);
    samples_write(path, longer, size + 1);
    read_as(path, columns, DYNQ_ERR_FORMAT);
    free(longer);
}

Test(data, truncated_and_trailing)
{
    const char *names[] = {"x", "images-idx3-ubyte", "x.npy"};
    for (size_t i = 0; i < 3; i++) {
        set_up(names[i]);
        assert_every_length(idx, sizeof idx, i == 0 ? 6 : 0);
        size_t size = 0;
        unsigned char *bytes = samples_read(GOLDEN("f4.npy"), &size);
        assert_every_length(bytes, size, 4);
        free(bytes);
        bytes = samples_read(GOLDEN("f4.npy.gz"), &size);
        assert_every_length(bytes, size, 4);
        free(bytes);
        samples_remove(directory);
    }
}

/* A flipped bit gives an error or what the file now says, never anything else. */
Test(data, flipped_bits)
{
    set_up("x.npy");
    const char *files[] = {GOLDEN("f4.npy"), GOLDEN("f4.npy.gz"), GOLDEN("u1.npy")};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t size = 0;
        unsigned char *bytes = samples_read(files[f], &size);
        for (size_t bit = 0; bit < size * 8; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            samples_write(path, bytes, size);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            data_matrix matrix = {.values = NULL};
            dynq_error error = {0};
            if (read_both(path, 0, &matrix, &error) == DYNQ_OK) {
                cr_assert_eq(matrix.rows * matrix.columns, 12, "%s, bit %zu", files[f], bit);
                data_matrix_free(&matrix);
            }
        }
        free(bytes);
    }
    samples_remove(directory);
}

/* More than one chunk, unpacked from two members of which the second is empty. */
Test(data, large_and_several_members)
{
    set_up("x.raw");
    const size_t rows = 70001, columns = 3;
    float *values = malloc(rows * columns * sizeof *values);
    samples_fill(values, rows * columns, 1);
    samples_write(path, values, rows * columns * sizeof *values);
    data_matrix plain = read_as(path, columns, DYNQ_OK);
    write_gzip(values, rows * columns * sizeof *values);
    size_t size = 0;
    unsigned char *packed = samples_read(path, &size);
    write_gzip("", 0);
    size_t empty_size = 0;
    unsigned char *empty = samples_read(path, &empty_size);
    unsigned char *both = malloc(size + empty_size);
    memcpy(both, packed, size);
    memcpy(both + size, empty, empty_size);
    samples_write(path, both, size + empty_size);
    data_matrix unpacked = read_as(path, columns, DYNQ_OK);
    cr_assert(plain.rows == rows && unpacked.rows == rows);
    cr_assert_eq(memcmp(plain.values, values, rows * columns * sizeof *values), 0);
    cr_assert_eq(memcmp(unpacked.values, values, rows * columns * sizeof *values), 0);
    data_matrix_free(&plain);
    data_matrix_free(&unpacked);
    free(values);
    free(packed);
    free(empty);
    free(both);
    samples_remove(directory);
}

Test(data, raw_needs_its_columns)
{
    set_up("x");
    const float values[] = {1.0f, NAN, INFINITY, -4.0f, 5.0f, 6.0f};
    samples_write(path, values, sizeof values);
    data_matrix matrix = read_as(path, 3, DYNQ_OK);
    cr_assert(matrix.rows == 2 && memcmp(matrix.values, values, sizeof values) == 0);
    data_matrix_free(&matrix);
    read_as(path, 0, DYNQ_ERR_SHAPE);
    read_as(path, 4, DYNQ_ERR_SHAPE);
    samples_write(path, values, sizeof values - 1);
    read_as(path, 3, DYNQ_ERR_FORMAT);
    samples_write(path, values, 0);
    read_as(path, 3, DYNQ_ERR_SHAPE);
    samples_remove(directory);
    set_up("x.npy");
    samples_write(path, values, sizeof values);
    read_as(path, 3, DYNQ_ERR_FORMAT);
    samples_remove(directory);
    /* The name decides where the first bytes could be those of another format. */
    set_up("x.raw");
    samples_write(path, idx, sizeof idx);
    matrix = read_as(path, 7, DYNQ_OK);
    cr_assert_eq(memcmp(matrix.values, idx, sizeof idx), 0);
    data_matrix_free(&matrix);
    samples_remove(directory);
}

Test(data, unreadable)
{
    set_up("missing");
    read_as(path, 0, DYNQ_ERR_IO);
    read_as(directory, 0, DYNQ_ERR_IO);
    samples_remove(directory);
}

static void assert_labels(const char *file, const int32_t *expected, size_t expected_count)
{
    int32_t *labels = NULL;
    size_t count = 0;
    dynq_error error = {0};
    cr_assert_eq(data_read_labels(file, &labels, &count, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(count, expected_count);
    cr_assert_eq(memcmp(labels, expected, count * sizeof *labels), 0);
    free(labels);
}

static void assert_no_labels(const char *file, dynq_status expected)
{
    int32_t *labels = NULL;
    size_t count = 5;
    dynq_error error = {0};
    cr_assert_eq(data_read_labels(file, &labels, &count, &error), expected, "%s", error.message);
    cr_assert(labels == NULL && count == 5);
    cr_assert_not_null(strstr(error.message, file));
}

Test(data, labels)
{
    const int32_t threes[] = {0, 3, 6, 9, 12, 15, 18};
    assert_labels(GOLDEN("labels_i8.npy"), threes, 7);
    assert_labels(GOLDEN("labels_u2_big.npy"), threes, 7);
    assert_no_labels(GOLDEN("labels_large.npy"), DYNQ_ERR_LIMIT);
    assert_no_labels(GOLDEN("rank1.npy"), DYNQ_ERR_TYPE);
    assert_no_labels(GOLDEN("u1.npy"), DYNQ_ERR_SHAPE);
    set_up("labels-idx1-ubyte");
    assert_no_labels(path, DYNQ_ERR_IO);
    const unsigned char bytes[] = {0, 0, 8, 1, 0, 0, 0, 3, 9, 255, 0};
    const int32_t expected[] = {9, 255, 0};
    samples_write(path, bytes, sizeof bytes);
    assert_labels(path, expected, 3);
    write_gzip(bytes, sizeof bytes);
    assert_labels(path, expected, 3);
    for (size_t length = 0; length < sizeof bytes; length++) {
        samples_write(path, bytes, length);
        assert_no_labels(path, DYNQ_ERR_FORMAT);
    }
    const unsigned char negative[] = {0, 0, 9, 1, 0, 0, 0, 1, 0xff};
    samples_write(path, negative, sizeof negative);
    assert_labels(path, (const int32_t[]){-1}, 1);
    const unsigned char none[] = {0, 0, 8, 1, 0, 0, 0, 0};
    samples_write(path, none, sizeof none);
    assert_no_labels(path, DYNQ_ERR_SHAPE);
    samples_write(path, idx, sizeof idx);
    assert_no_labels(path, DYNQ_ERR_SHAPE);
    samples_remove(directory);
}

/* The same bytes as NumPy's own. */
Test(data, written_npy)
{
    set_up("y.npy");
    size_t size = 0;
    unsigned char *golden = samples_read(GOLDEN("f4.npy"), &size);
    float values[12];
    for (int i = 0; i < 12; i++) {
        values[i] = (float)(i - 5) / 4.0f;
    }
    dynq_error error = {0};
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(data_write_npy(path, values, 3, 4, &error), DYNQ_OK, "%s", error.message);
        size_t written_size = 0;
        unsigned char *written = samples_read(path, &written_size);
        cr_assert_eq(written_size, size);
        cr_assert_eq(memcmp(written, golden, size), 0);
        free(written);
    }
    free(golden);
    char link[160];
    snprintf(link, sizeof link, "%s/link", directory);
    cr_assert_eq(symlink("y.npy", link), 0);
    cr_assert_eq(data_write_npy(link, values, 1, 12, &error), DYNQ_OK, "%s", error.message);
    struct stat info;
    cr_assert_eq(lstat(link, &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    data_matrix matrix = read_as(path, 12, DYNQ_OK);
    cr_assert_eq(matrix.rows, 1);
    data_matrix_free(&matrix);
    cr_assert_eq(samples_remove(directory), 2);
}

Test(data, unwritable)
{
    set_up("missing/y.npy");
    const float value = 1.0f;
    dynq_error error = {0};
    cr_assert_eq(data_write_npy(path, &value, 1, 1, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, path));
    cr_assert_eq(data_write_npy(directory, &value, 1, 1, &error), DYNQ_ERR_IO);
    cr_assert_eq(data_write_npy("/dev/full", &value, 1, 1, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, strerror(ENOSPC)), "%s", error.message);
    cr_assert_eq(data_write_npy("/dev/null", &value, 1, 1, &error), DYNQ_OK);
    struct stat info;
    cr_assert_eq(stat("/dev/null", &info), 0);
    cr_assert(S_ISCHR(info.st_mode));
    cr_assert_eq(samples_remove(directory), 0);
}
