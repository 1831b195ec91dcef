/* Parts of models: what they give is what the whole gives. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <string.h>

enum { ROWS = 9, SEGMENTS = 3, WIDEST = 128, MOST_VALUES = 40 };

static const size_t offsets[] = {0, 4, 5, 9};
static const int32_t ids[ROWS] = {3, 1, 4, 1, 5, 9, 2, 6, 49};

/* A value of the model, by the number of its node. */
typedef struct value {
    size_t rows, columns;
    float data[ROWS * WIDEST];
} value;

static void keep(void *context, size_t node, size_t rows, size_t columns, const float *data,
                 size_t stride)
{
    value *one = (value *)context + node;
    cr_assert(node < MOST_VALUES && columns <= WIDEST);
    one->rows = rows;
    one->columns = columns;
    for (size_t r = 0; r < rows; r++) {
        memcpy(one->data + r * columns, data + r * stride, columns * sizeof(float));
    }
}

/* Runs the model on values: those of its inputs, or the ids; every result goes to `results`. */
static void run(dynq_model *model, const dynq_model *whole, const value *values, value *results)
{
    dynq_tap taps[MOST_VALUES];
    size_t tap_count = 0, count = 0;
    dynq_binding io[MOST_VALUES];
    for (size_t i = 0; i < model->node_count; i++) {
        taps[tap_count] = (dynq_tap){model->nodes[i].name, keep, results};
        tap_count += model->nodes[i].input_count > 0;
    }
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = ROWS, .taps = taps, .tap_count = tap_count};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        const void *data = node->op == DYNQ_OP_IDS
                               ? (const void *)ids
                               : values[dynq_model_find(whole, node->name)].data;
        io[count] =
            (dynq_binding){.slot = dynq_session_slot(session, node->name),
                           .data = (void *)(uintptr_t)data,
                           .bytes = node->op == DYNQ_OP_IDS ? sizeof ids : sizeof values->data};
        count += node->input_count == 0;
    }
    static float outputs[3][ROWS * WIDEST];
    for (size_t i = 0; i < model->output_count; i++) {
        io[count++] =
            (dynq_binding){.slot = dynq_session_output_slot(session, model->outputs[i].name),
                           .data = outputs[i],
                           .bytes = sizeof outputs[i]};
    }
    const dynq_batch batch = {
        .size = sizeof batch, .rows = ROWS, .segments = SEGMENTS, .offsets = offsets};
    cr_assert_eq(dynq_session_run(session, &batch, io, count, &error), DYNQ_OK, "%s",
                 error.message);
    dynq_session_free(session);
}

/* From every node on, what depends on it: the bytes of the model. */
static void check_rest(dynq_model *model, const value *values, size_t from)
{
    static value results[MOST_VALUES];
    size_t nodes[MOST_VALUES] = {from}, count = 1;
    bool inside[MOST_VALUES] = {false};
    inside[from] = true;
    for (size_t i = from + 1; i < model->node_count; i++) {
        for (uint32_t j = 0; j < model->nodes[i].input_count; j++) {
            inside[i] = inside[i] || inside[model->nodes[i].inputs[j]];
        }
        nodes[count] = i;
        count += inside[i];
    }
    dynq_model *part = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_model_extract(model, nodes, count, &part, &error), DYNQ_OK, "%s",
                 error.message);
    run(part, model, values, results);
    for (size_t i = 0; i < count; i++) {
        const char *name = model->nodes[nodes[i]].name;
        const value *expected = &values[nodes[i]], *found = &results[dynq_model_find(part, name)];
        cr_assert(found->rows == expected->rows && found->columns == expected->columns, "%s", name);
        cr_assert(memcmp(found->data, expected->data,
                         expected->rows * expected->columns * sizeof(float)) == 0,
                  "%s from %s on", name, model->nodes[from].name);
    }
    dynq_model_free(part);
}

static void check_all(dynq_model *model)
{
    static value values[MOST_VALUES];
    run(model, model, values, values);
    for (size_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].input_count > 0) {
            check_rest(model, values, i);
        }
    }
    dynq_model_free(model);
}

Test(extract, a_part_goes_on_from_any_node)
{
    check_all(samples_transformer(NULL, true));
    check_all(samples_transformer_int8(NULL, false));
}

Test(extract, it_shares_parameters_and_names)
{
    dynq_model *model = samples_int8(NULL), *part = NULL;
    const size_t node = (size_t)dynq_model_find(model, "fc2");
    cr_assert_eq(dynq_model_extract(model, &node, 1, &part, NULL), DYNQ_OK);
    cr_assert_eq(part->nodes[dynq_model_find(part, "fc2")].packed, model->nodes[node].packed);
    dynq_model_free(model); /* the part keeps it */
    const char *name = NULL;
    cr_assert_eq(part->node_count, 2);
    cr_assert_str_eq(part->nodes[0].name, "act");
    cr_assert_eq(dynq_model_output(part, 0, &name, NULL), DYNQ_OK);
    cr_assert_str_eq(name, "fc2");
    cr_assert_eq(dynq_model_save(part, "never-written", NULL), DYNQ_ERR_UNSUPPORTED);
    dynq_model_free(part);
}

Test(extract, wrong_nodes_are_refused)
{
    dynq_model *model = samples_fp32(NULL), *part = NULL;
    const size_t input = 0, past = model->node_count, twice[] = {2, 2};
    cr_assert_eq(dynq_model_extract(model, &input, 1, &part, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_extract(model, &past, 1, &part, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_extract(model, twice, 2, &part, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_extract(model, twice, 0, &part, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_extract(NULL, twice, 1, &part, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_null(part);
    dynq_model_free(model);
}

Test(extract, every_failing_allocation_is_reported)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_model *model = samples_fp32(&allocator);
    const size_t before = memory.live, nodes[] = {2, 3};
    size_t fail_at = 0;
    for (dynq_status status = DYNQ_ERR_MEMORY; status != DYNQ_OK; fail_at++) {
        dynq_model *part = NULL;
        memory.calls = 0;
        memory.fail_at = fail_at + 1;
        status = dynq_model_extract(model, nodes, 2, &part, NULL);
        memory.fail_at = 0;
        cr_assert(status == DYNQ_OK || (status == DYNQ_ERR_MEMORY && part == NULL));
        dynq_model_free(part);
        cr_assert_eq(memory.live, before);
    }
    cr_assert_gt(fail_at, 5);
    dynq_model_free(model);
}
