/* Scales of weights: shared by a column or by all, and chosen by squared error. */
#include <dynq/quantize.h>

#include "src/pack.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = 1030, N = 33 };

static float w[N * K];

/* x -> fc -> y */
static dynq_model *make_model(void)
{
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {N, K}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", K), &weight, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

static dynq_model *quantize(dynq_weight_granularity granularity, dynq_switch clip)
{
    const dynq_quantize_options options = {
        .size = sizeof options, .weight_granularity = granularity, .clip_weights = clip};
    dynq_model *from = make_model(), *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_model_verify(model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

/* Mostly small weights, few large ones; columns differ. */
static void fill_weights(uint32_t seed)
{
    samples_fill(w, N * K, seed);
    for (size_t i = 0; i < N * K; i++) {
        w[i] = w[i] * w[i] * w[i] * w[i] * w[i] * (1.0f + (float)(i / K));
    }
}

/* The squared error of column c, from what the file holds. */
static double error_of(const dynq_model *model, size_t c)
{
    static float restored[N * K];
    cr_assert_eq(dynq_model_weights(model, 1, restored, N * K), DYNQ_OK);
    double sum = 0.0;
    for (size_t i = c * K; i < (c + 1) * K; i++) {
        const double error = (double)restored[i] - (double)w[i];
        sum += error * error;
    }
    return sum;
}

static double error_of_all(const dynq_model *model)
{
    double sum = 0.0;
    for (size_t c = 0; c < N; c++) {
        sum += error_of(model, c);
    }
    return sum;
}

/* The squared error of `count` weights with this scale, in double. */
static double error_with(const float *weights, size_t count, double scale)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double code = fmax(-127.0, fmin(127.0, nearbyint((double)weights[i] / scale)));
        const double error = (double)weights[i] - code * scale;
        sum += error * error;
    }
    return sum;
}

/* The least over a finer grid than the library's. */
static double least_error(const float *weights, size_t count)
{
    double least = INFINITY, largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)weights[i]));
    }
    for (int i = 600; i <= 2000; i++) {
        least = fmin(least, error_with(weights, count, largest * i / 2e3 / 127.0));
    }
    return least;
}

Test(quantize_weights, one_scale_of_a_tensor_stands_in_every_column)
{
    fill_weights(1);
    dynq_model *model = quantize(DYNQ_WEIGHTS_PER_TENSOR, DYNQ_SWITCH_OFF);
    const dynq_node *node = &model->nodes[1];
    float largest = 0.0f;
    for (size_t i = 0; i < N * K; i++) {
        largest = fmaxf(largest, fabsf(w[i]));
    }
    for (size_t c = 0; c < N; c++) {
        int32_t sum = 0;
        cr_assert_eq(node->weight_scale[c], largest / 127.0f);
        for (size_t i = 0; i < K; i++) {
            const int8_t code = dynq_packed_code(node->packed, dynq_packed_k(K), c, i);
            cr_assert_eq(code, rintf(w[c * K + i] * (127.0f / largest)));
            sum += code;
        }
        cr_assert_eq(node->weight_sum[c], sum);
    }
    dynq_model_free(model);
}

/* A column over 1e4 as large as the others leaves these without codes; one that is zero has the
 * scale of all. */
Test(quantize_weights, columns_of_other_sizes)
{
    samples_fill(w, N * K, 2);
    for (size_t i = 0; i < K; i++) {
        w[4 * K + i] *= 3e4f;
        w[5 * K + i] = 0.0f;
    }
    dynq_model *tensor = quantize(DYNQ_WEIGHTS_PER_TENSOR, DYNQ_SWITCH_OFF);
    dynq_model *column = quantize(DYNQ_WEIGHTS_PER_COLUMN, DYNQ_SWITCH_OFF);
    for (size_t c = 0; c < N; c++) {
        double energy = 0.0;
        for (size_t i = 0; i < K; i++) {
            energy += (double)w[c * K + i] * (double)w[c * K + i];
        }
        cr_assert_leq(error_of(column, c), energy * 1e-4);
        cr_assert(c == 4 ? error_of(tensor, c) < energy * 1e-4 : error_of(tensor, c) == energy,
                  "column %zu", c);
    }
    cr_assert_eq(tensor->nodes[1].weight_scale[5], tensor->nodes[1].weight_scale[4]);
    cr_assert_eq(column->nodes[1].weight_scale[5], 1.0f);
    dynq_model_free(tensor);
    dynq_model_free(column);
}

