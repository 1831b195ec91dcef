/* Sessions and bindings of one variant of a comparison. */
#include "src/comparison.h"

#include "src/error.h"
#include "src/isolate.h"
#include "src/session.h"

#include <string.h>

/* Results of so many columns, or of one node, are in memory at once. */
#define GROUP_COLUMNS 2048

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a comparison");
}

static dynq_status create_session(const dynq_compared *variant, dynq_model *model,
                                  const dynq_tap *taps, size_t tap_count, dynq_session **session,
                                  dynq_error *error)
{
    const dynq_comparison *all = variant->comparison;
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = all->options.max_rows,
                                          .max_segments = all->options.max_segments,
                                          .threads = 1,
                                          .pool = all->pool,
                                          .kernel = all->options.kernel,
                                          .engine = variant->engine,
                                          .scope = variant->scope,
                                          .allocator = &all->allocator,
                                          .taps = taps,
                                          .tap_count = tap_count};
    return dynq_session_create(model, &options, session, error);
}

dynq_status dynq_compared_open(dynq_compared *variant, dynq_error *error)
{
    return variant->session != NULL ? DYNQ_OK
                                    : create_session(variant, variant->model, variant->taps,
                                                     variant->tap_count, &variant->session, error);
}

dynq_status dynq_compared_open_group(const dynq_compared *variant, dynq_isolated_group *group,
                                     dynq_error *error)
{
    return group->session != NULL
               ? DYNQ_OK
               : create_session(variant, group->model, NULL, 0, &group->session, error);
}

void dynq_compared_close(dynq_session **session)
{
    if (*session != NULL && (*session)->layer_bytes == 0 && (*session)->engine == NULL) {
        dynq_session_free(*session);
        *session = NULL;
    }
}

static size_t count_inputs(const dynq_model *model, size_t *only)
{
    size_t count = 0;
    for (size_t i = 0; i < model->node_count; i++) {
        if (model->nodes[i].input_count == 0) {
            *only = i;
            count++;
        }
    }
    return count;
}

/* The input of the variant that gets what the reference's `input` gets, or -1. */
static long find_input(const dynq_compared *variant, const dynq_node *input)
{
    const dynq_model *model = variant->model;
    size_t only = 0;
    const size_t count = count_inputs(model, &only);
    long found = dynq_model_find(model, input->name);
    if (found >= 0 && model->nodes[found].input_count > 0) {
        found = -1;
    }
    if (found < 0 && count == 1 && variant->comparison->input_count == 1) {
        found = (long)only;
    }
    return found >= 0 && count == variant->comparison->input_count &&
                   model->nodes[found].op == input->op && model->nodes[found].n == input->n
               ? found
               : -1;
}

static dynq_status bind_inputs(dynq_compared *variant, dynq_error *error)
{
    const dynq_comparison *all = variant->comparison;
    for (size_t i = 0; i < all->input_count; i++) {
        const dynq_node *input = &all->variants[0].model->nodes[all->inputs[i]];
        const long found = find_input(variant, input);
        if (found < 0) {
            return dynq_fail(error, DYNQ_ERR_SHAPE,
                             "comparison: variant %zu does not read the inputs of the reference, "
                             "such as '%s' with %zu columns",
                             (size_t)(variant - all->variants), input->name, input->n);
        }
        variant->bindings[i].slot =
            dynq_session_slot(variant->session, variant->model->nodes[found].name);
    }
    return DYNQ_OK;
}

static dynq_status bind_outputs(dynq_compared *variant, dynq_error *error)
{
    dynq_comparison *all = variant->comparison;
    const dynq_compared *reference = all->variants;
    const dynq_model *model = variant->model;
    const dynq_node *output = &model->nodes[model->outputs[variant->output].node];
    const dynq_node *expected =
        &reference->model->nodes[reference->model->outputs[reference->output].node];
    if (output->n != expected->n || output->domain != expected->domain) {
        return dynq_fail(error, DYNQ_ERR_SHAPE,
                         "comparison: output '%s' of variant %zu has %zu columns for each of its "
                         "%s, that of the reference %zu for each of its %s",
                         model->outputs[variant->output].name, (size_t)(variant - reference),
                         output->n, dynq_domain_name(output->domain), expected->n,
                         dynq_domain_name(expected->domain));
    }
    variant->result =
        dynq_alloc(&all->allocator, dynq_comparison_rows(all, output) * output->n, sizeof(float));
    if (variant->result == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        variant->bindings[all->input_count + i].slot =
            dynq_session_output_slot(variant->session, model->outputs[i].name);
    }
    return DYNQ_OK;
}

/* Whether the reference has every value that the node reads. */
static bool has_values(const dynq_compared *variant, const dynq_node *node)
{
    bool has = true;
    for (uint32_t i = 0; i < node->input_count; i++) {
        const uint32_t value = node->inputs[i];
        has = has && (variant->model->nodes[value].input_count == 0 || variant->entry[value] >= 0);
    }
    return has;
}

