/* Safetensors files as a host program reads them. */
#include <dynq/safetensors.h>

#include "src/error.h"
#include "src/file.h"
#include "src/options.h"
#include "src/safetensors.h"

#include <dynq/format.h>
#include <limits.h>
#include <stdbool.h>
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

/* In blocks, because a tensor may lie at any offset. */
static void widen(const char *data, size_t count, bool brain, float *values)
{
    uint16_t block[256];
    for (size_t done = 0; done < count;) {
        const size_t left = count - done;
        const size_t now =
            left < sizeof block / sizeof *block ? left : sizeof block / sizeof *block;
        memcpy(block, data + done * sizeof *block, now * sizeof *block);
        if (brain) {
            dynq_fp32_from_bf16(block, now, values + done);
        } else {
            dynq_fp32_from_fp16(block, now, values + done);
        }
        done += now;
    }
}

dynq_status dynq_safetensors_floats(const dynq_safetensors *file, size_t index, float *values,
                                    size_t capacity)
{
    if (index >= dynq_safetensors_count(file) || values == NULL) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_st_tensor *tensor = &file->header.tensors[index];
    const bool brain = strcmp(tensor->type, "BF16") == 0;
    const bool wide = tensor->dtype == DYNQ_F32;
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
    widen(data, count, brain, values);
    return DYNQ_OK;
}
