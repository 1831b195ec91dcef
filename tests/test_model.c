#include "tests/samples.h"

#include "src/pack.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <signal.h>
#include <unistd.h>

static dynq_model *open_memory(const void *bytes, size_t size)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_model_open_memory(bytes, size, NULL, &model, &error), DYNQ_OK, "%s",
                 error.message);
    return model;
}

static void assert_saved_as(const dynq_model *model, const unsigned char *bytes, size_t size)
{
    size_t saved_size = 0;
    unsigned char *saved = samples_saved(model, &saved_size);
    cr_assert_eq(saved_size, size);
    cr_assert_eq(memcmp(saved, bytes, size), 0);
    free(saved);
}

Test(model, version)
{
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", DYNQ_VERSION_MAJOR, DYNQ_VERSION_MINOR,
             DYNQ_VERSION_PATCH);
    cr_assert_str_eq(dynq_version(), expected);
}

Test(model, names_of_values)
{
    cr_assert_str_eq(dynq_op_name(DYNQ_OP_LAYER_NORM), "layer_norm");
    cr_assert_str_eq(dynq_precision_name(DYNQ_PRECISION_INT8), "int8");
    cr_assert_str_eq(dynq_range_kind_name(DYNQ_RANGE_STATIC), "static");
    cr_assert_str_eq(dynq_scope_name(DYNQ_SCOPE_SEGMENT), "segment");
    cr_assert_str_eq(dynq_scheme_name(DYNQ_SCHEME_SYMMETRIC), "symmetric");
    cr_assert_null(dynq_op_name((dynq_op)0));
    cr_assert_null(dynq_op_name((dynq_op)99));
    cr_assert_null(dynq_precision_name((dynq_precision)0));
    cr_assert_null(dynq_range_kind_name((dynq_range_kind)3));
    cr_assert_null(dynq_scope_name((dynq_scope)4));
    cr_assert_null(dynq_scheme_name((dynq_scheme)-1));
}

Test(model, accessors)
{
    dynq_model *model = samples_int8(NULL);
    cr_assert_eq(dynq_model_find(model, "fc2"), 3);
    cr_assert_eq(dynq_model_find(model, "fc"), -1);
    cr_assert_eq(dynq_model_find(model, NULL), -1);
    dynq_node_info info = {.size = sizeof info};
    cr_assert_eq(dynq_model_node(model, 1, &info), DYNQ_OK);
    cr_assert_str_eq(info.name, "fc1");
    cr_assert(info.k == 5 && info.n == 18 && info.has_bias && info.input_count == 1);
    cr_assert(info.precision == DYNQ_PRECISION_INT8 && info.range.kind == DYNQ_RANGE_STATIC);
    cr_assert_eq(info.parameters, 18 * 5 + 18);
    cr_assert_eq(info.weight_bytes, 32 * 64 + 3 * 4 * 18);
    cr_assert_eq(dynq_model_node(model, 4, &info), DYNQ_OK);
    cr_assert(info.parameters == 14 && info.weight_bytes == 56 && info.epsilon == 1e-12f);
    cr_assert(!info.has_bias && info.precision == DYNQ_PRECISION_FP32 && info.range.kind == 0);
    cr_assert_eq(dynq_model_node(model, 6, &info), DYNQ_ERR_ARGUMENT);
    info.size = 0;
    cr_assert_eq(dynq_model_node(model, 0, &info), DYNQ_ERR_ARGUMENT);
    const char *name = NULL;
    size_t node = 0;
    cr_assert_eq(dynq_model_output_count(model), 2);
    cr_assert_eq(dynq_model_output(model, 1, &name, &node), DYNQ_OK);
    cr_assert(strcmp(name, "p") == 0 && node == 5);
    cr_assert_eq(dynq_model_output(model, 0, NULL, NULL), DYNQ_OK);
    cr_assert_eq(dynq_model_output(model, 2, NULL, NULL), DYNQ_ERR_ARGUMENT);
    dynq_model_free(model);
}

