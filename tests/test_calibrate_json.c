/* Calibrations in files. */
#include <dynq/calibration.h>

#include "tests/model_parts.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct place {
    char directory[64], path[96];
} place;

static place make_place(void)
{
    place p;
    samples_directory(p.directory);
    snprintf(p.path, sizeof p.path, "%s/calibration.json", p.directory);
    return p;
}

static dynq_calibration *create(void)
{
    dynq_model *model = samples_fp32(NULL);
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    dynq_model_free(model);
    return calibration;
}

static void observe(dynq_calibration *calibration, const char *value, float min, float max)
{
    float x[18];
    const size_t columns = strcmp(value, "x") == 0 ? 5 : 18;
    for (size_t i = 0; i < columns; i++) {
        x[i] = i % 2 == 0 ? min : max;
    }
    cr_assert_eq(dynq_calibration_observe(calibration, value, 1, columns, x, 0, NULL), DYNQ_OK);
}

/* What dynq_calibration_open() makes of a text. */
static dynq_status open_text(const char *text, dynq_calibration **calibration, dynq_error *error)
{
    const place p = make_place();
    samples_write(p.path, text, strlen(text));
    const dynq_status status = dynq_calibration_open(p.path, NULL, calibration, error);
    cr_assert_eq(samples_remove(p.directory), 1);
    return status;
}

/* One row of -0.5 and 2.25 in "x", nothing in "act". */
static const char whole[] =
    "{\n"
    "  \"format\": \"dynq-calibration\",\n"
    "  \"version\": 2,\n"
    "  \"model\": \"c3159bbe893a1271\",\n"
    "  \"requests\": 0,\n"
    "  \"samples\": 1,\n"
    "  \"tensors\": [\n"
    "    {\n"
    "      \"name\": \"x\",\n"
    "      \"columns\": 5,\n"
    "      \"min\": -0.5,\n"
    "      \"max\": 2.25,\n"
    "      \"rows\": 1,\n"
    "      \"elements\": 5,\n"
    "      \"zero_rows\": 0,\n"
    "      \"batches\": 1,\n"
    "      \"row_low\": -0.5,\n"
    "      \"row_high\": 2.25,\n"
    "      \"batch_low\": -0.5,\n"
    "      \"batch_high\": 2.25,\n"
    "      \"mean\": 0.59999999999999998,\n"
    "      \"m2\": 9.0749999999999993,\n"
    "      \"m3\": 4.9912499999999982,\n"
    "      \"m4\": 19.216312500000001,\n"
    "      \"average\": [-0.0050000000000000001,0.022499999999999999,0.01],\n"
    "      \"limit\": 4.0,\n"
    "      \"zeros\": 0,\n"
    "      \"negative\": [-256,3],\n"
    "      \"positive\": [-1152,2],\n"
    "      \"column_min\": [-0.5,2.25,-0.5,2.25,-0.5],\n"
    "      \"column_max\": [-0.5,2.25,-0.5,2.25,-0.5],\n"
    "      \"column_sum\": [-0.5,2.25,-0.5,2.25,-0.5],\n"
    "      \"column_squares\": [0.25,5.0625,0.25,5.0625,0.25]\n"
    "    },\n"
    "    {\n"
    "      \"name\": \"act\",\n"
    "      \"columns\": 18,\n"
    "      \"min\": 0.0,\n"
    "      \"max\": 0.0,\n"
    "      \"rows\": 0,\n"
    "      \"elements\": 0\n"
    "    }\n"
    "  ]\n"
    "}\n";

Test(calibrate_json, the_text_is_what_the_contract_says)
{
    const place p = make_place();
    dynq_calibration *calibration = create();
    size_t size = 0;
    observe(calibration, "x", -0.5f, 2.25f);
    cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
    unsigned char *bytes = samples_read(p.path, &size);
    cr_assert(size == strlen(whole) && memcmp(bytes, whole, size) == 0, "%.*s", (int)size, bytes);
    free(bytes);
    dynq_calibration_free(calibration);
    cr_assert_eq(samples_remove(p.directory), 1);
}

