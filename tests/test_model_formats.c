/* Models whose weights are in other formats than FP32 and INT8 by column: files, what a model says
 * of itself, and files whose bytes are wrong. */
#include "tests/model_parts.h"
#include "tests/samples.h"
#include "tests/samples_formats.h"

#include "src/fingerprint.h"
#include "src/model_json.h"
#include "src/pack.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dynq_model *coded(const char *name)
{
    return samples_coded(samples_find_format(name), NULL, NULL);
}

static dynq_model *open_saved(const dynq_model *model, unsigned char **bytes)
{
    size_t size = 0;
    *bytes = samples_saved(model, &size);
    cr_assert_eq(dynq_model_file_bytes(model), size);
    dynq_model *opened = NULL;
    const dynq_open_options copy = {.size = sizeof copy, .copy = 1};
    dynq_error error = {0};
    cr_assert_eq(dynq_model_open_memory(*bytes, size, &copy, &opened, &error), DYNQ_OK, "%s",
                 error.message);
    size_t again = 0;
    unsigned char *second = samples_saved(opened, &again);
    cr_assert(again == size && memcmp(second, *bytes, size) == 0);
    free(second);
    return opened;
}

static void expect_same_weights(const dynq_model *a, const dynq_model *b)
{
    for (size_t i = 0; i < a->node_count; i++) {
        const size_t count = a->nodes[i].op == DYNQ_OP_LINEAR ? a->nodes[i].k * a->nodes[i].n : 0;
        float *x = malloc(count * sizeof *x + 1), *y = malloc(count * sizeof *y + 1);
        if (count > 0) {
            cr_assert_eq(dynq_model_weights(a, i, x, count), DYNQ_OK);
            cr_assert_eq(dynq_model_weights(b, i, y, count), DYNQ_OK);
            cr_assert_eq(dynq_model_weights(b, i, y, count - 1), DYNQ_ERR_LIMIT);
        }
        cr_assert_eq(memcmp(x, y, count * sizeof *x), 0);
        free(x);
        free(y);
    }
}

Test(model_formats, files_come_back)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        const samples_format *format = &samples_formats[f];
        dynq_model *model = samples_coded(format, NULL, NULL);
        unsigned char *bytes = NULL;
        dynq_model *opened = open_saved(model, &bytes);
        dynq_error error = {0};
        cr_assert_eq(dynq_model_verify(opened, &error), DYNQ_OK, "%s: %s", format->name,
                     error.message);
        expect_same_weights(model, opened);
        cr_assert_eq(dynq_model_fingerprint(model), dynq_model_fingerprint(opened));
        dynq_node_info info = {.size = sizeof info};
        cr_assert_eq(dynq_model_node(opened, 1, &info), DYNQ_OK);
        cr_assert_eq(info.weight_format, format->format);
        cr_assert_eq(info.weight_group, format->group);
        cr_assert_eq(info.table_scope, format->table);
        cr_assert_eq(info.weight_levels, format->table == 0 ? 0 : DYNQ_LEVELS_CLUSTERS);
        dynq_model_free(opened);
        dynq_model_free(model);
        free(bytes);
    }
}

/* fc1 has 150 inputs, 192 with padding, and 131 columns in 9 panels, with a bias. */
Test(model_formats, bytes_of_weights)
{
    const struct {
        const char *name;
        size_t bytes;
    } expected[] = {
        {"fp32", (150 + 1) * 131 * 4},
        {"fp16", 9 * 150 * 32 + 131 * 4},
        {"bf16", 9 * 75 * 64 + 131 * 4},
        {"int16", 9 * 75 * 64 + 131 * 8},
        {"int8", 9 * 192 * 16 + 131 * 12},
        {"int8 in groups of 32", 9 * (192 * 16 + 6 * 64) + 131 * 8},
        {"int4", 9 * 192 * 8 + 131 * 12 + 16},
        {"int4 by panel", 9 * 192 * 8 + 131 * 12 + 9 * 16},
        {"int4 in groups of 128", 9 * (192 * 8 + 2 * 64) + 131 * 8 + 16},
        {"int2 by panel", 9 * 192 * 4 + 131 * 12 + 9 * 4},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        dynq_model *model = coded(expected[i].name);
        dynq_node_info info = {.size = sizeof info};
        cr_assert_eq(dynq_model_node(model, 1, &info), DYNQ_OK);
        cr_assert_eq(info.weight_bytes, expected[i].bytes, "%s", expected[i].name);
        cr_assert_eq(info.parameters, (150 + 1) * 131);
        dynq_model_free(model);
    }
}

