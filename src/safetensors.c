#include "src/safetensors.h"

#include "src/error.h"
#include "src/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8         /* of the header's length, little endian */
#define MAX_HEADER   100000000 /* as in the reference implementation */
#define METADATA_KEY "__metadata__"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little endian; this machine needs byte swapping that dynq does not have"
#endif

static const struct {
    const char *name;
    unsigned bits;
    dynq_dtype dtype;
} types[] = {
    {"F32", 32, DYNQ_F32}, {"I8", 8, DYNQ_I8},    {"U8", 8, DYNQ_U8},
    {"I32", 32, DYNQ_I32}, {"F16", 16, DYNQ_F16}, {"BF16", 16, DYNQ_BF16},
    {"F64", 64, 0},        {"I16", 16, DYNQ_I16}, {"I64", 64, 0},
    {"U16", 16, 0},        {"U32", 32, 0},        {"U64", 64, 0},
    {"BOOL", 8, 0},        {"F8_E5M2", 8, 0},     {"F8_E4M3", 8, 0},
    {"F8_E8M0", 8, 0},     {"C64", 64, 0},        {"F4", 4, 0},
    {"F6_E2M3", 6, 0},     {"F6_E3M2", 6, 0},
};
#define TYPE_COUNT (sizeof types / sizeof types[0])

/* What the steps of one parse share. */
typedef struct parser {
    const char *file;
    size_t size; /* of the file */
    dynq_st_header *header;
    dynq_error *error;
} parser;

static dynq_status out_of_memory(const parser *p)
{
    return dynq_fail(p->error, DYNQ_ERR_MEMORY, "%s: out of memory for its header", p->file);
}

static dynq_status bad_tensor(const parser *p, const char *name, const char *what)
{
    return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, LENGTH_BYTES, "%s: tensor '%s': %s", p->file,
                        name, what);
}

/* A JSON integer that is a size. */
static bool get_size(const json_t *json, size_t *value)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0 ||
        (uintmax_t)json_integer_value(json) > SIZE_MAX) {
        return false;
    }
    *value = (size_t)json_integer_value(json);
    return true;
}

/* Fills type and shape, and the bytes that they ask for. */
static dynq_status parse_shape(const parser *p, const json_t *json, dynq_st_tensor *tensor,
                               size_t *bytes)
{
    const char *type = json_string_value(json_object_get(json, "dtype"));
    size_t index = 0;
    while (type != NULL && index < TYPE_COUNT && strcmp(types[index].name, type) != 0) {
        index++;
    }
    if (type == NULL || index == TYPE_COUNT) {
        return dynq_fail_at(p->error, DYNQ_ERR_TYPE, LENGTH_BYTES,
                            "%s: tensor '%s' has an unknown element type '%.16s'", p->file,
                            tensor->name, type == NULL ? "" : type);
    }
    tensor->type = types[index].name;
    tensor->dtype = types[index].dtype;
    const json_t *shape = json_object_get(json, "shape");
    if (!json_is_array(shape)) {
        return bad_tensor(p, tensor->name, "it has no shape");
    }
    if (json_array_size(shape) > DYNQ_MAX_RANK) {
        return dynq_fail_at(p->error, DYNQ_ERR_SHAPE, LENGTH_BYTES,
                            "%s: tensor '%s' has %zu dimensions; at most %d are possible", p->file,
                            tensor->name, json_array_size(shape), DYNQ_MAX_RANK);
    }
    tensor->rank = (uint32_t)json_array_size(shape);
    size_t bits = types[index].bits;
    for (size_t i = 0; i < tensor->rank; i++) {
        if (!get_size(json_array_get(shape, i), &tensor->shape[i]) ||
            !dynq_size_multiply(bits, tensor->shape[i], &bits)) {
            return bad_tensor(p, tensor->name, "its shape is not a list of possible sizes");
        }
    }
    if (bits % 8 != 0) {
        return bad_tensor(p, tensor->name, "it does not end at a whole byte");
    }
    *bytes = bits / 8;
    return DYNQ_OK;
}

