/* Files of models with tables, attention and attachments. */
#include "tests/model_parts.h"
#include "tests/samples.h"

#include "src/model_json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static dynq_model *open_memory(const void *bytes, size_t size)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &model, &error), DYNQ_OK, "%s",
                 error.message);
    return model;
}

Test(model_transformer, everything_comes_back)
{
    for (int int8 = 0; int8 < 2; int8++) {
        dynq_model *model =
            int8 ? samples_transformer_int8(NULL, true) : samples_transformer(NULL, false);
        size_t size = 0;
        unsigned char *bytes = samples_saved(model, &size);
        dynq_model *opened = open_memory(bytes, size);
        cr_assert_eq(opened->node_count, model->node_count);
        for (size_t i = 0; i < model->node_count; i++) {
            const dynq_node *a = &model->nodes[i], *b = &opened->nodes[i];
            cr_assert_str_eq(a->name, b->name);
            cr_assert(a->op == b->op && a->k == b->k && a->n == b->n && a->domain == b->domain);
            cr_assert(a->precision == b->precision && a->table_rows == b->table_rows);
            cr_assert(a->first == b->first && a->heads == b->heads && a->scale == b->scale);
            cr_assert(a->causal == b->causal && a->pooling == b->pooling, "%s", a->name);
            const size_t count = a->table_rows * a->n;
            cr_assert_eq(a->table_codes == NULL, b->table_codes == NULL);
            cr_assert(a->table_codes == NULL || memcmp(a->table_codes, b->table_codes, count) == 0);
        }
        const void *a = NULL, *b = NULL;
        size_t a_size = 0, b_size = 0;
        cr_assert_eq(dynq_model_attachment(model, "vocabulary", &a, &a_size), DYNQ_OK);
        cr_assert_eq(dynq_model_attachment(opened, "vocabulary", &b, &b_size), DYNQ_OK);
        cr_assert(a_size == b_size && memcmp(a, b, a_size) == 0);
        cr_assert_str_eq(dynq_model_attachment_name(opened, 1), "pooling-1_b");
        cr_assert(dynq_model_attachment_name(opened, 2) == NULL);
        dynq_model_free(opened);
        dynq_model_free(model);
        free(bytes);
    }
}

/* Checked by tests/golden/model_files.py with the stock Python package. */
Test(model_transformer, golden_file)
{
    dynq_model *model = samples_encoder(true);
    size_t size = 0, golden_size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    unsigned char *golden =
        samples_read(DYNQ_GOLDEN_DIR "/model_encoder.safetensors", &golden_size);
    cr_assert(size == golden_size && memcmp(bytes, golden, size) == 0);
    dynq_model_free(model);
    free(golden);
    free(bytes);
}

/* What needs an alignment stands before what needs none. */
Test(model_transformer, order_of_tensors)
{
    dynq_model *model = samples_transformer_int8(NULL, false);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    dynq_st_header header;
    cr_assert_eq(dynq_st_parse("sample", bytes, size, NULL, &header, NULL), DYNQ_OK);
    int last = 0;
    for (size_t i = 0; i < header.tensor_count; i++) {
        const dynq_st_tensor *t = &header.tensors[i];
        const int kind = t->rank == 4 ? 1 : t->dtype == DYNQ_I8 ? 3 : t->dtype == DYNQ_U8 ? 4 : 2;
        cr_assert_geq(kind, last, "%s", t->name);
        cr_assert_eq(t->offset % (kind == 1 ? 64 : kind == 2 ? 4 : 1), 0, "%s", t->name);
        last = kind;
    }
    cr_assert_eq(last, 4);
    dynq_st_header_free(&header);
    dynq_model_free(model);
    free(bytes);
}