/* A weight is what its format says, from the golden bits of single weights. */
Test(model_formats, floats_of_weights)
{
    dynq_model *model = coded("int4 in groups of 32");
    const dynq_node *node = &model->nodes[1];
    float *w = malloc(node->k * node->n * sizeof *w);
    cr_assert_eq(dynq_model_weights(model, 1, w, node->k * node->n), DYNQ_OK);
    const size_t column = 20, input = 77;
    const dynq_weight_codes codes = dynq_node_codes(node, column / 16);
    const int8_t *panel = dynq_node_panel(node, column);
    const int level = dynq_panel_weight(&codes, panel, column % 16, input);
    const uint16_t half = dynq_panel_factor(&codes, panel, column % 16, input / 32);
    const float factor = ldexpf((float)(half % 1024 + 1024), half / 1024 - 25);
    cr_assert_eq(w[column * node->k + input], (float)level * factor * node->weight_scale[column]);
    free(w);
    dynq_model_free(model);
}

Test(model_formats, fingerprints_differ)
{
    uint64_t prints[SAMPLES_FORMATS];
    for (size_t i = 0; i < SAMPLES_FORMATS; i++) {
        dynq_model *model = samples_coded(&samples_formats[i], NULL, NULL);
        prints[i] = dynq_model_fingerprint(model);
        for (size_t j = 0; j < i; j++) {
            cr_assert_neq(prints[i], prints[j], "%s, %s", samples_formats[i].name,
                          samples_formats[j].name);
        }
        if (samples_formats[i].table != 0) { /* levels count as well */
            int8_t *levels = (int8_t *)(uintptr_t)model->nodes[1].levels;
            levels[3] = (int8_t)(levels[3] == 7 ? 8 : 7);
            cr_assert_neq(dynq_model_fingerprint(model), prints[i]);
        }
        dynq_model_free(model);
    }
}

Test(model_formats, headroom_is_of_a_group)
{
    dynq_model *model = coded("int8 in groups of 32");
    uint64_t largest = 0, whole = 0;
    cr_assert_eq(dynq_model_headroom(model, 1, &largest, NULL), DYNQ_OK);
    cr_assert(largest > 0 && largest <= 255 * 127 * 32);
    dynq_model_free(model);
    model = coded("int4");
    cr_assert_eq(dynq_model_headroom(model, 1, &whole, NULL), DYNQ_OK);
    cr_assert_gt(whole, largest);
    dynq_model_free(model);
    const char *others[] = {"fp16", "bf16", "int16"};
    for (size_t i = 0; i < 3; i++) {
        model = coded(others[i]);
        cr_assert_eq(dynq_model_headroom(model, 1, &whole, NULL), DYNQ_ERR_ARGUMENT);
        dynq_model_free(model);
    }
}

/* Checked by tests/golden/model_files.py with the stock Python package. */
Test(model_formats, golden_file)
{
    dynq_model *model = samples_every_format();
    size_t size = 0, golden_size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    unsigned char *golden =
        samples_read(DYNQ_GOLDEN_DIR "/model_formats.safetensors", &golden_size);
    cr_assert(size == golden_size && memcmp(bytes, golden, size) == 0);
    dynq_model_free(model);
    free(golden);
    free(bytes);
}

/* Weights of FP16 with an odd K are no multiple of 64 bytes and stand behind all others, so that
 * nothing needs a copy. */
Test(model_formats, weights_are_used_where_they_lie)
{
    dynq_model *model = samples_every_format();
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size), *place = NULL;
    cr_assert_eq(posix_memalign((void **)&place, 64, size), 0);
    memcpy(place, bytes, size);
    dynq_model *opened = NULL;
    cr_assert_eq(dynq_model_open_memory(place, size, NULL, &opened, NULL), DYNQ_OK);
    cr_assert_eq(opened->owned_count, 0);
    dynq_model_free(opened);
    dynq_model_free(model);
    free(bytes);
    free(place);
}