Test(calibrate_json, an_opened_calibration_goes_on)
{
    const place p = make_place();
    dynq_calibration *calibration = create(), *opened = NULL;
    observe(calibration, "x", -1.0f, 1.0f);
    cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, NULL), DYNQ_OK);
    const float short_row[4] = {0};
    cr_assert_eq(dynq_calibration_observe(opened, "x", 1, 4, short_row, 0, NULL), DYNQ_ERR_SHAPE);
    observe(opened, "x", -2.0f, 0.0f);
    observe(opened, "act", 0.0f, 3.0f);
    cr_assert_eq(dynq_calibration_observe(opened, "act", 1, 4, short_row, 0, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_merge(calibration, opened, NULL), DYNQ_OK);
    dynq_calibration_entry x = {.size = sizeof x};
    cr_assert_eq(dynq_calibration_get(calibration, 0, &x), DYNQ_OK);
    cr_assert(x.min == -2.0f && x.max == 1.0f && x.rows == 3 && x.elements == 15);
    dynq_calibration_free(calibration);
    dynq_calibration_free(opened);
    samples_remove(p.directory);
}

/* The text with one thing in it replaced: what a file may or may not say. */
typedef struct change {
    const char *from, *to, *message;
} change;

static dynq_status open_changed(const change *c, dynq_calibration **calibration, dynq_error *error)
{
    char *text = parts_replace(whole, c->from, c->to);
    const dynq_status status = open_text(text, calibration, error);
    free(text);
    return status;
}

Test(calibrate_json, what_other_writers_may_do)
{
    static const change good[] = {
        {"\"rows\": 1,", "\"rows\":1,\"more\":[1],", NULL},
        {"\"min\": -0.5", "\"min\": -0.500000000000001", NULL},
        {"\"max\": 2.25", "\"max\": 225e-2", NULL},
        {"\"positive\": [-1152,2]", "\"positive\": [-1000,-152,2,-895]", NULL},
        {"\"average\": [-0.0050000000000000001,0.022499999999999999,0.01]", "\"average\": null",
         NULL},
        {"\"requests\": 0", "\"requests\": 9223372036854775807", NULL},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        dynq_calibration *calibration = NULL;
        dynq_error error = {0};
        float lo = 0.0f, hi = 0.0f;
        cr_assert_eq(open_changed(&good[i], &calibration, &error), DYNQ_OK, "%s", error.message);
        cr_assert_eq(dynq_calibration_range(calibration, "x", NULL, &lo, &hi, NULL), DYNQ_OK);
        cr_assert(lo == -0.5f && hi == 2.25f);
        dynq_calibration_free(calibration);
    }
    dynq_calibration *none = NULL;
    cr_assert_eq(open_text("{\"format\":\"dynq-calibration\",\"version\":2,\"samples\":0,"
                           "\"requests\":0,\"model\":\"0123456789abcdef\",\"tensors\":[]}",
                           &none, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_calibration_count(none), 0);
    dynq_calibration_free(none);
}

/* What happens to be a little below 0 in another writer's numbers leaves no -0 behind. */
Test(calibrate_json, what_rounds_to_zero_is_zero)
{
    static const char *const tiny[] = {"-1e-50", "-0.0", "1e-50", "0"};
    for (size_t i = 0; i < COUNT(tiny); i++) {
        char *all = NULL;
        dynq_calibration *calibration = NULL;
        dynq_error error = {0};
        size_t size = 0;
        FILE *stream = open_memstream(&all, &size);
        fprintf(stream,
                "{\"format\":\"dynq-calibration\",\"version\":2,\"model\":\"c3159bbe893a1271\","
                "\"requests\":0,\"samples\":1,\"tensors\":[{\"name\":\"x\",\"columns\":1,"
                "\"min\":%s,\"max\":%s,\"rows\":1,\"elements\":1,\"zero_rows\":1,\"batches\":1,"
                "\"row_low\":0,\"row_high\":0,\"batch_low\":0,\"batch_high\":0,\"mean\":0,"
                "\"m2\":0,\"m3\":0,\"m4\":0,\"average\":[0,0,0.01],\"limit\":0,\"zeros\":1,"
                "\"negative\":[],\"positive\":[],\"column_min\":[%s],\"column_max\":[%s],"
                "\"column_sum\":[0],\"column_squares\":[0]}]}",
                tiny[i], tiny[i], tiny[i], tiny[i]);
        fclose(stream);
        cr_assert_eq(open_text(all, &calibration, &error), DYNQ_OK, "%s", error.message);
        dynq_calibration_entry x = {.size = sizeof x};
        dynq_column_view columns = {.size = sizeof columns};
        cr_assert_eq(dynq_calibration_get(calibration, 0, &x), DYNQ_OK);
        cr_assert_eq(dynq_calibration_columns(calibration, "x", &columns), DYNQ_OK);
        cr_assert(!signbit(x.min) && !signbit(x.max) && !signbit(columns.min[0]) &&
                      !signbit(columns.max[0]),
                  "%s", tiny[i]);
        dynq_calibration_free(calibration);
        free(all);
    }
}

static void expect_format_errors(const change *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dynq_calibration *calibration = NULL;
        dynq_error error = {0};
        cr_assert_eq(open_changed(&cases[i], &calibration, &error), DYNQ_ERR_FORMAT, "%s -> %s",
                     cases[i].from, cases[i].to);
        cr_assert_null(calibration);
        cr_assert(strstr(error.message, cases[i].message) != NULL, "'%s' is not in: %s",
                  cases[i].message, error.message);
        cr_assert(strstr(error.message, "calibration.json") != NULL, "%s", error.message);
    }
}

