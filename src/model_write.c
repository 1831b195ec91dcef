/* Saving models. Beside "bias" [n], and "column_scale" [n] where smoothing was, a linear layer NAME
 * has these tensors, with panels = ceil(n / 16) as kernels/README.md shows them:
 *
 *     FP32                  NAME.weight F32 [n][k]
 *     FP16                  NAME.weight F16 [panels][k][16]
 *     BF16                  NAME.weight BF16 [panels][ceil(k / 2)][16][2]
 *     INT16                 NAME.weight I16 [panels][ceil(k / 2)][16][2], weight_scale F32 [n]
 *     INT8                  NAME.weight I8 [panels][kpad / 4][16][4], weight_scale F32 [n],
 *                           weight_sum I32 [n]
 *     INT4, INT2, groups    NAME.weight U8 [panels][bytes of a panel], weight_scale F32 [n]
 *       without groups      weight_sum I32 [n]
 *       INT4, INT2          weight_levels I8 [1 or panels][16 or 4]
 */
#include "src/error.h"
#include "src/model.h"
#include "src/model_json.h"
#include "src/pack.h"
#include "src/safetensors.h"

#include <stdio.h>
#include <string.h>

#define TENSORS_PER_NODE 6

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)
#define FORMAT_VERSION  TEXT(DYNQ_FORMAT_MAJOR) "." TEXT(DYNQ_FORMAT_MINOR)

typedef char tensor_name[DYNQ_MAX_NAME + 16];

/* Everything that goes into a file; its memory comes from the model's allocator. */
typedef struct contents {
    dynq_st_source *sources;
    tensor_name *names;
    size_t count;
    char *graph;
} contents;

#define METADATA_COUNT 3

/* Its name is that of the node with the suffix. */
static void add(contents *c, const dynq_node *node, const char *suffix, dynq_tensor tensor)
{
    snprintf(c->names[c->count], sizeof *c->names, "%s.%s", node->name, suffix);
    c->sources[c->count] = (dynq_st_source){.name = c->names[c->count], .tensor = tensor};
    c->count++;
}

static void add_vector(contents *c, const dynq_node *node, const char *suffix, dynq_dtype dtype,
                       size_t count, const void *data)
{
    add(c, node, suffix, (dynq_tensor){.dtype = dtype, .rank = 1, .shape = {count}, .data = data});
}

static void add_matrix(contents *c, const dynq_node *node, dynq_dtype dtype, size_t rows,
                       size_t columns, const void *data)
{
    add(c, node, "weight",
        (dynq_tensor){.dtype = dtype, .rank = 2, .shape = {rows, columns}, .data = data});
}

static void add_packed(contents *c, const dynq_node *node)
{
    const size_t panels = dynq_packed_panels(node->n);
    const size_t pairs = dynq_divide_up(node->k, 2);
    dynq_tensor tensor = {.data = node->packed};
    switch (node->weight_format) {
    case DYNQ_FORMAT_FP16:
        tensor = (dynq_tensor){DYNQ_F16, 3, {panels, node->k, DYNQ_PANEL}, node->packed};
        break;
    case DYNQ_FORMAT_BF16:
        tensor = (dynq_tensor){DYNQ_BF16, 4, {panels, pairs, DYNQ_PANEL, 2}, node->packed};
        break;
    case DYNQ_FORMAT_INT16:
        tensor = (dynq_tensor){DYNQ_I16, 4, {panels, pairs, DYNQ_PANEL, 2}, node->packed};
        break;
    default:
        if (dynq_node_is_p16x4(node)) {
            const size_t rows = dynq_packed_k(node->k) / 4;
            tensor = (dynq_tensor){DYNQ_I8, 4, {panels, rows, DYNQ_PANEL, 4}, node->packed};
        } else {
            const size_t bytes = dynq_node_packed_bytes(node) / panels;
            tensor = (dynq_tensor){DYNQ_U8, 2, {panels, bytes}, node->packed};
        }
        break;
    }
    add(c, node, "weight", tensor);
}

/* Tensors whose elements have 4 bytes. */
static void add_words(contents *c, const dynq_node *node)
{
    const bool table = dynq_op_has_table(node->op);
    if (node->gain != NULL) {
        add_vector(c, node, "weight", DYNQ_F32, node->n, node->gain);
    } else if (node->weight != NULL) {
        add_matrix(c, node, DYNQ_F32, table ? node->table_rows : node->n, table ? node->n : node->k,
                   node->weight);
    } else if (node->packed != NULL && node->weight_scale != NULL) {
        add_vector(c, node, "weight_scale", DYNQ_F32, node->n, node->weight_scale);
        if (node->weight_sum != NULL) {
            add_vector(c, node, "weight_sum", DYNQ_I32, node->n, node->weight_sum);
        }
    } else if (node->table_codes != NULL) {
        add_vector(c, node, "weight_scale", DYNQ_F32, node->table_rows, node->weight_scale);
    }
    if (node->bias != NULL) {
        add_vector(c, node, "bias", DYNQ_F32, node->n, node->bias);
    }
    if (node->column_scale != NULL) {
        add_vector(c, node, "column_scale", DYNQ_F32, node->n, node->column_scale);
    }
}