static dynq_status parse_tensor(const parser *p, const char *name, const json_t *json)
{
    dynq_st_header *header = p->header;
    if (!json_is_object(json)) {
        return bad_tensor(p, name, "its entry in the header is not an object");
    }
    dynq_st_tensor *tensor = &header->tensors[header->tensor_count];
    tensor->name = dynq_alloc_string(&header->allocator, name);
    if (tensor->name == NULL) {
        return out_of_memory(p);
    }
    header->tensor_count++;
    size_t bytes = 0, begin = 0, end = 0;
    const dynq_status status = parse_shape(p, json, tensor, &bytes);
    if (status != DYNQ_OK) {
        return status;
    }
    const json_t *offsets = json_object_get(json, "data_offsets");
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end) || begin > end) {
        return bad_tensor(p, name, "its data_offsets are not a begin and an end");
    }
    if (end > p->size - header->data_offset) {
        return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, p->size,
                            "%s: tensor '%s' ends after the end of the file; the file is truncated",
                            p->file, name);
    }
    if (end - begin != bytes) {
        return bad_tensor(p, name, "its data_offsets do not fit its shape and type");
    }
    tensor->offset = header->data_offset + begin;
    tensor->bytes = bytes;
    return DYNQ_OK;
}

static dynq_status parse_metadata(const parser *p, json_t *json)
{
    dynq_st_header *header = p->header;
    if (!json_is_object(json)) {
        return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, LENGTH_BYTES,
                            "%s: the header's metadata is not an object", p->file);
    }
    header->metadata =
        dynq_alloc(&header->allocator, json_object_size(json), sizeof *header->metadata);
    if (header->metadata == NULL) {
        return out_of_memory(p);
    }
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        if (!json_is_string(value)) {
            return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, LENGTH_BYTES,
                                "%s: the metadata '%s' is not a string", p->file, key);
        }
        dynq_st_metadata *entry = &header->metadata[header->metadata_count++];
        entry->key = dynq_alloc_string(&header->allocator, key);
        entry->value = dynq_alloc_string(&header->allocator, json_string_value(value));
        if (entry->key == NULL || entry->value == NULL) {
            return out_of_memory(p);
        }
    }
    return DYNQ_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const dynq_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? -1 : 1; /* empty tensors stand before the one that follows */
    }
    return strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b)
{
    const dynq_st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Sorts tensors by offset and makes sure that they cover the data exactly. */
static dynq_status check_cover(const parser *p)
{
    dynq_st_header *header = p->header;
    const size_t count = header->tensor_count;
    header->by_name = dynq_alloc(&header->allocator, count, sizeof *header->by_name);
    if (header->by_name == NULL) {
        return out_of_memory(p);
    }
    if (count > 0) {
        qsort(header->tensors, count, sizeof *header->tensors, compare_offsets);
    }
    size_t end = header->data_offset;
    for (size_t i = 0; i < count; i++) {
        const dynq_st_tensor *tensor = &header->tensors[i];
        if (tensor->offset != end) {
            return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, end, "%s: tensor '%s' %s", p->file,
                                tensor->name,
                                tensor->offset < end ? "overlaps the one before it"
                                                     : "leaves a gap in front of it");
        }
        end += tensor->bytes;
        header->by_name[i] = tensor;
    }
    if (end != p->size) {
        return dynq_fail_at(p->error, DYNQ_ERR_FORMAT, end,
                            "%s: %zu bytes after the last tensor belong to nothing", p->file,
                            p->size - end);
    }
    if (count > 0) {
        qsort(header->by_name, count, sizeof *header->by_name, compare_names);
    }
    return DYNQ_OK;
}

