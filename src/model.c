#include "src/model.h"

#include <string.h>

dynq_model *dynq_model_new(const dynq_allocator *allocator)
{
    const dynq_allocator from = dynq_allocator_or_default(allocator);
    dynq_model *model = dynq_alloc(&from, 1, sizeof *model);
    if (model == NULL) {
        return NULL;
    }
    model->allocator = from;
    atomic_init(&model->references, 1);
    return model;
}

dynq_node *dynq_model_add_node(dynq_model *model, const char *name, dynq_op op)
{
    dynq_node *nodes = dynq_grow(&model->allocator, model->nodes, model->node_count,
                                 model->node_count + 1, sizeof *nodes, &model->node_capacity);
    if (nodes == NULL) {
        return NULL;
    }
    model->nodes = nodes;
    char *copy = dynq_alloc_string(&model->allocator, name);
    if (copy == NULL) {
        return NULL;
    }
    dynq_node *node = &nodes[model->node_count++];
    *node = (dynq_node){.name = copy, .op = op};
    return node;
}

dynq_status dynq_model_add_output(dynq_model *model, const char *name, uint32_t node)
{
    dynq_model_output_entry *outputs =
        dynq_grow(&model->allocator, model->outputs, model->output_count, model->output_count + 1,
                  sizeof *outputs, &model->output_capacity);
    if (outputs == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    model->outputs = outputs;
    char *copy = dynq_alloc_string(&model->allocator, name);
    if (copy == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    outputs[model->output_count++] = (dynq_model_output_entry){.name = copy, .node = node};
    return DYNQ_OK;
}

dynq_status dynq_model_add_attachment(dynq_model *model, const char *name, const void *bytes,
                                      size_t size)
{
    dynq_model_attachment_entry *attachments =
        dynq_grow(&model->allocator, model->attachments, model->attachment_count,
                  model->attachment_count + 1, sizeof *attachments, &model->attachment_capacity);
    if (attachments == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    model->attachments = attachments;
    char *copy = dynq_alloc_string(&model->allocator, name);
    if (copy == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    attachments[model->attachment_count++] =
        (dynq_model_attachment_entry){.name = copy, .bytes = bytes, .size = size};
    return DYNQ_OK;
}

dynq_status dynq_model_attach_copy(dynq_model *model, const char *name, const void *bytes,
                                   size_t size)
{
    void *copy = dynq_model_own(model, size, 1);
    if (copy == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    memcpy(copy, bytes, size);
    return dynq_model_add_attachment(model, name, copy, size);
}

void *dynq_model_own(dynq_model *model, size_t count, size_t size)
{
    void **owned = dynq_grow(&model->allocator, model->owned, model->owned_count,
                             model->owned_count + 1, sizeof *owned, &model->owned_capacity);
    if (owned == NULL) {
        return NULL;
    }
    model->owned = owned;
    void *block = dynq_alloc(&model->allocator, count, size);
    if (block != NULL) {
        owned[model->owned_count++] = block;
    }
    return block;
}

dynq_model *dynq_model_retain(dynq_model *model)
{
    if (model != NULL) {
        atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    }
    return model;
}

void dynq_model_free(dynq_model *model)
{
    if (model == NULL ||
        atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    const dynq_allocator allocator = model->allocator;
    for (size_t i = 0; i < model->node_count; i++) {
        dynq_release(&allocator, model->nodes[i].name);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        dynq_release(&allocator, model->outputs[i].name);
    }
    for (size_t i = 0; i < model->attachment_count; i++) {
        dynq_release(&allocator, model->attachments[i].name);
    }
    for (size_t i = 0; i < model->owned_count; i++) {
        dynq_release(&allocator, model->owned[i]);
    }
    dynq_release(&allocator, model->attachments);
    dynq_release(&allocator, model->nodes);
    dynq_release(&allocator, model->outputs);
    dynq_release(&allocator, model->owned);
    dynq_file_close(&model->file, &allocator);
    dynq_model_free(model->parent);
    dynq_model_free(model->twin);
    dynq_release(&allocator, model);
}
