#include "tools/formats_source.h"

#include "tools/allocate.h"
#include "tools/data_format.h"

#include <dynq/format.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)32 << 10) /* elements */

void formats_source_close(formats_source *source)
{
    free(source->array);
    free(source->items);
    dynq_model_free(source->model);
    dynq_safetensors_free(source->file);
    *source = (formats_source){0};
}

static void add_item(formats_source *source, formats_item item)
{
    source->items = allocate_again(source->items, source->count + 1, sizeof *source->items);
    source->items[source->count++] = item;
}

/* f64 as it is, the rest by way of floats. */
static dynq_status convert(const data_stream *stream, const unsigned char *bytes, size_t count,
                           data_element element, double *values, dynq_error *error)
{
    if (element.bytes == sizeof(double)) {
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = 0;
            for (size_t b = 0; b < sizeof bits; b++) {
                bits = bits << 8 | bytes[i * 8 + (element.big_endian ? b : 7 - b)];
            }
            memcpy(values + i, &bits, sizeof bits);
        }
        return DYNQ_OK;
    }
    float *floats = allocate(count, sizeof *floats);
    const dynq_status status = data_convert(stream, bytes, count, element, false, floats, error);
    dynq_fp64_from_fp32(floats, count, values);
    free(floats);
    return status;
}

/* Memory grows with what was really read, whatever the header says. */
static dynq_status read_array(data_stream *stream, data_layout layout, double **values,
                              dynq_error *error)
{
    unsigned char *bytes = allocate(CHUNK, layout.element.bytes);
    const size_t count = layout.rows * layout.columns;
    dynq_status status = DYNQ_OK;
    for (size_t done = 0, room = 0; status == DYNQ_OK && done < count;) {
        const size_t now = count - done < CHUNK ? count - done : CHUNK;
        size_t got = 0;
        status = data_stream_read(stream, bytes, now * layout.element.bytes, &got, error);
        if (status == DYNQ_OK && got < now * layout.element.bytes) {
            status = data_fail_truncated(stream, error);
        }
        if (status == DYNQ_OK) {
            if (done + now > room) {
                room = 2 * room < done + now ? done + now : 2 * room;
                *values = allocate_again(*values, room, sizeof **values);
            }
            status = convert(stream, bytes, now, layout.element, *values + done, error);
        }
        done += now;
    }
    free(bytes);
    return status == DYNQ_OK ? data_stream_finish(stream, error) : status;
}

static exit_code open_array(const command_call *call, const char *tensor, data_stream *stream,
                            formats_source *source)
{
    data_layout layout = {.rank = 0};
    dynq_error error = {0};
    if (tensor != NULL) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "%s is one array: --tensor chooses from models and safetensors files",
                            source->path);
    }
    dynq_status status = data_matrix_layout(stream, 0, &layout, &error);
    if (status == DYNQ_OK) {
        status = read_array(stream, layout, &source->array, &error);
    }
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, source->path);
    }
    const char *slash = strrchr(source->path, '/');
    formats_item item = {
        .name = slash == NULL ? source->path : slash + 1, .n = layout.rows, .k = layout.columns};
    if (layout.rank == 1) { /* one column of inputs, not many of one */
        item.n = 1;
        item.k = layout.rows;
    }
    add_item(source, item);
    return EXIT_CODE_DONE;
}

static int is_float(const char *type)
{
    return strcmp(type, "F64") == 0 || strcmp(type, "F32") == 0 || strcmp(type, "F16") == 0 ||
           strcmp(type, "BF16") == 0;
}

/* The elements of a tensor: its first dimension counts columns, the others are laid end to end. */
static formats_item item_of_tensor(const dynq_safetensors_tensor *tensor, size_t index)
{
    formats_item item = {.name = tensor->name, .n = 1, .k = 1, .index = index};
    if (tensor->rank > 1) {
        item.n = tensor->shape[0];
    }
    for (uint32_t i = tensor->rank > 1; i < tensor->rank; i++) {
        item.k *= tensor->shape[i];
    }
    return item;
}

static void list_tensors(formats_source *source)
{
    for (size_t i = 0; i < dynq_safetensors_count(source->file); i++) {
        dynq_safetensors_tensor tensor = {.size = sizeof tensor};
        dynq_safetensors_get(source->file, i, &tensor);
        if (tensor.rank > 1 && tensor.bytes > 0 && is_float(tensor.type)) {
            add_item(source, item_of_tensor(&tensor, i));
        }
    }
}

