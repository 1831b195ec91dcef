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
        const compare_agreed found = compare_examine(model);
        char name[4200];
        compare_name_file(self, path, model, name, sizeof name);
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
    if (self->count == 1 && compare_examine(self->models[0]).int8 > 0) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "%s is quantized already; name the FP32 model before it, or that one "
                            "alone",
                            self->call->arguments[0]);
    }
    return EXIT_CODE_DONE;
}
