/* Weights as the kernels or a foreign engine want them, made once for a session. */
#include "src/session.h"

#include "src/error.h"
#include "src/pack.h"

bool dynq_session_step_is_foreign(const dynq_session *session, const dynq_step *step)
{
    const dynq_engine *engine = session->engine;
    return engine != NULL && ((step->kind == DYNQ_STEP_LINEAR_S8 && engine->has_int8 &&
                               dynq_session_step_stops(session, step)) ||
                              (step->kind == DYNQ_STEP_LINEAR_F32 && engine->has_fp32));
}

bool dynq_session_step_stops(const dynq_session *session, const dynq_step *step)
{
    return session->model->nodes[step->node].weight_group == 0;
}

static void *take(dynq_session *session, size_t count, size_t size)
{
    void *memory = dynq_alloc(&session->allocator, count, size);
    session->layer_bytes += memory == NULL ? 0 : count * size;
    return memory;
}

/* FP32 weights [n][k]: the model's own, or dequantized into memory of the session. */
static const float *plain_weights(dynq_session *session, dynq_layer *layer, const dynq_node *node)
{
    if (node->weight_format == DYNQ_FORMAT_FP32) {
        return node->weight;
    }
    layer->dequantized = take(session, node->n * node->k, sizeof(float));
    if (layer->dequantized != NULL) {
        dynq_node_dequantize(node, 0, node->n, layer->dequantized);
    }
    return layer->dequantized;
}

/* Whether the engine's linear_s8 does all that the step asks for. */
static bool is_whole(const dynq_engine *engine, const dynq_step *step)
{
    return step->kind == DYNQ_STEP_LINEAR_S8 && engine->size >= sizeof *engine &&
           engine->linear_s8 != NULL && step->activation == DYNQ_ACTIVATION_NONE &&
           step->residual == DYNQ_NONE;
}

static void sum_columns(const int8_t *codes, size_t k, size_t n, int32_t *sums)
{
    for (size_t c = 0; c < n; c++) {
        sums[c] = 0;
        for (size_t i = 0; i < k; i++) {
            sums[c] += codes[c * k + i];
        }
    }
}

static dynq_status create_block(dynq_session *session, dynq_layer *layer, const dynq_node *node,
                                size_t block, const float *weights, dynq_error *error)
{
    const size_t first = block * layer->block_columns;
    const size_t left = node->n - first;
    dynq_engine_layer_desc desc = {
        .size = sizeof desc,
        .name = node->name,
        .precision = weights != NULL ? DYNQ_PRECISION_FP32 : DYNQ_PRECISION_INT8,
        .k = node->k,
        .n = left < layer->block_columns ? left : layer->block_columns,
        .max_rows = session->max_rows,
    };
    int8_t *codes = NULL;
    if (weights != NULL) {
        desc.weights_f32 = weights + first * node->k;
    } else {
        codes = dynq_alloc(&session->allocator, desc.n, node->k);
        if (codes == NULL) {
            return dynq_fail(error, DYNQ_ERR_MEMORY, "node '%s': out of memory", node->name);
        }
        dynq_node_unpack_s8(node, first, desc.n, codes);
        if (layer->sums != NULL) {
            sum_columns(codes, node->k, desc.n, layer->sums + first);
        }
        desc.weights_s8 = codes;
        if (layer->whole) {
            desc.column_scale = node->weight_scale + first;
            desc.column_sum = (layer->sums != NULL ? layer->sums : node->weight_sum) + first;
            desc.bias = node->bias == NULL ? NULL : node->bias + first;
        }
    }
    const dynq_status status = session->engine->layer_create(&desc, &layer->blocks[block], error);
    dynq_release(&session->allocator, codes);
    return status;
}

/* One block of columns for each thread, at panel borders. */
static dynq_status prepare_foreign(dynq_session *session, dynq_layer *layer, const dynq_step *step,
                                   dynq_error *error)
{
    const dynq_node *node = &session->model->nodes[step->node];
    const size_t panels = dynq_packed_panels(node->n);
    const size_t per_block = (panels + session->threads - 1) / session->threads;
    layer->block_columns = per_block * DYNQ_PANEL;
    layer->block_count = (node->n + layer->block_columns - 1) / layer->block_columns;
    /* Blocks of columns are rows with gaps, which an engine may copy: products are no slower then.
     */
    layer->whole = layer->block_count == 1 && is_whole(session->engine, step);
    layer->blocks = dynq_alloc(&session->allocator, layer->block_count, sizeof *layer->blocks);
    const float *weights = NULL;
    const bool padded = step->kind == DYNQ_STEP_LINEAR_S8 && dynq_node_tables(node) > 0;
    if (padded) { /* the model's sums count what pads its inputs, which here are not padded */
        layer->sums = take(session, node->n, sizeof *layer->sums);
    }
    if (step->kind == DYNQ_STEP_LINEAR_F32) {
        weights = plain_weights(session, layer, node);
    }
    if (layer->blocks == NULL || (padded && layer->sums == NULL) ||
        (step->kind == DYNQ_STEP_LINEAR_F32 && weights == NULL)) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "node '%s': out of memory", node->name);
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < layer->block_count && status == DYNQ_OK; i++) {
        status = create_block(session, layer, node, i, weights, error);
    }
    return status;
}

static dynq_status prepare_native(dynq_session *session, dynq_layer *layer, const dynq_node *node,
                                  dynq_error *error)
{
    if (node->weight_format == DYNQ_FORMAT_FP16 || node->weight_format == DYNQ_FORMAT_BF16) {
        return DYNQ_OK; /* kernels widen the model's own panels */
    }
    const float *weights = plain_weights(session, layer, node);
    layer->packed = take(session, dynq_packed_f32_count(node->k, node->n), sizeof(float));
    if (weights == NULL || layer->packed == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "node '%s': out of memory", node->name);
    }
    dynq_pack_f32(weights, node->k, node->n, layer->packed);
    if (layer->dequantized != NULL) {
        dynq_release(&session->allocator, layer->dequantized);
        layer->dequantized = NULL;
        session->layer_bytes -= node->n * node->k * sizeof(float);
    }
    return DYNQ_OK;
}

dynq_status dynq_session_prepare_layers(dynq_session *session, dynq_error *error)
{
    const dynq_plan *plan = session->plan;
    session->layers = dynq_alloc(&session->allocator, plan->step_count, sizeof *session->layers);
    if (session->layers == NULL) {
        return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for a session");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < plan->step_count && status == DYNQ_OK; i++) {
        const dynq_step *step = &plan->steps[i];
        if (dynq_session_step_is_foreign(session, step)) {
            status = prepare_foreign(session, &session->layers[i], step, error);
        } else if (step->kind == DYNQ_STEP_LINEAR_F32) {
            status = prepare_native(session, &session->layers[i],
                                    &session->model->nodes[step->node], error);
        }
    }
    return status;
}

void dynq_session_release_layers(dynq_session *session)
{
    if (session->layers == NULL) {
        return;
    }
    for (size_t i = 0; i < session->plan->step_count; i++) {
        dynq_layer *layer = &session->layers[i];
        for (size_t b = 0; layer->blocks != NULL && b < layer->block_count; b++) {
            if (layer->blocks[b] != NULL) {
                session->engine->layer_free(layer->blocks[b]);
            }
        }
        dynq_release(&session->allocator, layer->blocks);
        dynq_release(&session->allocator, layer->dequantized);
        dynq_release(&session->allocator, layer->packed);
        dynq_release(&session->allocator, layer->sums);
    }
    dynq_release(&session->allocator, session->layers);
}
