#include "tools/checkpoint.h"

#include "tools/allocate.h"
#include "tools/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE  "model.safetensors.index.json"
#define PICKLE_FILE "pytorch_model.bin"
#define FIRST_NAME  "embeddings.word_embeddings.weight"
#define NEW_WEIGHT  "LayerNorm.weight"
#define NEW_BIAS    "LayerNorm.bias"
#define MAX_NAME    256

static dynq_status add_file(checkpoint *self, const char *name, dynq_error *error)
{
    for (size_t i = 0; i < self->file_count; i++) {
        if (strcmp(self->names[i], name) == 0) {
            return DYNQ_OK;
        }
    }
    char *path = folder_path(self->folder, name);
    dynq_safetensors *file = NULL;
    const dynq_status status = dynq_safetensors_open(path, NULL, &file, error);
    free(path);
    if (status != DYNQ_OK) {
        return status;
    }
    const size_t count = self->file_count + 1;
    self->files = allocate_again(self->files, count, sizeof(dynq_safetensors *));
    self->names = allocate_again(self->names, count, sizeof(char *));
    self->files[count - 1] = file;
    self->names[count - 1] = allocate_text(name);
    self->file_count = count;
    return DYNQ_OK;
}

static dynq_status add_parts(checkpoint *self, const json_t *index, dynq_error *error)
{
    json_t *map = json_object_get(index, "weight_map");
    const char *tensor;
    json_t *value;
    if (json_object_size(map) == 0) {
        return folder_fail(error, DYNQ_ERR_FORMAT, self->folder, INDEX_FILE,
                           "has no 'weight_map', which names the parts");
    }
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || !folder_is_inside(name)) {
            return folder_fail(error, DYNQ_ERR_FORMAT, self->folder, INDEX_FILE,
                               "the file of '%s' is not the name of one in this folder", tensor);
        }
        const dynq_status status = add_file(self, name, error);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return DYNQ_OK;
}

static dynq_status open_files(checkpoint *self, dynq_error *error)
{
    if (folder_has(self->folder, SINGLE_FILE)) {
        return add_file(self, SINGLE_FILE, error);
    }
    json_t *index = NULL;
    dynq_status status = folder_json(self->folder, INDEX_FILE, &index, error);
    if (status == DYNQ_OK && index != NULL) {
        status = add_parts(self, index, error);
    } else if (status == DYNQ_OK && folder_has(self->folder, PICKLE_FILE)) {
        status = folder_fail(error, DYNQ_ERR_FORMAT, self->folder, "",
                             "has its weights only in " PICKLE_FILE
                             ", which can run any program; make " SINGLE_FILE
                             " of it with Python: from transformers import AutoModel; "
                             "AutoModel.from_pretrained('OLD').save_pretrained('NEW')");
    } else if (status == DYNQ_OK) {
        status = folder_fail(error, DYNQ_ERR_FORMAT, self->folder, "",
                             "has no weights: neither " SINGLE_FILE " nor " INDEX_FILE);
    }
    json_decref(index);
    return status;
}

/* The length of what stands in front of FIRST_NAME; -1: this is another tensor. */
static long prefix_length(const char *name)
{
    const size_t length = strlen(name), end = strlen(FIRST_NAME);
    if (length < end || strcmp(name + (length - end), FIRST_NAME) != 0 ||
        (length > end && name[length - end - 1] != '.')) {
        return -1;
    }
    return (long)(length - end);
}

static dynq_status find_prefix(checkpoint *self, dynq_error *error)
{
    const char *found = NULL;
    for (size_t f = 0; f < self->file_count; f++) {
        for (size_t i = 0; i < dynq_safetensors_count(self->files[f]); i++) {
            dynq_safetensors_tensor tensor = {.size = sizeof tensor};
            dynq_safetensors_get(self->files[f], i, &tensor);
            if (prefix_length(tensor.name) < 0) {
                continue;
            }
            if (found != NULL) {
                return folder_fail(error, DYNQ_ERR_FORMAT, self->folder, self->names[f],
                                   "holds two encoders: '%.80s' and '%.80s'", found, tensor.name);
            }
            found = tensor.name;
        }
    }
    if (found == NULL) {
        return folder_fail(error, DYNQ_ERR_FORMAT, self->folder, self->names[0],
                           "has no tensor '%s'", FIRST_NAME);
    }
    self->prefix = allocate_text(found);
    self->prefix[prefix_length(found)] = '\0';
    return DYNQ_OK;
}

