#include "tools/inputs.h"

#include "tools/allocate.h"

#include <stdint.h>
#include <string.h>

static size_t smaller(size_t limit, size_t other)
{
    return limit == 0 || other < limit ? other : limit;
}

/* What the embeddings of a model allow. */
static void limit_ids(const dynq_model *model, model_slot *slot)
{
    dynq_node_info node = {.size = sizeof node};
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        dynq_node_info source = {.size = sizeof source};
        if (node.op == DYNQ_OP_POSITION) {
            slot->longest = smaller(slot->longest, node.table_rows - node.first);
        } else if (node.op == DYNQ_OP_EMBEDDING &&
                   dynq_model_node(model, node.inputs[0], &source) == DYNQ_OK &&
                   strcmp(source.name, slot->name) == 0) {
            slot->id_count = smaller(slot->id_count, node.table_rows);
        }
    }
    if (slot->id_count == 0) { /* no table: any id that is not negative */
        slot->id_count = (size_t)INT32_MAX + 1;
    }
}

size_t model_inputs(const dynq_model *model, model_slot **slots)
{
    size_t count = 0;
    dynq_node_info node = {.size = sizeof node};
    *slots = allocate(dynq_model_node_count(model), sizeof **slots);
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        const int ids = node.op == DYNQ_OP_IDS;
        if (ids || node.op == DYNQ_OP_INPUT) {
            model_slot *slot = &(*slots)[count++];
            *slot = (model_slot){
                .name = node.name, .columns = ids ? 1 : node.n, .ids = ids, .domain = node.domain};
            if (ids) {
                limit_ids(model, slot);
            }
        }
    }
    return count;
}

size_t model_outputs(const dynq_model *model, model_slot **slots)
{
    const size_t count = dynq_model_output_count(model);
    *slots = allocate(count, sizeof **slots);
    for (size_t i = 0; i < count; i++) {
        dynq_node_info node = {.size = sizeof node};
        size_t index = 0;
        dynq_model_output(model, i, &(*slots)[i].name, &index);
        dynq_model_node(model, index, &node);
        (*slots)[i].columns = node.n;
        (*slots)[i].domain = node.domain;
    }
    return count;
}

size_t model_main_output(const dynq_model *model)
{
    const char *name = NULL;
    size_t index = 0;
    for (size_t i = 0; dynq_model_output(model, i, &name, &index) == DYNQ_OK; i++) {
        if (strcmp(name, "sentence_embedding") == 0) {
            return i;
        }
    }
    return 0;
}
