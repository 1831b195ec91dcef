/* Safetensors files as a host program reads them. */
#include <dynq/safetensors.h>

#include "src/error.h"
#include "src/file.h"
#include "src/options.h"
#include "src/safetensors.h"

#include <limits.h>
#include <string.h>

struct dynq_safetensors {
    dynq_allocator allocator;
    dynq_file file;
    dynq_st_header header;
};

dynq_status dynq_safetensors_open(const char *path, const dynq_allocator *allocator,
                                  dynq_safetensors **file, dynq_error *error)
{
    if (path == NULL || file == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "the path or the result is NULL");
    }
    const dynq_allocator memory = dynq_allocator_or_default(allocator);
    dynq_safetensors *opened = dynq_alloc(&memory, 1, sizeof *opened);
    if (opened == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory", path);
    }
    opened->allocator = memory;
    dynq_status status = dynq_file_open(path, 0, &memory, &opened->file, error);
    if (status == DYNQ_OK) {
        status = dynq_st_parse(path, opened->file.bytes, opened->file.size, &memory,
                               &opened->header, error);
    }
    if (status == DYNQ_OK && opened->header.tensor_count > LONG_MAX) {
        status = dynq_fail(error, DYNQ_ERR_LIMIT, "%s: too many tensors", path);
    }
    if (status != DYNQ_OK) {
        dynq_safetensors_free(opened);
        return status;
    }
    *file = opened;
    return DYNQ_OK;
}

void dynq_safetensors_free(dynq_safetensors *file)
{
    if (file == NULL) {
        return;
    }
    const dynq_allocator memory = file->allocator;
    dynq_st_header_free(&file->header);
    dynq_file_close(&file->file, &memory);
    dynq_release(&memory, file);
}

size_t dynq_safetensors_count(const dynq_safetensors *file)
{
    return file == NULL ? 0 : file->header.tensor_count;
}

long dynq_safetensors_find(const dynq_safetensors *file, const char *name)
{
    const dynq_st_tensor *tensor =
        file == NULL || name == NULL ? NULL : dynq_st_find(&file->header, name);
    return tensor == NULL ? -1 : (long)(tensor - file->header.tensors);
}

static const char *data_of(const dynq_safetensors *file, const dynq_st_tensor *tensor)
{
    return (const char *)file->file.bytes + tensor->offset;
}

dynq_status dynq_safetensors_get(const dynq_safetensors *file, size_t index,
                                 dynq_safetensors_tensor *tensor)
{
    if (tensor == NULL || tensor->size < sizeof tensor->size ||
        index >= dynq_safetensors_count(file)) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_st_tensor *found = &file->header.tensors[index];
    dynq_safetensors_tensor result = {.name = found->name,
                                      .type = found->type,
                                      .rank = found->rank,
                                      .data = data_of(file, found),
                                      .bytes = found->bytes};
    memcpy(result.shape, found->shape, sizeof result.shape);
    dynq_result_copy(tensor, &result, sizeof result);
    return DYNQ_OK;
}

const char *dynq_safetensors_metadata(const dynq_safetensors *file, const char *key)
{
    return file == NULL || key == NULL ? NULL : dynq_st_metadata_value(&file->header, key);
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A half: sign, 5 bits of exponent, 10 of mantissa. */
static float widen_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 0x1Fu, mantissa = half & 0x3FFu;
    if (exponent == 0) { /* zero or subnormal, which a float holds as a normal number */
        const float value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    const uint32_t widened = exponent == 0x1F ? 0xFF : exponent - 15 + 127;
    return float_of(sign | widened << 23 | mantissa << 13);
}

dynq_status dynq_safetensors_floats(const dynq_safetensors *file, size_t index, float *values,
                                    size_t capacity)
{
    if (index >= dynq_safetensors_count(file) || values == NULL) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_st_tensor *tensor = &file->header.tensors[index];
    const int brain = strcmp(tensor->type, "BF16") == 0;
    const int wide = tensor->dtype == DYNQ_F32;
    if (!wide && !brain && strcmp(tensor->type, "F16") != 0) {
        return DYNQ_ERR_TYPE;
    }
    const size_t count = tensor->bytes / (wide ? sizeof(float) : sizeof(uint16_t));
    const char *data = data_of(file, tensor);
    if (count > capacity) {
        return DYNQ_ERR_LIMIT;
    }
    if (wide) {
        memcpy(values, data, tensor->bytes);
        return DYNQ_OK;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, data + i * sizeof half, sizeof half);
        values[i] = brain ? float_of((uint32_t)half << 16) : widen_half(half);
    }
    return DYNQ_OK;
}