static const struct {
    const char *from, *to;
    dynq_status status;
    const char *text;
} wrong_graphs[] = {
    {"\"op\":\"ids\"", "\"op\":\"input\",\"columns\":1", DYNQ_ERR_FORMAT, "does not hold ids"},
    {"\"op\":\"ids\"", "\"op\":\"ids\",\"inputs\":[\"ids\"]", DYNQ_ERR_FORMAT, "before it"},
    {"\"rows\":6", "\"rows\":0", DYNQ_ERR_FORMAT, "\"rows\""},
    {"\"rows\":6", "\"rows\":-1", DYNQ_ERR_FORMAT, "\"rows\""},
    {"\"rows\":6", "\"rows\":6.0", DYNQ_ERR_FORMAT, "\"rows\""},
    {"\"rows\":6", "\"Rows\":6", DYNQ_ERR_FORMAT, "\"rows\""},
    {"\"rows\":6", "\"rows\":2147483648", DYNQ_ERR_LIMIT, "\"rows\""},
    {"\"rows\":6", "\"rows\":2147483647", DYNQ_ERR_SHAPE, "'words.weight'"},
    {"\"rows\":6", "\"rows\":7", DYNQ_ERR_SHAPE, "'words.weight'"},
    {"\"columns\":4", "\"columns\":5", DYNQ_ERR_SHAPE, "'words' has 5 columns"},
    {"\"columns\":4", "\"columns\":0", DYNQ_ERR_FORMAT, "\"columns\""},
    {"\"columns\":4", "\"columns\":16777217", DYNQ_ERR_LIMIT, "\"columns\""},
    {"\"precision\":\"int8\"", "\"precision\":\"fp32\"", DYNQ_ERR_TYPE, "'words.weight'"},
    {"\"precision\":\"int8\"", "\"precision\":8", DYNQ_ERR_FORMAT, "\"precision\""},
    {"\"first\":1", "\"first\":-1", DYNQ_ERR_FORMAT, "\"first\""},
    {"\"first\":1", "\"first\":null", DYNQ_ERR_FORMAT, "\"first\""},
    {"\"first\":1", "\"first\":5", DYNQ_ERR_SHAPE, "its first row is 5"},
    {"\"first\":1", "\"first\":9223372036854775807", DYNQ_ERR_LIMIT, "\"first\""},
    {"\"heads\":2", "\"heads\":0", DYNQ_ERR_FORMAT, "\"heads\""},
    {"\"heads\":2", "\"heads\":3", DYNQ_ERR_SHAPE, "into 3 heads"},
    {"\"heads\":2", "\"heads\":16777217", DYNQ_ERR_LIMIT, "\"heads\""},
    {"\"heads\":2", "\"heads\":\"2\"", DYNQ_ERR_FORMAT, "\"heads\""},
    {"\"scale\":0.25", "\"scale\":0", DYNQ_ERR_FORMAT, "its scale is 0"},
    {"\"scale\":0.25", "\"scale\":-0.25", DYNQ_ERR_FORMAT, "its scale is -0.25"},
    {"\"scale\":0.25", "\"scale\":1e39", DYNQ_ERR_NOT_FINITE, "\"scale\""},
    {"\"scale\":0.25", "\"scale\":1e-60", DYNQ_ERR_FORMAT, "its scale is 0"},
    {"\"scale\":0.25", "\"scale\":true", DYNQ_ERR_FORMAT, "\"scale\""},
    {"\"causal\":true", "\"causal\":1", DYNQ_ERR_FORMAT, "\"causal\""},
    {"\"inputs\":[\"words\",\"places\",\"words\"]", "\"inputs\":[\"words\",\"places\"]",
     DYNQ_ERR_FORMAT, "wrong number of inputs (2)"},
    {"\"inputs\":[\"words\",\"places\",\"words\"]", "\"inputs\":[\"words\",\"places\",\"ids\"]",
     DYNQ_ERR_FORMAT, "'heads' reads 'ids'"},
    {"\"pooling\":\"max\"", "\"pooling\":\"sum\"", DYNQ_ERR_FORMAT, "\"pooling\""},
    {"\"pooling\":\"max\"", "\"pooling\":3", DYNQ_ERR_FORMAT, "\"pooling\""},
    {"\"op\":\"normalize\"", "\"op\":\"pool\",\"pooling\":\"cls\"", DYNQ_ERR_SHAPE,
     "a row for each token"},
    {"\"node\":\"unit\"", "\"node\":\"ids\"", DYNQ_ERR_FORMAT, "holds ids"},
    {"[\"vocabulary\"]", "\"vocabulary\"", DYNQ_ERR_FORMAT, "not a list"},
    {"[\"vocabulary\"]", "[7]", DYNQ_ERR_FORMAT, "not a name"},
    {"[\"vocabulary\"]", "[\"Vocabulary\"]", DYNQ_ERR_FORMAT, "of an attachment"},
    {"[\"vocabulary\"]", "[\"\"]", DYNQ_ERR_FORMAT, "of an attachment"},
    {"[\"vocabulary\"]", "[\"vocabulary\",\"vocabulary\"]", DYNQ_ERR_FORMAT, "two attachments"},
    {"[\"vocabulary\"]", "[]", DYNQ_ERR_FORMAT, "'attachment/vocabulary' belongs to no"},
    {"[\"vocabulary\"]", "[\"vocabulary\",\"b\"]", DYNQ_ERR_FORMAT, "'attachment/b' is missing"},
    {"\"attachments\"", "\"Attachments\"", DYNQ_ERR_FORMAT, "belongs to no"},
};