static void list_layers(formats_source *source)
{
    for (size_t i = 0; i < dynq_model_node_count(source->model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(source->model, i, &node);
        if (node.op == DYNQ_OP_LINEAR) {
            add_item(source, (formats_item){node.name, node.n, node.k, i, 1});
        }
    }
}

/* The weights of a node by its name, with or without ".weight" behind it. */
static int find_node(formats_source *source, const char *name)
{
    static const char ending[] = ".weight";
    const size_t length = strlen(name), end = sizeof ending - 1;
    long index = dynq_model_find(source->model, name);
    if (index < 0 && length > end && strcmp(name + length - end, ending) == 0) {
        char *bare = allocate_text(name);
        bare[length - end] = '\0';
        index = dynq_model_find(source->model, bare);
        free(bare);
    }
    dynq_node_info node = {.size = sizeof node};
    if (index < 0 || dynq_model_node(source->model, (size_t)index, &node) != DYNQ_OK) {
        return 0;
    }
    const int is_table = node.op == DYNQ_OP_EMBEDDING || node.op == DYNQ_OP_POSITION;
    if (node.op != DYNQ_OP_LINEAR && !is_table) {
        return 0;
    }
    add_item(source, (formats_item){node.name, is_table ? node.table_rows : node.n,
                                    is_table ? node.n : node.k, (size_t)index, 1});
    return 1;
}

static exit_code find_tensor(const command_call *call, const char *name, formats_source *source)
{
    if (source->model != NULL && find_node(source, name)) {
        return EXIT_CODE_DONE;
    }
    const long index = dynq_safetensors_find(source->file, name);
    if (index < 0) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            source->model != NULL
                                ? "%s: no weights of the name '%s'; `dynq info` lists the nodes"
                                : "%s: no tensor of the name '%s'",
                            source->path, name);
    }
    dynq_safetensors_tensor tensor = {.size = sizeof tensor};
    dynq_safetensors_get(source->file, (size_t)index, &tensor);
    if (!is_float(tensor.type)) {
        return command_fail(call->command, EXIT_CODE_DATA,
                            "%s: tensor '%s' is of type %s; F64, F32, F16 and BF16 are measured",
                            source->path, name, tensor.type);
    }
    if (tensor.bytes == 0) {
        return command_fail(call->command, EXIT_CODE_DATA, "%s: tensor '%s' has no elements",
                            source->path, name);
    }
    add_item(source, item_of_tensor(&tensor, (size_t)index));
    return EXIT_CODE_DONE;
}

static exit_code open_tensors(const command_call *call, const char *tensor, formats_source *source)
{
    dynq_error error = {0};
    const dynq_status status = dynq_safetensors_open(source->path, NULL, &source->file, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, source->path);
    }
    const char *format = dynq_safetensors_metadata(source->file, "format");
    if (format != NULL && strcmp(format, "dynq") == 0) {
        const exit_code code = command_open_model(call, source->path, &source->model);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
    }
    if (tensor != NULL) {
        return find_tensor(call, tensor, source);
    }
    if (source->model != NULL) {
        list_layers(source);
    } else {
        list_tensors(source);
    }
    return source->count > 0
               ? EXIT_CODE_DONE
               : command_fail(call->command, EXIT_CODE_DATA, "%s: no %s to measure; see --tensor",
                              source->path,
                              source->model != NULL ? "linear layers" : "matrices of floats");
}

exit_code formats_source_open(const command_call *call, const char *path, const char *tensor,
                              formats_source *source)
{
    data_stream stream;
    dynq_error error = {0};
    exit_code code = EXIT_CODE_DONE;
    source->path = path;
    const dynq_status status = data_stream_open(path, &stream, &error);
    if (status != DYNQ_OK) {
        code = command_fail_status(call->command, status, &error, path);
    } else if (stream.head_size == 0) {
        code = command_fail(call->command, EXIT_CODE_DATA, "%s: the file is empty", path);
    } else if (data_npy_matches(&stream) || data_idx_matches(&stream)) {
        code = open_array(call, tensor, &stream, source);
    } else {
        code = open_tensors(call, tensor, source);
    }
    data_stream_close(&stream);
    return code;
}

/* Floats of a node or tensor as doubles. */
static dynq_status read_floats(const formats_source *source, const formats_item *item,
                               double *values)
{
    const size_t count = item->n * item->k;
    float *floats = allocate(count, sizeof *floats);
    const dynq_status status =
        item->is_node ? dynq_model_weights(source->model, item->index, floats, count)
                      : dynq_safetensors_floats(source->file, item->index, floats, count);
    if (status == DYNQ_OK) {
        dynq_fp64_from_fp32(floats, count, values);
    }
    free(floats);
    return status;
}

exit_code formats_source_read(const command_call *call, const formats_source *source,
                              const formats_item *item, double **values)
{
    const size_t count = item->n * item->k;
    dynq_safetensors_tensor tensor = {.size = sizeof tensor};
    dynq_status status = DYNQ_OK;
    double *read = allocate(count, sizeof *read);
    if (!item->is_node && source->file != NULL) {
        status = dynq_safetensors_get(source->file, item->index, &tensor);
    }
    if (source->array != NULL) {
        memcpy(read, source->array, count * sizeof *read);
    } else if (tensor.type != NULL && strcmp(tensor.type, "F64") == 0) {
        memcpy(read, tensor.data, count * sizeof *read);
    } else if (status == DYNQ_OK) {
        status = read_floats(source, item, read);
    }
    if (status != DYNQ_OK) {
        free(read);
        return command_fail_status(call->command, status, NULL, source->path);
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(read[i])) {
            const int is_nan = isnan(read[i]);
            free(read);
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: %s[%zu][%zu] is %s; only finite numbers can be measured",
                                source->path, item->name, i / item->k, i % item->k,
                                is_nan ? "NaN" : "infinite");
        }
    }
    *values = read;
    return EXIT_CODE_DONE;
}