Test(calibrate_json, texts_that_are_no_calibration)
{
    static const char *const texts[] = {"",     "{",    "[]", "{}",
                                        "\"\"", "null", "1",  "{\"format\":\"dynq\"}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        dynq_calibration *calibration = NULL;
        cr_assert_eq(open_text(texts[i], &calibration, NULL), DYNQ_ERR_FORMAT, "%s", texts[i]);
        cr_assert_null(calibration);
    }
}

Test(calibrate_json, frames_that_are_wrong)
{
    static const change cases[] = {
        {"\"dynq-calibration\"", "\"dynq\"", "\"format\""},
        {"\"dynq-calibration\"", "1", "\"format\""},
        {"\"version\": 2", "\"version\": \"2\"", "\"version\""},
        {"\"version\": 2", "\"version\": 2.0", "\"version\""},
        {"\"version\": 2", "\"version\": 0", "\"version\""},
        {"\"version\": 2", "\"version\": -1", "\"version\""},
        {"\"version\": 2", "\"more\": 2", "\"version\""},
        {"\"samples\": 1", "\"samples\": -1", "\"samples\""},
        {"\"samples\": 1", "\"samples\": 7", "\"samples\""},
        {"\"samples\": 1", "\"more\": 1", "\"samples\""},
        {"\"requests\": 0", "\"requests\": -1", "\"requests\""},
        {"\"requests\": 0", "\"requests\": 9223372036854775808", "line 5"},
        {"\"model\": \"", "\"model\": \"0", "\"model\""},
        {"\"model\": \"c", "\"model\": \"C", "\"model\""},
        {"\"model\"", "\"more\"", "\"model\""},
        {"\"tensors\"", "\"more\"", "\"tensors\""},
        {"\"samples\": 1", "\"samples\": 1, \"samples\": 1", "duplicate"},
    };
    expect_format_errors(cases, COUNT(cases));
}

Test(calibrate_json, tensors_that_are_wrong)
{
    static const change cases[] = {
        {"\"tensors\": [", "\"tensors\": [1,", "tensor 0"},
        {"\"tensors\": [", "\"tensors\": [{},", "tensor 0: \"name\""},
        {"\"x\"", "5", "tensor 0: \"name\""},
        {"\"x\"", "\"\"", "tensor 0 has no name"},
        {"\"x\"", "\"a\\u0007\"", "printable"},
        {"\"x\"", "\"a\\u0000b\"", "line 9"},
        {"\"x\"", "\"act\"", "two tensors are named 'act'"},
        {"\"min\": -0.5", "\"min\": \"0\"", "\"min\" and \"max\""},
        {"\"min\": -0.5", "\"min\": -1e39", "\"min\" and \"max\""},
        {"\"min\": -0.5", "\"min\": -3.40282357e38", "\"min\" and \"max\""},
        {"\"min\": -0.5", "\"min\": NaN", "line 11"},
        {"\"min\": -0.5", "\"min\": -1e999", "line 11"},
        {"\"min\": -0.5", "\"min\": 2.5", "\"min\" is larger"},
        {"\"max\": 2.25", "\"max\": null", "\"min\" and \"max\""},
        {"\"columns\": 5", "\"columns\": 0", "\"columns\""},
        {"\"columns\": 5", "\"columns\": 16777217", "\"columns\""},
        {"\"columns\": 5", "\"columns\": 1", "\"elements\" is not"},
        {"\"rows\": 1,", "\"rows\": 1.0,", "\"rows\" and \"elements\""},
        {"\"rows\": 1,", "\"rows\": -1,", "\"rows\" and \"elements\""},
        {"\"rows\": 1,", "\"rows\": 2,", "\"elements\" is not"},
        {"\"rows\": 1,", "\"rows\": 9223372036854775807,", "\"elements\" is not"},
        {"\"elements\": 5", "\"elements\": 6", "\"elements\" is not"},
        {"\"rows\": 1,\n      \"elements\": 5", "\"rows\": 0, \"elements\": 0", "but no rows"},
        {"\"rows\": 0,\n      \"elements\": 0", "\"rows\": 1, \"elements\": 18", "\"column_min\""},
    };
    expect_format_errors(cases, COUNT(cases));
}