Test(model_transformer, wrong_graphs)
{
    model_parts p = parts_of(samples_encoder(true));
    size_t index = 0;
    char *graph = parts_metadata(&p, DYNQ_META_GRAPH, &index);
    for (size_t i = 0; i < COUNT(wrong_graphs); i++) {
        char *text = parts_replace(graph, wrong_graphs[i].from, wrong_graphs[i].to);
        p.metadata[index].value = text;
        parts_expect(&p, wrong_graphs[i].status, wrong_graphs[i].text);
        free(text);
    }
    free(graph);
    parts_free(&p);
}

Test(model_transformer, wrong_tensors)
{
    model_parts p = parts_of(samples_encoder(true));
    for (size_t i = 0; i < p.count; i++) { /* each is needed */
        model_parts without = p;
        without.sources[i] = without.sources[--without.count];
        parts_expect(&without, DYNQ_ERR_FORMAT, "is missing");
    }
    static const float floats[36] = {1};
    static const struct {
        const char *name;
        dynq_tensor tensor;
        dynq_status status;
    } cases[] = {
        {"words.weight", {DYNQ_U8, 2, {6, 4}, floats}, DYNQ_ERR_TYPE},
        {"words.weight", {DYNQ_F32, 2, {6, 4}, floats}, DYNQ_ERR_TYPE},
        {"words.weight", {DYNQ_I8, 1, {24}, floats}, DYNQ_ERR_SHAPE},
        {"words.weight", {DYNQ_I8, 2, {4, 6}, floats}, DYNQ_ERR_SHAPE},
        {"words.weight_scale", {DYNQ_I32, 1, {6}, floats}, DYNQ_ERR_TYPE},
        {"words.weight_scale", {DYNQ_F32, 1, {4}, floats}, DYNQ_ERR_SHAPE},
        {"places.weight_scale", {DYNQ_F32, 1, {4}, floats}, DYNQ_ERR_SHAPE},
        {"attachment/vocabulary", {DYNQ_I8, 1, {9}, floats}, DYNQ_ERR_TYPE},
        {"attachment/vocabulary", {DYNQ_U8, 2, {3, 3}, floats}, DYNQ_ERR_SHAPE},
        {"attachment/vocabulary", {DYNQ_U8, 1, {0}, floats}, DYNQ_ERR_SHAPE},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        model_parts changed = p;
        *parts_tensor(&changed, cases[i].name) = cases[i].tensor;
        parts_expect(&changed, cases[i].status, cases[i].name);
    }
    model_parts changed = p;
    changed.sources[changed.count++] =
        (dynq_st_source){"attachment/words", {DYNQ_U8, 1, {1}, floats}};
    parts_expect(&changed, DYNQ_ERR_FORMAT, "'attachment/words' belongs to no");
    parts_free(&p);
    p = parts_of(samples_encoder(false));
    *parts_tensor(&p, "words.weight") = (dynq_tensor){DYNQ_F32, 2, {6, 6}, floats};
    parts_expect(&p, DYNQ_ERR_SHAPE, "'words.weight'");
    parts_free(&p);
}