static dynq_status parse_root(const parser *p, json_t *root)
{
    dynq_st_header *header = p->header;
    header->tensors =
        dynq_alloc(&header->allocator, json_object_size(root), sizeof *header->tensors);
    if (header->tensors == NULL) {
        return out_of_memory(p);
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const dynq_status status =
            strcmp(key, METADATA_KEY) == 0 ? parse_metadata(p, value) : parse_tensor(p, key, value);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return check_cover(p);
}

dynq_status dynq_st_parse(const char *file, const void *bytes, size_t size,
                          const dynq_allocator *allocator, dynq_st_header *header,
                          dynq_error *error)
{
    *header = (dynq_st_header){.allocator = dynq_allocator_or_default(allocator)};
    if (size < LENGTH_BYTES) {
        return dynq_fail_at(error, DYNQ_ERR_FORMAT, 0,
                            "%s: %zu bytes are too few for a safetensors file", file, size);
    }
    uint64_t length = 0;
    memcpy(&length, bytes, sizeof length);
    if (length > MAX_HEADER || length > size - LENGTH_BYTES) {
        return dynq_fail_at(error, DYNQ_ERR_FORMAT, 0,
                            "%s: its header would have %llu bytes: not a safetensors file, or "
                            "truncated",
                            file, (unsigned long long)length);
    }
    const char *text = (const char *)bytes + LENGTH_BYTES;
    json_error_t reason = {.position = 0};
    json_t *root = length > 0 && text[0] == '{'
                       ? json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &reason)
                       : NULL;
    if (!json_is_object(root)) {
        json_decref(root);
        return dynq_fail_at(error, DYNQ_ERR_FORMAT, LENGTH_BYTES + (uint64_t)reason.position,
                            "%s: its header is not JSON: %s", file,
                            reason.text[0] != '\0' ? reason.text : "it does not begin with '{'");
    }
    header->data_offset = LENGTH_BYTES + (size_t)length;
    const parser p = {.file = file, .size = size, .header = header, .error = error};
    const dynq_status status = parse_root(&p, root);
    json_decref(root);
    if (status != DYNQ_OK) {
        dynq_st_header_free(header);
    }
    return status;
}

void dynq_st_header_free(dynq_st_header *header)
{
    const dynq_allocator *allocator = &header->allocator;
    for (size_t i = 0; i < header->tensor_count; i++) {
        dynq_release(allocator, header->tensors[i].name);
    }
    for (size_t i = 0; i < header->metadata_count; i++) {
        dynq_release(allocator, (void *)(uintptr_t)header->metadata[i].key);
        dynq_release(allocator, (void *)(uintptr_t)header->metadata[i].value);
    }
    dynq_release(allocator, header->tensors);
    dynq_release(allocator, header->by_name);
    dynq_release(allocator, header->metadata);
    *header = (dynq_st_header){.allocator = header->allocator};
}

static int compare_name_to(const void *name, const void *element)
{
    const dynq_st_tensor *const *tensor = element;
    return strcmp(name, (*tensor)->name);
}

const dynq_st_tensor *dynq_st_find(const dynq_st_header *header, const char *name)
{
    if (header->tensor_count == 0) {
        return NULL;
    }
    const dynq_st_tensor **found = bsearch(name, header->by_name, header->tensor_count,
                                           sizeof *header->by_name, compare_name_to);
    return found == NULL ? NULL : *found;
}

const char *dynq_st_metadata_value(const dynq_st_header *header, const char *key)
{
    for (size_t i = 0; i < header->metadata_count; i++) {
        if (strcmp(header->metadata[i].key, key) == 0) {
            return header->metadata[i].value;
        }
    }
    return NULL;
}

static size_t type_of(dynq_dtype dtype)
{
    size_t index = 0;
    while (types[index].dtype != dtype) {
        index++;
    }
    return index;
}

static size_t tensor_bytes(const dynq_tensor *tensor)
{
    size_t bytes = types[type_of(tensor->dtype)].bits / 8;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        bytes *= tensor->shape[i];
    }
    return bytes;
}

