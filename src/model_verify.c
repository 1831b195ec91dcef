/* What opening a model leaves out, because it reads every weight. */
#include "src/error.h"
#include "src/model.h"
#include "src/pack.h"

#include <math.h>

static dynq_status verify_fp32(const dynq_node *node, dynq_error *error)
{
    for (size_t row = 0; row < node->n; row++) {
        for (size_t i = 0; i < node->k; i++) {
            const float weight = node->weight[row * node->k + i];
            if (!isfinite(weight)) {
                return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': weight[%zu][%zu] is %s",
                                 node->name, row, i, isnan(weight) ? "NaN" : "Inf");
            }
        }
    }
    return DYNQ_OK;
}

/* A column of packed codes, those of padding included. */
static dynq_status verify_column(const dynq_node *node, size_t column, dynq_error *error)
{
    const size_t kpad = dynq_packed_k(node->k);
    int64_t sum = 0;
    for (size_t i = 0; i < kpad; i++) {
        const int8_t code = dynq_packed_code(node->packed, kpad, column, i);
        if (code == INT8_MIN) {
            return dynq_fail(error, DYNQ_ERR_FORMAT,
                             "node '%s': code [%zu][%zu] is -128; codes are -127 to 127",
                             node->name, column, i);
        }
        if (code != 0 && (column >= node->n || i >= node->k)) {
            return dynq_fail(error, DYNQ_ERR_FORMAT,
                             "node '%s': code [%zu][%zu] is padding and not 0", node->name, column,
                             i);
        }
        sum += code;
    }
    if (column < node->n && sum != node->weight_sum[column]) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "node '%s': weight_sum[%zu] is %d, but its codes sum to %lld", node->name,
                         column, node->weight_sum[column], (long long)sum);
    }
    return DYNQ_OK;
}

dynq_status dynq_model_verify(const dynq_model *model, dynq_error *error)
{
    if (model == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "dynq_model_verify: model is NULL");
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        dynq_status status = DYNQ_OK;
        if (node->op == DYNQ_OP_LINEAR && node->precision == DYNQ_PRECISION_FP32) {
            status = verify_fp32(node, error);
        } else if (node->op == DYNQ_OP_LINEAR) {
            const size_t columns = dynq_packed_panels(node->n) * DYNQ_PANEL;
            for (size_t column = 0; status == DYNQ_OK && column < columns; column++) {
                status = verify_column(node, column, error);
            }
        }
        if (status != DYNQ_OK) {
            return status;
        }
    }
    return DYNQ_OK;
}
