#include "src/session.h"

#include "src/blocks.h"
#include "src/cpu.h"
#include "src/error.h"
#include "src/kernel_choice.h"
#include "src/options.h"

#include <string.h>

/* Weights up to this size stay in a thread's own cache, beside what else it needs there: less than
 * the second level of current CPUs. */
#define CACHED_WEIGHT_BYTES 786432

/* The caller's options, checked and completed. */
typedef struct choices {
    dynq_session_options options;
    const dynq_kernel *kernel;
    dynq_gemm_bf16 *gemm_bf16;
    bool fp32;
    uint32_t threads;
} choices;

static uint32_t threads_of(const dynq_session_options *o)
{
    if (o->executor != NULL) {
        return o->executor->threads;
    }
    if (o->pool != NULL) {
        return dynq_thread_pool_threads(o->pool);
    }
    const uint32_t usable = dynq_cpu_usable();
    return o->threads < 2 ? 1 : o->threads < usable ? o->threads : usable;
}

static dynq_status choose_bf16(choices *c, dynq_error *error)
{
    c->gemm_bf16 = dynq_kernel_bf16(c->kernel, dynq_cpu_features());
    return c->gemm_bf16 != NULL
               ? DYNQ_OK
               : dynq_fail(error, DYNQ_ERR_UNSUPPORTED,
                           "kernel '%s' has no dot product of BF16 on this CPU; run without",
                           c->kernel->name);
}

static dynq_status choose(const dynq_session_options *options, choices *c, dynq_error *error)
{
    if (!dynq_options_copy(&c->options, sizeof c->options, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "session options: size is not set, or a field is unknown to this version");
    }
    dynq_session_options *o = &c->options;
    if (o->precision > DYNQ_PRECISION_INT8 || o->scope > DYNQ_SCOPE_ROW ||
        (o->tap_count > 0 && o->taps == NULL)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "session options: bad precision, scope or taps");
    }
    if (o->pool != NULL && o->executor != NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "session options: a pool and an executor; give one of them");
    }
    if (o->executor != NULL && (o->executor->parallel_for == NULL || o->executor->threads == 0)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "session options: the executor needs parallel_for and 1 or more threads");
    }
    if (o->max_rows > INT32_MAX) {
        return dynq_fail(error, DYNQ_ERR_LIMIT, "session options: max_rows %zu is over %d",
                         o->max_rows, INT32_MAX);
    }
    o->max_rows = o->max_rows == 0 ? 1 : o->max_rows;
    if (o->max_segments == 0 || o->max_segments > o->max_rows) {
        o->max_segments = o->max_rows; /* a segment has one row or more */
    }
    c->threads = threads_of(o);
    c->fp32 = o->precision == DYNQ_PRECISION_FP32 || (o->engine != NULL && !o->engine->has_int8);
    const dynq_status status = dynq_kernel_choose(c->options.kernel, &c->kernel, error);
    return status == DYNQ_OK && o->bf16_dot != 0 ? choose_bf16(c, error) : status;
}

/* Whether a segment's results depend on nothing but the segment, and nobody looks at whole values.
 * What an engine makes of fewer rows is its own affair. */
static bool is_separable(const dynq_model *model, const choices *c)
{
    const dynq_session_options *o = &c->options;
    bool separable = o->tap_count == 0 && o->engine == NULL;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        const bool dynamic = node->op == DYNQ_OP_LINEAR && node->precision != DYNQ_PRECISION_FP32 &&
                             !c->fp32 && node->range.kind == DYNQ_RANGE_DYNAMIC;
        const dynq_scope scope = o->scope != 0 ? o->scope : node->range.scope;
        separable = separable && !(dynamic && scope == DYNQ_SCOPE_TENSOR);
    }
    return separable;
}

/* Rows that are run at once at most: parts of a batch have so many at least, and more only where a
 * segment has, which has no more than positions. */
static size_t part_rows(const dynq_model *model, const choices *c)
{
    const size_t all = c->options.max_rows;
    size_t longest = all;
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->op == DYNQ_OP_POSITION && node->table_rows - node->first < longest) {
            longest = node->table_rows - node->first;
        }
    }
    const size_t part = DYNQ_CACHED_ROWS * (size_t)c->threads;
    const size_t most = longest > part ? longest : part;
    return longest < all && is_separable(model, c) && most < all ? most : all;
}

