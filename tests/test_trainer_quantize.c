#include <criterion/criterion.h>

#ifdef DYNQ_HAVE_OPENBLAS

#include "tests/samples.h"
#include "tools/train_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INPUTS  20
#define CLASSES 4
#define ROWS    150

typedef struct example {
    data_matrix images;
    int32_t labels[ROWS];
} example;

static trainer_options options_of(dynq_format weights, dynq_range_kind range, trainer_steps steps)
{
    return (trainer_options){.layers = 3,
                             .widths = {INPUTS, 50, 33, CLASSES},
                             .epochs = 12,
                             .batch = 64,
                             .seed = 3,
                             .rate = 0.01,
                             .weight_decay = 0.01,
                             .dropout = 0.1,
                             .threads = 2,
                             .weights = weights,
                             .range = range,
                             .steps = steps};
}

/* Rows around one of the corners, labelled by it; values of both signs. */
static example make_example(void)
{
    example made = {.images = {.rows = ROWS, .columns = INPUTS}};
    made.images.values = malloc(ROWS * INPUTS * sizeof(float));
    samples_fill(made.images.values, ROWS * INPUTS, 21);
    for (size_t m = 0; m < ROWS; m++) {
        made.labels[m] = (int32_t)(m * 7 % CLASSES);
        for (size_t k = 0; k < INPUTS; k++) {
            float *x = &made.images.values[m * INPUTS + k];
            *x = 0.4f * *x + (k % CLASSES == (size_t)made.labels[m] ? 1.0f : 0.0f);
        }
    }
    return made;
}

static trainer *train(const trainer_options *options, const example *data, trainer_score *score)
{
    trainer *network = trainer_create(options);
    for (size_t i = 0; i < options->epochs; i++) {
        dynq_error error = {0};
        cr_assert_eq(trainer_epoch(network, &data->images, data->labels, score, &error), DYNQ_OK,
                     "%s", error.message);
    }
    *score = trainer_evaluate(network, &data->images, data->labels);
    return network;
}

/* Calls `check` for every format, kind of range and kind of steps. */
static void each_way(void (*check)(const trainer_options *options, const example *data))
{
    const dynq_format formats[] = {DYNQ_FORMAT_INT8, DYNQ_FORMAT_INT4, DYNQ_FORMAT_INT2};
    example data = make_example();
    for (size_t f = 0; f < 3; f++) {
        for (int range = DYNQ_RANGE_DYNAMIC; range <= DYNQ_RANGE_STATIC; range++) {
            for (int steps = TRAINER_STEPS_MAX; steps <= TRAINER_STEPS_LEARNED; steps++) {
                const trainer_options options =
                    options_of(formats[f], (dynq_range_kind)range, (trainer_steps)steps);
                check(&options, &data);
            }
        }
    }
    data_matrix_free(&data.images);
}

static void check_learning(const trainer_options *options, const example *data)
{
    trainer_score score;
    trainer *network = train(options, data, &score);
    cr_assert_gt(score.accuracy, 0.97, "%s, range %d, steps %d: %g",
                 dynq_format_name(options->weights), options->range, options->steps,
                 score.accuracy);
    for (size_t l = 0; l < options->layers; l++) {
        const trainer_codes *codes = &network->codes[l];
        for (size_t i = 0; i < codes->n * codes->k; i++) {
            const float number = (codes->levels[i] - codes->grid.low) / codes->grid.spacing;
            cr_assert(codes->levels[i] >= codes->grid.low && codes->levels[i] <= codes->grid.high &&
                      number == rintf(number));
        }
    }
    trainer_free(network);
}

Test(trainer_quantize, learns_what_is_separable)
{
    each_way(check_learning);
}

static void check_threads(const trainer_options *options, const example *data)
{
    trainer_options alone = *options, many = *options;
    alone.threads = 1;
    many.threads = 7;
    alone.epochs = many.epochs = 2;
    trainer_score score, other_score;
    trainer *first = train(&alone, data, &score), *second = train(&many, data, &other_score);
    cr_assert_eq(first->total, second->total);
    cr_assert_eq(memcmp(first->parameters, second->parameters, first->total * sizeof(float)), 0);
    cr_assert(score.loss == other_score.loss && score.accuracy == other_score.accuracy);
    trainer_free(first);
    trainer_free(second);
}

