/* Calibrators: parts, threads, requests of several rows, models that do not fit. */
#include <dynq/calibrator.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 5

static dynq_calibration *create(const dynq_model *model)
{
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    return calibration;
}

/* The text that a calibration is saved as, from malloc. */
static char *text_of(const dynq_calibration *calibration)
{
    char directory[64], path[96];
    size_t size = 0;
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/calibration.json", directory);
    cr_assert_eq(dynq_calibration_save(calibration, path, NULL), DYNQ_OK);
    unsigned char *bytes = samples_read(path, &size);
    char *text = calloc(size + 1, 1);
    memcpy(text, bytes, size);
    free(bytes);
    samples_remove(directory);
    return text;
}

static void expect_same(const dynq_calibration *a, const dynq_calibration *b)
{
    char *first = text_of(a), *second = text_of(b);
    cr_assert_str_eq(first, second);
    free(first);
    free(second);
}

/* A calibrator on `threads` threads, whatever the machine has. */
typedef struct rig {
    dynq_thread_pool *pool;
    dynq_calibration *calibration;
    dynq_calibrator *calibrator;
} rig;

static rig rig_of(dynq_model *model, uint32_t threads, size_t max_rows)
{
    rig r = {.calibration = create(model)};
    const dynq_thread_pool_options threading = {
        .size = sizeof threading, .threads = threads, .oversubscribe = 1};
    cr_assert_eq(dynq_thread_pool_create(&threading, &r.pool, NULL), DYNQ_OK);
    const dynq_calibrator_options options = {
        .size = sizeof options, .pool = r.pool, .max_rows = max_rows};
    dynq_error error = {0};
    cr_assert_eq(dynq_calibrator_create(r.calibration, model, &options, &r.calibrator, &error),
                 DYNQ_OK, "%s", error.message);
    return r;
}

static void rig_free(rig *r)
{
    dynq_calibrator_free(r->calibrator);
    dynq_calibration_free(r->calibration);
    dynq_thread_pool_free(r->pool);
}

static dynq_status run(rig *r, const char *input, const void *data, size_t bytes, dynq_batch batch,
                       dynq_error *error)
{
    batch.size = sizeof batch;
    const dynq_binding binding = {.slot = dynq_calibrator_slot(r->calibrator, input),
                                  .data = (void *)(uintptr_t)data,
                                  .bytes = bytes};
    return dynq_calibrator_run(r->calibrator, &batch, &binding, 1, error);
}

Test(calibrator, threads_leave_no_trace)
{
    enum { ROWS = 3000 };
    static float x[ROWS * COLUMNS];
    dynq_model *model = samples_fp32(NULL);
    samples_fill(x, ROWS * COLUMNS, 5);
    x[700 * COLUMNS] = 37.0f;
    dynq_calibration *plain = create(model);
    cr_assert_eq(dynq_calibration_run(plain, model, x, ROWS, 0, 1, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_requests(plain), ROWS);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        rig r = rig_of(model, threads, 0);
        cr_assert_eq(run(&r, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, NULL), DYNQ_OK);
        expect_same(r.calibration, plain);
        rig_free(&r);
    }
    dynq_value_summary s = {.size = sizeof s};
    cr_assert_eq(dynq_calibration_summary(plain, "x", &s), DYNQ_OK);
    cr_assert_eq(s.batches, 12);
    dynq_calibration_free(plain);
    dynq_model_free(model);
}

Test(calibrator, going_on_is_one_run_where_cuts_are_the_same)
{
    enum { ROWS = 700, FIRST = 512 };
    static float x[ROWS * COLUMNS];
    dynq_model *model = samples_fp32(NULL);
    samples_fill(x, ROWS * COLUMNS, 6);
    dynq_calibration *a = create(model);
    cr_assert_eq(dynq_calibration_run(a, model, x, FIRST, 0, 1, NULL), DYNQ_OK);
    rig r = rig_of(model, 2, 0);
    cr_assert_eq(run(&r, "x", x, FIRST * COLUMNS * 4, (dynq_batch){.rows = FIRST}, NULL), DYNQ_OK);
    expect_same(r.calibration, a);
    cr_assert_eq(run(&r, "x", x + FIRST * COLUMNS, sizeof x - FIRST * COLUMNS * 4,
                     (dynq_batch){.rows = ROWS - FIRST}, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(a, model, x + FIRST * COLUMNS, ROWS - FIRST, 0, 1, NULL),
                 DYNQ_OK);
    expect_same(r.calibration, a);
    rig_free(&r);
    dynq_calibration_free(a);
    dynq_model_free(model);
}

/* Sentences of 1 to 20 ids for the sample encoder. */
static size_t make_sentences(int32_t *ids, size_t *offsets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        offsets[i + 1] = offsets[i] + 1 + i * 7 % 20;
    }
    for (size_t i = 0; i < offsets[count]; i++) {
        ids[i] = (int32_t)(i * 31 % 50);
    }
    return offsets[count];
}

