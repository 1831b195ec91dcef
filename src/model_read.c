/* Opening model files: which tensors a graph needs, and where they lie. */
#include "src/error.h"
#include "src/model.h"
#include "src/model_json.h"
#include "src/options.h"
#include "src/pack.h"
#include "src/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEADER_OFFSET 8 /* the position of an error that is about the header */

typedef struct model_reader {
    const char *file; /* for messages */
    const unsigned char *bytes;
    dynq_st_header header;
    unsigned char *used;     /* [tensor_count]: some node needs it */
    unsigned char *has_bias; /* [node_count] */
    dynq_model *model;
    dynq_error *error;
} model_reader;

/* What a node wants of one of its tensors. */
typedef struct wanted {
    const char *suffix;
    dynq_dtype dtype;
    uint32_t rank;
    size_t shape[DYNQ_MAX_RANK];
    size_t alignment;
} wanted;

/* The decimal number at *text, which moves behind it; -1 if there is none or it is absurd. */
static int parse_number(const char **text)
{
    int number = 0, digits = 0;
    for (; **text >= '0' && **text <= '9' && digits < 6; (*text)++, digits++) {
        number = number * 10 + (**text - '0');
    }
    return digits == 0 ? -1 : number;
}

static dynq_status check_version(const model_reader *r)
{
    const char *format = dynq_st_metadata_value(&r->header, DYNQ_META_FORMAT);
    const char *version = dynq_st_metadata_value(&r->header, DYNQ_META_VERSION);
    if (format == NULL || strcmp(format, DYNQ_META_DYNQ) != 0 || version == NULL) {
        return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET,
                            "%s: a safetensors file, but not a dynq model: it has weights and no "
                            "graph; build a model from them with dynq/graph.h and save that",
                            r->file);
    }
    const char *rest = version;
    const int major = parse_number(&rest);
    const int minor = major >= 0 && *rest == '.' ? (rest++, parse_number(&rest)) : -1;
    if (minor < 0 || *rest != '\0' || major < 1) {
        return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET,
                            "%s: its format version '%.16s' is not a version", r->file, version);
    }
    if (major > DYNQ_FORMAT_MAJOR) {
        return dynq_fail_at(r->error, DYNQ_ERR_VERSION, HEADER_OFFSET,
                            "%s: written in format %d.%d, which is newer than %d.%d; use a newer "
                            "dynq",
                            r->file, major, minor, DYNQ_FORMAT_MAJOR, DYNQ_FORMAT_MINOR);
    }
    return DYNQ_OK;
}

/* Finds a tensor and checks its type. */
static dynq_status find_tensor(const model_reader *r, const char *name, dynq_dtype dtype,
                               const dynq_st_tensor **found)
{
    const dynq_st_tensor *tensor = dynq_st_find(&r->header, name);
    if (tensor == NULL) {
        return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET, "%s: tensor '%s' is missing",
                            r->file, name);
    }
    r->used[tensor - r->header.tensors] = 1;
    if (tensor->dtype != dtype) {
        return dynq_fail_at(r->error, DYNQ_ERR_TYPE, tensor->offset,
                            "%s: tensor '%s' has the wrong element type", r->file, name);
    }
    *found = tensor;
    return DYNQ_OK;
}

/* Finds a tensor of a node and checks its type and shape, not its contents. One that is misaligned
 * is copied. */
static dynq_status take(const model_reader *r, const dynq_node *node, const wanted *want,
                        const void **data)
{
    char name[DYNQ_MAX_NAME + 16];
    const dynq_st_tensor *tensor = NULL;
    snprintf(name, sizeof name, "%s.%s", node->name, want->suffix);
    const dynq_status status = find_tensor(r, name, want->dtype, &tensor);
    if (status != DYNQ_OK) {
        return status;
    }
    if (tensor->rank != want->rank ||
        memcmp(tensor->shape, want->shape, want->rank * sizeof want->shape[0]) != 0) {
        return dynq_fail_at(r->error, DYNQ_ERR_SHAPE, tensor->offset,
                            "%s: tensor '%s' does not have the shape that its node asks for",
                            r->file, name);
    }
    const unsigned char *bytes = r->bytes + tensor->offset;
    if ((uintptr_t)bytes % want->alignment != 0) {
        void *copy = dynq_model_own(r->model, tensor->bytes, 1);
        if (copy == NULL) {
            return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: no memory for a copy of '%s'", r->file,
                             name);
        }
        memcpy(copy, bytes, tensor->bytes);
        bytes = copy;
    }
    *data = bytes;
    return DYNQ_OK;
}

