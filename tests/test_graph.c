#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const float ones[64] = {1, 1, 1, 1};
static const dynq_tensor w43 = {DYNQ_F32, 2, {4, 3}, ones}; /* 3 in, 4 out */
static const dynq_tensor v4 = {DYNQ_F32, 1, {4}, ones}, v3 = {DYNQ_F32, 1, {3}, ones};

/* Finishes a builder that must fail, and looks for `text` in the message. */
static void expect(dynq_graph *g, dynq_status status, const char *text)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    const dynq_status got = dynq_graph_finish(g, &model, &error);
    cr_assert_eq(got, status, "%s instead of %s: %s", dynq_status_text(got),
                 dynq_status_text(status), error.message);
    cr_assert_eq(error.status, status);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(model);
}

Test(graph, infers_shapes_of_every_operation)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 3);
    const dynq_value fc = dynq_linear(g, "fc", x, &w43, &v4);
    const dynq_value a = dynq_gelu(g, "gelu", dynq_relu(g, "relu", fc));
    const dynq_value b = dynq_sigmoid(g, "sigmoid", dynq_tanh(g, "tanh", fc));
    const dynq_value sum = dynq_add(g, "sum", a, b);
    const dynq_value norm =
        dynq_layer_norm(g, "norm", dynq_mul(g, "product", sum, sum), &v4, &v4, 1e-5f);
    dynq_output(g, "out", dynq_softmax(g, "softmax", norm));
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &model, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_model_node_count(model), 10);
    const dynq_op ops[] = {DYNQ_OP_INPUT,      DYNQ_OP_LINEAR,  DYNQ_OP_RELU, DYNQ_OP_GELU,
                           DYNQ_OP_TANH,       DYNQ_OP_SIGMOID, DYNQ_OP_ADD,  DYNQ_OP_MUL,
                           DYNQ_OP_LAYER_NORM, DYNQ_OP_SOFTMAX};
    for (size_t i = 0; i < 10; i++) {
        dynq_node_info info = {.size = sizeof info};
        cr_assert_eq(dynq_model_node(model, i, &info), DYNQ_OK);
        cr_assert_eq(info.op, ops[i]);
        cr_assert_eq(info.k, i < 2 ? 3 : 4);
        cr_assert_eq(info.n, i < 1 ? 3 : 4);
        cr_assert_eq(info.size, sizeof info);
    }
    dynq_model_free(model);
}

Test(graph, copies_weights)
{
    float weight[12];
    samples_fill(weight, 12, 1);
    float expected[12], got[12];
    memcpy(expected, weight, sizeof weight);
    const dynq_tensor tensor = {DYNQ_F32, 2, {4, 3}, weight};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", 3), &tensor, NULL));
    memset(weight, 0, sizeof weight);
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    cr_assert_eq(dynq_model_weights(model, 1, got, 12), DYNQ_OK);
    cr_assert_eq(memcmp(got, expected, sizeof got), 0);
    dynq_model_free(model);
}

Test(graph, same_name_for_a_node_and_an_output)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "x", dynq_relu(g, "y", dynq_input(g, "x", 1)));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    dynq_model_free(model);
}

Test(graph, keeps_the_first_error)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 5);
    dynq_value y = dynq_linear(g, "first", x, &w43, &v4); /* 5 columns into 3 */
    y = dynq_linear(g, "", y, NULL, NULL);
    y = dynq_add(g, NULL, y, dynq_mul(g, "x", y, y));
    y = dynq_layer_norm(g, "norm", y, NULL, NULL, NAN);
    dynq_output(g, NULL, y);
    expect(g, DYNQ_ERR_SHAPE, "'first'");
}

Test(graph, names)
{
    char longest[DYNQ_MAX_NAME + 2];
    memset(longest, 'n', sizeof longest);
    longest[DYNQ_MAX_NAME] = '\0';
    const char *good[] = {"a",        " ",    "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                          "\xc2\xa0", longest};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        dynq_graph *g = dynq_graph_create(NULL);
        dynq_output(g, good[i], dynq_input(g, good[i], 1));
        dynq_model *model = NULL;
        cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK, "name %zu", i);
        dynq_model_free(model);
    }
    const char *bad[] = {NULL,   "",         "a\n",          "\x7f",         "\x80",
                         "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                         "\xff", "\xc2\x85", "\xe2\x80\xa8"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dynq_graph *g = dynq_graph_create(NULL);
        dynq_input(g, bad[i], 1);
        expect(g, DYNQ_ERR_ARGUMENT, "node 0");
        g = dynq_graph_create(NULL);
        dynq_output(g, bad[i], dynq_input(g, "x", 1));
        expect(g, DYNQ_ERR_ARGUMENT, "output 0");
    }
    longest[DYNQ_MAX_NAME] = 'n';
    longest[DYNQ_MAX_NAME + 1] = '\0';
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_input(g, longest, 1);
    expect(g, DYNQ_ERR_LIMIT, "255");
}

Test(graph, names_are_unique)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_relu(g, "x", dynq_input(g, "x", 1));
    expect(g, DYNQ_ERR_ARGUMENT, "'x'");
    g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 1);
    dynq_output(g, "y", x);
    dynq_output(g, "y", x);
    expect(g, DYNQ_ERR_ARGUMENT, "'y'");
}

Test(graph, columns)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_input(g, "x", 0));
    expect(g, DYNQ_ERR_SHAPE, "'x'");
    g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_input(g, "x", (size_t)DYNQ_MAX_COLUMNS + 1));
    expect(g, DYNQ_ERR_LIMIT, "'x'");
    g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_input(g, "x", SIZE_MAX));
    expect(g, DYNQ_ERR_LIMIT, "'x'");
    g = dynq_graph_create(NULL);
    const dynq_tensor wide = {DYNQ_F32, 2, {SIZE_MAX / 2, 3}, ones};
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", 3), &wide, NULL));
    expect(g, DYNQ_ERR_LIMIT, "'fc'");
    g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_add(g, "sum", dynq_input(g, "a", 3), dynq_input(g, "b", 4)));
    expect(g, DYNQ_ERR_SHAPE, "'sum'");
}