/* Chooses the next nodes of a group from entry *next on; false: there is none. */
static bool choose_isolated(dynq_compared *variant, size_t *next, bool *wanted)
{
    size_t columns = 0, count = 0;
    for (; *next < variant->node_count; (*next)++) {
        dynq_compared_node *entry = &variant->nodes[*next];
        const dynq_node *node = &variant->model->nodes[entry->node];
        if (entry->own_is_chain || !dynq_node_can_be_isolated(node) || !has_values(variant, node)) {
            continue;
        }
        columns += node->n;
        if (count > 0 && columns > GROUP_COLUMNS) {
            break;
        }
        wanted[entry->node] = true;
        entry->group = (long)variant->group_count;
        entry->isolated = count++;
    }
    return count > 0;
}

/* The slot of the comparison that feeds an input of the variant. */
static long slot_of(const dynq_compared *variant, size_t node)
{
    const dynq_comparison *all = variant->comparison;
    for (size_t i = 0; i < all->input_count; i++) {
        if (find_input(variant, &all->variants[0].model->nodes[all->inputs[i]]) == (long)node) {
            return (long)i;
        }
    }
    return -1;
}

static dynq_status bind_isolated(const dynq_compared *variant, dynq_isolated_group *group,
                                 dynq_error *error)
{
    const dynq_allocator *allocator = &variant->comparison->allocator;
    const dynq_model *model = group->model;
    group->inputs = dynq_alloc(allocator, model->node_count, sizeof *group->inputs);
    group->bindings =
        dynq_alloc(allocator, model->node_count + model->output_count, sizeof *group->bindings);
    if (group->inputs == NULL || group->bindings == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < model->node_count && model->nodes[i].input_count == 0; i++) {
        const size_t node = (size_t)dynq_model_find(variant->model, model->nodes[i].name);
        dynq_isolated_input *input = &group->inputs[group->input_count++];
        *input = (dynq_isolated_input){.slot = -1};
        if (variant->entry[node] >= 0) {
            const dynq_compared_node *entry = &variant->nodes[variant->entry[node]];
            input->reference = entry->reference;
            input->scale = entry->scale;
        } else {
            input->slot = slot_of(variant, node);
        }
        group->bindings[i].slot = dynq_session_slot(group->session, model->nodes[i].name);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        group->bindings[group->input_count + i].slot =
            dynq_session_output_slot(group->session, model->outputs[i].name);
    }
    return DYNQ_OK;
}

static dynq_status add_group(dynq_compared *variant, const bool *wanted, dynq_error *error)
{
    dynq_isolated_group *group = &variant->groups[variant->group_count++];
    dynq_status status = dynq_model_isolate_nodes(variant->model, wanted, &group->model, error);
    if (status == DYNQ_OK) {
        status = dynq_compared_open_group(variant, group, error);
    }
    if (status == DYNQ_OK) {
        status = bind_isolated(variant, group, error);
    }
    dynq_compared_close(&group->session);
    return status;
}

/* Groups of the nodes that other nodes' errors reach. */
static dynq_status isolate(dynq_compared *variant, dynq_error *error)
{
    const dynq_allocator *allocator = &variant->comparison->allocator;
    const size_t nodes = variant->model->node_count;
    bool *wanted = dynq_alloc(allocator, nodes, sizeof *wanted);
    variant->groups = dynq_alloc(allocator, variant->node_count, sizeof *variant->groups);
    dynq_status status = wanted == NULL || variant->groups == NULL ? out_of_memory(error) : DYNQ_OK;
    for (size_t next = 0; status == DYNQ_OK && choose_isolated(variant, &next, wanted);) {
        status = add_group(variant, wanted, error);
        memset(wanted, 0, nodes * sizeof *wanted);
    }
    dynq_release(allocator, wanted);
    return status;
}

dynq_status dynq_compared_start(dynq_compared *variant, dynq_error *error)
{
    const dynq_comparison *all = variant->comparison;
    if (dynq_compared_list_nodes(variant) != DYNQ_OK) {
        return out_of_memory(error);
    }
    dynq_status status = dynq_compared_open(variant, error);
    if (status != DYNQ_OK) {
        return status;
    }
    variant->bindings = dynq_alloc(&all->allocator, all->input_count + variant->model->output_count,
                                   sizeof(dynq_binding));
    if (variant->bindings == NULL) {
        return out_of_memory(error);
    }
    status = bind_inputs(variant, error);
    if (status == DYNQ_OK) {
        status = bind_outputs(variant, error);
    }
    if (status == DYNQ_OK && variant != all->variants) {
        status = isolate(variant, error);
    }
    dynq_compared_close(&variant->session);
    return status;
}

void dynq_compared_stop(dynq_compared *variant)
{
    const dynq_allocator *allocator = &variant->comparison->allocator;
    dynq_session_free(variant->session);
    for (size_t i = 0; i < variant->group_count; i++) {
        dynq_session_free(variant->groups[i].session);
        dynq_model_free(variant->groups[i].model);
        dynq_release(allocator, variant->groups[i].bindings);
        dynq_release(allocator, variant->groups[i].inputs);
    }
    dynq_model_free(variant->model);
    dynq_release(allocator, variant->groups);
    dynq_release(allocator, variant->bindings);
    dynq_release(allocator, variant->result);
    dynq_release(allocator, variant->taps);
    dynq_release(allocator, variant->nodes);
    dynq_release(allocator, variant->entry);
}