/* A vector of `count` floats, all of them finite (and above 0 if they are scales). */
static dynq_status take_floats(const model_reader *r, const dynq_node *node, const char *suffix,
                               size_t count, bool scales, const float **data)
{
    const wanted want = {suffix, DYNQ_F32, 1, {count}, sizeof(float)};
    const void *bytes = NULL;
    const dynq_status status = take(r, node, &want, &bytes);
    if (status != DYNQ_OK) {
        return status;
    }
    const float *values = bytes;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return dynq_fail_at(r->error, DYNQ_ERR_NOT_FINITE, HEADER_OFFSET,
                                "%s: tensor '%s.%s': element %zu is %s", r->file, node->name,
                                suffix, i, isnan(values[i]) ? "NaN" : "Inf");
        }
        if (scales && !(values[i] > 0)) {
            return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET,
                                "%s: tensor '%s.%s': element %zu is %g; a scale is above 0",
                                r->file, node->name, suffix, i, (double)values[i]);
        }
    }
    *data = values;
    return DYNQ_OK;
}

/* What the packed weights of a node are in a file. Panels of FP16 have odd multiples of 32 bytes
 * where K is odd, so that is what all of them are aligned to. */
static wanted packed_tensor(const dynq_node *node)
{
    const size_t panels = dynq_packed_panels(node->n), pairs = dynq_divide_up(node->k, 2);
    switch (node->weight_format) {
    case DYNQ_FORMAT_FP16:
        return (wanted){"weight", DYNQ_F16, 3, {panels, node->k, DYNQ_PANEL}, DYNQ_ALIGNMENT / 2};
    case DYNQ_FORMAT_BF16:
        return (wanted){"weight", DYNQ_BF16, 4, {panels, pairs, DYNQ_PANEL, 2}, DYNQ_ALIGNMENT};
    case DYNQ_FORMAT_INT16:
        return (wanted){"weight", DYNQ_I16, 4, {panels, pairs, DYNQ_PANEL, 2}, DYNQ_ALIGNMENT};
    default: break;
    }
    if (dynq_node_is_p16x4(node)) {
        const size_t rows = dynq_packed_k(node->k) / 4;
        return (wanted){"weight", DYNQ_I8, 4, {panels, rows, DYNQ_PANEL, 4}, DYNQ_ALIGNMENT};
    }
    const size_t bytes = dynq_node_packed_bytes(node) / panels;
    return (wanted){"weight", DYNQ_U8, 2, {panels, bytes}, DYNQ_ALIGNMENT};
}

static dynq_status take_levels(const model_reader *r, dynq_node *node)
{
    const size_t tables = dynq_node_tables(node);
    const wanted want = {"weight_levels", DYNQ_I8, 2, {tables, dynq_node_table_levels(node)}, 1};
    const void *levels = NULL;
    const dynq_status status = tables > 0 ? take(r, node, &want, &levels) : DYNQ_OK;
    node->levels = levels;
    return status;
}

/* Weights in any format but FP32, with what comes with them. */
static dynq_status take_packed(const model_reader *r, dynq_node *node)
{
    const wanted weight = packed_tensor(node);
    const wanted sum = {"weight_sum", DYNQ_I32, 1, {node->n}, sizeof(int32_t)};
    const void *packed = NULL, *sums = NULL;
    dynq_status status = take(r, node, &weight, &packed);
    if (status == DYNQ_OK && node->precision == DYNQ_PRECISION_INT8 && node->weight_group == 0) {
        status = take(r, node, &sum, &sums);
    }
    if (status == DYNQ_OK && node->precision != DYNQ_PRECISION_FP32) {
        status = take_floats(r, node, "weight_scale", node->n, true, &node->weight_scale);
    }
    if (status == DYNQ_OK) {
        status = take_levels(r, node);
    }
    node->packed = packed;
    node->weight_sum = sums;
    return status;
}

