/* The rules that every model obeys, whether a builder or a file made it: names, and the graph as a
 * whole. */
#include "src/error.h"
#include "src/model.h"

#include <stdlib.h>
#include <string.h>

/* The length of the printable UTF-8 character at s (terminated), or 0 if there is none. */
static size_t printable_length(const unsigned char *s)
{
    if (s[0] >= 0x20 && s[0] < 0x7f) {
        return 1;
    }
    const size_t length = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                          : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                          : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                        : 0;
    if (length == 0) {
        return 0;
    }
    uint32_t code = s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) { /* also the terminator */
            return 0;
        }
        code = code << 6 | (s[i] & 0x3f);
    }
    const uint32_t smallest[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f are controls */
    if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
        code == 0x2028 || code == 0x2029) { /* line and paragraph separators */
        return 0;
    }
    return length;
}

dynq_status dynq_model_check_name(const char *what, size_t index, const char *name,
                                  dynq_error *error)
{
    if (name == NULL || name[0] == '\0') {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "%s %zu has no name; give it one", what, index);
    }
    if (strlen(name) > DYNQ_MAX_NAME) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "%s %zu: its name '%.40s...' has over %d bytes",
                         what, index, name, DYNQ_MAX_NAME);
    }
    const unsigned char *s = (const unsigned char *)name;
    while (*s != '\0') {
        const size_t length = printable_length(s);
        if (length == 0) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "%s %zu: byte %zu of its name is not part of printable UTF-8", what,
                             index, (size_t)(s - (const unsigned char *)name));
        }
        s += length;
    }
    return DYNQ_OK;
}

dynq_status dynq_model_check_attachment_name(const char *name, dynq_error *error)
{
    const size_t length = name == NULL ? 0 : strlen(name);
    if (length == 0 || length > DYNQ_MAX_NAME ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != length) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "the name '%.40s' of an attachment is not 1 to %d of a to z, 0 to 9, '-' "
                         "and '_'",
                         name == NULL ? "" : name, DYNQ_MAX_NAME);
    }
    return DYNQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dynq_status check_unique(const char *what, const char **names, size_t count,
                                dynq_error *error)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "two %ss are named '%s'; names are unique",
                             what, names[i]);
        }
    }
    return DYNQ_OK;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static dynq_status check_names(const dynq_model *model, dynq_error *error)
{
    const size_t nodes = model->node_count, outputs = model->output_count;
    const size_t attachments = model->attachment_count;
    const char **names =
        dynq_alloc(&model->allocator, larger(larger(nodes, outputs), attachments), sizeof *names);
    if (names == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory while checking a model");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < nodes; i++) {
        names[i] = model->nodes[i].name;
        status = dynq_model_check_name("node", i, names[i], error);
    }
    if (status == DYNQ_OK) {
        status = check_unique("node", names, nodes, error);
    }
    for (size_t i = 0; status == DYNQ_OK && i < outputs; i++) {
        names[i] = model->outputs[i].name;
        status = dynq_model_check_name("output", i, names[i], error);
    }
    if (status == DYNQ_OK) {
        status = check_unique("output", names, outputs, error);
    }
    for (size_t i = 0; status == DYNQ_OK && i < attachments; i++) {
        names[i] = model->attachments[i].name;
        status = dynq_model_check_attachment_name(names[i], error);
    }
    if (status == DYNQ_OK) {
        status = check_unique("attachment", names, attachments, error);
    }
    dynq_release(&model->allocator, names);
    return status;
}

/* Nodes only read earlier ones, so one pass from the back finds all that an output needs. */
static dynq_status check_used(const dynq_model *model, dynq_error *error)
{
    unsigned char *used = dynq_alloc(&model->allocator, model->node_count, 1);
    if (used == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory while checking a model");
    }
    for (size_t i = 0; i < model->output_count; i++) {
        used[model->outputs[i].node] = 1;
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = model->node_count; status == DYNQ_OK && i-- > 0;) {
        const dynq_node *node = &model->nodes[i];
        if (!used[i]) {
            status = dynq_fail(error, DYNQ_ERR_ARGUMENT,
                               "node '%s' is not needed by any output; use it or leave it out",
                               node->name);
        }
        for (uint32_t j = 0; j < node->input_count; j++) {
            used[node->inputs[j]] = 1;
        }
    }
    dynq_release(&model->allocator, used);
    return status;
}

static dynq_status check_outputs(const dynq_model *model, dynq_error *error)
{
    if (model->output_count == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "the model has no output");
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const dynq_model_output_entry *output = &model->outputs[i];
        if (output->node >= model->node_count) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT, "output '%s' is not the result of a node",
                             output->name);
        }
        if (model->nodes[output->node].op == DYNQ_OP_IDS) {
            return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                             "output '%s' is '%s', which holds ids; an output holds floats",
                             output->name, model->nodes[output->node].name);
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_model_check(dynq_model *model, dynq_error *error)
{
    dynq_status status = check_names(model, error);
    size_t inputs = 0;
    for (size_t i = 0; status == DYNQ_OK && i < model->node_count; i++) {
        const dynq_op op = model->nodes[i].op;
        status = dynq_model_check_node(model, i, error);
        inputs += op == DYNQ_OP_INPUT || op == DYNQ_OP_IDS;
    }
    if (status == DYNQ_OK && inputs == 0) {
        status = dynq_fail(error, DYNQ_ERR_ARGUMENT, "the model has no input");
    }
    if (status == DYNQ_OK) {
        status = check_outputs(model, error);
    }
    return status == DYNQ_OK ? check_used(model, error) : status;
}