Test(calibrate_json, statistics_that_no_data_has)
{
    static const change cases[] = {
        {"\"zero_rows\": 0", "\"zero_rows\": 2", "\"zero_rows\" or"},
        {"\"zero_rows\": 0", "\"zero_rows\": -1", "must be counts"},
        {"\"batches\": 1", "\"batches\": 0", "\"batches\" do"},
        {"\"batches\": 1", "\"batches\": 2", "\"batches\" do"},
        {"\"row_low\": -0.5", "\"row_low\": -0.6", "averages of rows"},
        {"\"row_low\": -0.5", "\"row_low\": 0.5", "averages of rows"},
        {"\"row_high\": 2.25", "\"row_high\": 1e300", "averages of rows"},
        {"\"batch_low\": -0.5", "\"batch_low\": -0.51", "averages of rows"},
        {"\"batch_high\": 2.25", "\"batch_high\": -1", "averages of rows"},
        {"\"batch_high\": 2.25", "\"batch_high\": \"1\"", "\"batch_high\" is missing"},
        {"\"mean\": 0.5", "\"mean\": -0.5", "moments"},
        {"\"m2\": 9", "\"m2\": -9", "moments"},
        {"\"m2\": 9", "\"m2\": 99", "moments"},
        {"\"m2\": 9.0749999999999993", "\"m2\": 0", "moments"},
        {"\"m2\": 9.0749999999999993", "\"m2\": 1e-300", "moments"},
        {"\"m3\": ", "\"m3\": 99", "moments"},
        {"\"m4\": 19.216312500000001", "\"m4\": 0", "moments"},
        {"\"m4\": 19.216312500000001", "\"m4\": 16.47", "moments"},
        {"\"m4\": ", "\"m4\": -", "moments"},
        {"\"average\": [", "\"average\": [0,", "\"average\""},
        {"0.022499999999999999,0.01]", "0.022499999999999999,0]", "averages of rows"},
        {"0.022499999999999999,0.01]", "0.022499999999999999,1.5]", "averages of rows"},
        {"0.022499999999999999,0.01]", "0.03,0.01]", "averages of rows"},
        {"\"limit\": 4.0", "\"limit\": 8.0", "histogram"},
        {"\"limit\": 4.0", "\"limit\": 0", "histogram"},
        {"\"zeros\": 0", "\"zeros\": 1", "histogram"},
        {"\"zero_rows\": 0", "\"zero_rows\": 1", "histogram"},
        {"[-256,3]", "[-256,4]", "histogram"},
        {"[-256,3]", "[-257,3]", "histogram"},
        {"[-256,3]", "[-255,3]", "histogram"},
        {"[-256,3]", "[-256,9223372036854775807]", "histogram"},
        {"[-256,3]", "[-256,3,0]", "2048 bins"},
        {"[-256,3]", "[-256,3,-1792]", "2048 bins"},
        {"[-256,3]", "[-9223372036854775808,3]", "2048 bins"},
        {"[-256,3]", "[-256,3.0]", "2048 bins"},
        {"[-256,3]", "{}", "2048 bins"},
        {"[-1152,2]", "[-1152,1,1]", "histogram"},
        {"\"column_min\": [", "\"column_min\": [0,", "\"column_min\""},
        {"\"column_min\": [-0.5", "\"column_min\": [-0.6", "columns"},
        {"\"column_min\": [-0.5", "\"column_min\": [3", "columns"},
        {"\"column_max\": [", "\"column_max\": [0,", "array of columns"},
        {"\"column_max\": [-0.5", "\"column_max\": [2.5", "columns"},
        {"\"column_sum\": [-0.5", "\"column_sum\": [1e300", "columns"},
        {"\"column_squares\": [", "\"column_squares\": [-", "columns"},
        {"\"column_squares\": [0", "\"column_squares\": [7", "columns"},
        {"\"column_squares\": [0.25", "\"column_squares\": [0.2499", "columns"},
        {"\"column_squares\": [0", "\"column_squares\": [null", "line"},
    };
    expect_format_errors(cases, COUNT(cases));
}

