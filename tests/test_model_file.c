/* Model files whose bytes are wrong. */
#include "tests/model_parts.h"
#include "tests/samples.h"

#include "src/model_json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(model_file, versions)
{
    model_parts p = parts_of(samples_fp32(NULL));
    size_t index = 0;
    free(parts_metadata(&p, DYNQ_META_VERSION, &index));
    p.metadata[index].value = "2.0";
    parts_expect(&p, DYNQ_ERR_VERSION, "newer dynq");
    p.metadata[index].value = "65536.0";
    parts_expect(&p, DYNQ_ERR_VERSION, "65536.0");
    p.metadata[index].value = "1.7";
    dynq_model *model = NULL;
    cr_assert_eq(parts_open(&p, &model, NULL), DYNQ_OK, "a newer minor version is fine");
    dynq_model_free(model);
    const char *bad[] = {"", "1", "1.", ".0", "1.0 ", "one", "0.9", "-1.0", "1.0.0", "99999999.0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p.metadata[index].value = bad[i];
        parts_expect(&p, DYNQ_ERR_FORMAT, "is not a version");
    }
    parts_free(&p);
}

Test(model_file, other_safetensors_files)
{
    model_parts p = parts_of(samples_fp32(NULL));
    size_t index = 0;
    free(parts_metadata(&p, DYNQ_META_FORMAT, &index));
    p.metadata[index].value = "pt";
    parts_expect(&p, DYNQ_ERR_FORMAT, "not a dynq model");
    p.metadata[index].key = "something";
    parts_expect(&p, DYNQ_ERR_FORMAT, "not a dynq model");
    parts_free(&p);
    p = parts_of(samples_fp32(NULL));
    free(parts_metadata(&p, DYNQ_META_GRAPH, &index));
    p.metadata[index].key = "other";
    parts_expect(&p, DYNQ_ERR_FORMAT, "no graph");
    parts_free(&p);
}