Test(model_formats, every_failing_allocation_is_reported)
{
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        samples_memory memory = {0};
        dynq_model *model = NULL;
        for (size_t fail_at = 1; model == NULL; fail_at++) {
            memory = (samples_memory){.fail_at = fail_at};
            const dynq_allocator allocator = samples_allocator(&memory);
            model = samples_coded(&samples_formats[f], NULL, &allocator);
            cr_assert(model != NULL || atomic_load(&memory.live) == 0, "%zu", fail_at);
        }
        dynq_model_free(model);
        cr_assert_eq(atomic_load(&memory.live), 0);
    }
}

Test(model_formats, halves_that_do_not_hold_a_weight)
{
    dynq_model *model = coded("fp32");
    dynq_node *node = &model->nodes[1];
    float *weight = (float *)(uintptr_t)node->weight;
    weight[150 * 3 + 7] = 65520.0f;
    dynq_error error = {0};
    cr_assert_eq(dynq_model_take_halves(model, node, DYNQ_FORMAT_FP16, weight, &error),
                 DYNQ_ERR_NOT_FINITE);
    cr_assert_not_null(strstr(error.message, "'fc1': weight[3][7]"), "%s", error.message);
    weight[150 * 3 + 7] = 65519.0f;
    cr_assert_eq(dynq_model_take_halves(model, node, DYNQ_FORMAT_FP16, weight, &error), DYNQ_OK);
    dynq_model_free(model);
}

static void expect_graph(dynq_model *model, const char *from, const char *to, dynq_status status,
                         const char *text)
{
    model_parts p = parts_of(model);
    size_t index = 0;
    char *graph = parts_metadata(&p, DYNQ_META_GRAPH, &index);
    char *changed = parts_replace(graph, from, to);
    p.metadata[index].value = changed;
    parts_expect(&p, status, text);
    free(graph);
    free(changed);
    parts_free(&p);
}

Test(model_formats, wrong_graphs)
{
    static const struct {
        const char *name, *from, *to;
        dynq_status status;
        const char *text;
    } wrong[] = {
        {"fp16", "\"fp16\"", "\"fp8\"", DYNQ_ERR_FORMAT, "\"weights\""},
        {"fp16", "\"fp16\"", "16", DYNQ_ERR_FORMAT, "\"weights\""},
        {"fp16", "\"fp16\"", "\"bf16\"", DYNQ_ERR_TYPE, "'fc1.weight'"},
        {"fp16", "\"fp16\"", "\"int8\"", DYNQ_ERR_FORMAT, "weights are in int8"},
        {"fp16", "\"fp16\"", "\"fp64\"", DYNQ_ERR_FORMAT, "weights are in fp64"},
        {"fp16", "\"fp16\"", "\"fp32\"", DYNQ_ERR_TYPE, "'fc1.weight'"},
        {"fp16", "\"weights\":\"fp16\"", "\"weights\":\"fp16\",\"group\":32", DYNQ_ERR_FORMAT,
         "have no groups"},
        {"int16", "\"symmetric\"", "\"affine\"", DYNQ_ERR_FORMAT, "are symmetric"},
        {"int16", "\"int16\"", "\"int8\",\"weights\":\"int16\"", DYNQ_ERR_FORMAT,
         "weights are in int16"},
        {"int16", "\"int16\"", "\"int16\",\"group\":32", DYNQ_ERR_FORMAT, "have no groups"},
        {"int8 in groups of 32", "\"group\":32", "\"group\":48", DYNQ_ERR_FORMAT,
         "groups of 48 inputs"},
        {"int8 in groups of 32", "\"group\":32", "\"group\":64", DYNQ_ERR_SHAPE, "'fc1.weight'"},
        {"int8 in groups of 32", "\"group\":32", "\"group\":0", DYNQ_ERR_FORMAT, "\"group\""},
        {"int8 in groups of 32", "\"group\":32", "\"group\":32.5", DYNQ_ERR_FORMAT, "\"group\""},
        {"int8 in groups of 32", "\"group\":32", "\"group\":99999999", DYNQ_ERR_LIMIT, "\"group\""},
        {"int8 in groups of 128", "\"k\":150", "\"k\":127", DYNQ_ERR_SHAPE, "'fc1'"},
        {"int4", "\"weights\":\"int4\"", "\"weights\":\"int2\"", DYNQ_ERR_SHAPE, "'fc1.weight'"},
        {"int4", "\"weights\":\"int4\",", "", DYNQ_ERR_FORMAT, "\"layout\""},
        {"int4", "\"levels\":", "\"Levels\":", DYNQ_ERR_FORMAT, "\"levels\""},
        {"int4", "\"clusters\"", "\"random\"", DYNQ_ERR_FORMAT, "\"levels\""},
        {"int4", "\"table\":\"tensor\"", "\"table\":\"row\"", DYNQ_ERR_FORMAT, "\"table\""},
        {"int4", "\"table\":\"tensor\"", "\"table\":\"panel\"", DYNQ_ERR_SHAPE,
         "'fc1.weight_levels'"},
        {"int4 by panel", "\"table\":\"panel\"", "\"table\":\"tensor\"", DYNQ_ERR_SHAPE,
         "'fc1.weight_levels'"},
        {"int4", "\"table\":\"tensor\"", "\"table\":\"tensor\",\"group\":32", DYNQ_ERR_SHAPE,
         "'fc1.weight'"},
        {"int4 in groups of 32", "\"group\":32,", "", DYNQ_ERR_SHAPE, "'fc1.weight'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_graph(coded(wrong[i].name), wrong[i].from, wrong[i].to, wrong[i].status,
                     wrong[i].text);
    }
}

