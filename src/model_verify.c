/* What opening a model leaves out, because it reads every weight. */
#include "src/error.h"
#include "src/model.h"
#include "src/pack.h"

#include <math.h>

#define HALF_INFINITY  0x7C00 /* bits that NaN has as well */
#define BRAIN_INFINITY 0x7F80
#define SMALLEST_S16   0x8000

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

/* A column of packed codes of 8, 4 or 2 bits from input `first` to `end`. Padding of 8 bits is 0;
 * of fewer bits it is any number. Their sum to *sum. */
static dynq_status verify_codes(const dynq_node *node, const dynq_weight_codes *codes,
                                size_t column, size_t first, size_t end, int64_t *sum,
                                dynq_error *error)
{
    const int8_t *panel = dynq_node_panel(node, column);
    *sum = 0;
    for (size_t i = first; i < end; i++) {
        const int8_t code = dynq_panel_weight(codes, panel, column % DYNQ_PANEL, i);
        if (code == INT8_MIN) {
            return bad_code(node, column, i, error);
        }
        if (code != 0 && codes->bits == 8 && (column >= node->n || i >= node->k)) {
            return dynq_fail(error, DYNQ_ERR_FORMAT,
                             "node '%s': code [%zu][%zu] is padding and not 0", node->name, column,
                             i);
        }
        *sum += code;
    }
    return DYNQ_OK;
}

/* A part of a column: factor and sum in front of its codes. */
static dynq_status verify_group(const dynq_node *node, const dynq_weight_codes *codes,
                                size_t column, size_t group, dynq_error *error)
{
    const int8_t *panel = dynq_node_panel(node, column);
    const size_t lane = column % DYNQ_PANEL, first = group * codes->group;
    const size_t kpad = dynq_packed_k(node->k);
    const size_t end = first + codes->group < kpad ? first + codes->group : kpad;
    const uint16_t factor = dynq_panel_factor(codes, panel, lane, group);
    if ((factor & HALF_INFINITY) == HALF_INFINITY) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                         "node '%s': the factor of column %zu, group %zu is NaN or Inf", node->name,
                         column, group);
    }
    if (factor != 0 && (column >= node->n || first >= node->k)) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "node '%s': the factor of column %zu, group %zu is padding and not 0",
                         node->name, column, group);
    }
    int64_t sum = 0;
    const dynq_status status = verify_codes(node, codes, column, first, end, &sum, error);
    const int16_t stored = dynq_panel_sum(codes, panel, lane, group);
    return status != DYNQ_OK || stored == sum
               ? status
               : dynq_fail(error, DYNQ_ERR_FORMAT,
                           "node '%s': the sum of column %zu, group %zu is %d, but its codes sum "
                           "to %lld",
                           node->name, column, group, stored, (long long)sum);
}

/* A column of packed codes, those of padding included. */
static dynq_status verify_column(const dynq_node *node, size_t column, dynq_error *error)
{
    const dynq_weight_codes codes = dynq_node_codes(node, column / DYNQ_PANEL);
    const size_t kpad = dynq_packed_k(node->k);
    dynq_status status = DYNQ_OK;
    for (size_t g = 0; codes.group != 0 && g * codes.group < kpad && status == DYNQ_OK; g++) {
        status = verify_group(node, &codes, column, g, error);
    }
    if (codes.group != 0) {
        return status;
    }
    int64_t sum = 0;
    status = verify_codes(node, &codes, column, 0, kpad, &sum, error);
    if (status == DYNQ_OK && column < node->n && sum != node->weight_sum[column]) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "node '%s': weight_sum[%zu] is %d, but its codes sum to %lld", node->name,
                         column, node->weight_sum[column], (long long)sum);
    }
    return status;
}

/* Levels that no code stands for as well. */
static dynq_status verify_levels(const dynq_node *node, dynq_error *error)
{
    const size_t levels = dynq_node_table_levels(node);
    for (size_t i = 0; i < dynq_node_tables(node) * levels; i++) {
        if (node->levels[i] == INT8_MIN) {
            return dynq_fail(error, DYNQ_ERR_FORMAT,
                             "node '%s': level [%zu][%zu] is -128; levels are -127 to 127",
                             node->name, i / levels, i % levels);
        }
    }
    return DYNQ_OK;
}

static dynq_status verify_word(const dynq_node *node, size_t column, size_t input, uint16_t word,
                               dynq_error *error)
{
    if (word != 0 && (column >= node->n || input >= node->k)) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "node '%s': weight [%zu][%zu] is padding and not 0", node->name, column,
                         input);
    }
    const uint16_t infinity =
        node->weight_format == DYNQ_FORMAT_FP16 ? HALF_INFINITY : BRAIN_INFINITY;
    if (node->weight_format != DYNQ_FORMAT_INT16 && (word & infinity) == infinity) {
        return dynq_fail(error, DYNQ_ERR_NOT_FINITE, "node '%s': weight[%zu][%zu] is NaN or Inf",
                         node->name, column, input);
    }
    if (node->weight_format == DYNQ_FORMAT_INT16 && word == SMALLEST_S16) {
        return dynq_fail(error, DYNQ_ERR_FORMAT,
                         "node '%s': code [%zu][%zu] is -32768; codes are -32767 to 32767",
                         node->name, column, input);
    }
    return DYNQ_OK;
}

/* FP16, BF16 and INT16, padding included. */
static dynq_status verify_words(const dynq_node *node, dynq_error *error)
{
    const bool pairs = node->weight_format != DYNQ_FORMAT_FP16;
    const size_t columns = dynq_packed_panels(node->n) * DYNQ_PANEL;
    const size_t kpad = pairs ? dynq_divide_up(node->k, 2) * 2 : node->k;
    dynq_status status = DYNQ_OK;
    for (size_t column = 0; column < columns; column++) {
        for (size_t i = 0; i < kpad && status == DYNQ_OK; i++) {
            status = verify_word(node, column, i, dynq_node_word(node, column, i), error);
        }
    }
    return status;
}

static dynq_status verify_linear(const dynq_node *node, dynq_error *error)
{
    if (node->weight_format == DYNQ_FORMAT_FP32) {
        return verify_fp32(node, node->n, node->k, error);
    }
    if (node->precision != DYNQ_PRECISION_INT8) {
        return verify_words(node, error);
    }
    const size_t columns = dynq_packed_panels(node->n) * DYNQ_PANEL;
    dynq_status status = verify_levels(node, error);
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
