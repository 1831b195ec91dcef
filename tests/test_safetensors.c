#include "src/safetensors.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses a file of this header and `data` bytes behind it. */
static dynq_status parse(const char *json, size_t data, dynq_st_header *header, dynq_error *error)
{
    const uint64_t length = strlen(json);
    const size_t size = 8 + (size_t)length + data;
    unsigned char *bytes = calloc(size, 1);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, json, (size_t)length);
    const dynq_status status = dynq_st_parse("f", bytes, size, NULL, header, error);
    free(bytes);
    return status;
}

Test(safetensors, tensors_in_order_of_offsets)
{
    dynq_st_header header;
    dynq_error error = {0};
    cr_assert_eq(parse("{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[1,25]},"
                       "\"__metadata__\":{\"k\":\"v\",\"\":\"\"},"
                       "\"empty\":{\"dtype\":\"I32\",\"shape\":[0,7],\"data_offsets\":[25,25]},"
                       "\"a\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]}}  ",
                       25, &header, &error),
                 DYNQ_OK, "%s", error.message);
    cr_assert_eq(header.tensor_count, 3);
    cr_assert_str_eq(header.tensors[0].name, "a");
    cr_assert_str_eq(header.tensors[1].name, "b");
    const dynq_st_tensor *b = dynq_st_find(&header, "b");
    cr_assert_eq(b, &header.tensors[1]);
    cr_assert(b->dtype == DYNQ_F32 && b->rank == 2 && b->shape[0] == 2 && b->shape[1] == 3);
    cr_assert(b->offset == header.data_offset + 1 && b->bytes == 24);
    cr_assert_eq(dynq_st_find(&header, "a")->rank, 0);
    cr_assert_eq(dynq_st_find(&header, "empty")->bytes, 0);
    cr_assert_null(dynq_st_find(&header, "c"));
    cr_assert_str_eq(dynq_st_metadata_value(&header, "k"), "v");
    cr_assert_str_eq(dynq_st_metadata_value(&header, ""), "");
    cr_assert_null(dynq_st_metadata_value(&header, "b"));
    dynq_st_header_free(&header);
    cr_assert_eq(header.tensor_count, 0);
    cr_assert_null(dynq_st_find(&header, "b"));
}

Test(safetensors, a_file_without_tensors)
{
    dynq_st_header header;
    cr_assert_eq(parse("{}", 0, &header, NULL), DYNQ_OK);
    cr_assert_eq(header.tensor_count, 0);
    dynq_st_header_free(&header);
}

Test(safetensors, types_that_dynq_does_not_use)
{
    static const struct {
        const char *name;
        size_t bytes; /* of 8 elements */
    } types[] = {{"F64", 64}, {"I64", 64},    {"U16", 16},    {"U32", 32},
                 {"U64", 64}, {"BOOL", 8},    {"F8_E4M3", 8}, {"C64", 64},
                 {"F4", 4},   {"F6_E2M3", 6}, {"F8_E8M0", 8}, {"F8_E5M2", 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t off = 0; off < 2; off++) {
            char json[128];
            snprintf(json, sizeof json,
                     "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%zu]}}",
                     types[i].name, types[i].bytes + off);
            dynq_st_header header;
            cr_assert_eq(parse(json, types[i].bytes + off, &header, NULL),
                         off ? DYNQ_ERR_FORMAT : DYNQ_OK, "%s", types[i].name);
            cr_assert(off || header.tensors[0].dtype == 0);
            dynq_st_header_free(&header);
        }
    }
}

