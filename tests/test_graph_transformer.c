/* The builder's operations on ids and segments, and attachments. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const float ones[64] = {1, 1, 1, 1};
static const dynq_tensor t54 = {DYNQ_F32, 2, {5, 4}, ones}; /* 5 rows, 4 columns */
static const dynq_tensor w34 = {DYNQ_F32, 2, {3, 4}, ones}; /* 4 in, 3 out */

static dynq_model *finish(dynq_graph *g)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

/* Finishes a builder that must fail, and looks for `text` in the message. */
static void expect(dynq_graph *g, dynq_status status, const char *text)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    const dynq_status got = dynq_graph_finish(g, &model, &error);
    cr_assert_eq(got, status, "%s instead of %s: %s", dynq_status_text(got),
                 dynq_status_text(status), error.message);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_null(model);
}

static dynq_node_info info_of(const dynq_model *model, const char *name)
{
    dynq_node_info info = {.size = sizeof info};
    const long index = dynq_model_find(model, name);
    cr_assert_geq(index, 0, "no node %s", name);
    cr_assert_eq(dynq_model_node(model, (size_t)index, &info), DYNQ_OK);
    return info;
}

Test(graph_transformer, shapes_and_rows)
{
    static const struct {
        const char *name;
        dynq_op op;
        size_t k, n;
        dynq_domain domain;
    } nodes[] = {
        {"ids", DYNQ_OP_IDS, 1, 1, DYNQ_DOMAIN_TOKENS},
        {"words", DYNQ_OP_EMBEDDING, 1, 32, DYNQ_DOMAIN_TOKENS},
        {"places", DYNQ_OP_POSITION, 1, 32, DYNQ_DOMAIN_TOKENS},
        {"l0.fc1", DYNQ_OP_LINEAR, 32, 64, DYNQ_DOMAIN_TOKENS},
        {"l0.act", DYNQ_OP_GELU, 64, 64, DYNQ_DOMAIN_TOKENS},
        {"l1.act", DYNQ_OP_GELU_TANH, 64, 64, DYNQ_DOMAIN_TOKENS},
        {"l1.heads", DYNQ_OP_ATTENTION, 32, 32, DYNQ_DOMAIN_TOKENS},
        {"mean", DYNQ_OP_POOL, 32, 32, DYNQ_DOMAIN_SEGMENTS},
        {"unit", DYNQ_OP_NORMALIZE, 32, 32, DYNQ_DOMAIN_SEGMENTS},
        {"pooler", DYNQ_OP_LINEAR, 32, 32, DYNQ_DOMAIN_SEGMENTS},
        {"bounded", DYNQ_OP_TANH, 32, 32, DYNQ_DOMAIN_SEGMENTS},
    };
    dynq_model *model = samples_transformer(NULL, true);
    cr_assert_not_null(model);
    for (size_t i = 0; i < COUNT(nodes); i++) {
        const dynq_node_info info = info_of(model, nodes[i].name);
        cr_assert(info.op == nodes[i].op && info.k == nodes[i].k && info.n == nodes[i].n &&
                      info.domain == nodes[i].domain,
                  "%s: %zu x %zu", nodes[i].name, info.k, info.n);
    }
    dynq_node_info info = info_of(model, "l1.heads");
    cr_assert(info.input_count == 3 && info.heads == 4 && info.causal == 1);
    cr_assert_eq(info.inputs[2], (uint32_t)dynq_model_find(model, "l1.v"));
    cr_assert_eq(info.scale, 1.0f / sqrtf(8.0f));
    cr_assert(info.precision == DYNQ_PRECISION_FP32 && info.parameters == 0);
    info = info_of(model, "words");
    cr_assert(info.table_rows == 50 && info.first == 0 && info.parameters == 50 * 32);
    cr_assert_eq(info.weight_bytes, 50 * 32 * sizeof(float));
    cr_assert_eq(info_of(model, "mean").pooling, DYNQ_POOL_MEAN);
    cr_assert_eq(info_of(model, "first").pooling, DYNQ_POOL_CLS);
    dynq_model_free(model);
}

