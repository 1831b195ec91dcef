/* Smoothing a sentence encoder: what it gains, where factors go, and files. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS = 12, LENGTH = 20, ROWS = SEGMENTS * LENGTH, WIDTH = 32, WORDS = 50 };

static int32_t ids[ROWS];
static size_t offsets[SEGMENTS + 1];

static dynq_batch make_batch(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        ids[i] = (int32_t)((i * i * 7 + i / LENGTH * 13) % WORDS);
    }
    for (size_t s = 0; s <= SEGMENTS; s++) {
        offsets[s] = s * LENGTH;
    }
    return (dynq_batch){
        .size = sizeof(dynq_batch), .rows = ROWS, .segments = SEGMENTS, .offsets = offsets};
}

/* The sample with an outlier in each layer norm that has a residual, and one in each GELU with as
 * much smaller weights behind it. */
static dynq_model *make_model(void)
{
    dynq_model *model = samples_transformer(NULL, false);
    static const char *const norms[] = {"norm", "l0.norm1", "l0.norm2", "l1.norm1"};
    for (size_t i = 0; i < sizeof norms / sizeof norms[0]; i++) {
        const dynq_node *node = &model->nodes[dynq_model_find(model, norms[i])];
        ((float *)(uintptr_t)node->gain)[5] *= 20.0f;
    }
    static const char *const before[] = {"l0.fc1", "l1.fc1"}, *const after[] = {"l0.fc2", "l1.fc2"};
    for (size_t i = 0; i < 2; i++) {
        const dynq_node *fc1 = &model->nodes[dynq_model_find(model, before[i])];
        const dynq_node *fc2 = &model->nodes[dynq_model_find(model, after[i])];
        for (size_t k = 0; k < WIDTH; k++) {
            ((float *)(uintptr_t)fc1->weight)[9 * fc1->k + k] *= 20.0f;
            ((float *)(uintptr_t)fc2->weight)[k * fc2->k + 9] /= 20.0f;
        }
    }
    return model;
}

static dynq_calibration *calibrate(dynq_model *model)
{
    dynq_calibration *calibration = NULL;
    dynq_calibrator *calibrator = NULL;
    const dynq_batch batch = make_batch();
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibrator_create(calibration, model, NULL, &calibrator, NULL), DYNQ_OK);
    const dynq_binding in = {dynq_calibrator_slot(calibrator, "ids"), ids, sizeof ids, 0};
    cr_assert_eq(dynq_calibrator_run(calibrator, &batch, &in, 1, NULL), DYNQ_OK);
    dynq_calibrator_free(calibrator);
    return calibration;
}

static dynq_model *smooth(dynq_model *model, dynq_scope scope)
{
    const dynq_smooth_options options = {.size = sizeof options, .scope = scope};
    dynq_calibration *calibration = calibrate(model);
    dynq_model *smoothed = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_smooth(model, calibration, &options, &smoothed, &error), DYNQ_OK, "%s",
                 error.message);
    dynq_calibration_free(calibration);
    return smoothed;
}

static void run(dynq_model *model, float tokens[ROWS * WIDTH])
{
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = ROWS, .max_segments = SEGMENTS};
    const dynq_batch batch = make_batch();
    float sentence[SEGMENTS * WIDTH], pooled[SEGMENTS * WIDTH];
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    const dynq_binding io[] = {
        {dynq_session_slot(session, "ids"), ids, sizeof ids, 0},
        {dynq_session_slot(session, "tokens"), tokens, ROWS * WIDTH * sizeof *tokens, 0},
        {dynq_session_slot(session, "sentence"), sentence, sizeof sentence, 0},
        {dynq_session_slot(session, "pooled"), pooled, sizeof pooled, 0}};
    cr_assert_eq(dynq_session_run(session, &batch, io, 4, NULL), DYNQ_OK);
    dynq_session_free(session);
}

static double sqnr(dynq_model *exact, dynq_model *model)
{
    static float a[ROWS * WIDTH], b[ROWS * WIDTH];
    run(exact, a);
    run(model, b);
    double square = 0.0, error = 0.0;
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        square += (double)a[i] * (double)a[i];
        error += pow((double)a[i] - (double)b[i], 2.0);
    }
    return 10.0 * log10(square / error);
}

static double quantized_sqnr(dynq_model *exact, const dynq_model *model, dynq_scope scope)
{
    const dynq_quantize_options options = {.size = sizeof options, .scope = scope};
    dynq_model *int8 = NULL;
    cr_assert_eq(dynq_quantize(model, &options, &int8, NULL), DYNQ_OK);
    const double result = sqnr(exact, int8);
    dynq_model_free(int8);
    return result;
}