static dynq_status make_plan(const dynq_model *model, const choices *c,
                             const dynq_allocator *allocator, dynq_plan **plan, dynq_error *error)
{
    bool *tapped = dynq_alloc(allocator, model->node_count, sizeof *tapped);
    if (tapped == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < c->options.tap_count && status == DYNQ_OK; i++) {
        const dynq_tap *tap = &c->options.taps[i];
        const long node = tap->node == NULL ? -1 : dynq_model_find(model, tap->node);
        if (node < 0 || tap->function == NULL) {
            status = dynq_fail(error, node < 0 ? DYNQ_ERR_NOT_FOUND : DYNQ_ERR_ARGUMENT,
                               "tap %zu: no node '%s' or no function", i,
                               tap->node == NULL ? "" : tap->node);
        } else {
            tapped[node] = true;
        }
    }
    if (status == DYNQ_OK) {
        const size_t rows = part_rows(model, c), segments = c->options.max_segments;
        const dynq_plan_request request = {.max_rows = rows,
                                           .max_segments = segments < rows ? segments : rows,
                                           .stepwise_rows = dynq_stepwise_rows(c->threads),
                                           .dense = c->options.engine != NULL,
                                           .fp32 = c->fp32,
                                           .scope = c->options.scope,
                                           .tapped = tapped};
        status = dynq_plan_create(model, &request, allocator, plan, error);
    }
    dynq_release(allocator, tapped);
    return status;
}

static dynq_status copy_taps(dynq_session *session, const dynq_session_options *o,
                             dynq_error *error)
{
    session->taps = dynq_alloc(&session->allocator, o->tap_count, sizeof *session->taps);
    if (session->taps == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session");
    }
    session->tap_count = o->tap_count;
    for (size_t i = 0; i < o->tap_count; i++) {
        session->taps[i].node = (uint32_t)dynq_model_find(session->model, o->taps[i].node);
        session->taps[i].tap = o->taps[i];
        session->taps[i].tap.node = session->model->nodes[session->taps[i].node].name;
    }
    return DYNQ_OK;
}

static dynq_status take_threads(dynq_session *session, const dynq_session_options *o,
                                dynq_error *error)
{
    session->threads = 1;
    if (o->executor != NULL) {
        session->executor = *o->executor;
        session->threads = o->executor->threads;
        return DYNQ_OK;
    }
    session->pool = o->pool;
    if (session->pool == NULL && o->threads > 1) {
        const dynq_thread_pool_options options = {
            .size = sizeof options, .threads = o->threads, .allocator = &session->allocator};
        const dynq_status status = dynq_thread_pool_create(&options, &session->own_pool, error);
        if (status != DYNQ_OK) {
            return status;
        }
        session->pool = session->own_pool;
    }
    if (session->pool != NULL) {
        session->threads = dynq_thread_pool_threads(session->pool);
    }
    return DYNQ_OK;
}

static size_t weight_bytes(const dynq_session *session)
{
    size_t bytes = 0;
    for (size_t i = 0; i < session->plan->step_count; i++) {
        const dynq_step *step = &session->plan->steps[i];
        const dynq_node *node = &session->model->nodes[step->node];
        if (dynq_step_is_linear(step->kind)) {
            const dynq_format format =
                session->layers[i].packed != NULL ? DYNQ_FORMAT_FP32 : node->weight_format;
            bytes += node->k * node->n * dynq_format_bits(format) / 8;
        }
    }
    return bytes;
}