Test(graph_transformer, tables_are_copied)
{
    float table[20], expected[20], got[20];
    samples_fill(table, 20, 3);
    memcpy(expected, table, sizeof table);
    const dynq_tensor tensor = {DYNQ_F32, 2, {5, 4}, table};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value ids = dynq_ids(g, "ids");
    dynq_output(g, "a", dynq_embedding(g, "words", ids, &tensor));
    dynq_output(g, "b", dynq_position_embedding(g, "places", ids, &tensor, 4));
    memset(table, 0, sizeof table);
    dynq_model *model = finish(g);
    for (size_t i = 1; i < 3; i++) {
        cr_assert_eq(dynq_model_weights(model, i, got, 20), DYNQ_OK);
        cr_assert_eq(memcmp(got, expected, sizeof got), 0);
        cr_assert_eq(dynq_model_weights(model, i, got, 19), DYNQ_ERR_LIMIT);
    }
    cr_assert_eq(dynq_model_weights(model, 0, got, 20), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(info_of(model, "places").first, 4);
    dynq_model_free(model);
}

/* ids -> an embedding of this table. */
static dynq_graph *with_table(const dynq_tensor *table, bool positions, size_t first)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value ids = dynq_ids(g, "ids");
    dynq_output(g, "y",
                positions ? dynq_position_embedding(g, "e", ids, table, first)
                          : dynq_embedding(g, "e", ids, table));
    return g;
}

Test(graph_transformer, wrong_tables)
{
    float wrong[20] = {0};
    wrong[7] = NAN;
    const dynq_tensor no_data = {DYNQ_F32, 2, {5, 4}, NULL}, codes = {DYNQ_I8, 2, {5, 4}, ones},
                      vector = {DYNQ_F32, 1, {5}, ones}, no_rows = {DYNQ_F32, 2, {0, 4}, ones},
                      no_columns = {DYNQ_F32, 2, {5, 0}, ones},
                      long_one = {DYNQ_F32, 2, {(size_t)INT32_MAX + 1, 4}, ones},
                      wide = {DYNQ_F32, 2, {5, (size_t)DYNQ_MAX_COLUMNS + 1}, ones},
                      nan = {DYNQ_F32, 2, {5, 4}, wrong};
    const struct {
        const dynq_tensor *table;
        dynq_status status;
        const char *text;
    } cases[] = {
        {NULL, DYNQ_ERR_ARGUMENT, "node 'e': its table is NULL"},
        {&no_data, DYNQ_ERR_ARGUMENT, "its table is NULL"},
        {&codes, DYNQ_ERR_TYPE, "its table is not F32"},
        {&vector, DYNQ_ERR_SHAPE, "its table has rank 1"},
        {&no_rows, DYNQ_ERR_SHAPE, "its table has 0 rows"},
        {&no_columns, DYNQ_ERR_SHAPE, "node 'e' has 0 columns"},
        {&long_one, DYNQ_ERR_LIMIT, "its table has 2147483648 rows"},
        {&wide, DYNQ_ERR_LIMIT, "node 'e' has 16777217 columns"},
        {&nan, DYNQ_ERR_NOT_FINITE, "table[1][3] is NaN"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int positions = 0; positions < 2; positions++) {
            expect(with_table(cases[i].table, positions, 0), cases[i].status, cases[i].text);
        }
    }
    expect(with_table(&t54, true, 5), DYNQ_ERR_SHAPE, "its first row is 5");
    expect(with_table(&t54, true, SIZE_MAX), DYNQ_ERR_SHAPE, "its first row is");
}

Test(graph_transformer, ids_are_read_by_embeddings_only)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_relu(g, "act", dynq_ids(g, "ids")));
    expect(g, DYNQ_ERR_ARGUMENT, "node 'act' reads 'ids'");
    g = dynq_graph_create(NULL);
    const dynq_value one = dynq_input(g, "one", 1);
    dynq_output(g, "y", dynq_add(g, "sum", one, dynq_ids(g, "ids")));
    expect(g, DYNQ_ERR_ARGUMENT, "node 'sum' reads 'ids'");
    g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_embedding(g, "words", dynq_input(g, "x", 1), &t54));
    expect(g, DYNQ_ERR_ARGUMENT, "'x' does not hold ids");
    g = dynq_graph_create(NULL);
    const dynq_value ids = dynq_ids(g, "ids");
    dynq_output(g, "a", dynq_embedding(g, "words", ids, &t54));
    dynq_output(g, "b", ids);
    expect(g, DYNQ_ERR_ARGUMENT, "output 'b' is 'ids', which holds ids");
    g = dynq_graph_create(NULL); /* of floats, only the rows count */
    dynq_output(g, "y", dynq_position_embedding(g, "places", dynq_input(g, "x", 9), &t54, 1));
    dynq_model *model = finish(g);
    cr_assert(info_of(model, "places").k == 9 && info_of(model, "places").n == 4);
    dynq_model_free(model);
}