Test(smooth_transformer, gains)
{
    const dynq_scope scopes[] = {DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_ROW};
    dynq_model *model = make_model();
    for (size_t i = 0; i < 2; i++) {
        dynq_model *smoothed = smooth(model, scopes[i]);
        cr_assert_gt(sqnr(model, smoothed), 110.0, "%.1f dB", sqnr(model, smoothed));
        const double before = quantized_sqnr(model, model, scopes[i]);
        const double after = quantized_sqnr(model, smoothed, scopes[i]);
        cr_assert_gt(after, before + 2.0, "%.1f dB before, %.1f dB after", before, after);
        dynq_model_free(smoothed);
    }
    dynq_model_free(model);
}

/* Values of attention take factors of what reads its sums; residuals and GELU need nodes. */
Test(smooth_transformer, where_factors_go)
{
    dynq_model *model = make_model();
    const dynq_node *v = &model->nodes[dynq_model_find(model, "l0.v")];
    for (size_t k = 0; k < WIDTH; k++) {
        ((float *)(uintptr_t)v->weight)[7 * WIDTH + k] *= 30.0f;
    }
    dynq_model *smoothed = smooth(model, DYNQ_SCOPE_SEGMENT);
    static const char *const nodes[] = {"norm.smooth",     "l0.norm1.smooth", "l0.act.smooth",
                                        "l0.norm2.smooth", "l1.norm1.smooth", "l1.act.smooth"};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        cr_assert_geq(dynq_model_find(smoothed, nodes[i]), 0, "%s", nodes[i]);
    }
    const dynq_node *heads = &smoothed->nodes[dynq_model_find(smoothed, "l0.heads")];
    const dynq_node *values = &smoothed->nodes[dynq_model_find(smoothed, "l0.v")];
    cr_assert_not_null(heads->column_scale);
    cr_assert_arr_eq(heads->column_scale, values->column_scale, WIDTH * sizeof(float));
    cr_assert_null(smoothed->nodes[dynq_model_find(smoothed, "l0.q")].column_scale);
    cr_assert_eq(values->bias[7], v->bias[7] / heads->column_scale[7]);
    dynq_model_free(model);
    dynq_model_free(smoothed);
}

/* Saved and opened again, quantized or not, a smoothed model has the same bytes. */
Test(smooth_transformer, files)
{
    dynq_model *model = make_model(), *smoothed = smooth(model, DYNQ_SCOPE_SEGMENT), *int8 = NULL;
    cr_assert_eq(dynq_quantize(smoothed, NULL, &int8, NULL), DYNQ_OK);
    dynq_model *const models[] = {smoothed, int8};
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0, again_size = 0;
        dynq_model *opened = NULL;
        dynq_error error = {0};
        unsigned char *bytes = samples_saved(models[i], &size);
        cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, &error), DYNQ_OK, "%s",
                     error.message);
        unsigned char *again = samples_saved(opened, &again_size);
        cr_assert_eq(size, again_size);
        cr_assert_arr_eq(bytes, again, size);
        cr_assert_eq(dynq_model_verify(opened, NULL), DYNQ_OK);
        const size_t heads = (size_t)dynq_model_find(opened, "l0.heads");
        const float *s = dynq_model_column_scale(opened, heads);
        const float *original = dynq_model_column_scale(smoothed, heads);
        cr_assert_eq(s == NULL, original == NULL);
        dynq_model_free(opened);
        free(again);
        free(bytes);
    }
    dynq_model_free(int8);
    dynq_model_free(smoothed);
    dynq_model_free(model);
}

/* Factors of a file are finite and above 0. */
Test(smooth_transformer, hostile_factors)
{
    const float bad[] = {0.0f, -1.0f, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dynq_model *model = samples_transformer(NULL, false), *opened = NULL;
        dynq_node *node = &model->nodes[dynq_model_find(model, "l1.norm2")];
        float *scale = dynq_model_own(model, WIDTH, sizeof *scale);
        for (size_t j = 0; j < WIDTH; j++) {
            scale[j] = j == 3 ? bad[i] : 1.0f;
        }
        node->column_scale = scale;
        size_t size = 0;
        dynq_error error = {0};
        unsigned char *bytes = samples_saved(model, &size);
        cr_assert_neq(dynq_model_open_memory(bytes, size, NULL, &opened, &error), DYNQ_OK);
        cr_assert_not_null(strstr(error.message, "'l1.norm2.column_scale': element 3"), "%s",
                           error.message);
        free(bytes);
        dynq_model_free(model);
    }
}
