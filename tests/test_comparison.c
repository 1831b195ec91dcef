/* Variants beside a reference: along the chain and node by node. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, BATCH = 8, COLUMNS = 5, HIDDEN = 18, CLASSES = 7 };

static dynq_comparison *compare(const dynq_variant *variants, size_t count, uint32_t threads,
                                const dynq_allocator *allocator)
{
    const dynq_comparison_options options = {
        .size = sizeof options, .max_rows = BATCH, .threads = threads, .allocator = allocator};
    dynq_comparison *comparison = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_comparison_create(variants, count, &options, &comparison, &error), DYNQ_OK,
                 "%s", error.message);
    return comparison;
}

/* All rows in batches without segments. */
static void run_rows(dynq_comparison *comparison, const float *x)
{
    for (size_t first = 0; first < ROWS; first += BATCH) {
        const dynq_batch batch = {.size = sizeof batch, .rows = BATCH};
        const dynq_binding input = {.slot = dynq_comparison_slot(comparison, "x"),
                                    .data = (void *)(uintptr_t)(x + first * COLUMNS),
                                    .bytes = BATCH * COLUMNS * sizeof(float)};
        dynq_error error = {0};
        cr_assert_eq(dynq_comparison_run(comparison, &batch, &input, 1, &error), DYNQ_OK, "%s",
                     error.message);
    }
}

static dynq_comparison_node node_of(const dynq_comparison *comparison, size_t variant,
                                    const char *name)
{
    dynq_comparison_node node = {.size = sizeof node};
    for (size_t i = 0; i < dynq_comparison_node_count(comparison, variant); i++) {
        cr_assert_eq(dynq_comparison_get(comparison, variant, i, &node), DYNQ_OK);
        if (strcmp(node.name, name) == 0) {
            return node;
        }
    }
    cr_assert_fail("there is no node %s", name);
    return node;
}

static bool same(const dynq_metrics *a, const dynq_metrics *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* What the layers of a model read and compute, from a tap. */
typedef struct column {
    float values[ROWS * HIDDEN];
    size_t count;
} column;

static void keep(void *context, size_t node, size_t rows, size_t columns, const float *data,
                 size_t stride)
{
    column *all = context;
    (void)node;
    for (size_t r = 0; r < rows; r++) {
        cr_assert_leq(all->count + columns, sizeof all->values / sizeof(float));
        memcpy(all->values + all->count, data + r * stride, columns * sizeof(float));
        all->count += columns;
    }
}

/* Runs the batches of run_rows() and keeps one node's values, and an output's. */
static void run_model(dynq_model *model, const char *input, const float *x, size_t columns,
                      const char *node, column *seen)
{
    const dynq_tap tap = {.node = node, .function = keep, .context = seen};
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = BATCH, .taps = &tap, .tap_count = 1};
    dynq_session *session = NULL;
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    static float results[2][ROWS * HIDDEN];
    const size_t outputs = dynq_model_output_count(model);
    dynq_binding io[3] = {{.slot = dynq_session_slot(session, input)}};
    for (size_t i = 0; i < outputs; i++) {
        const char *name = NULL;
        dynq_model_output(model, i, &name, NULL);
        io[1 + i] = (dynq_binding){dynq_session_output_slot(session, name), results[i],
                                   sizeof results[i], 0};
    }
    for (size_t first = 0; first < ROWS; first += BATCH) {
        const dynq_batch batch = {.size = sizeof batch, .rows = BATCH};
        io[0].data = (void *)(uintptr_t)(x + first * columns);
        io[0].bytes = BATCH * columns * sizeof(float);
        cr_assert_eq(dynq_session_run(session, &batch, io, 1 + outputs, NULL), DYNQ_OK);
    }
    dynq_session_free(session);
}

static dynq_metrics errors_of(const column *reference, const column *value, size_t columns)
{
    dynq_metrics metrics = {0};
    cr_assert_eq(reference->count, value->count);
    dynq_metrics_add(&metrics, value->count / columns, columns, reference->values, 0, value->values,
                     0);
    return metrics;
}