#define TENSOR(dtype, shape, offsets)                                                              \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
    const char *json;
    size_t data;
    dynq_status status;
    const char *text;
} wrong_headers[] = {
    {"", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {"[]", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {" {}", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {"{", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {"{}x", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {"{}", 1, DYNQ_ERR_FORMAT, "1 bytes after the last tensor"},
    {"{\"t\":1}", 0, DYNQ_ERR_FORMAT, "not an object"},
    {"{\"t\":{}}", 0, DYNQ_ERR_TYPE, "'t'"},
    {"{\"__metadata__\":1}", 0, DYNQ_ERR_FORMAT, "metadata"},
    {"{\"__metadata__\":{\"a\":1}}", 0, DYNQ_ERR_FORMAT, "metadata 'a'"},
    {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, DYNQ_ERR_FORMAT, "u0000"},
    {"{\"__metadata__\":{\"a\\u0000\":\"\"}}", 0, DYNQ_ERR_FORMAT, "NUL"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, DYNQ_ERR_FORMAT, "duplicate"},
    {"{\"t\\u0000\":{}}", 0, DYNQ_ERR_FORMAT, "NUL"},
    {"{\"\xff\":{}}", 0, DYNQ_ERR_FORMAT, "not JSON"},
    {TENSOR("7", "[4]", "[0,4]"), 4, DYNQ_ERR_TYPE, "'t'"},
    {TENSOR("\"I7\"", "[4]", "[0,4]"), 4, DYNQ_ERR_TYPE, "I7"},
    {TENSOR("\"U8\"", "4", "[0,4]"), 4, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"U8\"", "[-4]", "[0,4]"), 4, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"U8\"", "[4.0]", "[0,4]"), 4, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"U8\"", "[\"4\"]", "[0,4]"), 4, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"U8\"", "[1,1,1,1,4]", "[0,4]"), 4, DYNQ_ERR_SHAPE, "5 dimensions"},
    {TENSOR("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), 0, DYNQ_ERR_FORMAT, "shape"},
    {TENSOR("\"F4\"", "[3]", "[0,1]"), 1, DYNQ_ERR_FORMAT, "whole byte"},
    {TENSOR("\"U8\"", "[4]", "[0]"), 4, DYNQ_ERR_FORMAT, "data_offsets"},
    {TENSOR("\"U8\"", "[4]", "[0,4,4]"), 4, DYNQ_ERR_FORMAT, "data_offsets"},
    {TENSOR("\"U8\"", "[4]", "4"), 4, DYNQ_ERR_FORMAT, "data_offsets"},
    {TENSOR("\"U8\"", "[4]", "[4,0]"), 4, DYNQ_ERR_FORMAT, "data_offsets"},
    {TENSOR("\"U8\"", "[4]", "[-4,0]"), 4, DYNQ_ERR_FORMAT, "data_offsets"},
    {TENSOR("\"U8\"", "[4]", "[0,3]"), 4, DYNQ_ERR_FORMAT, "do not fit"},
    {TENSOR("\"U8\"", "[4]", "[0,4]"), 3, DYNQ_ERR_FORMAT, "truncated"},
    {TENSOR("\"U8\"", "[4]", "[0,4]"), 5, DYNQ_ERR_FORMAT, "belong to nothing"},
    {TENSOR("\"U8\"", "[4]", "[1,5]"), 5, DYNQ_ERR_FORMAT, "gap"},
    {TENSOR("\"U8\"", "[4]", "[9223372036854775803,9223372036854775807]"), 4, DYNQ_ERR_FORMAT,
     "truncated"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
     3, DYNQ_ERR_FORMAT, "'u' overlaps"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
     2, DYNQ_ERR_FORMAT, "overlaps"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, DYNQ_ERR_FORMAT, "duplicate"},
};

Test(safetensors, wrong_headers)
{
    for (size_t i = 0; i < sizeof wrong_headers / sizeof *wrong_headers; i++) {
        dynq_st_header header;
        dynq_error error = {0};
        const dynq_status status =
            parse(wrong_headers[i].json, wrong_headers[i].data, &header, &error);
        cr_assert_eq(status, wrong_headers[i].status, "%s: %s", wrong_headers[i].json,
                     error.message);
        cr_assert_not_null(strstr(error.message, wrong_headers[i].text), "%s: %s",
                           wrong_headers[i].json, error.message);
        cr_assert_eq(strncmp(error.message, "f: ", 3), 0);
        cr_assert_eq(header.tensor_count, 0);
        cr_assert_null(header.tensors);
    }
}

Test(safetensors, header_lengths)
{
    static const uint64_t lengths[] = {
        3, 4, 100000000, 100000001, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char bytes[10] = {[8] = '{', [9] = '}'};
        memcpy(bytes, &lengths[i], 8);
        dynq_st_header header;
        cr_assert_eq(dynq_st_parse("f", bytes, 10, NULL, &header, NULL), DYNQ_ERR_FORMAT);
    }
    for (size_t size = 0; size < 8; size++) {
        const unsigned char bytes[8] = {0};
        dynq_st_header header;
        cr_assert_eq(dynq_st_parse("f", bytes, size, NULL, &header, NULL), DYNQ_ERR_FORMAT);
    }
}

Test(safetensors, nesting_is_limited)
{
    char *json = malloc(1000001);
    memcpy(json, "{\"t\":", 5);
    memset(json + 5, '[', 999995);
    json[1000000] = '\0';
    dynq_st_header header;
    dynq_error error = {0};
    cr_assert_eq(parse(json, 0, &header, &error), DYNQ_ERR_FORMAT);
    cr_assert_not_null(strstr(error.message, "depth"));
    free(json);
}

Test(safetensors, control_characters_do_not_reach_messages)
{
    dynq_st_header header;
    dynq_error error = {0};
    cr_assert_eq(parse("{\"a\\n\\u001b[2J\":1}", 0, &header, &error), DYNQ_ERR_FORMAT);
    cr_assert_null(strpbrk(error.message, "\n\033"));
}

Test(safetensors, many_tensors)
{
    enum { COUNT = 50000 };
    char *json = malloc(COUNT * 80);
    char *end = json + sprintf(json, "{");
    for (int i = 0; i < COUNT; i++) {
        end += sprintf(end, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                       i == 0 ? "" : ",", i, COUNT - 1 - i, COUNT - i);
    }
    sprintf(end, "}");
    dynq_st_header header;
    cr_assert_eq(parse(json, COUNT, &header, NULL), DYNQ_OK);
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        cr_assert_eq(dynq_st_find(&header, name), &header.tensors[COUNT - 1 - i]);
    }
    dynq_st_header_free(&header);
    free(json);
}

Test(safetensors, what_is_written_is_read)
{
    const float a[6] = {1, 2, 3, 4, 5, 6};
    const int8_t b[3] = {-1, 0, 1};
    const dynq_st_source sources[] = {{"z \"quoted\" \xc3\xa9", {DYNQ_I8, 1, {3}, b}},
                                      {"a", {DYNQ_F32, 2, {2, 3}, a}},
                                      {"none", {DYNQ_U8, 2, {0, 5}, b}},
                                      {"one", {DYNQ_I32, 0, {0}, a}}};
    const dynq_st_metadata metadata[] = {{"second", "\"\\\n"}, {"first", ""}};
    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/f", directory);
    unsigned char *bytes[2];
    size_t size = 0;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(dynq_st_write(path, sources, 4, metadata, 2, NULL), DYNQ_OK);
        bytes[i] = samples_read(path, &size);
        cr_assert_eq(dynq_st_file_bytes(sources, 4, metadata, 2), size);
    }
    cr_assert_eq(memcmp(bytes[0], bytes[1], size), 0);
    dynq_st_header header;
    dynq_error error = {0};
    cr_assert_eq(dynq_st_parse(path, bytes[0], size, NULL, &header, &error), DYNQ_OK, "%s",
                 error.message);
    cr_assert_eq(header.data_offset % 64, 0);
    cr_assert_eq(header.tensor_count, 4);
    for (size_t i = 0; i < 4; i++) {
        const dynq_st_tensor *tensor = dynq_st_find(&header, sources[i].name);
        cr_assert_not_null(tensor);
        cr_assert_eq(tensor->rank, sources[i].tensor.rank);
        cr_assert_eq(memcmp(tensor->shape, sources[i].tensor.shape, tensor->rank * sizeof(size_t)),
                     0);
        cr_assert_eq(memcmp(bytes[0] + tensor->offset, sources[i].tensor.data, tensor->bytes), 0);
    }
    cr_assert_str_eq(header.metadata[0].key, "second");
    cr_assert_str_eq(header.metadata[0].value, "\"\\\n");
    dynq_st_header_free(&header);
    free(bytes[0]);
    free(bytes[1]);
    cr_assert_eq(samples_remove(directory), 1);
}

Test(safetensors, every_allocation_can_fail)
{
    const char json[] = "{\"__metadata__\":{\"k\":\"v\"},"
                        "\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    const uint64_t length = sizeof json - 1;
    unsigned char bytes[8 + sizeof json - 1];
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, json, sizeof json - 1);
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        dynq_st_header header;
        const dynq_status status =
            dynq_st_parse("f", bytes, sizeof bytes, &allocator, &header, NULL);
        failed = memory.calls >= n;
        cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK);
        dynq_st_header_free(&header);
        cr_assert_eq(memory.live, 0);
        cr_assert(failed || n == 7);
    }
}