/* x(3) -> fc with these tensors. */
static dynq_graph *with_linear(const dynq_tensor *weight, const dynq_tensor *bias)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", 3), weight, bias));
    return g;
}

Test(graph, tensors)
{
    expect(with_linear(NULL, NULL), DYNQ_ERR_ARGUMENT, "weight");
    const dynq_tensor no_data = {DYNQ_F32, 2, {4, 3}, NULL};
    expect(with_linear(&no_data, NULL), DYNQ_ERR_ARGUMENT, "weight");
    const dynq_tensor integers = {DYNQ_I32, 2, {4, 3}, ones};
    expect(with_linear(&integers, NULL), DYNQ_ERR_TYPE, "weight");
    expect(with_linear(&v3, NULL), DYNQ_ERR_SHAPE, "weight");
    const dynq_tensor none = {DYNQ_F32, 2, {0, 3}, ones};
    expect(with_linear(&none, NULL), DYNQ_ERR_SHAPE, "'fc'");
    expect(with_linear(&w43, &v3), DYNQ_ERR_SHAPE, "bias");
    expect(with_linear(&w43, &w43), DYNQ_ERR_SHAPE, "bias");
    const dynq_tensor bytes = {DYNQ_U8, 1, {4}, ones};
    expect(with_linear(&w43, &bytes), DYNQ_ERR_TYPE, "bias");
}

Test(graph, numbers_that_are_not_finite)
{
    float weight[12] = {0}, bias[4] = {0};
    const dynq_tensor w = {DYNQ_F32, 2, {4, 3}, weight}, b = {DYNQ_F32, 1, {4}, bias};
    weight[7] = NAN;
    expect(with_linear(&w, &b), DYNQ_ERR_NOT_FINITE, "'fc': weight[2][1] is NaN");
    weight[7] = 0;
    bias[3] = -INFINITY;
    expect(with_linear(&w, &b), DYNQ_ERR_NOT_FINITE, "'fc': bias[3] is Inf");
    const struct {
        const dynq_tensor *gain, *shift;
        float epsilon;
        dynq_status status;
        const char *text;
    } cases[] = {{&v4, &b, 1, DYNQ_ERR_NOT_FINITE, "bias[3]"},
                 {&b, &v4, 1, DYNQ_ERR_NOT_FINITE, "weight[3]"},
                 {&v4, &v4, NAN, DYNQ_ERR_NOT_FINITE, "epsilon"},
                 {&v4, &v4, INFINITY, DYNQ_ERR_NOT_FINITE, "epsilon"},
                 {&v4, &v4, -1, DYNQ_ERR_ARGUMENT, "epsilon"},
                 {&v4, NULL, 1, DYNQ_ERR_ARGUMENT, "bias"},
                 {NULL, &v4, 1, DYNQ_ERR_ARGUMENT, "weight"},
                 {&v3, &v4, 1, DYNQ_ERR_SHAPE, "weight"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dynq_graph *g = dynq_graph_create(NULL);
        dynq_output(g, "y",
                    dynq_layer_norm(g, "norm", dynq_input(g, "x", 4), cases[i].gain, cases[i].shift,
                                    cases[i].epsilon));
        expect(g, cases[i].status, cases[i].text);
    }
}

Test(graph, whole_graph)
{
    expect(dynq_graph_create(NULL), DYNQ_ERR_ARGUMENT, "no input");
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_input(g, "x", 1);
    expect(g, DYNQ_ERR_ARGUMENT, "no output");
    g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_input(g, "x", 1));
    dynq_input(g, "unused", 1);
    expect(g, DYNQ_ERR_ARGUMENT, "'unused'");
    g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 1);
    dynq_relu(g, "dead end", x);
    dynq_output(g, "y", x);
    expect(g, DYNQ_ERR_ARGUMENT, "'dead end'");
}

Test(graph, values_of_other_builders)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_relu(g, "y", (dynq_value){7});
    expect(g, DYNQ_ERR_ARGUMENT, "'y'");
    g = dynq_graph_create(NULL);
    dynq_input(g, "x", 1);
    dynq_output(g, "y", (dynq_value){1});
    expect(g, DYNQ_ERR_ARGUMENT, "'y'");
}

Test(graph, without_a_builder)
{
    dynq_model *model = NULL;
    dynq_output(NULL, "y", dynq_linear(NULL, "fc", dynq_input(NULL, "x", 1), &w43, NULL));
    dynq_graph_free(NULL);
    cr_assert_eq(dynq_graph_finish(NULL, &model, NULL), DYNQ_ERR_MEMORY);
    cr_assert_eq(dynq_graph_finish(dynq_graph_create(NULL), NULL, NULL), DYNQ_ERR_ARGUMENT);
}

Test(graph, abandoned)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_graph *g = dynq_graph_create(&allocator);
    dynq_linear(g, "fc", dynq_input(g, "x", 3), &w43, &v4);
    dynq_graph_free(g);
    cr_assert_gt(memory.calls, 0);
    cr_assert_eq(memory.live, 0);
}

Test(graph, every_allocation_can_fail)
{
    for (size_t n = 1;; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_model *model = samples_fp32(&allocator);
        const bool failed = memory.calls >= n;
        cr_assert_eq(model == NULL, failed, "allocation %zu", n);
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0, "allocation %zu leaks", n);
        if (!failed) {
            cr_assert_gt(n, 15);
            break;
        }
    }
}