/* fc2 of `model` as a model of its own, quantized in the same way. */
static dynq_model *make_fc2_alone(const dynq_model *model, const dynq_quantize_options *options)
{
    float weights[CLASSES * HIDDEN];
    const size_t fc2 = (size_t)dynq_model_find(model, "fc2");
    cr_assert_eq(dynq_model_weights(model, fc2, weights, CLASSES * HIDDEN), DYNQ_OK);
    const dynq_tensor w = {
        .dtype = DYNQ_F32, .rank = 2, .shape = {CLASSES, HIDDEN}, .data = weights};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc2", dynq_input(g, "h", HIDDEN), &w, NULL));
    dynq_model *alone = NULL, *quantized = NULL;
    cr_assert_eq(dynq_graph_finish(g, &alone, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(alone, options, &quantized, NULL), DYNQ_OK);
    dynq_model_free(alone);
    return quantized;
}

Test(comparison, errors_along_the_chain_and_alone)
{
    const dynq_quantize_options options = {.size = sizeof options};
    dynq_model *fp32 = samples_fp32(NULL), *int8 = NULL;
    cr_assert_eq(dynq_quantize(fp32, &options, &int8, NULL), DYNQ_OK);
    float x[ROWS * COLUMNS];
    samples_fill(x, ROWS * COLUMNS, 5);
    const dynq_variant variants[] = {{.size = sizeof *variants, .model = fp32},
                                     {.size = sizeof *variants, .model = int8}};
    dynq_comparison *comparison = compare(variants, 2, 1, NULL);
    run_rows(comparison, x);
    static column h, expected, chain, own;
    run_model(fp32, "x", x, COLUMNS, "act", &h);
    run_model(fp32, "x", x, COLUMNS, "fc2", &expected);
    run_model(int8, "x", x, COLUMNS, "fc2", &chain);
    dynq_model *alone = make_fc2_alone(fp32, &options);
    run_model(alone, "h", h.values, HIDDEN, "fc2", &own);
    const dynq_comparison_node fc2 = node_of(comparison, 1, "fc2");
    const dynq_metrics chain_errors = errors_of(&expected, &chain, CLASSES);
    const dynq_metrics own_errors = errors_of(&expected, &own, CLASSES);
    cr_assert(same(&fc2.chain, &chain_errors) && same(&fc2.own, &own_errors));
    cr_assert(own_errors.noise > 0 && own_errors.noise < chain_errors.noise);
    cr_assert_eq(fc2.node, (size_t)dynq_model_find(int8, "fc2"));
    cr_assert_eq(fc2.reference, (size_t)dynq_model_find(fp32, "fc2"));
    /* fc1 reads the input, which nobody has changed before. */
    const dynq_comparison_node fc1 = node_of(comparison, 1, "fc1");
    cr_assert(same(&fc1.own, &fc1.chain) && fc1.own.rows == ROWS && fc1.own.noise > 0);
    /* Nothing of their own: nodes in FP32, and the reference. */
    cr_assert_eq(node_of(comparison, 1, "act").own.rows, 0);
    cr_assert_eq(node_of(comparison, 1, "norm").own.rows, 0);
    cr_assert_eq(node_of(comparison, 0, "fc1").own.rows, 0);
    cr_assert_eq(node_of(comparison, 0, "fc2").chain.noise, 0);
    cr_assert_eq(node_of(comparison, 0, "fc2").chain.signal, chain_errors.signal);
    cr_assert_eq(node_of(comparison, 1, "fc1").inputs, 0); /* a dynamic range has no limits */
    dynq_comparison_free(comparison);
    dynq_model_free(alone);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

/* x(5) -> a(1100) -> b(1100) -> c(1100) -> d(7). */
static dynq_model *make_wide(void)
{
    enum { WIDE = 1100 };
    float *weights = malloc(sizeof *weights * WIDE * WIDE);
    cr_assert(weights != NULL);
    samples_fill(weights, (size_t)WIDE * WIDE, 6);
    static const char *const names[] = {"a", "b", "c", "d"};
    const size_t columns[] = {COLUMNS, WIDE, WIDE, WIDE, CLASSES};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_value value = dynq_input(g, "x", COLUMNS);
    for (size_t i = 0; i < 4; i++) {
        const dynq_tensor w = {
            .dtype = DYNQ_F32, .rank = 2, .shape = {columns[i + 1], columns[i]}, .data = weights};
        value = dynq_linear(g, names[i], value, &w, NULL);
    }
    dynq_output(g, "y", value);
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    free(weights);
    return model;
}

/* Wide nodes run alone in several groups; where all others are FP32 there is one. */
Test(comparison, errors_alone_do_not_depend_on_the_others)
{
    static const char *const names[] = {"b", "c", "d"};
    dynq_model *fp32 = make_wide(), *models[4] = {NULL};
    dynq_variant variants[5] = {{.size = sizeof *variants, .model = fp32}};
    for (size_t i = 0; i < 4; i++) {
        const dynq_quantize_rule rules[] = {
            {.pattern = "*", .precision = i == 0 ? DYNQ_PRECISION_INT8 : DYNQ_PRECISION_FP32},
            {.pattern = i == 0 ? "*" : names[i - 1], .precision = DYNQ_PRECISION_INT8}};
        const dynq_quantize_options options = {
            .size = sizeof options, .rules = rules, .rule_count = 2};
        cr_assert_eq(dynq_quantize(fp32, &options, &models[i], NULL), DYNQ_OK);
        variants[i + 1] = (dynq_variant){.size = sizeof *variants, .model = models[i]};
    }
    float x[ROWS * COLUMNS];
    samples_fill(x, ROWS * COLUMNS, 5);
    dynq_comparison *comparison = compare(variants, 5, 1, NULL);
    run_rows(comparison, x);
    for (size_t i = 0; i < 3; i++) {
        const dynq_comparison_node together = node_of(comparison, 1, names[i]);
        const dynq_comparison_node single = node_of(comparison, i + 2, names[i]);
        cr_assert(together.own.rows == ROWS && together.own.noise > 0);
        cr_assert(same(&together.own, &single.own), "%s", names[i]);
    }
    dynq_comparison_free(comparison);
    for (size_t i = 0; i < 4; i++) {
        dynq_model_free(models[i]);
    }
    dynq_model_free(fp32);
}

Test(comparison, outputs)
{
    dynq_model *fp32 = samples_fp32(NULL), *int8 = samples_int8(NULL);
    float x[ROWS * COLUMNS];
    samples_fill(x, ROWS * COLUMNS, 6);
    const dynq_variant variants[] = {{.size = sizeof *variants, .model = fp32, .output = "p"},
                                     {.size = sizeof *variants, .model = int8, .output = "p"}};
    dynq_comparison *comparison = compare(variants, 2, 1, NULL);
    run_rows(comparison, x);
    static column expected, value;
    run_model(fp32, "x", x, COLUMNS, "p", &expected);
    run_model(int8, "x", x, COLUMNS, "p", &value);
    dynq_metrics errors = errors_of(&expected, &value, CLASSES);
    dynq_metrics_add_classes(&errors, DYNQ_SCORES_PROBABILITIES, ROWS, CLASSES, expected.values, 0,
                             value.values, 0);
    const dynq_metrics measured = dynq_comparison_metrics(comparison, 1);
    cr_assert(same(&measured, &errors) && errors.noise > 0 && errors.divergence_max > 0);
    size_t rows = 0, columns = 0;
    const float *last = dynq_comparison_output(comparison, 1, &rows, &columns);
    cr_assert(rows == BATCH && columns == CLASSES);
    cr_assert_eq(
        memcmp(last, value.values + (ROWS - BATCH) * CLASSES, BATCH * CLASSES * sizeof *last), 0);
    cr_assert_null(dynq_comparison_output(comparison, 2, NULL, NULL));
    cr_assert_eq(dynq_comparison_metrics(comparison, 2).rows, 0);
    cr_assert_eq(dynq_comparison_node_count(comparison, 2), 0);
    dynq_comparison_node node = {.size = sizeof node};
    cr_assert_eq(dynq_comparison_get(comparison, 1, 5, &node), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_comparison_get(comparison, 2, 0, &node), DYNQ_ERR_ARGUMENT);
    dynq_comparison_free(comparison);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

Test(comparison, counts_what_is_outside_of_limits_and_what_was_seen)
{
    dynq_model *fp32 = samples_fp32(NULL), *int8 = samples_int8(NULL);
    float x[ROWS * COLUMNS];
    samples_fill(x, ROWS * COLUMNS, 7);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        x[i] *= 2.0f; /* the range of fc1 is from numbers below 1 */
    }
    const dynq_variant variants[] = {{.size = sizeof *variants, .model = fp32},
                                     {.size = sizeof *variants, .model = int8}};
    dynq_comparison *comparison = compare(variants, 2, 1, NULL);
    run_rows(comparison, x);
    const dynq_comparison_node fc1 = node_of(comparison, 1, "fc1");
    const dynq_range_rule *rule = &int8->nodes[fc1.node].range;
    uint64_t outside = 0;
    float lowest = 0, highest = 0;
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        outside += x[i] < rule->lo || x[i] > rule->hi;
        lowest = fminf(lowest, x[i]);
        highest = fmaxf(highest, x[i]);
    }
    cr_assert(outside > 0 && outside < ROWS * COLUMNS);
    cr_assert(fc1.outside == outside && fc1.inputs == ROWS * COLUMNS);
    const dynq_calibration *seen = dynq_comparison_seen(comparison);
    dynq_calibration_entry entry = {.size = sizeof entry};
    cr_assert_eq(dynq_calibration_count(seen), 2);
    cr_assert_eq(dynq_calibration_get(seen, 0, &entry), DYNQ_OK);
    cr_assert(strcmp(entry.value, "x") == 0 && entry.rows == ROWS);
    cr_assert(entry.min == lowest && entry.max == highest);
    dynq_comparison_free(comparison);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

/* ---- several inputs ---- */

static dynq_model *make_gated(size_t first, size_t second)
{
    float weights[64];
    samples_fill(weights, 64, 3);
    const dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {4, first}, .data = weights};
    const dynq_tensor u = {
        .dtype = DYNQ_F32, .rank = 2, .shape = {4, second}, .data = weights + 32};
    const dynq_tensor v = {.dtype = DYNQ_F32, .rank = 2, .shape = {3, 4}, .data = weights + 9};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value a = dynq_input(g, "a", first), b = dynq_input(g, "b", second);
    const dynq_value both =
        dynq_mul(g, "both", dynq_linear(g, "from a", a, &w, NULL),
                 dynq_sigmoid(g, "gate", dynq_linear(g, "from b", b, &u, NULL)));
    dynq_output(g, "y", dynq_linear(g, "last", both, &v, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

Test(comparison, several_inputs)
{
    enum { FIRST = 6, SECOND = 3, WIDE = 8 };
    dynq_model *fp32 = make_gated(FIRST, SECOND), *int8 = NULL;
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, NULL), DYNQ_OK);
    const dynq_variant variants[] = {
        {.size = sizeof *variants, .model = fp32},
        {.size = sizeof *variants, .model = int8, .scope = DYNQ_SCOPE_ROW}};
    dynq_comparison *comparison = compare(variants, 2, 1, NULL);
    float a[BATCH * FIRST], b[BATCH * WIDE];
    samples_fill(a, BATCH * FIRST, 1);
    samples_fill(b, BATCH * WIDE, 2);
    const dynq_batch batch = {.size = sizeof batch, .rows = BATCH};
    const dynq_binding io[] = {{dynq_comparison_slot(comparison, "b"), b, sizeof b, WIDE},
                               {dynq_comparison_slot(comparison, "a"), a, sizeof a, 0}};
    cr_assert_eq(dynq_comparison_slot(comparison, "both"), -1);
    cr_assert_eq(dynq_comparison_slot(comparison, NULL), -1);
    cr_assert_eq(dynq_comparison_run(comparison, &batch, io, 2, NULL), DYNQ_OK);
    const dynq_metrics whole = dynq_comparison_metrics(comparison, 1);
    cr_assert(dynq_metrics_result(&whole).sqnr_db > 20 && whole.noise > 0);
    cr_assert_eq(node_of(comparison, 1, "last").own.rows, BATCH);
    cr_assert_eq(node_of(comparison, 1, "from b").own.rows, BATCH);
    dynq_error error = {0};
    const dynq_binding twice[] = {io[0], io[0]};
    cr_assert_eq(dynq_comparison_run(comparison, &batch, twice, 2, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "twice"));
    cr_assert_eq(dynq_comparison_run(comparison, &batch, io, 1, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "'a' is not bound"), "%s", error.message);
    cr_assert_eq(dynq_comparison_run(comparison, NULL, io, 2, &error), DYNQ_ERR_ARGUMENT);
    const dynq_batch large = {.size = sizeof large, .rows = BATCH + 1};
    cr_assert_eq(dynq_comparison_run(comparison, &large, io, 2, &error), DYNQ_ERR_LIMIT);
    a[3] = NAN;
    cr_assert_eq(dynq_comparison_run(comparison, &batch, io, 2, &error), DYNQ_ERR_NOT_FINITE);
    dynq_comparison_free(comparison);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

Test(comparison, models_that_do_not_fit)
{
    dynq_model *fp32 = make_gated(6, 3), *other = make_gated(6, 4), *mlp = samples_fp32(NULL);
    const dynq_variant inputs[] = {{.size = sizeof *inputs, .model = fp32},
                                   {.size = sizeof *inputs, .model = other}};
    const dynq_variant outputs[] = {{.size = sizeof *outputs, .model = fp32},
                                    {.size = sizeof *outputs, .model = fp32, .output = "z"}};
    const dynq_variant shapes[] = {{.size = sizeof *shapes, .model = fp32},
                                   {.size = sizeof *shapes, .model = mlp}};
    const dynq_variant none[] = {{.size = sizeof *none}};
    const dynq_comparison_options options = {.size = sizeof options, .kernel = "no such kernel"};
    dynq_comparison *comparison = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_comparison_create(inputs, 2, NULL, &comparison, &error), DYNQ_ERR_SHAPE);
    cr_assert_not_null(strstr(error.message, "variant 1"), "%s", error.message);
    cr_assert_eq(dynq_comparison_create(shapes, 2, NULL, &comparison, &error), DYNQ_ERR_SHAPE);
    cr_assert_eq(dynq_comparison_create(outputs, 2, NULL, &comparison, &error), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_comparison_create(none, 1, NULL, &comparison, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_comparison_create(inputs, 0, NULL, &comparison, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_comparison_create(inputs, 1, &options, &comparison, &error),
                 DYNQ_ERR_NOT_FOUND);
    cr_assert_null(comparison);
    dynq_comparison_free(NULL);
    dynq_model_free(mlp);
    dynq_model_free(other);
    dynq_model_free(fp32);
}

/* ---- memory ---- */

Test(comparison, every_failing_allocation_is_reported)
{
    dynq_model *fp32 = samples_fp32(NULL), *int8 = samples_int8(NULL);
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_variant variants[] = {{.size = sizeof *variants, .model = fp32},
                                     {.size = sizeof *variants, .model = int8}};
    const dynq_comparison_options options = {
        .size = sizeof options, .max_rows = BATCH, .allocator = &allocator};
    dynq_status status = DYNQ_ERR_MEMORY;
    for (size_t fail_at = 1; status != DYNQ_OK; fail_at++) {
        dynq_comparison *comparison = NULL;
        memory.calls = 0;
        memory.fail_at = fail_at;
        status = dynq_comparison_create(variants, 2, &options, &comparison, NULL);
        cr_assert(status == DYNQ_OK || (status == DYNQ_ERR_MEMORY && comparison == NULL),
                  "call %zu: %s", fail_at, dynq_status_text(status));
        dynq_comparison_free(comparison);
        cr_assert_eq(memory.live, 0, "call %zu", fail_at);
    }
    dynq_model_free(int8);
    dynq_model_free(fp32);
}

Test(comparison, memory_does_not_grow_with_batches)
{
    dynq_model *fp32 = samples_fp32(NULL), *int8 = samples_int8(NULL);
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    const dynq_variant variants[] = {{.size = sizeof *variants, .model = fp32},
                                     {.size = sizeof *variants, .model = int8}};
    float x[ROWS * COLUMNS];
    samples_fill(x, ROWS * COLUMNS, 8);
    dynq_comparison *comparison = compare(variants, 2, 1, &allocator);
    run_rows(comparison, x);
    const size_t live = memory.live;
    for (int i = 0; i < 20; i++) {
        run_rows(comparison, x);
    }
    cr_assert_eq(memory.live, live);
    cr_assert_eq(dynq_comparison_metrics(comparison, 1).rows, 21 * ROWS);
    dynq_comparison_free(comparison);
    cr_assert_eq(memory.live, 0);
    dynq_model_free(int8);
    dynq_model_free(fp32);
}