dynq_status checkpoint_open(const char *folder, checkpoint *self, dynq_error *error)
{
    *self = (checkpoint){.folder = allocate_text(folder)};
    const dynq_status status = open_files(self, error);
    return status == DYNQ_OK ? find_prefix(self, error) : status;
}

void checkpoint_close(checkpoint *self)
{
    for (size_t i = 0; i < self->file_count; i++) {
        dynq_safetensors_free(self->files[i]);
        free(self->names[i]);
    }
    for (size_t i = 0; i < self->copy_count; i++) {
        free(self->copies[i]);
    }
    free(self->copies);
    free(self->files);
    free(self->names);
    free(self->prefix);
    free(self->folder);
    *self = (checkpoint){0};
}

/* The file that holds the tensor, and its index there; the number of files where none does. */
static size_t locate(const checkpoint *self, const char *name, long *index)
{
    size_t f = 0;
    while (f < self->file_count && (*index = dynq_safetensors_find(self->files[f], name)) < 0) {
        f++;
    }
    return f;
}

/* The name that the same vector has in old files: true when there is one. */
static int old_name(const char *name, char *old, size_t size)
{
    const size_t length = strlen(name), weight = strlen(NEW_WEIGHT), bias = strlen(NEW_BIAS);
    if (length >= weight && strcmp(name + (length - weight), NEW_WEIGHT) == 0) {
        snprintf(old, size, "%.*sLayerNorm.gamma", (int)(length - weight), name);
        return 1;
    }
    if (length >= bias && strcmp(name + (length - bias), NEW_BIAS) == 0) {
        snprintf(old, size, "%.*sLayerNorm.beta", (int)(length - bias), name);
        return 1;
    }
    return 0;
}

static void shape_text(char *text, size_t size, uint32_t rank, const size_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (uint32_t i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i > 0 ? ", " : "", shape[i]);
    }
    if (used < size) {
        snprintf(text + used, size - used, "]");
    }
}

static dynq_status check_shape(const checkpoint *self, size_t file,
                               const dynq_safetensors_tensor *tensor, uint32_t rank,
                               const size_t *shape, dynq_error *error)
{
    if (tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0) {
        return DYNQ_OK;
    }
    char has[112], wanted[112];
    shape_text(has, sizeof has, tensor->rank, tensor->shape);
    shape_text(wanted, sizeof wanted, rank, shape);
    return folder_fail(error, DYNQ_ERR_SHAPE, self->folder, self->names[file],
                       "tensor '%.100s' has the shape %s, but config.json asks for %s",
                       tensor->name, has, wanted);
}

static float *add_copy(checkpoint *self, size_t count)
{
    self->copies = allocate_again(self->copies, self->copy_count + 1, sizeof(float *));
    return self->copies[self->copy_count++] = allocate(count, sizeof(float));
}

dynq_status checkpoint_find(void *context, const char *name, uint32_t rank, const size_t *shape,
                            const float **values, dynq_error *error)
{
    checkpoint *self = context;
    char full[2 * MAX_NAME], old[2 * MAX_NAME];
    snprintf(full, sizeof full, "%.*s%s", MAX_NAME, self->prefix, name);
    long index = -1;
    size_t file = locate(self, full, &index);
    if (index < 0 && old_name(full, old, sizeof old)) {
        file = locate(self, old, &index);
    }
    if (index < 0) {
        return folder_fail(error, DYNQ_ERR_FORMAT, self->folder, self->names[0],
                           "has no tensor '%.200s', which config.json asks for", full);
    }
    dynq_safetensors_tensor tensor = {.size = sizeof tensor};
    dynq_safetensors_get(self->files[file], (size_t)index, &tensor);
    const dynq_status status = check_shape(self, file, &tensor, rank, shape, error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (strcmp(tensor.type, "F32") == 0 && (uintptr_t)tensor.data % sizeof(float) == 0) {
        *values = tensor.data;
        return DYNQ_OK;
    }
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        count *= shape[i];
    }
    float *copy = add_copy(self, count);
    if (dynq_safetensors_floats(self->files[file], (size_t)index, copy, count) != DYNQ_OK) {
        return folder_fail(error, DYNQ_ERR_TYPE, self->folder, self->names[file],
                           "tensor '%.200s' is %s; weights are F32, F16 or BF16", tensor.name,
                           tensor.type);
    }
    *values = copy;
    return DYNQ_OK;
}