static dynq_status fill_session(dynq_session *session, const choices *c, dynq_error *error)
{
    dynq_status status = make_plan(session->model, c, &session->allocator, &session->plan, error);
    if (status == DYNQ_OK) {
        status = copy_taps(session, &c->options, error);
    }
    if (status == DYNQ_OK) {
        status = take_threads(session, &c->options, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_session_prepare_layers(session, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_session_take_memory(session, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_blocks_create(session, error);
    }
    if (status == DYNQ_OK) {
        session->weights_cached = weight_bytes(session) <= CACHED_WEIGHT_BYTES;
        dynq_ranges_set_static(session);
    }
    return status;
}

/* Nodes that compute in less than FP32. */
static bool has_quantized_nodes(const dynq_model *model)
{
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (dynq_op_has_precision(node->op) && node->precision != DYNQ_PRECISION_FP32) {
            return true;
        }
    }
    return false;
}

dynq_status dynq_session_create(dynq_model *model, const dynq_session_options *options,
                                dynq_session **result, dynq_error *error)
{
    choices c = {0};
    if (model == NULL || result == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "session: model or result is NULL");
    }
    const dynq_status chosen = choose(options, &c, error);
    if (chosen != DYNQ_OK) {
        return chosen;
    }
    const dynq_allocator allocator = dynq_allocator_or_default(c.options.allocator);
    dynq_session *session = dynq_alloc(&allocator, 1, sizeof *session);
    if (session == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session");
    }
    session->allocator = allocator;
    session->work.session = session;
    session->model = dynq_model_retain(model);
    session->kernel = c.kernel;
    session->engine = c.options.engine;
    session->max_rows = c.options.max_rows;
    session->max_segments = c.options.max_segments;
    session->part_rows = part_rows(model, &c);
    session->separable = is_separable(model, &c);
    session->gemm_bf16 = c.gemm_bf16;
    session->profiling = c.options.profile != 0;
    session->dequantized = c.fp32 && has_quantized_nodes(model);
    const dynq_float_state before = dynq_float_state_set_default();
    const dynq_status status = fill_session(session, &c, error);
    dynq_float_state_restore(before);
    if (status != DYNQ_OK) {
        dynq_session_free(session);
        return status;
    }
    *result = session;
    return DYNQ_OK;
}

void dynq_session_free(dynq_session *session)
{
    if (session == NULL) {
        return;
    }
    const dynq_allocator allocator = session->allocator;
    dynq_session_release_layers(session);
    dynq_blocks_free(session);
    dynq_session_release_memory(session);
    dynq_release(&allocator, session->taps);
    dynq_plan_free(session->plan);
    dynq_thread_pool_free(session->own_pool);
    dynq_model_free(session->model);
    dynq_release(&allocator, session);
}

dynq_status dynq_session_arena_bytes(dynq_model *model, const dynq_session_options *options,
                                     size_t *bytes, dynq_error *error)
{
    choices c = {0};
    if (model == NULL || bytes == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "session: model or result is NULL");
    }
    dynq_status status = choose(options, &c, error);
    if (status != DYNQ_OK) {
        return status;
    }
    const dynq_allocator allocator = dynq_allocator_or_default(c.options.allocator);
    dynq_plan *plan = NULL;
    status = make_plan(model, &c, &allocator, &plan, error);
    if (status == DYNQ_OK) {
        *bytes = plan->arena_bytes;
    }
    dynq_plan_free(plan);
    return status;
}

static int find_slot(const dynq_session *session, const char *name, bool output)
{
    for (size_t i = 0; i < session->plan->slot_count; i++) {
        const dynq_slot *slot = &session->plan->slots[i];
        if (slot->output == output && strcmp(slot->name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int dynq_session_slot(const dynq_session *session, const char *name)
{
    const int input = find_slot(session, name, false);
    return input >= 0 ? input : find_slot(session, name, true);
}

int dynq_session_output_slot(const dynq_session *session, const char *name)
{
    return find_slot(session, name, true);
}

void dynq_session_describe(const dynq_session *session, dynq_session_info *info)
{
    const dynq_session_info full = {
        .kernel = session->kernel->name,
        .engine = session->engine == NULL ? "native" : session->engine->name,
        .threads = session->threads,
        .dequantized = session->dequantized,
        .arena_bytes = session->plan->arena_bytes,
        .weight_bytes = session->layer_bytes,
        .steps = session->plan->step_count,
    };
    dynq_result_copy(info, &full, sizeof full);
}

dynq_status dynq_session_profile(const dynq_session *session, size_t index,
                                 dynq_step_profile *profile)
{
    if (index >= session->plan->step_count || profile == NULL) {
        return DYNQ_ERR_ARGUMENT;
    }
    const dynq_step *step = &session->plan->steps[index];
    dynq_step_profile full = {0};
    if (session->clocks != NULL) {
        full = session->clocks[index].total;
    }
    full.node = session->model->nodes[step->node].name;
    full.kind = dynq_step_name(step->kind);
    dynq_result_copy(profile, &full, sizeof full);
    return DYNQ_OK;
}

void dynq_session_profile_reset(dynq_session *session)
{
    if (session->clocks != NULL) {
        memset(session->clocks, 0, session->plan->step_count * sizeof *session->clocks);
    }
}
