/* Weights of linear nodes in any format: what kernels are told, floats again, and a new model's. */
#include "src/error.h"
#include "src/model.h"
#include "src/pack.h"

#include <math.h>
#include <string.h>

/* Words of 16 bits that are widened at a time. */
#define WIDENED 256

dynq_format dynq_format_of(dynq_precision precision)
{
    switch (precision) {
    case DYNQ_PRECISION_INT8: return DYNQ_FORMAT_INT8;
    case DYNQ_PRECISION_INT16: return DYNQ_FORMAT_INT16;
    case DYNQ_PRECISION_FP32: break;
    }
    return DYNQ_FORMAT_FP32;
}

bool dynq_node_is_quantized(const dynq_node *node)
{
    return (dynq_op_has_precision(node->op) && node->precision != DYNQ_PRECISION_FP32) ||
           (node->op == DYNQ_OP_LINEAR && node->weight_format != DYNQ_FORMAT_FP32);
}

bool dynq_node_is_p16x4(const dynq_node *node)
{
    return node->weight_format == DYNQ_FORMAT_INT8 && node->weight_group == 0;
}

size_t dynq_node_table_levels(const dynq_node *node)
{
    return node->weight_format == DYNQ_FORMAT_INT4   ? 16
           : node->weight_format == DYNQ_FORMAT_INT2 ? 4
                                                     : 0;
}

size_t dynq_node_tables(const dynq_node *node)
{
    if (dynq_node_table_levels(node) == 0) {
        return 0;
    }
    return node->table_scope == DYNQ_TABLE_PER_PANEL ? dynq_packed_panels(node->n) : 1;
}

dynq_weight_codes dynq_node_codes(const dynq_node *node, size_t panel)
{
    const size_t levels = dynq_node_table_levels(node);
    dynq_weight_codes codes = {.bits = dynq_format_bits(node->weight_format),
                               .group = node->weight_group};
    if (levels > 0) {
        codes.levels_step = node->table_scope == DYNQ_TABLE_PER_PANEL ? levels : 0;
        codes.levels = node->levels == NULL ? NULL : node->levels + panel * codes.levels_step;
    }
    return codes;
}

const int8_t *dynq_node_panel(const dynq_node *node, size_t column)
{
    const dynq_weight_codes codes = dynq_node_codes(node, 0);
    return node->packed + column / DYNQ_PANEL * dynq_panel_bytes(&codes, dynq_packed_k(node->k));
}

size_t dynq_node_packed_bytes(const dynq_node *node)
{
    switch (node->weight_format) {
    case DYNQ_FORMAT_FP16: return dynq_packed_p16_bytes(node->k, node->n);
    case DYNQ_FORMAT_BF16:
    case DYNQ_FORMAT_INT16: return dynq_packed_p16x2_bytes(node->k, node->n);
    default: break;
    }
    const dynq_weight_codes codes = dynq_node_codes(node, 0);
    return dynq_packed_bytes(&codes, node->k, node->n);
}

void dynq_node_unpack_s8(const dynq_node *node, size_t first, size_t count, int8_t *weights)
{
    for (size_t c = 0; c < count; c++) {
        const size_t column = first + c;
        const dynq_weight_codes codes = dynq_node_codes(node, column / DYNQ_PANEL);
        const int8_t *panel = dynq_node_panel(node, column);
        for (size_t i = 0; i < node->k; i++) {
            weights[c * node->k + i] = dynq_panel_weight(&codes, panel, column % DYNQ_PANEL, i);
        }
    }
}

/* A weight times a factor has 18 significant bits, so that only the last product is rounded. */
static void dequantize_codes(const dynq_node *node, size_t column, float *w)
{
    const dynq_weight_codes codes = dynq_node_codes(node, column / DYNQ_PANEL);
    const int8_t *panel = dynq_node_panel(node, column);
    const size_t lane = column % DYNQ_PANEL;
    float factor = 1.0f;
    for (size_t i = 0; i < node->k; i++) {
        if (codes.group != 0 && i % codes.group == 0) {
            const uint16_t half = dynq_panel_factor(&codes, panel, lane, i / codes.group);
            dynq_fp32_from_fp16(&half, 1, &factor);
        }
        const float weight = (float)dynq_panel_weight(&codes, panel, lane, i);
        w[i] = (codes.group != 0 ? weight * factor : weight) * node->weight_scale[column];
    }
}

uint16_t dynq_node_word(const dynq_node *node, size_t column, size_t input)
{
    const uint16_t *words = (const uint16_t *)(const void *)node->packed;
    const size_t panel = column / DYNQ_PANEL, lane = column % DYNQ_PANEL;
    if (node->weight_format == DYNQ_FORMAT_FP16) {
        return words[(panel * node->k + input) * DYNQ_PANEL + lane];
    }
    const size_t pairs = dynq_divide_up(node->k, 2);
    return words[((panel * pairs + input / 2) * DYNQ_PANEL + lane) * 2 + input % 2];
}

static void widen_words(const dynq_node *node, size_t column, float *w)
{
    uint16_t words[WIDENED];
    for (size_t first = 0; first < node->k; first += WIDENED) {
        const size_t left = node->k - first, count = left < WIDENED ? left : WIDENED;
        for (size_t i = 0; i < count; i++) {
            words[i] = dynq_node_word(node, column, first + i);
        }
        if (node->weight_format == DYNQ_FORMAT_FP16) {
            dynq_fp32_from_fp16(words, count, w + first);
        } else {
            dynq_fp32_from_bf16(words, count, w + first);
        }
    }
}