Test(trainer_quantize, threads_change_no_bit)
{
    each_way(check_threads);
    example data = make_example();
    const trainer_options fp32 = options_of(0, DYNQ_RANGE_DYNAMIC, TRAINER_STEPS_MAX);
    check_threads(&fp32, &data);
    data_matrix_free(&data.images);
}

/* Codes less zero point, as the specification has them. */
static float encode(const float *x, size_t count, const trainer_codes *codes, int32_t *q)
{
    float lo = 0.0f, hi = 0.0f;
    for (size_t i = 0; i < count; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    if (codes->kind == DYNQ_RANGE_STATIC) {
        lo = codes->range[0];
        hi = codes->range[1];
    }
    const double width = (double)hi - (double)lo;
    const float inverse = (float)(255.0 / width);
    const float zero = fminf(rintf(-lo * inverse), 255.0f);
    for (size_t i = 0; i < count; i++) {
        q[i] = (int32_t)rintf(fminf(fmaxf(x[i] * inverse, 0.0f - zero), 255.0f - zero));
    }
    return (float)(width / 255.0);
}

/* One row through the network, in integers. */
static void run_in_integers(const trainer *network, const float *x, float *logits)
{
    float values[64], next[64];
    memcpy(values, x, INPUTS * sizeof *x);
    for (size_t l = 0; l < network->options.layers; l++) {
        const trainer_codes *codes = &network->codes[l];
        int32_t q[64];
        const float scale = encode(values, codes->k, codes, q);
        for (size_t c = 0; c < codes->n; c++) {
            int32_t sum = 0;
            for (size_t i = 0; i < codes->k; i++) {
                sum += q[i] * (int32_t)codes->levels[c * codes->k + i];
            }
            const float y = fmaf((float)sum, scale * codes->scale[c], network->biases[l][c]);
            next[c] = y > 0.0f || l + 1 == network->options.layers ? y : 0.0f;
        }
        memcpy(values, next, codes->n * sizeof *values);
    }
    memcpy(logits, values, CLASSES * sizeof *logits);
}

static void check_integers(const trainer_options *options, const example *data)
{
    trainer_options few = *options;
    few.epochs = 2;
    trainer_score score;
    trainer *network = train(&few, data, &score);
    /* The logits of the last batch are still there. */
    const size_t first = ROWS / few.batch * few.batch;
    for (size_t m = first; m < ROWS; m++) {
        float logits[CLASSES];
        run_in_integers(network, data->images.values + m * INPUTS, logits);
        cr_assert_eq(memcmp(logits, network->activations[3] + (m - first) * CLASSES, sizeof logits),
                     0);
    }
    trainer_free(network);
}

Test(trainer_quantize, forward_has_the_bits_of_integers)
{
    each_way(check_integers);
}

/* The saved model in the ordinary engine: the same logits, bit by bit, where sums are below 2^24,
 * which they are with so few inputs. */
static void check_engine(const trainer_options *options, const example *data)
{
    trainer_options few = *options;
    few.epochs = 3;
    few.batch = ROWS;
    trainer_score score;
    trainer *network = train(&few, data, &score);
    dynq_model *model = NULL;
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(train_model_make(network, DYNQ_SCOPE_ROW, &model, &error), DYNQ_OK, "%s",
                 error.message);
    dynq_node_info info = {.size = sizeof info};
    cr_assert_eq(dynq_model_node(model, 1, &info), DYNQ_OK);
    cr_assert(info.weight_format == few.weights && info.range.kind == few.range);
    const dynq_session_options run = {.size = sizeof run, .max_rows = ROWS, .threads = 1};
    cr_assert_eq(dynq_session_create(model, &run, &session, &error), DYNQ_OK, "%s", error.message);
    float logits[ROWS * CLASSES];
    const dynq_binding io[] = {{dynq_session_slot(session, "image"), data->images.values,
                                ROWS * INPUTS * sizeof(float), 0},
                               {dynq_session_slot(session, "logits"), logits, sizeof logits, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    cr_assert_eq(dynq_session_run(session, &batch, io, 2, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(memcmp(logits, network->activations[3], sizeof logits), 0,
                 "%s, range %d, steps %d", dynq_format_name(few.weights), few.range, few.steps);
    dynq_session_free(session);
    dynq_model_free(model);
    trainer_free(network);
}

Test(trainer_quantize, engine_has_the_bits_of_training)
{
    each_way(check_engine);
}

/* One layer, so that the loss is smooth in a step as long as no code changes. */
static trainer *one_layer(const example *data, dynq_format weights)
{
    trainer_options options = options_of(weights, DYNQ_RANGE_STATIC, TRAINER_STEPS_LEARNED);
    options.layers = 1;
    options.widths[1] = CLASSES;
    options.dropout = 0.0;
    trainer *network = trainer_create(&options);
    trainer_start(network, &data->images);
    memcpy(network->activations[0], data->images.values, 64 * INPUTS * sizeof(float));
    return network;
}

/* The slope of the mean loss along one parameter; the codes of weights must stay. */
static double slope(trainer *network, const example *data, float *parameter, float step)
{
    const float kept = *parameter;
    double side[2];
    size_t correct = 0;
    for (int s = 0; s < 2; s++) {
        *parameter = s == 0 ? kept - step : kept + step;
        for (size_t l = 0; l < network->options.layers; l++) {
            trainer_codes *codes = &network->codes[l];
            float *levels = malloc(codes->n * codes->k * sizeof *levels);
            memcpy(levels, codes->levels, codes->n * codes->k * sizeof *levels);
            trainer_codes_round(codes, network->weights[l], 0, codes->n);
            memcpy(codes->levels, levels, codes->n * codes->k * sizeof *levels);
            codes->range[0] = codes->edge[0] * codes->edge_unit;
            codes->range[1] = codes->edge[1] * codes->edge_unit;
            free(levels);
        }
        trainer_gradients(network, data->labels, 64, 0, &side[s], &correct);
    }
    *parameter = kept;
    for (size_t l = 0; l < network->options.layers; l++) {
        trainer_codes *codes = &network->codes[l];
        trainer_codes_round(codes, network->weights[l], 0, codes->n);
        codes->range[0] = codes->edge[0] * codes->edge_unit;
        codes->range[1] = codes->edge[1] * codes->edge_unit;
    }
    return (side[1] - side[0]) / (2.0 * (double)step * 64.0);
}

/* With codes held where they are, the loss moves by G v along a step. The gradient of the paper is
 * G (v - w / s) where nothing is clipped, which differs by what the weights themselves receive. */
static void check_steps(trainer *network, const example *data, double *clipped)
{
    double loss = 0.0;
    size_t correct = 0;
    trainer_codes *codes = &network->codes[0];
    trainer_codes_round(codes, network->weights[0], 0, codes->n);
    trainer_gradients(network, data->labels, 64, 0, &loss, &correct);
    const double q = (double)(codes->grid.high / codes->grid.spacing);
    const double share = 1.0 / sqrt((double)INPUTS * q);
    *clipped = 0.0;
    float gradients[CLASSES], passed[CLASSES * INPUTS];
    memcpy(gradients, codes->step_gradient, sizeof gradients);
    memcpy(passed, network->weight_gradients[0], sizeof passed);
    for (size_t c = 0; c < CLASSES; c++) {
        double expected = (double)gradients[c] / share;
        for (size_t i = 0; i < INPUTS; i++) {
            const size_t at = c * INPUTS + i;
            const float v = network->weights[0][at] / codes->scale[c];
            const int inside = v >= codes->grid.low && v <= codes->grid.high;
            cr_assert(inside || passed[at] == 0.0f);
            *clipped += inside ? 0.0 : 1.0 / (CLASSES * INPUTS);
            expected += (double)(passed[at] * v * codes->unit[c]);
        }
        const double numeric = slope(network, data, &codes->step[c], 1e-2f * codes->step[c]);
        cr_assert_lt(fabs(numeric - expected), 2e-3 * (1.0 + fabs(expected)),
                     "column %zu: %g, numeric %g", c, expected, numeric);
        cr_assert_gt(fabs(numeric), 1e-4);
    }
}

Test(trainer_quantize, gradients_of_steps)
{
    const dynq_format formats[] = {DYNQ_FORMAT_INT8, DYNQ_FORMAT_INT4, DYNQ_FORMAT_INT2};
    example data = make_example();
    for (size_t f = 0; f < 3; f++) {
        trainer *network = one_layer(&data, formats[f]);
        double clipped = 0.0;
        check_steps(network, &data, &clipped);
        cr_assert_lt(clipped, 0.5);
        for (size_t c = 0; c < CLASSES; c++) {
            network->codes[0].step[c] = 1e-3f;
        }
        check_steps(network, &data, &clipped);
        cr_assert_gt(clipped, 0.95);
        trainer_free(network);
    }
    data_matrix_free(&data.images);
}

Test(trainer_quantize, steps_begin_as_the_paper_says)
{
    example data = make_example();
    trainer *network = one_layer(&data, DYNQ_FORMAT_INT4);
    for (size_t c = 0; c < CLASSES; c++) {
        double sum = 0.0;
        for (size_t i = 0; i < INPUTS; i++) {
            sum += (double)fabsf(network->weights[0][c * INPUTS + i]);
        }
        const double expected = 2.0 * sum / INPUTS / sqrt(7.0);
        cr_assert_lt(fabs((double)network->codes[0].scale[c] - expected), 1e-6 * expected);
    }
    trainer_free(network);
    data_matrix_free(&data.images);
}

/* All hidden values that are not 0 lie beyond the range: they stand for its edge, and the slope
 * along it is exact; nothing passes through them. */
Test(trainer_quantize, gradient_of_a_range)
{
    example data = make_example();
    trainer_options options =
        options_of(DYNQ_FORMAT_INT8, DYNQ_RANGE_STATIC, TRAINER_STEPS_LEARNED);
    options.layers = 2;
    options.widths[1] = 30;
    options.widths[2] = CLASSES;
    options.dropout = 0.0;
    trainer *network = trainer_create(&options);
    trainer_start(network, &data.images);
    memcpy(network->activations[0], data.images.values, 64 * INPUTS * sizeof(float));
    trainer_codes *codes = &network->codes[1];
    cr_assert(codes->edge[0] == 0.0f && codes->edge[1] == 1.0f && !codes->learns_low);
    codes->edge[1] = 1e-6f;
    codes->range[1] = codes->edge[1] * codes->edge_unit;
    codes->step[0] = codes->step[1] = codes->step[2] = codes->step[3] = 1e6f; /* to be seen */
    for (size_t i = 0; i < CLASSES * 30; i++) {
        network->weights[1][i] *= 1e6f;
    }
    trainer_codes_round(codes, network->weights[1], 0, CLASSES);
    double loss = 0.0;
    size_t correct = 0;
    trainer_gradients(network, data.labels, 64, 0, &loss, &correct);
    size_t beyond = 0;
    for (size_t i = 0; i < 64 * 30; i++) {
        const float y = network->activations[1][i];
        cr_assert(y == 0.0f || y > 2.0f * codes->range[1]);
        beyond += y > 0.0f;
    }
    cr_assert_gt(beyond, 200);
    const double analytic = (double)codes->edge_gradient[1] * sqrt(30.0 * 255.0);
    cr_assert_eq(codes->edge_gradient[0], 0.0f);
    for (size_t i = 0; i < 30 * INPUTS; i++) {
        cr_assert_eq(network->weight_gradients[0][i], 0.0f);
    }
    const double numeric = slope(network, &data, &codes->edge[1], 1e-8f);
    cr_assert_gt(fabs(numeric), 1.0);
    cr_assert_lt(fabs(numeric - analytic), 0.01 * fabs(numeric), "%g, numeric %g", analytic,
                 numeric);
    trainer_free(network);
    data_matrix_free(&data.images);
}

#endif