Test(graph_transformer, kinds_of_rows_do_not_mix)
{
    for (int i = 0; i < 6; i++) {
        static const char *const texts[] = {"'x' has rows for tokens, but 'mean' for segments",
                                            "'mean' has rows for segments, but 'x' for tokens",
                                            "rows for",
                                            "node 'y' needs a row for each token",
                                            "node 'y' needs a row for each token",
                                            "node 'y' needs a row for each token"};
        dynq_graph *g = dynq_graph_create(NULL);
        const dynq_value x = dynq_input(g, "x", 4);
        const dynq_value mean = dynq_pool(g, "mean", x, DYNQ_POOL_MEAN);
        const dynq_value y = i == 0   ? dynq_add(g, "y", x, mean)
                             : i == 1 ? dynq_mul(g, "y", mean, x)
                             : i == 2 ? dynq_attention(g, "y", x, x, mean, NULL)
                             : i == 3 ? dynq_attention(g, "y", mean, mean, mean, NULL)
                             : i == 4 ? dynq_pool(g, "y", mean, DYNQ_POOL_MAX)
                                      : dynq_position_embedding(g, "y", mean, &t54, 0);
        dynq_output(g, "y", y);
        expect(g, DYNQ_ERR_SHAPE, texts[i]);
    }
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 4);
    const dynq_value mean = dynq_pool(g, "mean", x, DYNQ_POOL_MEAN),
                     most = dynq_pool(g, "most", x, DYNQ_POOL_MAX);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_add(g, "sum", mean, most), &w34, NULL));
    dynq_model *model = finish(g);
    cr_assert_eq(info_of(model, "fc").domain, DYNQ_DOMAIN_SEGMENTS);
    dynq_model_free(model);
}

/* Attention of `columns`. */
static dynq_graph *with_attention(size_t columns, const dynq_attention_options *options)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", columns);
    dynq_output(g, "y", dynq_attention(g, "heads", x, x, x, options));
    return g;
}

Test(graph_transformer, attention_options)
{
    dynq_model *model = finish(with_attention(7, NULL));
    dynq_node_info info = info_of(model, "heads");
    cr_assert(info.heads == 1 && info.scale == 1.0f / sqrtf(7.0f) && info.causal == 0);
    dynq_model_free(model);
    const dynq_attention_options some = {.size = sizeof some, .heads = 3, .scale = 2, .causal = 9};
    model = finish(with_attention(3 * DYNQ_MAX_HEAD, &some));
    info = info_of(model, "heads");
    cr_assert(info.heads == 3 && info.scale == 2.0f && info.causal == 1);
    dynq_model_free(model);
    const size_t size = sizeof some;
    const struct {
        dynq_attention_options options;
        dynq_status status;
        const char *text;
    } cases[] = {
        {{.size = 0}, DYNQ_ERR_ARGUMENT, "size is not set"},
        {{.size = size, .heads = 7}, DYNQ_ERR_SHAPE, "1536 columns cannot be divided into 7"},
        {{.size = size, .heads = 3072}, DYNQ_ERR_SHAPE, "into 3072 heads"},
        {{.size = size, .heads = SIZE_MAX}, DYNQ_ERR_SHAPE, "cannot be divided"},
        {{.size = size, .heads = 2}, DYNQ_ERR_LIMIT, "a head has 768 columns"},
        {{.size = size, .heads = 3, .scale = NAN}, DYNQ_ERR_NOT_FINITE, "its scale"},
        {{.size = size, .heads = 3, .scale = INFINITY}, DYNQ_ERR_NOT_FINITE, "its scale"},
        {{.size = size, .heads = 3, .scale = -1}, DYNQ_ERR_ARGUMENT, "its scale is -1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect(with_attention(3 * DYNQ_MAX_HEAD, &cases[i].options), cases[i].status,
               cases[i].text);
    }
    expect(with_attention((size_t)DYNQ_MAX_HEAD + 1, NULL), DYNQ_ERR_LIMIT, "a head has 513");
}

Test(graph_transformer, the_callers_rounding_mode_does_not_change_the_scale)
{
    cr_assert_eq(fesetround(FE_UPWARD), 0);
    dynq_graph *g = with_attention(7, NULL);
    const int mode = fegetround();
    fesetround(FE_TONEAREST);
    dynq_model *model = finish(g);
    cr_assert_eq(mode, FE_UPWARD);
    cr_assert_eq(info_of(model, "heads").scale, 1.0f / sqrtf(7.0f));
    dynq_model_free(model);
}

