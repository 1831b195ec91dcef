/* The precisions that are tried, and what each makes of every node. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/engines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char every_node[] = "*";

/* The rule that gives every node the values. */
static exit_code parse_values(const tuning *self, tune_candidate *candidate)
{
    const size_t size = strlen(candidate->text) + sizeof "*=";
    char *const rule = allocate(2, size), *const pattern = rule + size;
    dynq_error error = {0};
    snprintf(rule, size, "*=%s", candidate->text);
    const dynq_status status =
        dynq_quantize_rule_parse(rule, pattern, size, &candidate->rule, &error);
    candidate->rule.pattern = every_node;
    free(rule);
    if (status != DYNQ_OK) {
        return command_fail(self->call->command, EXIT_CODE_USAGE, "--precisions: %s",
                            error.message);
    }
    if (candidate->rule.precision == 0) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--precisions: '%s' names no precision, such as fp32 or int8",
                            candidate->text);
    }
    if (candidate->rule.feedback == DYNQ_SWITCH_ON && engine_algebra() == NULL) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--precisions: error feedback needs OpenBLAS, which this build of dynq "
                            "lacks");
    }
    return EXIT_CODE_DONE;
}

/* Without the spaces around it. */
static char *copy_trimmed(const char *text, size_t length)
{
    const size_t skipped = strspn(text, " ") < length ? strspn(text, " ") : length;
    length -= skipped;
    while (length > 0 && text[skipped + length - 1] == ' ') {
        length--;
    }
    char *copy = allocate(length + 1, 1);
    memcpy(copy, text + skipped, length);
    return copy;
}

exit_code tune_parse_candidates(tuning *self)
{
    exit_code code = EXIT_CODE_DONE;
    for (const char *next = self->options->precisions; next != NULL && code == EXIT_CODE_DONE;) {
        const size_t length = strcspn(next, ";");
        if (self->candidate_count == TUNE_MOST_CANDIDATES) {
            return command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--precisions: more than %d; name fewer", TUNE_MOST_CANDIDATES);
        }
        tune_candidate *candidate = &self->candidates[self->candidate_count++];
        candidate->text = copy_trimmed(next, length);
        for (size_t i = 0; i + 1 < self->candidate_count; i++) {
            if (strcmp(self->candidates[i].text, candidate->text) == 0) {
                return command_fail(self->call->command, EXIT_CODE_USAGE,
                                    "--precisions: '%s' is there twice", candidate->text);
            }
        }
        code = parse_values(self, candidate);
        next = next[length] == ';' ? next + length + 1 : NULL;
    }
    return code;
}

int tune_uses_moments(const tuning *self)
{
    int found = 0;
    for (size_t i = 0; i < self->candidate_count; i++) {
        found |= self->candidates[i].rule.feedback == DYNQ_SWITCH_ON;
    }
    return found;
}

int tune_calibrates(const tuning *self)
{
    int found = tune_uses_moments(self);
    for (size_t i = 0; i < self->candidate_count; i++) {
        const dynq_quantize_rule *rule = &self->candidates[i].rule;
        found |= rule->range == DYNQ_RANGE_STATIC || rule->clip_ranges == DYNQ_SWITCH_ON ||
                 rule->correct_bias == DYNQ_SWITCH_ON;
    }
    return found;
}

dynq_quantize_options tune_quantize_options(const tuning *self, const dynq_quantize_rule *rules,
                                            size_t count)
{
    return (dynq_quantize_options){.size = sizeof(dynq_quantize_options),
                                   .calibration = self->calibration,
                                   .moments = self->moments,
                                   .algebra = self->moments != NULL ? engine_algebra() : NULL,
                                   .rules = rules,
                                   .rule_count = count};
}

static dynq_node_info node_of(const dynq_model *model, size_t index)
{
    dynq_node_info info = {.size = sizeof info};
    dynq_model_node(model, index, &info);
    return info;
}

static int has_precision(dynq_op op)
{
    return op == DYNQ_OP_LINEAR || op == DYNQ_OP_EMBEDDING || op == DYNQ_OP_POSITION ||
           op == DYNQ_OP_ATTENTION;
}

static void list_nodes(tuning *self)
{
    const size_t total = dynq_model_node_count(self->model);
    self->nodes = allocate(total, sizeof *self->nodes);
    for (size_t i = 0; i < total; i++) {
        const dynq_node_info info = node_of(self->model, i);
        self->fp32_bytes += (double)info.weight_bytes;
        if (has_precision(info.op)) {
            self->nodes[self->node_count++] = (tune_node){
                .index = i, .name = info.name, .op = info.op, .fp32_bytes = info.weight_bytes};
        } else {
            self->rest_bytes += (double)info.weight_bytes;
        }
    }
}

/* What a rule can say of the node: of all but linear layers, its precision. */
static const char *values_of(const tune_candidate *candidate, const dynq_node_info *info)
{
    return info->op == DYNQ_OP_LINEAR ? candidate->text : dynq_precision_name(info->precision);
}

