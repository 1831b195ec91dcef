/* libFuzzer: any bytes as a model file, and as the graph in one.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. -Iinclude \
 *         tests/fuzz/fuzz_model.c SOURCES -ljansson -lm -o fuzz_model
 *     ./fuzz_model CORPUS tests/golden
 *
 * The golden model files are the seeds. */
#include "src/model_json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte can be read. */
static void read_attachments(const dynq_model *model)
{
    const char *name = NULL;
    for (size_t i = 0; (name = dynq_model_attachment_name(model, i)) != NULL; i++) {
        const void *bytes = NULL;
        size_t size = 0;
        if (dynq_model_attachment(model, name, &bytes, &size) != DYNQ_OK || size == 0) {
            abort();
        }
        void *copy = malloc(size);
        if (copy != NULL) {
            memcpy(copy, bytes, size);
        }
        free(copy);
    }
}

static void open_file(const uint8_t *data, size_t size)
{
    dynq_model *model = NULL;
    dynq_error error;
    if (dynq_model_open_memory(data, size, NULL, &model, &error) != DYNQ_OK) {
        return;
    }
    dynq_model_verify(model, &error);
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info info = {.size = sizeof info};
        float *weights = NULL;
        size_t count = 0;
        if (dynq_model_node(model, i, &info) == DYNQ_OK) {
            count = info.n * (info.op == DYNQ_OP_LINEAR ? info.k : info.table_rows);
        }
        if (count > 0) {
            weights = malloc(count * sizeof *weights);
        }
        if (weights != NULL && dynq_model_weights(model, i, weights, count) != DYNQ_OK) {
            abort();
        }
        free(weights);
    }
    read_attachments(model);
    dynq_model_free(model);
}

/* A graph that is read is written, read again and written as the same text. */
static void read_graph(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    char *written[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        dynq_model *model = dynq_model_new(NULL);
        unsigned char *has_bias = NULL;
        const dynq_status status =
            dynq_model_json_read("graph", i == 0 ? text : written[0], model, &has_bias, NULL);
        const float bias = 0;
        for (size_t j = 0; status == DYNQ_OK && j < model->node_count; j++) {
            model->nodes[j].bias = has_bias[j] ? &bias : NULL;
        }
        if (status == DYNQ_OK && dynq_model_check(model, NULL) == DYNQ_OK) {
            written[i] = dynq_model_json_write(model);
        }
        dynq_release(&model->allocator, has_bias);
        dynq_model_free(model);
        if (written[i] == NULL) {
            break;
        }
    }
    if (written[0] != NULL && (written[1] == NULL || strcmp(written[0], written[1]) != 0)) {
        abort();
    }
    free(written[0]);
    free(written[1]);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_file(data, size);
    read_graph(data, size);
    return 0;
}