Test(model, info_of_an_older_caller)
{
    dynq_model *model = samples_fp32(NULL);
    dynq_node_info info;
    memset(&info, 0x55, sizeof info);
    info.size = offsetof(dynq_node_info, k);
    cr_assert_eq(dynq_model_node(model, 0, &info), DYNQ_OK);
    cr_assert_str_eq(info.name, "x");
    cr_assert_neq(info.k, 5); /* beyond what this caller has */
    dynq_model_free(model);
}

Test(model, weights_as_floats)
{
    dynq_model *plain = samples_fp32(NULL), *model = samples_int8(NULL);
    float exact[90], codes[90];
    cr_assert_eq(dynq_model_weights(plain, 1, exact, 90), DYNQ_OK);
    cr_assert_eq(dynq_model_weights(model, 1, codes, 90), DYNQ_OK);
    for (size_t i = 0; i < 90; i++) {
        const float scale = model->nodes[1].weight_scale[i / 5];
        cr_assert_leq(fabsf(exact[i] - codes[i]), 0.501f * scale);
    }
    cr_assert_eq(dynq_model_weights(model, 1, codes, 89), DYNQ_ERR_LIMIT);
    cr_assert_eq(dynq_model_weights(model, 2, codes, 90), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_weights(model, 6, codes, 90), DYNQ_ERR_ARGUMENT);
    dynq_model_free(plain);
    dynq_model_free(model);
}

static void round_trip(dynq_model *model)
{
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    cr_assert_eq(dynq_model_file_bytes(model), size);
    assert_saved_as(model, bytes, size);

    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/model", directory);
    samples_write(path, bytes, size);
    for (int copy = 0; copy < 2; copy++) {
        const dynq_open_options options = {.size = sizeof options, .copy = copy};
        dynq_model *opened = NULL;
        dynq_error error = {0};
        cr_assert_eq(dynq_model_open(path, &options, &opened, &error), DYNQ_OK, "%s",
                     error.message);
        cr_assert_eq(dynq_model_verify(opened, &error), DYNQ_OK, "%s", error.message);
        cr_assert_eq(dynq_model_file_bytes(opened), size);
        cr_assert_eq(opened->owned_count, 0, "nothing is copied");
        assert_saved_as(opened, bytes, size);
        cr_assert_eq(dynq_model_save(opened, path, &error), DYNQ_OK, "onto itself");
        dynq_model_free(opened);
    }
    cr_assert_eq(samples_remove(directory), 1);
    dynq_model_free(model);
    free(bytes);
}

Test(model, round_trip_fp32)
{
    round_trip(samples_fp32(NULL));
}

Test(model, round_trip_int8)
{
    round_trip(samples_int8(NULL));
}

Test(model, round_trip_of_transformers)
{
    round_trip(samples_transformer(NULL, false));
    round_trip(samples_transformer_int8(NULL, true));
    round_trip(samples_encoder(false));
    round_trip(samples_encoder(true));
}

Test(model, every_float_comes_back)
{
    const float values[] = {0,        1e-12f,         FLT_MIN,   FLT_MAX,     FLT_EPSILON,
                            1.4e-45f, 0.1f,           1.0f / 3,  16777217.0f, 3.2500002f,
                            1e-40f,   0x1.fffffep-1f, 8388609.0f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        dynq_model *model = samples_int8(NULL);
        model->nodes[4].epsilon = values[i];
        model->nodes[1].range.lo = -values[i];
        model->nodes[1].range.hi = values[i];
        model->nodes[3].range.lo = -values[i]; /* limits of a dynamic range */
        model->nodes[3].range.hi = values[sizeof values / sizeof *values - 1 - i];
        size_t size = 0;
        unsigned char *bytes = samples_saved(model, &size);
        dynq_model *opened = open_memory(bytes, size);
        cr_assert_eq(memcmp(&opened->nodes[4].epsilon, &values[i], sizeof(float)), 0);
        cr_assert_eq(
            memcmp(&opened->nodes[1].range, &model->nodes[1].range, sizeof opened->nodes[1].range),
            0);
        cr_assert(opened->nodes[3].range.kind == DYNQ_RANGE_DYNAMIC &&
                  opened->nodes[3].range.lo == model->nodes[3].range.lo &&
                  opened->nodes[3].range.hi == model->nodes[3].range.hi);
        dynq_model_free(opened);
        dynq_model_free(model);
        free(bytes);
    }
}

