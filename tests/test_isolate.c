/* Nodes on inputs of their own, and the headroom of their sums. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 11, SEGMENTS = 3, WIDTH = 32 };

static const size_t offsets[] = {0, 4, 5, 11};

static dynq_model *isolate(dynq_model *model)
{
    dynq_model *isolated = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_model_isolate(model, &isolated, &error), DYNQ_OK, "%s", error.message);
    return isolated;
}

static dynq_node_info info_of(const dynq_model *model, const char *name)
{
    dynq_node_info info = {.size = sizeof info};
    const long index = dynq_model_find(model, name);
    cr_assert_eq(dynq_model_node(model, (size_t)index, &info), DYNQ_OK, "%s", name);
    return info;
}

Test(isolate, shares_parameters_and_inputs)
{
    dynq_model *model = samples_transformer_int8(NULL, false);
    dynq_model *isolated = isolate(model);
    dynq_model_free(model); /* the isolated one keeps it */
    size_t inputs = 0, outputs = dynq_model_output_count(isolated);
    for (size_t i = 0; i < isolated->node_count; i++) {
        const dynq_node *node = &isolated->nodes[i];
        inputs += node->input_count == 0;
        if (node->op == DYNQ_OP_LINEAR) {
            const char *name = NULL;
            cr_assert_eq(dynq_model_output(isolated, i - inputs, &name, NULL), DYNQ_OK);
            const long source = dynq_model_find(isolated->parent, name);
            cr_assert_eq(node->packed, isolated->parent->nodes[source].packed);
        }
    }
    /* words, 2 layers of q, k, v, heads, out, fc1 and fc2, pooler; not the positions */
    cr_assert_eq(outputs, 1 + 2 * 7 + 1);
    /* ids; in each layer one for q, k and v together, theirs for heads, and three more; first */
    cr_assert_eq(inputs, 1 + 2 * (1 + 3 + 3) + 1);
    cr_assert_eq(info_of(isolated, "first").domain, DYNQ_DOMAIN_SEGMENTS);
    cr_assert_eq(info_of(isolated, "ids").op, DYNQ_OP_IDS);
    cr_assert_eq(info_of(isolated, "l0.q").op, DYNQ_OP_INPUT);
    cr_assert_eq(isolated->attachment_count, 0);
    dynq_model_free(isolated);
}

Test(isolate, a_model_in_fp32_has_nothing_to_isolate)
{
    dynq_model *model = samples_fp32(NULL);
    dynq_model *isolated = NULL;
    cr_assert_eq(dynq_model_isolate(model, &isolated, NULL), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_model_isolate(NULL, &isolated, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_isolate(model, NULL, NULL), DYNQ_ERR_ARGUMENT);
    cr_assert_null(isolated);
    dynq_model_free(model);
}

Test(isolate, it_cannot_be_saved)
{
    char directory[64], path[80];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/m", directory);
    dynq_model *model = samples_int8(NULL);
    dynq_model *isolated = isolate(model);
    dynq_error error = {0};
    cr_assert_eq(dynq_model_save(isolated, path, &error), DYNQ_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(error.message, "isolated"));
    cr_assert_eq(samples_remove(directory), 0);
    dynq_model_free(isolated);
    dynq_model_free(model);
}

Test(isolate, every_failing_allocation_is_reported)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_model *model = samples_int8(&allocator);
    const size_t before = memory.live, calls = memory.calls;
    size_t fail_at = 0;
    for (dynq_status status = DYNQ_ERR_MEMORY; status != DYNQ_OK; fail_at++) {
        dynq_model *isolated = NULL;
        memory.calls = 0;
        memory.fail_at = fail_at + 1;
        status = dynq_model_isolate(model, &isolated, NULL);
        memory.fail_at = 0;
        cr_assert(status == DYNQ_OK || (status == DYNQ_ERR_MEMORY && isolated == NULL));
        dynq_model_free(isolated);
        cr_assert_eq(memory.live, before);
    }
    cr_assert(fail_at > 5 && calls > 0);
    dynq_model_free(model);
}

