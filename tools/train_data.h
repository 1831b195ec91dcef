/* A folder in the layout of MNIST: training and test images with their labels. */
#ifndef DYNQ_TOOLS_TRAIN_DATA_H
#define DYNQ_TOOLS_TRAIN_DATA_H

#include "tools/data.h"

typedef struct train_set {
    data_matrix images;
    int32_t *labels; /* images.rows of them */
} train_set;

typedef struct train_data {
    train_set train, test;
    size_t classes; /* 1 + the largest label of the training set */
} train_data;

/* Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and the two t10k files, each plain or with
 * ".gz", and checks that they fit together and hold no NaN or Inf. One line in *error on failure.
 */
dynq_status train_data_read(const char *directory, train_data *data, dynq_error *error);
void train_data_free(train_data *data);

#endif