static void dequantize_s16(const dynq_node *node, size_t column, float *w)
{
    for (size_t i = 0; i < node->k; i++) {
        w[i] = (float)(int16_t)dynq_node_word(node, column, i) * node->weight_scale[column];
    }
}

void dynq_node_dequantize(const dynq_node *node, size_t first, size_t count, float *w)
{
    for (size_t c = 0; c < count; c++) {
        float *column = w + c * node->k;
        switch (node->weight_format) {
        case DYNQ_FORMAT_FP16:
        case DYNQ_FORMAT_BF16: widen_words(node, first + c, column); break;
        case DYNQ_FORMAT_INT16: dequantize_s16(node, first + c, column); break;
        case DYNQ_FORMAT_INT8:
        case DYNQ_FORMAT_INT4:
        case DYNQ_FORMAT_INT2: dequantize_codes(node, first + c, column); break;
        default:
            memcpy(column, node->weight + (first + c) * node->k, node->k * sizeof *column);
            break;
        }
    }
}

static dynq_status out_of_memory(const dynq_node *node, dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "node '%s': out of memory for its weights",
                     node->name);
}

/* A copy of `size` bytes, or NULL. */
static void *own_copy(dynq_model *model, const void *bytes, size_t size)
{
    void *copy = dynq_model_own(model, size, 1);
    if (copy != NULL) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

static dynq_format format_of_bits(unsigned bits)
{
    return bits == 4 ? DYNQ_FORMAT_INT4 : bits == 2 ? DYNQ_FORMAT_INT2 : DYNQ_FORMAT_INT8;
}

dynq_status dynq_model_take_coded(dynq_model *model, dynq_node *node,
                                  const dynq_coded_weights *coded, dynq_error *error)
{
    node->weight_format = format_of_bits(coded->codes.bits);
    node->weight_group = coded->codes.group;
    const size_t levels = dynq_node_table_levels(node);
    if (levels > 0) {
        node->table_scope =
            coded->codes.levels_step > 0 ? DYNQ_TABLE_PER_PANEL : DYNQ_TABLE_PER_TENSOR;
        node->levels = own_copy(model, coded->codes.levels, dynq_node_tables(node) * levels);
    }
    int8_t *packed = dynq_model_own(model, dynq_node_packed_bytes(node), 1);
    int32_t *sum =
        coded->codes.group > 0 ? NULL : dynq_model_own(model, node->n, sizeof *node->weight_sum);
    node->weight_scale = own_copy(model, coded->scale, node->n * sizeof *coded->scale);
    if (packed == NULL || (sum == NULL && coded->codes.group == 0) ||
        (levels > 0 && node->levels == NULL) || node->weight_scale == NULL) {
        return out_of_memory(node, error);
    }
    dynq_pack_codes(coded, packed, sum);
    node->packed = packed;
    node->weight_sum = sum;
    return DYNQ_OK;
}

dynq_status dynq_model_take_s16(dynq_model *model, dynq_node *node, const int16_t *codes,
                                const float *scale, dynq_error *error)
{
    node->weight_format = DYNQ_FORMAT_INT16;
    int8_t *packed = dynq_model_own(model, dynq_node_packed_bytes(node), 1);
    node->weight_scale = own_copy(model, scale, node->n * sizeof *scale);
    if (packed == NULL || node->weight_scale == NULL) {
        return out_of_memory(node, error);
    }
    dynq_pack_p16x2((const uint16_t *)(const void *)codes, node->k, node->n, packed);
    node->packed = packed;
    return DYNQ_OK;
}

static dynq_status round_halves(const dynq_node *node, const float *weight, uint16_t *halves,
                                dynq_error *error)
{
    const size_t count = node->n * node->k;
    const bool fp16 = node->weight_format == DYNQ_FORMAT_FP16;
    const uint16_t infinity = fp16 ? 0x7C00 : 0x7F80;
    if (fp16) {
        dynq_fp16_from_fp32(weight, count, halves);
    } else {
        dynq_bf16_from_fp32(weight, count, halves);
    }
    for (size_t i = 0; i < count; i++) {
        if ((halves[i] & infinity) == infinity) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                             "node '%s': weight[%zu][%zu] is %g, which is not finite in %s; keep "
                             "its weights in FP32",
                             node->name, i / node->k, i % node->k, (double)weight[i],
                             fp16 ? "FP16" : "BF16");
        }
    }
    return DYNQ_OK;
}

dynq_status dynq_model_take_halves(dynq_model *model, dynq_node *node, dynq_format format,
                                   const float *weight, dynq_error *error)
{
    node->weight_format = format;
    int8_t *packed = dynq_model_own(model, dynq_node_packed_bytes(node), 1);
    uint16_t *halves = dynq_alloc(&model->allocator, node->n * node->k, sizeof *halves);
    dynq_status status = packed == NULL || halves == NULL
                             ? out_of_memory(node, error)
                             : round_halves(node, weight, halves, error);
    if (status == DYNQ_OK && format == DYNQ_FORMAT_FP16) {
        dynq_pack_p16(halves, node->k, node->n, packed);
    } else if (status == DYNQ_OK) {
        dynq_pack_p16x2(halves, node->k, node->n, packed);
    }
    dynq_release(&model->allocator, halves);
    node->packed = status == DYNQ_OK ? packed : NULL;
    return status;
}