/* Whether an earlier candidate makes the same of the node. */
static int is_repeated(const tune_node *node, size_t candidate)
{
    for (size_t c = 0; c < candidate; c++) {
        if (node->choices[c].available &&
            strcmp(node->choices[c].values, node->choices[candidate].values) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The nodes of a model in which they all have the candidate; `refused` (may be NULL): those that
 * cannot have it. */
static void take_choices(tuning *self, size_t candidate, const int *refused)
{
    const tune_candidate *made = &self->candidates[candidate];
    for (size_t i = 0; i < self->node_count; i++) {
        tune_node *node = &self->nodes[i];
        const dynq_node_info info = node_of(made->model, node->index);
        tune_choice *choice = &node->choices[candidate];
        *choice = (tune_choice){.values = values_of(made, &info),
                                .exact = info.precision == DYNQ_PRECISION_FP32 &&
                                         info.weight_bytes == node->fp32_bytes,
                                .int8 = info.precision == DYNQ_PRECISION_INT8,
                                .bytes = info.weight_bytes};
        choice->available = (refused == NULL || !refused[i]) && !is_repeated(node, candidate);
    }
}

static dynq_status quantize(const tuning *self, const dynq_quantize_rule *rules, size_t count,
                            dynq_model **model, dynq_error *error)
{
    const dynq_quantize_options options = tune_quantize_options(self, rules, count);
    return dynq_quantize(self->model, &options, model, error);
}

static int is_about_a_node(dynq_status status)
{
    return status == DYNQ_ERR_LIMIT || status == DYNQ_ERR_UNSUPPORTED;
}

/* Whether one node can have the candidate when all others stay in FP32. */
static dynq_status try_alone(const tuning *self, const tune_node *node,
                             const tune_candidate *candidate, dynq_error *why)
{
    char pattern[TUNE_PATTERN];
    dynq_model *model = NULL;
    tune_pattern(node->name, pattern);
    dynq_quantize_rule rules[] = {{.pattern = every_node, .precision = DYNQ_PRECISION_FP32},
                                  candidate->rule};
    rules[1].pattern = pattern;
    const dynq_status status = quantize(self, rules, 2, &model, why);
    dynq_model_free(model);
    return status;
}

/* A candidate that some nodes cannot have (a group larger than K): each is asked alone. */
static exit_code make_where_possible(tuning *self, size_t candidate, dynq_error *why)
{
    tune_candidate *made = &self->candidates[candidate];
    int *const refused = allocate(self->node_count, sizeof *refused);
    dynq_quantize_rule *rules = allocate(self->node_count + 1, sizeof *rules);
    char(*patterns)[TUNE_PATTERN] = allocate(self->node_count, sizeof *patterns);
    size_t count = 1, possible = 0;
    rules[0] = made->rule;
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < self->node_count && status == DYNQ_OK; i++) {
        if (self->nodes[i].op != DYNQ_OP_LINEAR) {
            continue;
        }
        status = try_alone(self, &self->nodes[i], made, why);
        refused[i] = is_about_a_node(status);
        possible += status == DYNQ_OK;
        if (refused[i]) {
            status = DYNQ_OK;
            tune_pattern(self->nodes[i].name, patterns[count - 1]);
            rules[count] = (dynq_quantize_rule){.pattern = patterns[count - 1],
                                                .precision = DYNQ_PRECISION_FP32};
            count++;
        }
    }
    if (status == DYNQ_OK && possible > 0) {
        status = quantize(self, rules, count, &made->model, why);
    }
    exit_code code = EXIT_CODE_DONE;
    if (made->model != NULL) {
        take_choices(self, candidate, refused);
    } else {
        code = command_fail_status(self->call->command, why->status, why, NULL);
    }
    free(patterns);
    free(rules);
    free(refused);
    return code;
}

exit_code tune_make_candidates(tuning *self)
{
    list_nodes(self);
    for (size_t c = 0; c < self->candidate_count; c++) {
        tune_candidate *candidate = &self->candidates[c];
        dynq_error error = {0};
        const dynq_status status = quantize(self, &candidate->rule, 1, &candidate->model, &error);
        exit_code code = EXIT_CODE_DONE;
        if (status == DYNQ_OK) {
            take_choices(self, c, NULL);
        } else if (is_about_a_node(status)) {
            code = make_where_possible(self, c, &error);
        } else {
            code =
                command_fail_status(self->call->command, status, &error, self->call->arguments[0]);
        }
        if (code != EXIT_CODE_DONE) {
            return code;
        }
    }
    for (size_t i = 0; i < self->node_count; i++) {
        int any = 0;
        for (size_t c = 0; c < self->candidate_count; c++) {
            any |= self->nodes[i].choices[c].available;
        }
        if (!any) {
            return command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--precisions: '%s' can have none of them; add fp32",
                                self->nodes[i].name);
        }
    }
    return EXIT_CODE_DONE;
}