/* What a tap saw in the model. */
typedef struct seen {
    const char *name;
    size_t rows, columns;
    float values[ROWS * 64];
} seen;

static void keep(void *context, size_t node, size_t rows, size_t columns, const float *data,
                 size_t stride)
{
    seen *all = context;
    (void)node;
    cr_assert_leq(rows * columns, sizeof all->values / sizeof(float));
    all->rows = rows;
    all->columns = columns;
    for (size_t r = 0; r < rows; r++) {
        memcpy(all->values + r * columns, data + r * stride, columns * sizeof(float));
    }
}

static seen *run_tapped(dynq_model *model, dynq_scope scope, uint32_t threads, const int32_t *ids)
{
    const size_t count = dynq_model_node_count(model);
    seen *all = calloc(count, sizeof *all);
    dynq_tap *taps = calloc(count, sizeof *taps);
    for (size_t i = 0; i < count; i++) {
        all[i].name = model->nodes[i].name;
        taps[i] = (dynq_tap){.node = all[i].name, .function = keep, .context = &all[i]};
    }
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = ROWS,
                                          .threads = threads,
                                          .scope = scope,
                                          .taps = taps,
                                          .tap_count = count};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    float tokens[ROWS * WIDTH], sentence[SEGMENTS * WIDTH], pooled[SEGMENTS * WIDTH];
    const dynq_binding io[] = {
        {dynq_session_slot(session, "ids"), (void *)(uintptr_t)ids, ROWS * sizeof *ids, 0},
        {dynq_session_output_slot(session, "tokens"), tokens, sizeof tokens, 0},
        {dynq_session_output_slot(session, "sentence"), sentence, sizeof sentence, 0},
        {dynq_session_output_slot(session, "pooled"), pooled, sizeof pooled, 0}};
    const dynq_batch batch = {
        .size = sizeof batch, .rows = ROWS, .segments = SEGMENTS, .offsets = offsets};
    cr_assert_eq(dynq_session_run(session, &batch, io, 4, NULL), DYNQ_OK);
    dynq_session_free(session);
    free(taps);
    return all;
}

/* Fed with what the nodes of the model read, isolated nodes give what the model's do: the same
 * bytes, whatever the scope and the threads. */
static void check_against_taps(dynq_scope scope, uint32_t threads, bool causal)
{
    dynq_model *model = samples_transformer_int8(NULL, causal), *isolated = isolate(model);
    const int32_t ids[ROWS] = {3, 1, 4, 1, 5, 9, 2, 6, 49, 0, 7};
    seen *values = run_tapped(model, scope, threads, ids);
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = ROWS, .threads = threads, .scope = scope};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(isolated, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    dynq_binding *io = calloc(isolated->node_count, sizeof *io);
    size_t inputs = 0;
    while (isolated->nodes[inputs].input_count == 0) {
        const char *name = isolated->nodes[inputs].name;
        seen *value = &values[dynq_model_find(model, name)];
        io[inputs] = (dynq_binding){.slot = dynq_session_slot(session, name),
                                    .data = value->values,
                                    .bytes = value->rows * value->columns * sizeof(float)};
        if (strcmp(name, "ids") == 0) {
            io[inputs].data = (void *)(uintptr_t)ids;
            io[inputs].bytes = sizeof ids;
        }
        inputs++;
    }
    for (size_t i = 0; i < isolated->output_count; i++) {
        const size_t n = isolated->nodes[isolated->outputs[i].node].n;
        io[inputs + i] =
            (dynq_binding){.slot = dynq_session_output_slot(session, isolated->outputs[i].name),
                           .data = calloc(ROWS * n, sizeof(float)),
                           .bytes = ROWS * n * sizeof(float)};
    }
    const dynq_batch batch = {
        .size = sizeof batch, .rows = ROWS, .segments = SEGMENTS, .offsets = offsets};
    cr_assert_eq(dynq_session_run(session, &batch, io, isolated->node_count, &error), DYNQ_OK, "%s",
                 error.message);
    for (size_t i = 0; i < isolated->output_count; i++) {
        const char *name = isolated->outputs[i].name;
        const seen *expected = &values[dynq_model_find(model, name)];
        const size_t bytes = expected->rows * expected->columns * sizeof(float);
        cr_assert(bytes > 0 && memcmp(io[inputs + i].data, expected->values, bytes) == 0,
                  "node %s, scope %d, %u threads", name, (int)scope, threads);
        free(io[inputs + i].data);
    }
    free(io);
    free(values);
    dynq_session_free(session);
    dynq_model_free(isolated);
    dynq_model_free(model);
}

