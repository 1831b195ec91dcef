/* Calibrations in files. */
#include <dynq/calibration.h>

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

Test(calibrate_json, every_float_comes_back_exactly)
{
    static const float ranges[][2] = {
        {-0.1f, 0.1f},
        {-FLT_MAX, FLT_MAX},
        {1e-45f, 1e-44f},
        {-FLT_MIN, FLT_EPSILON},
        {0.0f, 0.0f},
        {-3.0f, 16777217.0f},
        {1.0f, 1.00000012f},
        {0.3f, 0.300000012f},
        {-123456.789f, -0.000123456789f},
        {8.5899346e9f, 8.5899356e9f},
    };
    const place p = make_place();
    for (size_t i = 0; i < COUNT(ranges); i++) {
        dynq_calibration *calibration = create(), *opened = NULL;
        observe(calibration, "x", ranges[i][0], ranges[i][1]);
        observe(calibration, "x", ranges[i][0], ranges[i][0]);
        cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, NULL), DYNQ_OK);
        dynq_calibration_entry x = {.size = sizeof x}, act = {.size = sizeof act};
        cr_assert_eq(dynq_calibration_count(opened), 2);
        cr_assert_eq(dynq_calibration_get(opened, 0, &x), DYNQ_OK);
        cr_assert_eq(dynq_calibration_get(opened, 1, &act), DYNQ_OK);
        cr_assert_str_eq(x.value, "x");
        cr_assert_str_eq(act.value, "act");
        cr_assert(x.min == ranges[i][0] && x.max == ranges[i][1], "range %zu", i);
        cr_assert(x.rows == 2 && x.elements == 10 && act.rows == 0 && act.elements == 0);
        dynq_calibration_free(calibration);
        dynq_calibration_free(opened);
    }
    cr_assert_eq(samples_remove(p.directory), 1);
}

Test(calibrate_json, random_floats_come_back_exactly)
{
    const place p = make_place();
    uint32_t bits = 1;
    for (size_t i = 0; i < 300; i++) {
        float value = 0.0f, lo = 0.0f, hi = 0.0f;
        do {
            bits = bits * 1664525u + 1013904223u;
            memcpy(&value, &bits, sizeof value);
        } while (!isfinite(value));
        dynq_calibration *calibration = create(), *opened = NULL;
        observe(calibration, "act", value, value);
        cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_open(p.path, NULL, &opened, NULL), DYNQ_OK);
        cr_assert_eq(dynq_calibration_range(opened, "act", NULL, &lo, &hi, NULL), DYNQ_OK);
        cr_assert_eq(value < 0.0f ? lo : hi, value, "%a", (double)value);
        dynq_calibration_free(calibration);
        dynq_calibration_free(opened);
    }
    samples_remove(p.directory);
}

Test(calibrate_json, the_text_is_what_the_contract_says)
{
    static const char expected[] = "{\n  \"format\": \"dynq-calibration\",\n  \"version\": 1,\n"
                                   "  \"samples\": 1,\n  \"tensors\": [\n    {\n"
                                   "      \"name\": \"x\",\n      \"min\": -0.5,\n"
                                   "      \"max\": 2.25,\n      \"rows\": 1,\n"
                                   "      \"elements\": 5\n    },\n    {\n"
                                   "      \"name\": \"act\",\n      \"min\": 0.0,\n"
                                   "      \"max\": 0.0,\n      \"rows\": 0,\n"
                                   "      \"elements\": 0\n    }\n  ]\n}\n";
    const place p = make_place();
    dynq_calibration *calibration = create();
    size_t size = 0;
    observe(calibration, "x", -0.5f, 2.25f);
    cr_assert_eq(dynq_calibration_save(calibration, p.path, NULL), DYNQ_OK);
    unsigned char *bytes = samples_read(p.path, &size);
    cr_assert_eq(size, strlen(expected));
    cr_assert_eq(memcmp(bytes, expected, size), 0);
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
    observe(opened, "act", 0.0f, 3.0f); /* its columns were not known */
    cr_assert_eq(dynq_calibration_observe(opened, "act", 1, 4, short_row, 0, NULL), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_calibration_merge(calibration, opened, NULL), DYNQ_OK);
    dynq_calibration_entry x = {.size = sizeof x};
    cr_assert_eq(dynq_calibration_get(calibration, 0, &x), DYNQ_OK);
    cr_assert(x.min == -2.0f && x.max == 1.0f && x.rows == 3 && x.elements == 15);
    dynq_calibration_free(calibration);
    dynq_calibration_free(opened);
    samples_remove(p.directory);
}

#define FRAME(tensors)                                                                             \
    "{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":1,\"tensors\":[" tensors "]}"
