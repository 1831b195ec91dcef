#include "tests/samples_formats.h"

#include "src/pack.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const samples_format samples_formats[SAMPLES_FORMATS] = {
    {.name = "fp32", .format = DYNQ_FORMAT_FP32},
    {.name = "fp16", .format = DYNQ_FORMAT_FP16},
    {.name = "bf16", .format = DYNQ_FORMAT_BF16},
    {.name = "int16", .format = DYNQ_FORMAT_INT16},
    {.name = "int8", .format = DYNQ_FORMAT_INT8},
    {.name = "int8 in groups of 32", .format = DYNQ_FORMAT_INT8, .group = 32},
    {.name = "int8 in groups of 64", .format = DYNQ_FORMAT_INT8, .group = 64},
    {.name = "int8 in groups of 128", .format = DYNQ_FORMAT_INT8, .group = 128},
    {.name = "int4", .format = DYNQ_FORMAT_INT4, .table = DYNQ_TABLE_PER_TENSOR},
    {.name = "int4 by panel", .format = DYNQ_FORMAT_INT4, .table = DYNQ_TABLE_PER_PANEL},
    {.name = "int4 without 0",
     .format = DYNQ_FORMAT_INT4,
     .table = DYNQ_TABLE_PER_PANEL,
     .no_zero = true},
    {.name = "int4 in groups of 32",
     .format = DYNQ_FORMAT_INT4,
     .group = 32,
     .table = DYNQ_TABLE_PER_PANEL},
    {.name = "int4 in groups of 128",
     .format = DYNQ_FORMAT_INT4,
     .group = 128,
     .table = DYNQ_TABLE_PER_TENSOR},
    {.name = "int2", .format = DYNQ_FORMAT_INT2, .table = DYNQ_TABLE_PER_TENSOR},
    {.name = "int2 by panel", .format = DYNQ_FORMAT_INT2, .table = DYNQ_TABLE_PER_PANEL},
    {.name = "int2 without 0",
     .format = DYNQ_FORMAT_INT2,
     .table = DYNQ_TABLE_PER_TENSOR,
     .no_zero = true},
    {.name = "int2 in groups of 64",
     .format = DYNQ_FORMAT_INT2,
     .group = 64,
     .table = DYNQ_TABLE_PER_PANEL},
};

const samples_format *samples_find_format(const char *name)
{
    for (size_t i = 0; i < SAMPLES_FORMATS; i++) {
        if (strcmp(samples_formats[i].name, name) == 0) {
            return &samples_formats[i];
        }
    }
    abort();
}

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static dynq_value layer(dynq_graph *g, const char *name, dynq_value x, size_t n, size_t k,
                        bool bias, uint32_t seed)
{
    float *w = malloc((n * k + n) * sizeof *w);
    cr_assert(w != NULL);
    samples_fill(w, n * k + n, seed);
    const dynq_tensor weight = {DYNQ_F32, 2, {n, k}, w};
    const dynq_tensor shift = {DYNQ_F32, 1, {n}, w + n * k};
    const dynq_value y = dynq_linear(g, name, x, &weight, bias ? &shift : NULL);
    free(w);
    return y;
}

static dynq_model *network(const dynq_allocator *allocator)
{
    enum { K = SAMPLES_FORMAT_INPUTS };
    float gain[K], shift[K];
    samples_fill(gain, K, 7);
    samples_fill(shift, K, 8);
    const dynq_tensor weight = {DYNQ_F32, 1, {K}, gain}, bias = {DYNQ_F32, 1, {K}, shift};
    dynq_graph *g = dynq_graph_create(allocator);
    const dynq_value x = dynq_input(g, "x", K);
    const dynq_value h = dynq_gelu(g, "act", layer(g, "fc1", x, SAMPLES_FORMAT_HIDDEN, K, true, 1));
    const dynq_value r =
        dynq_add(g, "sum", layer(g, "fc2", h, K, SAMPLES_FORMAT_HIDDEN, false, 2), x);
    const dynq_value n = dynq_layer_norm(g, "norm", r, &weight, &bias, 1e-5f);
    dynq_output(g, "y", layer(g, "fc3", n, SAMPLES_FORMAT_OUTPUTS, K, true, 3));
    dynq_model *model = NULL;
    return dynq_graph_finish(g, &model, NULL) == DYNQ_OK ? model : NULL;
}