Test(calibrator, sentences_are_what_they_are_alone)
{
    enum { SENTENCES = 150 };
    static int32_t ids[SENTENCES * 20];
    size_t offsets[SENTENCES + 1] = {0};
    const size_t rows = make_sentences(ids, offsets, SENTENCES);
    dynq_model *model = samples_transformer(NULL, false);
    rig one = rig_of(model, 1, 0), three = rig_of(model, 3, 0), alone = rig_of(model, 1, 0);
    const dynq_batch batch = {.rows = rows, .segments = SENTENCES, .offsets = offsets};
    dynq_error error = {0};
    cr_assert_eq(run(&one, "ids", ids, sizeof ids, batch, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(run(&three, "ids", ids, sizeof ids, batch, NULL), DYNQ_OK);
    expect_same(one.calibration, three.calibration);
    for (size_t i = 0; i < SENTENCES; i++) {
        const size_t both[] = {0, offsets[i + 1] - offsets[i]};
        cr_assert_eq(run(&alone, "ids", ids + offsets[i], both[1] * 4,
                         (dynq_batch){.rows = both[1], .segments = 1, .offsets = both}, NULL),
                     DYNQ_OK);
    }
    cr_assert_eq(dynq_calibration_requests(alone.calibration), SENTENCES);
    for (size_t i = 0; i < dynq_calibration_count(alone.calibration); i++) {
        dynq_calibration_entry a = {.size = sizeof a}, b = {.size = sizeof b};
        dynq_histogram_view h = {.size = sizeof h}, g = {.size = sizeof g};
        cr_assert_eq(dynq_calibration_get(alone.calibration, i, &a), DYNQ_OK);
        cr_assert_eq(dynq_calibration_get(one.calibration, i, &b), DYNQ_OK);
        cr_assert_eq(dynq_calibration_histogram(alone.calibration, a.value, &h), DYNQ_OK);
        cr_assert_eq(dynq_calibration_histogram(one.calibration, a.value, &g), DYNQ_OK);
        cr_assert(a.min == b.min && a.max == b.max && a.rows == b.rows, "%s", a.value);
        cr_assert(h.limit == g.limit && h.zeros == g.zeros);
        cr_assert_eq(memcmp(h.positive, g.positive, DYNQ_HISTOGRAM_BINS * sizeof *h.positive), 0);
        cr_assert_eq(memcmp(h.negative, g.negative, DYNQ_HISTOGRAM_BINS * sizeof *h.negative), 0);
    }
    rig_free(&one);
    rig_free(&three);
    rig_free(&alone);
    dynq_model_free(model);
}

Test(calibrator, a_call_that_fails_leaves_no_trace)
{
    enum { ROWS = 2000 };
    static float x[ROWS * COLUMNS];
    dynq_model *model = samples_fp32(NULL);
    dynq_error error = {0};
    samples_fill(x, ROWS * COLUMNS, 5);
    rig r = rig_of(model, 3, 0), same = rig_of(model, 1, 0);
    cr_assert_eq(run(&r, "x", x, 40, (dynq_batch){.rows = 2}, NULL), DYNQ_OK);
    cr_assert_eq(run(&same, "x", x, 40, (dynq_batch){.rows = 2}, NULL), DYNQ_OK);
    x[1700 * COLUMNS + 1] = INFINITY;
    x[1234 * COLUMNS + 4] = NAN;
    cr_assert_eq(run(&r, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, &error),
                 DYNQ_ERR_NOT_FINITE);
    cr_assert_not_null(strstr(error.message, "'x' is NaN at row 1234, column 4"), "%s",
                       error.message);
    const size_t wrong[][3] = {{0, 0, 5}, {0, 6, 5}, {1, 3, 5}, {0, 3, 4}};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(run(&r, "x", x, sizeof x,
                         (dynq_batch){.rows = 5, .segments = 2, .offsets = wrong[i]}, NULL),
                     DYNQ_ERR_SHAPE);
    }
    const size_t longest[] = {0, 257};
    cr_assert_eq(run(&r, "x", x, sizeof x,
                     (dynq_batch){.rows = 257, .segments = 1, .offsets = longest}, NULL),
                 DYNQ_ERR_LIMIT);
    cr_assert_eq(run(&r, "x", x, 19, (dynq_batch){.rows = 1}, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run(&r, "y", x, 20, (dynq_batch){.rows = 1}, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run(&r, "x", x, 20, (dynq_batch){.rows = 0}, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibrator_run(r.calibrator, NULL, NULL, 0, NULL), DYNQ_ERR_ARGUMENT);
    const volatile int cancel = 1;
    cr_assert_eq(run(&r, "x", x, sizeof x, (dynq_batch){.rows = ROWS, .cancel = &cancel}, NULL),
                 DYNQ_ERR_CANCELLED);
    expect_same(r.calibration, same.calibration);
    rig_free(&r);
    rig_free(&same);
    dynq_calibrator_free(NULL);
    dynq_model_free(model);
}

Test(calibrator, an_id_that_is_none_names_its_rows)
{
    static int32_t ids[600];
    size_t offsets[31] = {0};
    dynq_model *model = samples_transformer(NULL, false);
    dynq_error error = {0};
    const size_t rows = make_sentences(ids, offsets, 30);
    ids[280] = 50;
    rig r = rig_of(model, 2, 0);
    cr_assert_neq(run(&r, "ids", ids, sizeof ids,
                      (dynq_batch){.rows = rows, .segments = 30, .offsets = offsets}, &error),
                  DYNQ_OK);
    cr_assert(strncmp(error.message, "rows ", 5) == 0, "%s", error.message);
    rig_free(&r);
    dynq_model_free(model);
}

/* The sample model with one weight changed. */
static dynq_model *other_weights(void)
{
    size_t size = 0;
    dynq_model *model = samples_fp32(NULL), *other = NULL;
    unsigned char *bytes = samples_saved(model, &size);
    bytes[size - 70] ^= 1;
    const dynq_open_options options = {.size = sizeof options, .copy = 1};
    cr_assert_eq(dynq_model_open_memory(bytes, size, &options, &other, NULL), DYNQ_OK);
    free(bytes);
    dynq_model_free(model);
    return other;
}

Test(calibrator, a_model_with_other_weights)
{
    dynq_model *model = samples_fp32(NULL), *other = other_weights();
    dynq_calibration *calibration = create(model), *of_other = create(other);
    const float x[COLUMNS] = {1.0f}, hidden[18] = {1.0f};
    dynq_calibrator *calibrator = NULL;
    dynq_model *quantized = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_calibration_observe(calibration, "x", 1, 5, x, 0, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_observe(calibration, "act", 1, 18, hidden, 0, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibrator_create(calibration, other, NULL, &calibrator, &error),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "weights"), "%s", error.message);
    cr_assert_eq(dynq_calibration_merge(calibration, of_other, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "weights"), "%s", error.message);
    cr_assert_eq(dynq_calibration_run(calibration, other, x, 1, 0, 1, NULL), DYNQ_ERR_ARGUMENT);
    const dynq_quantize_options options = {
        .size = sizeof options, .range = DYNQ_RANGE_STATIC, .calibration = calibration};
    cr_assert_eq(dynq_quantize(other, &options, &quantized, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "another model"), "%s", error.message);
    cr_assert_eq(dynq_quantize(model, &options, &quantized, NULL), DYNQ_OK);
    dynq_model_free(quantized);
    dynq_model_free(model);
    /* A model without some of the values. */
    model = samples_transformer(NULL, false);
    cr_assert_eq(dynq_quantize(model, &options, &quantized, &error), DYNQ_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(error.message, "has no value '"), "%s", error.message);
    dynq_calibration_free(calibration);
    dynq_calibration_free(of_other);
    dynq_model_free(model);
    dynq_model_free(other);
}

/* Whatever a model can be made of, it is the same when it comes back from a file. */
static void expect_known(dynq_model *model)
{
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    dynq_model *opened = NULL;
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, NULL), DYNQ_OK);
    dynq_calibration *a = create(model), *b = create(opened);
    cr_assert_eq(dynq_calibration_merge(a, b, NULL), DYNQ_OK);
    dynq_calibration_free(a);
    dynq_calibration_free(b);
    dynq_model_free(opened);
    dynq_model_free(model);
    free(bytes);
}

Test(calibrator, a_saved_model_is_known)
{
    expect_known(samples_fp32(NULL));
    expect_known(samples_int8(NULL));
    expect_known(samples_transformer(NULL, true));
    expect_known(samples_transformer_int8(NULL, false));
    expect_known(samples_encoder(false));
    expect_known(samples_encoder(true));
}

Test(calibrator, any_allocation_can_fail)
{
    enum { ROWS = 600 };
    static float x[ROWS * COLUMNS];
    dynq_model *model = samples_fp32(NULL);
    dynq_calibration *calibration = create(model);
    dynq_status status = DYNQ_ERR_MEMORY;
    samples_fill(x, ROWS * COLUMNS, 9);
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_calibrator_options options = {
            .size = sizeof options, .allocator = &allocator, .threads = 2};
        rig r = {.calibration = calibration};
        status = dynq_calibrator_create(calibration, model, &options, &r.calibrator, NULL);
        if (status == DYNQ_OK) {
            status = run(&r, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, NULL);
        }
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        cr_assert_eq(dynq_calibration_requests(calibration), status == DYNQ_OK ? ROWS : 0);
        dynq_calibrator_free(r.calibrator);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    dynq_calibration_free(calibration);
    dynq_model_free(model);
}