/* What no file can say in other ways. */
Test(model_formats, wrong_nodes)
{
    dynq_model *model = coded("fp32");
    dynq_node *node = &model->nodes[1];
    dynq_error error = {0};
    node->precision = DYNQ_PRECISION_INT8;
    node->range =
        (dynq_range_rule){DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, 0, 0};
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_ARGUMENT);
    node->weight_format = DYNQ_FORMAT_INT8;
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_OK, "%s", error.message);
    node->weight_levels = DYNQ_LEVELS_LOG;
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_ARGUMENT);
    node->weight_format = DYNQ_FORMAT_INT2;
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_ARGUMENT);
    node->table_scope = DYNQ_TABLE_PER_PANEL;
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_OK, "%s", error.message);
    node->weight_format = (dynq_format)9;
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_ARGUMENT);
    dynq_model_free(model);
    dynq_graph *g = dynq_graph_create(NULL);
    const float w[8 * 31] = {0};
    const dynq_tensor weight = {DYNQ_F32, 2, {8, 31}, w};
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", 31), &weight, NULL));
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    node = &model->nodes[1];
    node->precision = DYNQ_PRECISION_INT8;
    node->weight_format = 0;
    node->weight_group = 32;
    node->range =
        (dynq_range_rule){DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, 0, 0};
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_LIMIT);
    cr_assert_not_null(strstr(error.message, "groups of 32 inputs, but K is 31"));
    dynq_model_free(model);
    model = samples_transformer(NULL, false);
    for (size_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_ATTENTION) {
            model->nodes[i].precision = DYNQ_PRECISION_INT16;
        }
    }
    cr_assert_eq(dynq_model_check(model, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_not_null(strstr(error.message, "only linear layers can be in INT16"));
    dynq_model_free(model);
}

Test(model_formats, wrong_tensors)
{
    model_parts p = parts_of(coded("int4 by panel"));
    dynq_tensor *levels = parts_tensor(&p, "fc1.weight_levels");
    levels->shape[1] = 8;
    parts_expect(&p, DYNQ_ERR_SHAPE, "'fc1.weight_levels'");
    levels->shape[1] = 16;
    levels->shape[0]--;
    parts_expect(&p, DYNQ_ERR_SHAPE, "'fc1.weight_levels'");
    levels->shape[0]++;
    levels->dtype = DYNQ_U8;
    parts_expect(&p, DYNQ_ERR_TYPE, "'fc1.weight_levels'");
    levels->dtype = DYNQ_I8;
    dynq_tensor *weight = parts_tensor(&p, "fc1.weight");
    weight->shape[1] -= 64;
    parts_expect(&p, DYNQ_ERR_SHAPE, "'fc1.weight'");
    weight->shape[1] += 64;
    p.count--; /* the last one */
    parts_expect(&p, DYNQ_ERR_FORMAT, "is missing");
    parts_free(&p);
    p = parts_of(coded("int16"));
    parts_tensor(&p, "fc1.weight")->dtype = DYNQ_BF16;
    parts_expect(&p, DYNQ_ERR_TYPE, "'fc1.weight'");
    parts_free(&p);
}

/* The bytes of a tensor, to be made wrong. */
static unsigned char *bytes_of(model_parts *p, const char *name)
{
    return (unsigned char *)(uintptr_t)parts_tensor(p, name)->data;
}

static void set_word(model_parts *p, const char *name, size_t index, uint16_t word)
{
    memcpy(bytes_of(p, name) + 2 * index, &word, sizeof word);
}

Test(model_formats, verify_groups)
{
    model_parts p = parts_of(coded("int4 in groups of 32"));
    set_word(&p, "fc1.weight", 5, 0x7e00);
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "the factor of column 5, group 0 is NaN or Inf");
    set_word(&p, "fc1.weight", 5, 0xfc00);
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "the factor of column 5, group 0 is NaN or Inf");
    set_word(&p, "fc1.weight", 5, 0x3c00);
    set_word(&p, "fc1.weight", 16 + 2, 0x7fff);
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "the sum of column 2, group 0 is 32767, but");
    parts_free(&p);
    p = parts_of(coded("int4 in groups of 32"));
    const size_t panel = (size_t)parts_tensor(&p, "fc1.weight")->shape[1];
    set_word(&p, "fc1.weight", 8 * panel / 2 + 15, 1); /* 131 columns: the last panel has 3 */
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "the factor of column 143, group 0 is padding");
    parts_free(&p);
    p = parts_of(coded("int8 in groups of 64"));
    bytes_of(&p, "fc1.weight")[64] = 0x80;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "code [0][0] is -128");
    parts_free(&p);
    p = parts_of(coded("int8 in groups of 64"));
    const size_t part = 64 + 64 * 16; /* the last group has 22 of 64 inputs */
    bytes_of(&p, "fc1.weight")[2 * part + 64 + 63 / 4 * 64 + 63 % 4] = 1;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "code [0][191] is padding and not 0");
    parts_free(&p);
}