/* Distinct levels in no order, 0 among them or not. */
static void fill_levels(int8_t *levels, size_t tables, size_t count, bool no_zero, uint32_t *state)
{
    for (size_t t = 0; t < tables; t++) {
        for (size_t i = 0; i < count; i++) {
            const int step = (int)(254 / count);
            levels[t * count + i] = (int8_t)(-127 + step * (int)i + (int)(next(state) % 13));
        }
        const size_t at = next(state) % count;
        for (size_t i = 0; i < count; i++) {
            levels[t * count + i] = levels[t * count + i] == 0 ? 3 : levels[t * count + i];
        }
        levels[t * count + at] = no_zero ? 5 : 0;
    }
}

static dynq_status take_codes(dynq_model *model, dynq_node *node, const samples_format *format,
                              const float *scale, uint32_t state)
{
    const size_t count = node->n * node->k, levels = dynq_node_table_levels(node);
    const size_t tables = dynq_node_tables(node);
    const size_t groups = format->group == 0 ? 0 : dynq_divide_up(node->k, format->group);
    uint8_t *numbers = malloc(count);
    int8_t *table = malloc(tables * levels + 1);
    uint16_t *factors = malloc((node->n * groups + 1) * sizeof *factors);
    cr_assert(numbers != NULL && table != NULL && factors != NULL);
    fill_levels(table, tables, levels == 0 ? 1 : levels, format->no_zero, &state);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (uint8_t)(levels > 0 ? next(&state) % levels : (next(&state) % 255) - 127);
    }
    for (size_t i = 0; i < node->n * groups; i++) {
        factors[i] = (uint16_t)(0x3400 + next(&state) % 0x0c00); /* 0.25 to 2 */
    }
    const dynq_coded_weights coded = {
        .k = node->k,
        .n = node->n,
        .codes = {.bits = dynq_format_bits(format->format),
                  .levels = levels > 0 ? table : NULL,
                  .levels_step = format->table == DYNQ_TABLE_PER_PANEL ? levels : 0,
                  .group = format->group},
        .tables = tables,
        .numbers = levels > 0 ? numbers : NULL,
        .weights = (const int8_t *)numbers,
        .scale = scale,
        .factors = factors,
    };
    const dynq_status status = dynq_model_take_coded(model, node, &coded, NULL);
    free(numbers);
    free(table);
    free(factors);
    return status;
}

static dynq_status take_s16(dynq_model *model, dynq_node *node, const float *scale, uint32_t state)
{
    int16_t *codes = malloc(node->n * node->k * sizeof *codes);
    cr_assert(codes != NULL);
    for (size_t i = 0; i < node->n * node->k; i++) {
        codes[i] = (int16_t)((int)(next(&state) % 65535) - 32767);
    }
    const dynq_status status = dynq_model_take_s16(model, node, codes, scale, NULL);
    free(codes);
    return status;
}

/* Replaces the FP32 weights of a node. */
static dynq_status store(dynq_model *model, dynq_node *node, const samples_format *format,
                         const dynq_range_rule *range, uint32_t seed)
{
    const float *weight = node->weight;
    const bool words = format->format == DYNQ_FORMAT_INT16;
    uint32_t state = seed;
    float *scale = malloc(node->n * sizeof *scale);
    cr_assert(scale != NULL);
    for (size_t c = 0; c < node->n; c++) {
        scale[c] = (0.5f + (float)(next(&state) % 1000) * 1e-3f) / (words ? 300000.0f : 1200.0f);
    }
    if (format->format == DYNQ_FORMAT_FP32) {
        free(scale);
        return DYNQ_OK;
    }
    node->weight = NULL;
    node->weight_format = format->format;
    node->table_scope = format->table;
    node->weight_levels = format->table != 0 ? DYNQ_LEVELS_CLUSTERS : 0;
    dynq_status status = DYNQ_OK;
    if (format->format == DYNQ_FORMAT_FP16 || format->format == DYNQ_FORMAT_BF16) {
        status = dynq_model_take_halves(model, node, format->format, weight, NULL);
    } else {
        const dynq_scheme scheme = words ? DYNQ_SCHEME_SYMMETRIC : DYNQ_SCHEME_AFFINE;
        node->precision = words ? DYNQ_PRECISION_INT16 : DYNQ_PRECISION_INT8;
        node->range = range != NULL
                          ? *range
                          : (dynq_range_rule){DYNQ_RANGE_DYNAMIC, DYNQ_SCOPE_SEGMENT, scheme, 0, 0};
        node->range.scheme = words ? DYNQ_SCHEME_SYMMETRIC : node->range.scheme;
        status = words ? take_s16(model, node, scale, state)
                       : take_codes(model, node, format, scale, state);
    }
    free(scale);
    return status;
}

