/* Assignments as rules of `dynq quantize`. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/markup.h"
#include "tools/replace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tune_pattern(const char *name, char pattern[TUNE_PATTERN])
{
    size_t length = 0;
    for (; *name != '\0'; name++) {
        const int special = strchr("*?[\\#", *name) != NULL;
        length += (size_t)snprintf(pattern + length, TUNE_PATTERN - length,
                                   !special        ? "%c"
                                   : *name == '\\' ? "\\%c"
                                                   : "[%c]",
                                   *name);
    }
}

/* The rules of an assignment, as text. */
typedef struct rule_texts {
    dynq_quantize_rule *rules;
    char **texts, **patterns;
    size_t count;
} rule_texts;

static rule_texts make_rules(const tuning *self, const size_t *choices)
{
    rule_texts all = {.rules = allocate(self->node_count, sizeof *all.rules),
                      .texts = allocate(self->node_count, sizeof *all.texts),
                      .patterns = allocate(self->node_count, sizeof *all.patterns),
                      .count = self->node_count};
    for (size_t i = 0; i < self->node_count; i++) {
        const char *values = self->nodes[i].choices[choices[i]].values;
        char pattern[TUNE_PATTERN];
        tune_pattern(self->nodes[i].name, pattern);
        const size_t size = strlen(pattern) + strlen(values) + 2;
        all.texts[i] = allocate(size, 1);
        all.patterns[i] = allocate(size, 1);
        snprintf(all.texts[i], size, "%s=%s", pattern, values);
    }
    return all;
}

static void free_rules(rule_texts *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->texts[i]);
        free(all->patterns[i]);
    }
    free(all->rules);
    free(all->texts);
    free(all->patterns);
}

exit_code tune_quantize(const tuning *self, const size_t *choices, dynq_model **model)
{
    rule_texts all = make_rules(self, choices);
    dynq_error error = {0};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < all.count && status == DYNQ_OK; i++) {
        status = dynq_quantize_rule_parse(all.texts[i], all.patterns[i], strlen(all.texts[i]) + 1,
                                          &all.rules[i], &error);
    }
    const dynq_quantize_options options = tune_quantize_options(self, all.rules, all.count);
    if (status == DYNQ_OK) {
        status = dynq_quantize(self->model, &options, model, &error);
    }
    free_rules(&all);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
}

/* How to make the model of the file, with what it was calibrated on. */
static void add_heading(const tuning *self, markup *text)
{
    const tune_options *options = self->options;
    markup_add(text, "# dynq quantize %s --rules %s -o OUT", self->call->arguments[0],
               options->rules_out);
    if (self->calibration != NULL && options->calibration_data != NULL) {
        markup_add(text, " --calibration-data %s", options->calibration_data);
    } else if (self->moments != NULL) {
        markup_add(text, " --calibration-data X\n# X: the first %zu requests of %s", self->held_out,
                   options->data);
    } else if (self->calibration != NULL) {
        markup_add(text, " --calibration CAL\n# CAL: dynq calibrate %s --data %s --rows %zu -o CAL",
                   self->call->arguments[0], options->data, self->held_out);
    }
    markup_add(text, "\n");
}

exit_code tune_write_rules(const tuning *self, const size_t *choices)
{
    rule_texts all = make_rules(self, choices);
    markup text = {0};
    dynq_error error = {0};
    add_heading(self, &text);
    for (size_t i = 0; i < all.count; i++) {
        markup_add(&text, "%s\n", all.texts[i]);
    }
    free_rules(&all);
    if (text.failed) {
        allocate_failed();
    }
    const dynq_status status =
        replace_file(self->options->rules_out, text.bytes, text.length, &error);
    markup_free(&text);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, self->options->rules_out);
}