Test(quantize_weights, clipping_finds_the_least_error_of_a_column)
{
    for (uint32_t seed = 1; seed <= 2; seed++) {
        fill_weights(seed);
        dynq_model *plain = quantize(DYNQ_WEIGHTS_PER_COLUMN, DYNQ_SWITCH_OFF);
        dynq_model *clipped = quantize(DYNQ_WEIGHTS_PER_COLUMN, DYNQ_SWITCH_ON);
        size_t better = 0;
        for (size_t c = 0; c < N; c++) {
            const double least = least_error(w + c * K, K);
            cr_assert_leq(error_of(clipped, c), error_of(plain, c) * (1 + 1e-6));
            cr_assert_leq(error_of(clipped, c), least * 1.01, "seed %u, column %zu: %g of %g", seed,
                          c, error_of(clipped, c), least);
            better += error_of(clipped, c) < error_of(plain, c);
            cr_assert(clipped->nodes[1].weight_scale[c] <= plain->nodes[1].weight_scale[c] &&
                      clipped->nodes[1].weight_scale[c] >= 0.28f * plain->nodes[1].weight_scale[c]);
        }
        cr_assert_gt(better, N / 2);
        dynq_model_free(plain);
        dynq_model_free(clipped);
    }
}

Test(quantize_weights, clipping_finds_the_least_error_of_a_tensor)
{
    fill_weights(6);
    w[3] = 60.0f; /* one that all others pay for */
    dynq_model *plain = quantize(DYNQ_WEIGHTS_PER_TENSOR, DYNQ_SWITCH_OFF);
    dynq_model *clipped = quantize(DYNQ_WEIGHTS_PER_TENSOR, DYNQ_SWITCH_ON);
    cr_assert_lt(error_of_all(clipped), error_of_all(plain));
    cr_assert_leq(error_of_all(clipped), least_error(w, N * K) * 1.01);
    const float *scale = clipped->nodes[1].weight_scale; /* the same for all columns */
    cr_assert_eq(memcmp(scale, scale + 1, (N - 1) * sizeof *scale), 0);
    dynq_model_free(plain);
    dynq_model_free(clipped);
}

/* Weights that are codes already, tiny ones, huge ones, zeros: as without clipping. */
Test(quantize_weights, clipping_leaves_alone_what_it_cannot_help)
{
    for (size_t c = 0; c < N; c++) {
        for (size_t i = 0; i < K; i++) {
            const float code = i == 0 ? 127.0f : (float)((int)(i * 37 + c) % 255 - 127);
            w[c * K + i] = c == 1 ? 0.0f : c == 2 ? code * 0x1p-120f : code * 0x1p-9f;
        }
    }
    w[3 * K] = 3e38f;
    dynq_model *plain = quantize(DYNQ_WEIGHTS_PER_COLUMN, DYNQ_SWITCH_OFF);
    dynq_model *clipped = quantize(DYNQ_WEIGHTS_PER_COLUMN, DYNQ_SWITCH_ON);
    cr_assert_eq(
        memcmp(plain->nodes[1].packed, clipped->nodes[1].packed, dynq_packed_s8_bytes(K, N)), 0);
    cr_assert_eq(
        memcmp(plain->nodes[1].weight_scale, clipped->nodes[1].weight_scale, N * sizeof(float)), 0);
    cr_assert_eq(error_of(clipped, 0), 0.0);
    dynq_model_free(plain);
    dynq_model_free(clipped);
}