/* Adds a member; false when memory is out. Takes `value` over in any case. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *describe_tensor(const dynq_tensor *tensor, size_t begin, size_t end)
{
    json_t *entry = json_object(), *shape = json_array();
    bool good = entry != NULL && shape != NULL;
    for (uint32_t i = 0; good && i < tensor->rank; i++) {
        good = json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) == 0;
    }
    if (!good) {
        json_decref(shape);
        json_decref(entry);
        return NULL;
    }
    good = set(entry, "dtype", json_string(types[type_of(tensor->dtype)].name));
    good = set(entry, "shape", shape) && good;
    good =
        good && set(entry, "data_offsets", json_pack("[I,I]", (json_int_t)begin, (json_int_t)end));
    if (!good) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

static json_t *describe(const dynq_st_source *sources, size_t source_count,
                        const dynq_st_metadata *metadata, size_t metadata_count, size_t *data_bytes)
{
    json_t *root = json_object(), *values = json_object();
    bool good = root != NULL && values != NULL;
    for (size_t i = 0; good && i < metadata_count; i++) {
        good = set(values, metadata[i].key, json_string(metadata[i].value));
    }
    if (good) {
        good = json_object_set(root, METADATA_KEY, values) == 0;
    }
    json_decref(values);
    size_t end = 0;
    for (size_t i = 0; good && i < source_count; i++) {
        const size_t begin = end;
        end += tensor_bytes(&sources[i].tensor);
        good = set(root, sources[i].name, describe_tensor(&sources[i].tensor, begin, end));
    }
    *data_bytes = end;
    if (!good) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* The bytes before the data, from the default allocator; NULL when memory is out. */
static char *make_header(const dynq_st_source *sources, size_t source_count,
                         const dynq_st_metadata *metadata, size_t metadata_count, size_t *size,
                         size_t *data_bytes)
{
    json_t *root = describe(sources, source_count, metadata, metadata_count, data_bytes);
    const size_t length = root == NULL ? 0 : json_dumpb(root, NULL, 0, JSON_COMPACT);
    char *header = NULL;
    if (length > 0) {
        const dynq_allocator allocator = dynq_allocator_or_default(NULL);
        *size = dynq_round_up(LENGTH_BYTES + length, DYNQ_ALIGNMENT);
        header = dynq_alloc(&allocator, *size, 1);
    }
    if (header != NULL) {
        const uint64_t padded = *size - LENGTH_BYTES;
        memset(header, ' ', *size);
        memcpy(header, &padded, LENGTH_BYTES);
        json_dumpb(root, header + LENGTH_BYTES, length, JSON_COMPACT);
    }
    json_decref(root);
    return header;
}

uint64_t dynq_st_file_bytes(const dynq_st_source *sources, size_t source_count,
                            const dynq_st_metadata *metadata, size_t metadata_count)
{
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    size_t size = 0, data_bytes = 0;
    char *header = make_header(sources, source_count, metadata, metadata_count, &size, &data_bytes);
    dynq_release(&allocator, header);
    return header == NULL ? 0 : (uint64_t)size + data_bytes;
}

dynq_status dynq_st_write(const char *path, const dynq_st_source *sources, size_t source_count,
                          const dynq_st_metadata *metadata, size_t metadata_count,
                          dynq_error *error)
{
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    size_t size = 0, data_bytes = 0;
    char *header = make_header(sources, source_count, metadata, metadata_count, &size, &data_bytes);
    dynq_replacement replacement;
    dynq_status status;
    if (header == NULL) {
        status = dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory for its header", path);
    } else if (size - LENGTH_BYTES > MAX_HEADER) {
        status = dynq_fail(error, DYNQ_ERR_LIMIT, "%s: its header would be over %d bytes", path,
                           MAX_HEADER);
    } else {
        status = dynq_replacement_begin(path, &replacement, error);
    }
    if (status == DYNQ_OK) {
        /* A short write leaves the stream's error flag, which the commit reports. */
        fwrite(header, 1, size, replacement.stream);
        for (size_t i = 0; i < source_count; i++) {
            const dynq_tensor *tensor = &sources[i].tensor;
            fwrite(tensor->data, 1, tensor_bytes(tensor), replacement.stream);
        }
        status = dynq_replacement_commit(&replacement, error);
    }
    dynq_release(&allocator, header);
    return status;
}
