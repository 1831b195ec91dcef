#include <criterion/criterion.h>

#ifdef DYNQ_HAVE_OPENBLAS

#include "models/mlp.h"
#include "tests/samples.h"
#include "tools/train_data.h"
#include "tools/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static trainer_options small(uint64_t seed)
{
    return (trainer_options){.layers = 3,
                             .widths = {6, 9, 7, 4},
                             .epochs = 3,
                             .batch = 8,
                             .seed = seed,
                             .rate = 0.01,
                             .weight_decay = 0.01,
                             .dropout = 0.1,
                             .smoothing = 0.1};
}

/* Rows around one of `classes` corners, labelled by it. */
static void make_data(size_t rows, size_t columns, size_t classes, float noise, data_matrix *images,
                      int32_t **labels)
{
    images->rows = rows;
    images->columns = columns;
    images->values = malloc(rows * columns * sizeof(float));
    *labels = malloc(rows * sizeof **labels);
    samples_fill(images->values, rows * columns, 7);
    for (size_t m = 0; m < rows; m++) {
        (*labels)[m] = (int32_t)(m * 7 % classes);
        for (size_t k = 0; k < columns; k++) {
            float *x = &images->values[m * columns + k];
            *x = *x * noise + (k % classes == (size_t)(*labels)[m] ? 1.0f : 0.0f);
        }
    }
}

/* Analytic against central differences. ReLU bends between the two points would show as errors of
 * the size of a gradient, so the step is small and sums are in double where it counts. */
Test(trainer, gradients)
{
    trainer_options options = small(3);
    options.dropout = 0.0;
    trainer *network = trainer_create(&options);
    data_matrix images;
    int32_t *labels = NULL;
    make_data(options.batch, 6, 4, 0.5f, &images, &labels);
    samples_fill(network->biases[0], 9, 11);
    samples_fill(network->biases[1], 7, 12);
    const size_t rows = 5; /* fewer than a batch */
    double loss = 0.0;
    size_t correct = 0;
    memcpy(network->activations[0], images.values, rows * 6 * sizeof(float));
    trainer_gradients(network, labels, rows, 0, &loss, &correct);
    float *analytic = malloc(network->count * sizeof *analytic);
    memcpy(analytic, network->gradients, network->count * sizeof *analytic);
    size_t nonzero = 0;
    for (size_t i = 0; i < network->count; i++) {
        const float kept = network->parameters[i], step = 2e-3f;
        double side[2];
        for (int s = 0; s < 2; s++) {
            network->parameters[i] = s == 0 ? kept - step : kept + step;
            trainer_gradients(network, labels, rows, 0, &side[s], &correct);
        }
        network->parameters[i] = kept;
        const double numeric = (side[1] - side[0]) / (2.0 * (double)step * (double)rows);
        cr_assert_lt(fabs(numeric - (double)analytic[i]), 2e-3, "parameter %zu: %g, numeric %g", i,
                     (double)analytic[i], numeric);
        nonzero += fabs(numeric) > 1e-2;
    }
    cr_assert_gt(nonzero, network->count / 4);
    free(analytic);
    free(labels);
    data_matrix_free(&images);
    trainer_free(network);
}

/* A whole training; the caller frees the network. */
static trainer *train(const trainer_options *options, trainer_score *last)
{
    data_matrix images;
    int32_t *labels = NULL;
    make_data(101, 6, 4, 0.3f, &images, &labels);
    trainer *network = trainer_create(options);
    for (size_t i = 0; i < options->epochs; i++) {
        dynq_error error = {0};
        cr_assert_eq(trainer_epoch(network, &images, labels, last, &error), DYNQ_OK, "%s",
                     error.message);
    }
    *last = trainer_evaluate(network, &images, labels);
    free(labels);
    data_matrix_free(&images);
    return network;
}

Test(trainer, seed_decides_every_bit)
{
    trainer_score score;
    const trainer_options options = small(5), other_options = small(6);
    trainer *first = train(&options, &score), *again = train(&options, &score);
    trainer *other = train(&other_options, &score);
    const size_t bytes = first->count * sizeof(float);
    cr_assert_eq(memcmp(first->parameters, again->parameters, bytes), 0);
    cr_assert_neq(memcmp(first->parameters, other->parameters, bytes), 0);
    trainer_free(first);
    trainer_free(again);
    trainer_free(other);
}

Test(trainer, learns_what_is_separable)
{
    trainer_options options = small(1);
    options.epochs = 40;
    options.smoothing = 0.0;
    trainer_score score;
    trainer *network = train(&options, &score);
    cr_assert_eq(score.accuracy, 1.0);
    cr_assert_lt(score.loss, 0.1);
    cr_assert_eq(network->step, 40 * 13);
    trainer_free(network);
}

Test(trainer, divergence_is_an_error)
{
    trainer_options options = small(1);
    options.rate = 1e30;
    data_matrix images;
    int32_t *labels = NULL;
    make_data(64, 6, 4, 0.3f, &images, &labels);
    trainer *network = trainer_create(&options);
    trainer_score score;
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < 3 && status == DYNQ_OK; i++) {
        status = trainer_epoch(network, &images, labels, &score, &error);
    }
    cr_assert_eq(status, DYNQ_ERR_NOT_FINITE);
    cr_assert_not_null(strstr(error.message, "--rate"));
    free(labels);
    data_matrix_free(&images);
    trainer_free(network);
}

