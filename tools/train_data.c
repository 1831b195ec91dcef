#include "tools/train_data.h"

#include "tools/allocate.h"
#include "tools/data_stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CLASSES 4096

/* DIRECTORY/NAME, with ".gz" where only that exists. From malloc. */
static char *file_path(const char *directory, const char *name)
{
    const size_t size = strlen(directory) + strlen(name) + 8;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s/%s", directory, name);
    if (access(path, F_OK) != 0) {
        snprintf(path, size, "%s/%s.gz", directory, name);
    }
    return path;
}

static dynq_status check_finite(const data_matrix *images, const char *path, dynq_error *error)
{
    for (size_t i = 0; i < images->rows * images->columns; i++) {
        if (!isfinite(images->values[i])) {
            return data_fail(error, DYNQ_ERR_NOT_FINITE, path, DYNQ_NO_OFFSET,
                             "NaN or Inf in row %zu, column %zu; clean the data",
                             i / images->columns, i % images->columns);
        }
    }
    return DYNQ_OK;
}

/* Labels must fit the images and lie below `classes`. */
static dynq_status read_labels(const char *path, train_set *set, size_t classes, dynq_error *error)
{
    size_t count = 0;
    const dynq_status status = data_read_labels(path, &set->labels, &count, error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (count != set->images.rows) {
        return data_fail(error, DYNQ_ERR_SHAPE, path, DYNQ_NO_OFFSET,
                         "%zu labels for %zu images; take files that belong together", count,
                         set->images.rows);
    }
    for (size_t i = 0; i < count; i++) {
        if (set->labels[i] < 0 || (size_t)set->labels[i] >= classes) {
            return data_fail(error, DYNQ_ERR_LIMIT, path, DYNQ_NO_OFFSET,
                             "label %d of row %zu is not within 0 to %zu", (int)set->labels[i], i,
                             classes - 1);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_set(const char *directory, const char *prefix, size_t columns,
                            size_t classes, train_set *set, dynq_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    char *images = file_path(directory, name);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    char *labels = file_path(directory, name);
    dynq_status status = data_read_matrix(images, columns, &set->images, error);
    if (status == DYNQ_OK && set->images.rows > UINT32_MAX) {
        status = data_fail(error, DYNQ_ERR_LIMIT, images, DYNQ_NO_OFFSET,
                           "more than 2^32 - 1 images; train on fewer");
    }
    if (status == DYNQ_OK) {
        status = check_finite(&set->images, images, error);
    }
    if (status == DYNQ_OK) {
        status = read_labels(labels, set, classes, error);
    }
    free(images);
    free(labels);
    return status;
}

dynq_status train_data_read(const char *directory, train_data *data, dynq_error *error)
{
    train_data read = {.classes = 0};
    dynq_status status = read_set(directory, "train", 0, MAX_CLASSES, &read.train, error);
    if (status == DYNQ_OK) {
        for (size_t i = 0; i < read.train.images.rows; i++) {
            const size_t needed = (size_t)read.train.labels[i] + 1;
            read.classes = needed > read.classes ? needed : read.classes;
        }
        status =
            read_set(directory, "t10k", read.train.images.columns, read.classes, &read.test, error);
    }
    if (status != DYNQ_OK) {
        train_data_free(&read);
        return status;
    }
    *data = read;
    return DYNQ_OK;
}

void train_data_free(train_data *data)
{
    data_matrix_free(&data->train.images);
    data_matrix_free(&data->test.images);
    free(data->train.labels);
    free(data->test.labels);
    *data = (train_data){.classes = 0};
}