dynq_model *samples_coded(const samples_format *format, const dynq_range_rule *range,
                          const dynq_allocator *allocator)
{
    dynq_model *model = network(allocator);
    dynq_status status = model == NULL ? DYNQ_ERR_MEMORY : DYNQ_OK;
    for (size_t i = 0; status == DYNQ_OK && i < model->node_count; i++) {
        if (model->nodes[i].op == DYNQ_OP_LINEAR) {
            status = store(model, &model->nodes[i], format, range, (uint32_t)(100 + i));
        }
    }
    status = status == DYNQ_OK ? dynq_model_check(model, NULL) : status;
    if (status != DYNQ_OK) {
        cr_assert(status == DYNQ_ERR_MEMORY);
        dynq_model_free(model);
        return NULL;
    }
    return model;
}

dynq_model *samples_dequantized(const dynq_model *model)
{
    dynq_model *result = network(NULL);
    for (size_t i = 0; i < result->node_count; i++) {
        dynq_node *node = &result->nodes[i];
        if (node->op == DYNQ_OP_LINEAR) {
            float *weight = dynq_model_own(result, node->n * node->k, sizeof *weight);
            cr_assert(dynq_model_weights(model, i, weight, node->n * node->k) == DYNQ_OK);
            node->weight = weight;
        }
    }
    return result;
}

dynq_model *samples_as_int8(const dynq_model *model)
{
    dynq_model *result = network(NULL);
    for (size_t i = 0; i < result->node_count; i++) {
        dynq_node *node = &result->nodes[i];
        const dynq_node *source = &model->nodes[i];
        if (node->op != DYNQ_OP_LINEAR) {
            continue;
        }
        int8_t *weights = malloc(node->n * node->k);
        cr_assert(weights != NULL);
        dynq_node_unpack_s8(source, 0, node->n, weights);
        const dynq_coded_weights coded = {.k = node->k,
                                          .n = node->n,
                                          .codes = {.bits = 8},
                                          .weights = weights,
                                          .scale = source->weight_scale};
        node->weight = NULL;
        node->precision = DYNQ_PRECISION_INT8;
        node->range = source->range;
        cr_assert(dynq_model_take_coded(result, node, &coded, NULL) == DYNQ_OK);
        free(weights);
    }
    cr_assert(dynq_model_check(result, NULL) == DYNQ_OK);
    return result;
}

dynq_model *samples_every_format(void)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 40);
    for (size_t i = 0; i < SAMPLES_FORMATS; i++) {
        char name[16];
        snprintf(name, sizeof name, "fc%zu", i);
        if (samples_formats[i].group <= 32) {
            dynq_output(g, name, layer(g, name, x, 18, 40, i % 2 == 0, (uint32_t)i));
        }
    }
    dynq_model *model = NULL;
    cr_assert(dynq_graph_finish(g, &model, NULL) == DYNQ_OK);
    for (size_t i = 0, node = 0; i < SAMPLES_FORMATS; i++) {
        if (samples_formats[i].group <= 32) {
            node++;
            cr_assert(store(model, &model->nodes[node], &samples_formats[i], NULL, (uint32_t)i) ==
                      DYNQ_OK);
        }
    }
    cr_assert(dynq_model_check(model, NULL) == DYNQ_OK);
    return model;
}
