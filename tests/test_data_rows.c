#include "tests/samples.h"
#include "tools/data.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[64];
static char path[128];

/* A directory with one file of that name to come. */
static void set_up(const char *name)
{
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/%s", directory, name);
}

static void write_integers(const char *type, const char *shape, const void *values, size_t size)
{
    char text[118];
    unsigned char header[128] = "\x93NUMPY\x01";
    memset(text, ' ', sizeof text);
    const int length = snprintf(
        text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    text[length] = ' ';
    header[8] = sizeof text;
    memcpy(header + 10, text, sizeof text);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(header, 1, sizeof header, file), sizeof header);
    cr_assert_eq(fwrite(values, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

static data_integers read_integers_as(dynq_status expected)
{
    data_integers read = {.rank = 77};
    dynq_error error = {0};
    const dynq_status status = data_read_integers(path, &read, &error);
    cr_assert_eq(status, expected, "%s: %s", dynq_status_text(status), error.message);
    return read;
}

Test(data_rows, integers)
{
    set_up("ids.npy");
    const int32_t ids[] = {5, 0, -1, 2147483647, 7, 8};
    write_integers("<i4", "(6,)", ids, sizeof ids);
    cr_assert(data_is_npy(path));
    data_integers read = read_integers_as(DYNQ_OK);
    cr_assert(read.rank == 1 && read.rows == 6 && read.columns == 1);
    cr_assert_eq(memcmp(read.values, ids, sizeof ids), 0);
    free(read.values);
    write_integers("<i4", "(2, 3)", ids, sizeof ids);
    read = read_integers_as(DYNQ_OK);
    cr_assert(read.rank == 2 && read.rows == 2 && read.columns == 3);
    cr_assert_eq(memcmp(read.values, ids, sizeof ids), 0);
    free(read.values);
    const int64_t longs[] = {1, -2, 3};
    write_integers("<i8", "(3,)", longs, sizeof longs);
    read = read_integers_as(DYNQ_OK);
    cr_assert(read.values[0] == 1 && read.values[1] == -2 && read.values[2] == 3);
    free(read.values);
    cr_assert_eq(samples_remove(directory), 1);
}

Test(data_rows, bad_integers)
{
    set_up("ids.npy");
    const int64_t values[] = {1, (int64_t)1 << 31, 3};
    write_integers("<i8", "(3,)", values, sizeof values);
    read_integers_as(DYNQ_ERR_LIMIT);
    const int64_t small[] = {1, 2, 3};
    write_integers("<i8", "(4,)", small, sizeof small);
    read_integers_as(DYNQ_ERR_FORMAT);
    write_integers("<i8", "(2,)", small, sizeof small);
    read_integers_as(DYNQ_ERR_FORMAT);
    write_integers("<f4", "(6,)", small, sizeof small);
    read_integers_as(DYNQ_ERR_TYPE);
    write_integers("<i8", "(1, 1, 3)", small, sizeof small);
    read_integers_as(DYNQ_ERR_SHAPE);
    write_integers("<i8", "()", small, 8);
    read_integers_as(DYNQ_ERR_SHAPE);
    write_integers("<i8", "(3, 0)", small, 0);
    read_integers_as(DYNQ_ERR_SHAPE);
    write_integers("<i8", "(4294967296, 4294967296)", small, sizeof small);
    read_integers_as(DYNQ_ERR_SHAPE);
    cr_assert_eq(samples_remove(directory), 1);
    cr_assert_not(data_is_npy(path));
}

Test(data_rows, npy_row_by_row)
{
    set_up("rows.npy");
    const float values[] = {1, 2, 3, 4, 5, 6};
    npy_writer *writer = NULL;
    cr_assert_eq(data_npy_create(path, 2, &writer, NULL), DYNQ_OK);
    cr_assert_eq(data_npy_append(writer, values, 1, NULL), DYNQ_OK);
    cr_assert_eq(access(path, F_OK), -1); /* not there before it is whole */
    cr_assert_eq(data_npy_append(writer, values + 2, 2, NULL), DYNQ_OK);
    cr_assert_eq(data_npy_finish(writer, NULL), DYNQ_OK);
    data_matrix matrix = {0};
    cr_assert_eq(data_read_matrix(path, 2, &matrix, NULL), DYNQ_OK);
    cr_assert_eq(matrix.rows, 3);
    cr_assert_eq(memcmp(matrix.values, values, sizeof values), 0);
    data_matrix_free(&matrix);
    cr_assert_eq(data_npy_create(path, 2, &writer, NULL), DYNQ_OK);
    data_npy_abandon(writer);
    data_npy_abandon(NULL);
    cr_assert_eq(data_read_matrix(path, 2, &matrix, NULL), DYNQ_OK);
    cr_assert_eq(matrix.rows, 3);
    data_matrix_free(&matrix);
    cr_assert_eq(samples_remove(directory), 1); /* nothing was left beside it */
}
