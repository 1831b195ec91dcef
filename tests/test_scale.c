/* The scale operation: each column times a number of its own. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 21, ROWS = 70 };

static float factors[COLUMNS], x[ROWS * COLUMNS];

static dynq_model *make_model(const dynq_tensor *weight, dynq_status status, const char *text)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_scale(g, "scaled", dynq_input(g, "x", COLUMNS), weight));
    cr_assert_eq(dynq_graph_finish(g, &model, &error), status, "%s", error.message);
    cr_assert(text == NULL || strstr(error.message, text) != NULL, "'%s' is not in: %s", text,
              error.message);
    return model;
}

static void check_products(dynq_model *model)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS};
    const dynq_batch batch = {.size = sizeof batch, .rows = ROWS};
    float y[ROWS * COLUMNS];
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    const dynq_binding io[] = {{dynq_session_slot(session, "x"), x, sizeof x, 0},
                               {dynq_session_slot(session, "y"), y, sizeof y, 0}};
    cr_assert_eq(dynq_session_run(session, &batch, io, 2, NULL), DYNQ_OK);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        cr_assert_eq(y[i], x[i] * factors[i % COLUMNS]);
    }
    dynq_session_free(session);
}

Test(scale, products)
{
    const dynq_tensor weight = {DYNQ_F32, 1, {COLUMNS}, factors};
    samples_fill(factors, COLUMNS, 1);
    samples_fill(x, ROWS * COLUMNS, 2);
    dynq_model *model = make_model(&weight, DYNQ_OK, NULL), *opened = NULL, *int8 = NULL;
    check_products(model);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &opened, NULL), DYNQ_OK);
    check_products(opened);
    cr_assert_eq(dynq_quantize(opened, NULL, &int8, NULL), DYNQ_OK);
    check_products(int8);
    dynq_node_info info = {.size = sizeof info};
    cr_assert_eq(dynq_model_node(opened, 1, &info), DYNQ_OK);
    cr_assert_eq(info.op, DYNQ_OP_SCALE);
    cr_assert_eq(info.parameters, COLUMNS);
    cr_assert_str_eq(dynq_op_name(info.op), "scale");
    dynq_model_free(int8);
    dynq_model_free(opened);
    dynq_model_free(model);
    free(bytes);
}

Test(scale, refuses)
{
    const dynq_tensor few = {DYNQ_F32, 1, {COLUMNS - 1}, factors},
                      square = {DYNQ_F32, 2, {COLUMNS, 1}, factors},
                      whole = {DYNQ_F32, 1, {COLUMNS}, factors};
    make_model(NULL, DYNQ_ERR_ARGUMENT, "NULL");
    make_model(&few, DYNQ_ERR_SHAPE, "scaled");
    make_model(&square, DYNQ_ERR_SHAPE, "rank 2");
    factors[4] = NAN;
    make_model(&whole, DYNQ_ERR_NOT_FINITE, "scaled");
}