#define TENSOR(name, min, max, rows, elements)                                                     \
    "{\"name\":" name ",\"min\":" min ",\"max\":" max ",\"rows\":" rows ",\"elements\":" elements  \
    "}"

Test(calibrate_json, what_other_writers_may_do)
{
    static const char *const good[] = {
        FRAME(TENSOR("\"x\"", "-1", "2", "1", "5")),
        FRAME("{\"more\":[1],\"elements\":5,\"rows\":1,\"max\":2e0,\"min\":-1.0,\"name\":\"x\"}"),
        FRAME(TENSOR("\"x\"", "-1.00000000000000001", "2", "1", "5")),
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        dynq_calibration *calibration = NULL;
        dynq_error error = {0};
        float lo = 0.0f, hi = 0.0f;
        cr_assert_eq(open_text(good[i], &calibration, &error), DYNQ_OK, "%s", error.message);
        cr_assert_eq(dynq_calibration_range(calibration, "x", NULL, &lo, &hi, NULL), DYNQ_OK);
        cr_assert(lo == -1.0f && hi == 2.0f);
        dynq_calibration_free(calibration);
    }
    dynq_calibration *none = NULL;
    cr_assert_eq(open_text("{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":0,"
                           "\"tensors\":[]}",
                           &none, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_calibration_count(none), 0);
    dynq_calibration_free(none);
}

typedef struct bad_text {
    const char *text, *message;
} bad_text;

static void expect_format_errors(const bad_text *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dynq_calibration *calibration = NULL;
        dynq_error error = {0};
        cr_assert_eq(open_text(cases[i].text, &calibration, &error), DYNQ_ERR_FORMAT, "%s",
                     cases[i].text);
        cr_assert_null(calibration);
        cr_assert(strstr(error.message, cases[i].message) != NULL, "'%s' is not in: %s",
                  cases[i].message, error.message);
        cr_assert(strstr(error.message, "calibration.json") != NULL, "%s", error.message);
    }
}

Test(calibrate_json, frames_that_are_wrong)
{
    static const bad_text cases[] = {
        {"", "the file is empty"},
        {"{", "line 1"},
        {"[]", "\"format\""},
        {"{}", "\"format\""},
        {"null", "line 1"},
        {"{\"format\":\"dynq\",\"version\":1,\"samples\":0,\"tensors\":[]}", "\"format\""},
        {"{\"format\":1,\"version\":1,\"samples\":0,\"tensors\":[]}", "\"format\""},
        {"{\"format\":\"dynq-calibration\",\"samples\":0,\"tensors\":[]}", "\"version\""},
        {"{\"format\":\"dynq-calibration\",\"version\":\"1\",\"tensors\":[]}", "\"version\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1.0,\"tensors\":[]}", "\"version\""},
        {"{\"format\":\"dynq-calibration\",\"version\":0,\"tensors\":[]}", "\"version\""},
        {"{\"format\":\"dynq-calibration\",\"version\":-1,\"tensors\":[]}", "\"version\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1,\"tensors\":[]}", "\"samples\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":-1,\"tensors\":[]}",
         "\"samples\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":7,\"tensors\":[]}",
         "\"samples\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":0}", "\"tensors\""},
        {"{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":0,\"tensors\":{}}",
         "\"tensors\""},
        {FRAME("") "x", "line 1"},
        {"{\"format\":\"dynq-calibration\",\"format\":\"dynq-calibration\",\"version\":1,"
         "\"samples\":0,\"tensors\":[]}",
         "duplicate"},
    };
    expect_format_errors(cases, COUNT(cases));
}