static const struct {
    const char *from, *to;
    dynq_status status;
    const char *text;
} wrong_graphs[] = {
    {"{", "[", DYNQ_ERR_FORMAT, "not JSON"},
    {"\"nodes\"", "\"Nodes\"", DYNQ_ERR_FORMAT, "no lists"},
    {"\"outputs\"", "\"o\"", DYNQ_ERR_FORMAT, "no lists"},
    {"\"nodes\":[", "\"nodes\":[7,", DYNQ_ERR_FORMAT, "no name"},
    {"\"nodes\":[", "\"nodes\":[{\"name\":\"z\",\"op\":\"input\",\"columns\":1},", DYNQ_ERR_FORMAT,
     "'z' is not needed"},
    {"\"name\":\"x\"", "\"name\":5", DYNQ_ERR_FORMAT, "no name"},
    {"\"name\":\"x\"", "\"name\":\"\"", DYNQ_ERR_FORMAT, "names no node"},
    {"\"name\":\"x\"", "\"name\":\"a\",\"name\":\"x\"", DYNQ_ERR_FORMAT, "duplicate"},
    {"\"name\":\"x\"", "\"name\":\"x\\u0000y\"", DYNQ_ERR_FORMAT, "\\u0000"},
    {"\"name\":\"act\"", "\"name\":\"fc1\"", DYNQ_ERR_FORMAT, "two nodes"},
    {"\"name\":\"act\"", "\"name\":\"\\n\"", DYNQ_ERR_FORMAT, "names no node"},
    {"\"op\":\"relu\"", "\"op\":\"conv\"", DYNQ_ERR_FORMAT, "\"op\""},
    {"\"op\":\"relu\"", "\"op\":3", DYNQ_ERR_FORMAT, "\"op\""},
    {"\"op\":\"relu\"", "\"op\":\"add\"", DYNQ_ERR_FORMAT, "wrong number of inputs"},
    {"\"op\":\"relu\"", "\"op\":\"input\",\"columns\":18", DYNQ_ERR_FORMAT, "number of inputs"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[\"act\"]", DYNQ_ERR_FORMAT, "before it"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[\"fc2\"]", DYNQ_ERR_FORMAT, "before it"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[\"none\"]", DYNQ_ERR_FORMAT, "before it"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[1]", DYNQ_ERR_FORMAT, "before it"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":{\"a\":1}", DYNQ_ERR_FORMAT, "not a list"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[\"x\",\"x\",\"x\",\"x\"]", DYNQ_ERR_FORMAT, "too many"},
    {"\"inputs\":[\"fc1\"]", "\"inputs\":[\"x\"]", DYNQ_ERR_SHAPE, "'fc2'"},
    {"\"columns\":5", "\"columns\":0", DYNQ_ERR_FORMAT, "\"columns\""},
    {"\"columns\":5", "\"columns\":-5", DYNQ_ERR_FORMAT, "\"columns\""},
    {"\"columns\":5", "\"columns\":5.0", DYNQ_ERR_FORMAT, "\"columns\""},
    {"\"columns\":5", "\"columns\":\"5\"", DYNQ_ERR_FORMAT, "\"columns\""},
    {"\"columns\":5", "\"columns\":6", DYNQ_ERR_SHAPE, "'fc1'"},
    {"\"columns\":5", "\"columns\":9223372036854775807", DYNQ_ERR_LIMIT, "\"columns\""},
    {"\"columns\":5", "\"columns\":9223372036854775808", DYNQ_ERR_FORMAT, "not JSON"},
    {"\"k\":5", "\"k\":16777217", DYNQ_ERR_LIMIT, "\"k\""},
    {"\"k\":5", "\"K\":5", DYNQ_ERR_FORMAT, "\"k\""},
    {"\"n\":18", "\"n\":17", DYNQ_ERR_SHAPE, "'fc2'"},
    {"\"n\":7", "\"n\":6", DYNQ_ERR_SHAPE, "'fc2.weight_sum'"},
    {"\"n\":7", "\"n\":17", DYNQ_ERR_SHAPE, "'fc2.weight'"},
    {"\"bias\":true", "\"bias\":false", DYNQ_ERR_FORMAT, "'fc1.bias' belongs to no node"},
    {"\"bias\":true", "\"bias\":1", DYNQ_ERR_FORMAT, "\"bias\""},
    {"\"bias\":false", "\"bias\":true", DYNQ_ERR_FORMAT, "'fc2.bias' is missing"},
    {"\"int8\"", "\"int4\"", DYNQ_ERR_FORMAT, "\"precision\""},
    {"\"int8\"", "\"fp32\"", DYNQ_ERR_TYPE, "'fc1.weight'"},
    {"\"p16x4\"", "\"p16x8\"", DYNQ_ERR_FORMAT, "\"layout\""},
    {"\"layout\":", "\"lay\":", DYNQ_ERR_FORMAT, "\"layout\""},
    {"\"range\":", "\"Range\":", DYNQ_ERR_FORMAT, "\"kind\""},
    {"\"static\"", "\"guessed\"", DYNQ_ERR_FORMAT, "\"kind\""},
    {"\"tensor\"", "\"row\"", DYNQ_ERR_FORMAT, "static range is per tensor"},
    {"\"affine\"", "null", DYNQ_ERR_FORMAT, "\"scheme\""},
    {"\"lo\":-0", "\"lo\":0", DYNQ_ERR_FORMAT, "does not contain 0"},
    {"\"hi\":3", "\"hi\":-3", DYNQ_ERR_FORMAT, "does not contain 0"},
    {"\"hi\":", "\"Hi\":", DYNQ_ERR_FORMAT, "\"hi\""},
    {"\"hi\":3", "\"hi\":1e300,\"x\":3", DYNQ_ERR_NOT_FINITE, "\"hi\""},
    {"\"hi\":3", "\"hi\":1e999,\"x\":3", DYNQ_ERR_FORMAT, "not JSON"},
    {"\"hi\":3", "\"hi\":NaN,\"x\":3", DYNQ_ERR_FORMAT, "not JSON"},
    {"\"symmetric\"", "\"symmetric\",\"lo\":1,\"hi\":2", DYNQ_ERR_FORMAT,
     "limited range [1, 2] does not contain 0"},
    {"\"symmetric\"", "\"symmetric\",\"lo\":-2,\"hi\":-1", DYNQ_ERR_FORMAT, "does not contain 0"},
    {"\"symmetric\"", "\"symmetric\",\"lo\":-2", DYNQ_ERR_FORMAT, "\"hi\" is not a number"},
    {"\"symmetric\"", "\"symmetric\",\"hi\":2", DYNQ_ERR_FORMAT, "\"lo\" is not a number"},
    {"\"symmetric\"", "\"symmetric\",\"lo\":null,\"hi\":2", DYNQ_ERR_FORMAT, "\"lo\""},
    {"\"symmetric\"", "\"symmetric\",\"lo\":-1,\"hi\":1e39", DYNQ_ERR_NOT_FINITE, "\"hi\""},
    {"\"symmetric\"", "\"symmetric\",\"lo\":-1e39,\"hi\":1", DYNQ_ERR_NOT_FINITE, "\"lo\""},
    {"\"epsilon\":", "\"epsilon\":-", DYNQ_ERR_FORMAT, "negative"},
    {"\"epsilon\":", "\"e\":", DYNQ_ERR_FORMAT, "\"epsilon\""},
    {"\"name\":\"logits\"", "\"name\":\"p\"", DYNQ_ERR_FORMAT, "two outputs"},
    {"\"name\":\"logits\"", "\"name\":\"\"", DYNQ_ERR_FORMAT, "output 0"},
    {"\"name\":\"logits\"", "\"title\":\"\"", DYNQ_ERR_FORMAT, "no name"},
    {"\"node\":\"norm\"", "\"node\":\"none\"", DYNQ_ERR_FORMAT, "\"node\""},
    {"\"node\":\"norm\"", "\"node\":4", DYNQ_ERR_FORMAT, "\"node\""},
};

Test(model_file, wrong_graphs)
{
    model_parts p = parts_of(samples_int8(NULL));
    size_t index = 0;
    char *graph = parts_metadata(&p, DYNQ_META_GRAPH, &index);
    for (size_t i = 0; i < sizeof wrong_graphs / sizeof *wrong_graphs; i++) {
        char *text = parts_replace(graph, wrong_graphs[i].from, wrong_graphs[i].to);
        p.metadata[index].value = text;
        parts_expect(&p, wrong_graphs[i].status, wrong_graphs[i].text);
        free(text);
    }
    p.metadata[index].value = "{\"nodes\":[],\"outputs\":[]}";
    parts_expect(&p, DYNQ_ERR_FORMAT, "no input");
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    p.metadata[index].value = deep;
    parts_expect(&p, DYNQ_ERR_FORMAT, "depth");
    free(deep);
    free(graph);
    parts_free(&p);
}

Test(model_file, unknown_keys_are_ignored)
{
    model_parts p = parts_of(samples_int8(NULL));
    size_t index = 0;
    char *graph = parts_metadata(&p, DYNQ_META_GRAPH, &index);
    char *text = parts_replace(graph, "\"k\":5", "\"k\":5,\"since\":[\"1.1\",{}]");
    p.metadata[index].value = text;
    dynq_model *model = NULL;
    cr_assert_eq(parts_open(&p, &model, NULL), DYNQ_OK);
    dynq_model_free(model);
    free(text);
    free(graph);
    parts_free(&p);
}

/* The limit of K: a layer one above it, with weights of the right shape. */
Test(model_file, k_over_the_limit)
{
    for (size_t k = DYNQ_MAX_INT8_K; k <= DYNQ_MAX_INT8_K + 1; k++) {
        char graph[512];
        snprintf(graph, sizeof graph,
                 "{\"nodes\":[{\"name\":\"x\",\"op\":\"input\",\"columns\":%zu},{\"name\":\"fc\","
                 "\"op\":\"linear\",\"inputs\":[\"x\"],\"k\":%zu,\"n\":1,\"bias\":false,"
                 "\"precision\":\"int8\",\"layout\":\"p16x4\",\"range\":{\"kind\":\"dynamic\","
                 "\"granularity\":\"row\",\"scheme\":\"affine\"}}],"
                 "\"outputs\":[{\"name\":\"y\",\"node\":\"fc\"}]}",
                 k, k);
        const size_t kpad = (k + 63) / 64 * 64;
        int8_t *codes = calloc(kpad, 16);
        const float scale = 1;
        const int32_t sum = 0;
        const model_parts p = {
            .sources = {{"fc.weight", {DYNQ_I8, 4, {1, kpad / 4, 16, 4}, codes}},
                        {"fc.weight_scale", {DYNQ_F32, 1, {1}, &scale}},
                        {"fc.weight_sum", {DYNQ_I32, 1, {1}, &sum}}},
            .count = 3,
            .metadata = {{"format", "dynq"}, {"dynq_format", "1.0"}, {"graph", graph}}};
        if (k > DYNQ_MAX_INT8_K) {
            parts_expect(&p, DYNQ_ERR_LIMIT, "'fc'");
        } else {
            dynq_model *model = NULL;
            cr_assert_eq(parts_open(&p, &model, NULL), DYNQ_OK);
            cr_assert_eq(dynq_model_verify(model, NULL), DYNQ_OK);
            dynq_model_free(model);
        }
        free(codes);
    }
}

Test(model_file, wrong_tensors)
{
    model_parts p = parts_of(samples_int8(NULL));
    for (size_t i = 0; i < p.count; i++) { /* each is needed */
        model_parts without = p;
        without.sources[i] = without.sources[--without.count];
        parts_expect(&without, DYNQ_ERR_FORMAT, "is missing");
    }
    model_parts changed = p;
    const float extra[2] = {0};
    changed.sources[changed.count++] = (dynq_st_source){"fc3.bias", {DYNQ_F32, 1, {2}, extra}};
    parts_expect(&changed, DYNQ_ERR_FORMAT, "'fc3.bias' belongs to no node");
    changed = p;
    parts_tensor(&changed, "fc1.weight")->dtype = DYNQ_U8;
    parts_expect(&changed, DYNQ_ERR_TYPE, "'fc1.weight'");
    changed = p;
    parts_tensor(&changed, "fc1.weight_sum")->dtype = DYNQ_F32;
    parts_expect(&changed, DYNQ_ERR_TYPE, "'fc1.weight_sum'");
    changed = p;
    parts_tensor(&changed, "fc1.bias")->shape[0] = 17;
    parts_expect(&changed, DYNQ_ERR_SHAPE, "'fc1.bias'");
    changed = p;
    parts_tensor(&changed, "fc1.weight")->shape[0] = 1;
    parts_expect(&changed, DYNQ_ERR_SHAPE, "'fc1.weight'");
    changed = p;
    *parts_tensor(&changed, "norm.bias") = (dynq_tensor){DYNQ_F32, 2, {7, 1}, extra};
    parts_tensor(&changed, "norm.bias")->data = parts_tensor(&p, "fc1.bias")->data;
    parts_expect(&changed, DYNQ_ERR_SHAPE, "'norm.bias'");
    parts_free(&p);
}

Test(model_file, wrong_numbers)
{
    model_parts p = parts_of(samples_int8(NULL));
    const struct {
        const char *tensor;
        float value;
        dynq_status status;
        const char *text;
    } cases[] = {
        {"fc1.weight_scale", NAN, DYNQ_ERR_NOT_FINITE, "'fc1.weight_scale': element 3 is NaN"},
        {"fc1.weight_scale", INFINITY, DYNQ_ERR_NOT_FINITE, "element 3 is Inf"},
        {"fc2.weight_scale", 0, DYNQ_ERR_FORMAT, "element 3 is 0"},
        {"fc2.weight_scale", -1, DYNQ_ERR_FORMAT, "element 3 is -1"},
        {"fc1.bias", -INFINITY, DYNQ_ERR_NOT_FINITE, "'fc1.bias': element 3 is Inf"},
        {"norm.bias", NAN, DYNQ_ERR_NOT_FINITE, "'norm.bias'"},
        {"norm.weight", NAN, DYNQ_ERR_NOT_FINITE, "'norm.weight'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float values[32];
        dynq_tensor *tensor = parts_tensor(&p, cases[i].tensor);
        const void *data = tensor->data;
        memcpy(values, data, tensor->shape[0] * sizeof *values);
        values[3] = cases[i].value;
        tensor->data = values;
        parts_expect(&p, cases[i].status, cases[i].text);
        tensor->data = data;
    }
    parts_free(&p);
}

Test(model_file, verify)
{
    model_parts p = parts_of(samples_int8(NULL));
    int8_t *codes = (int8_t *)(uintptr_t)parts_tensor(&p, "fc1.weight")->data;
    int8_t old = codes[4]; /* column 1, input 0 */
    codes[4] = -128;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'fc1': code [1][0] is -128");
    codes[4] = (int8_t)(old == 127 ? 126 : old + 1);
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'fc1': weight_sum[1]");
    codes[4] = old;
    codes[64 + 3] = 1; /* column 0, input 7 of 5 */
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'fc1': code [0][7] is padding");
    codes[64 + 3] = 0;
    codes[1024 + 8] = 1; /* second panel, column 18 of 18 */
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'fc1': code [18][0] is padding");
    codes[1024 + 8] = 0;
    int32_t *sums = (int32_t *)(uintptr_t)parts_tensor(&p, "fc2.weight_sum")->data;
    sums[6] ^= INT32_MIN;
    parts_expect_verify(&p, DYNQ_ERR_FORMAT, "'fc2': weight_sum[6]");
    parts_free(&p);
    p = parts_of(samples_fp32(NULL));
    float *weights = (float *)(uintptr_t)parts_tensor(&p, "fc2.weight")->data;
    weights[2 * 18 + 5] = NAN;
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "'fc2': weight[2][5] is NaN");
    weights[2 * 18 + 5] = -INFINITY;
    parts_expect_verify(&p, DYNQ_ERR_NOT_FINITE, "'fc2': weight[2][5] is Inf");
    parts_free(&p);
}

Test(model_file, every_truncation_fails)
{
    for (int int8 = 0; int8 < 2; int8++) {
        model_parts p = parts_of(int8 ? samples_int8(NULL) : samples_fp32(NULL));
        cr_assert(parts_opens(p.bytes, p.size));
        for (size_t size = 0; size < p.size; size++) {
            cr_assert_not(parts_opens(p.bytes, size), "%zu of %zu bytes", size, p.size);
        }
        unsigned char *longer = calloc(p.size + 1, 1);
        memcpy(longer, p.bytes, p.size);
        cr_assert_not(parts_opens(longer, p.size + 1), "a trailing byte");
        free(longer);
        parts_free(&p);
    }
}

Test(model_file, every_flip_opens_or_fails)
{
    model_parts p = parts_of(samples_int8(NULL));
    size_t failed = 0;
    for (size_t i = 0; i < p.size; i++) {
        /* Each bit, and the whole byte; of the packed codes only the whole byte. */
        for (int bit = i < p.header.data_offset ? 0 : 7; bit < 9; bit++) {
            const unsigned char flip = bit < 8 ? (unsigned char)(1 << bit) : 0xff;
            p.bytes[i] ^= flip;
            failed += !parts_opens(p.bytes, p.size);
            p.bytes[i] ^= flip;
        }
    }
    cr_assert_gt(failed, 8 * 500, "most flips in the header are errors");
    cr_assert(parts_opens(p.bytes, p.size));
    parts_free(&p);
}

Test(model_file, random_mutations_open_or_fail)
{
    model_parts p = parts_of(samples_int8(NULL));
    unsigned char *bytes = malloc(p.size);
    const uint32_t seed = 20240607;
    cr_log_info("seed %u", seed);
    uint32_t state = seed;
    for (int round = 0; round < 4000; round++) {
        memcpy(bytes, p.bytes, p.size);
        const size_t region = round % 4 == 0 ? p.size : p.header.data_offset;
        for (int i = 0; i <= round % 7; i++) {
            state = state * 1664525u + 1013904223u;
            const size_t at = (state >> 8) % region;
            state = state * 1664525u + 1013904223u;
            const size_t from = (state >> 8) % region;
            switch (state >> 30) {
            case 0: bytes[at] = (unsigned char)(state >> 16); break;
            case 1: bytes[at] = bytes[from]; break;
            case 2: bytes[at] = "0123456789{}[],\":-e."[(state >> 8) % 20]; break;
            default: {
                const size_t last = at > from ? at : from;
                const size_t length = region - last < 12 ? region - last : 12;
                memmove(bytes + at, bytes + from, length);
            }
            }
        }
        parts_opens(bytes, p.size);
    }
    free(bytes);
    parts_free(&p);
}