Test(calibrate_json, other_versions_say_so)
{
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    const change newer = {"\"version\": 2", "\"version\": 3", NULL};
    cr_assert_eq(open_changed(&newer, &calibration, &error), DYNQ_ERR_VERSION);
    cr_assert(strstr(error.message, "version 3") != NULL, "%s", error.message);
    const change older = {"\"version\": 2", "\"version\": 1", NULL};
    cr_assert_eq(open_changed(&older, &calibration, &error), DYNQ_ERR_VERSION);
    cr_assert(strstr(error.message, "calibrate again") != NULL, "%s", error.message);
    cr_assert_null(calibration);
}

Test(calibrate_json, every_truncation_is_an_error)
{
    for (size_t length = 0; length + 2 < sizeof whole; length++) {
        char text[sizeof whole] = {0};
        dynq_calibration *calibration = NULL;
        memcpy(text, whole, length);
        cr_assert_eq(open_text(text, &calibration, NULL), DYNQ_ERR_FORMAT, "length %zu", length);
    }
}

Test(calibrate_json, counts_that_would_overflow)
{
    const change most = {"\"requests\": 0", "\"requests\": 9223372036854775807", NULL};
    dynq_calibration *a = NULL, *b = NULL;
    dynq_error error = {0};
    cr_assert_eq(open_changed(&most, &a, NULL), DYNQ_OK);
    cr_assert_eq(open_changed(&most, &b, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_merge(a, b, &error), DYNQ_ERR_LIMIT);
    cr_assert_not_null(strstr(error.message, "2^63 requests"));
    cr_assert_eq(dynq_calibration_requests(a), INT64_MAX);
    dynq_calibration_free(a);
    dynq_calibration_free(b);
}

Test(calibrate_json, files_that_cannot_be_used)
{
    const place p = make_place();
    dynq_calibration *calibration = create(), *opened = NULL;
    char missing[160];
    snprintf(missing, sizeof missing, "%s/none/calibration.json", p.directory);
    cr_assert_eq(dynq_calibration_save(calibration, missing, NULL), DYNQ_ERR_IO);
    cr_assert_eq(dynq_calibration_open(missing, NULL, &opened, NULL), DYNQ_ERR_IO);
    cr_assert_eq(dynq_calibration_save(calibration, p.directory, NULL), DYNQ_ERR_IO);
    cr_assert_eq(dynq_calibration_open(p.directory, NULL, &opened, NULL), DYNQ_ERR_IO);
    cr_assert_eq(dynq_calibration_save(NULL, p.path, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_calibration_open(NULL, NULL, &opened, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_null(opened);
    dynq_calibration_free(calibration);
    cr_assert_eq(samples_remove(p.directory), 0);
}

Test(calibrate_json, a_full_disk_is_an_error)
{
    struct stat info;
    if (stat("/dev/full", &info) != 0) {
        cr_skip_test("this system has no /dev/full");
    }
    dynq_calibration *calibration = create();
    cr_assert_eq(dynq_calibration_save(calibration, "/dev/full", NULL), DYNQ_ERR_IO);
    dynq_calibration_free(calibration);
}

Test(calibrate_json, any_allocation_can_fail)
{
    const place p = make_place();
    dynq_calibration *calibration = create();
    dynq_status status = DYNQ_ERR_MEMORY;
    size_t failures = 0;
    cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_calibration *opened = NULL;
        status = dynq_calibration_open(p.path, &allocator, &opened, NULL);
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        cr_assert((status == DYNQ_OK) == (opened != NULL));
        failures += status != DYNQ_OK;
        dynq_calibration_free(opened);
        cr_assert_eq(memory.live, 0, "call %zu leaks", fail_at);
    }
    cr_assert_geq(failures, 4);
    dynq_calibration_free(calibration);
    samples_remove(p.directory);
}