Test(isolate, nodes_compute_what_they_do_in_the_model)
{
    for (uint32_t threads = 1; threads <= 2; threads++) {
        check_against_taps(0, threads, false);
        check_against_taps(DYNQ_SCOPE_TENSOR, threads, true);
        check_against_taps(DYNQ_SCOPE_ROW, threads, false);
    }
}

/* ---- headroom ---- */

/* One linear layer with weights 127 and -127 in its first column, so that codes are known. */
static dynq_model *layer(dynq_range_kind kind, dynq_scheme scheme, float lo, float hi)
{
    const float weights[] = {127.0f, 100.0f, -50.0f, -127.0f, 3.0f, 2.0f};
    const dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {2, 3}, .data = weights};
    const float rows[] = {lo, hi, 0.0f};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", 3), &w, NULL));
    dynq_model *model = NULL, *quantized = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    cr_assert_eq(dynq_calibration_run(calibration, model, rows, 1, 0, 1, NULL), DYNQ_OK);
    const dynq_quantize_options options = {
        .size = sizeof options, .range = kind, .scheme = scheme, .calibration = calibration};
    cr_assert_eq(dynq_quantize(model, &options, &quantized, NULL), DYNQ_OK);
    dynq_calibration_free(calibration);
    dynq_model_free(model);
    return quantized;
}

static uint64_t largest(dynq_range_kind kind, dynq_scheme scheme, float lo, float hi)
{
    dynq_model *model = layer(kind, scheme, lo, hi);
    uint64_t sum = 0;
    double bits = 0;
    cr_assert_eq(dynq_model_headroom(model, 1, &sum, &bits), DYNQ_OK);
    cr_assert_float_eq(bits, 31.0 - log2((double)sum), 1e-12);
    dynq_model_free(model);
    return sum;
}

Test(isolate, headroom_is_the_largest_sum)
{
    /* columns: codes 127, 100, -50 and -127, 3, 2 */
    cr_assert_eq(largest(DYNQ_RANGE_DYNAMIC, DYNQ_SCHEME_AFFINE, -1, 1), 255 * 227);
    cr_assert_eq(largest(DYNQ_RANGE_DYNAMIC, DYNQ_SCHEME_SYMMETRIC, -1, 1), 127 * 277);
    cr_assert_eq(largest(DYNQ_RANGE_STATIC, DYNQ_SCHEME_SYMMETRIC, -1, 1), 127 * 277);
    cr_assert_eq(largest(DYNQ_RANGE_STATIC, DYNQ_SCHEME_AFFINE, 0, 1), 255 * 227);
    /* z = 51: codes reach from -51 to 204 */
    cr_assert_eq(largest(DYNQ_RANGE_STATIC, DYNQ_SCHEME_AFFINE, -1, 4), 204 * 227 + 51 * 50);
    /* z = 204 */
    cr_assert_eq(largest(DYNQ_RANGE_STATIC, DYNQ_SCHEME_AFFINE, -4, 1), 204 * 227 + 51 * 50);
}

Test(isolate, headroom_is_for_int8_layers)
{
    dynq_model *model = samples_int8(NULL);
    double bits = 0;
    cr_assert_eq(dynq_model_headroom(model, 0, NULL, &bits), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_headroom(model, 99, NULL, &bits), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_headroom(NULL, 0, NULL, &bits), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_headroom(model, (size_t)dynq_model_find(model, "fc1"), NULL, NULL),
                 DYNQ_OK);
    dynq_model_free(model);
}
