#include "tools/train_model.h"

#include "models/mlp.h"
#include "tools/allocate.h"

#include <dynq/quantize.h>
#include <dynq/safetensors.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dynq_status refuse(dynq_error *error, dynq_status status, const char *what)
{
    if (error != NULL) {
        *error = (dynq_error){.status = status, .offset = DYNQ_NO_OFFSET};
        snprintf(error->message, sizeof error->message,
                 "%s; training starts from an FP32 model of linear layers with ReLU between them, "
                 "at most %d of them",
                 what, TRAINER_MAX_LAYERS);
    }
    return status;
}

/* Input, linear, relu, linear ...: node `index` reads the one before it. */
static int is_next(const dynq_node_info *info, size_t index)
{
    const dynq_op expected = index == 0       ? DYNQ_OP_INPUT
                             : index % 2 == 1 ? DYNQ_OP_LINEAR
                                              : DYNQ_OP_RELU;
    return info->op == expected && (index == 0 || info->inputs[0] == index - 1) &&
           info->precision == DYNQ_PRECISION_FP32;
}

/* Biases are asked of the file: the API of models shows weights only. */
static dynq_status read_bias(const dynq_safetensors *file, const char *node, float *bias,
                             size_t count)
{
    char name[DYNQ_MAX_NAME + 8];
    snprintf(name, sizeof name, "%s.bias", node);
    const long index = dynq_safetensors_find(file, name);
    return index < 0 ? DYNQ_OK : dynq_safetensors_floats(file, (size_t)index, bias, count);
}

static dynq_status read_layer(const dynq_model *model, const dynq_safetensors *file, size_t index,
                              const dynq_node_info *info, train_start *start)
{
    const size_t layer = start->layers++;
    start->widths[layer] = info->k;
    start->widths[layer + 1] = info->n;
    start->weights[layer] = allocate(info->k * info->n, sizeof(float));
    start->biases[layer] = allocate(info->n, sizeof(float));
    const dynq_status status =
        dynq_model_weights(model, index, start->weights[layer], info->k * info->n);
    return status == DYNQ_OK ? read_bias(file, info->name, start->biases[layer], info->n) : status;
}

static dynq_status read_layers(const dynq_model *model, const dynq_safetensors *file,
                               train_start *start, dynq_error *error)
{
    const size_t count = dynq_model_node_count(model);
    if (count % 2 != 0 || count / 2 > TRAINER_MAX_LAYERS || dynq_model_output_count(model) != 1) {
        return refuse(error, DYNQ_ERR_SHAPE, "not a multilayer perceptron");
    }
    for (size_t i = 0; i < count; i++) {
        dynq_node_info info = {.size = sizeof info};
        if (dynq_model_node(model, i, &info) != DYNQ_OK || !is_next(&info, i)) {
            char what[DYNQ_MAX_NAME + 32];
            snprintf(what, sizeof what, "node '%s' does not fit", info.name);
            return refuse(error, DYNQ_ERR_SHAPE, what);
        }
        const dynq_status status = i % 2 == 1 ? read_layer(model, file, i, &info, start) : DYNQ_OK;
        if (status != DYNQ_OK) {
            return refuse(error, status, "its weights cannot be read");
        }
    }
    return DYNQ_OK;
}

dynq_status train_start_read(const char *path, train_start *start, dynq_error *error)
{
    memset(start, 0, sizeof *start);
    dynq_model *model = NULL;
    dynq_safetensors *file = NULL;
    dynq_status status = dynq_model_open(path, NULL, &model, error);
    if (status == DYNQ_OK) {
        status = dynq_safetensors_open(path, NULL, &file, error);
    }
    if (status == DYNQ_OK) {
        status = read_layers(model, file, start, error);
    }
    dynq_safetensors_free(file);
    dynq_model_free(model);
    if (status != DYNQ_OK) {
        train_start_free(start);
    }
    return status;
}

void train_start_free(train_start *start)
{
    for (size_t l = 0; l < TRAINER_MAX_LAYERS; l++) {
        free(start->weights[l]);
        free(start->biases[l]);
    }
    memset(start, 0, sizeof *start);
}

void train_start_copy(const train_start *start, trainer *network)
{
    for (size_t l = 0; l < start->layers; l++) {
        const size_t inputs = start->widths[l], outputs = start->widths[l + 1];
        memcpy(network->weights[l], start->weights[l], inputs * outputs * sizeof(float));
        memcpy(network->biases[l], start->biases[l], outputs * sizeof(float));
    }
}

/* Levels times scales: what quantizing rounds to the same levels again. */
static float *rounded_weights(const trainer_codes *codes)
{
    float *weights = allocate(codes->n * codes->k, sizeof *weights);
    for (size_t i = 0; i < codes->n * codes->k; i++) {
        weights[i] = codes->levels[i] * codes->scale[i / codes->k];
    }
    return weights;
}

static dynq_status quantize(const trainer *network, dynq_scope scope, const dynq_model *from,
                            dynq_model **model, dynq_error *error)
{
    const int fixed = network->options.range == DYNQ_RANGE_STATIC;
    dynq_trained_layer trained[TRAINER_MAX_LAYERS];
    char names[TRAINER_MAX_LAYERS][32];
    for (size_t l = 0; l < network->options.layers; l++) {
        snprintf(names[l], sizeof names[l], "fc%zu", l + 1);
        trained[l] = (dynq_trained_layer){.node = names[l],
                                          .column_scale = network->codes[l].scale,
                                          .range = fixed ? network->codes[l].range : NULL};
    }
    const dynq_quantize_options options = {.size = sizeof options,
                                           .range = network->options.range,
                                           .scope = scope,
                                           .weights = network->options.weights,
                                           .trained = trained,
                                           .trained_count = network->options.layers};
    return dynq_quantize(from, &options, model, error);
}

dynq_status train_model_make(const trainer *network, dynq_scope scope, dynq_model **model,
                             dynq_error *error)
{
    const size_t layers = network->options.layers;
    const int quantized = network->options.weights != 0;
    const float *weights[TRAINER_MAX_LAYERS] = {NULL}, *biases[TRAINER_MAX_LAYERS] = {NULL};
    float *rounded[TRAINER_MAX_LAYERS] = {NULL};
    for (size_t l = 0; l < layers; l++) {
        rounded[l] = quantized ? rounded_weights(&network->codes[l]) : NULL;
        weights[l] = quantized ? rounded[l] : network->weights[l];
        biases[l] = network->biases[l];
    }
    dynq_model *made = NULL;
    dynq_status status = mlp_build(layers, network->options.widths, weights, biases, &made, error);
    for (size_t l = 0; l < layers; l++) {
        free(rounded[l]);
    }
    if (status != DYNQ_OK || !quantized) {
        *model = status == DYNQ_OK ? made : *model;
        return status;
    }
    status = quantize(network, scope, made, model, error);
    dynq_model_free(made);
    return status;
}