Test(model_transformer, wrong_scales)
{
    static const struct {
        float value;
        dynq_status status;
        const char *text;
    } cases[] = {
        {NAN, DYNQ_ERR_NOT_FINITE, "'places.weight_scale': element 4 is NaN"},
        {INFINITY, DYNQ_ERR_NOT_FINITE, "element 4 is Inf"},
        {0, DYNQ_ERR_FORMAT, "element 4 is 0"},
        {-1, DYNQ_ERR_FORMAT, "element 4 is -1"},
    };
    model_parts p = parts_of(samples_encoder(true));
    for (size_t i = 0; i < COUNT(cases); i++) {
        const float scales[5] = {1, 1, 1, 1, cases[i].value};
        parts_tensor(&p, "places.weight_scale")->data = scales;
        parts_expect(&p, cases[i].status, cases[i].text);
    }
    parts_free(&p);
}

Test(model_transformer, verify)
{
    model_parts p = parts_of(samples_encoder(true));
    int8_t *codes = (int8_t *)(uintptr_t)parts_tensor(&p, "words.weight")->data;
    const int8_t old = codes[23];
    codes[23] = -128;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'words': code [5][3] is -128");
    codes[23] = old;
    codes = (int8_t *)(uintptr_t)parts_tensor(&p, "places.weight")->data;
    codes[0] = -128;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'places': code [0][0] is -128");
    parts_free(&p);
    p = parts_of(samples_encoder(false));
    float *table = (float *)(uintptr_t)parts_tensor(&p, "places.weight")->data;
    table[18] = NAN;
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "'places': weight[4][2] is NaN");
    parts_free(&p);
}

Test(model_transformer, every_truncation_fails)
{
    for (int int8 = 0; int8 < 2; int8++) {
        model_parts p = parts_of(samples_encoder(int8));
        cr_assert(parts_opens(p.bytes, p.size));
        for (size_t size = 0; size < p.size; size++) {
            cr_assert_not(parts_opens(p.bytes, size), "%zu of %zu bytes", size, p.size);
        }
        parts_free(&p);
    }
}

Test(model_transformer, every_flip_opens_or_fails)
{
    model_parts p = parts_of(samples_encoder(true));
    size_t failed = 0;
    for (size_t i = 0; i < p.size; i++) {
        for (int bit = 0; bit < 9; bit++) {
            const unsigned char flip = bit < 8 ? (unsigned char)(1 << bit) : 0xff;
            p.bytes[i] ^= flip;
            failed += !parts_opens(p.bytes, p.size);
            p.bytes[i] ^= flip;
        }
    }
    cr_assert_gt(failed, 8 * 500, "most flips in the header are errors");
    parts_free(&p);
}

/* Tables of 512 x 256, either precision, and an attachment as large. */
static dynq_model *large(bool int8)
{
    enum { ROWS = 512, COLUMNS = 256 };
    static float numbers[ROWS * COLUMNS];
    samples_fill(numbers, ROWS * COLUMNS, 5);
    const dynq_tensor table = {DYNQ_F32, 2, {ROWS, COLUMNS}, numbers};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value ids = dynq_ids(g, "ids");
    const dynq_value words = dynq_embedding(g, "words", ids, &table);
    dynq_output(g, "y",
                dynq_add(g, "sum", words, dynq_position_embedding(g, "places", ids, &table, 2)));
    dynq_attach(g, "vocabulary", numbers, sizeof numbers);
    dynq_model *model = NULL, *quantized = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    if (!int8) {
        return model;
    }
    const dynq_quantize_rule rule = {.pattern = "places", .precision = DYNQ_PRECISION_INT8};
    const dynq_quantize_options options = {.size = sizeof options, .rules = &rule, .rule_count = 1};
    cr_assert_eq(dynq_quantize(model, &options, &quantized, NULL), DYNQ_OK);
    dynq_model_free(model);
    return quantized;
}

/* Takes the pages away that hold nothing but these bytes. */
static void forbid(const void *bytes, size_t size)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)bytes + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)bytes + size) & ~(page - 1);
    cr_assert_gt(end, first + size / 2);
    cr_assert_eq(mprotect((void *)first, end - first, PROT_NONE), 0);
}

