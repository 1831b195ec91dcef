/* Second moments: sums, parts, threads, kernels, what does not fit. */
#include <dynq/second_moments.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 700, INPUTS = 70, HIDDEN = 150, OUTPUTS = 3 };

static float x[ROWS * INPUTS], act[ROWS * HIDDEN];

/* x -> fc1 -> act (relu) -> fc2 and fc3, which both read "act"; outputs "y", "z" and "act". */
static dynq_model *make_model(void)
{
    static float w1[HIDDEN * INPUTS], w2[OUTPUTS * HIDDEN];
    samples_fill(w1, HIDDEN * INPUTS, 1);
    samples_fill(w2, OUTPUTS * HIDDEN, 2);
    const dynq_tensor first = {DYNQ_F32, 2, {HIDDEN, INPUTS}, w1};
    const dynq_tensor second = {DYNQ_F32, 2, {OUTPUTS, HIDDEN}, w2};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_value v = dynq_input(graph, "x", INPUTS);
    v = dynq_relu(graph, "act", dynq_linear(graph, "fc1", v, &first, NULL));
    dynq_output(graph, "act", v);
    dynq_output(graph, "y", dynq_linear(graph, "fc2", v, &second, NULL));
    dynq_output(graph, "z", dynq_linear(graph, "fc3", v, &second, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(graph, &model, NULL), DYNQ_OK);
    return model;
}

static dynq_second_moments *create(dynq_model *model, const dynq_second_moments_options *options)
{
    dynq_second_moments *moments = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_second_moments_create(model, options, &moments, &error), DYNQ_OK, "%s",
                 error.message);
    return moments;
}

static dynq_status run(dynq_second_moments *moments, const char *input, const void *data,
                       size_t bytes, dynq_batch batch, dynq_error *error)
{
    batch.size = sizeof batch;
    const dynq_binding binding = {.slot = dynq_second_moments_slot(moments, input),
                                  .data = (void *)(uintptr_t)data,
                                  .bytes = bytes};
    return dynq_second_moments_run(moments, &batch, &binding, 1, error);
}

static const double *matrix_of(const dynq_second_moments *moments, const char *name, size_t columns,
                               uint64_t rows)
{
    const double *matrix = NULL;
    size_t k = 0;
    uint64_t seen = 0;
    cr_assert_eq(dynq_second_moments_get(moments, name, &k, &seen, &matrix), DYNQ_OK);
    cr_assert_eq(k, columns);
    cr_assert_eq(seen, rows);
    return matrix;
}

/* Against sums in double, each within what FP32 sums of 256 products may be off. */
static void check_sums(const double *matrix, const float *data, size_t rows, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t r = 0; r < rows; r++) {
                const double product = (double)data[r * k + i] * (double)data[r * k + j];
                sum += product;
                magnitude += fabs(product);
            }
            cr_assert_leq(fabs(matrix[i * k + j] - sum), 256 * 0x1p-24 * magnitude, "%zu, %zu", i,
                          j);
            cr_assert_eq(matrix[i * k + j], matrix[j * k + i]);
        }
    }
}

static void run_session(dynq_model *model)
{
    static float y[ROWS * OUTPUTS], z[ROWS * OUTPUTS];
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_output_slot(session, "act"), act, sizeof act, 0},
                               {dynq_session_output_slot(session, "y"), y, sizeof y, 0},
                               {dynq_session_output_slot(session, "z"), z, sizeof z, 0}};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    cr_assert_eq(dynq_session_run(session, &batch, io, 4, NULL), DYNQ_OK);
    dynq_session_free(session);
}

Test(second_moments, sums)
{
    dynq_model *model = make_model();
    samples_fill(x, ROWS * INPUTS, 7);
    run_session(model);
    dynq_second_moments *moments = create(model, NULL);
    cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, NULL), DYNQ_OK);
    check_sums(matrix_of(moments, "x", INPUTS, ROWS), x, ROWS, INPUTS);
    check_sums(matrix_of(moments, "act", HIDDEN, ROWS), act, ROWS, HIDDEN);
    cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, NULL), DYNQ_OK);
    matrix_of(moments, "act", HIDDEN, 2 * ROWS);
    cr_assert_eq(dynq_second_moments_get(moments, "fc1", NULL, NULL, NULL), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_second_moments_get(moments, "none", NULL, NULL, NULL), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_second_moments_slot(moments, "act"), -1);
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}

Test(second_moments, threads_and_kernels_leave_no_trace)
{
    static double expected[HIDDEN * HIDDEN];
    dynq_model *model = make_model();
    samples_fill(x, ROWS * INPUTS, 8);
    for (uint32_t i = 0; i < 3; i++) {
        const dynq_second_moments_options options = {
            .size = sizeof options, .threads = i, .kernel = i == 2 ? "ref" : NULL};
        dynq_second_moments *moments = create(model, &options);
        cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = ROWS}, NULL), DYNQ_OK);
        const double *matrix = matrix_of(moments, "act", HIDDEN, ROWS);
        if (i == 0) {
            memcpy(expected, matrix, sizeof expected);
        }
        cr_assert_eq(memcmp(matrix, expected, sizeof expected), 0);
        dynq_second_moments_free(moments);
    }
    dynq_model_free(model);
}

