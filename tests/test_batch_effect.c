/* Requests alone and among others. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 60, COLUMNS = 5 };

static dynq_batch_effect_result measure(dynq_model *model, const dynq_request_set *set,
                                        dynq_scope scope, uint32_t threads, uint64_t seed)
{
    const dynq_batch_effect_options options = {.size = sizeof options,
                                               .scope = scope,
                                               .requests = 40,
                                               .rounds = 3,
                                               .together = 16,
                                               .seed = seed,
                                               .threads = threads};
    dynq_batch_effect_result result = {.size = sizeof result};
    dynq_error error = {0};
    cr_assert_eq(dynq_batch_effect(model, set, &options, &result, &error), DYNQ_OK, "%s",
                 error.message);
    cr_assert(result.requests == 40 && result.rounds == 3);
    return result;
}

static void check_independent(dynq_model *model, const dynq_request_set *set, dynq_scope scope)
{
    for (uint32_t threads = 1; threads <= 2; threads++) {
        const dynq_batch_effect_result result = measure(model, set, scope, threads, 1);
        cr_assert(result.identical && result.mean == 0 && result.worst == 0,
                  "scope %d, %u threads: %g", (int)scope, threads, result.worst);
    }
}

static void check_per_tensor(dynq_model *model, const dynq_request_set *set)
{
    const dynq_batch_effect_result one = measure(model, set, DYNQ_SCOPE_TENSOR, 1, 1);
    const dynq_batch_effect_result two = measure(model, set, DYNQ_SCOPE_TENSOR, 2, 1);
    const dynq_batch_effect_result other = measure(model, set, DYNQ_SCOPE_TENSOR, 1, 2);
    cr_assert(!one.identical && one.mean > 0 && one.worst > one.mean && one.worst < 1);
    cr_assert_eq(memcmp(&one, &two, sizeof one), 0);
    cr_assert_neq(one.mean, other.mean); /* other requests and batches */
}

/* Requests of one row, the last ones much larger. */
static const float *make_rows(size_t *at, const void **inputs)
{
    static float x[REQUESTS * COLUMNS];
    samples_fill(x, REQUESTS * COLUMNS, 11);
    for (size_t i = 0; i <= REQUESTS; i++) {
        at[i] = i;
    }
    for (size_t i = REQUESTS / 2 * COLUMNS; i < REQUESTS * COLUMNS; i++) {
        x[i] *= 3.0f;
    }
    inputs[0] = x;
    return x;
}

Test(batch_effect, only_ranges_over_the_batch_have_one)
{
    dynq_model *fp32 = samples_fp32(NULL), *int8 = NULL, *fixed = NULL;
    size_t at[REQUESTS + 1];
    const void *inputs[1];
    const float *x = make_rows(at, inputs);
    const dynq_request_set set = {
        .size = sizeof set, .count = REQUESTS, .offsets = at, .inputs = inputs};
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(fp32, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, fp32, x, REQUESTS, 0, 1, NULL), DYNQ_OK);
    const dynq_quantize_options options = {
        .size = sizeof options, .range = DYNQ_RANGE_STATIC, .calibration = calibration};
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(fp32, &options, &fixed, NULL), DYNQ_OK);
    check_independent(fp32, &set, 0);
    check_independent(fixed, &set, 0);
    check_independent(int8, &set, DYNQ_SCOPE_SEGMENT);
    check_independent(int8, &set, DYNQ_SCOPE_ROW);
    check_per_tensor(int8, &set);
    dynq_calibration_free(calibration);
    dynq_model_free(fixed);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

static size_t make_texts(size_t *at, int32_t *ids)
{
    at[0] = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        at[i + 1] = at[i] + 1 + i * 7 % 20;
        for (size_t m = at[i]; m < at[i + 1]; m++) {
            ids[m] = (int32_t)(m * m % 50);
        }
    }
    return at[REQUESTS];
}

Test(batch_effect, encoder)
{
    static int32_t ids[REQUESTS * 20];
    size_t at[REQUESTS + 1];
    make_texts(at, ids);
    const void *inputs[] = {ids};
    const dynq_request_set set = {
        .size = sizeof set, .count = REQUESTS, .offsets = at, .inputs = inputs};
    dynq_model *model = samples_transformer_int8(NULL, false);
    check_independent(model, &set, DYNQ_SCOPE_SEGMENT);
    check_independent(model, &set, DYNQ_SCOPE_ROW);
    check_per_tensor(model, &set);
    dynq_batch_effect_options options = {
        .size = sizeof options, .output = "sentence", .scope = DYNQ_SCOPE_TENSOR, .most_rows = 30};
    dynq_batch_effect_result result = {.size = sizeof result};
    cr_assert_eq(dynq_batch_effect(model, &set, &options, &result, NULL), DYNQ_OK);
    cr_assert(result.requests == REQUESTS && result.rounds > 0 && result.worst > 0);
    options.together = 1; /* alone once more */
    cr_assert_eq(dynq_batch_effect(model, &set, &options, &result, NULL), DYNQ_OK);
    cr_assert(result.identical && result.worst == 0);
    dynq_model_free(model);
}

Test(batch_effect, errors)
{
    static int32_t ids[REQUESTS * 20];
    size_t at[REQUESTS + 1];
    make_texts(at, ids);
    const void *inputs[] = {ids};
    dynq_request_set set = {.size = sizeof set, .count = REQUESTS, .offsets = at, .inputs = inputs};
    dynq_model *model = samples_transformer_int8(NULL, false);
    dynq_batch_effect_options options = {.size = sizeof options, .output = "none"};
    dynq_batch_effect_result result = {.size = sizeof result};
    cr_assert_eq(dynq_batch_effect(model, &set, &options, &result, NULL), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_batch_effect(NULL, &set, NULL, &result, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_batch_effect(model, NULL, NULL, &result, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_batch_effect(model, &set, NULL, NULL, NULL), DYNQ_ERR_ARGUMENT);
    ids[0] = 50; /* one more than there are */
    cr_assert_eq(dynq_batch_effect(model, &set, NULL, &result, NULL), DYNQ_ERR_ARGUMENT);
    ids[0] = 0;
    at[3] = at[2];
    cr_assert_eq(dynq_batch_effect(model, &set, NULL, &result, NULL), DYNQ_ERR_SHAPE);
    set.count = 0;
    cr_assert_eq(dynq_batch_effect(model, &set, NULL, &result, NULL), DYNQ_ERR_ARGUMENT);
    dynq_model_free(model);
}

Test(batch_effect, every_failing_allocation_is_reported)
{
    dynq_model *model = samples_int8(NULL);
    size_t at[REQUESTS + 1];
    const void *inputs[1];
    make_rows(at, inputs);
    const dynq_request_set set = {
        .size = sizeof set, .count = REQUESTS, .offsets = at, .inputs = inputs};
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_batch_effect_options options = {.size = sizeof options, .allocator = &allocator};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        dynq_batch_effect_result result = {.size = sizeof result};
        memory.calls = 0;
        memory.fail_at = fail_at;
        status = dynq_batch_effect(model, &set, &options, &result, NULL);
        cr_assert(status == DYNQ_OK || status == DYNQ_ERR_MEMORY);
        cr_assert_eq(memory.live, 0, "call %zu", fail_at);
    }
    dynq_model_free(model);
}
