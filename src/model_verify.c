/* What opening a model leaves out, because it reads every weight. */
#include "src/error.h"
#include "src/model.h"
#include "src/pack.h"

#include <math.h>

static dynq_status verify_fp32(const dynq_node *node, size_t rows, size_t columns,
                               dynq_error *error)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < columns; i++) {
            const float weight = node->weight[row * columns + i];
            if (!isfinite(weight)) {
                return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': weight[%zu][%zu] is %s",
                                 node->name, row, i, isnan(weight) ? "NaN" : "Inf");
            }
        }
    }
    return DYNQ_OK;
}

static dynq_status bad_code(const dynq_node *node, size_t row, size_t i, dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_FORMAT,
                     "node '%s': code [%zu][%zu] is -128; codes are -127 to 127", node->name, row,
                     i);
}

/* A column of packed codes, those of padding included. */
static dynq_status verify_column(const dynq_node *node, size_t column, dynq_error *error)
{
    const size_t kpad = dynq_packed_k(node->k);
    int64_t sum = 0;
    for (size_t i = 0; i < kpad; i++) {
        const int8_t code = dynq_packed_code(node->packed, kpad, column, i);
        if (code == INT8_MIN) {
            return bad_code(node, column, i, error);
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

static dynq_status verify_linear(const dynq_node *node, dynq_error *error)
{
    if (node->precision == DYNQ_PRECISION_FP32) {
        return verify_fp32(node, node->n, node->k, error);
    }
    const size_t columns = dynq_packed_panels(node->n) * DYNQ_PANEL;
    dynq_status status = DYNQ_OK;
    for (size_t column = 0; status == DYNQ_OK && column < columns; column++) {
        status = verify_column(node, column, error);
    }
    return status;
}

static dynq_status verify_table(const dynq_node *node, dynq_error *error)
{
    if (node->precision == DYNQ_PRECISION_FP32) {
        return verify_fp32(node, node->table_rows, node->n, error);
    }
    for (size_t row = 0; row < node->table_rows; row++) {
        for (size_t i = 0; i < node->n; i++) {
            if (node->table_codes[row * node->n + i] == INT8_MIN) {
                return bad_code(node, row, i, error);
            }
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_model_verify(const dynq_model *model, dynq_error *error)
{
    if (model == NULL) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT, "dynq_model_verify: model is NULL");
    }
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < model->node_count; i++) {
        const dynq_node *node = &model->nodes[i];
        if (node->op == DYNQ_OP_LINEAR) {
            status = verify_linear(node, error);
        } else if (dynq_op_has_table(node->op)) {
            status = verify_table(node, error);
        }
    }
    return status;
}