/* Requests of several rows, one longer than a part; rows of whole requests after pooling. */
Test(second_moments, sentences)
{
    enum { WORDS = 19 * 40, SENTENCES = 40 };
    static int32_t ids[WORDS];
    size_t offsets[SENTENCES + 1] = {0};
    for (size_t i = 0; i < SENTENCES; i++) {
        offsets[i + 1] = offsets[i] + i % 19 + 1;
    }
    for (size_t i = 0; i < WORDS; i++) {
        ids[i] = (int32_t)(i * 7 % 50);
    }
    dynq_model *model = samples_transformer(NULL, false);
    dynq_second_moments *moments = create(model, NULL);
    const dynq_batch batch = {
        .rows = offsets[SENTENCES], .segments = SENTENCES, .offsets = offsets};
    dynq_error error = {0};
    cr_assert_eq(run(moments, "ids", ids, sizeof ids, batch, &error), DYNQ_OK, "%s", error.message);
    size_t tokens = 0, pooled = 0;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->op != DYNQ_OP_LINEAR) {
            continue;
        }
        const dynq_node *input = &model->nodes[node->inputs[0]];
        const bool whole = input->domain == DYNQ_DOMAIN_SEGMENTS;
        matrix_of(moments, input->name, node->k, whole ? SENTENCES : offsets[SENTENCES]);
        pooled += whole;
        tokens += !whole;
    }
    cr_assert(pooled > 0 && tokens > 0);
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}

Test(second_moments, calls_that_are_wrong)
{
    dynq_model *model = make_model();
    dynq_second_moments *moments = create(model, NULL);
    const size_t disorder[] = {0, 5, 3, 9}, long_one[] = {0, 300};
    dynq_error error = {0};
    cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = 0}, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run(moments, "act", x, sizeof x, (dynq_batch){.rows = 1}, NULL),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = ROWS + 1}, &error),
                 DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "second moments:"), "%s", error.message);
    cr_assert_eq(run(moments, "x", x, sizeof x,
                     (dynq_batch){.rows = 9, .segments = 3, .offsets = disorder}, NULL),
                 DYNQ_ERR_SHAPE);
    cr_assert_eq(run(moments, "x", x, sizeof x,
                     (dynq_batch){.rows = 300, .segments = 1, .offsets = long_one}, NULL),
                 DYNQ_ERR_LIMIT);
    matrix_of(moments, "x", INPUTS, 0);
    x[5 * INPUTS] = NAN;
    cr_assert_eq(run(moments, "x", x, sizeof x, (dynq_batch){.rows = 9}, &error),
                 DYNQ_ERR_NOT_FINITE);
    dynq_second_moments_free(moments);
    const dynq_second_moments_options unknown = {.size = sizeof unknown, .kernel = "none"};
    cr_assert_eq(dynq_second_moments_create(model, &unknown, &moments, NULL), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_second_moments_create(NULL, NULL, &moments, NULL), DYNQ_ERR_ARGUMENT);
    dynq_model_free(model);
}

Test(second_moments, too_many_columns_have_no_matrix)
{
    enum { MANY = DYNQ_MAX_MOMENTS_COLUMNS + 1 };
    static float w[MANY], rows[2 * MANY];
    const dynq_tensor tensor = {DYNQ_F32, 2, {1, MANY}, w};
    dynq_graph *graph = dynq_graph_create(NULL);
    dynq_output(graph, "y", dynq_linear(graph, "fc", dynq_input(graph, "x", MANY), &tensor, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(graph, &model, NULL), DYNQ_OK);
    dynq_second_moments *moments = create(model, NULL);
    cr_assert_eq(run(moments, "x", rows, sizeof rows, (dynq_batch){.rows = 2}, NULL), DYNQ_OK);
    static const double untouched = 1.0;
    const double *matrix = &untouched;
    size_t columns = 0;
    cr_assert_eq(dynq_second_moments_get(moments, "x", &columns, NULL, &matrix), DYNQ_ERR_LIMIT);
    cr_assert_eq(columns, MANY);
    cr_assert_null(matrix);
    dynq_second_moments_free(moments);
    dynq_model_free(model);
}

Test(second_moments, any_allocation_can_fail)
{
    dynq_model *model = samples_fp32(NULL);
    static const float rows[4 * 5] = {1.0f};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status == DYNQ_ERR_MEMORY; fail_at++) {
        samples_memory memory = {.fail_at = fail_at};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_second_moments_options options = {.size = sizeof options,
                                                     .allocator = &allocator};
        dynq_second_moments *moments = NULL;
        status = dynq_second_moments_create(model, &options, &moments, NULL);
        if (status == DYNQ_OK) {
            status = run(moments, "x", rows, sizeof rows, (dynq_batch){.rows = 4}, NULL);
        }
        dynq_second_moments_free(moments);
        cr_assert_eq(atomic_load(&memory.live), 0);
    }
    cr_assert_eq(status, DYNQ_OK);
    dynq_model_free(model);
}
