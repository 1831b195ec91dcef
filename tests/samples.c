#include "tests/samples.h"

#include "src/pack.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void samples_fill(float *x, size_t count, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static dynq_tensor vector(const float *data, size_t n)
{
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 1, .shape = {n}, .data = data};
}

static dynq_tensor matrix(const float *data, size_t n, size_t k)
{
    return (dynq_tensor){.dtype = DYNQ_F32, .rank = 2, .shape = {n, k}, .data = data};
}

dynq_model *samples_fp32(const dynq_allocator *allocator)
{
    float w1[18 * 5], b1[18], w2[7 * 18], gain[7], shift[7];
    samples_fill(w1, 18 * 5, 1);
    samples_fill(b1, 18, 2);
    samples_fill(w2, 7 * 18, 3);
    samples_fill(gain, 7, 4);
    samples_fill(shift, 7, 5);
    const dynq_tensor weight1 = matrix(w1, 18, 5), bias1 = vector(b1, 18),
                      weight2 = matrix(w2, 7, 18), weight3 = vector(gain, 7),
                      bias3 = vector(shift, 7);
    dynq_graph *g = dynq_graph_create(allocator);
    dynq_value v = dynq_linear(g, "fc1", dynq_input(g, "x", 5), &weight1, &bias1);
    v = dynq_linear(g, "fc2", dynq_relu(g, "act", v), &weight2, NULL);
    v = dynq_layer_norm(g, "norm", v, &weight3, &bias3, 1e-12f);
    dynq_output(g, "logits", v);
    dynq_output(g, "p", dynq_softmax(g, "p", v));
    dynq_model *model = NULL;
    return dynq_graph_finish(g, &model, NULL) == DYNQ_OK ? model : NULL;
}

static const float *own_copy(dynq_model *model, const float *data, size_t count)
{
    float *copy = dynq_model_own(model, count, sizeof *copy);
    if (copy != NULL && data != NULL) {
        memcpy(copy, data, count * sizeof *copy);
    }
    return copy;
}

static void quantize_node(dynq_model *model, dynq_node *node, const dynq_node *from)
{
    int8_t *packed = dynq_model_own(model, dynq_packed_s8_bytes(from->k, from->n), 1);
    float *scale = dynq_model_own(model, from->n, sizeof *scale);
    int32_t *sum = dynq_model_own(model, from->n, sizeof *sum);
    cr_assert(packed != NULL && scale != NULL && sum != NULL);
    dynq_pack_s8(from->weight, from->k, from->n, packed, scale, sum);
    node->precision = DYNQ_PRECISION_INT8;
    node->weight_format = DYNQ_FORMAT_INT8;
    node->packed = packed;
    node->weight_scale = scale;
    node->weight_sum = sum;
    node->range =
        (dynq_range_rule){DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_ROW, DYNQ_SCHEME_SYMMETRIC, 0, 0};
    if (strcmp(node->name, "fc1") == 0) {
        node->range = (dynq_range_rule){DYNQ_RANGE_STATIC, DYNQ_SCOPE_TENSOR, DYNQ_SCHEME_AFFINE,
                                        -0.1f, 3.2500002f};
    }
}

dynq_calibration *samples_calibration(void)
{
    dynq_model *model = samples_fp32(NULL);
    dynq_calibration *calibration = NULL;
    cr_assert_eq(dynq_calibration_create(model, NULL, &calibration, NULL), DYNQ_OK);
    dynq_model_free(model); /* the calibration does not need it any more */
    return calibration;
}

dynq_model *samples_int8(const dynq_allocator *allocator)
{
    dynq_model *from = samples_fp32(NULL);
    dynq_model *model = dynq_model_new(allocator);
    cr_assert(from != NULL && model != NULL);
    for (size_t i = 0; i < from->node_count; i++) {
        const dynq_node *source = &from->nodes[i];
        dynq_node *node = dynq_model_add_node(model, source->name, source->op);
        cr_assert_not_null(node);
        char *name = node->name;
        *node = *source;
        node->name = name;
        node->weight = NULL;
        if (node->op == DYNQ_OP_LINEAR) {
            quantize_node(model, node, source);
        }
        node->bias = source->bias == NULL ? NULL : own_copy(model, source->bias, source->n);
        node->gain = source->gain == NULL ? NULL : own_copy(model, source->gain, source->n);
    }
    for (size_t i = 0; i < from->output_count; i++) {
        cr_assert_eq(dynq_model_add_output(model, from->outputs[i].name, from->outputs[i].node),
                     DYNQ_OK);
    }
    dynq_model_free(from);
    cr_assert_eq(dynq_model_check(model, NULL), DYNQ_OK);
    return model;
}

static void *samples_allocate(void *context, size_t size, size_t alignment)
{
    samples_memory *memory = context;
    if (++memory->calls == memory->fail_at) {
        return NULL;
    }
    void *pointer = NULL;
    if (posix_memalign(&pointer, alignment, size) != 0) {
        return NULL;
    }
    memory->live++;
    return pointer;
}

static void samples_release(void *context, void *pointer)
{
    samples_memory *memory = context;
    memory->live--;
    free(pointer);
}

dynq_allocator samples_allocator(samples_memory *memory)
{
    return (dynq_allocator){samples_allocate, samples_release, memory};
}

void samples_directory(char *path)
{
    strcpy(path, "/tmp/dynq-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
}

size_t samples_remove(const char *directory)
{
    size_t count = 0;
    DIR *entries = opendir(directory);
    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            cr_assert_eq(unlinkat(dirfd(entries), entry->d_name, 0), 0);
            count++;
        }
    }
    closedir(entries);
    cr_assert_eq(rmdir(directory), 0);
    return count;
}

unsigned char *samples_read(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    cr_assert_not_null(stream, "cannot open %s", path);
    cr_assert_eq(fseek(stream, 0, SEEK_END), 0);
    *size = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *bytes = malloc(*size + 1);
    cr_assert_not_null(bytes);
    cr_assert_eq(fread(bytes, 1, *size, stream), *size);
    fclose(stream);
    return bytes;
}

void samples_write(const char *path, const void *bytes, size_t size)
{
    FILE *stream = fopen(path, "wb");
    cr_assert_not_null(stream, "cannot create %s", path);
    cr_assert_eq(fwrite(bytes, 1, size, stream), size);
    cr_assert_eq(fclose(stream), 0);
}

unsigned char *samples_saved(const dynq_model *model, size_t *size)
{
    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/model", directory);
    dynq_error error;
    cr_assert_eq(dynq_model_save(model, path, &error), DYNQ_OK, "%s", error.message);
    unsigned char *bytes = samples_read(path, size);
    cr_assert_eq(samples_remove(directory), 1);
    return bytes;
}