Test(model_formats, verify_levels)
{
    model_parts p = parts_of(coded("int2 by panel"));
    bytes_of(&p, "fc2.weight_levels")[4 + 1] = 0x80;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "node 'fc2': level [1][1] is -128");
    parts_free(&p);
    p = parts_of(coded("int4"));
    bytes_of(&p, "fc1.weight")[0] ^= 1;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "weight_sum[0] is");
    parts_free(&p);
}

Test(model_formats, verify_words)
{
    model_parts p = parts_of(coded("int16"));
    set_word(&p, "fc1.weight", 2 * 16 + 3, 0x8000);
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "code [1][3] is -32768");
    parts_free(&p);
    p = parts_of(coded("fp16"));
    set_word(&p, "fc1.weight", 16 * 4 + 2, 0x7c00);
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "weight[2][4] is NaN or Inf");
    parts_free(&p);
    p = parts_of(coded("bf16"));
    set_word(&p, "fc1.weight", 2 * 16 + 5, 0xffc0);
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "weight[2][3] is NaN or Inf");
    parts_free(&p);
    p = parts_of(coded("bf16")); /* fc2 has 131 inputs, so each column one of padding */
    set_word(&p, "fc2.weight", 65 * 32 + 1, 1);
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "weight [0][131] is padding and not 0");
    parts_free(&p);
    p = parts_of(coded("fp16"));
    set_word(&p, "fc1.weight", 8 * 150 * 16 + 4, 1);
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "weight [132][0] is padding and not 0");
    parts_free(&p);
}

/* Any byte of a file may be anything: it opens or it does not. */
Test(model_formats, any_byte_can_be_wrong)
{
    dynq_model *model = samples_every_format();
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    for (size_t i = 0; i < size; i += 1 + i / 40) {
        const unsigned char good = bytes[i];
        bytes[i] ^= (unsigned char)(1 + i % 255);
        parts_opens(bytes, size);
        bytes[i] = good;
    }
    for (size_t cut = 1; cut < size; cut += 1 + cut / 10) {
        cr_assert(!parts_opens(bytes, size - cut));
    }
    cr_assert(parts_opens(bytes, size));
    dynq_model_free(model);
    free(bytes);
}
