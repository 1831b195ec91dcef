#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes a file of this header and these bytes. */
static void write_file(const char *path, const char *json, const void *data, size_t size)
{
    const uint64_t length = strlen(json);
    const size_t total = 8 + (size_t)length + size;
    unsigned char *bytes = malloc(total);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, json, (size_t)length);
    memcpy(bytes + 8 + length, data, size);
    samples_write(path, bytes, total);
    free(bytes);
}

/* A file whose tensors are misaligned: U8 "u", F32 "f", F16 "h", BF16 "b", I64 "i". */
static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"u\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                             "\"f\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[1,9]},"
                             "\"h\":{\"dtype\":\"F16\",\"shape\":[12],\"data_offsets\":[9,33]},"
                             "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[33,41]},"
                             "\"i\":{\"dtype\":\"I64\",\"shape\":[0,3],\"data_offsets\":[41,41]}}";
static const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00,
                                  0xBC01, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00};
static const float widened[] = {0.0f,      -0.0f,    0x1p-24f,         0x3FFp-24f,
                                0x1p-14f,  1.0f,     -1.0f - 0x1p-10f, 65504.0f,
                                -65504.0f, INFINITY, -INFINITY,        NAN};
static const uint16_t brains[] = {0x3F80, 0xC049, 0x0001, 0xFF80};
static const float brains_widened[] = {1.0f, -3.140625f, 0x1p-133f, -INFINITY};

typedef struct sample {
    char directory[64], path[96];
    dynq_safetensors *file;
} sample;

static void sample_open(sample *s)
{
    const float floats[] = {1.5f, -0.1f};
    unsigned char data[41] = {7};
    memcpy(data + 1, floats, 8);
    memcpy(data + 9, halves, 24);
    memcpy(data + 33, brains, 8);
    samples_directory(s->directory);
    snprintf(s->path, sizeof s->path, "%s/f", s->directory);
    write_file(s->path, header, data, sizeof data);
    dynq_error error = {0};
    cr_assert_eq(dynq_safetensors_open(s->path, NULL, &s->file, &error), DYNQ_OK, "%s",
                 error.message);
}

static void sample_close(sample *s)
{
    dynq_safetensors_free(s->file);
    samples_remove(s->directory);
}

Test(safetensors_file, tensors)
{
    sample s;
    sample_open(&s);
    cr_assert_eq(dynq_safetensors_count(s.file), 5);
    cr_assert_eq(dynq_safetensors_find(s.file, "h"), 2);
    cr_assert_eq(dynq_safetensors_find(s.file, "none"), -1);
    cr_assert_str_eq(dynq_safetensors_metadata(s.file, "format"), "pt");
    cr_assert_null(dynq_safetensors_metadata(s.file, "none"));
    dynq_safetensors_tensor tensor = {.size = sizeof tensor};
    cr_assert_eq(dynq_safetensors_get(s.file, 1, &tensor), DYNQ_OK);
    cr_assert_str_eq(tensor.name, "f");
    cr_assert_str_eq(tensor.type, "F32");
    cr_assert(tensor.rank == 2 && tensor.shape[0] == 1 && tensor.shape[1] == 2);
    cr_assert_eq(tensor.bytes, 8);
    float first;
    memcpy(&first, tensor.data, sizeof first);
    cr_assert_eq(first, 1.5f);
    cr_assert_eq(dynq_safetensors_get(s.file, 4, &tensor), DYNQ_OK);
    cr_assert_str_eq(tensor.type, "I64");
    cr_assert(tensor.rank == 2 && tensor.shape[0] == 0 && tensor.bytes == 0);
    cr_assert_eq(dynq_safetensors_get(s.file, 5, &tensor), DYNQ_ERR_ARGUMENT);
    tensor.size = 0;
    cr_assert_eq(dynq_safetensors_get(s.file, 0, &tensor), DYNQ_ERR_ARGUMENT);
    sample_close(&s);
}

Test(safetensors_file, floats_are_exact)
{
    sample s;
    sample_open(&s);
    float values[12];
    cr_assert_eq(dynq_safetensors_floats(s.file, 1, values, 2), DYNQ_OK);
    cr_assert(values[0] == 1.5f && values[1] == -0.1f);
    cr_assert_eq(dynq_safetensors_floats(s.file, 2, values, 12), DYNQ_OK);
    cr_assert_eq(memcmp(values, widened, 11 * sizeof *values), 0);
    cr_assert(isnan(values[11]));
    cr_assert_eq(dynq_safetensors_floats(s.file, 3, values, 4), DYNQ_OK);
    cr_assert_eq(memcmp(values, brains_widened, sizeof brains_widened), 0);
    cr_assert_eq(dynq_safetensors_floats(s.file, 3, values, 3), DYNQ_ERR_LIMIT);
    cr_assert_eq(dynq_safetensors_floats(s.file, 0, values, 12), DYNQ_ERR_TYPE);
    cr_assert_eq(dynq_safetensors_floats(s.file, 4, values, 12), DYNQ_ERR_TYPE);
    cr_assert_eq(dynq_safetensors_floats(s.file, 5, values, 12), DYNQ_ERR_ARGUMENT);
    sample_close(&s);
}

Test(safetensors_file, bad_files)
{
    sample s;
    sample_open(&s);
    size_t size = 0;
    unsigned char *bytes = samples_read(s.path, &size);
    dynq_safetensors_free(s.file);
    for (size_t length = 0; length < size; length++) {
        dynq_error error = {0};
        samples_write(s.path, bytes, length);
        s.file = NULL;
        cr_assert_eq(dynq_safetensors_open(s.path, NULL, &s.file, &error), DYNQ_ERR_FORMAT);
        cr_assert_eq(strncmp(error.message, s.path, strlen(s.path)), 0, "%s", error.message);
        cr_assert_null(s.file);
    }
    free(bytes);
    dynq_error error = {0};
    cr_assert_eq(dynq_safetensors_open(s.directory, NULL, &s.file, &error), DYNQ_ERR_IO);
    cr_assert_eq(dynq_safetensors_open(NULL, NULL, &s.file, &error), DYNQ_ERR_ARGUMENT);
    sample_close(&s);
}

Test(safetensors_file, every_allocation_can_fail)
{
    sample s;
    sample_open(&s);
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_safetensors *file = NULL;
        const dynq_status status = dynq_safetensors_open(s.path, &allocator, &file, NULL);
        failed = memory.calls >= n;
        cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK);
        dynq_safetensors_free(file);
        cr_assert_eq(memory.live, 0);
    }
    sample_close(&s);
}