/* Files of tests/golden/model_files.py: the first was written by dynq, the others hold the same
 * model, one written by the stock Python package, one with all tensors at odd addresses. */
Test(model, golden_files)
{
    dynq_model *model = samples_int8(NULL);
    size_t size = 0;
    unsigned char *golden = samples_read(DYNQ_GOLDEN_DIR "/model_int8.safetensors", &size);
    assert_saved_as(model, golden, size);
    const char *others[] = {DYNQ_GOLDEN_DIR "/model_stock.safetensors",
                            DYNQ_GOLDEN_DIR "/model_odd.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        dynq_model *opened = NULL;
        dynq_error error = {0};
        cr_assert_eq(dynq_model_open(others[i], NULL, &opened, &error), DYNQ_OK, "%s",
                     error.message);
        cr_assert_eq(dynq_model_verify(opened, &error), DYNQ_OK, "%s", error.message);
        cr_assert_eq((uintptr_t)opened->nodes[1].packed % 64, 0);
        cr_assert_gt(opened->owned_count, 0, "this file needs copies");
        assert_saved_as(opened, golden, size);
        dynq_model_free(opened);
    }
    free(golden);
    dynq_model_free(model);
}

Test(model, memory_of_any_alignment)
{
    dynq_model *model = samples_int8(NULL);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    for (size_t shift = 0; shift < 65; shift++) {
        unsigned char *memory = aligned_alloc(64, (size + 192) & ~(size_t)63);
        memcpy(memory + shift, bytes, size);
        for (int copy = 0; copy < 2; copy++) {
            const dynq_open_options options = {.size = sizeof options, .copy = copy};
            dynq_model *opened = NULL;
            cr_assert_eq(dynq_model_open_memory(memory + shift, size, &options, &opened, NULL),
                         DYNQ_OK);
            cr_assert_eq(opened->owned_count == 0, copy || shift % 64 == 0);
            if (copy) {
                memset(memory, 0x5a, size + shift); /* no longer needed */
            }
            assert_saved_as(opened, bytes, size);
            dynq_model_free(opened);
        }
        free(memory);
    }
    free(bytes);
    dynq_model_free(model);
}

/* One linear layer of 256 x 256. */
static dynq_model *large(bool int8)
{
    enum { K = 256, N = 256 };
    static float weights[N * K];
    samples_fill(weights, N * K, 9);
    const dynq_tensor tensor = {DYNQ_F32, 2, {N, K}, weights};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", K), &tensor, NULL));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    if (int8) {
        dynq_node *node = &model->nodes[1];
        int8_t *packed = dynq_model_own(model, dynq_packed_s8_bytes(K, N), 1);
        float *scale = dynq_model_own(model, N, sizeof *scale);
        int32_t *sum = dynq_model_own(model, N, sizeof *sum);
        dynq_pack_s8(node->weight, K, N, packed, scale, sum);
        *node = (dynq_node){
            .name = node->name,
            .op = DYNQ_OP_LINEAR,
            .input_count = 1,
            .k = K,
            .n = N,
            .precision = DYNQ_PRECISION_INT8,
            .weight_format = DYNQ_FORMAT_INT8,
            .packed = packed,
            .weight_scale = scale,
            .weight_sum = sum,
            .range = {DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, DYNQ_SCHEME_AFFINE, 0, 0}};
    }
    return model;
}

Test(model, opening_reads_no_weights)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int int8 = 0; int8 < 2; int8++) {
        dynq_model *model = large(int8);
        const size_t weight_bytes = 256 * 256 * (int8 ? 1 : sizeof(float));
        size_t size = 0;
        unsigned char *bytes = samples_saved(model, &size);
        const size_t room = dynq_round_up(size, page);
        unsigned char *map =
            mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(map, MAP_FAILED);
        memcpy(map, bytes, size);
        dynq_model *opened = open_memory(map, size);
        const dynq_node *node = &opened->nodes[1];
        const void *weights = int8 ? (const void *)node->packed : node->weight;
        const size_t offset = (size_t)((const unsigned char *)weights - map);
        dynq_model_free(opened);
        /* Every page that holds nothing but weights. */
        const size_t first = dynq_round_up(offset, page);
        const size_t end = (offset + weight_bytes) & ~(page - 1);
        cr_assert_gt(end, first + weight_bytes / 2);
        cr_assert_eq(mprotect(map + first, end - first, PROT_NONE), 0);
        dynq_model_free(open_memory(map, size));
        cr_assert_eq(munmap(map, room), 0);
        free(bytes);
        dynq_model_free(model);
    }
}

