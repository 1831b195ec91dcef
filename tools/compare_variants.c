#include "tools/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/baseline.h"
#include "tools/inputs.h"

void compare_add_variant(comparison *self, const char *name, dynq_model *model,
                         const dynq_engine *engine, const compare_recipe *recipe)
{
    const size_t v = self->count++;
    self->names[v] = allocate_text(name);
    self->models[v] = model;
    self->variants[v] = (evaluate_variant){.name = self->names[v],
                                           .model = model,
                                           .scope = recipe != NULL ? recipe->scope : 0,
                                           .engine = engine};
    self->subjects[v] = (compare_subject){.agreement = NAN};
    if (recipe != NULL) {
        self->subjects[v].recipe = *recipe;
        self->subjects[v].known = 1;
    }
}

/* Unless an engine was asked for, FP32 latency is that of the fastest: OpenBLAS, the reference for
 * the numbers, is far slower than oneDNN on CPUs that are newer than it. */
static void time_on_all_engines(const comparison *self, evaluate_variant *variant)
{
    if (self->options->engine == NULL) {
        variant->timed_count = baseline_engines(variant->timed);
    }
}

/* What all INT8 layers of a model agree on. */
typedef struct agreement {
    size_t int8, fp32; /* linear layers */
    dynq_range_rule rule;
    int same;
} agreement;

static agreement examine(const dynq_model *model)
{
    agreement found = {.same = 1};
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

/* The name of CLI.md where all layers agree (a file does not say which method chose its static
 * ranges, so those go by the file), otherwise that of the file, of its path, or with a number. */
static void name_of_file(const comparison *self, const char *path, const agreement *found,
                         char *name, size_t size)
{
    const char *slash = strrchr(path, '/');
    name[0] = '\0';
    if (found->int8 == 0) {
        snprintf(name, size, "fp32");
    } else if (found->fp32 == 0 && found->same && found->rule.kind == DYNQ_RANGE_DYNAMIC) {
        snprintf(name, size, "int8-dynamic-%s%s", dynq_scope_name(found->rule.scope),
                 found->rule.scheme == DYNQ_SCHEME_SYMMETRIC ? "-symmetric" : "");
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

/* The model's only input and the output that is compared. */
static exit_code shape_of(const comparison *self, const char *path, const dynq_model *model,
                          model_slot *input, model_slot *output)
{
    model_slot *slots = NULL;
    const size_t count = model_inputs(model, &slots);
    *input = slots[0];
    free(slots);
    model_outputs(model, &slots);
    *output = slots[model_main_output(model)];
    free(slots);
    if (count != 1) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s has %zu inputs; only models with one input can be compared", path,
                            count);
    }
    return EXIT_CODE_DONE;
}

/* Whether the outputs of two models for the same input can be compared. */
static int same_shape(const model_slot *a, const model_slot *b)
{
    return a->columns == b->columns && a->ids == b->ids && a->domain == b->domain;
}

exit_code compare_open_variants(comparison *self)
{
    model_slot output = {0};
    for (size_t i = 0; i < self->call->argument_count; i++) {
        const char *path = self->call->arguments[i];
        dynq_model *model = NULL;
        exit_code code = command_open_model(self->call, path, &model);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
        const agreement found = examine(model);
        char name[4200];
        name_of_file(self, path, &found, name, sizeof name);
        compare_add_variant(self, name, model, found.int8 == 0 ? self->engine : NULL, NULL);
        if (found.int8 == 0) {
            time_on_all_engines(self, &self->variants[self->count - 1]);
        }
        model_slot read = {0}, written = {0};
        code = shape_of(self, path, model, &read, &written);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
        if (i > 0 && (!same_shape(&read, &self->input) || !same_shape(&written, &output))) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s maps %zu inputs to %zu outputs, but the reference %s %zu to "
                                "%zu; compare variants of one model",
                                path, read.columns, written.columns, self->call->arguments[0],
                                self->input.columns, output.columns);
        }
        if (i == 0) {
            self->input = read;
            output = written;
        }
    }
    if (self->count == 1 && examine(self->models[0]).int8 > 0) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "%s is quantized already; name the FP32 model before it, or that one "
                            "alone",
                            self->call->arguments[0]);
    }
    return EXIT_CODE_DONE;
}