static void add_attachment(contents *c, const dynq_model_attachment_entry *attachment)
{
    snprintf(c->names[c->count], sizeof *c->names, DYNQ_ATTACHMENT_TENSOR "%s", attachment->name);
    c->sources[c->count] = (dynq_st_source){
        .name = c->names[c->count],
        .tensor = {
            .dtype = DYNQ_U8, .rank = 1, .shape = {attachment->size}, .data = attachment->bytes}};
    c->count++;
}

/* Packed weights whose size is a multiple of 64 (or is none: FP16 with an odd K). */
static void add_all_packed(contents *c, const dynq_model *model, bool whole)
{
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->packed != NULL && (dynq_node_packed_bytes(node) % DYNQ_ALIGNMENT == 0) == whole) {
            add_packed(c, node);
        }
    }
}

static void add_levels(contents *c, const dynq_node *node)
{
    const dynq_tensor tensor = {.dtype = DYNQ_I8,
                                .rank = 2,
                                .shape = {dynq_node_tables(node), dynq_node_table_levels(node)},
                                .data = node->levels};
    add(c, node, "weight_levels", tensor);
}

/* The file has no gaps, so the order keeps everything aligned: packed weights, whose sizes are
 * multiples of 64 or, the last ones, of 32; then elements of 4 bytes, then codes of tables, levels
 * and attachments, which may lie anywhere. */
static void add_all(contents *c, const dynq_model *model)
{
    add_all_packed(c, model, true);
    add_all_packed(c, model, false);
    for (size_t i = 0; i < model->node_count; i++) {
        add_words(c, &model->nodes[i]);
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->table_codes != NULL) {
            add_matrix(c, node, DYNQ_I8, node->table_rows, node->n, node->table_codes);
        }
        if (node->levels != NULL) {
            add_levels(c, node);
        }
    }
    for (size_t i = 0; i < model->attachment_count; i++) {
        add_attachment(c, &model->attachments[i]);
    }
}

static void release(contents *c, const dynq_allocator *allocator)
{
    dynq_release(allocator, c->sources);
    dynq_release(allocator, c->names);
    dynq_release(allocator, c->graph);
}

/* DYNQ_ERR_MEMORY, and then nothing is held. */
static dynq_status collect(const dynq_model *model, contents *c)
{
    const size_t room = model->node_count * TENSORS_PER_NODE + model->attachment_count;
    *c = (contents){0};
    c->sources = dynq_alloc(&model->allocator, room, sizeof *c->sources);
    c->names = dynq_alloc(&model->allocator, room, sizeof *c->names);
    c->graph = dynq_model_json_write(model);
    if (c->sources == NULL || c->names == NULL || c->graph == NULL) {
        release(c, &model->allocator);
        return DYNQ_ERR_MEMORY;
    }
    add_all(c, model);
    return DYNQ_OK;
}

static void fill_metadata(const contents *c, dynq_st_metadata metadata[METADATA_COUNT])
{
    metadata[0] = (dynq_st_metadata){DYNQ_META_FORMAT, DYNQ_META_DYNQ};
    metadata[1] = (dynq_st_metadata){DYNQ_META_VERSION, FORMAT_VERSION};
    metadata[2] = (dynq_st_metadata){DYNQ_META_GRAPH, c->graph};
}

dynq_status dynq_model_save(const dynq_model *model, const char *path, dynq_error *error)
{
    if (model == NULL || path == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "dynq_model_save: model or path is NULL");
    }
    if (model->parent != NULL) {
        return dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                         "%s: isolated nodes cannot be saved; save the model they are from", path);
    }
    contents c;
    if (collect(model, &c) != DYNQ_OK) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "%s: out of memory for its header", path);
    }
    dynq_st_metadata metadata[METADATA_COUNT];
    fill_metadata(&c, metadata);
    const dynq_status status =
        dynq_st_write(path, c.sources, c.count, metadata, METADATA_COUNT, error);
    release(&c, &model->allocator);
    return status;
}

uint64_t dynq_model_file_bytes(const dynq_model *model)
{
    if (model->file.size > 0) {
        return model->file.size;
    }
    contents c;
    if (collect(model, &c) != DYNQ_OK) {
        return 0;
    }
    dynq_st_metadata metadata[METADATA_COUNT];
    fill_metadata(&c, metadata);
    const uint64_t bytes = dynq_st_file_bytes(c.sources, c.count, metadata, METADATA_COUNT);
    release(&c, &model->allocator);
    return bytes;
}