Test(quantize_weights, tables_keep_a_scale_for_each_row)
{
    dynq_model *from = samples_transformer(NULL, false), *plain = NULL, *other = NULL;
    const dynq_quantize_options options = {.size = sizeof options,
                                           .weight_granularity = DYNQ_WEIGHTS_PER_TENSOR,
                                           .clip_weights = DYNQ_SWITCH_ON};
    cr_assert_eq(dynq_quantize(from, NULL, &plain, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(from, &options, &other, NULL), DYNQ_OK);
    const long words = dynq_model_find(from, "words");
    const dynq_node *a = &plain->nodes[words], *b = &other->nodes[words];
    cr_assert_eq(memcmp(a->table_codes, b->table_codes, a->table_rows * a->n), 0);
    cr_assert_eq(memcmp(a->weight_scale, b->weight_scale, a->table_rows * sizeof(float)), 0);
    dynq_model_free(from);
    dynq_model_free(plain);
    dynq_model_free(other);
}

/* What a model with a twin is saved as, and whether it has the codes of the twin. */
static bool shares_codes(const dynq_model *from, const dynq_quantize_options *first,
                         dynq_quantize_options second)
{
    dynq_model *twin = NULL, *model = NULL, *alone = NULL;
    cr_assert_eq(dynq_quantize(from, first, &twin, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(from, &second, &alone, NULL), DYNQ_OK);
    second.twin = twin;
    cr_assert_eq(dynq_quantize(from, &second, &model, NULL), DYNQ_OK);
    const bool shares = model->nodes[1].packed == twin->nodes[1].packed;
    dynq_model_free(twin);
    const size_t bytes = dynq_packed_s8_bytes(K, N);
    cr_assert(memcmp(model->nodes[1].packed, alone->nodes[1].packed, bytes) == 0);
    cr_assert(
        memcmp(model->nodes[1].weight_scale, alone->nodes[1].weight_scale, N * sizeof(float)) == 0);
    cr_assert(memcmp(model->nodes[1].weight_sum, alone->nodes[1].weight_sum, N * sizeof(int32_t)) ==
              0);
    cr_assert_eq(model->nodes[1].range.scheme, alone->nodes[1].range.scheme);
    dynq_model_free(model);
    dynq_model_free(alone);
    return shares;
}

Test(quantize_weights, codes_are_the_twins_where_nothing_that_makes_them_differs)
{
    fill_weights(7);
    const dynq_quantize_options plain = {.size = sizeof plain};
    dynq_quantize_options other = plain;
    dynq_model *from = make_model();
    other.scheme = DYNQ_SCHEME_SYMMETRIC;
    cr_assert(shares_codes(from, &plain, other));
    other.clip_weights = DYNQ_SWITCH_ON;
    cr_assert_not(shares_codes(from, &plain, other));
    other.clip_weights = DYNQ_SWITCH_OFF;
    other.weight_granularity = DYNQ_WEIGHTS_PER_TENSOR;
    cr_assert_not(shares_codes(from, &plain, other));
    dynq_model_free(from);
}

Test(quantize_weights, codes_of_other_weights_are_not_shared)
{
    fill_weights(7);
    dynq_model *from = make_model(), *same = make_model(), *twin = NULL, *model = NULL;
    dynq_quantize_options options = {.size = sizeof options};
    cr_assert_eq(dynq_quantize(from, &options, &twin, NULL), DYNQ_OK);
    options.twin = twin;
    cr_assert_eq(dynq_quantize(same, &options, &model, NULL), DYNQ_OK);
    cr_assert_neq(model->nodes[1].packed, twin->nodes[1].packed);
    dynq_model_free(model);
    dynq_model_free(twin);
    dynq_model_free(same);
    dynq_model_free(from);
}