Test(graph_transformer, attention_columns)
{
    for (int i = 0; i < 2; i++) {
        dynq_graph *g = dynq_graph_create(NULL);
        const dynq_value a = dynq_input(g, "a", 8), b = dynq_input(g, "b", 4);
        dynq_output(g, "y", dynq_attention(g, "heads", a, i == 0 ? b : a, i == 0 ? a : b, NULL));
        expect(g, DYNQ_ERR_SHAPE, "'a' has 8 columns, but 'b' has 4");
    }
}

Test(graph_transformer, unknown_pooling)
{
    const int unknown[] = {0, 4, -1};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        dynq_graph *g = dynq_graph_create(NULL);
        dynq_output(g, "y", dynq_pool(g, "p", dynq_input(g, "x", 4), (dynq_pooling)unknown[i]));
        expect(g, DYNQ_ERR_ARGUMENT, "node 'p': there is no pooling");
    }
}

static dynq_graph *with_attachment(const char *name, const void *bytes, size_t size)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_input(g, "x", 1));
    dynq_attach(g, name, bytes, size);
    return g;
}

Test(graph_transformer, attachments)
{
    char bytes[] = "first";
    dynq_graph *g = with_attachment("a-1_z", bytes, sizeof bytes);
    dynq_attach(g, "b", "\0", 1);
    memset(bytes, 0, sizeof bytes);
    dynq_model *model = finish(g);
    const void *data = NULL;
    size_t size = 0;
    cr_assert_eq(dynq_model_attachment(model, "a-1_z", &data, &size), DYNQ_OK);
    cr_assert(size == 6 && memcmp(data, "first", 6) == 0);
    cr_assert_eq(dynq_model_attachment(model, "b", NULL, &size), DYNQ_OK);
    cr_assert_eq(size, 1);
    cr_assert_eq(dynq_model_attachment(model, "c", &data, &size), DYNQ_ERR_NOT_FOUND);
    cr_assert_eq(dynq_model_attachment(model, NULL, &data, &size), DYNQ_ERR_NOT_FOUND);
    cr_assert_str_eq(dynq_model_attachment_name(model, 0), "a-1_z");
    cr_assert_str_eq(dynq_model_attachment_name(model, 1), "b");
    cr_assert_null(dynq_model_attachment_name(model, 2));
    dynq_model_free(model);
    char longest[DYNQ_MAX_NAME + 2];
    memset(longest, 'n', sizeof longest);
    longest[DYNQ_MAX_NAME + 1] = '\0';
    const char *const bad[] = {NULL, "", "A", "a b", "a.b", "a/b", "\xc3\xa9", longest};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect(with_attachment(bad[i], "x", 1), DYNQ_ERR_ARGUMENT, "of an attachment");
    }
    longest[DYNQ_MAX_NAME] = '\0';
    dynq_model_free(finish(with_attachment(longest, "x", 1)));
    expect(with_attachment("a", "x", 0), DYNQ_ERR_ARGUMENT, "attachment 'a' is empty");
    expect(with_attachment("a", NULL, 1), DYNQ_ERR_ARGUMENT, "attachment 'a' is empty");
    g = with_attachment("a", "x", 1);
    dynq_attach(g, "a", "x", 1);
    expect(g, DYNQ_ERR_ARGUMENT, "two attachments are named 'a'");
    dynq_attach(NULL, "a", "x", 1);
}

Test(graph_transformer, the_first_error_stays)
{
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_value y = dynq_embedding(g, "first", dynq_ids(g, "ids"), NULL);
    y = dynq_attention(g, "heads", y, y, y, NULL);
    y = dynq_normalize(g, "unit", dynq_pool(g, "mean", dynq_gelu_tanh(g, "act", y), 0));
    dynq_attach(g, "", NULL, 0);
    dynq_output(g, "y", dynq_position_embedding(g, "places", y, NULL, 0));
    expect(g, DYNQ_ERR_ARGUMENT, "'first'");
    dynq_embedding(NULL, "words", dynq_ids(NULL, "ids"), &t54);
}

Test(graph_transformer, ids_are_an_input)
{
    expect(dynq_graph_create(NULL), DYNQ_ERR_ARGUMENT, "no input");
    dynq_model_free(finish(with_table(&t54, false, 0)));
}

Test(graph_transformer, every_allocation_can_fail)
{
    for (size_t n = 1;; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_model *model = samples_transformer(&allocator, false);
        const bool failed = memory.calls >= n;
        cr_assert_eq(model == NULL, failed, "allocation %zu", n);
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0, "allocation %zu leaks", n);
        if (!failed) {
            cr_assert_gt(n, 60);
            break;
        }
    }
}