Test(model, references)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_model *model = samples_fp32(&allocator);
    cr_assert_eq(dynq_model_retain(model), model);
    dynq_model_free(model);
    cr_assert_eq(dynq_model_find(model, "x"), 0);
    cr_assert_gt(memory.live, 0);
    dynq_model_free(model);
    cr_assert_eq(memory.live, 0);
    dynq_model_free(NULL);
}

Test(model, every_allocation_can_fail)
{
    dynq_model *model = samples_int8(NULL);
    size_t size = 0;
    unsigned char *bytes = samples_saved(model, &size);
    unsigned char *odd = malloc(size + 1);
    memcpy(odd + 1, bytes, size);
    for (int copy = 0; copy < 2; copy++) {
        bool failed = true;
        for (size_t n = 1; failed; n++) {
            samples_memory memory = {.fail_at = n};
            const dynq_allocator allocator = samples_allocator(&memory);
            const dynq_open_options options = {sizeof options, &allocator, copy};
            dynq_model *opened = NULL;
            dynq_error error = {0};
            const dynq_status status =
                dynq_model_open_memory(odd + 1, size, &options, &opened, &error);
            failed = memory.calls >= n;
            cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK, "allocation %zu: %s", n,
                         error.message);
            cr_assert_eq(opened == NULL, failed);
            dynq_model_free(opened);
            cr_assert_eq(memory.live, 0, "allocation %zu leaks", n);
        }
    }
    free(odd);
    free(bytes);
    dynq_model_free(model);
}

Test(model, saving_without_memory)
{
    samples_memory memory = {0};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_model *model = samples_int8(&allocator);
    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/model", directory);
    const size_t live = memory.live;
    for (size_t n = 1; n < 4; n++) { /* sources, names, graph */
        memory.calls = 0;
        memory.fail_at = n;
        cr_assert_eq(dynq_model_save(model, path, NULL), DYNQ_ERR_MEMORY);
        memory.calls = 0;
        cr_assert_eq(dynq_model_file_bytes(model), 0);
        cr_assert_eq(memory.live, live);
    }
    cr_assert_eq(samples_remove(directory), 0);
    dynq_model_free(model);
}

Test(model, a_failed_save_leaves_the_old_file)
{
    dynq_model *model = large(false);
    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/model", directory);
    samples_write(path, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {.rlim_cur = 70000, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    dynq_error error = {0};
    cr_assert_eq(dynq_model_save(model, path, &error), DYNQ_ERR_IO);
    cr_assert_not_null(strstr(error.message, path));
    size_t size = 0;
    unsigned char *bytes = samples_read(path, &size);
    cr_assert(size == 3 && memcmp(bytes, "old", 3) == 0);
    free(bytes);
    cr_assert_eq(samples_remove(directory), 1, "no temporary file is left");
    cr_assert_eq(dynq_model_save(model, "/nowhere/at all/model", &error), DYNQ_ERR_IO);
    dynq_model_free(model);
}

Test(model, wrong_arguments)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    const dynq_open_options no_size = {0};
    cr_assert_eq(dynq_model_open(NULL, NULL, &model, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_open("x", NULL, NULL, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_open("x", &no_size, &model, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_open_memory(NULL, 1, NULL, &model, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_open_memory(NULL, 0, NULL, &model, &error), DYNQ_ERR_FORMAT);
    cr_assert_eq(dynq_model_open("/nowhere/model", NULL, &model, &error), DYNQ_ERR_IO);
    cr_assert_eq(dynq_model_open("/", NULL, &model, &error), DYNQ_ERR_IO);
    cr_assert_eq(dynq_model_save(NULL, "x", &error), DYNQ_ERR_ARGUMENT);
    cr_assert_eq(dynq_model_verify(NULL, &error), DYNQ_ERR_ARGUMENT);
    cr_assert_null(model);
}
