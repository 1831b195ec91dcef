#include "src/fingerprint.h"

#include <string.h>

/* FNV-1a over words of 64 bits instead of bytes, each in four sums side by side: 90 MB of weights
 * take no longer than reading them. The rotation brings high bits, which a product only moves
 * further up, down again. */
#define PRIME    UINT64_C(0x100000001b3)
#define OFFSET   UINT64_C(0xcbf29ce484222325)
#define LANES    4
#define ROTATION 29

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * PRIME;
    return hash << ROTATION | hash >> (64 - ROTATION);
}

static uint64_t load(const unsigned char *bytes, size_t count)
{
    uint64_t word = 0;
    memcpy(&word, bytes, count);
    return word;
}

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    const size_t step = LANES * sizeof(uint64_t), whole = size - size % step;
    uint64_t lanes[LANES] = {OFFSET, OFFSET + 1, OFFSET + 2, OFFSET + 3};
    hash = mix(hash, size);
    for (size_t i = 0; i < whole; i += step) {
        for (size_t lane = 0; lane < LANES; lane++) {
            lanes[lane] =
                mix(lanes[lane], load(bytes + i + lane * sizeof(uint64_t), sizeof(uint64_t)));
        }
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        hash = mix(hash, lanes[lane]);
    }
    for (size_t i = whole; i < size; i += sizeof(uint64_t)) {
        const size_t left = size - i;
        hash = mix(hash, load(bytes + i, left < sizeof(uint64_t) ? left : sizeof(uint64_t)));
    }
    return hash;
}

/* Parameters that may be NULL. */
static uint64_t mix_floats(uint64_t hash, const float *data, size_t count)
{
    return data == NULL ? mix(hash, 0) : mix_bytes(hash, data, count * sizeof *data);
}

/* Nothing where the precision says all: of such models there are fingerprints. */
static uint64_t mix_format(uint64_t hash, const dynq_node *node)
{
    if (node->weight_format == dynq_format_of(node->precision) && node->weight_group == 0) {
        return hash;
    }
    return mix(mix(hash, (uint64_t)node->weight_format), node->weight_group);
}

static uint64_t mix_weights(uint64_t hash, const dynq_node *node)
{
    const bool table = dynq_op_has_table(node->op);
    const size_t rows = table ? node->table_rows : node->n;
    const size_t columns = table ? node->n : node->k;
    if (node->weight != NULL) {
        hash = mix_floats(hash, node->weight, rows * columns);
    }
    if (node->packed != NULL) {
        hash = mix_bytes(hash, node->packed, dynq_node_packed_bytes(node));
    }
    if (node->levels != NULL) {
        hash = mix_bytes(hash, node->levels, dynq_node_tables(node) * dynq_node_table_levels(node));
    }
    if (node->table_codes != NULL) {
        hash = mix_bytes(hash, node->table_codes, rows * columns);
    }
    return node->weight_scale == NULL ? hash : mix_floats(hash, node->weight_scale, rows);
}

static uint64_t mix_node(uint64_t hash, const dynq_node *node)
{
    const uint64_t numbers[] = {(uint64_t)node->op,
                                node->input_count,
                                node->inputs[0],
                                node->inputs[1],
                                node->inputs[2],
                                node->k,
                                node->n,
                                node->first,
                                node->heads,
                                node->causal,
                                (uint64_t)node->pooling};
    const float settings[] = {node->epsilon, node->scale};
    hash = mix_bytes(hash, node->name, strlen(node->name));
    hash = mix_bytes(hash, numbers, sizeof numbers);
    hash = mix_bytes(hash, settings, sizeof settings);
    hash = node->op == DYNQ_OP_LINEAR ? mix_format(hash, node) : hash;
    hash = mix_weights(hash, node);
    hash = mix_floats(hash, node->bias, node->n);
    return mix_floats(hash, node->gain, node->n);
}

uint64_t dynq_model_fingerprint(const dynq_model *model)
{
    uint64_t hash = OFFSET;
    for (size_t i = 0; i < model->node_count; i++) {
        hash = mix_node(hash, &model->nodes[i]);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        const dynq_model_output_entry *output = &model->outputs[i];
        hash = mix(mix_bytes(hash, output->name, strlen(output->name)), output->node);
    }
    return hash == 0 ? 1 : hash;
}