Test(model_transformer, opening_reads_no_tables_and_attachments)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int int8 = 0; int8 < 2; int8++) {
        dynq_model *model = large(int8);
        size_t size = 0;
        unsigned char *bytes = samples_saved(model, &size);
        const size_t room = dynq_round_up(size, page);
        unsigned char *map =
            mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(map, MAP_FAILED);
        memcpy(map, bytes, size);
        dynq_model *opened = open_memory(map, size);
        cr_assert_eq(opened->owned_count, 0);
        for (size_t i = 1; i < 3; i++) {
            const dynq_node *node = &opened->nodes[i];
            forbid(int8 ? (const void *)node->table_codes : node->weight,
                   node->table_rows * node->n * (int8 ? 1 : sizeof(float)));
        }
        const void *vocabulary = NULL;
        size_t vocabulary_size = 0;
        cr_assert_eq(dynq_model_attachment(opened, "vocabulary", &vocabulary, &vocabulary_size),
                     DYNQ_OK);
        forbid(vocabulary, vocabulary_size);
        dynq_model_free(opened);
        dynq_model_free(open_memory(map, size));
        cr_assert_eq(munmap(map, room), 0);
        free(bytes);
        dynq_model_free(model);
    }
}

/* At odd addresses only what needs an alignment is copied. */
Test(model_transformer, misaligned_bytes)
{
    dynq_model *model = large(true);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size),
                  *odd = aligned_alloc(64, (size + 64) & ~63u);
    memcpy(odd + 1, bytes, size);
    dynq_model *opened = open_memory(odd + 1, size);
    cr_assert_eq(opened->owned_count, 2, "the two vectors of scales");
    cr_assert_eq(memcmp(opened->nodes[1].table_codes, model->nodes[1].table_codes, 512 * 256), 0);
    cr_assert_eq(dynq_model_verify(opened, NULL), DYNQ_OK);
    dynq_model_free(opened);
    dynq_model_free(model);
    free(odd);
    free(bytes);
}

Test(model_transformer, every_allocation_can_fail)
{
    dynq_model *model = samples_encoder(true);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    unsigned char *odd = malloc(size + 1);
    memcpy(odd + 1, bytes, size);
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        const dynq_open_options options = {sizeof options, &allocator, 0};
        dynq_model *opened = NULL;
        const dynq_status status = dynq_model_open_memory(odd + 1, size, &options, &opened, NULL);
        failed = memory.calls >= n;
        cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK, "allocation %zu", n);
        dynq_model_free(opened);
        cr_assert_eq(memory.live, 0, "allocation %zu leaks", n);
    }
    free(odd);
    free(bytes);
    dynq_model_free(model);
}

Test(model_transformer, names_of_values)
{
    static const char *const ops[] = {"ids",       "embedding", "position_embedding", "gelu_tanh",
                                      "attention", "pool",      "normalize",          "scale"};
    for (size_t i = 0; i < COUNT(ops); i++) {
        cr_assert_str_eq(dynq_op_name((dynq_op)(DYNQ_OP_IDS + i)), ops[i]);
    }
    cr_assert_null(dynq_op_name((dynq_op)(DYNQ_OP_SCALE + 1)));
    cr_assert_str_eq(dynq_domain_name(DYNQ_DOMAIN_TOKENS), "tokens");
    cr_assert_str_eq(dynq_domain_name(DYNQ_DOMAIN_SEGMENTS), "segments");
    cr_assert_null(dynq_domain_name((dynq_domain)0));
    cr_assert_null(dynq_domain_name((dynq_domain)3));
    cr_assert_str_eq(dynq_pooling_name(DYNQ_POOL_MEAN), "mean");
    cr_assert_str_eq(dynq_pooling_name(DYNQ_POOL_CLS), "cls");
    cr_assert_str_eq(dynq_pooling_name(DYNQ_POOL_MAX), "max");
    cr_assert_null(dynq_pooling_name((dynq_pooling)0));
    cr_assert_null(dynq_pooling_name((dynq_pooling)4));
}
