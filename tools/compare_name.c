#include "tools/compare.h"

#include <dynq/safetensors.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

compare_agreed compare_examine(const dynq_model *model)
{
    compare_agreed found = {.same = 1};
    dynq_node_info node = {.size = sizeof node};
    for (size_t i = 0; dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        if (node.op != DYNQ_OP_LINEAR) {
            continue;
        }
        if (node.precision == DYNQ_PRECISION_FP32) {
            found.fp32++;
            continue;
        }
        if (found.int8++ == 0) {
            found.rule = node.range;
        }
        found.same = found.same && node.range.kind == found.rule.kind &&
                     node.range.scope == found.rule.scope && node.range.scheme == found.rule.scheme;
    }
    return found;
}

static int name_taken(const comparison *self, const char *name)
{
    for (size_t v = 0; v < self->count; v++) {
        if (strcmp(self->names[v], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Whether two files have the same bytes in a tensor, or both have none of that name. */
static int same_tensor(const dynq_safetensors *a, const dynq_safetensors *b, const char *name)
{
    dynq_safetensors_tensor left = {.size = sizeof left}, right = {.size = sizeof right};
    const long in_a = dynq_safetensors_find(a, name), in_b = dynq_safetensors_find(b, name);
    if (in_a < 0 || in_b < 0) {
        return in_a < 0 && in_b < 0;
    }
    return dynq_safetensors_get(a, (size_t)in_a, &left) == DYNQ_OK &&
           dynq_safetensors_get(b, (size_t)in_b, &right) == DYNQ_OK && left.bytes == right.bytes &&
           strcmp(left.type, right.type) == 0 && memcmp(left.data, right.data, left.bytes) == 0;
}

/* Whether a layer has the same weights in two models. */
static int same_weights(const dynq_model *a, const dynq_model *b, const dynq_node_info *node)
{
    const size_t count = node->n * node->k;
    const long in_a = dynq_model_find(a, node->name), in_b = dynq_model_find(b, node->name);
    float *left = allocate(count, sizeof *left);
    float *right = allocate(count, sizeof *right);
    const int same = in_a >= 0 && in_b >= 0 &&
                     dynq_model_weights(a, (size_t)in_a, left, count) == DYNQ_OK &&
                     dynq_model_weights(b, (size_t)in_b, right, count) == DYNQ_OK &&
                     memcmp(left, right, count * sizeof *left) == 0;
    free(left);
    free(right);
    return same;
}

/* Of all its layers: weights of `plain`, no limits, biases of the reference's file. */
static int same_layers(const dynq_model *model, const dynq_model *plain,
                       const dynq_safetensors *file, const dynq_safetensors *reference)
{
    dynq_node_info node = {.size = sizeof node};
    int same = 1;
    for (size_t i = 0; same && dynq_model_node(model, i, &node) == DYNQ_OK; i++) {
        if (node.op == DYNQ_OP_LINEAR) {
            const size_t size = strlen(node.name) + sizeof ".bias";
            char *bias = allocate(size, 1);
            snprintf(bias, size, "%s.bias", node.name);
            same = node.range.lo == 0 && node.range.hi == 0 && same_weights(model, plain, &node) &&
                   same_tensor(file, reference, bias);
            free(bias);
        }
    }
    return same;
}

/* Whether `dynq quantize` makes a file of the reference with nothing but a rule: the same weights
 * and biases, and no limits of ranges. A smoothed, clipped or corrected model is another one. */
static int is_plain_file(const comparison *self, const char *path, const dynq_model *model,
                         const dynq_range_rule *rule)
{
    const dynq_quantize_options options = {
        .size = sizeof options, .scope = rule->scope, .scheme = rule->scheme};
    dynq_model *plain = NULL;
    dynq_safetensors *file = NULL, *reference = NULL;
    const int same =
        dynq_quantize(self->models[0], &options, &plain, NULL) == DYNQ_OK &&
        dynq_safetensors_open(path, NULL, &file, NULL) == DYNQ_OK &&
        dynq_safetensors_open(self->call->arguments[0], NULL, &reference, NULL) == DYNQ_OK &&
        same_layers(model, plain, file, reference);
    dynq_safetensors_free(reference);
    dynq_safetensors_free(file);
    dynq_model_free(plain);
    return same;
}

void compare_name_file(const comparison *self, const char *path, const dynq_model *model,
                       char *name, size_t size)
{
    const compare_agreed found = compare_examine(model);
    const char *slash = strrchr(path, '/');
    name[0] = '\0';
    if (found.int8 == 0) {
        snprintf(name, size, "fp32");
    } else if (found.fp32 == 0 && found.same && found.rule.kind == DYNQ_RANGE_DYNAMIC &&
               self->count > 0 && is_plain_file(self, path, model, &found.rule)) {
        snprintf(name, size, "int8-dynamic-%s%s", dynq_scope_name(found.rule.scope),
                 found.rule.scheme == DYNQ_SCHEME_SYMMETRIC ? "-symmetric" : "");
    }
    if (name[0] == '\0' || name_taken(self, name)) {
        snprintf(name, size, "%s", slash != NULL ? slash + 1 : path);
    }
    if (name_taken(self, name)) {
        snprintf(name, size, "%s", path);
    }
    for (int number = 2; name_taken(self, name); number++) {
        snprintf(name, size, "%s#%d", path, number);
    }
}