static dynq_status take_fp32(const model_reader *r, dynq_node *node, size_t rows, size_t columns)
{
    const wanted weight = {"weight", DYNQ_F32, 2, {rows, columns}, sizeof(float)};
    const void *weights = NULL;
    const dynq_status status = take(r, node, &weight, &weights);
    node->weight = weights;
    return status;
}

/* Codes in rows, which need no alignment, with a scale for each row. */
static dynq_status take_int8_table(const model_reader *r, dynq_node *node)
{
    const wanted weight = {"weight", DYNQ_I8, 2, {node->table_rows, node->n}, 1};
    const void *codes = NULL;
    dynq_status status = take(r, node, &weight, &codes);
    if (status == DYNQ_OK) {
        status = take_floats(r, node, "weight_scale", node->table_rows, true, &node->weight_scale);
    }
    node->table_codes = codes;
    return status;
}

/* Any node may have one: it is there if its tensor is. */
static dynq_status take_column_scale(const model_reader *r, dynq_node *node)
{
    static const char suffix[] = "column_scale";
    char name[DYNQ_MAX_NAME + 16];
    snprintf(name, sizeof name, "%s.%s", node->name, suffix);
    return dynq_st_find(&r->header, name) == NULL
               ? DYNQ_OK
               : take_floats(r, node, suffix, node->n, true, &node->column_scale);
}

static dynq_status take_parameters(const model_reader *r, size_t index)
{
    dynq_node *node = &r->model->nodes[index];
    const bool int8 = node->precision == DYNQ_PRECISION_INT8;
    dynq_status status = DYNQ_OK;
    if (node->op == DYNQ_OP_LAYER_NORM || node->op == DYNQ_OP_SCALE) {
        status = take_floats(r, node, "weight", node->n, false, &node->gain);
    } else if (node->op == DYNQ_OP_LINEAR) {
        status = node->weight_format == DYNQ_FORMAT_FP32 ? take_fp32(r, node, node->n, node->k)
                                                         : take_packed(r, node);
    } else if (dynq_op_has_table(node->op)) {
        status = int8 ? take_int8_table(r, node) : take_fp32(r, node, node->table_rows, node->n);
    }
    if (status == DYNQ_OK && (node->op == DYNQ_OP_LAYER_NORM || r->has_bias[index])) {
        status = take_floats(r, node, "bias", node->n, false, &node->bias);
    }
    return status == DYNQ_OK ? take_column_scale(r, node) : status;
}

static dynq_status take_attachment(const model_reader *r, dynq_model_attachment_entry *attachment)
{
    char name[DYNQ_MAX_NAME + 16];
    const dynq_st_tensor *tensor = NULL;
    snprintf(name, sizeof name, DYNQ_ATTACHMENT_TENSOR "%s", attachment->name);
    const dynq_status status = find_tensor(r, name, DYNQ_U8, &tensor);
    if (status != DYNQ_OK) {
        return status;
    }
    if (tensor->rank != 1 || tensor->bytes == 0) {
        return dynq_fail_at(r->error, DYNQ_ERR_SHAPE, tensor->offset,
                            "%s: tensor '%s' is not a vector of bytes", r->file, name);
    }
    attachment->bytes = r->bytes + tensor->offset;
    attachment->size = tensor->bytes;
    return DYNQ_OK;
}