Test(calibrate_json, tensors_that_are_wrong)
{
    static const bad_text cases[] = {
        {FRAME("1"), "tensor 0"},
        {FRAME("null"), "tensor 0"},
        {FRAME("{}"), "tensor 0: \"name\""},
        {FRAME(TENSOR("5", "0", "0", "1", "5")), "tensor 0: \"name\""},
        {FRAME(TENSOR("\"\"", "0", "0", "1", "5")), "tensor 0 has no name"},
        {FRAME(TENSOR("\"a\\u0007\"", "0", "0", "1", "5")), "printable"},
        {FRAME(TENSOR("\"a\\u0000b\"", "0", "0", "1", "5")), "line 1"},
        {FRAME(TENSOR("\"a\"", "\"0\"", "0", "1", "5")), "\"min\" and \"max\""},
        {FRAME(TENSOR("\"a\"", "0", "null", "1", "5")), "\"min\" and \"max\""},
        {FRAME(TENSOR("\"a\"", "NaN", "0", "1", "5")), "line 1"},
        {FRAME(TENSOR("\"a\"", "0", "Infinity", "1", "5")), "line 1"},
        {FRAME(TENSOR("\"a\"", "0", "1e39", "1", "5")), "\"min\" and \"max\""},
        {FRAME(TENSOR("\"a\"", "-3.40282357e38", "0", "1", "5")), "\"min\" and \"max\""},
        {FRAME(TENSOR("\"a\"", "-1e999", "0", "1", "5")), "line 1"},
        {FRAME(TENSOR("\"a\"", "2", "1", "1", "5")), "\"min\" is larger"},
        {FRAME(TENSOR("\"a\"", "0", "1", "1.0", "5")), "\"rows\" and \"elements\""},
        {FRAME(TENSOR("\"a\"", "0", "1", "1", "\"5\"")), "\"rows\" and \"elements\""},
        {FRAME(TENSOR("\"a\"", "0", "1", "-1", "5")), "\"rows\" and \"elements\""},
        {FRAME(TENSOR("\"a\"", "0", "1", "1", "-5")), "\"rows\" and \"elements\""},
        {FRAME(TENSOR("\"a\"", "0", "1", "99999999999999999999", "5")), "line 1"},
        {FRAME(TENSOR("\"a\"", "0", "1", "0", "0")), "but no rows"},
        {FRAME(TENSOR("\"a\"", "0", "0", "0", "5")), "but no rows"},
        {FRAME(TENSOR("\"a\"", "0", "0", "1", "0")), "not a multiple"},
        {FRAME(TENSOR("\"a\"", "0", "0", "3", "5")), "not a multiple"},
        {FRAME(TENSOR("\"a\"", "0", "0", "1", "5") "," TENSOR("\"a\"", "0", "0", "1", "5")),
         "two tensors are named 'a'"},
        {FRAME("{\"name\":\"a\",\"name\":\"b\"}"), "duplicate"},
    };
    expect_format_errors(cases, COUNT(cases));
}

Test(calibrate_json, a_newer_version_says_so)
{
    dynq_calibration *calibration = NULL;
    dynq_error error = {0};
    cr_assert_eq(open_text("{\"format\":\"dynq-calibration\",\"version\":2}", &calibration, &error),
                 DYNQ_ERR_VERSION);
    cr_assert(strstr(error.message, "version 2") != NULL, "%s", error.message);
    cr_assert_null(calibration);
}

Test(calibrate_json, every_truncation_is_an_error)
{
    static const char whole[] = FRAME(TENSOR("\"x\"", "-1.5", "2.25", "1", "5"));
    for (size_t length = 0; length + 1 < sizeof whole; length++) {
        char text[sizeof whole] = {0};
        dynq_calibration *calibration = NULL;
        memcpy(text, whole, length);
        cr_assert_eq(open_text(text, &calibration, NULL), DYNQ_ERR_FORMAT, "length %zu", length);
    }
}

Test(calibrate_json, counts_that_would_overflow)
{
    static const char text[] =
        "{\"format\":\"dynq-calibration\",\"version\":1,\"samples\":9223372036854775807,"
        "\"tensors\":[" TENSOR("\"x\"", "0", "1", "9223372036854775807",
                               "9223372036854775807") "]}";
    dynq_calibration *a = NULL, *b = NULL;
    cr_assert_eq(open_text(text, &a, NULL), DYNQ_OK);
    cr_assert_eq(open_text(text, &b, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_merge(a, b, NULL), DYNQ_ERR_LIMIT);
    const float x = 0.0f;
    cr_assert_eq(dynq_calibration_observe(a, "x", 1, 1, &x, 0, NULL), DYNQ_ERR_LIMIT);
    dynq_calibration_free(a);
    dynq_calibration_free(b);
}

Test(calibrate_json, merging_finds_values_by_name)
{
    dynq_calibration *ab = NULL, *ba = NULL;
    cr_assert_eq(open_text(FRAME(TENSOR("\"a\"", "0", "1", "1", "5") "," TENSOR("\"b\"", "-7", "2",
                                                                                "1", "3")),
                           &ab, NULL),
                 DYNQ_OK);
    cr_assert_eq(open_text(FRAME(TENSOR("\"b\"", "-1", "9", "1", "3") "," TENSOR("\"a\"", "-3", "0",
                                                                                 "1", "5")),
                           &ba, NULL),
                 DYNQ_OK);
    cr_assert_eq(dynq_calibration_merge(ab, ba, NULL), DYNQ_OK);
    float lo = 0.0f, hi = 0.0f;
    cr_assert_eq(dynq_calibration_range(ab, "a", NULL, &lo, &hi, NULL), DYNQ_OK);
    cr_assert(lo == -3.0f && hi == 1.0f);
    cr_assert_eq(dynq_calibration_range(ab, "b", NULL, &lo, &hi, NULL), DYNQ_OK);
    cr_assert(lo == -7.0f && hi == 9.0f);
    dynq_calibration_free(ab);
    dynq_calibration_free(ba);
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