Test(trainer, random_numbers)
{
    trainer_random random = trainer_random_seed(1);
    uint32_t order[100], counts[100] = {0};
    trainer_random_shuffle(&random, order, 100);
    size_t moved = 0;
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert_lt(order[i], 100);
        counts[order[i]]++;
        moved += order[i] != i;
    }
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(counts[i], 1);
    }
    cr_assert_gt(moved, 80);
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < 20000; i++) {
        const double x = (double)trainer_random_normal(&random);
        sum += x;
        squares += x * x;
    }
    cr_assert_lt(fabs(sum / 20000), 0.03);
    cr_assert_lt(fabs(squares / 20000 - 1.0), 0.04);
}

Test(trainer, model_holds_the_weights)
{
    const trainer_options options = small(2);
    trainer *network = trainer_create(&options);
    const float *weights[3], *biases[3];
    for (size_t l = 0; l < 3; l++) {
        samples_fill(network->biases[l], options.widths[l + 1], (uint32_t)l);
        weights[l] = network->weights[l];
        biases[l] = network->biases[l];
    }
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(mlp_build(3, options.widths, weights, biases, &model, &error), DYNQ_OK, "%s",
                 error.message);
    const char *names[] = {"image", "fc1", "act1", "fc2", "act2", "fc3"};
    cr_assert_eq(dynq_model_node_count(model), 6);
    for (size_t i = 0; i < 6; i++) {
        dynq_node_info info = {.size = sizeof info};
        cr_assert_eq(dynq_model_node(model, i, &info), DYNQ_OK);
        cr_assert_str_eq(info.name, names[i]);
    }
    float copy[63];
    cr_assert_eq(dynq_model_weights(model, 3, copy, 63), DYNQ_OK);
    cr_assert_eq(memcmp(copy, network->weights[1], sizeof copy), 0);
    const char *name = NULL;
    size_t node = 0;
    cr_assert_eq(dynq_model_output(model, 0, &name, &node), DYNQ_OK);
    cr_assert_str_eq(name, "logits");
    cr_assert_eq(node, 5);
    dynq_model_free(model);
    network->weights[1][5] = NAN;
    cr_assert_eq(mlp_build(3, options.widths, weights, biases, &model, &error),
                 DYNQ_ERR_NOT_FINITE);
    trainer_free(network);
}

/* Writes an IDX file of bytes into `directory`. */
static void write_idx(const char *directory, const char *name, size_t rank, const uint8_t *sizes,
                      const uint8_t *bytes, size_t count)
{
    char path[160];
    uint8_t file[256] = {0, 0, 8, (uint8_t)rank};
    for (size_t i = 0; i < rank; i++) {
        file[4 + 4 * i + 3] = sizes[i];
    }
    memcpy(file + 4 + 4 * rank, bytes, count);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    samples_write(path, file, 4 + 4 * rank + count);
}

Test(trainer, data_that_does_not_fit)
{
    char directory[64];
    samples_directory(directory);
    const uint8_t pixels[24] = {0, 255}, labels[] = {0, 2, 1};
    write_idx(directory, "train-images-idx3-ubyte", 3, (const uint8_t[]){3, 2, 2}, pixels, 12);
    write_idx(directory, "train-labels-idx1-ubyte", 1, (const uint8_t[]){3}, labels, 3);
    write_idx(directory, "t10k-images-idx3-ubyte", 3, (const uint8_t[]){2, 2, 2}, pixels, 8);
    train_data data;
    dynq_error error = {0};
    cr_assert_eq(train_data_read(directory, &data, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, "t10k-labels-idx1-ubyte"));
    write_idx(directory, "t10k-labels-idx1-ubyte", 1, (const uint8_t[]){2}, labels, 2);
    cr_assert_eq(train_data_read(directory, &data, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(data.classes, 3);
    cr_assert(data.train.images.rows == 3 && data.test.images.columns == 4);
    cr_assert_eq(data.test.images.values[1], 1.0f);
    train_data_free(&data);
    write_idx(directory, "t10k-labels-idx1-ubyte", 1, (const uint8_t[]){3}, labels, 3);
    cr_assert_eq(train_data_read(directory, &data, &error), DYNQ_ERR_SHAPE);
    cr_assert_not_null(strstr(error.message, "3 labels for 2 images"));
    write_idx(directory, "t10k-labels-idx1-ubyte", 1, (const uint8_t[]){2}, (const uint8_t[]){0, 3},
              2);
    cr_assert_eq(train_data_read(directory, &data, &error), DYNQ_ERR_LIMIT);
    write_idx(directory, "t10k-images-idx3-ubyte", 3, (const uint8_t[]){2, 2, 3}, pixels, 12);
    cr_assert_eq(train_data_read(directory, &data, &error), DYNQ_ERR_SHAPE);
    samples_remove(directory);
}

#endif