static dynq_status take_all(model_reader *r)
{
    r->used = dynq_alloc(&r->model->allocator, r->header.tensor_count, 1);
    if (r->used == NULL) {
        return dynq_fail(r->error, DYNQ_ERR_MEMORY, "%s: out of memory", r->file);
    }
    for (size_t i = 0; i < r->model->node_count; i++) {
        const dynq_status status = take_parameters(r, i);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < r->model->attachment_count; i++) {
        const dynq_status status = take_attachment(r, &r->model->attachments[i]);
        if (status != DYNQ_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < r->header.tensor_count; i++) {
        if (!r->used[i]) {
            const dynq_st_tensor *tensor = &r->header.tensors[i];
            return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, tensor->offset,
                                "%s: tensor '%s' belongs to no node of the graph", r->file,
                                tensor->name);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_model(model_reader *r)
{
    dynq_status status = check_version(r);
    if (status != DYNQ_OK) {
        return status;
    }
    const char *graph = dynq_st_metadata_value(&r->header, DYNQ_META_GRAPH);
    if (graph == NULL) {
        return dynq_fail_at(r->error, DYNQ_ERR_FORMAT, HEADER_OFFSET,
                            "%s: its metadata has no graph", r->file);
    }
    status = dynq_model_json_read(r->file, graph, r->model, &r->has_bias, r->error);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_error reason = {0};
    status = dynq_model_check(r->model, &reason);
    if (status != DYNQ_OK) {
        /* A file cannot pass a wrong argument: its bytes are wrong. */
        status = status == DYNQ_ERR_ARGUMENT ? DYNQ_ERR_FORMAT : status;
        return dynq_fail_at(r->error, status, HEADER_OFFSET, "%s: graph: %s", r->file,
                            reason.message);
    }
    return take_all(r);
}

/* Makes a model of a file and takes the file over, whether it succeeds or not. `bytes` are those of
 * the file, or borrowed ones while file->bytes is NULL. */
static dynq_status open_bytes(const char *name, const void *bytes, dynq_file *file,
                              const dynq_allocator *allocator, dynq_model **model,
                              dynq_error *error)
{
    model_reader r = {.file = name, .bytes = bytes, .error = error};
    r.model = dynq_model_new(allocator);
    if (r.model == NULL) {
        dynq_file_close(file, allocator);
        return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory", name);
    }
    r.model->file = *file;
    dynq_status status = dynq_st_parse(name, bytes, file->size, allocator, &r.header, error);
    if (status == DYNQ_OK) {
        status = read_model(&r);
        dynq_st_header_free(&r.header);
        dynq_release(allocator, r.used);
        dynq_release(allocator, r.has_bias);
    }
    if (status == DYNQ_OK) {
        *model = r.model;
    } else {
        dynq_model_free(r.model);
    }
    return status;
}

/* The caller's options as far as this version knows them. */
static dynq_status get_options(const dynq_open_options *given, dynq_open_options *options,
                               dynq_allocator *allocator, dynq_error *error)
{
    if (!dynq_options_copy(options, sizeof *options, given)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "dynq_open_options: its size is not set, or it asks for what this version "
                         "does not know");
    }
    *allocator = dynq_allocator_or_default(options->allocator);
    return DYNQ_OK;
}

dynq_status dynq_model_open(const char *path, const dynq_open_options *options, dynq_model **model,
                            dynq_error *error)
{
    if (path == NULL || model == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "dynq_model_open: path or model is NULL");
    }
    dynq_open_options known;
    dynq_allocator allocator;
    dynq_file file;
    dynq_status status = get_options(options, &known, &allocator, error);
    if (status == DYNQ_OK) {
        status = dynq_file_open(path, known.copy, &allocator, &file, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    return open_bytes(path, file.bytes, &file, &allocator, model, error);
}

dynq_status dynq_model_open_memory(const void *bytes, size_t size, const dynq_open_options *options,
                                   dynq_model **model, dynq_error *error)
{
    static const char name[] = "(memory)";
    if ((bytes == NULL && size > 0) || model == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "dynq_model_open_memory: bytes or model is NULL");
    }
    dynq_open_options known;
    dynq_allocator allocator;
    const dynq_status status = get_options(options, &known, &allocator, error);
    if (status != DYNQ_OK) {
        return status;
    }
    dynq_file file = {.size = size};
    if (known.copy && size > 0) {
        void *copy = dynq_alloc(&allocator, size, 1);
        if (copy == NULL) {
            return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: no memory for a copy of %zu bytes", name,
                             size);
        }
        memcpy(copy, bytes, size);
        file.bytes = copy;
        bytes = copy;
    }
    return open_bytes(name, bytes, &file, &allocator, model, error);
}
